//! [`Lowers`]: the directories of the lower layers that show as one, and which of them may have a name.
//!
//! Each knows its own names ([`super::names`]), but to ask 500 of them, one after the other, takes longer than the
//! system call for the one that has the name. So deep stacks keep one index of the names of all: it grows by what the
//! directories have learned, in steps, so that building it costs no more than the questions it spares.

use std::ops::Deref;
use std::sync::Arc;

use super::lower::LowerDir;
use super::names::Sought;
use super::rank;
use crate::sync::RwLock;

/// Fewer directories are asked one by one.
pub(super) const DEEP: usize = 16;
/// So many that have learned their names are worth a larger index.
const STEP: usize = 16;
/// Names in an index, at most: some two milliseconds to build it, 8 bytes each.
const NAMES_MAX: usize = 1 << 16;

/// The directories, top-most first.
#[derive(Debug)]
pub struct Lowers {
    dirs: Box<[Arc<LowerDir>]>,
    /// Of deep stacks.
    index: Option<RwLock<Index, { rank::LEAF }>>,
}

#[derive(Debug)]
struct Index {
    /// Hashes of names and where the directory is that has one, in order.
    names: Box<[(u32, u32)]>,
    /// Where the directories are whose names are not in it, in order.
    outside: Box<[u32]>,
    /// No more names go into it.
    full: bool,
}

impl Deref for Lowers {
    type Target = [Arc<LowerDir>];

    fn deref(&self) -> &[Arc<LowerDir>] {
        &self.dirs
    }
}

impl FromIterator<Arc<LowerDir>> for Lowers {
    fn from_iter<I: IntoIterator<Item = Arc<LowerDir>>>(dirs: I) -> Lowers {
        let dirs: Box<[_]> = dirs.into_iter().collect();
        let positions = 0..u32::try_from(dirs.len()).unwrap_or(0);
        let index = (positions.len() >= DEEP).then(|| {
            RwLock::new(Index {
                names: Box::default(),
                outside: positions.collect(),
                full: false,
            })
        });
        Lowers { dirs, index }
    }
}

impl Lowers {
    /// The position of the first directory, from this position on, that may have the name.
    pub fn next_with(&self, sought: &Sought, from: usize) -> Option<usize> {
        let Some(index) = &self.index else {
            let mut positions = from..self.dirs.len();
            return positions.find(|at| !self.dirs[*at].names.lack(sought));
        };
        let index = index.read();
        let inside = index.next_with(sought, from);
        let below = inside.unwrap_or(self.dirs.len());
        let (mut outside, mut lacking) = (None, 0);
        for at in index.outside_from(from).take_while(|at| *at < below) {
            if !self.dirs[at].names.lack(sought) {
                outside = Some(at);
                break;
            }
            lacking += 1;
        }
        let is_slow = lacking >= STEP && !index.full;
        drop(index);
        if is_slow {
            self.grow();
        }
        outside.or(inside)
    }

    /// Takes the names of further directories into the index, if enough of them are known.
    fn grow(&self) {
        let Some(index) = &self.index else { return };
        let mut index = index.write();
        let known = |at: &u32| self.dirs[*at as usize].names.known();
        let learned = index.outside.iter().filter(|at| known(at).is_some());
        let inside = self.dirs.len() - index.outside.len();
        if index.full || learned.count() < STEP.max(inside / 4) {
            return;
        }
        let mut names = std::mem::take(&mut index.names).into_vec();
        let (mut outside, mut full) = (Vec::new(), false);
        for at in &index.outside {
            match known(at) {
                Some(more) if names.len() + more.len() <= NAMES_MAX => {
                    names.extend(more.iter().map(|hash| (*hash, *at)));
                }
                more => {
                    full |= more.is_some();
                    outside.push(*at);
                }
            }
        }
        names.sort_unstable();
        *index = Index {
            names: names.into_boxed_slice(),
            outside: outside.into_boxed_slice(),
            full,
        };
    }
}

