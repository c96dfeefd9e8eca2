//! [`DirFd`]: a directory held by an O_PATH fd, and the verbs on its entries, one component each.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, RenameFlags};

use super::at::{At, OpenMode, PathFd, Target};
use super::errno::Result;
use super::ffi;
use super::file::FileFd;
use super::name::Name;
use super::stat::{FileType, Rdev, Stat};

/// An O_PATH fd of a directory.
#[derive(Debug)]
pub struct DirFd(pub(super) OwnedFd);

impl AsFd for DirFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What kind of rename is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// A target that exists is replaced.
    Replace,
    /// EEXIST when the target exists.
    NoReplace,
    /// Source and target change places.
    Exchange,
    /// As `Replace`, and a whiteout is left at the source.
    Whiteout,
}

impl DirFd {
    /// Opens a directory by path, following links: for the roots a user names, never inside a layer.
    ///
    /// # Errors
    /// Those of open; ENOTDIR.
    pub fn open(path: &Path) -> Result<DirFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(DirFd(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// The directory itself as the target of a verb.
    pub fn at(&self) -> At<'_> {
        At(Target::Dir(self.0.as_fd()))
    }

    /// statx(2) of the directory itself.
    ///
    /// # Errors
    /// Those of statx.
    pub fn stat(&self) -> Result<Stat> {
        self.at().stat()
    }

    /// statx(2) of the parent directory, `..`.
    ///
    /// # Errors
    /// Those of statx.
    pub fn stat_parent(&self) -> Result<Stat> {
        let statx = rustix::fs::statx(self, c"..", AtFlags::NO_AUTOMOUNT, Stat::MASK)?;
        Ok(Stat::from_statx(&statx))
    }

    /// One more fd of the same directory.
    ///
    /// # Errors
    /// EMFILE.
    pub fn try_clone(&self) -> Result<DirFd> {
        Ok(DirFd(self.0.try_clone()?))
    }

    /// The subdirectory `name`.
    ///
    /// # Errors
    /// Those of open; ENOTDIR for anything else, a symbolic link included.
    pub fn open_dir(&self, name: &Name) -> Result<DirFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(DirFd(rustix::fs::openat(
            self,
            name.as_c_str(),
            flags,
            Mode::empty(),
        )?))
    }

    /// The parent directory, `..`.
    ///
    /// # Errors
    /// Those of open.
    pub fn open_parent(&self) -> Result<DirFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(DirFd(rustix::fs::openat(
            self,
            c"..",
            flags,
            Mode::empty(),
        )?))
    }

    /// Creates and opens a regular file; fails when the name is taken.
    ///
    /// # Errors
    /// Those of open; EEXIST.
    pub fn create_file(&self, name: &Name, mode: OpenMode, perm: u32) -> Result<FileFd> {
        let flags =
            mode.to_oflags() | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(FileFd(rustix::fs::openat(
            self,
            name.as_c_str(),
            flags,
            Mode::from_raw_mode(perm),
        )?))
    }

    /// An unnamed file in this directory (O_TMPFILE), to be given a name by [`At::link`].
    ///
    /// # Errors
    /// EOPNOTSUPP where the filesystem has none; EINVAL for a file that could not be written.
    pub fn create_unnamed(&self, mode: OpenMode, perm: u32) -> Result<FileFd> {
        let flags = mode.to_oflags() | OFlags::TMPFILE | OFlags::CLOEXEC;
        Ok(FileFd(rustix::fs::openat(
            self,
            c".",
            flags,
            Mode::from_raw_mode(perm),
        )?))
    }

    /// mkdir(2).
    ///
    /// # Errors
    /// Those of mkdir.
    pub fn mkdir(&self, name: &Name, perm: u32) -> Result<()> {
        Ok(rustix::fs::mkdirat(
            self,
            name.as_c_str(),
            Mode::from_raw_mode(perm),
        )?)
    }

    /// mknod(2) of anything but a directory or a symbolic link.
    ///
    /// # Errors
    /// Those of mknod.
    pub fn mknod(&self, name: &Name, kind: FileType, perm: u32, rdev: Rdev) -> Result<()> {
        let dev = rustix::fs::makedev(rdev.major, rdev.minor);
        let kind = rustix::fs::FileType::from_raw_mode(kind.to_mode());
        Ok(rustix::fs::mknodat(
            self,
            name.as_c_str(),
            kind,
            Mode::from_raw_mode(perm),
            dev,
        )?)
    }

    /// symlink(2).
    ///
    /// # Errors
    /// Those of symlink.
    pub fn symlink(&self, name: &Name, target: &[u8]) -> Result<()> {
        Ok(rustix::fs::symlinkat(target, self, name.as_c_str())?)
    }

    /// Removes a name that is not a directory.
    ///
    /// # Errors
    /// Those of unlink; EISDIR.
    pub fn unlink(&self, name: &Name) -> Result<()> {
        Ok(rustix::fs::unlinkat(
            self,
            name.as_c_str(),
            AtFlags::empty(),
        )?)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// Those of rmdir.
    pub fn rmdir(&self, name: &Name) -> Result<()> {
        Ok(rustix::fs::unlinkat(
            self,
            name.as_c_str(),
            AtFlags::REMOVEDIR,
        )?)
    }

    /// renameat2(2) of `name` here to `new_name` in `new_dir`.
    ///
    /// # Errors
    /// Those of renameat2.
    pub fn rename(
        &self,
        name: &Name,
        new_dir: &DirFd,
        new_name: &Name,
        mode: RenameMode,
    ) -> Result<()> {
        let flags = match mode {
            RenameMode::Replace => RenameFlags::empty(),
            RenameMode::NoReplace => RenameFlags::NOREPLACE,
            RenameMode::Exchange => RenameFlags::EXCHANGE,
            RenameMode::Whiteout => RenameFlags::WHITEOUT,
        };
        Ok(rustix::fs::renameat_with(
            self,
            name.as_c_str(),
            new_dir,
            new_name.as_c_str(),
            flags,
        )?)
    }

    /// The object of a file handle ([`At::handle`]) of this directory's filesystem, wherever it is there.
    ///
    /// # Errors
    /// ESTALE when there is no such object any more; EPERM without CAP_DAC_READ_SEARCH in the first user
    /// namespace; those of open.
    pub fn open_handle(&self, kind: i32, body: &[u8]) -> Result<PathFd> {
        let mount = self.at().open_dir_file()?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = ffi::open_by_handle(mount.as_fd(), kind, body, flags.bits() as i32)?;
        Ok(PathFd(fd))
    }

    /// May this process add and remove entries?
    ///
    /// # Errors
    /// EACCES, EROFS.
    pub fn check_writable(&self) -> Result<()> {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        Ok(rustix::fs::accessat(self, c".", access, AtFlags::EACCESS)?)
    }

    /// The same object as a [`PathFd`].
    pub fn into_path_fd(self) -> PathFd {
        PathFd(self.0)
    }
}
