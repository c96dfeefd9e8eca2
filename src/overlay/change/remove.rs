//! unlink and rmdir (overlay-semantics 12). The victim's data is never copied; where a layer below has
//! the name, a whiteout takes the victim's place in one step.

use std::ffi::OsStr;
use std::sync::Arc;

use super::copyup::{Data, copy_xattrs};
use super::index::check_held;
use super::slot::Slot;
use crate::overlay::Overlay;
use crate::overlay::node::{DirState, Node, NodeId, rank};
use crate::overlay::view::seen::Seen;
use crate::sync::WriteGuard;
use crate::sys::at::{At, PathFd, SetTime};
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;
use crate::sys::remove::remove_tree;
use crate::sys::stat::FileType;

/// An object that loses a name: open files and attribute requests go on by the fd (22.3).
pub(in crate::overlay) struct Hold {
    fd: Option<Arc<PathFd>>,
    /// It has no other name.
    last: bool,
}

impl Hold {
    /// The name is gone.
    pub fn forget_name(self, victim: &Arc<Node>, slot: &Slot<'_>) {
        victim.remove_name(slot.parent, slot.name, self.fd, self.last);
    }
}

/// Which of the two calls it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Unlink,
    Rmdir,
}

impl Overlay {
    /// unlink(2).
    ///
    /// # Errors
    /// EISDIR, ENOENT, EROFS, those of the upper layer; ENOSPC when there is no room for a whiteout.
    pub fn unlink(&self, parent: NodeId, name: &OsStr) -> Result<()> {
        self.remove(parent, name, Call::Unlink)
    }

    /// rmdir(2).
    ///
    /// # Errors
    /// ENOTDIR, ENOTEMPTY, ENOENT, EROFS, those of the upper layer.
    pub fn rmdir(&self, parent: NodeId, name: &OsStr) -> Result<()> {
        self.remove(parent, name, Call::Rmdir)
    }

    fn remove(&self, parent: NodeId, name: &OsStr, call: Call) -> Result<()> {
        self.work()?;
        let parent = self.dir_node(parent)?;
        let name = Name::from_os(name)?;
        // What cannot be removed must not copy its parent up (9).
        self.check_loses(&parent)?;
        if parent.upper().is_none() {
            self.check_removable(&parent, &name, call)?;
        }
        self.ensure_upper(&parent, Data::Full)?;
        let indexed = self.prepare_loss(&parent, &name, |victim| {
            check_type(victim, call)?;
            self.check_changeable(victim)
        })?;
        let held = self.hold_links_of(indexed.as_ref())?;
        let locked = self.lock_dir(&parent)?;
        let slot = Slot::new(&locked, &name);
        let seen = self.see(&parent, &name)?;
        let (victim, _) = self.node_of(&parent, &name, &seen)?.ok_or(Errno::ENOENT)?;
        check_type(&victim, call)?;
        self.check_changeable(&victim)?;
        check_held(held.as_ref(), &victim, &seen)?;
        match call {
            Call::Unlink => self.unlink_slot(&slot, &seen, &victim)?,
            Call::Rmdir => self.rmdir_slot(&slot, &seen, &victim)?,
        }
        self.count_names(held);
        Ok(())
    }

    fn check_removable(&self, parent: &Arc<Node>, name: &Name, call: Call) -> Result<()> {
        let found = {
            let _dir = parent.dir().read();
            self.find(parent, name)?
        };
        let (victim, _) = found.ok_or(Errno::ENOENT)?;
        check_type(&victim, call)?;
        self.check_changeable(&victim)?;
        if victim.is_dir() {
            let state = victim.dir().read();
            if !self.list(&victim, &state)?.is_empty() {
                return Err(Errno::ENOTEMPTY);
            }
        }
        Ok(())
    }

    fn unlink_slot(&self, slot: &Slot<'_>, seen: &Seen, victim: &Arc<Node>) -> Result<()> {
        let hold = self.hold(slot, seen)?;
        match seen.upper() {
            Some(_) if !self.is_lower_positive(slot.parent, slot.name) => {
                slot.dir.unlink(slot.name)?;
            }
            _ => self.hide(slot, seen)?,
        }
        hold.forget_name(victim, slot);
        Ok(())
    }

