//! The layers a test is given: small verbs that build trees on disk, marks included.
//!
//! Everything gets fixed times in the past (`Layers::settle`), so that two copies built by the same code are equal to
//! the nanosecond and whatever is written later is recognisably newer.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, makedev,
};

/// Times before this are fixed ones of a layer or a test; later ones are "now".
pub const RECENT: i64 = 1_600_000_000;
/// The fixed time from which those of all layers are derived.
const LONG_AGO: i64 = 1_000_000_000;

/// The directories of one mount: lower layers (top-most first), upper, work and mount point.
pub struct Layers {
    /// Lower 1 (top-most) first.
    pub lowers: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
    pub merged: PathBuf,
    /// Without an upper the mount is read-only.
    pub writable: bool,
    /// How many lowers are data-only: the last ones (section 6.3).
    pub data_only: usize,
    timed: Mutex<HashSet<PathBuf>>,
}

impl Layers {
    /// Empty layers below `root`.
    pub fn new(root: &Path, lowers: usize, writable: bool) -> Layers {
        let layers = Layers::found(root, lowers, writable);
        let others = [&layers.upper, &layers.work, &layers.merged];
        for dir in layers.lowers.iter().chain(others) {
            fs::create_dir_all(dir).expect("create a layer");
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("chmod a layer");
        }
        layers
    }

    /// The layers that `new` made there.
    pub fn found(root: &Path, lowers: usize, writable: bool) -> Layers {
        Layers {
            lowers: (1..=lowers).map(|n| root.join(format!("l{n}"))).collect(),
            upper: root.join("u"),
            work: root.join("w"),
            merged: root.join("m"),
            writable,
            data_only: 0,
            timed: Mutex::default(),
        }
    }

    /// Lower layer `n`; 1 is the top-most.
    pub fn lower(&self, n: usize) -> Tree<'_> {
        Tree {
            root: &self.lowers[n - 1],
            layers: self,
        }
    }

    /// The upper layer.
    pub fn upper(&self) -> Tree<'_> {
        Tree {
            root: &self.upper,
            layers: self,
        }
    }

    /// The `lowerdir=` value.
    pub fn lowerdir(&self) -> String {
        let merged = self.lowers.len() - self.data_only;
        let mut text = String::new();
        for (n, lower) in self.lowers.iter().enumerate() {
            text += if n >= merged {
                "::"
            } else if n > 0 {
                ":"
            } else {
                ""
            };
            text += &lower.to_string_lossy();
        }
        text
    }

    /// The mount options, for plyfs and the kernel alike.
    pub fn options(&self) -> String {
        let lower = format!("lowerdir={}", self.lowerdir());
        if !self.writable {
            return lower;
        }
        format!(
            "{lower},upperdir={},workdir={}",
            self.upper.display(),
            self.work.display()
        )
    }

    /// Gives everything a fixed time; call it after the last change.
    pub fn settle(&self) {
        for (n, root) in self.lowers.iter().chain([&self.upper]).enumerate() {
            self.settle_tree(root, root, n as i64);
        }
    }

    fn settle_tree(&self, root: &Path, at: &Path, layer: i64) {
        if at.symlink_metadata().expect("stat").is_dir() {
            for entry in fs::read_dir(at).expect("list") {
                self.settle_tree(root, &entry.expect("list").path(), layer);
            }
        }
        if self.timed.lock().unwrap().contains(at) {
            return;
        }
        let relative = at
            .strip_prefix(root)
            .expect("inside")
            .as_os_str()
            .as_encoded_bytes();
        let spread = relative
            .iter()
            .fold(7, |sum: i64, b| (sum * 31 + i64::from(*b)) % 100_000);
        set_times(at, LONG_AGO + layer * 1_000_000 + spread, 123_456_789);
    }
}

/// One layer under construction. Every verb panics when it fails: the test could not be set up.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    root: &'a Path,
    layers: &'a Layers,
}

