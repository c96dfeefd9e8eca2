//! [`Listing`]: the names of a directory as they were at one moment. Immutable once built, shared by
//! all handles that saw the same version of the directory.

use crate::sys::stat::FileType;

/// One entry of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The inode number that stat shows (8.4).
    pub ino: u64,
    /// The type.
    pub kind: FileType,
}

#[derive(Clone, Copy, Debug)]
struct Packed {
    ino: u64,
    start: u32,
    len: u8,
    kind: FileType,
}

/// The entries of a directory, without `.` and `..`; the names share one allocation.
#[derive(Debug, Default)]
pub struct Listing {
    names: Vec<u8>,
    entries: Vec<Packed>,
}

impl Listing {
    /// Adds an entry. Names are at most 255 bytes, so only a listing of 4 GiB of names is refused.
    pub fn push(&mut self, name: &[u8], ino: u64, kind: FileType) {
        let (Ok(start), Ok(len)) = (u32::try_from(self.names.len()), u8::try_from(name.len()))
        else {
            log::error!("a directory with too many names is listed in part");
            return;
        };
        self.names.extend_from_slice(name);
        self.entries.push(Packed {
            ino,
            start,
            len,
            kind,
        });
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is the directory empty?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at a position.
    pub fn get(&self, at: usize) -> Option<Listed<'_>> {
        let entry = self.entries.get(at)?;
        let start = entry.start as usize;
        let name = self.names.get(start..start + usize::from(entry.len))?;
        Some(Listed {
            name,
            ino: entry.ino,
            kind: entry.kind,
        })
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = Listed<'_>> {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    /// Corrects the inode number at a position.
    pub fn set_ino(&mut self, at: usize, ino: u64) {
        if let Some(entry) = self.entries.get_mut(at) {
            entry.ino = ino;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_names_of_any_length() {
        let mut listing = Listing::default();
        listing.push(b"a", 1, FileType::File);
        listing.push(&[b'x'; 255], 2, FileType::Dir);
        listing.set_ino(0, 7);
        let all: Vec<_> = listing
            .iter()
            .map(|e| (e.name.len(), e.ino, e.kind))
            .collect();
        assert_eq!(all, [(1, 7, FileType::File), (255, 2, FileType::Dir)]);
        assert_eq!(listing.get(2), None);
    }
}
