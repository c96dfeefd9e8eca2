//! How opens are served: which of them the kernel serves from the layer's file by itself (FUSE passthrough), which
//! bring a small file's data along, and the rule that one inode has one I/O mode at a time.
//!
//! The kernel keeps one backing file per inode while any passthrough open lives, opens it again with the
//! flags of each further open, and refuses an open of the other mode. So whichever mode the first open gets is that of
//! all others until the last one is closed. A lower file of a writable mount is passed through only with
//! `lower_passthrough=on`: once it is copied up, opens want the upper file, and get it under another id, as another
//! inode of the kernel's; so no write is ever passed to a lower file (overlay-semantics 22.8).
//!
//! Data is brought along only by an open beside which nothing is open, and under the lock of its shard. Whoever changes
//! data takes that lock after the change and before he answers: by then old data is in the kernel's cache, which the
//! answer makes it drop, or will not get there any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::overlay::node::NodeId;
use crate::overlay::node::handle::{HandleId, OpenFile, Opened};
use crate::sync::Mutex;
use crate::sys;
use crate::sys::creds::Creds;
use crate::sys::errno::Errno;

/// Smaller upper files that are only read again are cheaper in the page cache than with a backing file to register.
const WORTHWHILE_BYTES: u64 = 128 * 1024;
/// Rank of the lock of a shard: held across the one ioctl that registers a file, or the reading of a small one and
/// giving it to the kernel; no other lock is taken meanwhile.
const RANK: u8 = 9;
const SHARDS: usize = 16;
const SET_ID_BITS: u32 = 0o6000;

/// A file that the kernel reads and writes by itself, until this is dropped.
#[derive(Debug)]
pub enum Backing {
    /// Registered by an answer of fuser.
    Fuser(fuser::BackingId),
    /// Registered where requests come by rings.
    Rings(sys::backing::Backing),
}

/// How an open is served.
#[derive(Clone, Debug)]
pub enum Mode {
    /// From the page cache, filled by our answers. `keep`: what is cached stays valid.
    Cached {
        /// The cache need not be dropped.
        keep: bool,
    },
    /// By the kernel, from this file.
    Passthrough(Arc<Backing>),
}

/// What is live on one inode.
#[derive(Debug, Default)]
struct State {
    cached: usize,
    passthrough: usize,
    backing: Option<Arc<Backing>>,
    /// It is the lower file.
    lower: bool,
    /// Something was written past the page cache since it was filled,
    stale: bool,
    /// and the file was opened to be read since.
    reread: bool,
}

type Shard = Mutex<HashMap<NodeId, State>, RANK>;

/// I/O modes of all inodes.
#[derive(Debug)]
pub struct Passthrough {
    /// Cleared for good when the kernel says that this process may not.
    enabled: AtomicBool,
    /// Lower files are passed through as well.
    lower: bool,
    creds: Creds,
    shards: [Shard; SHARDS],
}

impl Passthrough {
    /// None live. `enabled` may be set after the kernel said what it can.
    pub fn new(lower: bool) -> Passthrough {
        let shards = std::array::from_fn(|_| Mutex::default());
        Passthrough {
            enabled: AtomicBool::new(false),
            lower,
            creds: Creds::current(),
            shards,
        }
    }

    /// Switches it on.
    pub fn enable(&self) {
        self.enabled.store(true, Ordering::Relaxed);
    }

    fn shard(&self, node: NodeId) -> &Shard {
        &self.shards[node.0 as usize % SHARDS]
    }

    /// Decides the mode of an open and counts it. `None`: not under this id, under which a lower file is passed through
    /// while the data is in the upper layer by now. `register` hands the file to the kernel; `fill` may give its data
    /// to the kernel's cache: it is called when no other open of the file lives.
    pub fn open(
        &self,
        node: NodeId,
        opened: &Opened,
        write: bool,
        register: impl FnOnce() -> std::io::Result<Backing>,
        fill: impl FnOnce(),
    ) -> Option<Mode> {
        let enabled = self.enabled.load(Ordering::Relaxed);
        let mut shard = self.shard(node).lock();
        let state = shard.entry(node).or_default();
        if state.backing.is_some() && state.lower && !opened.backing.lower {
            return None;
        }
        // To register a file takes less than the request that fills the page cache: who reads once, as most do what was
        // just written, does without.
        let first = !write && opened.is_first_of_upper();
        let uncached = !write && if state.stale { !state.reread } else { first };
        let backing = match &state.backing {
            Some(backing) => Some(backing.clone()),
            None if enabled && state.cached == 0 && self.is_worthwhile(opened, write, uncached) => {
                self.register(register)
            }
            None => None,
        };
        match backing {
            Some(backing) => {
                state.passthrough += 1;
                state.stale |= write;
                state.reread = !write;
                if state.backing.is_none() {
                    state.lower = opened.backing.lower;
                }
                state.backing = Some(backing.clone());
                Some(Mode::Passthrough(backing))
            }
            None => {
                let keep = !std::mem::take(&mut state.stale);
                if keep && state.cached == 0 {
                    fill();
                }
                state.cached += 1;
                Some(Mode::Cached { keep })
            }
        }
    }

