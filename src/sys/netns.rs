//! Network namespaces: make, open, enter, and keep by a file.
//!
//! Invariant: a thread that goes into another namespace for a piece of work is back before anybody can notice, or the
//! work fails loudly ([`Netns::within`]).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::LinkNameSpaceType;

use super::errno::{Errno, Result};
use super::ffi;

/// A network namespace, kept alive as long as this is.
#[derive(Debug)]
pub struct Netns(OwnedFd);

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Netns {
    /// That of this thread.
    ///
    /// # Errors
    /// As open(2) says.
    pub fn current() -> Result<Netns> {
        Netns::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// That in which a socket was opened. For who may configure it, a way to this thread's own that needs no `/proc`.
    ///
    /// # Errors
    /// EPERM for others.
    pub fn of_socket(socket: impl AsFd) -> Result<Netns> {
        ffi::namespace_of_socket(socket.as_fd()).map(Netns)
    }

    /// The one that a file stands for: `/proc/PID/ns/net`, or what one was bound to.
    ///
    /// # Errors
    /// As open(2) says; EINVAL if the file is something else.
    pub fn open(path: &Path) -> Result<Netns> {
        // Not blocking: the path may lead to a fifo.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(path, flags, Mode::empty())?;
        match ffi::namespace_type(file.as_fd()) {
            Ok(libc::CLONE_NEWNET) => Ok(Netns(file)),
            Ok(_) | Err(Errno::ENOTTY) => Err(Errno::EINVAL),
            Err(errno) => Err(errno),
        }
    }

    /// A fresh one, with nothing but a loopback that is off. The thread stays where it is.
    ///
    /// # Errors
    /// As unshare(2) says.
    pub fn create() -> Result<Netns> {
        let home = Netns::current()?;
        ffi::unshare_network()?;
        let fresh = Netns::current();
        home.enter()?;
        fresh
    }

    /// The number that tells namespaces apart while they live.
    ///
    /// # Errors
    /// As fstat(2) says.
    pub fn inode(&self) -> Result<u64> {
        Ok(rustix::fs::fstat(&self.0)?.st_ino)
    }

    /// The fd's number, for messages to the kernel.
    pub fn number(&self) -> i32 {
        use std::os::fd::AsRawFd;
        self.0.as_raw_fd()
    }

    /// Moves this thread into it.
    ///
    /// # Errors
    /// As setns(2) says.
    pub fn enter(&self) -> Result<()> {
        let kind = Some(LinkNameSpaceType::Network);
        Ok(rustix::thread::move_into_link_name_space(
            self.as_fd(),
            kind,
        )?)
    }

    /// Does `work` in it.
    ///
    /// # Errors
    /// As setns(2) says, on the way in or back.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        self.within_from(&Netns::current()?, work)
    }

    /// As [`Netns::within`], for who knows that this thread is in `home`.
    ///
    /// # Errors
    /// As setns(2) says, on the way in or back.
    pub fn within_from<T>(&self, home: &Netns, work: impl FnOnce() -> T) -> Result<T> {
        self.enter()?;
        let done = work();
        home.enter()?;
        Ok(done)
    }

    /// Keeps it alive by a mount on a new file at `path`.
    ///
    /// # Errors
    /// As open(2), mount(2) say; EEXIST if something is there.
    pub fn bind(&self, path: &Path) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        drop(rustix::fs::open(path, flags, Mode::RUSR)?);
        let own = format!("/proc/self/fd/{}", self.number());
        rustix::mount::mount_bind(own.as_str(), path)?;
        Ok(())
    }
}

/// Takes away what [`Netns::bind`] made; the namespace ends with its last user. Nothing there is no failure.
///
/// # Errors
/// As umount2(2), unlink(2) say.
pub fn unbind(path: &Path) -> Result<()> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // Not a mount point: a crash came between the file and the mount.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    match rustix::fs::unlink(path) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes this process's mounts its own: what others mount or unmount from now on is not seen, and the other way round.
///
/// # Errors
/// As mount(2) says.
pub fn keep_mounts_private() -> Result<()> {
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    Ok(rustix::mount::mount_change(c"/", private)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_namespace_is_refused() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Netns::open(temp.path()).err(), Some(Errno::EINVAL));
        let user = Path::new("/proc/self/ns/user");
        assert_eq!(Netns::open(user).err(), Some(Errno::EINVAL));
        let missing = Path::new("/proc/self/ns/none");
        assert_eq!(Netns::open(missing).err(), Some(Errno::ENOENT));
        assert_eq!(unbind(Path::new("/no-such-place")), Ok(()));
    }

    #[test]
    fn this_namespace_has_a_number() {
        let here = Netns::current().unwrap();
        let link = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        assert_eq!(
            link.to_str().unwrap(),
            format!("net:[{}]", here.inode().unwrap())
        );
    }
}
