//! [`UpperNames`]: which names the upper part of a directory may have, so that the names it lacks cost no system call.
//!
//! All changes of the upper layer come through here, so what is known stays known: a name is added before it is made,
//! under the lock of the directory, and nothing is taken out. As in [`super::names`] a name that is there by chance, or
//! was there once, costs a look at the disk. Where names are found in a case in which they are not listed nothing is
//! kept.

use std::collections::HashSet;

use super::names::{Misses, NameHashes, hash, read};
use super::rank;
use crate::sync::Mutex;
use crate::sys::dir::DirFd;

/// Names that a directory may gain beside as many as it had, before it is read again: many of them may be gone.
const GAINS: usize = 1 << 16;
/// FS_CASEFOLD_FL.
const CASEFOLD: u32 = 0x4000_0000;

/// The names of one directory, as far as they are known. Asked and taught under the lock of the directory.
#[derive(Debug, Default)]
pub struct UpperNames(Mutex<State, { rank::LEAF }>);

#[derive(Debug, Default)]
struct State {
    known: Option<Known>,
    misses: Misses,
    /// Does the directory tell names by their case? `None` when not asked yet.
    exact: Option<bool>,
    /// Somebody has the lock for changes: what he reads now may miss what he is about to make.
    changing: bool,
}

#[derive(Debug)]
struct Known {
    hashes: HashSet<u32>,
    limit: usize,
}

impl Known {
    fn of(names: &NameHashes) -> Known {
        let hashes: HashSet<u32> = names.hashes().iter().copied().collect();
        let limit = 2 * hashes.len() + GAINS;
        Known { hashes, limit }
    }
}

impl UpperNames {
    /// Is it known that the directory has no such name? The name may be given in pieces.
    pub fn lack(&self, name: &[&[u8]]) -> bool {
        let state = self.0.lock();
        let known = state.known.as_ref();
        known.is_some_and(|known| !known.hashes.contains(&hash(name)))
    }

    /// The directory may have this name from now on. The caller holds its lock for changes.
    pub fn add(&self, name: &[&[u8]]) {
        let mut state = self.0.lock();
        if let Some(known) = &mut state.known {
            known.hashes.insert(hash(name));
            if known.hashes.len() > known.limit {
                state.known = None;
            }
        }
    }

    /// Somebody has taken the lock of the directory for changes, or gives it back. Nothing is learned meanwhile.
    pub fn set_changing(&self, changing: bool) {
        self.0.lock().changing = changing;
    }

    /// A name was looked for in vain: after some of them the directory is read, if it is short enough for that.
    pub fn missed(&self, dir: &DirFd) {
        let limit = {
            let state = self.0.lock();
            let wanted = state.known.is_none() && state.exact != Some(false) && !state.changing;
            state.misses.count().filter(|_| wanted)
        };
        // Whoever needs a name that could not be read gets the error.
        if let Some(limit) = limit
            && let Ok(names) = read(dir, limit)
        {
            self.learn(dir, &names);
        }
    }

    /// These are all names of this directory. One without any may be about to go, and is not worth it.
    pub fn learn(&self, dir: &DirFd, names: &NameHashes) {
        let wanted = {
            let state = self.0.lock();
            state.known.is_none() && !state.changing
        };
        if wanted && !names.hashes().is_empty() && self.is_exact(dir) {
            self.0.lock().known = Some(Known::of(names));
        }
    }

    /// The directory was just made, in one that tells names by their case: so does it, and it is empty.
    pub fn begin_empty(&self) {
        let mut state = self.0.lock();
        state.exact = Some(true);
        state.known = Some(Known::of(&NameHashes::default()));
    }

    /// Does this directory tell names by their case? Only then can its names be known.
    pub fn is_exact(&self, dir: &DirFd) -> bool {
        let known = self.0.lock().exact;
        known.unwrap_or_else(|| {
            let flags = dir.at().open_dir_file().and_then(|dir| dir.inode_flags());
            // A filesystem without flags may be of any kind.
            let exact = flags.is_ok_and(|flags| flags & CASEFOLD == 0);
            self.0.lock().exact = Some(exact);
            exact
        })
    }

    /// The flags of the directory change.
    pub fn forget(&self) {
        let mut state = self.0.lock();
        (state.known, state.exact) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::MISSES;
    use super::*;

    fn dir() -> (tempfile::TempDir, DirFd) {
        let temp = tempfile::tempdir().unwrap();
        let fd = DirFd::open(temp.path()).unwrap();
        (temp, fd)
    }

    #[test]
    fn what_is_added_is_never_lacking() {
        let (temp, fd) = dir();
        std::fs::write(temp.path().join("old"), "").unwrap();
        let names = UpperNames::default();
        assert!(!names.lack(&[b"new"]), "nothing is known yet");
        names.learn(&fd, &read(&fd, 10).unwrap());
        assert!(!names.lack(&[b"old"]));
        assert!(names.lack(&[b"new"]));
        names.add(&[b"n", b"ew"]);
        assert!(!names.lack(&[b"new"]));
        names.forget();
        assert!(!names.lack(&[b"other"]));
    }

    #[test]
    fn a_directory_is_read_after_some_misses() {
        let (temp, fd) = dir();
        std::fs::write(temp.path().join("there"), "").unwrap();
        let names = UpperNames::default();
        for _ in 0..MISSES {
            assert!(!names.lack(&[b"none"]));
            names.missed(&fd);
        }
        assert!(names.lack(&[b"none"]));
        assert!(!names.lack(&[b"there"]));
    }

    #[test]
    fn nothing_is_learned_while_the_directory_changes() {
        let (temp, fd) = dir();
        std::fs::write(temp.path().join("there"), "").unwrap();
        let names = UpperNames::default();
        names.set_changing(true);
        names.learn(&fd, &read(&fd, 10).unwrap());
        assert!(!names.lack(&[b"about to be made"]));
        names.set_changing(false);
        names.learn(&fd, &read(&fd, 10).unwrap());
        assert!(names.lack(&[b"none"]));
    }

    #[test]
    fn names_that_came_and_went_do_not_pile_up() {
        let names = UpperNames::default();
        names.begin_empty();
        for n in 0..GAINS {
            names.add(&[format!("{n}").as_bytes()]);
        }
        assert!(names.lack(&[b"none"]));
        for n in 0..64 {
            names.add(&[format!("more {n}").as_bytes()]);
        }
        assert!(!names.lack(&[b"none"]), "not known any more");
    }
}
