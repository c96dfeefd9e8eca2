//! One header block: 512 bytes of fixed fields.

use super::sparse::push;
use super::{BLOCK_BYTES, Entry, EntryKind};
use crate::store::error::{Error, Kind, Result};
use crate::sys::stat::{Rdev, Time};

/// Where a field lies in the block.
type Field = std::ops::Range<usize>;

const NAME: Field = 0..100;
const MODE: Field = 100..108;
const UID: Field = 108..116;
const GID: Field = 116..124;
const SIZE: Field = 124..136;
const MTIME: Field = 136..148;
const CHECKSUM: Field = 148..156;
const TYPE: usize = 156;
const LINK: Field = 157..257;
const MAGIC: Field = 257..265;
const DEV_MAJOR: Field = 329..337;
const DEV_MINOR: Field = 337..345;
const PREFIX: Field = 345..500;

/// In a header of type `S`, instead of a prefix: the map of a file with holes, and its size.
const MAP_START: usize = 386;
const MAP_NUMBER_BYTES: usize = 12;
/// Numbers of the map in such a header, and in a block after it.
const MAP_IN_HEADER: usize = 8;
const MAP_IN_BLOCK: usize = 42;
const REAL_SIZE: Field = 483..495;

/// Longest name and link target that fit.
pub const NAME_BYTES_MAX: usize = 100;
/// The largest owner and device number that fit (seven octal digits).
pub const SMALL_MAX: u32 = 0o777_7777;
/// The largest size and time that fit (eleven octal digits).
pub const LARGE_MAX: u64 = 0o777_7777_7777;

/// What the type byte says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// An object.
    Object(EntryKind),
    /// PAX records for the next object.
    Pax,
    /// PAX records for all that follow.
    PaxGlobal,
    /// The name of the next object (GNU).
    LongName,
    /// The link target of the next object (GNU).
    LongLink,
    /// The label of the archive (GNU): no object.
    Label,
    /// A file with holes, whose map begins in the header (GNU).
    Sparse,
}

/// A header block that was checked.
pub struct Header<'a>(&'a [u8; BLOCK_BYTES]);

