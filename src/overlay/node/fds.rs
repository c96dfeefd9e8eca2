//! Fds kept open: LRUs bounded by the fd limit, so that a tree of any size is served. One is of directories; the other
//! of files, where opening and closing them is not told. Whoever wants an fd that has gone opens it again.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use super::handle::Backing;
use crate::sync::Mutex;
use crate::sys::dir::DirFd;

/// Leaf locks, see [`crate::overlay`].
const RANK: u8 = 7;
const SHARDS: usize = 8;
/// Addresses of allocations are multiples of this.
const ALIGNED: usize = 16;
/// Never more than this, whatever the limit: more was not faster.
const MAX_CACHED: usize = 16_384;

/// A key of the cache: the address of the fd's owner, who takes the fd out before he is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FdKey(usize);

impl FdKey {
    /// Of an owner that stays where it is.
    pub fn of<T>(owner: &T) -> FdKey {
        FdKey(std::ptr::from_ref(owner).addr())
    }
}

type Shard<T> = Mutex<LruCache<FdKey, T>, RANK>;

/// The fds of directories.
pub type FdCache = Cache<Arc<DirFd>>;
/// Files by their nodes.
pub type FileCache = Cache<Backing>;

/// A cache.
#[derive(Debug)]
pub struct Cache<T> {
    shards: [Shard<T>; SHARDS],
}

impl FdCache {
    /// A cache that uses half of `limit` fds at most; the other half is for open files.
    pub fn new(limit: usize) -> FdCache {
        Cache::of((limit / 2).min(MAX_CACHED))
    }
}

impl FileCache {
    /// A cache that uses a quarter of `limit` fds at most: half of what the directories leave.
    pub fn new(limit: usize) -> FileCache {
        Cache::of((limit / 4).min(MAX_CACHED))
    }
}

impl<T: Clone> Cache<T> {
    fn of(size: usize) -> Cache<T> {
        let capacity = NonZeroUsize::new(size / SHARDS).unwrap_or(NonZeroUsize::MIN);
        let shard = || {
            // `LruCache::new` would take the memory for all of them at once.
            let mut cache = LruCache::unbounded();
            cache.resize(capacity);
            cache
        };
        Cache {
            shards: std::array::from_fn(|_| Mutex::new(shard())),
        }
    }

    fn shard(&self, key: FdKey) -> &Shard<T> {
        &self.shards[key.0 / ALIGNED % SHARDS]
    }

    /// The fd, if it is still open.
    pub fn get(&self, key: FdKey) -> Option<T> {
        self.shard(key).lock().get(&key).cloned()
    }

    /// Keeps an fd. The one it pushes out is closed after the lock is gone.
    pub fn put(&self, key: FdKey, fd: T) {
        let evicted = self.shard(key).lock().push(key, fd);
        drop(evicted);
    }

    /// How many are open.
    pub fn kept(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Forgets an fd.
    pub fn remove(&self, key: FdKey) {
        let removed = self.shard(key).lock().pop(&key);
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_least_recently_used_goes_first() {
        let cache = FdCache::new(SHARDS * 2 * 4);
        let fd = Arc::new(DirFd::open(std::path::Path::new("/")).unwrap());
        let owners = vec![[0_u64; 4]; 1000];
        let keys: Vec<_> = owners.iter().map(FdKey::of).collect();
        for key in &keys {
            cache.put(*key, fd.clone());
            assert!(cache.get(*key).is_some());
        }
        assert!(Arc::strong_count(&fd) <= 1 + SHARDS * 4);
        assert_eq!(cache.kept(), Arc::strong_count(&fd) - 1);
        assert!(cache.get(keys[0]).is_none());
        cache.remove(keys[999]);
        assert!(cache.get(keys[999]).is_none());
    }
}
