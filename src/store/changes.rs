//! What differs: [`of_top`] between a layer and those below it, at the cost of that layer alone; [`between`] any two
//! trees. Both tell one [`Change`] after the other to whoever wants to know: the tar writer, a listing, a commit.
//!
//! Order: a directory before what is in it; in a directory first what was deleted, then the rest, each by name. A
//! directory that differs only in what is in it is told as modified, before the first change in it.

use std::path::Path;

use crate::sys::errno::Result as SysResult;
use crate::sys::name::Name;
use crate::sys::process::effective_ids;

use super::error::{Error, Kind, OrAt, Result};
use super::merged::{Found, MergedDir};

mod same;

use same::is_same;
pub use same::xattrs;

/// Deepest tree that is walked.
const DEPTH_MAX: usize = 8192;
/// Room for that.
const STACK_BYTES: usize = 256 << 20;

/// How a path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It was not there.
    Added,
    /// It was there; it or what is in it is different now.
    Modified,
    /// It is no longer there.
    Deleted,
}

/// One difference.
#[derive(Debug)]
pub struct Change<'a> {
    /// Where, relative to the root, components joined by `/`; empty for the root.
    pub path: &'a [u8],
    /// How.
    pub kind: ChangeKind,
    /// What is there now; `None` for what was deleted, and for the root.
    pub now: Option<&'a Found>,
    /// The root, if that is what is told.
    pub root: Option<&'a MergedDir>,
    /// A directory that begins anew: nothing that was in it is in it now, except what is told.
    pub opaque: bool,
    /// Deleted with the directory that began anew.
    pub implied: bool,
}

/// Who is told.
pub trait Visit {
    /// One difference.
    ///
    /// # Errors
    /// Its own; they end the walk.
    fn change(&mut self, change: &Change<'_>) -> Result<()>;
}

impl<F: FnMut(&Change<'_>) -> Result<()>> Visit for F {
    fn change(&mut self, change: &Change<'_>) -> Result<()> {
        self(change)
    }
}

/// What the top-most layer of a tree changes of those below it.
///
/// # Errors
/// Those of reading the layers, and of who is told; [`Kind::Unsupported`] for trees that are deeper than anything real.
pub fn of_top(tree: &MergedDir, visit: &mut (dyn Visit + Send)) -> Result<()> {
    let below = tree.below(0);
    with_stack(|| {
        let mut walk = Walk::new(visit);
        walk.root(below.as_ref(), tree)?;
        walk.top(tree, below.as_ref(), false)
    })
}

/// What changed from one tree to another; all of the new one if there is no old one.
///
/// # Errors
/// As [`of_top`].
pub fn between(
    old: Option<&MergedDir>,
    new: &MergedDir,
    visit: &mut (dyn Visit + Send),
) -> Result<()> {
    with_stack(|| {
        let mut walk = Walk::new(visit);
        walk.root(old, new)?;
        walk.trees(old, new)
    })
}

/// Runs a walk where a tree of [`DEPTH_MAX`] has room; what is not used of it costs nothing.
fn with_stack(walk: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let thread = thread
            .spawn_scoped(scope, walk)
            .or_at("cannot walk", Path::new("/"))?;
        let crashed = |_| Err(Error::new(Kind::Other, "the walk panicked"));
        thread.join().unwrap_or_else(crashed)
    })
}

struct Walk<'a> {
    visit: &'a mut (dyn Visit + Send),
    depth: usize,
    path: Vec<u8>,
    /// Directories around the current one that are told if anything in them is.
    pending: Vec<(Vec<u8>, Found)>,
}

