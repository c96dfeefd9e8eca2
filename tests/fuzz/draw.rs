//! From a seed to layers and steps. Nothing here looks at a filesystem: the same seed draws the same trace everywhere.

use std::collections::{BTreeMap, BTreeSet};

use super::mode::Mode;
use super::op::{Bytes, How, Item, Kind, MapKind, Op, Path, Place, Step, Time, Whence};
use super::support::dice::Dice;

pub const SLOTS: usize = 5;
pub const DIRS: usize = 2;
pub const MAPS: usize = 2;
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", ".wh.a"];
const DEPTH: usize = 4;
const MODES: [u32; 8] = [0o755, 0o755, 0o755, 0o700, 0o777, 0o1777, 0o2775, 0o500];
const FILE_MODES: [u32; 8] = [0o644, 0o644, 0o666, 0o600, 0o755, 0o4755, 0o2755, 0o444];
const OWNERS: [(u32, u32); 5] = [(0, 0), (0, 0), (1000, 1000), (1001, 1000), (5, 60)];

/// A whole run: what is mounted and what is done.
#[derive(Clone, Debug)]
pub struct Trace {
    pub lowers: usize,
    pub umask: u32,
    pub items: Vec<Item>,
    pub steps: Vec<Step>,
}

/// The trace of a seed.
pub fn trace(mode: &Mode, seed: u64, ops: usize) -> Trace {
    let mut artist = Artist {
        dice: Dice::new(seed),
        mode,
        known: Vec::new(),
        hot: Vec::new(),
    };
    let lowers = 1 + artist.below(4);
    let umask = artist.pick(&[0o022, 0o022, 0, 0o077, 0o027]);
    let items = artist.layers(lowers);
    artist.known = items
        .iter()
        .map(|i| i.path.clone())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let files: Vec<Path> = items
        .iter()
        .filter(|i| matches!(i.kind, Kind::File { .. } | Kind::Sparse { .. }))
        .map(|i| i.path.clone())
        .collect();
    if !files.is_empty() {
        artist.hot = (0..3).map(|_| artist.pick(&files)).collect();
    }
    let steps = (0..ops).map(|_| artist.step()).collect();
    Trace {
        lowers,
        umask,
        items,
        steps,
    }
}

struct Artist<'a> {
    dice: Dice,
    mode: &'a Mode,
    known: Vec<Path>,
    /// A few files that much happens to.
    hot: Vec<Path>,
}

