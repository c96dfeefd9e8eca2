//! [`At`]: one object, named by a directory fd and one component or by an fd of its own, and the
//! verbs that work on either. None of them follows a symbolic link.

use std::ffi::{CStr, c_int};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use super::dir::DirFd;
use super::errno::{Errno, Result};
use super::ffi;
use super::file::FileFd;
use super::name::Name;
use super::proc_fd;
use super::stat::{Stat, Time};

/// An O_PATH fd of an object of any type: a handle on its identity, not on its data.
#[derive(Debug)]
pub struct PathFd(pub(super) OwnedFd);

impl PathFd {
    /// The object as the target of a verb.
    pub fn at(&self) -> At<'_> {
        At(Target::Fd(self.0.as_fd()))
    }
}

/// A borrowed reference to one object on disk.
#[derive(Clone, Copy, Debug)]
pub struct At<'a>(pub(super) Target<'a>);

#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    /// A name in a directory.
    Child(BorrowedFd<'a>, &'a CStr),
    /// A directory itself.
    Dir(BorrowedFd<'a>),
    /// Any object by an fd of its own.
    Fd(BorrowedFd<'a>),
}

/// What a new time stamp shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// Leave it.
    Omit,
    /// The current time.
    Now,
    /// This time.
    At(Time),
}

impl SetTime {
    fn to_timespec(self) -> Timespec {
        match self {
            SetTime::Omit => Timespec {
                tv_sec: 0,
                tv_nsec: rustix::fs::UTIME_OMIT,
            },
            SetTime::Now => Timespec {
                tv_sec: 0,
                tv_nsec: rustix::fs::UTIME_NOW,
            },
            SetTime::At(t) => Timespec {
                tv_sec: t.sec,
                tv_nsec: t.nsec.into(),
            },
        }
    }
}

/// The pair of times that utimensat(2) takes.
pub(super) fn timestamps(atime: SetTime, mtime: SetTime) -> Timestamps {
    Timestamps {
        last_access: atime.to_timespec(),
        last_modification: mtime.to_timespec(),
    }
}

