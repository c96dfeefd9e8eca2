//! The upper part of a node: whether there is one, and what it holds. It only grows.
//!
//! Kept flat in the node, as there may be a million nodes: whoever sets it holds a lock, and what `has_upper` says was
//! stored before it.

use std::sync::atomic::Ordering;

use super::{Lower, Node};
use crate::sys::stat::PackedDev;

/// The upper object of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// Device it is on.
    pub dev: u64,
    /// Real inode number.
    pub ino: u64,
}

/// Values of `Node::has_upper`: nothing;
pub(super) const NOTHING: u8 = 0;
/// an object whose data is in a lower layer (6.1);
pub(super) const METACOPY: u8 = 1;
/// an object with all that belongs to it.
pub(super) const WHOLE: u8 = 2;

impl Node {
    /// The upper object, if there is one.
    pub fn upper(&self) -> Option<Upper> {
        if self.has_upper.load(Ordering::Acquire) == NOTHING {
            return None;
        }
        Some(Upper {
            dev: PackedDev(self.upper_dev.load(Ordering::Relaxed)).dev(),
            ino: self.upper_ino.load(Ordering::Relaxed),
        })
    }

    /// Records the upper object, with its data or as a metacopy; the caller holds `copyup`, so it happens
    /// once.
    pub fn set_upper(&self, upper: Upper, with_data: bool) {
        debug_assert!(self.upper().is_none(), "copied up twice");
        self.keep_upper(upper, with_data);
    }

    fn keep_upper(&self, upper: Upper, with_data: bool) {
        let dev = PackedDev::of(upper.dev);
        self.upper_dev.store(dev.0, Ordering::Relaxed);
        self.upper_ino.store(upper.ino, Ordering::Relaxed);
        let has = if with_data { WHOLE } else { METACOPY };
        self.has_upper.store(has, Ordering::Release);
    }

    /// Takes over what the index has for this node. Several may find it at once, and all find the same.
    pub fn adopt(&self, upper: Upper, names: u32, with_data: bool) {
        let Some(indexed) = self.indexed() else {
            return;
        };
        let _first = self.identified.lock();
        if self.upper().is_none() {
            indexed.set_names(names);
            self.keep_upper(upper, with_data);
        }
        indexed.set_asked();
    }

    /// Notes that the data has been copied up after the metadata.
    pub fn set_upper_data(&self) {
        self.has_upper.store(WHOLE, Ordering::Release);
    }

    /// Is the data in the upper layer? For anything but a regular file: is the object there?
    pub fn has_upper_data(&self) -> bool {
        self.has_upper.load(Ordering::Acquire) == WHOLE
    }

    /// Is its upper object a metacopy?
    pub fn is_upper_metacopy(&self) -> bool {
        self.has_upper.load(Ordering::Acquire) == METACOPY
    }

    /// Is it a file with metadata of one layer and data of another?
    pub fn is_metacopy(&self) -> bool {
        match self.has_upper.load(Ordering::Acquire) {
            NOTHING => matches!(self.lower, Lower::Metacopy(_)),
            has => has == METACOPY,
        }
    }
}
