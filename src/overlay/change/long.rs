//! How long a request may take that copies data up, or waits for a disk. Asked beforehand, and only a hint: who answers
//! requests gives the long ones to others.

use std::ffi::OsStr;
use std::sync::Arc;

use super::rename::Rename;
use crate::overlay::Overlay;
use crate::overlay::node::handle::OpenFile;
use crate::overlay::node::{Node, NodeId};
use crate::overlay::options::SyncMode;
use crate::sys::at::OpenMode;
use crate::sys::name::Name;
use crate::sys::stat::FileType;

/// So much is copied in no time, and written to a disk in a moment.
const SMALL_BYTES: u64 = 1 << 20;

/// How long a request may take, beside what all take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Takes {
    /// No longer than others.
    NoTime,
    /// A disk writes little meanwhile.
    AMoment,
    /// Who knows how long.
    Long,
}

impl Overlay {
    /// A change of this file's data.
    pub fn change_takes(&self, id: NodeId) -> Takes {
        let node = self.table.get(id);
        node.map_or(Takes::NoTime, |node| self.copy_takes(&node))
    }

    /// A change of an open file's data. One that was opened was copied up then.
    pub fn write_takes(&self, file: OpenFile) -> Takes {
        match file {
            OpenFile::Node(id, _) => self.change_takes(id),
            OpenFile::Handle(_) => Takes::NoTime,
        }
    }

    /// An open with these flags of open(2).
    pub fn open_takes(&self, id: NodeId, flags: i32) -> Takes {
        let mode = OpenMode::from_raw(flags);
        match mode.write && !mode.truncate {
            true => self.change_takes(id),
            false => Takes::NoTime,
        }
    }

    /// A change of attributes.
    pub fn attributes_take(&self, id: NodeId) -> Takes {
        match self.metacopy {
            true => Takes::NoTime,
            false => self.change_takes(id),
        }
    }

    /// A change of attributes, or of the size to this one.
    pub fn setattr_takes(&self, id: NodeId, size: Option<u64>) -> Takes {
        match size {
            Some(0) => Takes::NoTime,
            Some(_) => self.change_takes(id),
            None => self.attributes_take(id),
        }
    }

    /// The loss of a name.
    pub fn unlink_takes(&self, parent: NodeId, name: &OsStr) -> Takes {
        match self.index {
            // A file may be copied up before that.
            Some(_) => self.name_takes(parent, name),
            None => Takes::NoTime,
        }
    }

    /// A rename.
    pub fn rename_takes(
        &self,
        (from, name): (NodeId, &OsStr),
        (to, new_name): (NodeId, &OsStr),
        how: Rename,
    ) -> Takes {
        match how {
            Rename::Exchange => Takes::Long,
            _ => {
                let lost = self.unlink_takes(to, new_name);
                self.name_takes(from, name).max(lost)
            }
        }
    }

    /// A change of a name.
    fn name_takes(&self, parent: NodeId, name: &OsStr) -> Takes {
        let (Ok(parent), Ok(name)) = (self.table.get(parent), Name::from_os(name)) else {
            return Takes::NoTime;
        };
        if self.work.is_none() || !parent.has_lower() {
            return Takes::NoTime;
        }
        let found = {
            let _dir = parent.dir().read();
            self.find(&parent, &name)
        };
        // Where directories move by copying them, that takes as long as there is data in them.
        let flattens =
            |node: &Node| node.is_dir() && node.has_lower() && self.rename_copy_limit.is_some();
        match found {
            Ok(Some((node, _))) if flattens(&node) => Takes::Long,
            Ok(Some((node, _))) => self.copy_takes(&node),
            _ => Takes::NoTime,
        }
    }

    /// A sync.
    pub fn sync_takes(&self) -> Takes {
        match self.sync {
            SyncMode::Volatile => Takes::NoTime,
            _ => Takes::Long,
        }
    }

    fn copy_takes(&self, node: &Arc<Node>) -> Takes {
        if node.kind != FileType::File || node.has_upper_data() || self.work.is_none() {
            return Takes::NoTime;
        }
        let data = || self.lower_data(node)?.0.at().stat();
        match (data().map(|stat| stat.size), self.sync) {
            (Ok(..=SMALL_BYTES), SyncMode::Volatile) => Takes::NoTime,
            (Ok(..=SMALL_BYTES), _) => Takes::AMoment,
            _ => Takes::Long,
        }
    }
}
