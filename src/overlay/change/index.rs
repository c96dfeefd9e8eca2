//! Copy-up of files with several names, and what their names come to (overlay-semantics 14.2).
//!
//! The copy goes to the index, which makes it what every lower name shows. A name gets a link in the upper
//! layer when it is that name's turn to change. The count of names is on the upper inode, and is written so
//! that it is right after a crash at any moment ([`crate::layer::nlink`]).
//!
//! Changes of the count and of the links of one file are made under the `copyup` lock of its node.

use std::sync::Arc;

use super::copyup::Data;
use super::slot::Slot;
use super::temp::Temp;
use crate::layer::index::IndexDir;
use crate::layer::nlink::Names;
use crate::overlay::Overlay;
use crate::overlay::node::indexed::Indexed;
use crate::overlay::node::{Node, rank};
use crate::overlay::view::lookup::upper_of;
use crate::overlay::view::seen::Seen;
use crate::sync::MutexGuard;
use crate::sys::at::At;
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;

/// How often a name that others change is looked at again.
const RETRIES: usize = 16;

/// Nobody else changes the links of this file.
pub(super) struct LinksHeld<'a> {
    node: &'a Arc<Node>,
    _lock: MutexGuard<'a, (), { rank::COPYUP }>,
}

impl Overlay {
    /// The index and a node's entry in it, for a node that has one or may get one.
    fn index_of<'a>(&'a self, node: &'a Node) -> Option<(&'a IndexDir, &'a Indexed)> {
        self.index.as_ref().zip(node.indexed())
    }

    /// Makes sure that a node has an upper part, and that one name of it is in the upper layer: for what changes
    /// names, or happens by name. To be called with empty hands.
    ///
    /// # Errors
    /// As [`Overlay::ensure_upper`].
    pub(super) fn ensure_upper_at(
        &self,
        node: &Arc<Node>,
        parent: &Arc<Node>,
        name: &Name,
        data: Data,
    ) -> Result<()> {
        if self.index_of(node).is_none() {
            return self.ensure_upper(node, data);
        }
        self.ensure_upper(parent, Data::Full)?;
        self.ensure_copy(node, data)?;
        self.link_up(node, parent, name)
    }

    /// [`Overlay::ensure_upper`] for an indexed node. Which of its names is meant is not said, so it is the one that
    /// was looked up last; none if that was for something else, as names need not be in the upper layer.
    pub(super) fn ensure_upper_indexed(&self, node: &Arc<Node>, data: Data) -> Result<()> {
        let named = node.indexed().is_some_and(Indexed::take_lookup) || node.upper().is_none();
        let Some((parent, name)) = node.name().filter(|_| named) else {
            return self.ensure_copy(node, data);
        };
        self.ensure_upper(&parent, Data::Full)?;
        self.ensure_copy(node, data)?;
        self.link_up(node, &parent, &name)
    }

    /// Gives the index an unpublished copy of a node's file. The caller holds `copyup`.
    pub(super) fn publish_to_index(
        &self,
        node: &Arc<Node>,
        temp: Temp<'_>,
        with_data: bool,
    ) -> Result<()> {
        let (index, indexed) = self.index_of(node).ok_or(Errno::EIO)?;
        let stat = temp.at()?.stat()?;
        // Its only link will be that of the index.
        index.set_mark(temp.at()?, Names::than_upper(indexed.names(), 1))?;
        temp.publish(&index.dir, &indexed.entry)?;
        indexed.set_settled();
        node.set_upper(upper_of(&stat), with_data);
        Ok(())
    }

    /// Gives the upper layer one name of a file that the index has, if this name still means that file.
    fn link_up(&self, node: &Arc<Node>, parent: &Arc<Node>, name: &Name) -> Result<()> {
        let (index, indexed) = self.index_of(node).ok_or(Errno::EIO)?;
        if self.is_upper_name(node, parent, name)? {
            return Ok(());
        }
        let _links = node.copyup.lock();
        let _topology = self.topology.read();
        let locked = self.lock_dir(parent)?;
        let slot = Slot::new(&locked, name);
        let seen = self.see(parent, name)?;
        let Some((found, stat)) = self.node_of(parent, name, &seen)? else {
            return Ok(());
        };
        let Some(lower) = seen.top().filter(|_| seen.upper().is_none()) else {
            return Ok(());
        };
        if !Arc::ptr_eq(&found, node) {
            return Ok(());
        }
        self.set_impure(parent)?;
        let upper = At::child(&index.dir, &indexed.entry);
        let names = indexed.names();
        // The view gains no name, but the upper inode a link: until that is done the lower inode is the measure.
        index.set_mark(upper, Names::than_lower(names, lower.stat.nlink))?;
        self.keeping_times(&slot, || upper.link(slot.dir, slot.name))?;
        index.set_mark(upper, Names::than_upper(names, stat.nlink + 1))?;
        indexed.set_settled();
        log::debug!("linked up {node:?} as {name:?}");
        Ok(())
    }

    /// Is this name of the node in the upper layer?
    fn is_upper_name(&self, node: &Arc<Node>, parent: &Arc<Node>, name: &Name) -> Result<bool> {
        let Some(dir) = self.upper_dir(parent)? else {
            return Ok(false);
        };
        match At::child(&dir, name).stat() {
            Ok(stat) => Ok(node.upper() == Some(upper_of(&stat))),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Before a file gains or loses a name in the upper layer: keeps others from its links, and makes the count on
    /// disk one that follows. `None` for a file that is not indexed. To be called with empty hands.
    ///
    /// # Errors
    /// Those of reading and writing the count.
    pub(super) fn hold_links_of<'a>(
        &self,
        node: Option<&'a Arc<Node>>,
    ) -> Result<Option<LinksHeld<'a>>> {
        let Some((node, (index, indexed))) =
            node.and_then(|node| Some((node, self.index_of(node)?)))
        else {
            return Ok(None);
        };
        let _lock = node.copyup.lock();
        if node.upper().is_some() && !indexed.is_settled() {
            if let Some(stat) = index.find(&indexed.entry)? {
                let names = Names::than_upper(indexed.names(), stat.nlink);
                if index.mark(&indexed.entry)? != Some(names) {
                    index.set_mark(At::child(&index.dir, &indexed.entry), names)?;
                }
            }
            indexed.set_settled();
        }
        Ok(Some(LinksHeld { node, _lock }))
    }

    /// After a file has gained or lost a name: takes the new count from the disk. A file without names goes out of the
    /// index. What fails here is put right by the next mount.
    pub(super) fn count_names(&self, held: Option<LinksHeld<'_>>) {
        if let Some(held) = held
            && let Err(errno) = self.try_count_names(held.node)
        {
            log::warn!("index entry of {:?}: {errno}", held.node);
        }
    }

    fn try_count_names(&self, node: &Arc<Node>) -> Result<()> {
        let (index, indexed) = self.index_of(node).ok_or(Errno::EIO)?;
        let Some(stat) = index.find(&indexed.entry)? else {
            return Ok(());
        };
        let count = index
            .mark(&indexed.entry)?
            .and_then(|names| names.count(stat.nlink, None));
        match count {
            Some(0) | None if stat.nlink <= 1 => {
                index.dir.unlink(&indexed.entry)?;
                indexed.set_names(0);
                self.table.forget_key(node);
            }
            Some(names @ 1..) => indexed.set_names(names),
            // The layers below had more names than their inode said.
            _ => {
                let names = stat.nlink - 1;
                let mark = Names::than_upper(names, stat.nlink);
                index.set_mark(At::child(&index.dir, &indexed.entry), mark)?;
                indexed.set_names(names);
            }
        }
        Ok(())
    }

    /// Prepares the removal of a name, or its being covered, when the file under it is indexed: its copy and this
    /// name come to the upper layer first, so that the file loses a link with the name. `check` says whether the
    /// file may go at all.
    ///
    /// # Errors
    /// Those of `check` and of copying up.
    pub(super) fn prepare_loss(
        &self,
        parent: &Arc<Node>,
        name: &Name,
        check: impl Fn(&Arc<Node>) -> Result<()>,
    ) -> Result<Option<Arc<Node>>> {
        if self.index.is_none() {
            return Ok(None);
        }
        for _ in 0..RETRIES {
            let found = {
                let _dir = parent.dir().read();
                self.find(parent, name)?
            };
            let Some((victim, _)) = found.filter(|(node, _)| node.indexed().is_some()) else {
                return Ok(None);
            };
            check(&victim)?;
            self.ensure_upper_at(&victim, parent, name, self.data_to_move())?;
            if self.is_upper_name(&victim, parent, name)? {
                return Ok(Some(victim));
            }
        }
        Err(Errno::ESTALE)
    }
}

/// Refuses to take a name from an indexed file whose links are not held, or that is not in the upper layer under this
/// name: it took the name's place meanwhile.
pub(super) fn check_held(
    held: Option<&LinksHeld<'_>>,
    victim: &Arc<Node>,
    seen: &Seen,
) -> Result<()> {
    let held = held.is_some_and(|held| Arc::ptr_eq(held.node, victim));
    match victim.indexed() {
        Some(_) if !held || seen.upper().is_none() => Err(Errno::ESTALE),
        _ => Ok(()),
    }
}
