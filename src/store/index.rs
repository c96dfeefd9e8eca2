//! [`FileIndex`]: what a layer holds, in one file of its meta: each path with its attributes and the blake3 of its
//! content. It tells which files of two layers may be equal without reading them, and which of a layer have changed
//! since.
//!
//! It is a cache: damaged or missing it is made again, and who acts on it looks at the files first. Sealed trees do not
//! change, so it needs no upkeep.
//!
//! A zstd stream; numbers are little endian:
//!
//! | bytes | |
//! |---|---|
//! | 16 | `plyfs index 001` and a newline |
//! | 1 + 8 + 8 | flags (1: a directory has another name below), bytes in files, entries |
//! | each object, by path | path (length, bytes), type, mode, uid, gid, mtime, size, group, content, attributes |
//! | 32 | blake3 of all before |
//!
//! Names of one file have one group, which is not 0. The content of a symbolic link is its target, that of a device its
//! number. Content and attributes are hashes, each after a byte that says whether there is one.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use super::error::{Error, Kind, OrAt, Result};
use super::meta::Size;
use crate::sys::stat::{FileType, Time};

mod build;
mod hash;

pub use build::build;
pub(in crate::store) use hash::open_quietly;
pub use hash::{Known, content_of};

/// A blake3.
pub type Hash = [u8; 32];

/// Its name in the meta of a layer.
pub const FILE: &str = "index";
const MAGIC: &[u8; 16] = b"plyfs index 001\n";
const HEAD_BYTES: usize = MAGIC.len() + 1 + 8 + 8;
/// How hard zstd tries: hashes cannot be packed, and paths pack easily.
const LEVEL: i32 = 1;

/// A layer's objects by path. The root is the first of them, with an empty path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileIndex {
    raw: Vec<u8>,
}

/// One object of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Relative to the root, components joined by `/`.
    pub path: &'a [u8],
    /// Type.
    pub kind: FileType,
    /// Permission bits (07777).
    pub perm: u32,
    /// Owner, as on disk.
    pub uid: u32,
    /// Group, as on disk.
    pub gid: u32,
    /// Last change of the data.
    pub mtime: Time,
    /// Bytes; 0 for a directory.
    pub size: u64,
    /// Which names are of one file: the same number, not 0, within this index alone.
    pub group: u32,
    /// Hash of the content; none for directories, and for what could not be read.
    pub content: Option<Hash>,
    /// Hash of the extended attributes; none without any.
    pub attributes: Option<Hash>,
}

const KINDS: [FileType; 7] = [
    FileType::File,
    FileType::Dir,
    FileType::Symlink,
    FileType::Fifo,
    FileType::Socket,
    FileType::Char,
    FileType::Block,
];

impl FileIndex {
    /// Of these records, in the order of their paths. `moved`: some directory has another name in the layers below.
    pub fn new<'a>(records: impl Iterator<Item = Record<'a>>, moved: bool, size: Size) -> Self {
        let mut raw = MAGIC.to_vec();
        raw.push(moved.into());
        raw.extend(size.bytes.to_le_bytes());
        raw.extend(size.entries.to_le_bytes());
        for record in records {
            record.encode(&mut raw);
        }
        FileIndex { raw }
    }

    /// Reads one; `None` when there is none.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] for one that is damaged.
    pub fn read(path: &Path) -> Result<Option<FileIndex>> {
        let file = match fs::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            result => result.or_at("cannot read", path)?,
        };
        let damaged = || Error::at(Kind::Corrupt, "damaged:", path, "not what was written");
        let mut raw = Vec::new();
        let unpacked = zstd::Decoder::new(file).and_then(|mut file| file.read_to_end(&mut raw));
        unpacked.map_err(|_| damaged())?;
        let sum = raw.split_off(raw.len().saturating_sub(blake3::OUT_LEN));
        let whole = raw.len() >= HEAD_BYTES && raw.starts_with(MAGIC);
        if !whole || *blake3::hash(&raw).as_bytes() != sum[..] {
            return Err(damaged());
        }
        Ok(Some(FileIndex { raw }))
    }

    /// Writes it to a file that is not there yet, in staging.
    ///
    /// # Errors
    /// Those of writing.
    pub fn write(&self, path: &Path) -> Result<()> {
        let file = fs::File::create_new(path).or_at("cannot make", path)?;
        let written = zstd::Encoder::new(file, LEVEL).and_then(|mut packed| {
            packed.write_all(&self.raw)?;
            packed.write_all(blake3::hash(&self.raw).as_bytes())?;
            packed.finish()
        });
        written.or_at("cannot write", path).map(drop)
    }

    /// Has some directory another name in the layers below? Then one file may be seen at two paths.
    pub fn moved(&self) -> bool {
        self.raw.get(MAGIC.len()) == Some(&1)
    }

    /// Bytes and entries of the tree.
    pub fn size(&self) -> Size {
        let mut head = Fields(&self.raw[MAGIC.len() + 1..]);
        Size {
            bytes: head.u64().unwrap_or_default(),
            entries: head.u64().unwrap_or_default(),
        }
    }

    /// All objects, in the order of their paths.
    pub fn records(&self) -> Records<'_> {
        Records(Fields(&self.raw[HEAD_BYTES..]))
    }
}

