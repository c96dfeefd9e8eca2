//! Reading an archive as a stream: [`TarReader`] gives one [`Entry`] after the other, then its data.
//!
//! Every byte is given out exactly once: data by [`TarReader::read_data`], all else by [`TarReader::take_raw`], so
//! that who writes both down in their order has the archive again.

use std::io::{ErrorKind, Read};

use super::header::{Header, Type, corrupt, more_sparse};
use super::sparse::{self, Records, Sparse};
use super::{BLOCK_BYTES, Entry, EntryKind, padded, pax};
use crate::store::error::{Error, Kind, Result};
use crate::sys::errno::Errno;

/// Longest extended header in bytes: names and attributes of one entry, all together.
const EXTENDED_BYTES_MAX: u64 = 1 << 20;

/// An archive that is being read.
pub struct TarReader<R> {
    source: R,
    /// Read, but neither data nor given out yet.
    raw: Vec<u8>,
    /// Data of the entry that was not read yet.
    data_left: u64,
    padding_left: u64,
    /// Of an entry with holes: what its data is.
    sparse: Option<Sparse>,
    ended: Option<End>,
}

/// How an archive ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By its end mark.
    Marked,
    /// After an entry, without an end mark: maybe it was cut off.
    Unmarked,
}

/// What extended headers said of the next object.
#[derive(Default)]
struct Extended {
    records: Vec<u8>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> TarReader<R> {
    /// An archive from its first byte.
    pub fn new(source: R) -> TarReader<R> {
        TarReader {
            source,
            raw: Vec::new(),
            data_left: 0,
            padding_left: 0,
            sparse: None,
            ended: None,
        }
    }

    /// The next object; `None` at the end, see [`TarReader::end`]. Data of the last one that was not read becomes
    /// raw bytes.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] for what is no archive or was cut off; those of reading.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.skip_data()?;
        let mut extended = Extended::default();
        loop {
            let Some(block) = self.header_block()? else {
                if extended.is_empty() {
                    return Ok(None);
                }
                return Err(corrupt("the archive ends after an extended header"));
            };
            let header = Header::parse(&block)?;
            match header.kind()? {
                Type::Object(kind) => return self.object(&header, kind, extended).map(Some),
                Type::Sparse => return self.old_sparse(&header, extended).map(Some),
                Type::Pax => extended.records = self.extended(&header)?,
                Type::LongName => extended.path = Some(text(self.extended(&header)?)),
                Type::LongLink => extended.link = Some(text(self.extended(&header)?)),
                // As container tools have it, these say nothing about objects.
                Type::PaxGlobal | Type::Label => drop(self.extended(&header)?),
            }
        }
    }

    fn object(
        &mut self,
        header: &Header<'_>,
        kind: EntryKind,
        extended: Extended,
    ) -> Result<Entry> {
        let mut entry = header.entry(kind)?;
        if let Some(path) = extended.path {
            entry.path = path;
        }
        if let Some(link) = extended.link {
            entry.link = link;
        }
        let named = |path: &[u8], error: &Error| {
            Error::new(error.kind, format!("{}: {error}", shown(path)))
        };
        let records = pax::apply(&extended.records, &mut entry);
        let records = records.map_err(|error| named(&entry.path, &error))?;
        if header.is_old() && entry.path.ends_with(b"/") {
            (entry.kind, entry.size) = (EntryKind::Dir, 0);
        }
        self.data_left = entry.size;
        self.padding_left = padded(entry.size) - entry.size;
        self.sparse = None;
        if let Some(records) = records {
            if let Some(name) = &records.name {
                entry.path.clone_from(name);
            }
            let holes = self.holes(&entry, records);
            holes.map_err(|error| named(&entry.path, &error))?;
        }
        if let Some(sparse) = &self.sparse {
            entry.size = sparse.size;
        }
        Ok(entry)
    }

    /// A file with holes of which PAX records tell.
    fn holes(&mut self, entry: &Entry, mut records: Records) -> Result<()> {
        if entry.kind != EntryKind::File {
            return Err(corrupt("only files have holes"));
        }
        if records.map_is_data {
            records.numbers = self.map_in_data()?;
        }
        let size = records
            .size
            .ok_or_else(|| corrupt("a sparse file without a size"))?;
        self.sparse = Some(Sparse::new(size, &records.numbers, self.data_left)?);
        Ok(())
    }

    /// The map in front of the data: lines of digits, the first one says how many stretches there are.
    fn map_in_data(&mut self) -> Result<Vec<u64>> {
        let (mut numbers, mut line) = (Vec::new(), Vec::new());
        let mut wanted = None;
        while wanted.is_none_or(|wanted| (numbers.len() as u64) < wanted) {
            let mut block = [0; BLOCK_BYTES];
            if self.read_data(&mut block)? < BLOCK_BYTES {
                return Err(corrupt("the map of a sparse file has no end"));
            }
            self.raw.extend_from_slice(&block);
            for byte in block {
                if byte != b'\n' && line.len() <= sparse::DIGITS_MAX {
                    line.push(byte);
                    continue;
                }
                let number = sparse::number(&line)?;
                line.clear();
                match wanted {
                    None => wanted = Some(number.saturating_mul(2)),
                    Some(_) => sparse::push(&mut numbers, number)?,
                }
                if wanted.is_some_and(|wanted| numbers.len() as u64 == wanted) {
                    // Zeros fill up the block.
                    break;
                }
            }
        }
        Ok(numbers)
    }

