//! Writing an archive as a stream. The same entries give the same bytes: nothing depends on the time, the user or the
//! machine.

use std::io::{Result, Write};

use super::header;
use super::{BLOCK_BYTES, Entry, padded, pax};

/// Zeros for padding and the end mark.
const ZEROS: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// An archive that is being written.
pub struct TarWriter<W> {
    sink: W,
    data_left: u64,
    padding_left: u64,
}

impl<W: Write> TarWriter<W> {
    /// An archive from its first byte.
    pub fn new(sink: W) -> TarWriter<W> {
        TarWriter {
            sink,
            data_left: 0,
            padding_left: 0,
        }
    }

    /// Begins an entry; [`TarWriter::data`] must follow until all `entry.size` bytes are there.
    ///
    /// # Errors
    /// Those of writing.
    pub fn entry(&mut self, entry: &Entry) -> Result<()> {
        debug_assert_eq!(self.data_left, 0, "the entry before is not complete");
        let records = pax::encode(entry);
        if !records.is_empty() {
            let base = entry
                .path
                .rsplit(|&b| b == b'/')
                .find(|part| !part.is_empty());
            let path = [b"PaxHeaders.0/", base.unwrap_or(b".")].concat();
            let size = records.len() as u64;
            self.sink.write_all(&header::encode_pax(&path, size))?;
            self.sink.write_all(&records)?;
            self.pad(padded(size) - size)?;
        }
        self.sink.write_all(&header::encode(entry))?;
        self.data_left = entry.size;
        self.padding_left = padded(entry.size) - entry.size;
        Ok(())
    }

    /// Writes data of the entry.
    ///
    /// # Errors
    /// Those of writing; `InvalidInput` for more than the entry has.
    pub fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(left) = self.data_left.checked_sub(bytes.len() as u64) else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        self.sink.write_all(bytes)?;
        self.data_left = left;
        if left == 0 {
            let padding = std::mem::take(&mut self.padding_left);
            self.pad(padding)?;
        }
        Ok(())
    }

    /// Writes the end mark; gives the sink back.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> Result<W> {
        self.sink.write_all(&ZEROS)?;
        Ok(self.sink)
    }

    fn pad(&mut self, bytes: u64) -> Result<()> {
        // Less than a block.
        self.sink.write_all(&ZEROS[..bytes as usize])
    }
}
