//! A tree as text: what a test compares. Reading it leaves no trace (no access times), so the same function serves
//! for the lower layers, the upper layer on disk and the merged view.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, SeekFrom, StatxFlags};

use super::layers::RECENT;

/// The grain of content comparison.
const BLOCK: usize = 4096;

/// One object, with all that `statx`, its content and its xattrs say.
#[derive(Clone, Debug)]
pub struct Entry {
    pub kind: FileType,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub rdev: (u32, u32),
    pub nlink: u32,
    pub ino: u64,
    pub atime: (i64, u32),
    pub mtime: (i64, u32),
    pub ctime: (i64, u32),
    /// Link target, or length and hash of the content.
    pub content: String,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// Which differences count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Everything: a lower layer must not change.
    Untouched,
    /// The merged view of two mounts over two copies: no inode numbers, times only where they are fixed ones.
    View,
    /// The merged view of one tree at two moments: inode numbers and times count too.
    SameView,
    /// Two upper layers on disk: as `View`, with the marks, without what is bound to a disk (handles, uuid).
    Upper,
}

/// A tree, by path relative to its root ("." is the root). A listed name that cannot be looked up maps to its error.
#[derive(Clone)]
pub struct Snapshot {
    pub entries: BTreeMap<String, Result<Entry, String>>,
}

impl Snapshot {
    /// Reads the whole tree; an error is that of the root or of the content, with its path.
    pub fn take(root: &Path) -> io::Result<Snapshot> {
        let mut entries = BTreeMap::new();
        let mut todo = vec![(PathBuf::from("."), root.to_path_buf())];
        while let Some((name, path)) = todo.pop() {
            let entry = read_entry(&path);
            let is_root = name.as_os_str() == ".";
            if let Ok(e) = &entry
                && e.kind == FileType::Directory
            {
                for child in names(&path).map_err(|e| at(&path, e))? {
                    let relative = if is_root {
                        PathBuf::from(&child)
                    } else {
                        name.join(&child)
                    };
                    todo.push((relative, path.join(&child)));
                }
            }
            match entry {
                Err(e) if is_root => return Err(at(&path, e)),
                Err(e) => drop(entries.insert(text(&name), Err(super::words::errno_name(&e)))),
                Ok(e) => drop(entries.insert(text(&name), Ok(e))),
            }
        }
        Ok(Snapshot { entries })
    }

    /// Drops listed names that do not exist: the kernel lists whiteouts of unmerged directories, plyfs does not (3.7).
    pub fn without_ghosts(mut self) -> Snapshot {
        self.entries
            .retain(|_, e| !matches!(e, Err(code) if code == "ENOENT"));
        self
    }

    /// Drops an xattr from all entries.
    pub fn forget_xattr(&mut self, name: &str) {
        for entry in self.entries.values_mut().flatten() {
            entry.xattrs.remove(name);
        }
    }

    /// Drops the names of indexed files, which have this mark, and directories that are in this upper only, as
    /// those of such names.
    pub fn forget_names_of_indexed(&mut self, mark: &str, other: &Snapshot) {
        let marked = |e: &Result<Entry, String>| matches!(e, Ok(e) if e.xattrs.contains_key(mark));
        let names = |tree: &Snapshot| -> Vec<String> {
            let all = tree.entries.iter().filter(|(_, e)| marked(e));
            all.map(|(path, _)| path.clone()).collect()
        };
        let gone = names(self);
        self.entries.retain(|_, e| !marked(e));
        // From below: a directory goes after what is in it.
        for path in self.entries.keys().rev().cloned().collect::<Vec<_>>() {
            let below = format!("{path}/");
            let had = gone.iter().any(|name| name.starts_with(&below));
            let empty = !self.entries.keys().any(|name| name.starts_with(&below));
            if had && empty && !other.entries.contains_key(&path) {
                self.entries.remove(&path);
            }
        }
    }

    /// What differs, one line per path and side; empty when equal.
    pub fn differences(&self, other: &Snapshot, how: Compare) -> Vec<String> {
        let mut lines = Vec::new();
        for path in self.entries.keys().chain(
            other
                .entries
                .keys()
                .filter(|p| !self.entries.contains_key(*p)),
        ) {
            let show = |s: &Snapshot| match s.entries.get(path) {
                None => "absent".to_string(),
                Some(Err(code)) => code.clone(),
                Some(Ok(e)) => e.line(how),
            };
            let (here, there) = (show(self), show(other));
            if here != there {
                lines.push(format!("  {path}\n    - {here}\n    + {there}"));
            }
        }
        lines
    }
}

impl Entry {
    /// The object as one line.
    pub fn line(&self, how: Compare) -> String {
        let mut line = format!(
            "{} {:04o} {}:{}",
            kind_name(self.kind),
            self.mode,
            self.uid,
            self.gid
        );
        let is_dir = self.kind == FileType::Directory;
        if matches!(self.kind, FileType::CharacterDevice | FileType::BlockDevice) {
            line += &format!(" dev={}:{}", self.rdev.0, self.rdev.1);
        }
        // Sizes and link counts of directories are the filesystem's business, those of whiteouts are shared.
        if !is_dir || how == Compare::Untouched {
            line += &format!(" size={} {}", self.size, self.content);
            if !(how == Compare::Upper && self.is_whiteout()) {
                line += &format!(" nlink={}", self.nlink);
            }
        }
        if matches!(how, Compare::Untouched | Compare::SameView) {
            line += &format!(" ino={} mtime={}", self.ino, stamp(self.mtime));
        } else if !self.is_whiteout() {
            let mtime = if self.mtime.0 < RECENT {
                stamp(self.mtime)
            } else {
                "now".into()
            };
            line += &format!(" mtime={mtime}");
        }
        if how == Compare::Untouched {
            line += &format!(" ctime={}", stamp(self.ctime));
            // readlink(2) knows no O_NOATIME.
            if self.kind != FileType::Symlink {
                line += &format!(" atime={}", stamp(self.atime));
            }
        }
        for (name, value) in &self.xattrs {
            match how {
                Compare::Upper if is_dir && ignored_on_upper_dir(name) => {}
                Compare::Upper if mark(name) == Some("origin") => line += " origin",
                _ => line += &format!(" {name}={}", value.escape_ascii()),
            }
        }
        line
    }