impl<'a> Walk<'a> {
    fn new(visit: &'a mut (dyn Visit + Send)) -> Walk<'a> {
        Walk {
            visit,
            depth: 0,
            path: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// The root is told only when its own attributes differ.
    fn root(&mut self, old: Option<&MergedDir>, new: &MergedDir) -> Result<()> {
        let at = |dir: &MergedDir| -> SysResult<_> {
            let stat = dir.stat()?;
            let (_, top) = dir.top()?;
            Ok((stat.perm, stat.uid, stat.gid, xattrs(top.at())?))
        };
        let now = self.checked(at(new))?;
        let is_same = match old {
            Some(old) => self.checked(at(old))? == now,
            None => {
                // Root's, or who else keeps the store.
                let owners = [(0, 0), effective_ids()];
                owners.contains(&(now.1, now.2)) && now.0 == 0o755 && now.3.is_empty()
            }
        };
        if is_same {
            return Ok(());
        }
        self.visit.change(&Change {
            path: b"",
            kind: ChangeKind::Modified,
            now: None,
            root: Some(new),
            opaque: false,
            implied: false,
        })
    }

    /// `below`: the same directory without the top-most layer. `anew`: nothing of `below` shows.
    fn top(&mut self, dir: &MergedDir, below: Option<&MergedDir>, anew: bool) -> Result<()> {
        let mut names = self.checked(dir.names_on_top())?;
        if let (true, Some(below)) = (anew, below) {
            let listed = self.checked(below.list())?;
            names.extend(listed.into_iter().map(|(name, _)| name));
        }
        let mut there = Vec::new();
        for name in names {
            let old = match below {
                Some(below) => self.checked_at(&name, below.lookup(&name))?,
                None => None,
            };
            match self.checked_at(&name, dir.lookup(&name))? {
                Some(new) => there.push((name, old, new)),
                None if old.is_some() => self.tell_deleted(&name, anew)?,
                // A whiteout of nothing.
                None => {}
            }
        }
        self.descend()?;
        for (name, old, new) in there {
            self.enter(&name);
            self.top_entry(old, &new)?;
            self.leave(&name);
        }
        self.depth -= 1;
        Ok(())
    }

    fn top_entry(&mut self, old: Option<Found>, new: &Found) -> Result<()> {
        let Some(children) = self.checked(new.children())? else {
            // The other name of a copied-up file is told; so must this one be.
            let linked = new.stat.nlink > 1;
            return match &old {
                Some(old) if !linked && self.is_same(old, new)? => Ok(()),
                old => self.tell(kind_of(old.as_ref()), new, false),
            };
        };
        let below = match &old {
            Some(old) => self.checked(old.children())?,
            None => None,
        };
        let anew = below.is_some() && (new.opaque || new.moved);
        match &old {
            Some(old) if !anew && self.is_same(old, new)? => {
                self.pending.push((self.path.clone(), new.clone()));
            }
            old => self.tell(kind_of(old.as_ref()), new, anew)?,
        }
        if new.moved {
            // All of it is new here, whichever layer has it.
            self.trees(None, &children)?;
        } else {
            self.top(&children, below.as_ref(), anew)?;
        }
        self.forget_pending();
        Ok(())
    }

    fn trees(&mut self, old: Option<&MergedDir>, new: &MergedDir) -> Result<()> {
        if old.is_some_and(|old| old.is_same(new)) {
            return Ok(());
        }
        let before = match old {
            Some(old) => self.checked(old.list())?,
            None => Vec::new(),
        };
        let after = self.checked(new.list())?;
        for (name, _) in &before {
            if after.binary_search_by(|(n, _)| n.cmp(name)).is_err() {
                self.tell_deleted(name, false)?;
            }
        }
        self.descend()?;
        for (name, new) in &after {
            let old = before.binary_search_by(|(n, _)| n.cmp(name)).ok();
            let old = old.map(|i| &before[i].1);
            self.enter(name);
            self.tree_entry(old, new)?;
            self.leave(name);
        }
        self.depth -= 1;
        Ok(())
    }

    fn tree_entry(&mut self, old: Option<&Found>, new: &Found) -> Result<()> {
        let same = match old {
            Some(old) => self.is_same(old, new)?,
            None => false,
        };
        let children = self.checked(new.children())?;
        match (&children, same) {
            (None, true) => return Ok(()),
            (Some(_), true) => self.pending.push((self.path.clone(), new.clone())),
            (_, false) => self.tell(kind_of(old), new, false)?,
        }
        if let Some(children) = children {
            let before = match old {
                Some(old) => self.checked(old.children())?,
                None => None,
            };
            self.trees(before.as_ref(), &children)?;
            self.forget_pending();
        }
        Ok(())
    }

    fn descend(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let text = format!("a tree of more than {DEPTH_MAX} directories in each other");
            return Err(Error::new(Kind::Unsupported, text));
        }
        Ok(())
    }

    fn enter(&mut self, name: &Name) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.as_bytes());
    }

    fn leave(&mut self, name: &Name) {
        let len = self.path.len() - name.as_bytes().len();
        self.path.truncate(len.saturating_sub(1));
    }

    /// The current directory is done: if nothing in it was told, it is not either.
    fn forget_pending(&mut self) {
        if self
            .pending
            .last()
            .is_some_and(|(path, _)| *path == self.path)
        {
            self.pending.pop();
        }
    }

    fn flush(&mut self) -> Result<()> {
        for (path, now) in std::mem::take(&mut self.pending) {
            self.visit.change(&Change {
                path: &path,
                kind: ChangeKind::Modified,
                root: None,
                now: Some(&now),
                opaque: false,
                implied: false,
            })?;
        }
        Ok(())
    }

    fn tell(&mut self, kind: ChangeKind, now: &Found, opaque: bool) -> Result<()> {
        self.flush()?;
        self.visit.change(&Change {
            path: &self.path,
            kind,
            now: Some(now),
            root: None,
            opaque,
            implied: false,
        })
    }

    fn tell_deleted(&mut self, name: &Name, implied: bool) -> Result<()> {
        self.flush()?;
        self.enter(name);
        let told = self.visit.change(&Change {
            path: &self.path,
            kind: ChangeKind::Deleted,
            now: None,
            root: None,
            opaque: false,
            implied,
        });
        self.leave(name);
        told
    }

    fn is_same(&mut self, old: &Found, new: &Found) -> Result<bool> {
        self.checked(is_same(old, new))
    }

    /// Says where reading failed.
    fn checked<T>(&self, result: SysResult<T>) -> Result<T> {
        result.map_err(|errno| failed(&self.path, errno))
    }

    fn checked_at<T>(&mut self, name: &Name, result: SysResult<T>) -> Result<T> {
        result.map_err(|errno| {
            self.enter(name);
            failed(&self.path, errno)
        })
    }
}

fn failed(path: &[u8], errno: crate::sys::errno::Errno) -> Error {
    let path = path.escape_ascii();
    Error::new(
        Kind::Other,
        format!("cannot read /{path} of the tree: {errno}"),
    )
}

fn kind_of(old: Option<&Found>) -> ChangeKind {
    match old {
        Some(_) => ChangeKind::Modified,
        None => ChangeKind::Added,
    }
}