impl<'a> Header<'a> {
    /// Checks the checksum.
    ///
    /// # Errors
    /// [`Kind::Corrupt`].
    pub fn parse(block: &'a [u8; BLOCK_BYTES]) -> Result<Header<'a>> {
        let header = Header(block);
        let no_tar = || corrupt("no tar header, or a damaged one (wrong checksum)");
        let written = header.number(CHECKSUM, "checksum");
        let written = written.map_err(|_| no_tar())?;
        let in_field = |i: usize| CHECKSUM.contains(&i);
        let value = |(i, b): (usize, &u8)| if in_field(i) { b' ' } else { *b };
        let sum: i64 = block.iter().enumerate().map(|e| i64::from(value(e))).sum();
        // Some old programs added up signed bytes.
        let signed = |e| i64::from(i8::from_ne_bytes([value(e)]));
        let signed_sum: i64 = block.iter().enumerate().map(signed).sum();
        if written != sum && written != signed_sum {
            return Err(no_tar());
        }
        Ok(header)
    }

    /// The type.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] for what nobody knows.
    pub fn kind(&self) -> Result<Type> {
        Ok(match self.0[TYPE] {
            0 | b'0' | b'7' => Type::Object(EntryKind::File),
            b'1' => Type::Object(EntryKind::HardLink),
            b'2' => Type::Object(EntryKind::Symlink),
            b'3' => Type::Object(EntryKind::Char),
            b'4' => Type::Object(EntryKind::Block),
            b'5' => Type::Object(EntryKind::Dir),
            b'6' => Type::Object(EntryKind::Fifo),
            b'x' => Type::Pax,
            b'g' => Type::PaxGlobal,
            b'L' => Type::LongName,
            b'K' => Type::LongLink,
            b'V' => Type::Label,
            b'S' => Type::Sparse,
            other => {
                let what = format!("unknown type of entry '{}'", other.escape_ascii());
                return Err(corrupt(what));
            }
        })
    }

    /// Is it of a time before directories had a type? Then a slash at the end of the name says it, of the whole name,
    /// not of what a header has room for.
    pub fn is_old(&self) -> bool {
        self.0[TYPE] == 0
    }

    /// The size field.
    ///
    /// # Errors
    /// [`Kind::Corrupt`].
    pub fn size(&self) -> Result<u64> {
        let size = self.number(SIZE, "size")?;
        u64::try_from(size).map_err(|_| corrupt("a negative size"))
    }

    /// Of a file with holes: its size with these, the beginning of its map, and whether more of it follows.
    ///
    /// # Errors
    /// [`Kind::Corrupt`].
    pub fn sparse(&self) -> Result<(u64, Vec<u64>, bool)> {
        let mut numbers = Vec::new();
        let more = map_numbers(self.0, MAP_START, MAP_IN_HEADER, &mut numbers)?;
        let size = u64::try_from(self.number(REAL_SIZE, "size")?);
        let size = size.map_err(|_| corrupt("a negative size"))?;
        Ok((size, numbers, more))
    }

    /// The object it describes.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] for numbers that are none, or that no object can have.
    pub fn entry(&self, kind: EntryKind) -> Result<Entry> {
        let small = |field, what| {
            let number = self.number(field, what)?;
            u32::try_from(number).map_err(|_| corrupt(format!("{what} {number} is out of range")))
        };
        let mut path = self.text(NAME).to_vec();
        let is_ustar = self.0[MAGIC].starts_with(b"ustar\0");
        let prefix = self.text(PREFIX);
        if is_ustar && !prefix.is_empty() {
            path = [prefix, b"/", &path].concat();
        }
        let is_device = matches!(kind, EntryKind::Char | EntryKind::Block);
        let mut rdev = Rdev::default();
        if is_device {
            rdev.major = small(DEV_MAJOR, "device number")?;
            rdev.minor = small(DEV_MINOR, "device number")?;
        }
        Ok(Entry {
            path,
            kind,
            // Some writers put the type into the mode as well.
            perm: small(MODE, "mode")? & 0o7777,
            uid: small(UID, "owner")?,
            gid: small(GID, "group")?,
            mtime: Time {
                sec: self.number(MTIME, "time")?,
                nsec: 0,
            },
            size: if kind == EntryKind::File {
                self.size()?
            } else {
                0
            },
            link: self.text(LINK).to_vec(),
            rdev,
            xattrs: Vec::new(),
        })
    }

    /// The bytes of a text field, up to the first NUL.
    fn text(&self, field: Field) -> &[u8] {
        let bytes = &self.0[field];
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        &bytes[..end]
    }

    /// A number: octal digits, or big-endian two's complement after a byte with its high bit set.
    fn number(&self, field: Field, what: &str) -> Result<i64> {
        parse_number(&self.0[field], what)
    }
}

fn parse_number(bytes: &[u8], what: &str) -> Result<i64> {
    if bytes[0] & 0x80 != 0 {
        return binary(bytes).ok_or_else(|| corrupt(format!("{what} is out of range")));
    }
    let is_filler = |b: &u8| matches!(b, b' ' | 0);
    let start = bytes
        .iter()
        .position(|b| !is_filler(b))
        .unwrap_or(bytes.len());
    let digits = bytes[start..].split(is_filler).next().unwrap_or_default();
    let mut number: i64 = 0;
    for digit in digits {
        match digit {
            b'0'..=b'7' => number = number << 3 | i64::from(digit - b'0'),
            _ => return Err(corrupt(format!("{what} is no number"))),
        }
    }
    Ok(number)
}

/// A block that goes on with the map of a file with holes; says whether more of it follows.
///
/// # Errors
/// [`Kind::Corrupt`].
pub fn more_sparse(block: &[u8; BLOCK_BYTES], numbers: &mut Vec<u64>) -> Result<bool> {
    map_numbers(block, 0, MAP_IN_BLOCK, numbers)
}

/// `count` numbers of twelve bytes from `start` on, and after them whether there are more. An empty one ends the map.
fn map_numbers(
    block: &[u8; BLOCK_BYTES],
    start: usize,
    count: usize,
    numbers: &mut Vec<u64>,
) -> Result<bool> {
    let end = start + count * MAP_NUMBER_BYTES;
    for field in block[start..end].chunks_exact(MAP_NUMBER_BYTES) {
        if field[0] == 0 {
            break;
        }
        let number = u64::try_from(parse_number(field, "stretch")?);
        push(numbers, number.map_err(|_| corrupt("a negative stretch"))?)?;
    }
    Ok(block[end] != 0)
}

fn binary(bytes: &[u8]) -> Option<i64> {
    let negative = bytes[0] & 0x40 != 0;
    let mut number: i64 = if negative { -1 } else { 0 };
    for (i, byte) in bytes.iter().enumerate() {
        // The highest bit only says that this is binary; the next one is the sign.
        let byte = match (i, negative) {
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        number = number.checked_mul(256)? | i64::from(byte);
    }
    Some(number)
}

/// The block for an object, in ustar form. What does not fit is cut or zero: a PAX record has it.
pub fn encode(entry: &Entry) -> [u8; BLOCK_BYTES] {
    let kind = match entry.kind {
        EntryKind::File => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::Char => b'3',
        EntryKind::Block => b'4',
        EntryKind::Dir => b'5',
        EntryKind::Fifo => b'6',
    };
    let mut block = encode_type(&entry.path, kind, entry.size, entry.perm);
    let small = |id: u32| u64::from(if id > SMALL_MAX { 0 } else { id });
    put_number(&mut block[UID], small(entry.uid));
    put_number(&mut block[GID], small(entry.gid));
    let seconds = u64::try_from(entry.mtime.sec).unwrap_or(0);
    put_number(
        &mut block[MTIME],
        if seconds > LARGE_MAX { 0 } else { seconds },
    );
    put_text(&mut block[LINK], &entry.link);
    if matches!(entry.kind, EntryKind::Char | EntryKind::Block) {
        put_number(&mut block[DEV_MAJOR], u64::from(entry.rdev.major));
        put_number(&mut block[DEV_MINOR], u64::from(entry.rdev.minor));
    }
    seal(&mut block);
    block
}

/// The block before the PAX records of an object.
pub fn encode_pax(path: &[u8], size: u64) -> [u8; BLOCK_BYTES] {
    let mut block = encode_type(path, b'x', size, 0o644);
    seal(&mut block);
    block
}

fn encode_type(path: &[u8], kind: u8, size: u64, perm: u32) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    put_text(&mut block[NAME], path);
    put_number(&mut block[MODE], u64::from(perm));
    for field in [UID, GID, MTIME, DEV_MAJOR, DEV_MINOR] {
        put_number(&mut block[field], 0);
    }
    put_number(&mut block[SIZE], if size > LARGE_MAX { 0 } else { size });
    block[TYPE] = kind;
    block[MAGIC].copy_from_slice(b"ustar\x0000");
    block
}

fn put_text(field: &mut [u8], text: &[u8]) {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text[..len]);
}

/// Octal digits that fill the field, and a NUL.
fn put_number(field: &mut [u8], mut number: u64) {
    let digits = field.len() - 1;
    for digit in field[..digits].iter_mut().rev() {
        *digit = b'0' + (number & 7) as u8;
        number >>= 3;
    }
}

fn seal(block: &mut [u8; BLOCK_BYTES]) {
    block[CHECKSUM].fill(b' ');
    let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
    // Six digits, a NUL, a space: as everybody does it.
    put_number(&mut block[CHECKSUM.start..CHECKSUM.end - 1], sum);
}

/// A damaged archive.
pub fn corrupt(text: impl std::fmt::Display) -> Error {
    Error::new(Kind::Corrupt, text)
}
