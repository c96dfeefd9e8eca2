//! [`FileFd`]: a file (or a directory to be listed) open for I/O.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FallocateFlags, FlockOperation, SeekFrom};

use super::at::{At, PathFd, SetTime, Target, timestamps};
use super::dir::DirFd;
use super::errno::{Errno, Result};
use super::stat::Stat;

pub use super::ffi::FSXATTR_BYTES;

/// An fd that can do I/O.
#[derive(Debug)]
pub struct FileFd(pub(super) OwnedFd);

impl AsFd for FileFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Beside others who share it.
    Shared,
    /// Alone.
    Exclusive,
}

/// Sizes of a filesystem, as statvfs(3) has them.
#[derive(Clone, Copy, Debug)]
pub struct FsStat {
    /// Unit of the block counts in bytes.
    pub frsize: u64,
    /// Preferred I/O size in bytes.
    pub bsize: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Blocks free for an ordinary user.
    pub bavail: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub ffree: u64,
    /// Longest name in bytes.
    pub namelen: u64,
}

impl FsStat {
    /// statvfs of the filesystem that holds an open object.
    ///
    /// # Errors
    /// Those of fstatvfs.
    pub fn of(fd: &impl AsFd) -> Result<FsStat> {
        let s = rustix::fs::fstatvfs(fd)?;
        Ok(FsStat {
            frsize: s.f_frsize,
            bsize: s.f_bsize,
            blocks: s.f_blocks,
            bfree: s.f_bfree,
            bavail: s.f_bavail,
            files: s.f_files,
            ffree: s.f_ffree,
            namelen: s.f_namemax,
        })
    }
}

/// The number that statfs(2) knows the type of a filesystem by.
///
/// # Errors
/// Those of fstatfs.
pub fn filesystem_type(fd: &impl AsFd) -> Result<u64> {
    Ok(rustix::fs::fstatfs(fd)?.f_type as u64)
}