/// The objects of an index.
#[derive(Clone, Debug)]
pub struct Records<'a>(Fields<'a>);

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        Record::decode(&mut self.0)
    }
}

impl<'a> Record<'a> {
    fn encode(&self, raw: &mut Vec<u8>) {
        // A path is shorter than the memory of a machine, and far below this.
        raw.extend((self.path.len() as u32).to_le_bytes());
        raw.extend(self.path);
        let kind = KINDS.iter().position(|kind| *kind == self.kind);
        raw.push(kind.unwrap_or_default() as u8);
        for number in [self.perm, self.uid, self.gid, self.mtime.nsec, self.group] {
            raw.extend(number.to_le_bytes());
        }
        raw.extend(self.mtime.sec.to_le_bytes());
        raw.extend(self.size.to_le_bytes());
        for hash in [self.content, self.attributes] {
            raw.push(hash.is_some().into());
            raw.extend(hash.iter().flatten());
        }
    }

    fn decode(raw: &mut Fields<'a>) -> Option<Record<'a>> {
        let len = raw.u32()?;
        let path = raw.take(len as usize)?;
        let kind = *KINDS.get(usize::from(raw.take(1)?[0]))?;
        let (perm, uid, gid) = (raw.u32()?, raw.u32()?, raw.u32()?);
        let (nsec, group) = (raw.u32()?, raw.u32()?);
        let sec = raw.u64()?.cast_signed();
        Some(Record {
            path,
            kind,
            perm,
            uid,
            gid,
            mtime: Time { sec, nsec },
            size: raw.u64()?,
            group,
            content: raw.hash()?,
            attributes: raw.hash()?,
        })
    }
}

/// Bytes that are taken from the front.
#[derive(Clone, Debug)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn hash(&mut self) -> Option<Option<Hash>> {
        match self.take(1)?[0] {
            0 => Some(None),
            _ => Some(Some(self.take(blake3::OUT_LEN)?.try_into().ok()?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record<'static>> {
        let file = Record {
            path: b"a\xff/b",
            kind: FileType::File,
            perm: 0o4755,
            uid: 1 << 31,
            gid: 7,
            mtime: Time { sec: -3, nsec: 9 },
            size: 1 << 40,
            group: 2,
            content: Some([7; 32]),
            attributes: None,
        };
        let root = Record {
            path: b"",
            kind: FileType::Dir,
            content: None,
            attributes: Some([9; 32]),
            ..file
        };
        vec![root, file]
    }

    #[test]
    fn it_is_read_as_it_was_written_and_damage_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(FILE);
        assert_eq!(FileIndex::read(&path).unwrap(), None);
        let size = Size {
            bytes: 1 << 40,
            entries: 1,
        };
        let index = FileIndex::new(records().into_iter(), true, size);
        index.write(&path).unwrap();
        let read = FileIndex::read(&path).unwrap().unwrap();
        assert_eq!(read, index);
        assert_eq!(read.records().collect::<Vec<_>>(), records());
        assert_eq!((read.moved(), read.size()), (true, size));
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            match FileIndex::read(&path) {
                // Bits of the frame that mean nothing.
                Ok(Some(same)) => assert_eq!(same, index, "byte {at}"),
                Ok(None) => panic!("it is there"),
                Err(error) => assert_eq!(error.kind, Kind::Corrupt),
            }
            fs::write(&path, &good[..at]).unwrap();
            assert_eq!(FileIndex::read(&path).unwrap_err().kind, Kind::Corrupt);
        }
    }
}
