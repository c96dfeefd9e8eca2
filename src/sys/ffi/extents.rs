//! Where the blocks of a file are, and sharing them: FS_IOC_FIEMAP and FIDEDUPERANGE.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;
use crate::sys::errno::Result;

/// Extents that one call tells.
pub const EXTENTS_MAX: usize = 32;

/// A stretch of a file, as `struct fiemap_extent` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Extent {
    /// Offset in the file, in bytes.
    pub logical: u64,
    /// Offset on the device, in bytes.
    pub physical: u64,
    /// Bytes.
    pub length: u64,
    reserved: [u64; 2],
    /// FIEMAP_EXTENT_*
    pub flags: u32,
    reserved_more: [u32; 3],
}

#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    extents: [Extent; EXTENTS_MAX],
}

/// `_IOWR('f', 11, struct fiemap)`
const FS_IOC_FIEMAP: u64 = 0xc020_660b;
/// What is not on disk yet goes there first.
const FIEMAP_FLAG_SYNC: u32 = 1;

/// FS_IOC_FIEMAP: the extents of a file from `start` on, at most [`EXTENTS_MAX`].
pub fn extents(file: BorrowedFd<'_>, start: u64) -> Result<Vec<Extent>> {
    let mut map = Fiemap {
        start,
        length: u64::MAX - start,
        flags: FIEMAP_FLAG_SYNC,
        mapped: 0,
        count: EXTENTS_MAX as u32,
        reserved: 0,
        extents: [Extent::default(); EXTENTS_MAX],
    };
    // SAFETY: the ioctl reads the header and writes at most `count` extents, for which there is room, after it.
    let ret = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP as _, &raw mut map) };
    check(ret.into())?;
    let mapped = (map.mapped as usize).min(EXTENTS_MAX);
    Ok(map.extents[..mapped].to_vec())
}

/// `struct file_dedupe_range` with one target.
#[repr(C)]
struct DedupeRange {
    from_offset: u64,
    length: u64,
    count: u16,
    reserved: u16,
    reserved_more: u32,
    to: i64,
    to_offset: u64,
    deduped: u64,
    status: i32,
    reserved_last: u32,
}

/// `_IOWR(0x94, 54, struct file_dedupe_range)`
const FIDEDUPERANGE: u64 = 0xc018_9436;

/// FIDEDUPERANGE: makes a stretch of `to` share the blocks of the same stretch of `from`, if the bytes are equal. The
/// bytes that are shared now, or the status: 1 for different bytes, else a negative errno.
pub fn dedupe_range(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    offset: u64,
    length: u64,
) -> Result<(i32, u64)> {
    let mut range = DedupeRange {
        from_offset: offset,
        length,
        count: 1,
        reserved: 0,
        reserved_more: 0,
        to: to.as_raw_fd().into(),
        to_offset: offset,
        deduped: 0,
        status: 0,
        reserved_last: 0,
    };
    // SAFETY: the ioctl reads the header and `count` targets, which is one, and writes what came of it there.
    let ret = unsafe { libc::ioctl(from.as_raw_fd(), FIDEDUPERANGE as _, &raw mut range) };
    check(ret.into())?;
    Ok((range.status, range.deduped))
}
