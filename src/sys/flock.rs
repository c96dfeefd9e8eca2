//! flock(2) on plain files. A lock is held as long as the file is open, so it ends with its holder, however that ends.

use std::fs::File;

use rustix::fs::FlockOperation;
use rustix::io::retry_on_intr;

use super::errno::{Errno, Result};

/// Waits until the file is locked by nobody else.
///
/// # Errors
/// As flock(2) says.
pub fn lock(file: &File) -> Result<()> {
    Ok(retry_on_intr(|| {
        rustix::fs::flock(file, FlockOperation::LockExclusive)
    })?)
}

/// Whether somebody has locked the file. Who asks disturbs nobody else who asks.
///
/// # Errors
/// As flock(2) says.
pub fn is_locked(file: &File) -> Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockShared).map_err(Errno::from) {
        Ok(()) => rustix::fs::flock(file, FlockOperation::Unlock)
            .map(|()| false)
            .map_err(Errno::from),
        Err(Errno::EAGAIN) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// Opens the file to others.
///
/// # Errors
/// As flock(2) says.
pub fn unlock(file: &File) -> Result<()> {
    Ok(rustix::fs::flock(file, FlockOperation::Unlock)?)
}

/// Locks the file if nobody else does; says whether.
///
/// # Errors
/// As flock(2) says.
pub fn try_lock(file: &File) -> Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).map_err(Errno::from) {
        Ok(()) => Ok(true),
        Err(Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(errno),
    }
}
