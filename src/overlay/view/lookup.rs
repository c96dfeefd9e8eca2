//! From a name in a directory to a node: ask the layers (`ask`), find or make the node.

use std::ffi::OsStr;
use std::sync::Arc;

use super::attr::Attr;
use super::index::has_lower_names;
use super::merge::{DataAt, Part, Resolved};
use super::seen::Seen;
use crate::layer::keys::Key as Mark;
use crate::layer::origin;
use crate::layer::protattr::Protection;
use crate::overlay::Overlay;
use crate::overlay::node::indexed::Indexed;
use crate::overlay::node::{Key, Lower, NewNode, Node, NodeId, Place, Upper};
use crate::sys::at::At;
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;
use crate::sys::stat::{FileType, Stat};

/// Answer to a lookup, and to everything that makes a name.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The node.
    pub id: NodeId,
    /// Its attributes.
    pub attr: Attr,
    /// The name may be remembered. Not so while a change of the file must bring this name, or another of the same file,
    /// to the upper layer: then the last lookup tells which.
    pub lasting: bool,
}

impl Overlay {
    /// Looks a name up and counts it as known to the caller, who gives it back by [`Overlay::forget`].
    ///
    /// # Errors
    /// ENOENT; ENOTDIR; ENAMETOOLONG; EPERM for a redirect or a metacopy, ELOOP for a layer inside
    /// another, and whatever the layers answer.
    pub fn lookup(&self, parent: NodeId, name: &OsStr) -> Result<Entry> {
        let parent = self.dir_node(parent)?;
        let name = Name::from_os(name)?;
        let _dir = parent.dir().read();
        let (node, stat) = self.find(&parent, &name)?.ok_or(Errno::ENOENT)?;
        if let Some(indexed) = node.indexed() {
            node.prefer_name(&parent, &name);
            indexed.note_lookup();
        }
        Ok(self.enter(&node, &stat))
    }

    /// Takes back lookups that were counted for a node. True when none is left.
    pub fn forget(&self, id: NodeId, lookups: u64) -> bool {
        let gone = self.table.forget(id, lookups);
        let none_left = gone.is_some();
        if let Some(node) = gone {
            self.reaper.end(node);
        }
        none_left
    }

    /// Gives a file another id: who looks it up is led there, and this one goes on to mean it.
    pub fn rebind(&self, id: NodeId) {
        if let Ok(node) = self.table.get(id) {
            self.table.rebind(&node, id);
        }
    }

    /// Has a file been given another id than this?
    pub fn is_rebound(&self, id: NodeId) -> bool {
        self.table.get(id).is_ok_and(|node| node.id() != id)
    }

    /// An id for a name that cannot be looked up.
    pub fn unused_id(&self) -> NodeId {
        self.table.unused_id()
    }

    /// Counts a lookup and makes the answer.
    pub(in crate::overlay) fn enter(&self, node: &Arc<Node>, stat: &Stat) -> Entry {
        let entry = self.entry(node, stat);
        self.table.enter(node, entry.id);
        entry
    }

    /// The answer, without counting.
    pub(in crate::overlay) fn entry(&self, node: &Arc<Node>, stat: &Stat) -> Entry {
        Entry {
            id: node.id(),
            attr: self.attr(node, stat),
            lasting: !has_lower_names(node, stat),
        }
    }

    /// A node that must be a directory.
    pub(in crate::overlay) fn dir_node(&self, id: NodeId) -> Result<Arc<Node>> {
        let node = self.table.get(id)?;
        if node.is_dir() {
            Ok(node)
        } else {
            Err(Errno::ENOTDIR)
        }
    }

    /// The node of a name, with fresh attributes. The caller holds the directory's lock.
    pub(in crate::overlay) fn find(
        &self,
        parent: &Arc<Node>,
        name: &Name,
    ) -> Result<Option<(Arc<Node>, Stat)>> {
        let seen = self.see(parent, name)?;
        self.node_of(parent, name, &seen)
    }

