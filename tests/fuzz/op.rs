//! The words of a trace: one layer object, one step. All values are plain, so a trace prints as what it is, and a step
//! can be dropped from it without a change of the others.

/// A path relative to the root of a view or layer.
pub type Path = String;

/// The value of an xattr; prints as text, cut.
#[derive(Clone, PartialEq)]
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cut = self.0.len().min(64);
        write!(f, "\"{}\" ({})", self.0[..cut].escape_ascii(), self.0.len())
    }
}

/// What lies in a layer before the first mount.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// 0 is the upper, 1 the top-most lower.
    pub layer: usize,
    pub path: Path,
    pub kind: Kind,
    pub mode: u32,
    pub owner: (u32, u32),
    pub xattrs: Vec<(String, Bytes)>,
}

/// The kind of an `Item`.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Dir,
    File { len: usize },
    Sparse { size: u64, data: Vec<u64> },
    Symlink { to: String },
    Link { to: Path },
    Fifo,
    Device { block: bool, number: (u32, u32) },
    Whiteout,
    XattrWhiteout,
}

/// One step: an operation, who does it, and whether the place is looked at closely afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub op: Op,
    /// 0 is root; others have no capabilities and no groups but their own.
    pub uid: u32,
    pub look: bool,
}

/// How a rename treats its target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    Replace,
    NoReplace,
    Exchange,
    Whiteout,
}

/// What a time is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Time {
    At(i64, i64),
    Now,
    Omit,
}

/// Where an attribute is set: at a name or through an open file.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    Name(Path),
    Slot(usize),
}

/// Where lseek(2) goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Whence {
    Start(u64),
    End(i64),
    Current(i64),
    Data(u64),
    Hole(u64),
}

/// How a file is mapped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MapKind {
    SharedRead,
    SharedWrite,
    Private,
}

/// One operation. A `slot` holds an open file, a `dir` an open directory, a `map` a mapping.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Open {
        slot: usize,
        path: Path,
        flags: i32,
        mode: u32,
    },
    Reopen {
        slot: usize,
        from: usize,
        flags: i32,
    },
    Dup {
        slot: usize,
        from: usize,
    },
    Close {
        slot: usize,
    },
    Pread {
        slot: usize,
        offset: u64,
        len: usize,
    },
    Pwrite {
        slot: usize,
        offset: u64,
        len: usize,
        fill: u8,
    },
    Read {
        slot: usize,
        len: usize,
    },
    Write {
        slot: usize,
        len: usize,
        fill: u8,
    },
    Seek {
        slot: usize,
        whence: Whence,
    },
    Truncate {
        path: Path,
        len: u64,
    },
    Ftruncate {
        slot: usize,
        len: u64,
    },
    Fallocate {
        slot: usize,
        flags: u32,
        offset: u64,
        len: u64,
    },
    CopyRange {
        from: usize,
        to: usize,
        offset: u64,
        at: u64,
        len: usize,
    },
    Fsync {
        slot: usize,
        data_only: bool,
    },
    Flock {
        slot: usize,
        exclusive: bool,
        unlock: bool,
    },
    Fstat {
        slot: usize,
    },
    Map {
        map: usize,
        slot: usize,
        kind: MapKind,
    },
    MapRead {
        map: usize,
    },
    MapWrite {
        map: usize,
        fill: u8,
    },
    Unmap {
        map: usize,
    },
    Stat {
        path: Path,
        follow: bool,
    },
    Access {
        path: Path,
        mode: u32,
    },
    Readlink {
        path: Path,
    },
    Cat {
        path: Path,
    },
    Chmod {
        place: Place,
        mode: u32,
    },
    Chown {
        place: Place,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    Utimens {
        place: Place,
        atime: Time,
        mtime: Time,
    },
    Setxattr {
        place: Place,
        name: String,
        value: Bytes,
        flags: u32,
    },
    Getxattr {
        place: Place,
        name: String,
    },
    Removexattr {
        place: Place,
        name: String,
    },
    Listxattr {
        place: Place,
    },
    Mkdir {
        path: Path,
        mode: u32,
    },
    Mknod {
        path: Path,
        kind: u32,
        mode: u32,
        number: (u32, u32),
    },
    Symlink {
        to: String,
        path: Path,
    },
    Link {
        from: Path,
        to: Path,
        follow: bool,
    },
    LinkSlot {
        slot: usize,
        to: Path,
    },
    Unlink {
        path: Path,
    },
    /// As `rm -r`.
    RemoveAll {
        path: Path,
    },
    Rmdir {
        path: Path,
    },
    Rename {
        from: Path,
        to: Path,
        how: How,
    },
    List {
        path: Path,
        buffer: usize,
    },
    DirOpen {
        dir: usize,
        path: Path,
    },
    DirRead {
        dir: usize,
        buffer: usize,
    },
    DirSeek {
        dir: usize,
        back: usize,
    },
    DirRewind {
        dir: usize,
    },
    DirFinish {
        dir: usize,
    },
    Statfs {
        path: Path,
    },
    Umask {
        mask: u32,
    },
    Remount,
}

impl Op {
    /// The operation's name.
    pub fn verb(&self) -> String {
        let text = format!("{self:?}");
        text.split([' ', '{'])
            .next()
            .unwrap_or_default()
            .to_string()
    }

    /// The paths that may look different afterwards; empty for what only looks.
    pub fn changes(&self) -> Vec<&str> {
        match self {
            Op::Open { path, .. }
            | Op::Truncate { path, .. }
            | Op::Mkdir { path, .. }
            | Op::Mknod { path, .. }
            | Op::Symlink { path, .. }
            | Op::Unlink { path }
            | Op::Rmdir { path }
            | Op::RemoveAll { path } => vec![path],
            Op::Chmod { place, .. }
            | Op::Chown { place, .. }
            | Op::Utimens { place, .. }
            | Op::Setxattr { place, .. }
            | Op::Removexattr { place, .. } => match place {
                Place::Name(path) => vec![path],
                Place::Slot(_) => vec![],
            },
            Op::Link { from, to, .. } | Op::Rename { from, to, .. } => vec![from, to],
            Op::LinkSlot { to, .. } => vec![to],
            _ => vec![],
        }
    }

    /// The slot whose file may look different afterwards.
    pub fn changes_slot(&self) -> Option<usize> {
        match self {
            Op::Pwrite { slot, .. }
            | Op::Write { slot, .. }
            | Op::Ftruncate { slot, .. }
            | Op::Fallocate { slot, .. }
            | Op::LinkSlot { slot, .. } => Some(*slot),
            Op::CopyRange { to, .. } => Some(*to),
            Op::Chmod {
                place: Place::Slot(slot),
                ..
            }
            | Op::Chown {
                place: Place::Slot(slot),
                ..
            }
            | Op::Utimens {
                place: Place::Slot(slot),
                ..
            }
            | Op::Setxattr {
                place: Place::Slot(slot),
                ..
            }
            | Op::Removexattr {
                place: Place::Slot(slot),
                ..
            } => Some(*slot),
            _ => None,
        }
    }
}
