//! Files that share their blocks: asking for it, and making it so.

use std::os::fd::AsFd;

use super::errno::{Errno, Result};
use super::ffi::extents::{self, EXTENTS_MAX, Extent};
use super::file::FileFd;

/// What one call shares: no filesystem takes more than this at a time, and some shorten what is more.
const STEP_BYTES: u64 = 16 << 20;
/// FIEMAP_EXTENT_LAST
const LAST: u32 = 1;
/// FIEMAP_EXTENT_UNKNOWN, _DELALLOC, _ENCODED, _NOT_ALIGNED, _INLINE, _TAIL: the place on the device says nothing.
const UNPLACED: u32 = 0x2 | 0x4 | 0x100 | 0x200 | 0x400;

impl FileFd {
    /// Do both files have all of their data in the same place? False also where that cannot be known.
    pub fn shares_blocks_with(&self, other: &FileFd) -> bool {
        let mut start = 0;
        loop {
            let (Ok(a), Ok(b)) = (
                extents::extents(self.as_fd(), start),
                extents::extents(other.as_fd(), start),
            ) else {
                return false;
            };
            let place = |e: &Extent| (e.logical, e.physical, e.length);
            if a.iter().chain(&b).any(|e| e.flags & UNPLACED != 0)
                || !a.iter().map(place).eq(b.iter().map(place))
            {
                return false;
            }
            match a.last() {
                Some(last) if a.len() == EXTENTS_MAX && last.flags & LAST == 0 => {
                    start = last.logical + last.length;
                }
                _ => return true,
            }
        }
    }

    /// Makes `to`, which has `size` bytes like this file, share the blocks of this one. The kernel compares the bytes:
    /// false when they are not equal, and then nothing visible has changed.
    ///
    /// # Errors
    /// EOPNOTSUPP, EXDEV, EINVAL where that is not possible; EPERM for a file of somebody else.
    pub fn dedupe_to(&self, to: &FileFd, size: u64) -> Result<bool> {
        let mut offset = 0;
        while offset < size {
            let length = (size - offset).min(STEP_BYTES);
            let (status, shared) = extents::dedupe_range(self.as_fd(), to.as_fd(), offset, length)?;
            match status {
                0 if shared > 0 => offset += shared,
                0 => return Err(Errno::EINVAL),
                1 => return Ok(false),
                errno => return Err(Errno::from_raw(-errno)),
            }
        }
        Ok(true)
    }
}