    /// The node for what the layers said, with the attributes of its top-most part.
    pub(in crate::overlay) fn node_of(
        &self,
        parent: &Arc<Node>,
        name: &Name,
        seen: &Seen,
    ) -> Result<Option<(Arc<Node>, Stat)>> {
        let place = || Place::named(parent, name);
        match &seen.resolved {
            Resolved::Nothing => Ok(None),
            Resolved::NonDir { part, data } => {
                let mut stat = part.stat;
                let node = match (seen.upper(), &self.index) {
                    (Some(_), _) => {
                        let node = self.upper_node(parent, name, part, seen, place())?;
                        // One more name of a hard link.
                        node.add_name(parent, name);
                        node
                    }
                    (None, Some(index)) if stat.nlink > 1 => {
                        let found = self.indexed_node(index, part, seen, place())?;
                        found.0.add_name(parent, name);
                        return Ok(Some(found));
                    }
                    (None, _) => self.lower_node(parent, name, part, seen)?,
                };
                match data {
                    DataAt::Own => {}
                    DataAt::Below(data) => stat.blocks = data.stat.blocks,
                    DataAt::Missing => stat.blocks = self.data_blocks(&node, &stat)?,
                }
                Ok(Some((node, stat)))
            }
            Resolved::Dir(parts) => {
                let top = parts.first().ok_or(Errno::EIO)?;
                let node = self.dir_node_of(parent, name, parts, seen, place())?;
                Ok(Some((node, top.stat)))
            }
        }
    }

    /// The key of an object that is one inode.
    pub(in crate::overlay) fn real_key(&self, stat: &Stat) -> Key {
        Key::Number(self.identity.ino(stat.dev, stat.ino))
    }

    /// The node of an object that was just made in the upper layer, where nothing of the name was.
    pub(in crate::overlay) fn made(&self, place: Place, stat: &Stat) -> Arc<Node> {
        let node = self.table.make(self.real_key(stat), || NewNode {
            kind: stat.kind,
            ino: self.identity.ino(stat.dev, stat.ino),
            lower: Lower::None,
            upper: Some(upper_of(stat)),
            impure: false,
            redirect: None,
            indexed: None,
            place,
        });
        node.set_protection(Protection::default());
        node
    }

    /// A non-directory of the upper layer.
    fn upper_node(
        &self,
        parent: &Arc<Node>,
        name: &Name,
        part: &Part,
        seen: &Seen,
        place: Place,
    ) -> Result<Arc<Node>> {
        if let (Some(node), None) = (self.table.find(&self.real_key(&part.stat)), &self.index) {
            return Ok(node);
        }
        let origin = self.origin_mark(parent, name)?;
        let indexed = self.indexed_upper(&part.stat, origin.as_deref())?;
        let key = match &indexed {
            Some(indexed) => Key::Index(Box::new(indexed.entry.clone())),
            None => self.real_key(&part.stat),
        };
        let lower = match seen.data_file()? {
            Some(data) => Lower::Data {
                data: Box::new(data),
                shared: seen.lower_shared,
            },
            None => Lower::None,
        };
        let own_data = matches!(lower, Lower::None);
        let names = indexed.as_ref().map(Indexed::names);
        let node = self.table.find_or_make(key, || NewNode {
            kind: part.stat.kind,
            ino: self.ino_by(origin.as_deref(), &part.stat),
            lower,
            upper: Some(upper_of(&part.stat)),
            impure: false,
            redirect: seen.upper_redirect.clone(),
            indexed,
            place,
        });
        if let Some(names) = names {
            // Known by another name so far, for which nobody had asked the index.
            node.adopt(upper_of(&part.stat), names, own_data);
        }
        if seen.upper_unprotected {
            node.learn_protection(Protection::default());
        }
        Ok(node)
    }

