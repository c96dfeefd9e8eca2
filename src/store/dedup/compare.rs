//! Are two files equal, to the last bit? Asked right before one takes the place of the other.

use std::ffi::CStr;

use crate::layer::keys::{Key, Namespace};
use crate::store::index::open_quietly;
use crate::sys::at::At;
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;
use crate::sys::stat::{FileType, Stat};

/// Bytes of each file that are compared at a time.
const PIECE_BYTES: usize = 256 << 10;

/// A file that is looked at.
pub(super) struct Looked {
    pub file: FileFd,
    /// As it was before it was read.
    pub stat: Stat,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Room for the data of both files.
#[derive(Default)]
pub(super) struct Buffers(Vec<u8>, Vec<u8>);

impl Looked {
    /// # Errors
    /// Those of open and of reading attributes; ESTALE for what is no file.
    pub(super) fn at(at: At<'_>) -> Result<Looked> {
        let file = open_quietly(at)?;
        let stat = file.stat()?;
        if stat.kind != FileType::File {
            return Err(Errno::ESTALE);
        }
        Ok(Looked {
            attributes: attributes(&file)?,
            file,
            stat,
        })
    }

    /// Looks again: another link of it was made.
    ///
    /// # Errors
    /// As [`Looked::at`].
    pub(super) fn refresh(&mut self) -> Result<()> {
        let now = self.file.stat()?;
        if now.ctime != self.stat.ctime {
            (self.stat, self.attributes) = (now, attributes(&self.file)?);
        }
        Ok(())
    }

    /// Would nobody notice if one took the place of the other?
    ///
    /// # Errors
    /// EXDEV for files of two filesystems or subvolumes; those of reading.
    pub(super) fn equals(&self, other: &Looked, buffers: &mut Buffers) -> Result<bool> {
        if self.stat.dev != other.stat.dev {
            return Err(Errno::EXDEV);
        }
        let looks = |stat: &Stat| {
            let flags = (stat.immutable, stat.append_only);
            (
                stat.dev, stat.perm, stat.uid, stat.gid, stat.mtime, stat.size, flags,
            )
        };
        if looks(&self.stat) != looks(&other.stat) || self.attributes != other.attributes {
            return Ok(false);
        }
        self.has_same_data(other, buffers)
    }

    fn has_same_data(&self, other: &Looked, buffers: &mut Buffers) -> Result<bool> {
        let Buffers(a, b) = buffers;
        let want =
            usize::try_from(self.stat.size).map_or(PIECE_BYTES, |size| size.min(PIECE_BYTES));
        if a.len() < want {
            a.resize(want, 0);
            b.resize(want, 0);
        }
        let mut offset = 0;
        while offset < self.stat.size {
            let got = self.file.read_at(&mut a[..want], offset)?;
            let theirs = other.file.read_at(&mut b[..want], offset)?;
            if got == 0 || a[..got] != b[..theirs] {
                return Ok(false);
            }
            offset += got as u64;
        }
        Ok(offset == self.stat.size)
    }

    /// Is it still as it was when it was opened?
    ///
    /// # Errors
    /// Those of statx.
    pub(super) fn is_unchanged(&self) -> Result<bool> {
        Ok(is_same(&self.file.stat()?, &self.stat))
    }
}

fn attributes(file: &FileFd) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    if file.has_xattrs()? {
        for name in file
            .at()
            .list_xattrs()?
            .iter()
            .filter(|name| !is_ours(name))
        {
            let value = file.at().get_xattr(name)?.unwrap_or_default();
            found.push((name.to_bytes().to_vec(), value));
        }
        found.sort();
    }
    Ok(found)
}

/// The same file, untouched.
pub(super) fn is_same(now: &Stat, then: &Stat) -> bool {
    (now.dev, now.ino, now.size, now.ctime) == (then.dev, then.ino, then.size, then.ctime)
}

/// Marks that say how the file is shared, and so may differ.
fn is_ours(name: &CStr) -> bool {
    [Namespace::Trusted, Namespace::User]
        .iter()
        .any(|namespace| name == namespace.name(Key::Names))
}
