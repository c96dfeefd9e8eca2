//! Private views of directory trees: a layer is used through a mount of its own, in which nothing is
//! mounted on top and nothing can be written.

use std::ffi::c_int;
use std::os::fd::AsFd;

use rustix::mount::OpenTreeFlags;

use super::dir::DirFd;
use super::errno::Result;
use super::ffi;

impl DirFd {
    /// A private, read-only clone of the mount that this directory is on, from here on downwards, without
    /// what is mounted inside it and with its device nodes dead. Access times do not change through it
    /// either: a read-only mount never writes them. What is mounted later does not come in.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN over the mount namespace; EINVAL in a user namespace where mounts inside
    /// may not be stripped off (they could hide something).
    pub fn clone_read_only(&self) -> Result<DirFd> {
        clone(self, OpenTreeFlags::empty(), 0)
    }

    /// The same, with clones of the mounts inside as they are now.
    ///
    /// # Errors
    /// EPERM as above.
    pub fn clone_read_only_whole(&self) -> Result<DirFd> {
        clone(self, OpenTreeFlags::AT_RECURSIVE, libc::AT_RECURSIVE)
    }
}

fn clone(dir: &DirFd, tree_flags: OpenTreeFlags, attribute_flags: c_int) -> Result<DirFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | tree_flags;
    let tree = rustix::mount::open_tree(dir, c"", flags)?;
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV;
    ffi::make_mount_private(tree.as_fd(), attributes, attribute_flags)?;
    Ok(DirFd(tree))
}
