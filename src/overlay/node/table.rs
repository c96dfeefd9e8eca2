//! [`NodeTable`]: which nodes are known, by identity on disk and by the number the FUSE kernel uses.
//!
//! A node lives as long as somebody holds it: the kernel (a pin with a lookup count), an open handle,
//! a child. The table itself holds it weakly, so that memory follows what is in use. There is never
//! more than one live node of a key: two would have two locks.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::fds::{FdCache, FileCache};
use super::{Key, NewNode, Node, NodeId, ROOT, rank};
use crate::sync::Mutex;
use crate::sys::errno::{Errno, Result};

const SHARDS: usize = 64;
/// A map that could hold so many times more is made smaller.
const SPARSE: usize = 4;
/// Node ids from here on are handed out where the inode number is taken; above every inode number.
const RESERVED: u64 = 0xc000_0000_0000_0000;

/// What is known of one node id.
#[derive(Debug)]
enum Known {
    /// The kernel was not told of it yet, or has forgotten it.
    Untold(Weak<Node>),
    /// The kernel was told of it so many times. It is held while the kernel knows it.
    Told { node: Arc<Node>, lookups: u32 },
}

impl Known {
    /// How often the kernel was told.
    fn lookups(&self) -> u32 {
        match self {
            Known::Untold(_) => 0,
            Known::Told { lookups, .. } => *lookups,
        }
    }

    /// Once more. A count that is full stays so.
    fn count(&mut self, node: &Arc<Node>) {
        let lookups = self.lookups().saturating_add(1);
        *self = Known::Told {
            node: node.clone(),
            lookups,
        };
    }

    /// Is nothing left of the node?
    fn is_dead(&self) -> bool {
        matches!(self, Known::Untold(node) if node.strong_count() == 0)
    }

    /// Lets the node go. The kernel knows it no more.
    fn let_go(&mut self) -> Option<Arc<Node>> {
        let Known::Told { node, .. } = self else {
            return None;
        };
        let untold = Known::Untold(Arc::downgrade(node));
        match std::mem::replace(self, untold) {
            Known::Told { node, .. } => Some(node),
            Known::Untold(_) => None,
        }
    }
}

type Keys = Mutex<HashMap<Key, Weak<Node>>, { rank::KEYS }>;
type Ids = Mutex<HashMap<NodeId, Known>, { rank::IDS }>;

/// The table.
#[derive(Debug)]
pub struct NodeTable {
    keys: [Keys; SHARDS],
    ids: [Ids; SHARDS],
    hasher: RandomState,
    next_reserved: AtomicU64,
    /// Directory fds of nodes and lower directories.
    pub fds: Arc<FdCache>,
    /// Files that are used without being opened.
    pub files: FileCache,
}

impl NodeTable {
    /// An empty table, whose fds are so many at most.
    pub fn new(fds: usize) -> NodeTable {
        NodeTable {
            keys: std::array::from_fn(|_| Mutex::default()),
            ids: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            next_reserved: AtomicU64::new(RESERVED),
            fds: Arc::new(FdCache::new(fds)),
            files: FileCache::new(fds),
        }
    }

    fn keys(&self, key: &Key) -> &Keys {
        &self.keys[self.hasher.hash_one(key) as usize % SHARDS]
    }

    fn ids(&self, id: NodeId) -> &Ids {
        &self.ids[id.0 as usize % SHARDS]
    }

    /// An id that no node has and none will have.
    pub fn unused_id(&self) -> NodeId {
        NodeId(self.next_reserved.fetch_add(1, Ordering::Relaxed))
    }

    /// The live node of a key.
    pub fn find(&self, key: &Key) -> Option<Arc<Node>> {
        self.keys(key).lock().get(key).and_then(Weak::upgrade)
    }

    /// The live node of a key, made by `new` if there is none.
    pub fn find_or_make(self: &Arc<Self>, key: Key, new: impl FnOnce() -> NewNode) -> Arc<Node> {
        let mut keys = self.keys(&key).lock();
        if let Some(node) = keys.get(&key).and_then(Weak::upgrade) {
            return node;
        }
        let new = new();
        let node = self.insert_id(NodeId(new.ino), &key, new);
        keys.insert(key, Arc::downgrade(&node));
        node
    }

    /// The node of an object that was just made on disk. One that is known by its key stands for an object
    /// that was removed behind our back and whose inode number came back: it is not found any more.
    pub fn make(self: &Arc<Self>, key: Key, new: impl FnOnce() -> NewNode) -> Arc<Node> {
        if let Some(stale) = self.find(&key) {
            self.forget_key(&stale);
        }
        self.find_or_make(key, new)
    }

    /// The root node, under its fixed id and for ever.
    pub fn make_root(self: &Arc<Self>, key: Key, new: NewNode) -> Arc<Node> {
        let node = Arc::new(Node::new(ROOT, key.clone(), new, self));
        let known = Known::Told {
            node: node.clone(),
            lookups: u32::MAX,
        };
        self.ids(ROOT).lock().insert(ROOT, known);
        self.keys(&key).lock().insert(key, Arc::downgrade(&node));
        node
    }

