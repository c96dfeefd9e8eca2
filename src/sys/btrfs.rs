//! Subvolumes of btrfs: trees of which a snapshot can be taken at once, whatever is in them.

use std::os::fd::AsFd;

use super::dir::DirFd;
use super::errno::Result;
use super::ffi::{BtrfsVerb, btrfs_has_subvolumes, btrfs_subvolume};
use super::file::filesystem_type;
use super::name::Name;
use super::stat::Stat;

/// BTRFS_SUPER_MAGIC
const MAGIC: u64 = 0x9123_683e;
/// The inode number of the root of each subvolume.
const ROOT_INODE: u64 = 256;

/// Is this directory the root of a subvolume?
///
/// # Errors
/// Those of looking.
pub fn is_subvolume(dir: &DirFd) -> Result<bool> {
    Ok(may_be_subvolume(&dir.stat()?) && filesystem_type(dir)? == MAGIC)
}

/// Does it look like the root of a subvolume, on whatever filesystem?
pub fn may_be_subvolume(stat: &Stat) -> bool {
    stat.ino == ROOT_INODE && stat.is_dir()
}

/// Makes an empty subvolume, of mode 0777 less the umask.
///
/// # Errors
/// ENOTTY where there are none, those of mkdir.
pub fn create(dir: &DirFd, name: &Name) -> Result<()> {
    let dir = dir.at().open_dir_file()?;
    btrfs_subvolume(dir.as_fd(), BtrfsVerb::Create, name.as_bytes(), None)
}

/// Makes a snapshot of a subvolume, one that can be written to.
///
/// # Errors
/// As [`create`]; EPERM for a subvolume of somebody else.
pub fn snapshot(of: &DirFd, dir: &DirFd, name: &Name) -> Result<()> {
    let (dir, of) = (dir.at().open_dir_file()?, of.at().open_dir_file()?);
    let of = Some(of.as_fd());
    btrfs_subvolume(dir.as_fd(), BtrfsVerb::Snapshot, name.as_bytes(), of)
}

/// Removes a subvolume with all that is in it, at once.
///
/// # Errors
/// EPERM for a plain user, unless the filesystem is mounted with `user_subvol_rm_allowed`; ENOTEMPTY when there are
/// subvolumes in it.
pub fn destroy(dir: &DirFd, name: &Name) -> Result<()> {
    let dir = dir.at().open_dir_file()?;
    btrfs_subvolume(dir.as_fd(), BtrfsVerb::Destroy, name.as_bytes(), None)
}

/// Are there subvolumes in this one? A snapshot has empty directories in their places.
///
/// # Errors
/// Those of asking.
pub fn has_inner(subvolume: &DirFd) -> Result<bool> {
    btrfs_has_subvolumes(subvolume.at().open_dir_file()?.as_fd())
}
