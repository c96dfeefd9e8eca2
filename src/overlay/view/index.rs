//! Which node the names of one lower file lead to, with an index (overlay-semantics 14.2): the same for all
//! of them, whether a name is in the upper layer or not.

use std::sync::Arc;

use super::lookup::upper_of;
use super::merge::Part;
use super::seen::Seen;
use crate::layer::index::{self, IndexDir};
use crate::layer::mark::FileMarks;
use crate::overlay::Overlay;
use crate::overlay::node::indexed::Indexed;
use crate::overlay::node::{Key, Lower, NewNode, Node, Place};
use crate::sys::at::At;
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;
use crate::sys::stat::{FileType, Stat};

impl Overlay {
    /// The node of a lower file with several names, and the attributes of its top-most part: the index entry
    /// if there is one.
    pub(super) fn indexed_node(
        &self,
        index: &IndexDir,
        part: &Part,
        seen: &Seen,
        place: Place,
    ) -> Result<(Arc<Node>, Stat)> {
        let (object, data) = (seen.object(part)?, seen.data_file()?);
        let stat = &part.stat;
        let uuid = self.stack.lowers.get(object.dir.layer).and_then(|l| l.uuid);
        let dir = self.lower_dir(&object.dir)?;
        let at = At::child(&dir, &object.name);
        // In a view that does not change the upper layer is the top-most of those below.
        let entry = match self.work.is_none() && object.dir.layer == 0 {
            true => {
                let origin = index.origin(at)?;
                index.entry_of_copy(origin.as_deref().unwrap_or_default(), stat)?
            }
            false => None,
        };
        let entry = match entry {
            Some(entry) => entry,
            None => index::entry_of(at, uuid)?,
        };
        let node = self
            .table
            .find_or_make(Key::Index(Box::new(entry.clone())), || NewNode {
                kind: stat.kind,
                ino: self.identity.ino(stat.dev, stat.ino),
                lower: Lower::of(object, data),
                upper: None,
                impure: false,
                redirect: None,
                place,
                indexed: Some(Indexed::lower(entry, stat.nlink)),
            });
        self.ask_index(&node, Some(stat.nlink))?;
        let stat = match (node.upper(), node.indexed()) {
            (Some(upper), Some(indexed)) => {
                // The caller holds a directory: no second look if this is another file by now.
                let at = At::child(&index.dir, &indexed.entry);
                let mut disk = at.stat()?;
                if upper_of(&disk) != upper {
                    return Err(Errno::ESTALE);
                }
                if node.is_metacopy() {
                    disk.blocks = self.data_blocks(&node, &disk)?;
                }
                self.meant_by(&node, at, disk)?
            }
            _ => *stat,
        };
        Ok((node, stat))
    }

    /// Gives a node the upper object that the index has for it, if nobody has looked yet. `lower` is the link count
    /// of the lower file, where that is known.
    ///
    /// # Errors
    /// EIO for an entry that is of another type; those of reading it.
    pub(in crate::overlay) fn ask_index(&self, node: &Node, lower: Option<u32>) -> Result<()> {
        let (Some(index), Some(indexed)) = (&self.index, node.indexed()) else {
            return Ok(());
        };
        if indexed.is_asked() || node.upper().is_some() {
            return Ok(());
        }
        let entry = &indexed.entry;
        let Some(stat) = index.find(entry)? else {
            indexed.set_asked();
            return Ok(());
        };
        let at = At::child(&index.dir, entry);
        if stat.kind != node.kind {
            return Err(Errno::EIO);
        }
        let marks = match stat.kind {
            FileType::File => self.rules.of_file(at, &stat)?,
            _ => FileMarks::default(),
        };
        if marks.metacopy {
            self.rules.check_metacopy(at)?;
            if marks.redirect {
                node.set_redirect(self.rules.redirect(at)?);
            }
        }
        let names = index.names(entry, &stat, || lower)?;
        node.adopt(upper_of(&stat), names, !marks.metacopy);
        Ok(())
    }

    /// The index entry of an upper object that has one: it was copied up from a lower file with several names.
    pub(super) fn indexed_upper(
        &self,
        stat: &Stat,
        origin: Option<&[u8]>,
    ) -> Result<Option<Indexed>> {
        // The entry is a link of its own.
        let (Some(index), Some(origin), 2..) = (&self.index, origin, stat.nlink) else {
            return Ok(None);
        };
        let Some(entry) = index.entry_of_copy(origin, stat)? else {
            return Ok(None);
        };
        let names = index.names(&entry, stat, || self.origin_links(&entry))?;
        Ok(Some(Indexed::lower(entry, names)))
    }

    /// How many links the lower file of an entry has.
    fn origin_links(&self, entry: &Name) -> Option<u32> {
        let found = index::origin_of(&self.stack.lowers, entry);
        found.ok().flatten().map(|stat| stat.nlink)
    }
}

/// Has a file names that are not in the upper layer? `stat`: its top-most part.
pub(super) fn has_lower_names(node: &Node, stat: &Stat) -> bool {
    match (node.indexed(), node.upper()) {
        (None, _) => false,
        (Some(_), None) => true,
        // One link is that of the index.
        (Some(indexed), Some(_)) => indexed.names() >= stat.nlink,
    }
}
