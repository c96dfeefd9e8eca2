//! Mounting the kernel's own overlayfs, by the calls that take one option at a time: so many layers fit as the kernel
//! takes (500), whatever their paths.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::CWD;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags};

use super::errno::{Errno, Result};

/// Filesystem type in the mount table.
pub const FSTYPE: &str = "overlay";

/// What to mount where. All paths are absolute.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The mount point.
    pub target: &'a OsStr,
    /// Lower directories, the top-most first.
    pub lowers: &'a [&'a OsStr],
    /// Upper and work directory.
    pub changes: Option<(&'a OsStr, &'a OsStr)>,
    /// The upper need not survive a crash of the system.
    pub volatile: bool,
    /// Marks are in `user.overlay.*`.
    pub userxattr: bool,
}

/// Mounts.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN, ENODEV where the kernel has no overlayfs, EINVAL for a filesystem or a number of layers
/// that it does not take, and on kernels before 6.5.
pub fn mount(request: &Request<'_>) -> Result<()> {
    let context = rustix::mount::fsopen(FSTYPE, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let fd = context.as_fd();
    set(fd, c"source", OsStr::new("plyfs"))?;
    for lower in request.lowers {
        set(fd, c"lowerdir+", lower)?;
    }
    if let Some((upper, work)) = request.changes {
        set(fd, c"upperdir", upper)?;
        set(fd, c"workdir", work)?;
    }
    if request.volatile && request.changes.is_some() {
        rustix::mount::fsconfig_set_flag(fd, c"volatile")?;
    }
    if request.userxattr {
        // It decides on redirects by itself.
        rustix::mount::fsconfig_set_flag(fd, c"userxattr")?;
    } else {
        // A layer must mean the same wherever it is mounted: no marks that lead into other layers.
        set(fd, c"redirect_dir", OsStr::new("off"))?;
        set(fd, c"metacopy", OsStr::new("off"))?;
    }
    set(fd, c"index", OsStr::new("off"))?;
    rustix::mount::fsconfig_create(fd)?;
    let attributes = match request.changes {
        Some(_) => MountAttrFlags::empty(),
        None => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    let mount = rustix::mount::fsmount(fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(
        mount,
        c"",
        CWD,
        request.target,
        flags,
    )?)
}

fn set(context: BorrowedFd<'_>, option: &CStr, value: &OsStr) -> Result<()> {
    let value = CString::new(value.as_bytes()).map_err(|_| Errno::EINVAL)?;
    Ok(rustix::mount::fsconfig_set_string(
        context,
        option,
        value.as_c_str(),
    )?)
}

/// Unmounts it.
///
/// # Errors
/// EBUSY while somebody uses it.
pub fn unmount(target: &OsStr) -> Result<()> {
    Ok(rustix::mount::unmount(target, UnmountFlags::NOFOLLOW)?)
}