    fn is_worthwhile(&self, opened: &Opened, write: bool, uncached: bool) -> bool {
        if opened.backing.lower {
            // All mounts of a layer share the cache of its file then, whatever its size.
            return self.lower && opened.stat.size > 0;
        }
        // Root's writes past us would take the set-id bits away that they may keep, see `register`.
        let plain = opened.stat.perm & SET_ID_BITS == 0;
        let size = opened.stat.size;
        plain && (write || uncached && size > 0 || size >= WORTHWHILE_BYTES)
    }

    fn register(
        &self,
        register: impl FnOnce() -> std::io::Result<Backing>,
    ) -> Option<Arc<Backing>> {
        // The kernel writes with the credentials of this moment, whoever calls. Set-id bits that the file gets while it
        // is open must not survive the write of a stranger, so they do not survive root's either.
        let registered = self
            .creds
            .without_fsetid(|| register().map_err(Errno::from));
        match registered {
            Ok(backing) => Some(Arc::new(backing)),
            Err(errno) => {
                // Only the superuser of the first user namespace may; other refusals concern one file.
                if errno == Errno::EPERM {
                    log::debug!("no passthrough: not permitted");
                    self.enabled.store(false, Ordering::Relaxed);
                }
                None
            }
        }
    }

    /// To be called after a change of data by somebody who may not have the file open, before he answers.
    pub fn changed(&self, node: NodeId) {
        drop(self.shard(node).lock());
    }

    /// Counts a close. `passthrough`: the mode that [`Passthrough::open`] gave.
    pub fn release(&self, node: NodeId, passthrough: bool) {
        let mut shard = self.shard(node).lock();
        let Some(state) = shard.get_mut(&node) else {
            return;
        };
        let count = if passthrough {
            &mut state.passthrough
        } else {
            &mut state.cached
        };
        *count = count.saturating_sub(1);
        let backing = if state.passthrough == 0 {
            state.backing.take()
        } else {
            None
        };
        if state.passthrough + state.cached == 0 && !state.stale {
            shard.remove(&node);
        }
        drop(shard);
        // Closing the backing file is a system call: not under the lock.
        drop(backing);
    }

    /// The kernel has dropped the inode and its cache.
    pub fn forget(&self, node: NodeId) {
        if !self.enabled.load(Ordering::Relaxed) {
            return;
        }
        let mut shard = self.shard(node).lock();
        if shard
            .get(&node)
            .is_some_and(|state| state.passthrough + state.cached == 0)
        {
            shard.remove(&node);
        }
    }
}

/// What the kernel calls an open file: our handle, and its I/O mode in the lowest bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fh(pub u64);

impl Fh {
    /// All files whose opens and closes are not told.
    pub const UNOPENED: Fh = Fh(0);

    /// Names an open file.
    pub fn new(handle: HandleId, mode: &Mode) -> Fh {
        Fh(handle.0 << 1 | u64::from(matches!(mode, Mode::Passthrough(_))))
    }

    /// What was opened.
    pub fn handle(self) -> HandleId {
        HandleId(self.0 >> 1)
    }

    /// Is it served by the kernel?
    pub fn is_passthrough(self) -> bool {
        self.0 & 1 == 1
    }

    /// The open file of a node that a request means.
    pub fn file(self, id: NodeId) -> OpenFile {
        const O_RDWR: i32 = 2;
        self.file_with(id, O_RDWR)
    }

    /// The same, with the flags that it is open with.
    pub fn file_with(self, id: NodeId, flags: i32) -> OpenFile {
        match self {
            Fh::UNOPENED => OpenFile::Node(id, flags),
            fh => fh.handle().into(),
        }
    }
}
