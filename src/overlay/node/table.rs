//! [`NodeTable`]: which nodes are known, by identity on disk and by the number the FUSE kernel uses.
//!
//! A node lives as long as somebody holds it: the kernel (a pin with a lookup count), an open handle,
//! a child. The table itself holds it weakly, so that memory follows what is in use. There is never
//! more than one live node of a key: two would have two locks.
//!
//! Of most nodes all it has is one pointer: id, key and lookup count are found behind that.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::hash_map::Entry;
use hashbrown::{DefaultHashBuilder, HashMap};

use super::fds::{FdCache, FileCache};
use super::ids::Ids;
use super::{Flags, Key, NewNode, Node, NodeId, ROOT, rank};
use crate::sync::Mutex;
use crate::sys::errno::{Errno, Result};

const SHARDS: usize = 64;
/// A map that could hold so many times more is made smaller.
pub(super) const SPARSE: usize = 4;
/// Node ids from here on are handed out where the inode number is taken; above every inode number.
const RESERVED: u64 = 0xc000_0000_0000_0000;

type Keys = HashMap<Key, Weak<Node>>;

/// The table.
#[derive(Debug)]
pub struct NodeTable {
    /// Those whose key is not their id.
    keys: [Mutex<Keys, { rank::KEYS }>; SHARDS],
    ids: [Mutex<Ids, { rank::IDS }>; SHARDS],
    hasher: DefaultHashBuilder,
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
            hasher: DefaultHashBuilder::default(),
            next_reserved: AtomicU64::new(RESERVED),
            fds: Arc::new(FdCache::new(fds)),
            files: FileCache::new(fds),
        }
    }

    fn keys(&self, key: &Key) -> &Mutex<Keys, { rank::KEYS }> {
        &self.keys[self.hasher.hash_one(key) as usize % SHARDS]
    }

    fn ids(&self, id: NodeId) -> &Mutex<Ids, { rank::IDS }> {
        &self.ids[id.0 as usize % SHARDS]
    }

    /// An id that no node has and none will have.
    pub fn unused_id(&self) -> NodeId {
        NodeId(self.next_reserved.fetch_add(1, Ordering::Relaxed))
    }

    /// The node whose id is this key, if the key is a number: not always the node of the key.
    fn with_id(&self, key: &Key) -> Option<Arc<Node>> {
        match key {
            Key::Number(number) => self.ids(NodeId(*number)).lock().live(NodeId(*number)),
            Key::Named(_) | Key::Index(_) => None,
        }
    }

    /// The live node of a key.
    pub fn find(&self, key: &Key) -> Option<Arc<Node>> {
        let keys = self.keys(key).lock();
        if let Some(node) = keys.get(key).and_then(Weak::upgrade) {
            return Some(node);
        }
        let node = self.with_id(key);
        // Whoever drops a node last ends it, which takes locks.
        drop(keys);
        node.filter(|node| node.flags.has(Flags::KEY_IS_ID))
    }

    /// The live node of a key, made by `new` if there is none.
    pub fn find_or_make(self: &Arc<Self>, key: Key, new: impl FnOnce() -> NewNode) -> Arc<Node> {
        // Whoever drops a node last ends it, which takes locks: this one goes after the lock.
        let with_id;
        let mut keys = self.keys(&key).lock();
        if let Some(node) = keys.get(&key).and_then(Weak::upgrade) {
            return node;
        }
        with_id = self.with_id(&key);
        match &with_id {
            Some(node) if node.flags.has(Flags::KEY_IS_ID) => return node.clone(),
            _ => {}
        }
        let node = self.insert_id(&key, new());
        if !node.flags.has(Flags::KEY_IS_ID) {
            keys.insert(key, Arc::downgrade(&node));
        }
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
        node.lookups.store(u32::MAX, Ordering::Relaxed);
        self.ids(ROOT).lock().tell(node.clone());
        self.keys(&key).lock().insert(key, Arc::downgrade(&node));
        node
    }

    /// Gives a new node the id that equals its inode number, or one of the reserved range where another
    /// live node has that.
    fn insert_id(self: &Arc<Self>, key: &Key, new: NewNode) -> Arc<Node> {
        let mut id = NodeId(new.ino);
        let mut new = Some(new);
        loop {
            let mut ids = self.ids(id).lock();
            if id > ROOT
                && ids.is_free(id)
                && let Some(new) = new.take()
            {
                let node = Arc::new(Node::new(id, key.clone(), new, self));
                ids.give(id, &node);
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
        self.ids(id).lock().get(id).ok_or(Errno::ESTALE)
    }

    /// Counts one lookup that the kernel is about to be told of, under this id of the node.
    pub fn enter(&self, node: &Arc<Node>, id: NodeId) {
        if id != ROOT {
            self.ids(id).lock().count(node, id);
        }
    }

    /// Takes lookups back. With the last one the pin is returned, to be dropped where closing fds does
    /// not keep anybody waiting.
    pub fn forget(&self, id: NodeId, lookups: u64) -> Option<Arc<Node>> {
        match id {
            ROOT => None,
            _ => self.ids(id).lock().forget(id, lookups),
        }
    }

    /// Gives a node another id, unless it has another than `old` already: the kernel takes it for another file from its
    /// next lookup on. What it does under the old id still means this node.
    pub fn rebind(&self, node: &Arc<Node>, old: NodeId) {
        let _one_at_a_time = node.identified.lock();
        if node.id() != old {
            return;
        }
        let key = Key::Number(old.0);
        {
            let mut keys = self.keys(&key).lock();
            if node.flags.clear(Flags::KEY_IS_ID) {
                *node.rare().key.lock() = Some(key.clone());
                keys.insert(key, Arc::downgrade(node));
            }
        }
        let new = self.unused_id();
        self.ids(new).lock().give(new, node);
        self.ids(old).lock().rebind(node, new);
    }

    /// A copied-up node is found by its upper object from now on.
    pub fn rekey(&self, node: &Arc<Node>, key: Key) {
        let _one_at_a_time = node.identified.lock();
        self.remove_key(node);
        *node.rare().key.lock() = Some(key.clone());
        self.keys(&key).lock().insert(key, Arc::downgrade(node));
    }

    /// An orphan is found by nobody.
    pub fn forget_key(&self, node: &Node) {
        let one_at_a_time = node.identified.lock();
        self.remove_key(node);
        drop(one_at_a_time);
        match node.is_dir() {
            true => self.fds.remove(node.fd_key()),
            false => self.files.remove(node.fd_key()),
        }
    }

    fn remove_key(&self, node: &Node) {
        node.flags.clear(Flags::KEY_IS_ID);
        let key = node.rare.get().and_then(|rare| rare.key.lock().take());
        if let Some(key) = key
            && let Entry::Occupied(entry) = self.keys(&key).lock().entry(key)
            && std::ptr::eq(entry.get().as_ptr(), node)
        {
            entry.remove();
        }
    }

    /// Removes all traces of a node that is being dropped.
    pub(super) fn remove(&self, node: &Node) {
        self.forget_key(node);
        self.ids(node.id()).lock().remove(node);
    }

    /// Gives back the room of nodes that are gone, where most of it is empty.
    pub fn shrink(&self) {
        for keys in &self.keys {
            let mut keys = keys.lock();
            if keys.len() < keys.capacity() / SPARSE {
                keys.shrink_to_fit();
            }
        }
        self.ids.iter().for_each(|ids| ids.lock().shrink());
    }

    /// How many nodes the kernel knows, the root not counted.
    pub fn known(&self) -> usize {
        let all: usize = self.ids.iter().map(|ids| ids.lock().known()).sum();
        all - 1
    }

    /// Lets go of all nodes at the end of a mount: the kernel does not forget them one by one.
    pub fn clear(&self) {
        for shard in &self.ids {
            let ids = std::mem::take(&mut *shard.lock());
            drop(ids);
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
        Key::Number(ino)
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
        let b = table.find_or_make(Key::Number(1 << 56 | 5), || new_node(5));
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
            place: Place::named(&parent, &name),
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