impl<'a> At<'a> {
    /// The object `name` in `dir`.
    pub fn child(dir: &'a DirFd, name: &'a Name) -> At<'a> {
        At(Target::Child(dir.as_fd(), name.as_c_str()))
    }

    /// Directory fd, path and the `AT_*` flags that make a system call mean just this object.
    pub(super) fn parts(self) -> (BorrowedFd<'a>, &'a CStr, AtFlags) {
        match self.0 {
            Target::Child(dir, name) => (dir, name, AtFlags::SYMLINK_NOFOLLOW),
            Target::Dir(fd) | Target::Fd(fd) => (fd, c"", AtFlags::EMPTY_PATH),
        }
    }

    fn raw_flags(flags: AtFlags) -> c_int {
        // The two flags in use are below 2^31.
        flags.bits() as c_int
    }

    /// As [`At::parts`], with flags for the calls of [`ffi`].
    pub(super) fn raw_parts(self) -> (BorrowedFd<'a>, &'a CStr, c_int) {
        let (dir, path, flags) = self.parts();
        (dir, path, At::raw_flags(flags))
    }

    /// statx(2).
    ///
    /// # Errors
    /// Those of statx.
    pub fn stat(self) -> Result<Stat> {
        let (dir, path, flags) = self.parts();
        let statx = rustix::fs::statx(dir, path, flags | AtFlags::NO_AUTOMOUNT, Stat::MASK)?;
        Ok(Stat::from_statx(&statx))
    }

    /// An O_PATH fd of the object.
    ///
    /// # Errors
    /// Those of open.
    pub fn open_path(self) -> Result<PathFd> {
        match self.0 {
            Target::Child(dir, name) => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                Ok(PathFd(rustix::fs::openat(dir, name, flags, Mode::empty())?))
            }
            Target::Dir(fd) | Target::Fd(fd) => Ok(PathFd(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)),
        }
    }

    /// Opens a regular file for I/O. `flags` are those of open(2) less `O_CREAT` and `O_EXCL`.
    /// O_NONBLOCK keeps a fifo that was swapped in from hanging us; it means nothing to a file.
    ///
    /// # Errors
    /// Those of open; ELOOP for a symbolic link.
    pub fn open_file(self, flags: OpenMode) -> Result<FileFd> {
        let flags = flags.to_oflags() | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match self.0 {
            Target::Child(dir, name) => {
                rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty())?
            }
            // The magic link leads to this very object and nowhere else.
            Target::Dir(fd) | Target::Fd(fd) => {
                rustix::fs::openat(proc_fd::dir()?, &*proc_fd::entry(fd), flags, Mode::empty())?
            }
        };
        Ok(FileFd(fd))
    }

    /// Opens a directory for reading its entries or for fsync. That is no access: its time stays, where
    /// we may ask for that.
    ///
    /// # Errors
    /// Those of open; ENOTDIR.
    pub fn open_dir_file(self) -> Result<FileFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let open = |flags| match self.0 {
            Target::Child(dir, name) => {
                rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty())
            }
            Target::Dir(fd) | Target::Fd(fd) => rustix::fs::openat(fd, c".", flags, Mode::empty()),
        };
        match open(flags | OFlags::NOATIME) {
            // Only the owner may.
            Err(rustix::io::Errno::PERM) => Ok(FileFd(open(flags)?)),
            result => Ok(FileFd(result?)),
        }
    }

    /// The directory that this is, for verbs on its entries.
    ///
    /// # Errors
    /// Those of open; ENOTDIR.
    pub fn open_dir(self) -> Result<DirFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(DirFd(match self.0 {
            Target::Child(dir, name) => rustix::fs::openat(dir, name, flags, Mode::empty())?,
            Target::Dir(fd) | Target::Fd(fd) => rustix::fs::openat(fd, c".", flags, Mode::empty())?,
        }))
    }

    /// Sets the permission bits (07777) of anything but a symbolic link.
    ///
    /// # Errors
    /// Those of chmod; EOPNOTSUPP for a symbolic link.
    pub fn chmod(self, perm: u32) -> Result<()> {
        let (dir, path, flags) = self.raw_parts();
        match ffi::fchmodat2(dir, path, perm, flags) {
            Err(Errno::ENOSYS) => self.chmod_through_proc(perm),
            result => result,
        }
    }

    /// Before Linux 6.6 the only way not to follow a link is an O_PATH fd and its magic link.
    fn chmod_through_proc(self, perm: u32) -> Result<()> {
        let path = self.open_path()?;
        let entry = proc_fd::entry(path.0.as_fd());
        rustix::fs::chmodat(
            proc_fd::dir()?,
            &*entry,
            Mode::from_raw_mode(perm),
            AtFlags::empty(),
        )?;
        Ok(())
    }

    /// Sets owner and group; `None` leaves one as it is.
    ///
    /// # Errors
    /// Those of chown.
    pub fn chown(self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let (dir, path, flags) = self.parts();
        rustix::fs::chownat(
            dir,
            path,
            uid.map(Uid::from_raw),
            gid.map(Gid::from_raw),
            flags,
        )?;
        Ok(())
    }

    /// Sets access and modification time.
    ///
    /// # Errors
    /// Those of utimensat.
    pub fn set_times(self, atime: SetTime, mtime: SetTime) -> Result<()> {
        let times = timestamps(atime, mtime);
        let (dir, path, flags) = self.parts();
        match rustix::fs::utimensat(dir, path, &times, flags) {
            // utimensat knows AT_EMPTY_PATH since Linux 5.8.
            Err(rustix::io::Errno::INVAL) if flags == AtFlags::EMPTY_PATH => {
                Ok(rustix::fs::utimensat(
                    proc_fd::dir()?,
                    &*proc_fd::entry(dir),
                    &times,
                    AtFlags::empty(),
                )?)
            }
            result => Ok(result?),
        }
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// EINVAL when it is none.
    pub fn read_link(self) -> Result<Vec<u8>> {
        let (dir, path, _) = self.parts();
        Ok(rustix::fs::readlinkat(dir, path, Vec::new())?.into_bytes())
    }

    /// Gives the object one more name.
    ///
    /// # Errors
    /// Those of link; EEXIST when the name is taken.
    pub fn link(self, dir: &DirFd, name: &Name) -> Result<()> {
        match self.0 {
            Target::Child(from, old) => {
                rustix::fs::linkat(from, old, dir, name.as_c_str(), AtFlags::empty())?;
            }
            // AT_EMPTY_PATH would want CAP_DAC_READ_SEARCH; the magic link needs no privilege.
            Target::Dir(fd) | Target::Fd(fd) => {
                let entry = proc_fd::entry(fd);
                rustix::fs::linkat(
                    proc_fd::dir()?,
                    &*entry,
                    dir,
                    name.as_c_str(),
                    AtFlags::SYMLINK_FOLLOW,
                )?;
            }
        }
        Ok(())
    }

    /// The kind and body of the object's file handle (name_to_handle_at(2)).
    ///
    /// # Errors
    /// EOPNOTSUPP where the filesystem has no handles.
    pub fn handle(self) -> Result<(i32, Vec<u8>)> {
        let (dir, path, flags) = self.parts();
        // Not following is this call's default; AT_SYMLINK_NOFOLLOW is unknown to it.
        ffi::name_to_handle(dir, path, At::raw_flags(flags - AtFlags::SYMLINK_NOFOLLOW))
    }
}

/// How a regular file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenMode {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// Cut to nothing.
    pub truncate: bool,
    /// Do not touch the access time (needs ownership; ignored where refused).
    pub noatime: bool,
    /// `O_SYNC` or `O_DSYNC`.
    pub sync: Sync,
}

/// Whether writes wait for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// They do not.
    #[default]
    No,
    /// O_DSYNC: data does.
    Data,
    /// O_SYNC: data and metadata do.
    All,
}

impl OpenMode {
    /// For reading only.
    pub const READ: OpenMode = OpenMode {
        read: true,
        write: false,
        truncate: false,
        noatime: false,
        sync: Sync::No,
    };

    /// For writing only.
    pub const WRITE: OpenMode = OpenMode {
        read: false,
        write: true,
        truncate: false,
        noatime: false,
        sync: Sync::No,
    };

    /// From the raw flags of an open request: access mode, O_TRUNC and the O_SYNC family. The
    /// rest is the business of the kernel above us (O_APPEND, O_DIRECT, O_NONBLOCK ...).
    pub fn from_raw(flags: i32) -> OpenMode {
        let access = flags & libc::O_ACCMODE;
        OpenMode {
            read: access != libc::O_WRONLY,
            write: access == libc::O_WRONLY || access == libc::O_RDWR,
            truncate: flags & libc::O_TRUNC != 0,
            noatime: false,
            sync: match () {
                () if flags & libc::O_SYNC == libc::O_SYNC => Sync::All,
                () if flags & libc::O_DSYNC != 0 => Sync::Data,
                () => Sync::No,
            },
        }
    }

    pub(super) fn to_oflags(self) -> OFlags {
        let mut flags = match (self.read, self.write) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            (_, false) => OFlags::RDONLY,
        };
        flags.set(OFlags::TRUNC, self.truncate);
        flags.set(OFlags::NOATIME, self.noatime);
        match self.sync {
            Sync::No => {}
            Sync::Data => flags |= OFlags::DSYNC,
            Sync::All => flags |= OFlags::SYNC,
        }
        flags
    }
}
