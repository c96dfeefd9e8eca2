//! [`Names`]: which names a directory of a lower layer has, so that a name it lacks costs no system call: what makes
//! deep stacks and misses cheap.
//!
//! Kept as hashes: one that is there by chance costs a look at the disk, as it would without; a name that is there is
//! never missed, as lower layers do not change. Of a directory that ignores case nothing is kept: it knows each file
//! by more names than it lists.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::at::At;
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;

/// Names looked for in vain until the directory is read for the first time, and how much later it is tried again if
/// it was too long then.
const MISSES: u32 = 8;
/// How many names may be read for one that was looked for in vain.
const WORTH: u32 = 64;

/// The names of one directory, as far as they are known.
#[derive(Debug, Default)]
pub struct Names {
    known: OnceLock<Box<[u32]>>,
    misses: Misses,
}

/// How often a name was looked for in vain.
#[derive(Debug, Default)]
pub(super) struct Misses(AtomicU32);

impl Misses {
    /// Counts one. When it is time to read the directory: how many names of it, at most.
    pub fn count(&self) -> Option<usize> {
        let misses = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        let is_time = misses.is_multiple_of(MISSES) && (misses / MISSES).is_power_of_two();
        is_time.then(|| misses.saturating_mul(WORTH) as usize)
    }
}

impl Names {
    /// Is it known that the directory has no such name? The name may be given in pieces.
    pub fn lack(&self, name: &[&[u8]]) -> bool {
        self.known
            .get()
            .is_some_and(|known| known.binary_search(&hash(name)).is_err())
    }

    /// A name was looked for in vain: after some of them the directory is read, if it is short enough for that.
    pub fn missed(&self, dir: &DirFd) {
        // Whoever needs a name that could not be read gets the error.
        if let Some(limit) = self.misses.count()
            && self.known.get().is_none()
            && let Ok(names) = read(dir, limit)
        {
            self.learn(dir, names);
        }
    }

    /// These are all names of this directory.
    pub fn learn(&self, dir: &DirFd, names: NameHashes) {
        if self.known.get().is_some() || names.in_other_case_are_found(dir) {
            return;
        }
        let mut hashes = names.hashes;
        hashes.sort_unstable();
        hashes.dedup();
        // Somebody else may have read the same.
        let _known = self.known.set(hashes.into_boxed_slice());
    }
}

/// Names on the way to be known.
#[derive(Debug, Default)]
pub struct NameHashes {
    hashes: Vec<u32>,
    /// The first name that can be written in another case, written so.
    other_case: Option<Name>,
}

impl NameHashes {
    /// Adds a name.
    pub fn push(&mut self, name: &[u8]) {
        self.hashes.push(hash(&[name]));
        if self.other_case.is_none() && name.iter().any(u8::is_ascii_alphabetic) {
            let flip = |byte: &u8| byte ^ (u8::from(byte.is_ascii_alphabetic()) << 5);
            self.other_case = Name::new(&name.iter().map(flip).collect::<Vec<_>>()).ok();
        }
    }

    /// The hashes.
    pub(super) fn hashes(&self) -> &[u32] {
        &self.hashes
    }

    /// Does the directory have one of them in a case in which it does not list it?
    fn in_other_case_are_found(&self, dir: &DirFd) -> bool {
        self.other_case.as_ref().is_some_and(|name| {
            let listed = || self.hashes.contains(&hash(&[name.as_bytes()]));
            At::child(dir, name).stat().is_ok() && !listed()
        })
    }
}

pub(super) fn read(dir: &DirFd, limit: usize) -> Result<NameHashes> {
    let mut names = NameHashes::default();
    dir.at().open_dir_file()?.for_each_entry(|entry| {
        if names.hashes.len() == limit {
            return Err(Errno::EOVERFLOW);
        }
        names.push(entry.name);
        Ok(())
    })?;
    Ok(names)
}

/// FNV-1a, folded.
pub(super) fn hash(name: &[&[u8]]) -> u32 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = name.iter().copied().flatten();
    let hash = bytes.fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    });
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_there_is_never_lacking() {
        let names = Names::default();
        assert!(!names.lack(&[b"anything"]), "nothing is known yet");
        let mut some = NameHashes::default();
        for n in 0..1000 {
            some.push(format!("name-{n}").as_bytes());
        }
        let dir = tempfile::tempdir().unwrap();
        names.learn(&DirFd::open(dir.path()).unwrap(), some);
        assert!((0..1000).all(|n| !names.lack(&[b"name-", format!("{n}").as_bytes()])));
        let wrong = (1000..2000).filter(|n| !names.lack(&[format!("name-{n}").as_bytes()]));
        assert!(wrong.count() < 3);
    }

    #[test]
    fn a_directory_is_read_after_some_misses_if_it_is_short() {
        let dir = tempfile::tempdir().unwrap();
        let there = MISSES * WORTH + 1;
        for n in 0..there {
            std::fs::write(dir.path().join(n.to_string()), "").unwrap();
        }
        let fd = DirFd::open(dir.path()).unwrap();
        let names = Names::default();
        for _ in 0..2 * MISSES - 1 {
            names.missed(&fd);
            assert!(!names.lack(&[b"none"]), "too long for so few misses");
        }
        names.missed(&fd);
        assert!(names.lack(&[b"none"]));
        assert!((0..there).all(|n| !names.lack(&[n.to_string().as_bytes()])));
    }
}
