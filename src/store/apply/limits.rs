//! How much one archive may unpack to: some are made to fill a disk.

use crate::store::error::{Error, Kind, Result};
use crate::store::tar::read::shown;
use crate::sys::dir::DirFd;
use crate::sys::file::FsStat;

/// Bounds of one archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of data.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

impl Limits {
    /// For what is our own.
    pub const NONE: Limits = Limits {
        bytes: u64::MAX,
        entries: u64::MAX,
    };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes: 64 << 30,
            entries: 10_000_000,
        }
    }
}

/// Up to here nobody asks how well data was compressed.
const RATIO_FREE_BYTES: u64 = 1 << 30;
/// Nothing real is compressed better.
const RATIO_MAX: u64 = 1000;
/// The free space is looked at after so many bytes.
const LOOK_BYTES: u64 = 64 << 20;
/// What stays free: a twentieth of the filesystem, but not more than this.
const RESERVE_BYTES_MAX: u64 = 1 << 30;

/// Counts what is unpacked.
pub(super) struct Meter {
    limits: Limits,
    pub entries: u64,
    pub bytes: u64,
    holes: u64,
    looked_at: u64,
    root: DirFd,
}

impl Meter {
    pub(super) fn new(root: &DirFd, limits: Limits) -> Result<Meter> {
        let root = root.try_clone().map_err(|e| Error::new(Kind::Other, e))?;
        let meter = Meter {
            limits,
            entries: 0,
            bytes: 0,
            holes: 0,
            looked_at: 0,
            root,
        };
        meter.check_space()?;
        Ok(meter)
    }

    pub(super) fn entry(&mut self, path: &[u8]) -> Result<()> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            let most = self.limits.entries;
            let text = format!(
                "more than {most} entries (--max-entries), at {}",
                shown(path)
            );
            return Err(Error::new(Kind::Corrupt, text));
        }
        Ok(())
    }

    /// So many more bytes came out of `packed` bytes in all.
    pub(super) fn data(&mut self, bytes: usize, packed: u64) -> Result<()> {
        self.bytes += bytes as u64;
        self.check_bytes()?;
        if self.bytes > RATIO_FREE_BYTES && self.bytes / RATIO_MAX > packed {
            let text = format!("unpacks to more than {RATIO_MAX} times its size");
            return Err(Error::new(Kind::Corrupt, text));
        }
        if self.bytes - self.looked_at > LOOK_BYTES {
            self.looked_at = self.bytes;
            self.check_space()?;
        }
        Ok(())
    }

    /// So many more bytes are holes: they cost nothing here.
    pub(super) fn holes(&mut self, bytes: u64) -> Result<()> {
        self.holes = self.holes.saturating_add(bytes);
        self.check_bytes()
    }

    fn check_bytes(&self) -> Result<()> {
        if self.bytes.saturating_add(self.holes) > self.limits.bytes {
            let most = self.limits.bytes;
            let text = format!("unpacks to more than {most} bytes (--max-unpacked)");
            return Err(Error::new(Kind::Corrupt, text));
        }
        Ok(())
    }

    fn check_space(&self) -> Result<()> {
        // A filesystem that does not say has no limit we could keep.
        let Ok(space) = FsStat::of(&self.root) else {
            return Ok(());
        };
        let reserve = (space.blocks / 20).min(RESERVE_BYTES_MAX / space.frsize.max(1));
        if space.blocks > 0 && space.bavail < reserve {
            let text = "no space left: the last twentieth of the filesystem stays free";
            return Err(Error::new(Kind::Other, text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bombs_are_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let root = DirFd::open(temp.path()).unwrap();
        let limits = Limits {
            bytes: 4 << 30,
            entries: 2,
        };
        let mut meter = Meter::new(&root, limits).unwrap();
        meter.entry(b"a").unwrap();
        meter.entry(b"b").unwrap();
        assert_eq!(meter.entry(b"c").unwrap_err().kind, Kind::Corrupt);
        // A gibibyte of zeros is no crime, more of them is.
        meter.data(1 << 30, 1).unwrap();
        meter.data(1 << 30, 3 << 20).unwrap();
        assert_eq!(meter.data(1, 1 << 20).unwrap_err().kind, Kind::Corrupt);
        assert_eq!(
            meter.data(3 << 30, 3 << 30).unwrap_err().kind,
            Kind::Corrupt
        );
    }
}
