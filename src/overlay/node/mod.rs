//! What is remembered of an inode, and how it is reached on disk.
//!
//! What does not live here: anything that decides what a name means (`view`) or changes a layer
//! (`change`). A node is identity, not content: attributes, data and names are asked of the disk.
//!
//! Read this file, then [`table`] (who is known), [`reach`] (how to get to the object), [`handle`].

pub mod fds;
pub mod handle;
pub mod identity;
mod ids;
pub mod indexed;
pub mod listing;
pub mod lower;
pub mod lowers;
pub mod names;
pub mod place;
pub(in crate::overlay) mod rank;
pub mod reach;
pub mod reaper;
pub mod table;
pub mod upper;
pub mod upper_names;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use self::fds::FdKey;
use self::indexed::Indexed;
pub use self::lower::{DataFile, Lower, LowerDir, LowerObject};
pub use self::lowers::Lowers;
pub use self::place::Place;
use self::table::NodeTable;
pub use self::upper::Upper;
use self::upper::{METACOPY, NOTHING, WHOLE};
use self::upper_names::UpperNames;
use crate::layer::protattr::Protection;
use crate::layer::redirect::Redirect;
use crate::overlay::node::listing::Listing;
use crate::sync::{Mutex, RwLock};
use crate::sys::name::Name;
use crate::sys::stat::{FileType, PackedDev};

/// Number of a node in talk with the FUSE kernel: not reused while the node is known. Usually equal to
/// the inode number, but its own type because two nodes may share one of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

/// The root of the merged view.
pub const ROOT: NodeId = NodeId(1);

/// Identity on disk (overlay-semantics 7, 22.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// One inode of one filesystem, by the number that [`identity`] has for it: mostly that which its node has.
    Number(u64),
    /// One name of a lower file with several, by directory and name: without an index each name is a file of its own,
    /// because they part at copy-up.
    Named(Box<(NodeId, Name)>),
    /// A lower file with several names, by its index entry: one file under all of them (14.2).
    Index(Box<Name>),
}

/// What is kept of a directory beside its identity; guarded by the directory's lock.
#[derive(Debug, Default)]
pub struct DirState {
    /// Counts changes of the entries.
    pub version: u64,
}

/// Whether a directory gives a default ACL to what is made in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAcl {
    /// It does not.
    No,
    /// It does.
    Yes,
}

/// One inode of the merged view. There may be a million of them: what few need is in a box of its own.
pub struct Node {
    /// The id that the kernel is told now; see [`NodeTable::rebind`].
    id: AtomicU64,
    /// Immutable.
    pub kind: FileType,
    /// Immutable.
    pub lower: Lower,
    /// Changes once: when one name of a shared lower file becomes a file of its own.
    ino: AtomicU64,
    /// Is there an upper object, and what of the file has it? See [`upper`].
    has_upper: AtomicU8,
    upper_dev: AtomicU32,
    upper_ino: AtomicU64,
    place: RwLock<Place, { rank::PLACE }>,
    /// Serialises copy-up of this node.
    pub copyup: Mutex<(), { rank::COPYUP }>,
    /// Known protection; `None` when not asked yet.
    protection: Mutex<Option<Protection>, { rank::LEAF }>,
    /// Serialises changes of what it is found by: its id, its key, its index entry.
    identified: Mutex<(), { rank::IDENTIFIED }>,
    flags: Flags,
    /// How often the kernel was told of it under this id; the table's.
    lookups: AtomicU32,
    rare: OnceLock<Box<Rare>>,
    table: Weak<NodeTable>,
}

/// Flags of a node.
struct Flags(AtomicU8);

impl Flags {
    /// Its key is its id as a number: as of nearly all nodes, of whom the table keeps no key then.
    const KEY_IS_ID: u8 = 1;
    /// Monotonic: the file was opened by whoever caches its data, which was handed to him if it is a lower file's.
    const HANDED_OVER: u8 = 2;

    fn has(&self, flag: u8) -> bool {
        self.0.load(Ordering::Acquire) & flag != 0
    }

    /// Was it there before?
    fn set(&self, flag: u8) -> bool {
        self.0.fetch_or(flag, Ordering::AcqRel) & flag != 0
    }