impl Index {
    fn next_with(&self, sought: &Sought, from: usize) -> Option<usize> {
        let next = |hash: u32| {
            let after = self
                .names
                .partition_point(|(name, at)| (*name, *at as usize) < (hash, from));
            let (name, at) = self.names.get(after)?;
            (*name == hash).then_some(*at as usize)
        };
        sought.hashes().filter_map(next).min()
    }

    fn outside_from(&self, from: usize) -> impl Iterator<Item = usize> {
        let begin = self.outside.partition_point(|at| (*at as usize) < from);
        self.outside[begin..].iter().map(|at| *at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fds::FdCache;
    use super::super::names::NameHashes;
    use super::*;
    use crate::sys::dir::DirFd;
    use crate::sys::name::Name;

    struct Stack {
        lowers: Lowers,
        root: Arc<DirFd>,
    }

    impl Stack {
        fn of(depth: usize) -> Stack {
            let root = Arc::new(DirFd::open(std::path::Path::new("/")).unwrap());
            let fds = Arc::new(FdCache::new(64));
            let dir = |layer| Arc::new(LowerDir::root(layer, root.clone(), 0, 0, &fds));
            let lowers = (0..depth).map(dir).collect();
            Stack { lowers, root }
        }

        fn learn(&self, at: usize, names: &[String]) {
            let mut hashes = NameHashes::default();
            names.iter().for_each(|name| hashes.push(name.as_bytes()));
            self.lowers[at].names.learn(&self.root, hashes);
        }

        /// All directories that may have the name.
        fn with(&self, name: &str) -> Vec<usize> {
            let sought = Sought::new(&Name::new(name.as_bytes()).unwrap());
            let mut next = self.lowers.next_with(&sought, 0);
            std::iter::from_fn(|| {
                let at = next?;
                next = self.lowers.next_with(&sought, at + 1);
                Some(at)
            })
            .collect()
        }

        fn outside(&self) -> usize {
            let index = self.lowers.index.as_ref().unwrap().read();
            index.outside.len()
        }
    }

    #[test]
    fn every_directory_that_has_the_name_or_may_have_it_is_found() {
        let depth = 100;
        let stack = Stack::of(depth);
        assert_eq!(stack.with("none"), (0..depth).collect::<Vec<_>>());
        // They learn in an order of their own; 42 never does.
        for at in (0..depth).map(|n| n * 37 % depth).filter(|at| *at != 42) {
            stack.learn(at, &[format!("only-{at}"), format!("tenth-{}", at % 10)]);
            stack.with("none");
        }
        assert_eq!(stack.with("none"), [42]);
        assert!(stack.outside() <= depth / 4, "{} outside", stack.outside());
        for at in (0..depth).filter(|at| *at != 42) {
            let mut expected = vec![at, 42];
            expected.sort_unstable();
            assert_eq!(stack.with(&format!("only-{at}")), expected);
        }
        let mut tenth: Vec<usize> = (0..depth).filter(|at| at % 10 == 3 || *at == 42).collect();
        tenth.dedup();
        assert_eq!(stack.with("tenth-3"), tenth);
    }

    #[test]
    fn an_index_does_not_grow_for_ever() {
        let stack = Stack::of(3 * STEP);
        let many = |at| (0..3000).map(|n| format!("{at}-{n}")).collect::<Vec<_>>();
        for at in 0..3 * STEP {
            stack.learn(at, &many(at));
        }
        stack.with("none");
        assert!(stack.outside() >= 3 * STEP - NAMES_MAX / 3000);
        assert!(stack.with("7-2999").contains(&7));
        assert!(stack.with("47-1").contains(&47));
    }

    #[test]
    fn a_shallow_stack_has_no_index() {
        let stack = Stack::of(DEEP - 1);
        stack.learn(3, &["name".into()]);
        assert!(stack.lowers.index.is_none());
        assert!(!stack.with("none").contains(&3));
        assert!(stack.with("name").contains(&3));
    }
}