    /// A whiteout in its usual form: a character device 0/0.
    pub fn is_whiteout(&self) -> bool {
        self.kind == FileType::CharacterDevice && self.rdev == (0, 0)
    }

    /// A file as plyfs makes them to be whiteouts by name or by attribute.
    pub fn may_be_marker(&self) -> bool {
        self.kind == FileType::RegularFile && (self.size, self.mode) == (0, 0o400)
    }
}

/// Marks the kernel also writes when it merely looks (2.6), and the ones bound to one filesystem.
fn ignored_on_upper_dir(name: &str) -> bool {
    matches!(mark(name), Some("origin" | "impure" | "uuid"))
}

/// The name of a mark without its prefix, in either namespace.
fn mark(name: &str) -> Option<&str> {
    name.strip_prefix("trusted.overlay.")
        .or_else(|| name.strip_prefix("user.overlay."))
}

/// The names in a directory, without `.` and `..`, in the order they are listed.
pub fn names(dir: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    use std::os::unix::ffi::OsStrExt;
    let flags =
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOATIME | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(dir, flags, Mode::empty())?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(std::ffi::OsStr::from_bytes(name).to_os_string());
        }
    }
    Ok(names)
}

fn read_entry(path: &Path) -> io::Result<Entry> {
    let wanted = StatxFlags::BASIC_STATS;
    let s = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, wanted)?;
    let kind = FileType::from_raw_mode(u32::from(s.stx_mode));
    let content = match kind {
        FileType::Symlink => format!("-> {}", text(&std::fs::read_link(path)?)),
        FileType::RegularFile => content_of(path)?,
        _ => String::new(),
    };
    Ok(Entry {
        kind,
        mode: u32::from(s.stx_mode) & 0o7777,
        uid: s.stx_uid,
        gid: s.stx_gid,
        size: s.stx_size,
        rdev: (s.stx_rdev_major, s.stx_rdev_minor),
        nlink: s.stx_nlink,
        ino: s.stx_ino,
        atime: (s.stx_atime.tv_sec, s.stx_atime.tv_nsec),
        mtime: (s.stx_mtime.tv_sec, s.stx_mtime.tv_nsec),
        ctime: (s.stx_ctime.tv_sec, s.stx_ctime.tv_nsec),
        content,
        xattrs: xattrs(path).map_err(|e| at(path, e))?,
    })
}

/// Length and hash of a file's content; big holes are skipped, so a sparse file costs its data only.
fn content_of(path: &Path) -> io::Result<String> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = libc::O_NOATIME | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let mut hash = DefaultHasher::new();
    let mut buffer = vec![0; 1 << 20];
    let (mut total, mut position) = (0_u64, 0_u64);
    loop {
        if total >= 16 << 20 {
            // Beyond 16 MiB only data counts, with its place.
            match rustix::fs::seek(&file, SeekFrom::Data(position)) {
                Ok(data) => position = data / BLOCK as u64 * BLOCK as u64,
                Err(rustix::io::Errno::NXIO) => break,
                Err(e) => return Err(e.into()),
            }
            rustix::fs::seek(&file, SeekFrom::Start(position))?;
        }
        let n = read_full(&mut file, &mut buffer)?;
        if n == 0 {
            break;
        }
        for (i, block) in buffer[..n].chunks(BLOCK).enumerate() {
            // Blocks of zeros count as holes, wherever a filesystem keeps them.
            if block.iter().any(|b| *b != 0) {
                hash.write_u64(position + (i * BLOCK) as u64);
                hash.write(block);
            }
        }
        position += n as u64;
        total += n as u64;
    }
    Ok(format!("#{:016x}", hash.finish()))
}

fn read_full(file: &mut std::fs::File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// All xattrs of an object (not of what a symlink points to).
pub fn xattrs(path: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut list = vec![0; 64 << 10];
    let n = match rustix::fs::llistxattr(path, &mut list) {
        Ok(n) => n,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(e) => return Err(e.into()),
    };
    let mut found = BTreeMap::new();
    for name in list[..n].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let n = rustix::fs::lgetxattr(path, name, &mut value)?;
        value.truncate(n);
        found.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    Ok(found)
}

/// The kind of an object in one word.
pub fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "dir",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "char",
        FileType::BlockDevice => "block",
        FileType::Unknown => "unknown",
    }
}

fn stamp((seconds, nanos): (i64, u32)) -> String {
    format!("{seconds}.{nanos:09}")
}

fn text(path: &Path) -> String {
    path.as_os_str()
        .as_encoded_bytes()
        .escape_ascii()
        .to_string()
}

fn at(path: &Path, error: io::Error) -> io::Error {
    match error.raw_os_error() {
        // The number is what a caller looks at.
        Some(libc::ENOENT) => error,
        _ => io::Error::new(error.kind(), format!("{}: {error}", path.display())),
    }
}