    /// Gives a new node the id that equals its inode number, or one of the reserved range where another
    /// live node has that.
    fn insert_id(self: &Arc<Self>, wanted: NodeId, key: &Key, new: NewNode) -> Arc<Node> {
        let mut id = wanted;
        let mut new = Some(new);
        loop {
            let mut ids = self.ids(id).lock();
            let free = id > ROOT && ids.get(&id).is_none_or(Known::is_dead);
            if free && let Some(new) = new.take() {
                let node = Arc::new(Node::new(id, key.clone(), new, self));
                ids.insert(id, Known::Untold(Arc::downgrade(&node)));
                return node;
            }
            drop(ids);
            id = self.unused_id();
        }
    }

    /// The node that the kernel means by an id.
    ///
    /// # Errors
    /// ESTALE for an id it was never told of.
    pub fn get(&self, id: NodeId) -> Result<Arc<Node>> {
        let ids = self.ids(id).lock();
        match ids.get(&id) {
            Some(Known::Told { node, .. }) => Ok(node.clone()),
            _ => Err(Errno::ESTALE),
        }
    }

    /// Counts one lookup that the kernel is about to be told of, under this id of the node.
    pub fn enter(&self, node: &Arc<Node>, id: NodeId) {
        if id == ROOT {
            return;
        }
        let mut ids = self.ids(id).lock();
        let known = ids.entry(id);
        known
            .or_insert_with(|| Known::Untold(Arc::downgrade(node)))
            .count(node);
    }

    /// Takes lookups back. With the last one the pin is returned, to be dropped where closing fds does
    /// not keep anybody waiting.
    pub fn forget(&self, id: NodeId, lookups: u64) -> Option<Arc<Node>> {
        if id == ROOT {
            return None;
        }
        let mut ids = self.ids(id).lock();
        let Known::Told {
            node,
            lookups: told,
        } = ids.get_mut(&id)?
        else {
            return None;
        };
        let left = u64::from(*told).saturating_sub(lookups);
        match u32::try_from(left) {
            // What was full has lost count, and stays.
            Ok(_) if *told == u32::MAX => return None,
            Ok(0) | Err(_) => {}
            Ok(left) => {
                *told = left;
                return None;
            }
        }
        // Of an old id nothing is kept.
        if node.id() != id {
            return ids.remove(&id).and_then(|mut known| known.let_go());
        }
        ids.get_mut(&id)?.let_go()
    }

