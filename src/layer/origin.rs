//! The `origin` mark: a file handle of the lower object that an upper object was copied up from, in
//! the kernel's format (overlay-semantics 1.2). It makes inode numbers survive a remount: the number
//! is parsed out of the handle, which needs no privilege, unlike opening it.

use crate::sys::at::At;
use crate::sys::errno::{Errno, Result};

/// UUID of a filesystem; zeros where it has none.
pub type Uuid = [u8; 16];

const VERSION: u8 = 0;
const MAGIC: u8 = 0xfb;
const HEADER_BYTES: usize = 21;
/// Flags of the header.
const BIG_ENDIAN: u8 = 1;
const ANY_ENDIAN: u8 = 2;
/// The object is in the upper layer.
const UPPER_PATH: u8 = 4;

/// Handle types of the kernel's `exportfs.h`.
const FILEID_INO32_GEN: i32 = 1;
const FILEID_BTRFS: i32 = 0x4d;
const FILEID_INO64_GEN: i32 = 0x81;

/// What an origin tells us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Filesystem of the lower object.
    pub uuid: Uuid,
    /// Its inode number there.
    pub ino: u64,
}

/// The value of the mark for a lower object; empty ("copied up, origin unknown") where the
/// filesystem has no handles or its UUID is unknown.
pub fn encode(lower: At<'_>, uuid: Option<Uuid>) -> Vec<u8> {
    match (lower.handle(), uuid) {
        (Ok((kind, body)), Some(uuid)) => encode_parts(kind, &body, uuid, 0).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// The same for an object of the upper layer: the value of the `upper` mark (14.3).
pub fn encode_upper(upper: At<'_>, uuid: Option<Uuid>) -> Vec<u8> {
    match (upper.handle(), uuid) {
        (Ok((kind, body)), Some(uuid)) => {
            encode_parts(kind, &body, uuid, UPPER_PATH).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// The bits of the header that say how this machine orders bytes.
const NATIVE: u8 = if cfg!(target_endian = "big") {
    BIG_ENDIAN
} else {
    0
};

fn encode_parts(kind: i32, body: &[u8], uuid: Uuid, flags: u8) -> Option<Vec<u8>> {
    let len = u8::try_from(HEADER_BYTES + body.len()).ok()?;
    let flags = flags | NATIVE;
    let mut value = vec![VERSION, MAGIC, len, flags, u8::try_from(kind).ok()?];
    value.extend_from_slice(&uuid);
    value.extend_from_slice(body);
    Some(value)
}

/// Parses a mark. Anything unknown or malformed is "no origin", never an error (1.3).
pub fn decode(value: &[u8]) -> Option<Origin> {
    let handle = Handle::parse(value).ok()?;
    Some(Origin {
        uuid: handle.uuid,
        ino: handle_ino(handle.kind, handle.body)?,
    })
}

/// A mark taken apart: what opens the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle<'a> {
    /// Its filesystem.
    pub uuid: Uuid,
    /// Type of the handle there.
    pub kind: i32,
    /// The handle.
    pub body: &'a [u8],
}

impl Handle<'_> {
    /// Takes a mark apart.
    ///
    /// # Errors
    /// EINVAL for what is none; ENODATA for one of a later version or another kind of machine (1.3).
    pub fn parse(value: &[u8]) -> Result<Handle<'_>> {
        let (header, body) = value.split_at_checked(HEADER_BYTES).ok_or(Errno::EINVAL)?;
        if header[1] != MAGIC || usize::from(header[2]) != value.len() {
            return Err(Errno::EINVAL);
        }
        let foreign = header[3] & ANY_ENDIAN == 0 && header[3] & BIG_ENDIAN != NATIVE;
        let unknown = header[3] & !(BIG_ENDIAN | ANY_ENDIAN | UPPER_PATH) != 0;
        if header[0] != VERSION || foreign || unknown {
            return Err(Errno::ENODATA);
        }
        Ok(Handle {
            uuid: header[5..].try_into().map_err(|_| Errno::EINVAL)?,
            kind: i32::from(header[4]),
            body,
        })
    }
}

/// The inode number inside a handle of a known type.
fn handle_ino(kind: i32, body: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u32::from_ne_bytes(body.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_ne_bytes(body.get(at..at + 8)?.try_into().ok()?));
    let ino = match (kind, body.len()) {
        (FILEID_INO32_GEN, 8) => word(0)?.into(),
        // tmpfs uses the same type for generation, low and high half of the number.
        (FILEID_INO32_GEN, 12) => u64::from(word(4)?) | u64::from(word(8)?) << 32,
        (FILEID_INO64_GEN, 12) | (FILEID_BTRFS, 20) => long(0)?,
        _ => return None,
    };
    (ino != 0).then_some(ino)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::dir::DirFd;

    #[test]
    fn t025_garbage_is_no_origin() {
        let good = encode_parts(FILEID_INO32_GEN, &[7, 0, 0, 0, 9, 9, 9, 9], [5; 16], 0).unwrap();
        assert_eq!(
            decode(&good),
            Some(Origin {
                uuid: [5; 16],
                ino: 7
            })
        );
        for len in 0..good.len() {
            assert_eq!(decode(&good[..len]), None);
        }
        for (at, byte) in [(0, 1), (1, 0xfc), (2, 3), (3, BIG_ENDIAN), (4, 99)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(decode(&bad), None, "byte {at}");
        }
        assert_eq!(decode(b"garbage that is longer than the header"), None);
    }

    #[test]
    fn real_handles_hold_the_inode_number() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DirFd::open(temp.path()).unwrap();
        let value = encode(dir.at(), Some([1; 16]));
        // A filesystem without handles, or with a type of its own, gives no number: that is legal.
        if let Some(origin) = decode(&value) {
            assert_eq!(origin.ino, dir.stat().unwrap().ino);
        }
    }
}
