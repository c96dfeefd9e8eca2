//! What ties the names of one lower file together while there is an index (overlay-semantics 14.2).
//!
//! All names of such a file lead to one node, before and after its copy-up. Its upper object is reached by
//! the index entry, because not every name is in the upper layer.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::Node;
use crate::sys::name::Name;

/// What a node knows of its index entry.
#[derive(Debug)]
pub struct Indexed {
    /// The name of the entry: the handle of the lower file.
    pub entry: Name,
    /// How many names the file has in the view. The disk has it too; this is what users see.
    names: AtomicU32,
    /// Monotonic: the index was asked while this node lived. Who copies up goes through the node, so an entry
    /// that was not there then is there only once the node has an upper object.
    asked: AtomicBool,
    /// Monotonic: the count on disk is relative to the upper inode, so gaining or losing a name leaves it right.
    settled: AtomicBool,
    /// A name was looked up, and nothing happened to the file since.
    looked_up: AtomicBool,
}

impl Indexed {
    /// Of a file that was found in the lower layers, where it has so many links.
    pub fn lower(entry: Name, links: u32) -> Indexed {
        Indexed {
            entry,
            names: AtomicU32::new(links),
            asked: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            looked_up: AtomicBool::new(false),
        }
    }

    /// Notes that a name was looked up: what happens next is meant for it.
    pub fn note_lookup(&self) {
        self.looked_up.store(true, Ordering::Relaxed);
    }

    /// Was a name looked up for what happens now? Asked once: what comes by an open file comes without.
    pub fn take_lookup(&self) -> bool {
        self.looked_up.swap(false, Ordering::Relaxed)
    }

    /// How many names the file has in the view.
    pub fn names(&self) -> u32 {
        self.names.load(Ordering::Relaxed)
    }

    /// Notes how many names it has.
    pub fn set_names(&self, names: u32) {
        self.names.store(names, Ordering::Relaxed);
    }

    /// Is it known whether the index has it?
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Notes that the index was asked.
    pub fn set_asked(&self) {
        self.asked.store(true, Ordering::Release);
    }

    /// Is the count on disk relative to the upper inode?
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// Notes that it is.
    pub fn set_settled(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }
}

impl Node {
    /// Its index entry, if it has or may get one.
    pub fn indexed(&self) -> Option<&Indexed> {
        self.rare.get()?.indexed.as_ref()
    }
}
