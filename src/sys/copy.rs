//! Copying the data of a file: shared blocks where the filesystem can, else inside the kernel, else
//! by hand; holes stay holes.

use super::errno::{Errno, Result};
use super::file::FileFd;

/// How much one step copies, in bytes.
const COPY_CHUNK_BYTES: usize = 1 << 20;

impl FileFd {
    /// Makes the empty file `to` hold the first `size` bytes of this one.
    ///
    /// # Errors
    /// Those of reading and writing; `to` is then of no use.
    pub fn copy_data_to(&self, to: &FileFd, size: u64) -> Result<()> {
        if size == 0 || self.clone_to(to).is_ok() {
            return Ok(());
        }
        self.copy_stretches_to(to, size, &mut |_| Ok(()))
    }

    /// As [`FileFd::copy_data_to`], for two files that cannot share blocks. After each step `told` hears how many
    /// bytes it was, and ends the copy by an error.
    ///
    /// # Errors
    /// Those of reading and writing; `to` is then of no use.
    pub fn copy_stretches_to(
        &self,
        to: &FileFd,
        size: u64,
        told: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut by_hand = Vec::new();
        let mut offset = 0;
        while offset < size {
            let Some((start, end)) = self.next_data(offset, size)? else {
                break;
            };
            self.copy_extent(to, (start, end), &mut by_hand, told)?;
            offset = end;
        }
        to.truncate(size)
    }

    /// As [`FileFd::copy_data_to`], for a file without holes that fits into memory.
    ///
    /// # Errors
    /// Those of reading and writing; `to` is then of no use.
    pub fn copy_small_to(&self, to: &FileFd, size: u64) -> Result<()> {
        let mut data = vec![0; usize::try_from(size).map_err(|_| Errno::EFBIG)?];
        let mut len = 0;
        while len < data.len() {
            match self.read_at(&mut data[len..], len as u64)? {
                0 => break,
                n => len += n,
            }
        }
        to.write_all_at(&data[..len], 0)?;
        match len == data.len() {
            true => Ok(()),
            false => to.truncate(size),
        }
    }

    /// The next stretch of data in `offset..size`; a filesystem that knows no holes has one stretch.
    fn next_data(&self, offset: u64, size: u64) -> Result<Option<(u64, u64)>> {
        let start = match self.seek_data(offset) {
            Ok(start) => start,
            Err(Errno::ENXIO) => return Ok(None),
            Err(Errno::EINVAL | Errno::EOPNOTSUPP) => return Ok(Some((offset, size))),
            Err(errno) => return Err(errno),
        };
        if start >= size {
            return Ok(None);
        }
        Ok(Some((start, self.seek_hole(start)?.min(size))))
    }

    /// Copies `start..end`. `by_hand` is the buffer once the kernel's copy has been refused.
    fn copy_extent(
        &self,
        to: &FileFd,
        (start, end): (u64, u64),
        by_hand: &mut Vec<u8>,
        told: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut at = start;
        while at < end {
            let want = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(COPY_CHUNK_BYTES);
            let copied = if by_hand.is_empty() {
                match self.copy_range_to(at, to, at, want) {
                    Ok(n) => n,
                    Err(
                        Errno::EXDEV
                        | Errno::EINVAL
                        | Errno::EOPNOTSUPP
                        | Errno::ENOSYS
                        | Errno::EPERM,
                    ) => {
                        by_hand.resize(COPY_CHUNK_BYTES, 0);
                        continue;
                    }
                    Err(errno) => return Err(errno),
                }
            } else {
                let n = self.read_at(&mut by_hand[..want], at)?;
                to.write_all_at(&by_hand[..n], at)?;
                n
            };
            if copied == 0 {
                // Shorter than stat said: somebody cut the file. The size is set by the caller.
                return Ok(());
            }
            at += copied as u64;
            told(copied as u64)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::at::OpenMode;
    use super::super::dir::DirFd;
    use super::super::name::Name;

    #[test]
    fn holes_stay_holes() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DirFd::open(temp.path()).unwrap();
        let mode = OpenMode {
            write: true,
            ..OpenMode::READ
        };
        let from = dir
            .create_file(&Name::new(b"from").unwrap(), mode, 0o600)
            .unwrap();
        from.write_at(b"head", 0).unwrap();
        from.write_at(b"tail", 8 << 20).unwrap();
        from.truncate(16 << 20).unwrap();
        let to = dir
            .create_file(&Name::new(b"to").unwrap(), mode, 0o600)
            .unwrap();
        from.copy_data_to(&to, 16 << 20).unwrap();
        let stat = to.stat().unwrap();
        assert_eq!(stat.size, 16 << 20);
        assert!(stat.blocks * 512 < 1 << 20, "{} blocks", stat.blocks);
        let mut buf = [0; 4];
        to.read_at(&mut buf, 8 << 20).unwrap();
        assert_eq!(&buf, b"tail");
    }
}
