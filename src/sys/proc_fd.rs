//! `/proc/self/fd`: the way from an O_PATH fd to calls that want a path. Opened once, before the
//! process changes its root or namespace, and checked to be a real procfs.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};

use super::errno::{Errno, Result};
use super::ffi;

static DIR: OnceLock<std::result::Result<OwnedFd, Errno>> = OnceLock::new();

/// A directory fd of `/proc/self/fd`.
///
/// # Errors
/// ENOENT and the like when /proc is not mounted, EINVAL when it is not procfs.
pub(super) fn dir() -> Result<BorrowedFd<'static>> {
    DIR.get_or_init(open)
        .as_ref()
        .map(std::os::fd::AsFd::as_fd)
        .map_err(|errno| *errno)
}

/// Opens it now.
///
/// # Errors
/// ENOENT and the like when /proc is not mounted, EINVAL when it is not procfs.
pub fn init() -> Result<()> {
    dir().map(drop)
}

/// Opens it anew, in a process forked after [`init`]: until then it is that of the process before.
///
/// # Errors
/// As [`init`].
pub fn renew() -> Result<()> {
    ffi::replace_fd(dir()?, &open()?)
}

fn open() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty())?;
    if rustix::fs::fstatfs(&fd)?.f_type != rustix::fs::PROC_SUPER_MAGIC {
        return Err(Errno::EINVAL);
    }
    Ok(fd)
}

/// The name of an fd's magic link in that directory.
pub(super) fn entry(fd: BorrowedFd<'_>) -> CString {
    CString::new(fd.as_raw_fd().to_string()).unwrap_or_default()
}
