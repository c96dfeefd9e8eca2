//! Hard links (overlay-semantics 14.1): the source is copied up, both names share the upper object.

use std::ffi::OsStr;

use super::copyup::Data;
use super::slot::Slot;
use crate::overlay::Overlay;
use crate::overlay::node::NodeId;
use crate::overlay::view::lookup::Entry;
use crate::sys::errno::{Errno, Result};

impl Overlay {
    /// link(2): gives a node one more name.
    ///
    /// # Errors
    /// EEXIST (before anything is copied up), EPERM for a directory, ENOENT for a file whose last name is
    /// gone, EROFS, those of the upper layer.
    pub fn link(&self, id: NodeId, new_parent: NodeId, new_name: &OsStr) -> Result<Entry> {
        let node = self.table.get(id)?;
        let parent = self.dir_node(new_parent)?;
        let name = self.creatable_name(new_name)?;
        if node.is_dir() {
            return Err(Errno::EPERM);
        }
        let nameless = node.is_orphan() && !node.is_unnamed();
        if nameless && (node.upper().is_none() || self.stat(&node)?.nlink == 0) {
            return Err(Errno::ENOENT);
        }
        self.work()?;
        self.check_changeable(&node)?;
        self.check_gains(&parent)?;
        if parent.upper().is_none() || node.upper().is_none() {
            self.check_free(&parent, &name)?;
        }
        self.ensure_upper(&parent, Data::Full)?;
        self.ensure_upper(&node, self.data_to_move())?;
        self.redirect_link(&node)?;
        let held = self.hold_links_of(Some(&node))?;
        let source = self.real(&node)?;
        let locked = self.lock_dir(&parent)?;
        let seen = self.see(&parent, &name)?;
        if seen.top().is_some() {
            return Err(Errno::EEXIST);
        }
        let slot = Slot::new(&locked, &name);
        if self.has_other_number(&node) || self.has_origin(source.at())? {
            self.set_impure(&parent)?;
        }
        match seen.upper_whiteout {
            false => source.at().link(slot.dir, slot.name)?,
            true => self
                .work()?
                .link(source.at())?
                .replace(slot.dir, slot.name)?,
        }
        if seen.upper_marker {
            self.drop_marker(&slot);
        }
        self.count_names(held);
        let (found, stat) = self.find(&parent, &name)?.ok_or(Errno::EIO)?;
        Ok(self.enter(&found, &stat))
    }
}