impl Tree<'_> {
    /// The path on disk.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A directory, with missing parents, 0755.
    pub fn dir(self, path: &str) -> Self {
        let mut done = self.root.to_path_buf();
        for part in Path::new(path) {
            done.push(part);
            if done.symlink_metadata().is_err() {
                fs::create_dir(&done).expect("mkdir");
                fs::set_permissions(&done, fs::Permissions::from_mode(0o755)).expect("chmod");
            }
        }
        self
    }

    /// A regular file, 0644, with missing parents.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.parent(path);
        fs::write(self.at(path), content).expect("write a file");
        self.mode(path, 0o644)
    }

    /// A sparse file: `size` bytes of nothing, with `data` written at each of the offsets.
    pub fn sparse(self, path: &str, size: u64, data: &[(u64, &[u8])]) -> Self {
        use std::os::unix::fs::FileExt;
        self.parent(path);
        let file = fs::File::create(self.at(path)).expect("create");
        file.set_len(size).expect("truncate");
        for (offset, bytes) in data {
            file.write_all_at(bytes, *offset).expect("write");
        }
        self.mode(path, 0o644)
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.parent(path);
        symlink(target, self.at(path)).expect("symlink");
        self
    }

    pub fn link(self, existing: &str, path: &str) -> Self {
        self.parent(path);
        fs::hard_link(self.at(existing), self.at(path)).expect("link");
        self
    }

    /// A fifo, socket or device.
    pub fn node(self, path: &str, kind: FileType, (major, minor): (u32, u32)) -> Self {
        self.parent(path);
        let mode = Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(CWD, self.at(path), kind, mode, makedev(major, minor)).expect("mknod");
        self.mode(path, 0o644)
    }

    pub fn fifo(self, path: &str) -> Self {
        self.node(path, FileType::Fifo, (0, 0))
    }

    /// A whiteout as the kernel writes it (section 3.3).
    pub fn whiteout(self, path: &str) -> Self {
        self.node(path, FileType::CharacterDevice, (0, 0))
            .mode(path, 0)
    }

    /// The opaque mark with an arbitrary value; `y` is the real one.
    pub fn opaque(self, path: &str, value: &str) -> Self {
        self.dir(path).xattr(path, "trusted.overlay.opaque", value)
    }

    /// A metadata-only file of this size; its data is where the redirect says (section 6).
    pub fn metacopy(self, path: &str, size: u64, redirect: Option<&str>) -> Self {
        self.sparse(path, size, &[])
            .xattr(path, "trusted.overlay.metacopy", "");
        match redirect {
            Some(value) => self.xattr(path, "trusted.overlay.redirect", value),
            None => self,
        }
    }

    pub fn xattr(self, path: &str, name: &str, value: impl AsRef<[u8]>) -> Self {
        rustix::fs::lsetxattr(self.at(path), name, value.as_ref(), XattrFlags::empty())
            .expect("setxattr");
        self
    }

    pub fn mode(self, path: &str, mode: u32) -> Self {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).expect("chmod");
        self
    }

    pub fn owner(self, path: &str, uid: u32, gid: u32) -> Self {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(CWD, self.at(path), uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .expect("chown");
        self
    }

    /// Fixed access and modification times, in seconds; the nanoseconds are `nanos`.
    pub fn times(self, path: &str, seconds: i64, nanos: i64) -> Self {
        set_times(&self.at(path), seconds, nanos);
        self.layers.timed.lock().unwrap().insert(self.at(path));
        self
    }

    /// A copy of a program of this system.
    pub fn program(self, path: &str, from: &str) -> Self {
        self.parent(path);
        fs::copy(from, self.at(path)).expect("copy a program");
        self.mode(path, 0o755)
    }

    fn parent(self, path: &str) {
        if let Some(parent) = Path::new(path).parent() {
            self.dir(&parent.to_string_lossy());
        }
    }
}

fn set_times(path: &Path, seconds: i64, nanos: i64) {
    let at = |tv_sec| Timespec {
        tv_sec,
        tv_nsec: nanos as _,
    };
    let times = Timestamps {
        last_access: at(seconds + 5),
        last_modification: at(seconds),
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("utimensat");
}