    /// Was it there before?
    fn clear(&self, flag: u8) -> bool {
        self.0.fetch_and(!flag, Ordering::AcqRel) & flag != 0
    }
}

/// What directories have and few files.
#[derive(Default)]
struct Rare {
    /// Read: lookup and listing. Write: any change of an entry.
    dir: RwLock<DirState, { rank::DIR }>,
    /// The last listing somebody still reads, and the version it shows.
    listing: Mutex<(u64, Weak<Listing>), { rank::LEAF }>,
    /// The names of its upper part.
    upper_names: UpperNames,
    /// Known default ACL of this directory; `None` when not asked yet.
    default_acl: Mutex<Option<DefaultAcl>, { rank::LEAF }>,
    /// Under which name the layers below know this upper directory or metacopy; changes with a rename.
    redirect: Mutex<Option<Redirect>, { rank::LEAF }>,
    /// Monotonic: a directory that the layers below no longer contribute to.
    cut_off: AtomicBool,
    /// Monotonic: an upper directory with entries that have an origin.
    impure: AtomicBool,
    /// The key it is found by, where that is not its id.
    key: Mutex<Option<Key>, { rank::LEAF }>,
    /// Open files of it that are programs, to be run or running.
    running: AtomicU32,
    /// Immutable.
    indexed: Option<Indexed>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Node({}, {:?}, upper {:?})",
            self.id().0,
            self.kind,
            self.upper()
        )
    }
}

/// All that a new node is made of.
#[derive(Debug)]
pub struct NewNode {
    /// Type.
    pub kind: FileType,
    /// Inode number that users see.
    pub ino: u64,
    /// Lower part.
    pub lower: Lower,
    /// Upper part.
    pub upper: Option<Upper>,
    /// The upper directory has the `impure` mark.
    pub impure: bool,
    /// The redirect of the upper directory or metacopy.
    pub redirect: Option<Redirect>,
    /// Where it is.
    pub place: Place,
    /// Its entry in the index.
    pub indexed: Option<Indexed>,
}