    /// Gives a node another id, unless it has another than `old` already: the kernel takes it for another file from its
    /// next lookup on. What it does under the old id still means this node.
    pub fn rebind(&self, node: &Arc<Node>, old: NodeId) {
        let new = self.unused_id();
        let untold = Known::Untold(Arc::downgrade(node));
        self.ids(new).lock().insert(new, untold);
        let exchanged = node
            .id
            .compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Acquire);
        if exchanged.is_err() {
            self.ids(new).lock().remove(&new);
        }
    }

    /// A copied-up node is found by its upper object from now on.
    pub fn rekey(&self, node: &Arc<Node>, key: Key) {
        let old = node.key.lock().replace(key.clone());
        if let Some(old) = old {
            self.remove_key(&old, node);
        }
        self.keys(&key).lock().insert(key, Arc::downgrade(node));
    }

    /// An orphan is found by nobody.
    pub fn forget_key(&self, node: &Node) {
        let key = node.key.lock().take();
        if let Some(key) = key {
            self.remove_key(&key, node);
        }
        match node.is_dir() {
            true => self.fds.remove(node.fd_key),
            false => self.files.remove(node.fd_key),
        }
    }

    fn remove_key(&self, key: &Key, node: &Node) {
        let mut keys = self.keys(key).lock();
        if let Entry::Occupied(entry) = keys.entry(key.clone())
            && std::ptr::eq(entry.get().as_ptr(), node)
        {
            entry.remove();
        }
    }

    /// Removes all traces of a node that is being dropped.
    pub(super) fn remove(&self, node: &Node) {
        self.forget_key(node);
        let id = node.id();
        let mut ids = self.ids(id).lock();
        if let Entry::Occupied(entry) = ids.entry(id)
            && let Known::Untold(known) = entry.get()
            && std::ptr::eq(known.as_ptr(), node)
        {
            entry.remove();
        }
    }

    /// Gives back the room of nodes that are gone, where most of it is empty.
    pub fn shrink(&self) {
        fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
            if map.len() < map.capacity() / SPARSE {
                map.shrink_to_fit();
            }
        }
        self.keys.iter().for_each(|keys| shrink(&mut keys.lock()));
        self.ids.iter().for_each(|ids| shrink(&mut ids.lock()));
    }

    /// How many nodes the kernel knows, the root not counted.
    pub fn known(&self) -> usize {
        self.ids
            .iter()
            .map(|ids| ids.lock().values().filter(|k| k.lookups() > 0).count())
            .sum::<usize>()
            - 1
    }

    /// Lets go of all nodes at the end of a mount: the kernel does not forget them one by one.
    pub fn clear(&self) {
        for shard in &self.ids {
            let pins: Vec<_> = shard
                .lock()
                .values_mut()
                .filter_map(Known::let_go)
                .collect();
            drop(pins);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lower::Lower;
    use super::super::place::Place;
    use super::*;
    use crate::sys::stat::FileType;

    fn table() -> Arc<NodeTable> {
        Arc::new(NodeTable::new(64))
    }

    impl NodeTable {
        fn known_ids(&self) -> usize {
            self.ids.iter().map(|ids| ids.lock().len()).sum()
        }
    }

    fn new_node(ino: u64) -> NewNode {
        NewNode {
            kind: FileType::File,
            ino,
            lower: Lower::None,
            upper: None,
            impure: false,
            redirect: None,
            indexed: None,
            place: Place::Orphan(None),
        }
    }

    fn key(ino: u64) -> Key {
        Key::real(1, ino)
    }

    #[test]
    fn one_live_node_per_key_and_none_after_the_last_forget() {
        let table = table();
        let a = table.find_or_make(key(5), || new_node(5));
        let b = table.find_or_make(key(5), || new_node(5));
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!(a.id(), NodeId(5));
        assert_eq!(
            table.get(a.id()).err(),
            Some(Errno::ESTALE),
            "the kernel was not told yet"
        );
        table.enter(&a, a.id());
        table.enter(&b, b.id());
        drop((a, b));
        assert!(table.forget(NodeId(5), 1).is_none());
        assert!(table.get(NodeId(5)).is_ok());
        drop(table.forget(NodeId(5), 1));
        assert!(table.find(&key(5)).is_none());
        assert_eq!(table.get(NodeId(5)).err(), Some(Errno::ESTALE));
    }

    #[test]
    fn a_new_object_is_not_an_old_node() {
        let table = table();
        let old = table.find_or_make(key(5), || new_node(5));
        let new = table.make(key(5), || new_node(5));
        assert_ne!(old.id(), new.id());
        assert!(Arc::ptr_eq(&table.find(&key(5)).unwrap(), &new));
        drop(old);
        assert!(Arc::ptr_eq(&table.find(&key(5)).unwrap(), &new));
    }

    #[test]
    fn two_nodes_with_one_inode_number_have_two_ids() {
        let table = table();
        let a = table.find_or_make(key(5), || new_node(5));
        let b = table.find_or_make(Key::real(2, 5), || new_node(5));
        assert_eq!((a.ino(), b.ino()), (5, 5));
        assert_ne!(a.id(), b.id());
        let id = a.id();
        drop(a);
        let c = table.find_or_make(key(5), || new_node(5));
        assert_eq!(c.id(), id, "the plain id is free again");
    }

    #[test]
    fn ids_that_the_kernel_reserves_are_never_given() {
        let table = table();
        for ino in [0, 1] {
            let node = table.find_or_make(key(ino), || new_node(ino));
            assert!(node.id().0 >= RESERVED);
        }
    }

    #[test]
    fn a_node_with_a_new_id_is_still_meant_by_the_old() {
        let table = table();
        let node = table.find_or_make(key(5), || new_node(5));
        table.enter(&node, node.id());
        table.rebind(&node, NodeId(5));
        let id = node.id();
        assert_ne!(id, NodeId(5));
        table.rebind(&node, NodeId(5));
        assert_eq!(node.id(), id, "once is enough");
        table.enter(&node, id);
        assert!(Arc::ptr_eq(&table.get(NodeId(5)).unwrap(), &node));
        assert!(Arc::ptr_eq(&table.get(id).unwrap(), &node));
        assert_eq!(table.known_ids(), 2);
        drop(table.forget(NodeId(5), 1));
        assert_eq!(table.get(NodeId(5)).err(), Some(Errno::ESTALE));
        drop((node, table.forget(id, 1)));
        assert!(table.find(&key(5)).is_none());
        assert_eq!(table.known_ids(), 0);
    }

    #[test]
    fn rekey_moves_and_orphans_are_not_found() {
        let table = table();
        let node = table.find_or_make(key(5), || new_node(5));
        table.rekey(&node, key(9));
        assert!(table.find(&key(5)).is_none());
        assert!(Arc::ptr_eq(&table.find(&key(9)).unwrap(), &node));
        table.forget_key(&node);
        assert!(table.find(&key(9)).is_none());
        let next = table.find_or_make(key(9), || new_node(9));
        table.rekey(&node, key(10));
        assert!(Arc::ptr_eq(&table.find(&key(9)).unwrap(), &next));
    }

    #[test]
    fn a_parent_lives_as_long_as_its_child() {
        let table = table();
        let parent = table.find_or_make(key(2), || new_node(2));
        table.enter(&parent, parent.id());
        let name = Name::new(b"c").unwrap();
        let child = table.find_or_make(key(3), || NewNode {
            place: Place::Named(vec![(parent.clone(), name)]),
            ..new_node(3)
        });
        table.enter(&child, child.id());
        drop(parent);
        drop(table.forget(NodeId(2), 1));
        assert!(table.find(&key(2)).is_some());
        drop(child);
        drop(table.forget(NodeId(3), 1));
        assert!(table.find(&key(2)).is_none());
    }

    use crate::sys::name::Name;
}
