//! Locks of the store: flock(2) only, so the death of a process frees what it held and nobody ever breaks a lock by
//! hand.
//!
//! | what is locked | shared | exclusive |
//! |---|---|---|
//! | `lock` of the store | every verb, while it works | gc, dedup, repair |
//! | the content directory of an object | while it becomes somebody's parent | while it is published, sealed or removed |
//! | `lock` of a staging directory | | its maker, as long as it lives |
//!
//! Order: the store, then images, containers, layers, a child before its parent. Exclusive locks are never waited for
//! by queueing (a short patience, then [`Kind::Busy`]), so no order can deadlock.

use std::path::Path;
use std::time::{Duration, Instant};

use super::error::{Error, Kind, OrAt, Result};
use crate::sys::at::OpenMode;
use crate::sys::dir::DirFd;
use crate::sys::errno::Errno;
use crate::sys::file::FileFd;
use crate::sys::name::Name;

pub use crate::sys::file::LockMode;

/// How long somebody else may hold a lock before that is said to be in use.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(2);

/// A lock that is held; dropping it frees it.
#[derive(Debug)]
pub struct Lock {
    file: FileFd,
}

impl Lock {
    /// Locks the directory or file at `path`, waiting for a moment.
    ///
    /// # Errors
    /// [`Kind::Busy`]; [`Kind::NotFound`] when there is nothing at `path`.
    pub fn take(path: &Path, mode: LockMode) -> Result<Lock> {
        let lock = Lock { file: open(path)? };
        let deadline = Instant::now() + PATIENCE;
        while !lock.try_mode(path, mode)? {
            if Instant::now() >= deadline {
                return Err(Error::at(
                    Kind::Busy,
                    "in use by another process:",
                    path,
                    "try again",
                ));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(lock)
    }

    /// Locks what is at `path`, if nobody is in the way just now.
    ///
    /// # Errors
    /// [`Kind::NotFound`], and what the system says.
    pub fn try_take(path: &Path, mode: LockMode) -> Result<Option<Lock>> {
        let lock = Lock { file: open(path)? };
        Ok(lock.try_mode(path, mode)?.then_some(lock))
    }

    fn try_mode(&self, path: &Path, mode: LockMode) -> Result<bool> {
        match self.file.try_lock(mode) {
            Ok(()) => Ok(true),
            Err(Errno::EAGAIN) => Ok(false),
            Err(errno) => Err(errno).or_at("lock", path),
        }
    }

    /// Is what was locked still what `path` means? It may have been renamed away before the lock was there.
    pub fn still_at(&self, path: &Path) -> bool {
        let there = open(path).and_then(|file| file.stat().or_at("lock", path));
        match (self.file.stat(), there) {
            (Ok(held), Ok(there)) => (held.dev, held.ino) == (there.dev, there.ino),
            _ => false,
        }
    }
}

fn open(path: &Path) -> Result<FileFd> {
    let opened = (|| {
        let parent = DirFd::open(path.parent().ok_or(Errno::ENOENT)?)?;
        let name = Name::from_os(path.file_name().ok_or(Errno::ENOENT)?)?;
        let at = crate::sys::at::At::child(&parent, &name);
        match at.open_dir_file() {
            Err(Errno::ENOTDIR) => at.open_file(OpenMode::READ),
            result => result,
        }
    })();
    match opened {
        Err(Errno::ENOENT) => Err(Error::at(Kind::NotFound, "not there:", path, Errno::ENOENT)),
        result => result.or_at("lock", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharers_keep_others_out() {
        let temp = tempfile::tempdir().unwrap();
        let (path, moved) = (temp.path().join("d"), temp.path().join("e"));
        std::fs::create_dir(&path).unwrap();
        let first = Lock::take(&path, LockMode::Shared).unwrap();
        let second = Lock::take(&path, LockMode::Shared).unwrap();
        assert!(
            Lock::try_take(&path, LockMode::Exclusive)
                .unwrap()
                .is_none()
        );
        drop(first);
        assert!(
            Lock::try_take(&path, LockMode::Exclusive)
                .unwrap()
                .is_none()
        );
        drop(second);
        let alone = Lock::try_take(&path, LockMode::Exclusive).unwrap().unwrap();
        assert!(alone.still_at(&path));
        std::fs::rename(&path, &moved).unwrap();
        assert!(!alone.still_at(&path) && alone.still_at(&moved));
        let missing = Lock::take(&path, LockMode::Shared).unwrap_err();
        assert_eq!(missing.kind, Kind::NotFound);
    }
}
