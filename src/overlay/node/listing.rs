//! [`Listing`]: the names of a directory as they were at one moment. Immutable once built, shared by
//! all handles that saw the same version of the directory.
//!
//! Entries are in the order of their cookies, and a cookie comes from the name alone: an offset means the same
//! in every listing of the directory, whatever was added or removed between them (22.5).

use std::hash::{DefaultHasher, Hasher};
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};

use lru::LruCache;

use super::{Node, NodeId, rank};
use crate::sync::Mutex;
use crate::sys::stat::FileType;

/// One entry of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The inode number that stat shows (8.4).
    pub ino: u64,
    /// The type.
    pub kind: FileType,
    /// Its place among all names there can be: above [`DOTS`], and a positive number in an `off_t`.
    pub cookie: u64,
}

/// The cookies up to this one are those of `.` and `..`.
pub const DOTS: u64 = 2;

#[derive(Clone, Copy, Debug)]
struct Packed {
    cookie: u64,
    ino: u64,
    start: u32,
    len: u8,
    kind: FileType,
}

/// The entries of a directory, without `.` and `..`; the names share one allocation.
#[derive(Debug, Default)]
pub struct Listing {
    names: Vec<u8>,
    entries: Vec<Packed>,
}

impl Listing {
    /// Adds an entry. Names are at most 255 bytes, so only a listing of 4 GiB of names is refused.
    pub fn push(&mut self, name: &[u8], ino: u64, kind: FileType) {
        let (Ok(start), Ok(len)) = (u32::try_from(self.names.len()), u8::try_from(name.len()))
        else {
            log::error!("a directory with too many names is listed in part");
            return;
        };
        self.names.extend_from_slice(name);
        self.entries.push(Packed {
            cookie: cookie(name),
            ino,
            start,
            len,
            kind,
        });
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is the directory empty?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at a position.
    pub fn get(&self, at: usize) -> Option<Listed<'_>> {
        let entry = self.entries.get(at)?;
        let start = entry.start as usize;
        let name = self.names.get(start..start + usize::from(entry.len))?;
        Some(Listed {
            name,
            ino: entry.ino,
            kind: entry.kind,
            cookie: entry.cookie,
        })
    }

    /// The entries behind a cookie, in order. The listing must have been put in order.
    pub fn after(&self, cookie: u64) -> impl Iterator<Item = Listed<'_>> {
        let from = self.entries.partition_point(|e| e.cookie <= cookie);
        (from..self.len()).filter_map(|at| self.get(at))
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = Listed<'_>> {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    /// The offset that nothing is behind. The listing must have been put in order.
    pub fn last(&self) -> u64 {
        self.entries.last().map_or(DOTS, |entry| entry.cookie)
    }

    /// Puts the entries in the order of their cookies, once all are there; positions change.
    pub fn sort(&mut self) {
        // The rare names that share a cookie get the next free ones; names decide, so that it is the same each time.
        let names = &self.names;
        let name = |e: &Packed| &names[e.start as usize..e.start as usize + usize::from(e.len)];
        self.entries
            .sort_unstable_by(|a, b| a.cookie.cmp(&b.cookie).then_with(|| name(a).cmp(name(b))));
        let mut last = DOTS;
        for entry in &mut self.entries {
            entry.cookie = entry.cookie.max(last + 1);
            last = entry.cookie;
        }
    }

    /// Corrects the inode number at a position.
    pub fn set_ino(&mut self, at: usize, ino: u64) {
        if let Some(entry) = self.entries.get_mut(at) {
            entry.ino = ino;
        }
    }
}

/// How many directories may be read at once without being listed again in the middle.
const MIDWAY: NonZeroUsize = NonZeroUsize::new(64).unwrap();

type Reading = (Weak<Node>, Arc<Listing>);

/// The listings of directories that somebody has begun to read: who goes on finds what he began with (8.3).
#[derive(Debug)]
pub struct Midway(Mutex<LruCache<NodeId, Reading>, { rank::LEAF }>);

impl Default for Midway {
    fn default() -> Midway {
        Midway(Mutex::new(LruCache::new(MIDWAY)))
    }
}

impl Midway {
    /// Somebody has read the first entries of a listing.
    pub fn begin(&self, node: &Arc<Node>, listing: &Arc<Listing>) {
        let reading = (Arc::downgrade(node), listing.clone());
        let before = self.0.lock().push(node.id(), reading);
        drop(before);
    }

    /// What was begun, unless too much else was meanwhile.
    pub fn get(&self, node: &Arc<Node>) -> Option<Arc<Listing>> {
        let mut all = self.0.lock();
        let (whose, listing) = all.get(&node.id())?;
        // Ids come back; the weak pointer keeps the address from doing so.
        (whose.as_ptr() == Arc::as_ptr(node)).then(|| listing.clone())
    }

    /// Somebody has come to the end.
    pub fn end(&self, node: &Arc<Node>) {
        let ended = self.0.lock().pop(&node.id());
        drop(ended);
    }
}

/// The cookie of a name, but for collisions.
fn cookie(name: &[u8]) -> u64 {
    // With fixed keys: the order of names is the same in every mount.
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    (hasher.finish() >> 2) + DOTS + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_names_of_any_length() {
        let mut listing = Listing::default();
        listing.push(b"a", 1, FileType::File);
        listing.push(&[b'x'; 255], 2, FileType::Dir);
        listing.set_ino(0, 7);
        let all: Vec<_> = listing
            .iter()
            .map(|e| (e.name.len(), e.ino, e.kind))
            .collect();
        assert_eq!(all, [(1, 7, FileType::File), (255, 2, FileType::Dir)]);
        assert_eq!(listing.get(2), None);
    }

    fn of(names: &[&str]) -> Listing {
        let mut listing = Listing::default();
        for name in names {
            listing.push(name.as_bytes(), 1, FileType::File);
        }
        listing.sort();
        listing
    }

    #[test]
    fn an_offset_means_the_same_in_every_listing() {
        let long = of(&["a", "b", "c", "d", "e"]);
        let order: Vec<_> = long.after(DOTS).collect();
        assert_eq!(order.len(), 5);
        assert!(order.windows(2).all(|pair| pair[0].cookie < pair[1].cookie));
        for (at, entry) in order.iter().enumerate() {
            assert!(i64::try_from(entry.cookie).is_ok_and(|cookie| cookie > 2));
            let kept: Vec<_> = order[at + 1..].iter().map(|e| e.name).collect();
            let without: Vec<_> = order[at + 1..]
                .iter()
                .filter_map(|e| std::str::from_utf8(e.name).ok())
                .collect();
            let short = of(&without);
            let names: Vec<_> = short.after(entry.cookie).map(|e| e.name).collect();
            assert_eq!(names, kept, "after {:?}", entry.name);
        }
    }

    #[test]
    fn names_with_one_cookie_are_all_listed() {
        let mut listing = of(&["a", "b", "c"]);
        for entry in &mut listing.entries {
            entry.cookie = 9;
        }
        listing.sort();
        let cookies: Vec<_> = listing.after(DOTS).map(|e| (e.name, e.cookie)).collect();
        assert_eq!(cookies, [(&b"a"[..], 9), (b"b", 10), (b"c", 11)]);
    }
}
