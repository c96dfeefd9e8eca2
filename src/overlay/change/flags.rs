//! Inode flags, as lsattr and chattr see them (ioctl_iflags(2)): read from the object shown, set on the
//! upper one.

use std::sync::Arc;

use super::copyup::Data;
use crate::overlay::Overlay;
use crate::overlay::node::{Node, NodeId};
use crate::sys::at::OpenMode;
use crate::sys::errno::{Errno, Result};
use crate::sys::file::{FSXATTR_BYTES, FileFd};
use crate::sys::stat::FileType;

/// FS_IMMUTABLE_FL and FS_APPEND_FL.
const PROTECTING_FLAGS: u32 = 0x10 | 0x20;
/// FS_XFLAG_IMMUTABLE and FS_XFLAG_APPEND.
const PROTECTING_XFLAGS: u32 = 0x08 | 0x10;

/// The contents of a `struct fsxattr`; its first word holds the extended flags.
pub type FsXattr = [u8; FSXATTR_BYTES];

impl Overlay {
    /// The inode flags (FS_IOC_GETFLAGS) of a file or directory.
    ///
    /// # Errors
    /// ENOTTY where the layer's filesystem has none.
    pub fn inode_flags(&self, id: NodeId) -> Result<u32> {
        self.open_for_flags(&self.table.get(id)?)?.inode_flags()
    }

    /// Sets the inode flags (FS_IOC_SETFLAGS); copies up. Immutable and append-only are refused: on the
    /// upper object they would keep us out as well (16.4).
    ///
    /// # Errors
    /// EOPNOTSUPP; ENOTTY where the upper has no flags; EROFS.
    pub fn set_inode_flags(&self, id: NodeId, flags: u32) -> Result<()> {
        let node = self.for_new_flags(id, flags & PROTECTING_FLAGS)?;
        self.open_for_flags(&node)?.set_inode_flags(flags)
    }

    /// The extended inode flags (FS_IOC_FSGETXATTR).
    ///
    /// # Errors
    /// ENOTTY where the layer's filesystem has none.
    pub fn fsxattr(&self, id: NodeId) -> Result<FsXattr> {
        self.open_for_flags(&self.table.get(id)?)?.fsxattr()
    }

    /// Sets the extended inode flags (FS_IOC_FSSETXATTR); as [`Overlay::set_inode_flags`].
    ///
    /// # Errors
    /// As there.
    pub fn set_fsxattr(&self, id: NodeId, value: &FsXattr) -> Result<()> {
        let flags = u32::from_ne_bytes([value[0], value[1], value[2], value[3]]);
        let node = self.for_new_flags(id, flags & PROTECTING_XFLAGS)?;
        self.open_for_flags(&node)?.set_fsxattr(value)
    }

    fn for_new_flags(&self, id: NodeId, protecting: u32) -> Result<Arc<Node>> {
        let node = self.table.get(id)?;
        if protecting != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if !matches!(node.kind, FileType::File | FileType::Dir) {
            return Err(Errno::ENOTTY);
        }
        self.ensure_upper(&node, Data::Metadata)?;
        Ok(node)
    }

    /// Opens a file or directory for an ioctl.
    fn open_for_flags(&self, node: &Arc<Node>) -> Result<FileFd> {
        match node.kind {
            FileType::Dir => self.real(node)?.at().open_dir_file(),
            FileType::File => self.on_real(node, |at| {
                let file = at.open_file(OpenMode::READ)?;
                let stat = file.stat()?;
                Ok((file, stat))
            }),
            _ => Err(Errno::ENOTTY),
        }
    }
}
