//! [`Names`]: which names a directory of a lower layer has, so that a name it lacks costs no system call: what makes
//! deep stacks and misses cheap. It is read once some names were looked for in vain, before the first one if it is
//! short and one of many.
//!
//! Kept as hashes: one that is there by chance costs a look at the disk, as it would without; a name that is there is
//! never missed, as lower layers do not change. Of a directory that ignores case nothing is kept: it knows each file
//! by more names than it lists.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::layer::mark;
use crate::sys::at::At;
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;
use crate::sys::name::Name;

/// Names looked for in vain until the directory is read for the first time, and how much later it is tried again if
/// it was too long then.
pub(super) const MISSES: u32 = 4;
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

    /// Counts the first one before it is made. False when there was one.
    fn begin(&self) -> bool {
        let relaxed = Ordering::Relaxed;
        self.0.compare_exchange(0, 1, relaxed, relaxed).is_ok()
    }
}

/// A name that is looked for, by its hash.
#[derive(Clone, Copy, Debug)]
pub struct Sought {
    name: u32,
    /// The `.wh.` file beside it, where there may be one.
    marker: Option<u32>,
}

impl Sought {
    /// A name.
    pub fn new(name: &Name) -> Sought {
        Sought {
            name: hash(&[name.as_bytes()]),
            marker: None,
        }
    }

    /// A name, or the `.wh.` file that removes it.
    pub fn or_marker(self, name: &Name) -> Sought {
        let marker = Some(hash(&[mark::OCI_PREFIX, name.as_bytes()]));
        Sought { marker, ..self }
    }

    /// What either of them is known by.
    pub(super) fn hashes(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.name).chain(self.marker)
    }
}

impl Names {
    /// Is it known that the directory has no such name?
    pub fn lack(&self, sought: &Sought) -> bool {
        self.known.get().is_some_and(|known| {
            let mut hashes = sought.hashes();
            hashes.all(|hash| known.binary_search(&hash).is_err())
        })
    }

    /// May it have a `.wh.` file for the name?
    pub fn may_mark(&self, sought: &Sought) -> bool {
        let may_have = |marker| {
            let known = self.known.get();
            known.is_none_or(|known| known.binary_search(&marker).is_ok())
        };
        sought.marker.is_some_and(may_have)
    }

    /// The hashes of all names, in order, if they are known.
    pub(super) fn known(&self) -> Option<&[u32]> {
        self.known.get().map(|known| &**known)
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

    /// Is the directory to be read before anything was looked for? True once.
    pub fn begin(&self) -> bool {
        self.known.get().is_none() && self.misses.begin()
    }

    /// Reads the directory, which was just opened, if it is short enough for one look.
    pub fn learn_first(&self, dir: FileFd) {
        if let Ok(names) = read_open(&dir, WORTH as usize) {
            self.learn(&dir.into_dir(), names);
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
    read_open(&dir.at().open_dir_file()?, limit)
}

fn read_open(dir: &FileFd, limit: usize) -> Result<NameHashes> {
    let mut names = NameHashes::default();
    dir.for_each_entry(|entry| {
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

    fn lacks(names: &Names, name: &str) -> bool {
        names.lack(&Sought::new(&Name::new(name.as_bytes()).unwrap()))
    }

    #[test]
    fn a_marker_may_be_there_as_long_as_nothing_else_is_known() {
        let (dir, names) = (tempfile::tempdir().unwrap(), Names::default());
        let name = Name::new(b"name").unwrap();
        let plain = Sought::new(&name);
        let marked = plain.or_marker(&name);
        assert!(names.may_mark(&marked) && !names.may_mark(&plain));
        let mut some = NameHashes::default();
        some.push(b".wh.name");
        names.learn(&DirFd::open(dir.path()).unwrap(), some);
        assert!(names.may_mark(&marked) && !names.lack(&marked) && names.lack(&plain));
        let other = Name::new(b"other").unwrap();
        let other = Sought::new(&other).or_marker(&other);
        assert!(!names.may_mark(&other) && names.lack(&other));
    }

    #[test]
    fn a_name_that_is_there_is_never_lacking() {
        let names = Names::default();
        assert!(!lacks(&names, "anything"), "nothing is known yet");
        let mut some = NameHashes::default();
        for n in 0..1000 {
            some.push(format!("name-{n}").as_bytes());
        }
        let dir = tempfile::tempdir().unwrap();
        names.learn(&DirFd::open(dir.path()).unwrap(), some);
        assert!((0..1000).all(|n| !lacks(&names, &format!("name-{n}"))));
        let wrong = (1000..2000).filter(|n| !lacks(&names, &format!("name-{n}")));
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
            assert!(!lacks(&names, "none"), "too long for so few misses");
        }
        names.missed(&fd);
        assert!(lacks(&names, "none"));
        assert!((0..there).all(|n| !lacks(&names, &n.to_string())));
    }
}
