//! The tar format: ustar headers, PAX records, what GNU tar wrote before there were those, and its files with holes.
//!
//! Invariant: nothing here touches a filesystem, and nothing that is read is believed: numbers are checked, sizes
//! have limits, names are bytes that mean nothing yet. Read [`Entry`], then `header` and `pax` (the codecs), `read`
//! and `write` (streams).

use crate::sys::stat::{Rdev, Time};

mod header;
mod pax;
pub mod read;
pub mod sparse;
pub mod write;

/// The unit of an archive in bytes.
pub const BLOCK_BYTES: usize = 512;

/// Prefix of the PAX record of an extended attribute.
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Regular file, the only kind with data.
    File,
    /// One more name of an earlier entry.
    HardLink,
    /// Symbolic link.
    Symlink,
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// Directory.
    Dir,
    /// Named pipe.
    Fifo,
}

/// One object as an archive describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name as written, any bytes.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits (07777).
    pub perm: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the data.
    pub mtime: Time,
    /// Bytes of data; of a file with holes, these included.
    pub size: u64,
    /// Target of a link, any bytes.
    pub link: Vec<u8>,
    /// Number of a device.
    pub rdev: Rdev,
    /// Extended attributes: name and value.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Blocks that `size` bytes of data take, in bytes.
fn padded(size: u64) -> u64 {
    size.next_multiple_of(BLOCK_BYTES as u64)
}

#[cfg(test)]
mod tests;
