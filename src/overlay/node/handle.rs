//! Open files and directories.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Node, rank};
use crate::overlay::node::listing::Listing;
use crate::sync::{Mutex, RwLock};
use crate::sys::at::OpenMode;
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;
use crate::sys::stat::Stat;

const SHARDS: usize = 16;

/// Number of an open handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HandleId(pub u64);

/// What opening a file gives.
#[derive(Clone, Debug)]
pub struct Opened {
    /// For the calls that follow.
    pub handle: HandleId,
    /// The layer file as of now.
    pub backing: Backing,
    /// Its attributes as of now.
    pub stat: Stat,
}

/// The layer file behind an open file.
#[derive(Clone, Debug)]
pub struct Backing {
    /// The fd.
    pub file: Arc<FileFd>,
    /// It is the lower file: after a copy-up it shows old data.
    pub lower: bool,
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
        node.running.fetch_add(1, Ordering::SeqCst);
        Running(node.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An open directory.
#[derive(Debug)]
pub struct DirHandle {
    /// The node.
    pub node: Arc<Node>,
    /// The entries as of the last rewind (8.3).
    pub listing: Mutex<Option<Arc<Listing>>, { rank::LEAF }>,
}

#[derive(Clone, Debug)]
enum Handle {
    File(Arc<FileHandle>),
    Dir(Arc<DirHandle>),
}

/// All open handles.
#[derive(Debug, Default)]
pub struct HandleTable {
    shards: [RwLock<HashMap<HandleId, Handle>, { rank::LEAF }>; SHARDS],
    next: AtomicU64,
}

impl HandleTable {
    fn shard(&self, id: HandleId) -> &RwLock<HashMap<HandleId, Handle>, { rank::LEAF }> {
        &self.shards[id.0 as usize % SHARDS]
    }

    fn insert(&self, handle: Handle) -> HandleId {
        let id = HandleId(self.next.fetch_add(1, Ordering::Relaxed));
        self.shard(id).write().insert(id, handle);
        id
    }

    /// Keeps an open file.
    pub fn insert_file(&self, handle: FileHandle) -> HandleId {
        self.insert(Handle::File(Arc::new(handle)))
    }

    /// Keeps an open directory.
    pub fn insert_dir(&self, handle: DirHandle) -> HandleId {
        self.insert(Handle::Dir(Arc::new(handle)))
    }

    /// An open file.
    ///
    /// # Errors
    /// EBADF.
    pub fn file(&self, id: HandleId) -> Result<Arc<FileHandle>> {
        match self.shard(id).read().get(&id) {
            Some(Handle::File(handle)) => Ok(handle.clone()),
            _ => Err(Errno::EBADF),
        }
    }

    /// An open directory.
    ///
    /// # Errors
    /// EBADF.
    pub fn dir(&self, id: HandleId) -> Result<Arc<DirHandle>> {
        match self.shard(id).read().get(&id) {
            Some(Handle::Dir(handle)) => Ok(handle.clone()),
            _ => Err(Errno::EBADF),
        }
    }

    /// Lets go of a handle; the fd is closed after the lock is gone.
    pub fn remove(&self, id: HandleId) {
        let handle = self.shard(id).write().remove(&id);
        drop(handle);
    }
}