    /// A file with holes of the type that GNU tar has for them.
    fn old_sparse(&mut self, header: &Header<'_>, extended: Extended) -> Result<Entry> {
        let (size, mut numbers, mut more) = header.sparse()?;
        while more {
            let mut block = [0; BLOCK_BYTES];
            if read_full(&mut self.source, &mut block)? < BLOCK_BYTES {
                return Err(corrupt("the archive ends within the map of a sparse file"));
            }
            self.raw.extend_from_slice(&block);
            more = more_sparse(&block, &mut numbers)?;
        }
        let mut entry = self.object(header, EntryKind::File, extended)?;
        let sparse = Sparse::new(size, &numbers, self.data_left);
        let named =
            |error: Error| Error::new(error.kind, format!("{}: {error}", shown(&entry.path)));
        self.sparse = Some(sparse.map_err(named)?);
        entry.size = size;
        Ok(entry)
    }

    /// Where the data of the entry belongs, if it has holes.
    pub fn sparse(&self) -> Option<&Sparse> {
        self.sparse.as_ref()
    }

    /// Reads data of the entry; 0 at its end.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when the archive ends before the data does.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.data_left).unwrap_or(usize::MAX);
        let want = buffer.len().min(most);
        if want == 0 {
            return Ok(0);
        }
        let got = read_full(&mut self.source, &mut buffer[..want])?;
        if got < want {
            return Err(corrupt("the archive ends within the data of an entry"));
        }
        self.data_left -= got as u64;
        Ok(got)
    }

    /// What was read since the last call and is no data.
    pub fn take_raw(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.raw)
    }

    /// Where the archive comes from.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// How the archive ended, once it did.
    pub fn end(&self) -> Option<End> {
        self.ended
    }

    /// Reads what follows the end mark, `each` piece of it: it belongs to the digest of the archive.
    ///
    /// # Errors
    /// Those of reading.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match read_full(&mut self.source, &mut buffer)? {
                0 => return Ok(()),
                got => each(&buffer[..got])?,
            }
        }
    }

    fn skip_data(&mut self) -> Result<()> {
        let mut skip = std::mem::take(&mut self.data_left) + std::mem::take(&mut self.padding_left);
        let mut buffer = [0; 4096];
        while skip > 0 {
            let want = buffer
                .len()
                .min(usize::try_from(skip).unwrap_or(usize::MAX));
            if read_full(&mut self.source, &mut buffer[..want])? < want {
                return Err(corrupt("the archive ends within an entry"));
            }
            self.raw.extend_from_slice(&buffer[..want]);
            skip -= want as u64;
        }
        Ok(())
    }

    /// The next block that is not zero; `None` at the end.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>> {
        if self.ended.is_some() {
            return Ok(None);
        }
        for zeros in 0..2 {
            let mut block = [0; BLOCK_BYTES];
            let got = read_full(&mut self.source, &mut block)?;
            self.raw.extend_from_slice(&block[..got]);
            match got {
                // One block of zeros is half an end mark; some programs write no more.
                0 if zeros > 0 => break,
                0 => {
                    self.ended = Some(End::Unmarked);
                    return Ok(None);
                }
                BLOCK_BYTES if block != [0; BLOCK_BYTES] && zeros == 0 => return Ok(Some(block)),
                BLOCK_BYTES if block != [0; BLOCK_BYTES] => {
                    return Err(corrupt("data after half an end mark"));
                }
                BLOCK_BYTES => {}
                _ => return Err(corrupt("the archive ends within a header")),
            }
        }
        self.ended = Some(End::Marked);
        Ok(None)
    }

    /// The data of an extended header.
    fn extended(&mut self, header: &Header<'_>) -> Result<Vec<u8>> {
        let size = header.size()?;
        if size > EXTENDED_BYTES_MAX {
            return Err(corrupt(format!("an extended header of {size} bytes")));
        }
        // Checked above to be small.
        let (size, padded) = (size as usize, padded(size) as usize);
        let start = self.raw.len();
        self.raw.resize(start + padded, 0);
        if read_full(&mut self.source, &mut self.raw[start..])? < padded {
            return Err(corrupt("the archive ends within an extended header"));
        }
        Ok(self.raw[start..start + size].to_vec())
    }
}

impl Extended {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.path.is_none() && self.link.is_none()
    }
}

/// A name of GNU tar ends at its first NUL.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

/// A name for a message.
pub fn shown(path: &[u8]) -> String {
    path.escape_ascii().to_string()
}

/// Reads until the buffer is full or the source ends.
fn read_full(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match source.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    Ok(done)
}

/// A system call failed, or the bytes are not what a decompressor takes.
fn failed(error: &std::io::Error) -> Error {
    match error.raw_os_error() {
        Some(code) => Error::new(
            Kind::Other,
            format!("reading the archive: {}", Errno::from_raw(code)),
        ),
        None => corrupt(format!("reading the archive: {error}")),
    }
}
