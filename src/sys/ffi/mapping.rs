//! Memory from mmap(2), used by raw pointers: who may touch which part is up to its owner.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::{NonNull, null_mut};

use crate::sys::errno::{Errno, Result};

/// Memory mapped for as long as this lives.
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize, flags: c_int, fd: RawFd, offset: i64) -> Result<Mapping> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice touches no memory of ours.
        let at = unsafe { libc::mmap(null_mut(), len, access, flags, fd, offset) };
        if at == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let start = NonNull::new(at.cast()).ok_or(Errno::ENOMEM)?;
        Ok(Mapping { start, len })
    }

    /// Memory that is there once it is touched, page by page.
    pub fn anonymous(len: usize) -> Result<Mapping> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let mapping = Mapping::new(len, flags, -1, 0)?;
        mapping.advise(0, len, libc::MADV_NOHUGEPAGE);
        Ok(mapping)
    }

    /// Memory that the kernel shares under an fd.
    pub fn shared(fd: BorrowedFd<'_>, len: usize, offset: i64) -> Result<Mapping> {
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        Mapping::new(len, flags, fd.as_raw_fd(), offset)
    }

    /// Gives the pages of a part back; they read as zeroes then.
    pub fn drop_pages(&self, offset: usize, len: usize) {
        self.advise(offset, len, libc::MADV_DONTNEED);
    }

    fn advise(&self, offset: usize, len: usize, advice: c_int) {
        if let Some(at) = self.at::<u8>(offset, len) {
            // SAFETY: the range lies within the mapping, and whoever uses it, uses raw pointers only while he owns the
            // part. What fails, a kernel without huge pages, changes nothing.
            unsafe { libc::madvise(at.as_ptr().cast(), len, advice) };
        }
    }

    /// Where `count` values start at an offset, if they are within and aligned.
    pub fn at<T>(&self, offset: usize, count: usize) -> Option<NonNull<T>> {
        let bytes = size_of::<T>().checked_mul(count)?;
        let within = offset.checked_add(bytes)? <= self.len;
        // SAFETY: `offset` is within the mapping.
        let at = within.then(|| unsafe { self.start.add(offset) }.cast::<T>())?;
        at.is_aligned().then_some(at)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody has a pointer into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

// SAFETY: plain memory; who may touch which part is up to the owner.
unsafe impl Send for Mapping {}
// SAFETY: as above: no method reads or writes what is in it.
unsafe impl Sync for Mapping {}
