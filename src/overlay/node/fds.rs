//! Directory fds kept open: an LRU bounded by the fd limit, so that a tree of any size is served.
//! Whoever wants an fd that has gone opens it again from its parent (`reach.rs`).

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;

use crate::sync::Mutex;
use crate::sys::dir::DirFd;

/// Leaf locks, see [`crate::overlay`].
const RANK: u8 = 7;
const SHARDS: usize = 8;
/// Never more than this, whatever the limit: more was not faster.
const MAX_CACHED: usize = 16_384;

/// A key of the cache, never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FdKey(u64);

impl FdKey {
    /// A new key.
    pub fn next() -> FdKey {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        FdKey(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

type Shard = Mutex<LruCache<FdKey, Arc<DirFd>>, RANK>;

/// The cache.
#[derive(Debug)]
pub struct FdCache {
    shards: [Shard; SHARDS],
}

impl FdCache {
    /// A cache that uses half of `limit` fds at most; the other half is for open files.
    pub fn new(limit: usize) -> FdCache {
        let per_shard = (limit / 2).min(MAX_CACHED) / SHARDS;
        let capacity = NonZeroUsize::new(per_shard).unwrap_or(NonZeroUsize::MIN);
        FdCache {
            shards: std::array::from_fn(|_| Mutex::new(LruCache::new(capacity))),
        }
    }

    fn shard(&self, key: FdKey) -> &Shard {
        // SHARDS is a power of two and keys count up: the remainder spreads evenly.
        &self.shards[(key.0 % SHARDS as u64) as usize]
    }

    /// The fd, if it is still open.
    pub fn get(&self, key: FdKey) -> Option<Arc<DirFd>> {
        self.shard(key).lock().get(&key).cloned()
    }

    /// Keeps an fd. The one it pushes out is closed after the lock is gone.
    pub fn put(&self, key: FdKey, fd: Arc<DirFd>) {
        let evicted = self.shard(key).lock().push(key, fd);
        drop(evicted);
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
        let keys: Vec<_> = (0..1000).map(|_| FdKey::next()).collect();
        for key in &keys {
            cache.put(*key, fd.clone());
            assert!(cache.get(*key).is_some());
        }
        assert!(Arc::strong_count(&fd) <= 1 + SHARDS * 4);
        assert!(cache.get(keys[0]).is_none());
        cache.remove(keys[999]);
        assert!(cache.get(keys[999]).is_none());
    }
}
