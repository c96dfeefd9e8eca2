//! One of the two sides: layers, the server that merges them, and what a run holds open in the view.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::draw::{DIRS, MAPS, SLOTS};
use super::support::ffi::Map;
use super::support::layers::{Layers, RECENT};
use super::support::mount::{Mounted, Server};
use super::support::snapshot;

/// What a step came to: words, or the error.
pub type Outcome = Result<String, Errno>;

/// An open file.
pub struct Slot {
    pub file: File,
    /// The object was in no upper layer when it was opened, and it was not opened for writing.
    pub lower: bool,
}

/// A mapping of the first page of a file.
pub struct Mapped {
    pub map: Map,
    pub file: File,
    pub lower: bool,
}

/// An open directory and what was read from it since its start: names, and the cookie after each.
pub struct Dir {
    pub fd: OwnedFd,
    pub seen: Vec<(String, u64)>,
    pub ended: bool,
}

/// One side.
pub struct Side {
    pub server: Server,
    pub layers: Layers,
    pub slots: [Option<Slot>; SLOTS],
    pub dirs: [Option<Dir>; DIRS],
    pub maps: [Option<Mapped>; MAPS],
    /// Listings may have names that do not exist: whiteouts in directories of one layer (3.1, 3.7).
    pub ghosts: bool,
    /// The kernel may do the I/O of plyfs's files by itself.
    pub passthrough: bool,
    /// It does not tell plyfs of opens and closes.
    pub noopen: bool,
    /// The layers have whiteouts from the start.
    pub whiteouts: bool,
    /// The numbers of lower files with several names. Each name has a node of its own, and FUSE takes the number of the
    /// node for that of a directory entry (22.1).
    pub shared: HashSet<u64>,
    /// Inode numbers count. In a user namespace the kernel cannot decode origins, so it shows numbers that change.
    pub numbered: bool,
    options: &'static str,
    mounted: Option<Mounted>,
    root: Option<OwnedFd>,
    /// Inode numbers in the order in which they were first seen: that order, not the number, is compared.
    inos: HashMap<u64, usize>,
}

impl Side {
    /// Mounts.
    pub fn new(server: Server, layers: Layers, options: &'static str) -> Result<Side, String> {
        let mut side = Side {
            server,
            layers,
            slots: Default::default(),
            dirs: Default::default(),
            maps: Default::default(),
            ghosts: server == Server::Kernel,
            whiteouts: false,
            passthrough: false,
            noopen: false,
            shared: HashSet::new(),
            numbered: true,
            options,
            mounted: None,
            root: None,
            inos: HashMap::new(),
        };
        side.mount()?;
        Ok(side)
    }

    /// Mounts what is not mounted.
    pub fn mount(&mut self) -> Result<(), String> {
        self.mounted = Some(Mounted::new(self.server, &self.layers, self.options)?);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.layers.merged, flags, Mode::empty());
        self.root = Some(root.map_err(|e| format!("the root of the view: {e}"))?);
        Ok(())
    }

    /// Closes everything and unmounts; an error is also what the daemon complained of.
    pub fn unmount(&mut self) -> Result<(), String> {
        self.slots = Default::default();
        self.dirs = Default::default();
        self.maps = Default::default();
        self.root = None;
        let Some(mounted) = self.mounted.take() else {
            return Ok(());
        };
        let said = mounted.said();
        mounted.unmount()?;
        match said
            .lines()
            .find(|l| l.contains("ERROR") || l.contains("panicked"))
        {
            Some(line) => Err(format!("the daemon says: {line}")),
            None => Ok(()),
        }
    }

    /// The root of the view.
    pub fn root(&self) -> &OwnedFd {
        self.root.as_ref().expect("mounted")
    }

    /// A path for calls that know no directory descriptor.
    pub fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.layers.merged.display())
    }

    /// The number of an inode in order of appearance.
    pub fn ino(&mut self, ino: u64) -> usize {
        if !self.numbered {
            return 0;
        }
        let next = self.inos.len();
        *self.inos.entry(ino).or_insert(next)
    }

    /// lstat(2) or stat(2).
    pub fn stat(&self, path: &str, follow: bool) -> Result<Stat, Errno> {
        let flags = if follow {
            AtFlags::empty()
        } else {
            AtFlags::SYMLINK_NOFOLLOW
        };
        rustix::fs::statat(self.root(), path, flags)
    }

    /// Is there an object in the upper layer at this path, with its data?
    pub fn in_upper(&self, path: &str) -> bool {
        let at = self.layers.upper.join(path);
        let mut no_value: [u8; 0] = [];
        let metacopy = rustix::fs::getxattr(&at, "trusted.overlay.metacopy", &mut no_value);
        rustix::fs::statat(CWD, at, AtFlags::empty()).is_ok() && metacopy.is_err()
    }

    /// The redirect of an upper object; `None` for one without and for what is not in the upper.
    pub fn redirect(&self, path: &str) -> Option<Vec<u8>> {
        let all = snapshot::xattrs(&self.layers.upper.join(path)).ok()?;
        all.get("trusted.overlay.redirect").cloned()
    }

    /// All that both sides must agree on.
    pub fn describe(&mut self, s: &Stat) -> String {
        let kind = FileType::from_raw_mode(s.st_mode);
        let mut text = format!(
            "{} {:04o} {}:{} #{} mtime={}",
            snapshot::kind_name(kind),
            s.st_mode & 0o7777,
            s.st_uid,
            s.st_gid,
            self.ino(s.st_ino),
            stamp(s.st_mtime, s.st_mtime_nsec),
        );
        if kind != FileType::Directory {
            text += &format!(" size={}", s.st_size);
        }
        if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            text += &format!(" dev={:x}", s.st_rdev);
        }
        text + &format!(" links={}", s.st_nlink)
    }

    /// A close look at a name: metadata, target, content, xattrs.
    pub fn look(&mut self, path: &str) -> Outcome {
        let stat = self.stat(path, false)?;
        let mut text = self.describe(&stat);
        let at = self.at(path);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let to = rustix::fs::readlinkat(self.root(), path, Vec::new())?;
                text += &format!(" -> {to:?}");
            }
            FileType::RegularFile => text += &format!(" {}", self.content(path)?),
            _ => {}
        }
        let xattrs = snapshot::xattrs(at.trim_end_matches('/').as_ref()).map_err(errno)?;
        for (name, value) in xattrs {
            text += &format!(" {name}={}", value.escape_ascii());
        }
        Ok(text)
    }

    /// What a regular file holds.
    pub fn content(&self, path: &str) -> Outcome {
        use std::io::Read;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.root(), path, flags, Mode::empty())?;
        let mut data = Vec::new();
        File::from(fd).read_to_end(&mut data).map_err(errno)?;
        Ok(super::support::words::brief(data))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // After a failure, which is reported already.
        let _gone = self.unmount();
    }
}

/// A fixed time of a layer or test as it is, any other as "now".
pub fn stamp(seconds: i64, nanos: u64) -> String {
    if seconds < RECENT {
        format!("{seconds}.{nanos:09}")
    } else {
        "now".into()
    }
}

/// The code of an error of std.
pub fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
