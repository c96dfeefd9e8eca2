//! rename (overlay-semantics 13): one renameat2 in the upper layer, chosen so that the source's lower
//! object stays hidden and the moved object takes nothing of what lies below its new name.

use std::ffi::OsStr;
use std::sync::Arc;

use super::copyup::Data;
use super::index::{LinksHeld, check_held};
use super::slot::{LockedDir, Slot};
use super::step::Facts;
use crate::layer::keys::Key as Mark;
use crate::overlay::Overlay;
use crate::overlay::node::{Node, NodeId};
use crate::overlay::view::seen::Seen;
use crate::sys::at::At;
use crate::sys::dir::RenameMode;
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;

/// What a caller may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rename {
    /// A target that exists is replaced.
    Replace,
    /// EEXIST when the target exists.
    NoReplace,
    /// Both change places.
    Exchange,
}

impl Rename {
    /// From the flags of renameat2(2). RENAME_WHITEOUT is not for callers (13.1).
    ///
    /// # Errors
    /// EINVAL.
    pub fn from_raw(flags: u32) -> Result<Rename> {
        const NOREPLACE: u32 = 1;
        const EXCHANGE: u32 = 2;
        match flags {
            0 => Ok(Rename::Replace),
            NOREPLACE => Ok(Rename::NoReplace),
            EXCHANGE => Ok(Rename::Exchange),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// One end of a rename.
struct End {
    parent: Arc<Node>,
    name: Name,
}

impl Overlay {
    /// renameat2(2).
    ///
    /// # Errors
    /// EXDEV for a directory with a lower part, unless an option allows it (13.2); ENOENT, EEXIST,
    /// ENOTEMPTY, EISDIR, ENOTDIR, EROFS, those of the upper layer.
    pub fn rename(
        &self,
        parent: NodeId,
        name: &OsStr,
        new_parent: NodeId,
        new_name: &OsStr,
        how: Rename,
    ) -> Result<()> {
        self.work()?;
        let from = End {
            parent: self.dir_node(parent)?,
            name: Name::from_os(name)?,
        };
        let to = End {
            parent: self.dir_node(new_parent)?,
            name: self.creatable_name(new_name)?,
        };
        let source = self.peek(&from)?.ok_or(Errno::ENOENT)?;
        let target = self.peek(&to)?;
        let same = target
            .as_ref()
            .is_some_and(|target| Arc::ptr_eq(target, &source));
        if same && how != Rename::NoReplace {
            // One name, or two names of one file: nothing to do, says POSIX.
            return Ok(());
        }
        check_ancestors(&source, &from, target.as_ref(), &to, how)?;
        if target.is_none() && how != Rename::Exchange {
            self.check_gains(&to.parent)?;
        }
        self.check_rename(&source, target.as_ref(), how)?;
        self.check_loses(&from.parent)?;
        self.check_changeable(&source)?;
        if let Some(target) = &target {
            self.check_loses(&to.parent)?;
            self.check_changeable(target)?;
        }
        self.make_movable(&source)?;
        if let (Rename::Exchange, Some(target)) = (how, &target) {
            self.make_movable(target)?;
        }
        self.ensure_upper_at(&source, &from.parent, &from.name, self.data_to_move())?;
        self.ensure_upper(&from.parent, Data::Full)?;
        self.ensure_upper(&to.parent, Data::Full)?;
        let covered = match (how, &target) {
            (Rename::Exchange, Some(target)) => {
                self.ensure_upper_at(target, &to.parent, &to.name, self.data_to_move())?;
                None
            }
            (Rename::Replace, Some(_)) => self.prepare_loss(&to.parent, &to.name, |_| Ok(()))?,
            _ => None,
        };
        let held = self.hold_links_of(covered.as_ref())?;
        if Arc::ptr_eq(&from.parent, &to.parent) {
            let _topology = self.topology.read();
            let dir = self.lock_dir(&from.parent)?;
            let (from, to) = ((&dir, &from.name), (&dir, &to.name));
            return self.rename_locked(from, to, &source, how, held);
        }
        let _topology = self.topology.write();
        let (from_dir, to_dir) = self.lock_two_dirs(&from.parent, &to.parent)?;
        let (from, to) = ((&from_dir, &from.name), (&to_dir, &to.name));
        self.rename_locked(from, to, &source, how, held)
    }

    fn peek(&self, end: &End) -> Result<Option<Arc<Node>>> {
        let _dir = end.parent.dir().read();
        Ok(self.find(&end.parent, &end.name)?.map(|(node, _)| node))
    }

    /// All that can be refused before anything is copied up.
    fn check_rename(
        &self,
        source: &Arc<Node>,
        target: Option<&Arc<Node>>,
        how: Rename,
    ) -> Result<()> {
        match (how, target) {
            (Rename::NoReplace, Some(_)) => return Err(Errno::EEXIST),
            (Rename::Exchange, None) => return Err(Errno::ENOENT),
            (Rename::Replace, Some(target)) if target.is_dir() && !source.is_dir() => {
                return Err(Errno::EISDIR);
            }
            (Rename::Replace, Some(target)) if !target.is_dir() && source.is_dir() => {
                return Err(Errno::ENOTDIR);
            }
            _ => {}
        }
        let swapped = target.filter(|_| how == Rename::Exchange);
        let stays =
            self.stays_behind(source) || swapped.is_some_and(|node| self.stays_behind(node));
        if stays && self.rename_copy_limit.is_none() {
            return Err(Errno::EXDEV);
        }
        match target {
            Some(target) if target.is_dir() && how == Rename::Replace => {
                let state = target.dir().read();
                let empty = self.list(target, &state)?.is_empty();
                if empty { Ok(()) } else { Err(Errno::ENOTEMPTY) }
            }
            _ => Ok(()),
        }
    }

    /// A directory with a lower part that no redirect can take along cannot simply be renamed (13.2).
    fn stays_behind(&self, node: &Arc<Node>) -> bool {
        node.is_dir() && node.has_lower() && !self.redirect_dir
    }

    fn make_movable(&self, node: &Arc<Node>) -> Result<()> {
        if self.stays_behind(node) {
            self.flatten(node)
        } else {
            Ok(())
        }
    }

    fn rename_locked(
        &self,
        from: (&LockedDir<'_>, &Name),
        to: (&LockedDir<'_>, &Name),
        source: &Arc<Node>,
        how: Rename,
        held: Option<LinksHeld<'_>>,
    ) -> Result<()> {
        let from_seen = self.see(from.0.node, from.1)?;
        let to_seen = self.see(to.0.node, to.1)?;
        let (from_slot, to_slot) = (Slot::new(from.0, from.1), Slot::new(to.0, to.1));
        let found = self.node_of(from_slot.parent, from_slot.name, &from_seen)?;
        if !found.is_some_and(|(node, _)| Arc::ptr_eq(&node, source)) {
            return Err(Errno::ESTALE);
        }
        let target = self
            .node_of(to_slot.parent, to_slot.name, &to_seen)?
            .map(|(node, _)| node);
        // Two names of one file: nothing to do, says POSIX.
        if target
            .as_ref()
            .is_some_and(|target| Arc::ptr_eq(target, source))
        {
            return Ok(());
        }
        match (how, target) {
            (Rename::Exchange, None) => Err(Errno::ENOENT),
            (Rename::Exchange, Some(target)) => {
                self.exchange(&from_slot, &to_slot, source, &target)
            }
            (Rename::NoReplace, Some(_)) => Err(Errno::EEXIST),
            (_, target) => {
                // Nothing may come into a directory while it is replaced.
                let _victim = match &target {
                    Some(target) if target.is_dir() => Some(self.lock_empty_dir(target)?),
                    _ => None,
                };
                if let Some(target) = &target {
                    check_held(held.as_ref(), target, &to_seen)?;
                }
                self.replace(&from_slot, &to_slot, source, target.as_ref(), &to_seen)?;
                self.count_names(held);
                Ok(())
            }
        }
    }

    fn exchange(
        &self,
        from: &Slot<'_>,
        to: &Slot<'_>,
        source: &Arc<Node>,
        target: &Arc<Node>,
    ) -> Result<()> {
        self.prepare_move(from, source, to.parent)?;
        self.prepare_move(to, target, from.parent)?;
        from.dir
            .rename(from.name, to.dir, to.name, RenameMode::Exchange)?;
        source.rename((from.parent, from.name), (to.parent, to.name));
        target.rename((to.parent, to.name), (from.parent, from.name));
        Ok(())
    }

    fn replace(
        &self,
        from: &Slot<'_>,
        to: &Slot<'_>,
        source: &Arc<Node>,
        victim: Option<&Arc<Node>>,
        to_seen: &Seen,
    ) -> Result<()> {
        let hold = self.hold(to, to_seen)?;
        let mut marker = to_seen.upper_marker;
        if to_seen.upper().is_some() && victim.is_some_and(|victim| victim.is_dir()) {
            marker |= self.clear_whiteouts(to)?;
        }
        self.prepare_move(from, source, to.parent)?;
        let facts = Facts {
            positive: self.is_lower_positive(from.parent, from.name),
            over_whiteout: to_seen.upper_whiteout,
            dir: source.is_dir(),
            victim: victim.is_some(),
        };
        self.move_covering(from, (to, to_seen), facts)?;
        if marker {
            self.drop_marker(to);
        }
        if let Some(victim) = victim {
            hold.forget_name(victim, to);
        }
        source.rename((from.parent, from.name), (to.parent, to.name));
        Ok(())
    }

    /// Marks that must be on disk before an object arrives in a new directory: `opaque` on a pure upper
    /// directory that comes among merged ones (4.2), `impure` on the parent of an object with an origin.
    fn prepare_move(
        &self,
        slot: &Slot<'_>,
        node: &Arc<Node>,
        new_parent: &Arc<Node>,
    ) -> Result<()> {
        let at = At::child(slot.dir, slot.name);
        if node.is_dir() && node.has_lower() || node.is_upper_metacopy() {
            self.set_redirect(slot, node, new_parent)?;
        } else if node.is_dir() && new_parent.has_lower() {
            self.set_opaque(at).map_err(|_| Errno::EXDEV)?;
        }
        // No entry of a pure directory has an origin.
        if self.has_other_number(node) || slot.parent.is_impure() && self.has_origin(at)? {
            self.set_impure(new_parent)?;
        }
        Ok(())
    }

    /// Shows this upper object another number than its own?
    pub(in crate::overlay) fn has_other_number(&self, node: &Node) -> bool {
        node.upper()
            .is_some_and(|upper| node.ino() != self.identity.ino(upper.dev, upper.ino))
    }

    /// Was this upper object copied up?
    pub(in crate::overlay) fn has_origin(&self, at: At<'_>) -> Result<bool> {
        let Some(marks) = self.marks else {
            return Ok(false);
        };
        match at.get_xattr_into(marks.name(Mark::Origin), &mut []) {
            Ok(_) => Ok(true),
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

/// No directory moves below itself, and none that is replaced lies above what replaces it.
fn check_ancestors(
    source: &Arc<Node>,
    from: &End,
    target: Option<&Arc<Node>>,
    to: &End,
    how: Rename,
) -> Result<()> {
    if is_at_or_above(source, &to.parent) {
        return Err(Errno::EINVAL);
    }
    match target {
        Some(target) if is_at_or_above(target, &from.parent) => Err(if how == Rename::Exchange {
            Errno::EINVAL
        } else {
            Errno::ENOTEMPTY
        }),
        _ => Ok(()),
    }
}

fn is_at_or_above(dir: &Arc<Node>, below: &Arc<Node>) -> bool {
    if !dir.is_dir() {
        return false;
    }
    let mut at = Some(below.clone());
    while let Some(node) = at {
        if Arc::ptr_eq(&node, dir) {
            return true;
        }
        at = node.name().map(|(parent, _)| parent);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t040_callers_make_no_whiteouts() {
        assert_eq!(Rename::from_raw(4), Err(Errno::EINVAL));
        assert_eq!(Rename::from_raw(3), Err(Errno::EINVAL));
        assert_eq!(Rename::from_raw(2), Ok(Rename::Exchange));
    }
}