impl Artist<'_> {
    fn below(&mut self, n: usize) -> usize {
        self.dice.roll(n)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.dice.roll(n) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.dice.roll(from.len())].clone()
    }

    // Layers.

    fn layers(&mut self, lowers: usize) -> Vec<Item> {
        let mut all: BTreeMap<usize, Vec<Item>> = BTreeMap::new();
        // From the bottom, so that a layer knows what its marks would hide.
        for layer in (0..=lowers).rev() {
            let below: Vec<Item> = all.values().flatten().cloned().collect();
            let mut items = Vec::new();
            if layer > 0 || self.one_in(2) {
                self.fill(layer, "", 0, &below, &mut items, layer == lowers);
            }
            all.insert(layer, items);
        }
        all.into_values().flatten().collect()
    }

    fn fill(
        &mut self,
        layer: usize,
        at: &str,
        depth: usize,
        below: &[Item],
        out: &mut Vec<Item>,
        bottom: bool,
    ) {
        for name in NAMES {
            if name == ".wh.a" && !self.one_in(6) {
                continue;
            }
            let path = if at.is_empty() {
                name.to_string()
            } else {
                format!("{at}/{name}")
            };
            let hides = below
                .iter()
                .any(|i| i.path == path && !matches!(i.kind, Kind::Whiteout));
            // A mark makes sense, and is filtered by the kernel, in a directory that is merged with one below (3.7).
            let merged = at.is_empty() || below.iter().any(|i| i.path == at && i.kind == Kind::Dir);
            let roll = match self.below(24) {
                21.. if self.mode.index => 8,
                roll => roll,
            };
            let kind = match roll {
                0..=4 => Kind::File {
                    len: self.pick(&[0, 1, 10, 40, 300, 5000]),
                },
                5 => Kind::Sparse {
                    size: self.pick(&[5000, 70_000, 1_200_000]),
                    data: (0..self.below(3)).map(|n| [0, 4096, 65_536][n]).collect(),
                },
                6 | 7 => Kind::Symlink { to: self.target() },
                8 => match out.iter().rev().find(|i| match i.kind {
                    Kind::File { .. } | Kind::Fifo => true,
                    Kind::Symlink { .. } | Kind::Device { .. } => self.mode.index,
                    _ => false,
                }) {
                    Some(item) => Kind::Link {
                        to: item.path.clone(),
                    },
                    None => continue,
                },
                9 => Kind::Fifo,
                10 if self.mode.devices => Kind::Device {
                    block: self.one_in(2),
                    number: (1, 3),
                },
                11..=13 if hides && merged && !bottom => Kind::Whiteout,
                14..=20 if depth + 1 < DEPTH => Kind::Dir,
                _ => continue,
            };
            let is_dir = kind == Kind::Dir;
            let whiteout = kind == Kind::Whiteout;
            let mut item = Item {
                layer,
                path: path.clone(),
                mode: if is_dir {
                    self.pick(&MODES)
                } else {
                    self.pick(&FILE_MODES)
                },
                owner: if whiteout { (0, 0) } else { self.pick(&OWNERS) },
                xattrs: if whiteout {
                    vec![]
                } else {
                    self.item_xattrs(&kind)
                },
                kind,
            };
            let opaque = is_dir && !bottom && self.one_in(8);
            if opaque {
                item.xattrs
                    .push((self.mode.mark("opaque"), Bytes(b"y".to_vec())));
            }
            let xwhiteouts = is_dir && !opaque && !bottom && layer > 0 && hides && self.one_in(8);
            if xwhiteouts {
                item.xattrs
                    .push((self.mode.mark("opaque"), Bytes(b"x".to_vec())));
            }
            out.push(item);
            if xwhiteouts {
                let hidden = below.iter().filter(|i| {
                    i.path
                        .strip_prefix(&path)
                        .is_some_and(|r| r.starts_with('/'))
                });
                let Some(hidden) = hidden
                    .map(|i| i.path.clone())
                    .find(|p| p.matches('/').count() == depth + 1)
                else {
                    continue;
                };
                out.push(Item {
                    layer,
                    path: hidden,
                    kind: Kind::XattrWhiteout,
                    mode: 0o644,
                    owner: (0, 0),
                    xattrs: vec![(self.mode.mark("whiteout"), Bytes(vec![]))],
                });
            } else if is_dir {
                let visible: &[Item] = if opaque { &[] } else { below };
                self.fill(layer, &path, depth + 1, visible, out, bottom);
            }
        }
    }

    fn item_xattrs(&mut self, kind: &Kind) -> Vec<(String, Bytes)> {
        let mut list = Vec::new();
        if !matches!(kind, Kind::Dir | Kind::File { .. } | Kind::Sparse { .. }) {
            return list;
        }
        if self.one_in(5) {
            list.push(("user.one".to_string(), Bytes(b"1".to_vec())));
        }
        if self.one_in(10) {
            list.push(("system.posix_acl_access".to_string(), acl(self.below(3))));
        }
        if *kind == Kind::Dir && self.one_in(10) {
            list.push(("system.posix_acl_default".to_string(), acl(self.below(3))));
        }
        list
    }

    fn target(&mut self) -> String {
        // Never upwards: a moved symlink must not lead out of the view.
        self.pick(&["a", "b", "c", "a/b", "b/c", "nowhere", ".", "d/e/a"])
            .to_string()
    }

    // Steps.

    fn path(&mut self) -> Path {
        if self.one_in(40) {
            let odd = [
                ".".into(),
                "a/".into(),
                "n".repeat(255),
                "n".repeat(256),
                "b/.".into(),
                "new/".into(),
            ];
            return self.pick(&odd);
        }
        if !self.hot.is_empty() && self.one_in(4) {
            let hot = self.hot.clone();
            return self.pick(&hot);
        }
        if !self.known.is_empty() && self.below(10) < 6 {
            let known = self.known.clone();
            let path = self.pick(&known);
            // A name beside or below what exists.
            return match self.below(5) {
                0 => format!("{path}/{}", self.pick(&NAMES[..5])),
                1 => match path.rsplit_once('/') {
                    Some((dir, _)) => format!("{dir}/{}", self.pick(&NAMES[..5])),
                    None => self.pick(&NAMES[..5]).to_string(),
                },
                _ => path,
            };
        }
        let depth = 1 + self.below(3);
        (0..depth)
            .map(|_| self.pick(&NAMES[..5]))
            .collect::<Vec<_>>()
            .join("/")
    }

    fn place(&mut self) -> Place {
        if self.one_in(4) {
            Place::Slot(self.below(SLOTS))
        } else {
            Place::Name(self.path())
        }
    }

    fn step(&mut self) -> Step {
        let mut uid = if self.one_in(6) {
            self.pick(&[1000, 1000, 1001])
        } else {
            0
        };
        let op = self.op();
        // What is left when it is refused halfway depends on the order of the names, which may differ.
        if matches!(op, Op::RemoveAll { .. }) {
            uid = 0;
        }
        Step {
            op,
            uid,
            look: self.one_in(2),
        }
    }

    fn op(&mut self) -> Op {
        match self.below(100) {
            0..=27 => self.file_op(),
            28..=33 => self.map_op(),
            34..=66 => self.name_op(),
            67..=84 => self.attribute_op(),
            85..=98 => self.dir_op(),
            _ if self.one_in(3) => Op::Remount,
            _ => Op::Umask {
                mask: self.pick(&[0o022, 0, 0o077, 0o002]),
            },
        }
    }

    fn offset(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1..=3 => self.below(64) as u64,
            4 => 4090 + self.below(12) as u64,
            _ => self.below(100_000) as u64,
        }
    }

    fn len(&mut self) -> usize {
        match self.below(6) {
            0 => 0,
            1..=4 => 1 + self.below(16),
            _ => 1 + self.below(9000),
        }
    }

    fn open_flags(&mut self) -> i32 {
        let access = self.pick(&[
            libc::O_RDONLY,
            libc::O_RDONLY,
            libc::O_RDWR,
            libc::O_RDWR,
            libc::O_WRONLY,
        ]);
        let mut flags = access;
        for (bit, odds) in [
            (libc::O_CREAT, 3),
            (libc::O_EXCL, 8),
            (libc::O_TRUNC, 6),
            (libc::O_APPEND, 6),
            (libc::O_NOFOLLOW, 6),
            (libc::O_SYNC, 12),
            (libc::O_DIRECTORY, 30),
            (libc::O_NOATIME, 30),
            (libc::O_PATH, 40),
        ] {
            if self.one_in(odds) {
                flags |= bit;
            }
        }
        // Undefined without O_CREAT; refused or odd together, by version of the kernel.
        if flags & libc::O_CREAT == 0 {
            flags &= !libc::O_EXCL;
        } else {
            flags &= !libc::O_DIRECTORY;
        }
        flags
    }

    fn file_op(&mut self) -> Op {
        let slot = self.below(SLOTS);
        match self.below(28) {
            0..=7 => Op::Open {
                slot,
                path: self.path(),
                flags: self.open_flags(),
                mode: self.pick(&FILE_MODES),
            },
            8 => Op::Reopen {
                slot,
                from: self.below(SLOTS),
                flags: self.open_flags() & !libc::O_NOFOLLOW,
            },
            9 => Op::Dup {
                slot,
                from: self.below(SLOTS),
            },
            10 => Op::Close { slot },
            11 | 12 => Op::Pread {
                slot,
                offset: self.offset(),
                len: self.len(),
            },
            13 | 14 => Op::Pwrite {
                slot,
                offset: self.offset(),
                len: self.len(),
                fill: self.below(26) as u8,
            },
            15 => Op::Read {
                slot,
                len: self.len(),
            },
            16 | 17 => Op::Write {
                slot,
                len: self.len(),
                fill: self.below(26) as u8,
            },
            18 => Op::Seek {
                slot,
                whence: match self.below(5) {
                    0 => Whence::Start(self.offset()),
                    1 => Whence::End(self.below(20) as i64 - 10),
                    2 => Whence::Current(self.below(20) as i64 - 10),
                    3 => Whence::Data(self.offset()),
                    _ => Whence::Hole(self.offset()),
                },
            },
            19 => Op::Truncate {
                path: self.path(),
                len: self.offset(),
            },
            20 => Op::Ftruncate {
                slot,
                len: self.offset(),
            },
            21 => Op::Fallocate {
                slot,
                flags: self.pick(&[0, 1, 3, 0x10, 2]),
                offset: self.offset(),
                len: self.offset(),
            },
            22 | 23 => Op::CopyRange {
                from: slot,
                to: self.below(SLOTS),
                offset: self.offset(),
                at: self.offset(),
                len: self.len(),
            },
            24 => Op::Fsync {
                slot,
                data_only: self.one_in(2),
            },
            25 => Op::Flock {
                slot,
                exclusive: self.one_in(2),
                unlock: self.one_in(4),
            },
            26 => Op::LinkSlot {
                slot,
                to: self.path(),
            },
            _ => Op::Fstat { slot },
        }
    }

    fn map_op(&mut self) -> Op {
        let map = self.below(MAPS);
        match self.below(6) {
            0 | 1 => Op::Map {
                map,
                slot: self.below(SLOTS),
                kind: self.pick(&[MapKind::SharedRead, MapKind::SharedWrite, MapKind::Private]),
            },
            2 | 3 => Op::MapRead { map },
            4 => Op::MapWrite {
                map,
                fill: self.below(26) as u8,
            },
            _ => Op::Unmap { map },
        }
    }

    fn name_op(&mut self) -> Op {
        match self.below(33) {
            0..=4 => Op::Unlink { path: self.path() },
            5..=7 => Op::Rmdir { path: self.path() },
            8 if self.one_in(2) => Op::RemoveAll { path: self.path() },
            8 => Op::Rmdir { path: self.path() },
            9..=12 => Op::Mkdir {
                path: self.path(),
                mode: self.pick(&MODES),
            },
            13 | 14 => Op::Symlink {
                to: self.target(),
                path: self.path(),
            },
            15..=17 => Op::Link {
                from: self.path(),
                to: self.path(),
                follow: self.one_in(4),
            },
            18 | 19 => self.mknod(),
            20..=26 => Op::Rename {
                from: self.path(),
                to: self.path(),
                how: How::Replace,
            },
            27 | 28 => Op::Rename {
                from: self.path(),
                to: self.path(),
                how: How::NoReplace,
            },
            29..=31 => Op::Rename {
                from: self.path(),
                to: self.path(),
                how: How::Exchange,
            },
            _ => Op::Rename {
                from: self.path(),
                to: self.path(),
                how: How::Whiteout,
            },
        }
    }

    fn mknod(&mut self) -> Op {
        let (kind, number) = self.pick(&[
            (libc::S_IFIFO, (0, 0)),
            (libc::S_IFSOCK, (0, 0)),
            (libc::S_IFREG, (0, 0)),
            (libc::S_IFCHR, (1, 3)),
            (libc::S_IFBLK, (7, 200)),
            (libc::S_IFCHR, (0, 0)),
        ]);
        Op::Mknod {
            path: self.path(),
            kind,
            mode: self.pick(&FILE_MODES),
            number,
        }
    }

    fn attribute_op(&mut self) -> Op {
        match self.below(18) {
            0..=2 => {
                let mode = if self.one_in(2) {
                    self.pick(&MODES)
                } else {
                    self.pick(&FILE_MODES)
                };
                Op::Chmod {
                    place: self.place(),
                    mode,
                }
            }
            3 | 4 => Op::Chown {
                place: self.place(),
                uid: self.pick(&[None, Some(0), Some(1000), Some(1001)]),
                gid: self.pick(&[None, Some(0), Some(1000), Some(60)]),
            },
            5 | 6 => {
                let second = self.below(1000) as i64;
                let times = [Time::At(1_100_000_000 + second, 17), Time::Now, Time::Omit];
                Op::Utimens {
                    place: self.place(),
                    atime: self.pick(&times),
                    mtime: self.pick(&times),
                }
            }
            7..=9 => {
                let name = self.xattr_name();
                let value = if name.starts_with("system.posix") {
                    acl(self.below(5))
                } else {
                    Bytes(vec![b'v'; self.pick(&[0, 1, 7, 300])])
                };
                let flags = self.pick(&[0, 0, 0, 1, 2]);
                Op::Setxattr {
                    place: self.place(),
                    name,
                    value,
                    flags,
                }
            }
            10 => Op::Getxattr {
                place: self.place(),
                name: self.xattr_name(),
            },
            11 => Op::Removexattr {
                place: self.place(),
                name: self.xattr_name(),
            },
            12 => Op::Listxattr {
                place: self.place(),
            },
            13 | 14 => Op::Stat {
                path: self.path(),
                follow: self.one_in(2),
            },
            15 => Op::Access {
                path: self.path(),
                mode: self.below(8) as u32,
            },
            16 => Op::Readlink { path: self.path() },
            _ => Op::Cat { path: self.path() },
        }
    }

    fn xattr_name(&mut self) -> String {
        let mut names = vec![
            "user.one".to_string(),
            "user.two".to_string(),
            "user.overlayish".to_string(),
            "trusted.one".to_string(),
            "system.posix_acl_access".to_string(),
            "system.posix_acl_default".to_string(),
            "security.one".to_string(),
            "odd.name".to_string(),
        ];
        names.push(self.mode.mark("opaque"));
        names.push(self.mode.mark("origin"));
        self.pick(&names)
    }

    fn dir_op(&mut self) -> Op {
        let dir = self.below(DIRS);
        match self.below(14) {
            0..=4 => Op::List {
                path: self.path(),
                buffer: self.pick(&[300, 400, 4096, 32_768]),
            },
            5 | 6 => Op::DirOpen {
                dir,
                path: self.path(),
            },
            7..=9 => Op::DirRead {
                dir,
                buffer: self.pick(&[80, 150, 300, 4096]),
            },
            10 => Op::DirSeek {
                dir,
                back: self.below(8),
            },
            11 => Op::DirRewind { dir },
            12 => Op::DirFinish { dir },
            _ => Op::Statfs { path: self.path() },
        }
    }
}