impl FileFd {
    /// The file as the target of a metadata verb.
    pub fn at(&self) -> At<'_> {
        At(Target::Fd(self.0.as_fd()))
    }

    /// The same open file for readers and writers of streams.
    pub fn into_std(self) -> std::fs::File {
        self.0.into()
    }

    /// The same directory for verbs on its entries; not by an O_PATH fd.
    pub fn into_dir(self) -> DirFd {
        DirFd(self.0)
    }

    /// The same object as a [`PathFd`].
    pub fn into_path_fd(self) -> PathFd {
        PathFd(self.0)
    }

    /// statx(2).
    ///
    /// # Errors
    /// Those of statx.
    pub fn stat(&self) -> Result<Stat> {
        self.at().stat()
    }

    /// Reads at an offset until `buf` is full or the file ends; returns the bytes read.
    ///
    /// # Errors
    /// Those of pread, when nothing was read before.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match rustix::io::pread(self, &mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(done)
    }

    /// Writes all of `data` at an offset; returns the bytes written, short only after an error midway.
    ///
    /// # Errors
    /// Those of pwrite, when nothing was written before.
    pub fn write_at(&self, data: &[u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while done < data.len() {
            match rustix::io::pwrite(self, &data[done..], offset + done as u64) {
                Ok(0) if done > 0 => break,
                Ok(0) => return Err(Errno::EIO),
                Ok(n) => done += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(done)
    }

    /// Writes all of `data` at an offset.
    ///
    /// # Errors
    /// Those of pwrite, also when something was written before: which of the two reasons a disk may be full for is
    /// known only after the next try.
    pub fn write_all_at(&self, data: &[u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while done < data.len() {
            done += self.write_at(&data[done..], offset + done as u64)?;
        }
        Ok(())
    }

    /// ftruncate(2).
    ///
    /// # Errors
    /// Those of ftruncate.
    pub fn truncate(&self, size: u64) -> Result<()> {
        Ok(rustix::fs::ftruncate(self, size)?)
    }

    /// fallocate(2) with its raw mode bits.
    ///
    /// # Errors
    /// EOPNOTSUPP for bits the kernel does not know, and those of fallocate.
    pub fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        Ok(rustix::fs::fallocate(
            self,
            FallocateFlags::from_bits_retain(mode),
            offset,
            len,
        )?)
    }

    /// The next data at or after an offset; ENXIO when there is none.
    ///
    /// # Errors
    /// Those of lseek(SEEK_DATA).
    pub fn seek_data(&self, offset: u64) -> Result<u64> {
        Ok(rustix::fs::seek(self, SeekFrom::Data(offset))?)
    }

    /// The next hole at or after an offset.
    ///
    /// # Errors
    /// Those of lseek(SEEK_HOLE).
    pub fn seek_hole(&self, offset: u64) -> Result<u64> {
        Ok(rustix::fs::seek(self, SeekFrom::Hole(offset))?)
    }

    /// fsync(2), or fdatasync(2) for the data alone.
    ///
    /// # Errors
    /// Those of fsync.
    pub fn sync(&self, data_only: bool) -> Result<()> {
        if data_only {
            rustix::fs::fdatasync(self)?;
        } else {
            rustix::fs::fsync(self)?;
        }
        Ok(())
    }

    /// Has the filesystem failed to write something of this file since it was opened, or before and nobody was
    /// told? Told once. Nothing is written for the question, and nothing is waited for.
    ///
    /// # Errors
    /// That of the failed write.
    pub fn check_written(&self) -> Result<()> {
        // No file has data there; the error is that of the whole file.
        const BEYOND: i64 = 1 << 62;
        super::ffi::wait_for_writing(self.as_fd(), BEYOND, 1)
    }

    /// syncfs(2): the whole filesystem.
    ///
    /// # Errors
    /// Those of syncfs.
    pub fn sync_filesystem(&self) -> Result<()> {
        Ok(rustix::fs::syncfs(self)?)
    }

    /// Sets access and modification time.
    ///
    /// # Errors
    /// Those of futimens.
    pub fn set_times(&self, atime: SetTime, mtime: SetTime) -> Result<()> {
        Ok(rustix::fs::futimens(self, &timestamps(atime, mtime))?)
    }

    /// copy_file_range(2) between two offsets; returns the bytes copied.
    ///
    /// # Errors
    /// Those of copy_file_range; EXDEV, EINVAL and EOPNOTSUPP mean "copy by hand".
    pub fn copy_range_to(
        &self,
        offset: u64,
        to: &FileFd,
        to_offset: u64,
        len: usize,
    ) -> Result<usize> {
        let (mut from_at, mut to_at) = (offset, to_offset);
        Ok(rustix::fs::copy_file_range(
            self,
            Some(&mut from_at),
            to,
            Some(&mut to_at),
            len,
        )?)
    }

    /// FICLONE: makes `to` share all blocks of this file.
    ///
    /// # Errors
    /// EOPNOTSUPP, EXDEV or EINVAL where that is not possible.
    pub fn clone_to(&self, to: &FileFd) -> Result<()> {
        Ok(rustix::fs::ioctl_ficlone(to, self)?)
    }

    /// The inode flags (FS_IOC_GETFLAGS, see ioctl_iflags(2)).
    ///
    /// # Errors
    /// ENOTTY or EOPNOTSUPP where the filesystem has none.
    pub fn inode_flags(&self) -> Result<u32> {
        // The kernel's flag word is 32 bits whatever the type of the ioctl says.
        Ok(rustix::fs::ioctl_getflags(self)?.bits() as u32)
    }

    /// Sets the inode flags (FS_IOC_SETFLAGS).
    ///
    /// # Errors
    /// EPERM, EOPNOTSUPP.
    pub fn set_inode_flags(&self, flags: u32) -> Result<()> {
        Ok(rustix::fs::ioctl_setflags(
            self,
            rustix::fs::IFlags::from_bits_retain(flags),
        )?)
    }

    /// `struct fsxattr` of the file (FS_IOC_FSGETXATTR): extended inode flags and more.
    ///
    /// # Errors
    /// ENOTTY or EOPNOTSUPP where the filesystem has none.
    pub fn fsxattr(&self) -> Result<[u8; FSXATTR_BYTES]> {
        super::ffi::get_fsxattr(self.as_fd())
    }

    /// Sets it (FS_IOC_FSSETXATTR).
    ///
    /// # Errors
    /// EPERM, EINVAL, EOPNOTSUPP.
    pub fn set_fsxattr(&self, value: &[u8; FSXATTR_BYTES]) -> Result<()> {
        super::ffi::set_fsxattr(self.as_fd(), value)
    }

    /// Takes a flock(2) without waiting; it lasts as long as the fd, and replaces one the fd has already.
    ///
    /// # Errors
    /// EAGAIN when somebody else is in the way.
    pub fn try_lock(&self, mode: LockMode) -> Result<()> {
        let operation = match mode {
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        Ok(rustix::fs::flock(self, operation)?)
    }

    /// UUID of the filesystem.
    ///
    /// # Errors
    /// ENOTTY where it has none or the kernel is older than 6.9.
    pub fn filesystem_uuid(&self) -> Result<[u8; 16]> {
        super::ffi::fs_uuid(self.as_fd()).or_else(|errno| {
            // Other filesystems do not know the question.
            super::ffi::btrfs_uuid(self.as_fd()).map_err(|_| errno)
        })
    }
}
