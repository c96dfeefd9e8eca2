//! [`Watch`]: somebody who looks on while something long is done, and may wish it to stop. [`Progress`] is who only
//! counts: every store has one, and whoever shows it to people reads it from another thread when he likes. So telling
//! costs the work a few additions, and nothing here knows what a terminal is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::error::{Error, Kind, Result};
use super::meta::Size;

/// What is being done just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// A tree is copied.
    Copy,
    /// An archive becomes a tree.
    Unpack,
    /// A tree becomes an archive.
    Pack,
    /// Digests are computed.
    Hash,
    /// Trees are measured.
    Measure,
    /// Equal files are looked for, or shared.
    Dedup,
    /// Objects are checked.
    Check,
    /// Objects are deleted.
    Remove,
    /// Everything is written to disk.
    Sync,
}

impl Phase {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Copy => "copy",
            Phase::Unpack => "unpack",
            Phase::Pack => "pack",
            Phase::Hash => "hash",
            Phase::Measure => "measure",
            Phase::Dedup => "dedup",
            Phase::Check => "check",
            Phase::Remove => "remove",
            Phase::Sync => "sync",
        }
    }
}

/// Looks on.
pub trait Watch: Sync {
    /// Another part of the work begins. `total`: how much it will be, where that is known; counting starts anew.
    fn begin(&self, _phase: Phase, _total: Option<Size>) {}

    /// So many more bytes and entries are done.
    fn done(&self, bytes: u64, entries: u64);

    /// Shall it stop?
    fn is_stopped(&self) -> bool;
}

/// Nobody looks on.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Watch for Nobody {
    fn done(&self, _bytes: u64, _entries: u64) {}

    fn is_stopped(&self) -> bool {
        false
    }
}

/// Counts, and remembers that somebody wished it to stop.
#[derive(Debug, Default)]
pub struct Progress {
    stopped: AtomicBool,
    bytes: AtomicU64,
    entries: AtomicU64,
    part: Mutex<Option<(Phase, Option<Size>)>>,
}

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// What is being done.
    pub phase: Phase,
    /// How much of it is done.
    pub done: Size,
    /// How much it will be.
    pub total: Option<Size>,
}

impl Progress {
    /// From now on, what takes long ends: with an error, and the store as it was. True when that was wished before.
    pub fn stop(&self) -> bool {
        self.stopped.swap(true, Ordering::Relaxed)
    }

    /// How far the work is, once it has begun.
    pub fn stand(&self) -> Option<Stand> {
        let (phase, total) = (*self.part.lock())?;
        let done = Size {
            bytes: self.bytes.load(Ordering::Relaxed),
            entries: self.entries.load(Ordering::Relaxed),
        };
        Some(Stand { phase, done, total })
    }
}

impl Watch for Progress {
    fn begin(&self, phase: Phase, total: Option<Size>) {
        let mut part = self.part.lock();
        *part = Some((phase, total));
        self.bytes.store(0, Ordering::Relaxed);
        self.entries.store(0, Ordering::Relaxed);
    }

    fn done(&self, bytes: u64, entries: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.entries.fetch_add(entries, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// Tells the watcher, and stops where that is wished.
///
/// # Errors
/// [`Kind::Other`]: interrupted.
pub fn tell(watch: &dyn Watch, bytes: u64, entries: u64) -> Result<()> {
    if watch.is_stopped() {
        return Err(interrupted());
    }
    watch.done(bytes, entries);
    Ok(())
}

/// What ends the work of who was told to stop.
pub fn interrupted() -> Error {
    Error::new(Kind::Other, "interrupted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_each_part_and_stops() {
        let progress = Progress::default();
        assert_eq!(progress.stand(), None);
        progress.begin(Phase::Copy, None);
        tell(&progress, 10, 1).unwrap();
        tell(&progress, 5, 1).unwrap();
        let stand = progress.stand().unwrap();
        let done = Size {
            bytes: 15,
            entries: 2,
        };
        assert_eq!((stand.phase, stand.done), (Phase::Copy, done));
        progress.begin(Phase::Sync, Some(done));
        let stand = progress.stand().unwrap();
        assert_eq!((stand.done, stand.total), (Size::default(), Some(done)));
        assert!(!progress.stop() && progress.stop());
        assert_eq!(tell(&progress, 1, 1), Err(interrupted()));
    }
}
