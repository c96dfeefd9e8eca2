//! Inode flags, as lsattr and chattr see them (ioctl_iflags(2)): read from the object shown, set on the
//! upper one.

use std::sync::Arc;

use super::copyup::Data;
use crate::layer::protattr::Protection;
use crate::overlay::Overlay;
use crate::overlay::node::{Node, NodeId};
use crate::sys::at::OpenMode;
use crate::sys::errno::{Errno, Result};
use crate::sys::file::{FSXATTR_BYTES, FileFd};
use crate::sys::stat::FileType;

/// The contents of a `struct fsxattr`; its first word holds the extended flags.
pub type FsXattr = [u8; FSXATTR_BYTES];

/// Bits of one of the two flag words that mean immutable and append-only.
#[derive(Clone, Copy)]
struct Bits {
    immutable: u32,
    append_only: u32,
}

/// FS_IMMUTABLE_FL and FS_APPEND_FL.
const FLAGS: Bits = Bits {
    immutable: 0x10,
    append_only: 0x20,
};
/// FS_XFLAG_IMMUTABLE and FS_XFLAG_APPEND.
const XFLAGS: Bits = Bits {
    immutable: 0x08,
    append_only: 0x10,
};

impl Bits {
    fn split(self, flags: u32) -> (u32, Protection) {
        let protection = Protection {
            immutable: flags & self.immutable != 0,
            append_only: flags & self.append_only != 0,
        };
        (flags & !(self.immutable | self.append_only), protection)
    }

    fn join(self, flags: u32, protection: Protection) -> u32 {
        let mut flags = flags;
        if protection.immutable {
            flags |= self.immutable;
        }
        if protection.append_only {
            flags |= self.append_only;
        }
        flags
    }
}

impl Overlay {
    /// The inode flags (FS_IOC_GETFLAGS) of a file or directory.
    ///
    /// # Errors
    /// ENOTTY where the layer's filesystem has none.
    pub fn inode_flags(&self, id: NodeId) -> Result<u32> {
        let node = self.table.get(id)?;
        let flags = self.open_for_flags(&node)?.inode_flags()?;
        Ok(FLAGS.join(flags, self.protection(&node)?))
    }

    /// Sets the inode flags (FS_IOC_SETFLAGS); copies up. Immutable and append-only become a mark: on the
    /// upper object they would keep us out as well (16.4).
    ///
    /// # Errors
    /// EOPNOTSUPP; ENOTTY where the upper has no flags; EROFS.
    pub fn set_inode_flags(&self, id: NodeId, flags: u32) -> Result<()> {
        let (flags, protection) = FLAGS.split(flags);
        let node = self.for_new_flags(id)?;
        {
            let _dir = node.is_dir().then(|| node.dir().write());
            if node.is_dir() {
                // It may be made one that ignores the case of names.
                node.upper_names().forget();
            }
            self.open_for_flags(&node)?.set_inode_flags(flags)?;
        }
        self.protect(&node, protection)
    }

    /// The extended inode flags (FS_IOC_FSGETXATTR).
    ///
    /// # Errors
    /// ENOTTY where the layer's filesystem has none.
    pub fn fsxattr(&self, id: NodeId) -> Result<FsXattr> {
        let node = self.table.get(id)?;
        let value = self.open_for_flags(&node)?.fsxattr()?;
        Ok(with_flags(
            value,
            XFLAGS.join(flags_of(&value), self.protection(&node)?),
        ))
    }

    /// Sets the extended inode flags (FS_IOC_FSSETXATTR); as [`Overlay::set_inode_flags`].
    ///
    /// # Errors
    /// As there.
    pub fn set_fsxattr(&self, id: NodeId, value: &FsXattr) -> Result<()> {
        let (flags, protection) = XFLAGS.split(flags_of(value));
        let node = self.for_new_flags(id)?;
        self.open_for_flags(&node)?
            .set_fsxattr(&with_flags(*value, flags))?;
        self.protect(&node, protection)
    }

    fn for_new_flags(&self, id: NodeId) -> Result<Arc<Node>> {
        let node = self.table.get(id)?;
        if !matches!(node.kind, FileType::File | FileType::Dir) {
            return Err(Errno::ENOTTY);
        }
        self.ensure_upper(&node, Data::Metadata)?;
        Ok(node)
    }

    fn protect(&self, node: &Arc<Node>, protection: Protection) -> Result<()> {
        self.on_upper(node, |at, _| self.write_protection(at, protection))?;
        node.set_protection(protection);
        Ok(())
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

fn flags_of(value: &FsXattr) -> u32 {
    u32::from_ne_bytes([value[0], value[1], value[2], value[3]])
}

fn with_flags(mut value: FsXattr, flags: u32) -> FsXattr {
    value[..4].copy_from_slice(&flags.to_ne_bytes());
    value
}