impl Node {
    fn new(id: NodeId, key: Key, new: NewNode, table: &Arc<NodeTable>) -> Node {
        let key_is_id = key == Key::Number(id.0);
        let key = if key_is_id { None } else { Some(key) };
        let rare = OnceLock::new();
        if key.is_some() || new.impure || new.redirect.is_some() || new.indexed.is_some() {
            rare.get_or_init(|| {
                Box::new(Rare {
                    redirect: Mutex::new(new.redirect),
                    impure: AtomicBool::new(new.impure),
                    key: Mutex::new(key),
                    indexed: new.indexed,
                    ..Rare::default()
                })
            });
        }
        let has_upper = match (&new.upper, &new.lower) {
            (None, _) => NOTHING,
            (Some(_), Lower::Data { .. }) => METACOPY,
            (Some(_), _) => WHOLE,
        };
        let (dev, ino) = new.upper.map_or((0, 0), |upper| (upper.dev, upper.ino));
        Node {
            id: AtomicU64::new(id.0),
            kind: new.kind,
            lower: new.lower,
            ino: AtomicU64::new(new.ino),
            has_upper: AtomicU8::new(has_upper),
            upper_dev: AtomicU32::new(PackedDev::of(dev).0),
            upper_ino: AtomicU64::new(ino),
            place: RwLock::new(new.place),
            copyup: Mutex::default(),
            protection: Mutex::default(),
            identified: Mutex::default(),
            flags: Flags(AtomicU8::new(if key_is_id { Flags::KEY_IS_ID } else { 0 })),
            lookups: AtomicU32::new(0),
            rare,
            table: Arc::downgrade(table),
        }
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    /// The lock of a directory. Read: lookup and listing. Write: any change of an entry.
    pub fn dir(&self) -> &RwLock<DirState, { rank::DIR }> {
        &self.rare().dir
    }

    /// The last listing somebody still reads, and the version it shows.
    pub(in crate::overlay) fn listing(&self) -> &Mutex<(u64, Weak<Listing>), { rank::LEAF }> {
        &self.rare().listing
    }

    /// The names of a directory's upper part.
    pub fn upper_names(&self) -> &UpperNames {
        &self.rare().upper_names
    }

    /// The id that the kernel is told. It may know it by older ones, too.
    pub fn id(&self) -> NodeId {
        NodeId(self.id.load(Ordering::Acquire))
    }

    /// What its fd is kept under.
    pub(in crate::overlay) fn fd_key(&self) -> FdKey {
        FdKey::of(self)
    }

    /// The inode number that users see.
    pub fn ino(&self) -> u64 {
        self.ino.load(Ordering::Relaxed)
    }

    /// A copy-up that parts this name from its siblings gives it a number of its own (7.1).
    pub fn set_ino(&self, ino: u64) {
        self.ino.store(ino, Ordering::Relaxed);
    }

    /// Has the lower file that it is, or was copied up from, other names?
    pub fn is_shared(&self) -> bool {
        self.indexed().is_some()
            || self.lower.is_shared()
            || matches!(self.lower, Lower::Data { shared: true, .. })
    }

    /// The redirect of the upper directory or metacopy.
    pub fn redirect(&self) -> Option<Redirect> {
        self.rare.get()?.redirect.lock().clone()
    }

    /// Notes a new redirect.
    pub fn set_redirect(&self, redirect: Redirect) {
        *self.rare().redirect.lock() = Some(redirect);
    }

    /// Is this a directory?
    pub fn is_dir(&self) -> bool {
        self.kind == FileType::Dir
    }

    /// The lower directories that contribute; empty for a pure upper directory and for files.
    pub fn lower_dirs(&self) -> &[Arc<LowerDir>] {
        self.lowers().map_or(&[], |lowers| lowers)
    }

    /// The same with what they know of their names; `None` where there are none.
    pub fn lowers(&self) -> Option<&Lowers> {
        match &self.lower {
            Lower::Dirs(lowers) if !self.is_cut_off() => Some(lowers),
            _ => None,
        }
    }

    fn is_cut_off(&self) -> bool {
        self.rare
            .get()
            .is_some_and(|rare| rare.cut_off.load(Ordering::Acquire))
    }

    /// Does more than one layer contribute to this directory (0.2)?
    pub fn is_merged(&self) -> bool {
        self.lower_dirs().len() + usize::from(self.upper().is_some()) > 1
    }

    /// Does any lower layer contribute to it?
    pub fn has_lower(&self) -> bool {
        self.lower.object().is_some() || !self.lower_dirs().is_empty()
    }

    /// Notes that the upper directory was made opaque when all that showed in it was upper.
    pub fn cut_off(&self) {
        self.rare().cut_off.store(true, Ordering::Release);
    }

    /// Has this upper directory entries with an origin?
    pub fn is_impure(&self) -> bool {
        self.rare
            .get()
            .is_some_and(|rare| rare.impure.load(Ordering::Relaxed))
    }

    /// Notes that the mark was set.
    pub fn set_impure(&self) {
        self.rare().impure.store(true, Ordering::Relaxed);
    }

    /// Notes that the file was opened, or its data handed over. False when it was before.
    pub(super) fn hand_over(&self) -> bool {
        !self.flags.set(Flags::HANDED_OVER)
    }

    /// The protection as far as it is known.
    pub fn protection(&self) -> Option<Protection> {
        *self.protection.lock()
    }

    /// Somebody runs it, or is about to.
    pub fn is_running(&self) -> bool {
        self.rare
            .get()
            .is_some_and(|rare| rare.running.load(Ordering::SeqCst) > 0)
    }

    /// Notes the protection.
    pub fn set_protection(&self, protection: Protection) {
        *self.protection.lock() = Some(protection);
    }

    /// Notes the protection unless it is known.
    pub fn learn_protection(&self, protection: Protection) {
        self.protection.lock().get_or_insert(protection);
    }

    /// The default ACL as far as it is known.
    pub fn default_acl(&self) -> Option<DefaultAcl> {
        *self.rare.get()?.default_acl.lock()
    }

    /// Notes whether there is a default ACL; `None` when that may have changed.
    pub fn set_default_acl(&self, acl: Option<DefaultAcl>) {
        *self.rare().default_acl.lock() = acl;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            table.remove(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_small() {
        // With the two counts of its `Arc` and the allocator's word this fills 160 bytes.
        assert_eq!(size_of::<Node>(), 136);
    }
}
