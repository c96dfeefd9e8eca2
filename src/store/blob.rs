//! A blob as it is read: plain, gzip or zstd, told apart by its first bytes, with the digests of both forms.
//!
//! A thread of its own reads, inflates and hashes, so that this overlaps with what the reader does with the bytes.

use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::digest::{Digest, Hashing};
use super::error::{Error, Kind, Result};
use super::watch::Watch;

/// Bytes handed over at a time.
const PIECE_BYTES: usize = 256 << 10;
/// How long to wait for a source that is slow before asking whether to go on.
const LOOK_UP: Duration = Duration::from_millis(100);
/// Pieces that may lie ready.
const PIECES: usize = 8;
/// Largest window a zstd frame may ask for (log2 of bytes), as `zstd --long` writes it.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How a blob is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Told by the first bytes.
    fn of(magic: &[u8]) -> Compression {
        match magic {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // A skippable frame: some writers begin with one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

/// What is known of a blob that was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// Digest of the bytes as they came.
    pub digest: Digest,
    /// How many these are.
    pub size: u64,
    /// Digest of what was packed: of a layer, its diffID.
    pub diff_id: Digest,
    /// How it is packed.
    pub compression: Compression,
}

/// The unpacked bytes of a blob.
pub struct BlobReader<'a> {
    watch: &'a dyn Watch,
    pieces: Receiver<Vec<u8>>,
    piece: Cursor<Vec<u8>>,
    packed: Arc<AtomicU64>,
    worker: Option<JoinHandle<io::Result<BlobInfo>>>,
    failed: Option<io::Error>,
    info: Option<BlobInfo>,
}

impl<'a> BlobReader<'a> {
    /// Begins to read. Whoever waits for more is let go when `watch` says stop.
    pub fn new(source: Box<dyn Read + Send>, watch: &'a dyn Watch) -> BlobReader<'a> {
        let (sender, pieces) = sync_channel(PIECES);
        let packed = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&packed);
        let worker = std::thread::spawn(move || produce(source, &sender, counter));
        BlobReader {
            watch,
            pieces,
            piece: Cursor::default(),
            packed,
            worker: Some(worker),
            failed: None,
            info: None,
        }
    }

    /// Packed bytes read so far.
    pub fn packed_bytes(&self) -> u64 {
        self.packed.load(Ordering::Relaxed)
    }

    /// What is known of the blob, once all was read.
    ///
    /// # Errors
    /// [`Kind::Other`] before the end.
    pub fn info(&self) -> Result<BlobInfo> {
        self.info
            .ok_or_else(|| Error::new(Kind::Other, "the blob was not read to its end"))
    }

    /// The next piece; false at the end.
    fn advance(&mut self) -> io::Result<bool> {
        loop {
            match self.pieces.recv_timeout(LOOK_UP) {
                Ok(piece) => {
                    self.piece = Cursor::new(piece);
                    return Ok(true);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if self.watch.is_stopped() => {
                    return Err(io::Error::other("interrupted"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        if let Some(worker) = self.worker.take() {
            let crashed = |_| Err(io::Error::other("the thread that reads the blob panicked"));
            match worker.join().unwrap_or_else(crashed) {
                Ok(info) => self.info = Some(info),
                Err(error) => self.failed = Some(error),
            }
        }
        match &self.failed {
            Some(error) => Err(again(error)),
            None => Ok(false),
        }
    }
}

/// An error once more, for the next who asks.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.piece.read(buffer)? {
                0 if buffer.is_empty() || !self.advance()? => return Ok(0),
                0 => {}
                got => return Ok(got),
            }
        }
    }
}

/// Counts what is read, for others to see.
struct Counting<R>(R, Arc<AtomicU64>);

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.0.read(buffer)?;
        self.1.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got)
    }
}

fn produce(
    source: Box<dyn Read + Send>,
    pieces: &SyncSender<Vec<u8>>,
    packed: Arc<AtomicU64>,
) -> io::Result<BlobInfo> {
    let mut source = Hashing::new(Counting(source, packed));
    let mut magic = Vec::new();
    source.by_ref().take(4).read_to_end(&mut magic)?;
    let compression = Compression::of(&magic);
    let mut whole = Cursor::new(magic).chain(&mut source);
    let diff_id = match compression {
        Compression::None => hand_over(whole, pieces)?,
        Compression::Gzip => {
            let buffered = io::BufReader::with_capacity(PIECE_BYTES, &mut whole);
            hand_over(flate2::bufread::MultiGzDecoder::new(buffered), pieces)?
        }
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::new(&mut whole)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            hand_over(decoder, pieces)?
        }
    };
    // What a decoder left unread belongs to the digest too.
    io::copy(&mut source, &mut io::sink())?;
    let (_, digest, size) = source.finish();
    Ok(BlobInfo {
        digest,
        size,
        diff_id,
        compression,
    })
}

/// Reads to the end and hands over all of it; gives its digest.
fn hand_over(source: impl Read, pieces: &SyncSender<Vec<u8>>) -> io::Result<Digest> {
    let mut source = Hashing::new(source);
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        source
            .by_ref()
            .take(PIECE_BYTES as u64)
            .read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(source.finish().1);
        }
        if pieces.send(piece).is_err() {
            return Err(io::Error::other("nobody reads on"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::watch::Nobody;
    use std::io::Write;

    fn read(bytes: &[u8]) -> io::Result<(Vec<u8>, BlobInfo)> {
        let mut reader = BlobReader::new(Box::new(Cursor::new(bytes.to_vec())), &Nobody);
        let mut all = Vec::new();
        reader.read_to_end(&mut all)?;
        Ok((all, reader.info().unwrap()))
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn three_forms_and_both_digests() {
        let plain: Vec<u8> = (0..3_000_000_u32).map(|i| (i / 7) as u8).collect();
        let two_members = [gzip(&plain[..1000]), gzip(&plain[1000..])].concat();
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &zstd].concat();
        for (packed, compression) in [
            (plain.clone(), Compression::None),
            (gzip(&plain), Compression::Gzip),
            (two_members, Compression::Gzip),
            (zstd, Compression::Zstd),
            (skippable, Compression::Zstd),
            (Vec::new(), Compression::None),
        ] {
            let (all, info) = read(&packed).unwrap();
            assert_eq!(info.digest, Digest::of(&packed));
            assert_eq!(info.size, packed.len() as u64);
            assert_eq!(info.diff_id, Digest::of(&all));
            assert_eq!(info.compression, compression);
            assert!(packed.is_empty() || all == plain);
        }
    }

    #[test]
    fn damage_is_an_error_and_stays_one() {
        let plain = vec![7; 1_000_000];
        let gzip = gzip(&plain);
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        let mut flipped = gzip.clone();
        let end = flipped.len() - 5;
        flipped[end] ^= 1;
        let tail = [&gzip[..], b"garbage"].concat();
        for bad in [
            &gzip[..gzip.len() - 9],
            &zstd[..zstd.len() - 1],
            &flipped,
            &tail,
        ] {
            let mut reader = BlobReader::new(Box::new(Cursor::new(bad.to_vec())), &Nobody);
            assert!(reader.read_to_end(&mut Vec::new()).is_err());
            assert!(reader.read(&mut [0]).is_err());
            assert!(reader.info().is_err());
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_that_left() {
        let reader = BlobReader::new(Box::new(io::repeat(0)), &Nobody);
        drop(reader);
    }
}
