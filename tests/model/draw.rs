//! What is drawn: layers, and work on them. Few names and shallow trees, so that random paths meet what is there and a
//! failing trace reads well.

use std::collections::BTreeMap;

use plyfs::overlay::change::rename::Rename;
use plyfs::sys::xattr::XattrMode;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::layer::{Dir, DirMark, Item, Meta};

/// Where a step acts, found in the tree as it then is, so that most steps meet something.
#[derive(Clone, Debug)]
pub enum Spot {
    Root,
    /// The n-th of what is there, in the order of paths, counted around.
    There(u8),
    /// The n-th of what is no directory.
    File(u8),
    /// The n-th directory.
    Dir(u8),
    /// A name in the n-th directory or in the root, there or not.
    In(u8, &'static str),
    /// This path, which may lead nowhere.
    Literal(String),
}

/// Number of a descriptor that a trace may hold.
pub type Slot = usize;

/// How many files, and how many directories, may be open at once.
pub const SLOTS: usize = 2;

/// One step of the work, at spots when it is drawn, at paths when it is done.
#[derive(Clone, Debug)]
pub enum Op<At = String> {
    Look(At),
    Create {
        path: At,
        perm: u32,
        slot: Slot,
    },
    Mkdir {
        path: At,
        perm: u32,
    },
    Symlink {
        path: At,
        target: &'static str,
    },
    Mkfifo(At),
    Link {
        existing: At,
        path: At,
    },
    Unlink(At),
    Rmdir(At),
    Rename {
        from: At,
        to: At,
        how: Rename,
    },
    Change {
        path: At,
        what: Change,
    },
    ChangeOpen {
        slot: Slot,
        what: Change,
    },
    Open {
        path: At,
        slot: Slot,
        how: How,
    },
    Read {
        slot: Slot,
        offset: usize,
        len: usize,
    },
    Write {
        slot: Slot,
        offset: usize,
        len: usize,
    },
    Close(Slot),
    OpenDir {
        path: At,
        slot: Slot,
    },
    ReadDir {
        slot: Slot,
        count: usize,
        plus: bool,
    },
    Rewind(Slot),
    CloseDir(Slot),
    Forget(At),
    ForgetAll,
    Remount,
    Compare,
}

impl<At> Op<At> {
    /// The same step elsewhere.
    pub fn at<To>(self, mut to: impl FnMut(At) -> To) -> Op<To> {
        match self {
            Op::Look(path) => Op::Look(to(path)),
            Op::Create { path, perm, slot } => Op::Create {
                path: to(path),
                perm,
                slot,
            },
            Op::Mkdir { path, perm } => Op::Mkdir {
                path: to(path),
                perm,
            },
            Op::Symlink { path, target } => Op::Symlink {
                path: to(path),
                target,
            },
            Op::Mkfifo(path) => Op::Mkfifo(to(path)),
            Op::Link { existing, path } => Op::Link {
                existing: to(existing),
                path: to(path),
            },
            Op::Unlink(path) => Op::Unlink(to(path)),
            Op::Rmdir(path) => Op::Rmdir(to(path)),
            Op::Rename { from, to: new, how } => Op::Rename {
                from: to(from),
                to: to(new),
                how,
            },
            Op::Change { path, what } => Op::Change {
                path: to(path),
                what,
            },
            Op::ChangeOpen { slot, what } => Op::ChangeOpen { slot, what },
            Op::Open { path, slot, how } => Op::Open {
                path: to(path),
                slot,
                how,
            },
            Op::Read { slot, offset, len } => Op::Read { slot, offset, len },
            Op::Write { slot, offset, len } => Op::Write { slot, offset, len },
            Op::Close(slot) => Op::Close(slot),
            Op::OpenDir { path, slot } => Op::OpenDir {
                path: to(path),
                slot,
            },
            Op::ReadDir { slot, count, plus } => Op::ReadDir { slot, count, plus },
            Op::Rewind(slot) => Op::Rewind(slot),
            Op::CloseDir(slot) => Op::CloseDir(slot),
            Op::Forget(path) => Op::Forget(to(path)),
            Op::ForgetAll => Op::ForgetAll,
            Op::Remount => Op::Remount,
            Op::Compare => Op::Compare,
        }
    }
}

/// A change of attributes.
#[derive(Clone, Debug)]
pub enum Change {
    Chmod(u32),
    Chown(u32, u32),
    Touch(i64),
    Truncate(usize),
    SetXattr(&'static str, &'static str, XattrMode),
    RemoveXattr(&'static str),
}

/// The access that a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct How {
    pub write: bool,
    pub trunc: bool,
}

/// Layers and work.
#[derive(Clone, Debug)]
pub struct Story {
    /// Top-most first.
    pub lowers: Vec<Dir>,
    pub upper: Dir,
    pub ops: Vec<Op<Spot>>,
}

/// Everything that is drawn.
pub fn story() -> impl Strategy<Value = Story> {
    (vec(dir(2), 1..=3), dir(2), vec(op(), 1..=40)).prop_map(|(lowers, upper, ops)| Story {
        lowers,
        upper,
        ops,
    })
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("a"), 4 => Just("b"), 1 => Just("c")]
}

