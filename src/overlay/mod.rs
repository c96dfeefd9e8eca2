//! The merged filesystem: a library with one method per filesystem verb, which knows nothing of FUSE.
//!
//! The disk is the truth. Memory holds identity (which node is which inode), locks, fds and caches of
//! lower layers, which do not change; nothing ever has to be read again because something else moved.
//!
//! What does not live here: the formats on disk ([`crate::layer`]), system calls ([`crate::sys`]), the
//! talk with the FUSE kernel ([`crate::fs`]).
//!
//! - [`view`]: what the tree looks like. `lookup forget getattr statfs readlink readdir
//!   readdirplus read lseek fsync fsyncdir release getxattr listxattr changes`
//! - [`change`]: what changes it. `create tmpfile mkdir mknod symlink link unlink rmdir rename setattr open write
//!   fallocate copy_file_range setxattr removexattr`, and the inode flags
//! - [`node`]: what is remembered of an inode
//! - [`mount`], [`options`]: from words to an [`Overlay`]
//! - [`stats`]: what is in use
//!
//! # Locks
//! A thread takes locks in the order of their ranks; debug builds check it ([`crate::sync`]).
//!
//! | rank | lock | across system calls |
//! |---|---|---|
//! | 1 | `Node::copyup` | yes, long |
//! | 2 | `Overlay::topology` | yes |
//! | 3 | `Node::dir` | yes |
//! | 4 | `Node::place`, or what a node is found by | no |
//! | 5, 6 | node table: key to node, id to node | no |
//! | 7 | leaves: handles, fds, listings | no |
//! | 8 | the shared whiteout | one link |
//! | 9 | I/O modes ([`crate::fs`]) | one ioctl |
//!
//! - `copyup` serialises the copy-up of one node, and with an index what changes its links; it is taken with empty
//!   hands, and one at a time.
//! - `topology` is written by renames between directories and read by whatever needs parents to hold still.
//! - `dir` is read by lookup and listing and written by a change of an entry. A second one may be the other
//!   directory of a rename (smaller id first), then a directory that is removed or replaced.

pub mod change;
pub mod mount;
pub mod node;
pub mod options;
pub mod stats;
pub mod view;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use self::change::workdir::WorkDir;
use self::node::handle::HandleTable;
use self::node::identity::Identity;
use self::node::listing::Midway;
use self::node::reaper::Reaper;
use self::node::table::NodeTable;
use self::node::{LowerDir, Node, rank};
use self::options::SyncMode;
use self::view::overrides::Overrides;
use crate::layer::idmap::Owners;
use crate::layer::index::IndexDir;
use crate::layer::keys::Namespace;
use crate::layer::mark::MarkRules;
use crate::layer::stack::LayerStack;
use crate::sync::RwLock;
use crate::sys::creds::Creds;
use crate::sys::errno::Errno;

pub use self::mount::MountError;

/// A merged view of layers.
#[derive(Debug)]
pub struct Overlay {
    root: Arc<Node>,
    table: Arc<NodeTable>,
    handles: HandleTable,
    midway: Midway,
    reaper: Reaper,
    identity: Identity,
    topology: RwLock<(), { rank::TOPOLOGY }>,
    /// The roots of data-only layers, in the order in which they are asked (6.3).
    data_only: Box<[Arc<LowerDir>]>,
    /// There is one exactly when the view can be changed.
    work: Option<WorkDir>,
    stack: LayerStack,
    /// Where copies of lower files with several names are found by all of these; `None` without `index=on`.
    index: Option<IndexDir>,
    rules: MarkRules,
    /// The namespace marks are written in; `None` where the upper takes no attributes.
    marks: Option<Namespace>,
    creds: Creds,
    sync: SyncMode,
    /// What the upper of a volatile mount failed to write.
    lost: OnceLock<Errno>,
    /// How many objects were copied up.
    copied_up: AtomicU64,
    /// A directory with a lower part may be renamed, by a redirect.
    redirect_dir: bool,
    /// A change of metadata copies no data up (6.1).
    metacopy: bool,
    /// A directory with a lower part may be renamed by copying up to this many bytes.
    rename_copy_limit: Option<u64>,
    static_nlink: bool,
    /// How owners are mapped; `None` where they are not.
    owners: Option<Owners>,
    /// Layers that keep modes in an attribute; `None` where none may.
    overrides: Option<Overrides>,
    /// Files of some lower layer may be links to those of other layers.
    shares_files: bool,
    /// Longest name of any layer in bytes.
    name_max: u64,
}

impl Overlay {
    /// Can nothing be changed?
    pub fn is_read_only(&self) -> bool {
        self.work.is_none()
    }

    /// How many nodes the caller was told of and has not given back.
    pub fn known_nodes(&self) -> usize {
        self.table.known()
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // The kernel does not forget nodes one by one at unmount.
        self.table.clear();
    }
}
