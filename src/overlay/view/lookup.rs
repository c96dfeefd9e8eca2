//! From a name in a directory to a node: ask the layers (`ask`), find or make the node.

use std::ffi::OsStr;
use std::sync::Arc;

use super::attr::Attr;
use super::merge::{DataAt, Part, Resolved};
use super::seen::Seen;
use crate::layer::keys::Key as Mark;
use crate::layer::origin;
use crate::layer::protattr::Protection;
use crate::overlay::Overlay;
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
        let _dir = parent.dir.read();
        let (node, stat) = self.find(&parent, &name)?.ok_or(Errno::ENOENT)?;
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

    /// An id for a name that cannot be looked up.
    pub fn unused_id(&self) -> NodeId {
        self.table.unused_id()
    }

    /// Counts a lookup and makes the answer.
    pub(in crate::overlay) fn enter(&self, node: &Arc<Node>, stat: &Stat) -> Entry {
        self.table.enter(node);
        Entry {
            id: node.id,
            attr: self.attr(node, stat),
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
        let place = Place::Named(vec![(parent.clone(), name.clone())]);
        match &seen.resolved {
            Resolved::Nothing => Ok(None),
            Resolved::NonDir { part, data } => {
                let mut stat = part.stat;
                let node = match seen.upper() {
                    Some(_) => {
                        let node = self.upper_node(parent, name, part, seen, place)?;
                        // One more name of a hard link.
                        node.add_name(parent, name);
                        node
                    }
                    None => self.lower_node(parent, name, part, seen, place)?,
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
                let node = self.dir_node_of(parent, name, parts, seen, place)?;
                Ok(Some((node, top.stat)))
            }
        }
    }

    /// The node of an object that was just made in the upper layer, where nothing of the name was.
    pub(in crate::overlay) fn made(
        &self,
        parent: &Arc<Node>,
        name: &Name,
        stat: &Stat,
    ) -> Arc<Node> {
        let node = self.table.make(real_key(stat), || NewNode {
            kind: stat.kind,
            ino: self.identity.ino(stat.dev, stat.ino),
            lower: Lower::None,
            upper: Some(upper_of(stat)),
            impure: false,
            redirect: None,
            place: Place::Named(vec![(parent.clone(), name.clone())]),
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
        let ino = self.upper_ino(parent, name, &part.stat)?;
        let lower = match seen.data_file()? {
            Some(data) => Lower::Data {
                data,
                shared: seen.lower_shared,
            },
            None => Lower::None,
        };
        Ok(self.table.find_or_make(real_key(&part.stat), || NewNode {
            kind: part.stat.kind,
            ino,
            lower,
            upper: Some(upper_of(&part.stat)),
            impure: false,
            redirect: seen.upper_redirect.clone(),
            place,
        }))
    }

    /// A non-directory of a lower layer.
    fn lower_node(
        &self,
        parent: &Arc<Node>,
        name: &Name,
        part: &Part,
        seen: &Seen,
        place: Place,
    ) -> Result<Arc<Node>> {
        let stat = &part.stat;
        let shared = stat.nlink > 1;
        let key = match shared {
            true => Key::Named {
                parent: parent.id,
                name: name.clone(),
            },
            false => real_key(stat),
        };
        let (object, data) = (seen.object(part)?, seen.data_file()?);
        Ok(self.table.find_or_make(key, || NewNode {
            kind: stat.kind,
            ino: self.identity.ino(stat.dev, stat.ino),
            lower: Lower::Object {
                object,
                shared,
                data: data.map(Box::new),
            },
            upper: None,
            impure: false,
            redirect: None,
            place,
        }))
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
        let upper = seen.upper();
        let lowers = &parts[usize::from(upper.is_some())..];
        // A merged directory has the number of its top-most lower, which no copy-up changes (7.2). One that was
        // cut off from its lowers keeps it (24.1).
        let ino = match lowers.first() {
            Some(lower) => self.identity.ino(lower.stat.dev, lower.stat.ino),
            None => self.upper_ino(parent, name, &top.stat)?,
        };
        Ok(self.table.find_or_make(real_key(&top.stat), || NewNode {
            kind: FileType::Dir,
            ino,
            lower: seen.lower_dirs(lowers),
            upper: upper.map(|part| upper_of(&part.stat)),
            impure: upper.is_some_and(|part| part.marks.impure),
            redirect: seen.upper_redirect.clone(),
            place,
        }))
    }

    /// The number of an upper object that nothing is merged with: that of its origin, if it was copied up (7.1). Only a
    /// directory with the `impure` mark can hold such an entry.
    fn upper_ino(&self, parent: &Arc<Node>, name: &Name, stat: &Stat) -> Result<u64> {
        let origin = match (self.marks, self.upper_dir(parent)?) {
            (Some(marks), Some(dir)) if parent.is_impure() => At::child(&dir, name)
                .get_xattr(marks.name(Mark::Origin))?
                .as_deref()
                .and_then(origin::decode),
            _ => None,
        };
        let ino = origin.and_then(|origin| self.identity.origin_ino(origin));
        Ok(ino.unwrap_or_else(|| self.identity.ino(stat.dev, stat.ino)))
    }
}

/// The key of an object that is one inode.
pub(in crate::overlay) fn real_key(stat: &Stat) -> Key {
    Key::Real {
        dev: stat.dev,
        ino: stat.ino,
    }
}

/// An upper object.
pub(in crate::overlay) fn upper_of(stat: &Stat) -> Upper {
    Upper {
        dev: stat.dev,
        ino: stat.ino,
    }
}
