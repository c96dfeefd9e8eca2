//! What node ids mean: a shard of the table. Of most nodes it has one pointer: id and lookup count are behind that.

use std::hash::BuildHasher;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use hashbrown::hash_map::Entry;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::table::SPARSE;
use super::{Node, NodeId};

/// What node ids mean.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// Nodes that the kernel was told of, under the ids they have. Held while the kernel knows them.
    told: HashTable<Arc<Node>>,
    /// All other ids.
    others: HashMap<NodeId, Other>,
    hasher: DefaultHashBuilder,
}

/// What an id means that is not in `told`.
#[derive(Debug)]
enum Other {
    /// A node that the kernel was not told of yet, or has forgotten.
    Untold(Weak<Node>),
    /// A node that has another id by now, and so many lookups under this one.
    Former { node: Arc<Node>, lookups: u32 },
}

/// What is left of a lookup count. A count that is full has lost count, and stays so.
fn left(told: u32, forgotten: u64) -> u32 {
    match told {
        u32::MAX => told,
        _ => u64::from(told)
            .saturating_sub(forgotten)
            .try_into()
            .unwrap_or(0),
    }
}

impl Ids {
    fn told(&self, id: NodeId) -> Option<&Arc<Node>> {
        let hash = self.hasher.hash_one(id);
        self.told.find(hash, |node| node.id() == id)
    }

    /// The node that the kernel means by an id.
    pub(super) fn get(&self, id: NodeId) -> Option<Arc<Node>> {
        if let Some(node) = self.told(id) {
            return Some(node.clone());
        }
        match self.others.get(&id)? {
            Other::Former { node, .. } => Some(node.clone()),
            Other::Untold(_) => None,
        }
    }

    /// The node of an id, whether the kernel was told or not.
    pub(super) fn live(&self, id: NodeId) -> Option<Arc<Node>> {
        let untold = || match self.others.get(&id)? {
            Other::Untold(node) => node.upgrade(),
            Other::Former { .. } => None,
        };
        self.get(id).or_else(untold)
    }

    /// Has nobody this id?
    pub(super) fn is_free(&self, id: NodeId) -> bool {
        let is_dead =
            |other: &Other| matches!(other, Other::Untold(node) if node.strong_count() == 0);
        self.told(id).is_none() && self.others.get(&id).is_none_or(is_dead)
    }

    /// Gives an id to a node that the kernel was not told of under it.
    pub(super) fn give(&mut self, id: NodeId, node: &Arc<Node>) {
        self.others.insert(id, Other::Untold(Arc::downgrade(node)));
    }

    /// Removes the id of a node that is being dropped.
    pub(super) fn remove(&mut self, node: &Node) {
        if let Entry::Occupied(entry) = self.others.entry(node.id())
            && let Other::Untold(known) = entry.get()
            && std::ptr::eq(known.as_ptr(), node)
        {
            entry.remove();
        }
    }

    /// Counts one lookup.
    pub(super) fn count(&mut self, node: &Arc<Node>, id: NodeId) {
        if node.id() == id {
            let lookups = node.lookups.load(Ordering::Relaxed);
            if lookups == 0 {
                self.others.remove(&id);
                self.tell(node.clone());
            }
            let more = lookups.saturating_add(1);
            return node.lookups.store(more, Ordering::Relaxed);
        }
        match self.others.get_mut(&id) {
            Some(Other::Former { lookups, .. }) => *lookups = lookups.saturating_add(1),
            _ => {
                let (node, lookups) = (node.clone(), 1);
                self.others.insert(id, Other::Former { node, lookups });
            }
        }
    }

    /// Holds a node that the kernel knows.
    pub(super) fn tell(&mut self, node: Arc<Node>) {
        let hash = |node: &Arc<Node>| self.hasher.hash_one(node.id());
        self.told.insert_unique(hash(&node), node, hash);
    }

    /// Takes a node out of `told`.
    fn take(&mut self, id: NodeId) -> Option<Arc<Node>> {
        let hash = self.hasher.hash_one(id);
        let entry = self.told.find_entry(hash, |node| node.id() == id).ok()?;
        Some(entry.remove().0)
    }

    /// Takes lookups back, and with the last one the node out.
    pub(super) fn forget(&mut self, id: NodeId, forgotten: u64) -> Option<Arc<Node>> {
        if let Some(node) = self.told(id) {
            let lookups = left(node.lookups.load(Ordering::Relaxed), forgotten);
            node.lookups.store(lookups, Ordering::Relaxed);
            if lookups > 0 {
                return None;
            }
            let node = self.take(id)?;
            self.give(id, &node);
            return Some(node);
        }
        let Some(Other::Former { lookups, .. }) = self.others.get_mut(&id) else {
            return None;
        };
        *lookups = left(*lookups, forgotten);
        if *lookups > 0 {
            return None;
        }
        match self.others.remove(&id)? {
            Other::Former { node, .. } => Some(node),
            Other::Untold(_) => None,
        }
    }

    /// Gives a node another id. What the kernel knows under the old one it goes on to know.
    pub(super) fn rebind(&mut self, node: &Node, new: NodeId) {
        let old = node.id();
        let told = self.take(old);
        let lookups = node.lookups.swap(0, Ordering::Relaxed);
        node.id.store(new.0, Ordering::Release);
        match told {
            Some(node) => self.others.insert(old, Other::Former { node, lookups }),
            None => self.others.remove(&old),
        };
    }

    /// Gives back what is mostly empty.
    pub(super) fn shrink(&mut self) {
        let hash = |node: &Arc<Node>| self.hasher.hash_one(node.id());
        if self.told.len() < self.told.capacity() / SPARSE {
            self.told.shrink_to_fit(hash);
        }
        if self.others.len() < self.others.capacity() / SPARSE {
            self.others.shrink_to_fit();
        }
    }

    /// How many nodes the kernel knows.
    pub(super) fn known(&self) -> usize {
        let former = |other: &&Other| matches!(other, Other::Former { .. });
        self.told.len() + self.others.values().filter(former).count()
    }

    /// How many ids mean something.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.told.len() + self.others.len()
    }
}
