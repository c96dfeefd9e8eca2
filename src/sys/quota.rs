//! Quotas of projects: a tree whose files belong to a project can be kept from taking more than so many bytes and
//! inodes. A directory hands its project on to what is made in it.

use std::ffi::c_int;
use std::os::fd::AsFd;

use super::dir::DirFd;
use super::errno::{Errno, Result};
use super::ffi::{DQBLK_WORDS, get_fsxattr, project_quota, set_fsxattr};

const Q_GETQUOTA: c_int = 0x80_0007;
const Q_SETQUOTA: c_int = 0x80_0008;
/// Limits are in blocks of so many bytes.
const BLOCK_BYTES: u64 = 1024;
/// The words of `struct if_dqblk`.
const BLOCKS_HARD: usize = 0;
const BLOCKS_SOFT: usize = 1;
const BYTES_USED: usize = 2;
const INODES_HARD: usize = 3;
const INODES_SOFT: usize = 4;
const INODES_USED: usize = 5;
const VALID: usize = 8;
/// QIF_BLIMITS and QIF_ILIMITS.
const LIMITS: u64 = 1 | 4;

/// FS_XFLAG_PROJINHERIT.
const INHERIT: u32 = 0x200;

/// What a project may take; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes on disk.
    pub bytes: u64,
    /// Files, directories and the rest.
    pub inodes: u64,
}

/// Does nobody use this project on the filesystem of `dir`?
///
/// # Errors
/// ESRCH where no such quotas are kept, ENOSYS where none can be, EPERM without CAP_SYS_ADMIN.
pub fn is_free(dir: &DirFd, project: u32) -> Result<bool> {
    let mut quota = [0; DQBLK_WORDS];
    match project_quota(
        dir.at().open_dir_file()?.as_fd(),
        Q_GETQUOTA,
        project,
        &mut quota,
    ) {
        Err(Errno::ENOENT) => Ok(true),
        Err(errno) => Err(errno),
        Ok(()) => Ok([BLOCKS_HARD, BYTES_USED, INODES_HARD, INODES_USED]
            .iter()
            .all(|word| quota[*word] == 0)),
    }
}

/// Limits a project on the filesystem of `dir`.
///
/// # Errors
/// As [`is_free`].
pub fn limit(dir: &DirFd, project: u32, limits: Limits) -> Result<()> {
    let mut quota = [0; DQBLK_WORDS];
    quota[BLOCKS_HARD] = limits.bytes.div_ceil(BLOCK_BYTES);
    quota[BLOCKS_SOFT] = quota[BLOCKS_HARD];
    quota[INODES_HARD] = limits.inodes;
    quota[INODES_SOFT] = limits.inodes;
    quota[VALID] = LIMITS;
    project_quota(
        dir.at().open_dir_file()?.as_fd(),
        Q_SETQUOTA,
        project,
        &mut quota,
    )
}

/// Gives an empty directory, and so all that will be made in it, to a project.
///
/// # Errors
/// ENOTTY or EOPNOTSUPP where there are no projects.
pub fn give(dir: &DirFd, project: u32) -> Result<()> {
    let file = dir.at().open_dir_file()?;
    let mut attributes = get_fsxattr(file.as_fd())?;
    let flags = u32::from_ne_bytes([attributes[0], attributes[1], attributes[2], attributes[3]]);
    attributes[..4].copy_from_slice(&(flags | INHERIT).to_ne_bytes());
    attributes[12..16].copy_from_slice(&project.to_ne_bytes());
    set_fsxattr(file.as_fd(), &attributes)
}