    /// A non-directory of a lower layer.
    fn lower_node(
        &self,
        parent: &Arc<Node>,
        name: &Name,
        part: &Part,
        seen: &Seen,
    ) -> Result<Arc<Node>> {
        let stat = &part.stat;
        let shared = stat.nlink > 1;
        let key = match shared {
            true => Key::Named(Box::new((parent.id(), name.clone()))),
            false => self.real_key(stat),
        };
        let (mut object, data) = (seen.object(part)?, seen.data_file()?);
        object.shared = shared;
        let shares_files = self.shares_files(object.dir.layer);
        let node = self.table.find_or_make(key, || NewNode {
            kind: stat.kind,
            ino: self.identity.ino(stat.dev, stat.ino),
            lower: Lower::of(object, data),
            upper: None,
            impure: false,
            redirect: None,
            indexed: None,
            place: Place::named(parent, name),
        });
        if !shared && shares_files && !node.has_name(parent, name) {
            // Of two layers that have the same file one was moved by a redirect: still two files.
            let stat = Stat { nlink: 2, ..*stat };
            let part = Part { stat, ..*part };
            return self.lower_node(parent, name, &part, seen);
        }
        if node.upper().is_none() {
            node.learn_protection(self.lower_protection(&node, stat));
        }
        Ok(node)
    }

    fn dir_node_of(
        &self,
        parent: &Arc<Node>,
        name: &Name,
        parts: &[Part],
        seen: &Seen,
        place: Place,
    ) -> Result<Arc<Node>> {
        let top = parts.first().ok_or(Errno::EIO)?;
        if let Some(node) = self.table.find(&self.real_key(&top.stat)) {
            return Ok(node);
        }
        let upper = seen.upper();
        let lowers = &parts[usize::from(upper.is_some())..];
        // A merged directory has the number of its top-most lower, which no copy-up changes (7.2). One that was
        // cut off from its lowers keeps it (24.1).
        let ino = match lowers.first() {
            Some(lower) => self.identity.ino(lower.stat.dev, lower.stat.ino),
            None => self.upper_ino(parent, name, &top.stat)?,
        };
        let node = self
            .table
            .find_or_make(self.real_key(&top.stat), || NewNode {
                kind: FileType::Dir,
                ino,
                lower: seen.lower_dirs(lowers),
                upper: upper.map(|part| upper_of(&part.stat)),
                impure: upper.is_some_and(|part| part.marks.impure),
                redirect: seen.upper_redirect.clone(),
                indexed: None,
                place,
            });
        match upper {
            Some(part) if part.marks.unprotected => {
                node.learn_protection(Protection::default());
            }
            Some(_) => {}
            None => node.learn_protection(self.lower_protection(&node, &top.stat)),
        }
        Ok(node)
    }

    /// The number of an upper object that nothing is merged with: that of its origin, if it was copied up (7.1).
    fn upper_ino(&self, parent: &Arc<Node>, name: &Name, stat: &Stat) -> Result<u64> {
        Ok(self.ino_by(self.origin_mark(parent, name)?.as_deref(), stat))
    }

    fn ino_by(&self, origin: Option<&[u8]>, stat: &Stat) -> u64 {
        origin
            .and_then(origin::decode)
            .and_then(|origin| self.identity.origin_ino(origin))
            .unwrap_or_else(|| self.identity.ino(stat.dev, stat.ino))
    }

    /// What an upper object was copied up from. Only a directory with the `impure` mark can hold such an entry.
    fn origin_mark(&self, parent: &Arc<Node>, name: &Name) -> Result<Option<Vec<u8>>> {
        match (self.marks, self.upper_dir(parent)?) {
            (Some(marks), Some(dir)) if parent.is_impure() => {
                At::child(&dir, name).get_xattr(marks.name(Mark::Origin))
            }
            _ => Ok(None),
        }
    }
}

/// An upper object.
pub(in crate::overlay) fn upper_of(stat: &Stat) -> Upper {
    Upper {
        dev: stat.dev,
        ino: stat.ino,
    }
}