    /// Takes hold of what is about to lose a name.
    pub(in crate::overlay) fn hold(&self, slot: &Slot<'_>, seen: &Seen) -> Result<Hold> {
        let Some(upper) = seen.upper() else {
            return Ok(Hold {
                fd: None,
                last: true,
            });
        };
        let fd = At::child(slot.dir, slot.name).open_path()?;
        let last = upper.stat.is_dir() || upper.stat.nlink <= 1;
        Ok(Hold {
            fd: Some(Arc::new(fd)),
            last,
        })
    }

    fn rmdir_slot(&self, slot: &Slot<'_>, seen: &Seen, victim: &Arc<Node>) -> Result<()> {
        let covered = seen.upper().is_none() || self.is_lower_positive(slot.parent, slot.name);
        // What shows in a directory of the upper layer alone is what is in it: the filesystem knows.
        if !covered && victim.lower_dirs().is_empty() {
            let _state = victim.dir().write_second();
            let hold = self.hold(slot, seen)?;
            match slot.dir.rmdir(slot.name) {
                Ok(()) => {
                    hold.forget_name(victim, slot);
                    return Ok(());
                }
                // There may be whiteouts in it.
                Err(Errno::ENOTEMPTY | Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        // Nothing may come into the victim while it goes.
        let _state = self.lock_empty_dir(victim)?;
        let hold = self.hold(slot, seen)?;
        match covered {
            false => self.remove_upper_dir(slot)?,
            true => self.hide(slot, seen)?,
        }
        hold.forget_name(victim, slot);
        Ok(())
    }

    /// Before a rename covers a directory that is empty in the view: if its upper part holds whiteouts, an
    /// empty opaque twin takes its place, for a rename wants an empty target (12.4). An opaque mark in the
    /// form of a name would be in the way: there, a `.wh.` file beside the directory says the same.
    /// True if there is such a file now, to be dropped when the directory has been covered.
    pub(in crate::overlay) fn clear_whiteouts(&self, slot: &Slot<'_>) -> Result<bool> {
        let old = slot.dir.open_dir(slot.name)?;
        let left = names(&old)?;
        if left.is_empty() {
            return Ok(false);
        }
        if self.work()?.whiteouts_are_names() {
            self.put_marker(slot)?;
            left.iter().try_for_each(|name| remove_tree(&old, name))?;
            return Ok(true);
        }
        let stat = old.stat()?;
        let mut twin = self.work()?.dir(0o700)?;
        let at = twin.at()?;
        at.chown(Some(stat.uid), Some(stat.gid))?;
        at.chmod(stat.perm)?;
        copy_xattrs(old.at(), at, |_| true)?;
        self.set_opaque(at)?;
        at.set_times(SetTime::At(stat.atime), SetTime::At(stat.mtime))?;
        twin.exchange(slot.dir, slot.name)?;
        Ok(false)
    }

    /// Locks a directory that is about to be removed or replaced, after its parent.
    ///
    /// # Errors
    /// ENOTEMPTY when something shows in it.
    pub(in crate::overlay) fn lock_empty_dir<'a>(
        &self,
        victim: &'a Arc<Node>,
    ) -> Result<WriteGuard<'a, DirState, { rank::DIR }>> {
        let state = victim.dir().write_second();
        match self.list(victim, &state)?.is_empty() {
            true => Ok(state),
            false => Err(Errno::ENOTEMPTY),
        }
    }
}

fn check_type(victim: &Node, call: Call) -> Result<()> {
    match (call, victim.kind == FileType::Dir) {
        (Call::Unlink, true) => Err(Errno::EISDIR),
        (Call::Rmdir, false) => Err(Errno::ENOTDIR),
        _ => Ok(()),
    }
}

fn names(dir: &DirFd) -> Result<Vec<Name>> {
    let mut names = Vec::new();
    dir.at().open_dir_file()?.for_each_entry(|entry| {
        names.push(Name::new(entry.name)?);
        Ok(())
    })?;
    Ok(names)
}
