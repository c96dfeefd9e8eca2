//! What a filesystem is and can do, asked once for all the layers on it.

use std::collections::HashMap;

use super::origin::Uuid;
use crate::sys::dir::DirFd;
use crate::sys::file::{FsStat, filesystem_type};

/// What layers on one filesystem have in common.
#[derive(Clone, Copy, Debug)]
pub struct Filesystem {
    /// Its UUID, where it has one.
    pub uuid: Option<Uuid>,
    /// Its objects have the flags of chattr(1).
    pub has_flags: bool,
    /// Do extended attributes take next to nothing of the blocks of a file here? On XFS they may take many, and
    /// what another filesystem passes on from below is not known.
    pub blocks_are_data: bool,
    /// The longest name in bytes, where it tells.
    pub name_max: Option<u64>,
}

/// Those that were asked, by their device numbers.
#[derive(Debug, Default)]
pub struct Filesystems(HashMap<u64, Filesystem>);

impl Filesystems {
    /// The filesystem of the directory `root`, which is on `device`.
    pub fn of(&mut self, root: &DirFd, device: u64) -> Filesystem {
        if let Some(known) = self.0.get(&device) {
            return *known;
        }
        // Only an fd that can do I/O takes the ioctl; a directory we may not read has no UUID for us.
        let opened = root.at().open_dir_file().ok();
        let found = Filesystem {
            uuid: opened.as_ref().and_then(|dir| dir.filesystem_uuid().ok()),
            has_flags: opened.as_ref().is_some_and(|dir| dir.inode_flags().is_ok()),
            blocks_are_data: blocks_are_data(root),
            name_max: FsStat::of(root).ok().map(|stat| stat.namelen),
        };
        // The next one may be readable.
        if opened.is_some() {
            self.0.insert(device, found);
        }
        found
    }
}

fn blocks_are_data(root: &DirFd) -> bool {
    const EXT4: u64 = 0xef53;
    const TMPFS: u64 = 0x0102_1994;
    const BTRFS: u64 = 0x9123_683e;
    filesystem_type(root).is_ok_and(|kind| [EXT4, TMPFS, BTRFS].contains(&kind))
}