/// Whoever made these can read and write them, so that a plain user can run the test.
fn perm() -> impl Strategy<Value = u32> {
    select(vec![
        0o644, 0o755, 0o600, 0o700, 0o1777, 0o2775, 0o4755, 0o6711,
    ])
}

fn dir_perm() -> impl Strategy<Value = u32> {
    select(vec![0o755, 0o700, 0o1777, 0o2775])
}

const XATTRS: [&str; 3] = ["user.one", "user.two", "user.overlay.opaque"];

fn xattr_name() -> impl Strategy<Value = &'static str> {
    select(XATTRS.to_vec())
}

fn meta(perm: impl Strategy<Value = u32>) -> impl Strategy<Value = Meta> {
    let xattr = option::weighted(0.2, (select(XATTRS[..2].to_vec()), select(vec!["", "v"])));
    (perm, 0u32..3, xattr).prop_map(|(perm, owner, xattr)| Meta { perm, owner, xattr })
}

fn len() -> impl Strategy<Value = usize> {
    select(vec![0, 1, 5, 4100])
}

/// A directory of a layer with up to so many levels of directories in it.
fn dir(levels: u32) -> impl Strategy<Value = Dir> {
    let mark = prop_oneof![
        6 => Just(DirMark::None),
        1 => Just(DirMark::Opaque),
        1 => Just(DirMark::Odd),
        1 => Just(DirMark::XattrWhiteouts),
    ];
    let items = btree_map(name(), item(levels), 0..=3);
    (meta(dir_perm()), mark, items).prop_map(|(meta, mark, items): (_, _, BTreeMap<_, _>)| Dir {
        meta,
        mark,
        items,
    })
}

fn item(levels: u32) -> BoxedStrategy<Item> {
    let leaf = prop_oneof![
        6 => (meta(perm()), len()).prop_map(|(meta, len)| Item::File { meta, len }),
        2 => Just(Item::Link),
        1 => Just(Item::Symlink),
        1 => Just(Item::Fifo),
        3 => Just(Item::Whiteout),
        1 => Just(Item::NoWhiteout),
    ];
    match levels {
        0 => leaf.boxed(),
        _ => prop_oneof![1 => leaf, 1 => dir(levels - 1).prop_map(Item::Dir)].boxed(),
    }
}

/// Any path.
fn path() -> impl Strategy<Value = Spot> {
    let literal = vec(name(), 1..=3).prop_map(|parts| Spot::Literal(parts.join("/")));
    prop_oneof![5 => any::<u8>().prop_map(Spot::There), 4 => entry(), 2 => literal]
}

fn entry() -> impl Strategy<Value = Spot> {
    (any::<u8>(), name()).prop_map(|(n, name)| Spot::In(n, name))
}

/// Often one that is free.
fn new() -> impl Strategy<Value = Spot> {
    prop_oneof![4 => entry(), 1 => path()]
}

/// Often one of a file.
fn file() -> impl Strategy<Value = Spot> {
    prop_oneof![4 => any::<u8>().prop_map(Spot::File), 1 => path()]
}

/// Often one of a directory.
fn old_dir() -> impl Strategy<Value = Spot> {
    prop_oneof![4 => any::<u8>().prop_map(Spot::Dir), 1 => path()]
}

