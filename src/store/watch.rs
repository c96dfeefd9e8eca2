//! [`Watch`]: somebody who looks on while something long is done, and may wish it to stop.

use super::error::{Error, Kind, Result};

/// Looks on.
pub trait Watch: Sync {
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
