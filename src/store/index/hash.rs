//! Hashes of content and of attributes; [`Known`]: those that were computed while the bytes passed by.

use std::collections::HashMap;

use super::Hash;
use crate::layer::keys;
use crate::sys::at::{At, OpenMode};
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;

/// Files up to this size are read in one piece.
const SMALL_BYTES: usize = 128 << 10;
/// The pieces in which others are read.
const PIECE_BYTES: usize = 1 << 20;

/// Hashes of files by inode number and size, taken while they were written.
#[derive(Clone, Debug, Default)]
pub struct Known(HashMap<(u64, u64), Hash>);

impl Known {
    /// Notes the hash of a file that is complete. A later file of the same number, once this one is gone, counts
    /// instead.
    pub fn note(&mut self, file: &FileFd, hasher: &blake3::Hasher) -> Result<()> {
        let stat = file.stat()?;
        self.0
            .insert((stat.ino, stat.size), *hasher.finalize().as_bytes());
        Ok(())
    }

    pub(super) fn get(&self, ino: u64, size: u64) -> Option<Hash> {
        match size {
            0 => Some(*blake3::hash(b"").as_bytes()),
            _ => self.0.get(&(ino, size)).copied(),
        }
    }
}

/// The hash of what is in a file of that size. `buffer` is only kept to be used again.
///
/// # Errors
/// Those of reading.
pub fn content_of(file: &FileFd, size: u64, buffer: &mut Vec<u8>) -> Result<Hash> {
    if let Some(size) = usize::try_from(size)
        .ok()
        .filter(|size| *size <= SMALL_BYTES)
    {
        buffer.resize(buffer.len().max(size), 0);
        let got = file.read_at(&mut buffer[..size], 0)?;
        return Ok(*blake3::hash(&buffer[..got]).as_bytes());
    }
    buffer.resize(PIECE_BYTES, 0);
    let mut hasher = blake3::Hasher::new();
    let mut offset = 0;
    loop {
        let got = file.read_at(buffer, offset)?;
        if got == 0 {
            return Ok(*hasher.finalize().as_bytes());
        }
        hasher.update(&buffer[..got]);
        offset += got as u64;
    }
}

/// The hash of the attributes of an object, `None` without any: of all that say something of the layer.
///
/// # Errors
/// Those of reading attributes.
pub(super) fn attributes_of(at: At<'_>) -> Result<Option<Hash>> {
    let list = at.list_xattrs()?;
    // What a security module thinks is a matter of the machine.
    let mut names: Vec<_> = list
        .iter()
        .filter(|name| keys::is_lasting(name) && *name != c"security.selinux")
        .collect();
    if names.is_empty() {
        return Ok(None);
    }
    names.sort();
    let mut hasher = blake3::Hasher::new();
    for name in names {
        let value = match at.get_xattr(name) {
            // Closed to this user.
            Err(Errno::EACCES) => continue,
            result => result?.unwrap_or_default(),
        };
        hasher.update(name.to_bytes_with_nul());
        hasher.update(&(value.len() as u64).to_le_bytes());
        hasher.update(&value);
    }
    Ok(Some(*hasher.finalize().as_bytes()))
}

/// Opens a file for reading, without a mark of that where we may.
///
/// # Errors
/// Those of open.
pub(in crate::store) fn open_quietly(at: At<'_>) -> Result<FileFd> {
    let quiet = OpenMode {
        noatime: true,
        ..OpenMode::READ
    };
    match at.open_file(quiet) {
        Err(Errno::EPERM) => at.open_file(OpenMode::READ),
        result => result,
    }
}