fn any_path() -> impl Strategy<Value = Spot> {
    prop_oneof![12 => path(), 1 => Just(Spot::Root)]
}

fn slot() -> impl Strategy<Value = Slot> {
    0..SLOTS
}

fn rename_how() -> impl Strategy<Value = Rename> {
    prop_oneof![
        3 => Just(Rename::Replace),
        1 => Just(Rename::NoReplace),
        2 => Just(Rename::Exchange),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let mode = select(vec![XattrMode::Any, XattrMode::Create, XattrMode::Replace]);
    prop_oneof![
        perm().prop_map(Change::Chmod),
        (0u32..3, 0u32..3).prop_map(|(uid, gid)| Change::Chown(uid, gid)),
        (0i64..9).prop_map(|n| Change::Touch(1_100_000_000 + n)),
        len().prop_map(Change::Truncate),
        (xattr_name(), select(vec!["", "x", "value"]), mode)
            .prop_map(|(name, value, mode)| Change::SetXattr(name, value, mode)),
        xattr_name().prop_map(Change::RemoveXattr),
    ]
}

fn op() -> impl Strategy<Value = Op<Spot>> {
    prop_oneof![
        3 => any_path().prop_map(Op::Look),
        8 => making(),
        5 => file().prop_map(Op::Unlink),
        5 => old_dir().prop_map(Op::Rmdir),
        10 => renaming(),
        5 => changing(),
        8 => files(),
        5 => directories(),
        3 => prop_oneof![
            4 => any_path().prop_map(Op::Forget),
            1 => Just(Op::ForgetAll),
            2 => Just(Op::Remount),
        ],
        1 => Just(Op::Compare),
    ]
}

fn renaming() -> impl Strategy<Value = Op<Spot>> {
    let from = prop_oneof![2 => path(), 1 => old_dir()];
    (from, path(), rename_how()).prop_map(|(from, to, how)| Op::Rename { from, to, how })
}

fn making() -> impl Strategy<Value = Op<Spot>> {
    prop_oneof![
        4 => (new(), perm(), slot()).prop_map(|(path, perm, slot)| Op::Create { path, perm, slot }),
        4 => (new(), dir_perm()).prop_map(|(path, perm)| Op::Mkdir { path, perm }),
        1 => (new(), select(vec!["a", "b/c"])).prop_map(|(path, target)| Op::Symlink { path, target }),
        1 => new().prop_map(Op::Mkfifo),
        3 => (file(), new()).prop_map(|(existing, path)| Op::Link { existing, path }),
    ]
}

fn changing() -> impl Strategy<Value = Op<Spot>> {
    prop_oneof![
        2 => (any_path(), change()).prop_map(|(path, what)| Op::Change { path, what }),
        1 => (slot(), change()).prop_map(|(slot, what)| Op::ChangeOpen { slot, what }),
    ]
}

fn files() -> impl Strategy<Value = Op<Spot>> {
    let offset = || select(vec![0usize, 3, 5000]);
    let how = (any::<bool>(), proptest::bool::weighted(0.2));
    let how = how.prop_map(|(write, trunc)| How { write, trunc });
    prop_oneof![
        4 => (file(), slot(), how).prop_map(|(path, slot, how)| Op::Open { path, slot, how }),
        3 => (slot(), offset(), len()).prop_map(|(slot, offset, len)| Op::Read { slot, offset, len }),
        3 => (slot(), offset(), len()).prop_map(|(slot, offset, len)| Op::Write { slot, offset, len }),
        1 => slot().prop_map(Op::Close),
    ]
}

fn directories() -> impl Strategy<Value = Op<Spot>> {
    let dir = prop_oneof![3 => old_dir(), 1 => Just(Spot::Root)];
    prop_oneof![
        3 => (dir, slot()).prop_map(|(path, slot)| Op::OpenDir { path, slot }),
        5 => (slot(), 1usize..5, any::<bool>()).prop_map(|(slot, count, plus)| Op::ReadDir { slot, count, plus }),
        1 => slot().prop_map(Op::Rewind),
        1 => slot().prop_map(Op::CloseDir),
    ]
}