/// A POSIX ACL as the kernel takes it; 3 is equal to plain mode bits, 4 is malformed.
fn acl(which: usize) -> Bytes {
    const USER_OBJ: u16 = 1;
    const USER: u16 = 2;
    const GROUP_OBJ: u16 = 4;
    const GROUP: u16 = 8;
    const MASK: u16 = 16;
    const OTHER: u16 = 32;
    const NOBODY: u32 = u32::MAX;
    let entries: &[(u16, u16, u32)] = match which {
        0 => &[
            (USER_OBJ, 7, NOBODY),
            (USER, 6, 1000),
            (GROUP_OBJ, 5, NOBODY),
            (MASK, 7, NOBODY),
            (OTHER, 4, NOBODY),
        ],
        1 => &[
            (USER_OBJ, 6, NOBODY),
            (GROUP_OBJ, 4, NOBODY),
            (GROUP, 7, 1001),
            (MASK, 4, NOBODY),
            (OTHER, 0, NOBODY),
        ],
        2 => &[
            (USER_OBJ, 7, NOBODY),
            (USER, 7, 1001),
            (GROUP_OBJ, 7, NOBODY),
            (GROUP, 5, 60),
            (MASK, 5, NOBODY),
            (OTHER, 5, NOBODY),
        ],
        3 => &[
            (USER_OBJ, 7, NOBODY),
            (GROUP_OBJ, 5, NOBODY),
            (OTHER, 5, NOBODY),
        ],
        _ => &[(USER_OBJ, 7, NOBODY), (OTHER, 5, NOBODY)],
    };
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(perm.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    Bytes(bytes)
}
