//! `Slot`: a name in a write-locked directory. Every change of a name takes one, so that it cannot be
//! made without the lock, and the name counts from then on among those that the upper layer may have.

use std::sync::Arc;

use crate::overlay::Overlay;
use crate::overlay::node::{DirState, Node, rank};
use crate::sync::WriteGuard;
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;

/// A directory locked for changes of its entries. The directory has an upper part.
pub(in crate::overlay) struct LockedDir<'a> {
    /// The directory.
    pub node: &'a Arc<Node>,
    /// Its upper part.
    pub dir: Arc<DirFd>,
    state: WriteGuard<'a, DirState, { rank::DIR }>,
}

impl Drop for LockedDir<'_> {
    fn drop(&mut self) {
        // Whoever took the lock changed something, or may have: listings are made anew.
        self.state.version += 1;
        self.node.upper_names().set_changing(false);
    }
}

/// A name in a locked directory.
#[derive(Clone, Copy)]
pub(in crate::overlay) struct Slot<'a> {
    /// The directory.
    pub parent: &'a Arc<Node>,
    /// Its upper part.
    pub dir: &'a DirFd,
    /// The name.
    pub name: &'a Name,
}

impl<'a> Slot<'a> {
    /// A name in a locked directory that is about to change.
    pub fn new(locked: &'a LockedDir<'_>, name: &'a Name) -> Slot<'a> {
        locked.node.upper_names().add(&[name.as_bytes()]);
        Slot {
            parent: locked.node,
            dir: &locked.dir,
            name,
        }
    }
}

impl Overlay {
    /// May names of upper directories be remembered? Not where they are found in other cases, too.
    pub(in crate::overlay) fn keeps_upper_names(&self) -> bool {
        self.work.as_ref().is_some_and(|work| !work.folds_case)
    }

    /// Locks a directory that has been copied up.
    ///
    /// # Errors
    /// ENOENT when it was removed meanwhile.
    pub(in crate::overlay) fn lock_dir<'a>(&self, node: &'a Arc<Node>) -> Result<LockedDir<'a>> {
        let state = node.dir().write();
        self.locked(node, state)
    }

    /// Locks two directories, in an order that all who lock two agree on.
    ///
    /// # Errors
    /// ENOENT when one was removed meanwhile.
    pub(in crate::overlay) fn lock_two_dirs<'a>(
        &self,
        a: &'a Arc<Node>,
        b: &'a Arc<Node>,
    ) -> Result<(LockedDir<'a>, LockedDir<'a>)> {
        let (first, second) = if a.id() < b.id() { (a, b) } else { (b, a) };
        let first_state = first.dir().write();
        let second_state = second.dir().write_second();
        let (first, second) = (
            self.locked(first, first_state)?,
            self.locked(second, second_state)?,
        );
        Ok(if a.id() < b.id() {
            (first, second)
        } else {
            (second, first)
        })
    }

    fn locked<'a>(
        &self,
        node: &'a Arc<Node>,
        state: WriteGuard<'a, DirState, { rank::DIR }>,
    ) -> Result<LockedDir<'a>> {
        if node.is_orphan() {
            return Err(Errno::ENOENT);
        }
        let dir = self.upper_dir(node)?.ok_or(Errno::EROFS)?;
        node.upper_names().set_changing(true);
        Ok(LockedDir { node, dir, state })
    }
}
