//! Which requests may take long: those that copy data up, or wait for a disk. Asked beforehand, and only a hint: who
//! answers requests gives these to others.

use std::ffi::OsStr;
use std::sync::Arc;

use crate::overlay::Overlay;
use crate::overlay::node::{Node, NodeId};
use crate::overlay::options::SyncMode;
use crate::sys::name::Name;
use crate::sys::stat::FileType;

/// So much is copied in no time, if nobody waits for the disk.
const SMALL_BYTES: u64 = 1 << 20;

impl Overlay {
    /// Does a change of this file's data copy data up first?
    pub fn copies_data(&self, id: NodeId) -> bool {
        self.table.get(id).is_ok_and(|node| self.has_to_copy(&node))
    }

    /// Does a change of this file's attributes?
    pub fn copies_data_for_attributes(&self, id: NodeId) -> bool {
        !self.metacopy && self.copies_data(id)
    }

    /// Does the loss or a change of this name?
    pub fn copies_data_for_name(&self, parent: NodeId, name: &OsStr) -> bool {
        let (Ok(parent), Ok(name)) = (self.table.get(parent), Name::from_os(name)) else {
            return false;
        };
        if self.work.is_none() || !parent.has_lower() {
            return false;
        }
        let found = {
            let _dir = parent.dir().read();
            self.find(&parent, &name)
        };
        // Where directories move by copying them, that takes as long as there is data in them.
        let flattens =
            |node: &Node| node.is_dir() && node.has_lower() && self.rename_copy_limit.is_some();
        matches!(found, Ok(Some((node, _))) if flattens(&node) || self.has_to_copy(&node))
    }

    /// Does a sync wait for the disk?
    pub fn syncs(&self) -> bool {
        self.sync != SyncMode::Volatile
    }

    /// Is there an index? Then a file may be copied up before it loses a name.
    pub fn has_index(&self) -> bool {
        self.index.is_some()
    }

    fn has_to_copy(&self, node: &Arc<Node>) -> bool {
        if node.kind != FileType::File || node.has_upper_data() || self.work.is_none() {
            return false;
        }
        let data = || self.lower_data(node)?.0.at().stat();
        self.syncs() || data().is_ok_and(|stat| stat.size > SMALL_BYTES)
    }
}
