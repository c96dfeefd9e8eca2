//! Private views of directory trees: a layer is used through a mount of its own, in which nothing is
//! mounted on top and nothing can be written.

use std::ffi::c_int;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::OpenTreeFlags;

use super::dir::DirFd;
use super::errno::{Errno, Result};
use super::ffi;

impl DirFd {
    /// A private, read-only clone of the mount below `path`, without what is mounted inside it and with
    /// its device nodes dead. Access times do not change through it either: a read-only mount never
    /// writes them. In a user namespace mounts inside may not be stripped off (they could hide something):
    /// there they are cloned as well, as they are now.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN over the mount namespace.
    pub fn open_private_read_only(path: &Path) -> Result<DirFd> {
        match clone(path, OpenTreeFlags::empty(), 0) {
            Err(Errno::EINVAL) => clone(path, OpenTreeFlags::AT_RECURSIVE, libc::AT_RECURSIVE),
            result => result,
        }
    }
}

fn clone(path: &Path, tree_flags: OpenTreeFlags, attribute_flags: c_int) -> Result<DirFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | tree_flags;
    let tree = rustix::mount::open_tree(CWD, path, flags)?;
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV;
    ffi::mount_set_attributes(tree.as_fd(), attributes, attribute_flags)?;
    Ok(DirFd(tree))
}
