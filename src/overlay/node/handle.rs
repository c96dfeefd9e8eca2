//! Open files. Directories are read without being opened.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Node, NodeId, rank};
use crate::sync::RwLock;
use crate::sys::at::OpenMode;
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;
use crate::sys::stat::Stat;

const SHARDS: usize = 16;

/// Number of an open handle, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HandleId(pub u64);

/// An open file, as a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFile {
    /// By what opening it gave.
    Handle(HandleId),
    /// By its node, and the flags of open(2) with which it is open: whoever asks does not tell of opens and closes, and
    /// has checked what may be opened how.
    Node(NodeId, i32),
}

impl From<HandleId> for OpenFile {
    fn from(id: HandleId) -> OpenFile {
        OpenFile::Handle(id)
    }
}

/// What opening a file gives.
#[derive(Clone, Debug)]
pub struct Opened {
    /// For the calls that follow.
    pub handle: HandleId,
    /// The layer file as of now.
    pub backing: Backing,
    /// Its attributes as of now.
    pub stat: Stat,
    /// Opening changed the file's times.
    pub modified: bool,
    /// The node.
    pub(in crate::overlay) node: Arc<Node>,
}

impl Opened {
    /// Is this the first time that somebody asks this of the node, and its file one of the upper layer?
    pub fn is_first_of_upper(&self) -> bool {
        !self.backing.lower && self.node.hand_over()
    }

    /// All data of a lower file of at most `max` bytes, the first time that somebody asks, to fill a cache with before
    /// it is read. Takes no lock, and gives nothing once the file is copied up.
    ///
    /// `None` for an upper file, whose access time would tell of it, and for a metacopy, whose data may have another
    /// size.
    pub fn first_data<'b>(&self, buffer: &'b mut Vec<u8>, max: u64) -> Option<&'b [u8]> {
        let (node, size) = (&self.node, self.stat.size);
        let untouched = !node.has_upper_data() && !node.is_metacopy();
        if size == 0 || size > max || !untouched || !node.hand_over() {
            return None;
        }
        let data = room(buffer, size as usize);
        // One that was cut behind our back is short: whoever reads will see.
        let whole = self.backing.file.read_at(data, 0).ok()? == data.len();
        whole.then_some(data)
    }
}

/// The first bytes of a buffer that is used again and again.
pub fn room(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    &mut buffer[..len]
}

/// The layer file behind an open file.
#[derive(Clone, Debug)]
pub struct Backing {
    /// The fd.
    pub file: Arc<FileFd>,
    /// It is the lower file: after a copy-up it shows old data.
    pub lower: bool,
    /// It can be written.
    pub writable: bool,
}

impl Backing {
    /// Is it still what the node shows?
    pub fn is_current(&self, node: &Node) -> bool {
        !self.lower || !node.has_upper_data()
    }
}

/// An open regular file.
#[derive(Debug)]
pub struct FileHandle {
    /// The node.
    pub node: Arc<Node>,
    /// Set while it is a program.
    pub running: Option<Running>,
    /// How it was opened.
    pub mode: OpenMode,
    /// Replaced when the file is copied up (overlay-semantics 15.1).
    pub backing: RwLock<Backing, { rank::LEAF }>,
}

/// A program that was opened to be run: from now until its last map is gone.
#[derive(Debug)]
pub struct Running(Arc<Node>);

impl Running {
    /// Counts one more.
    pub fn new(node: &Arc<Node>) -> Running {
        node.rare().running.fetch_add(1, Ordering::SeqCst);
        Running(node.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.rare().running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// All open handles.
#[derive(Debug, Default)]
pub struct HandleTable {
    shards: [RwLock<HashMap<HandleId, Arc<FileHandle>>, { rank::LEAF }>; SHARDS],
    next: AtomicU64,
}

impl HandleTable {
    fn shard(&self, id: HandleId) -> &RwLock<HashMap<HandleId, Arc<FileHandle>>, { rank::LEAF }> {
        &self.shards[id.0 as usize % SHARDS]
    }

    /// Keeps an open file.
    pub fn insert(&self, handle: FileHandle) -> HandleId {
        let id = HandleId(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        self.shard(id).write().insert(id, Arc::new(handle));
        id
    }

    /// An open file.
    ///
    /// # Errors
    /// EBADF.
    pub fn get(&self, id: HandleId) -> Result<Arc<FileHandle>> {
        let shard = self.shard(id).read();
        shard.get(&id).cloned().ok_or(Errno::EBADF)
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// How many ever were.
    pub fn opened(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Lets go of a handle; the fd is closed after the lock is gone.
    pub fn remove(&self, id: HandleId) {
        let handle = self.shard(id).write().remove(&id);
        drop(handle);
    }
}
