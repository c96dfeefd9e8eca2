//! [`Client`]: what the FUSE kernel is to the library. It resolves paths by lookups, remembers what it was told of,
//! and gives all of it back in the end.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::sync::{Arc, Mutex};

use plyfs::layer::idmap::ShownId;
use plyfs::overlay::Overlay;
use plyfs::overlay::change::create::Caller;
use plyfs::overlay::change::rename::Rename;
use plyfs::overlay::change::setattr::SetAttr;
use plyfs::overlay::node::handle::{HandleId, Opened};
use plyfs::overlay::node::{NodeId, ROOT};
use plyfs::overlay::view::attr::Attr;
use plyfs::overlay::view::lookup::Entry;
use plyfs::sys::at::SetTime;
use plyfs::sys::errno::{Errno, Result};
use plyfs::sys::stat::FileType;
use plyfs::sys::xattr::XattrMode;

/// The flags of open(2), as they travel in FUSE messages.
pub mod flags {
    pub const READ: i32 = libc::O_RDONLY;
    pub const WRITE: i32 = libc::O_WRONLY;
    pub const BOTH: i32 = libc::O_RDWR;
    pub const TRUNC: i32 = libc::O_TRUNC;
}

/// Changes nothing; to be filled in with `..KEEP`.
pub const KEEP: SetAttr = SetAttr {
    perm: None,
    uid: None,
    gid: None,
    size: None,
    atime: SetTime::Omit,
    mtime: SetTime::Omit,
    kill_set_id: false,
    caller: 0,
};

/// This process, with the umask that most have.
pub fn me() -> Caller {
    Caller {
        uid: ShownId(rustix::process::geteuid().as_raw()),
        gid: ShownId(rustix::process::getegid().as_raw()),
        umask: 0o022,
    }
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub ino: u64,
    pub kind: FileType,
}

/// The library as programs see it: verbs on paths relative to the root, `""` being the root itself.
pub struct Client {
    pub overlay: Arc<Overlay>,
    /// Marks can be put on files and directories alone (`user.` attributes, 22.14): the number of anything else that
    /// was copied up is its lower one as long as the node is known, and then its own.
    pub marks_are_few: bool,
    /// What the kernel would have counted.
    known: Mutex<HashMap<NodeId, u64>>,
}

impl Client {
    pub fn new(overlay: Overlay, marks_are_few: bool) -> Client {
        Client {
            overlay: Arc::new(overlay),
            marks_are_few,
            known: Mutex::default(),
        }
    }

    /// Does the number of such an object survive that its node is forgotten?
    pub fn has_lasting_number(&self, kind: FileType) -> bool {
        !self.marks_are_few || matches!(kind, FileType::File | FileType::Dir)
    }

    /// Counts what an answer told of.
    pub fn met(&self, entry: Entry) -> Entry {
        if entry.id != ROOT {
            *self.known.lock().unwrap().entry(entry.id).or_default() += 1;
        }
        entry
    }

    /// One lookup.
    pub fn lookup(&self, parent: NodeId, name: &str) -> Result<Entry> {
        Ok(self.met(self.overlay.lookup(parent, OsStr::new(name))?))
    }

    /// The node of a path.
    pub fn id(&self, path: &str) -> Result<NodeId> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = self.lookup(at, name)?.id;
        }
        Ok(at)
    }

    /// The node of the parent directory, and the last name.
    pub fn slot<'a>(&self, path: &'a str) -> Result<(NodeId, &'a OsStr)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.id(parent)?, OsStr::new(name)))
    }

    pub fn stat(&self, path: &str) -> Result<Attr> {
        self.overlay.getattr(self.id(path)?, None)
    }

    pub fn exists(&self, path: &str) -> bool {
        self.stat(path).is_ok()
    }

    /// The kind of an object, or why there is none.
    pub fn kind(&self, path: &str) -> Result<FileType> {
        Ok(self.stat(path)?.stat.kind)
    }

    pub fn open(&self, path: &str, flags: i32) -> Result<Opened> {
        self.overlay.open(self.id(path)?, flags, false)
    }

    pub fn close(&self, opened: Opened) {
        self.overlay.release(opened.handle);
    }

    /// All data behind a handle.
    pub fn read_handle(&self, handle: HandleId) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut buf = vec![0; 64 << 10];
        loop {
            match self.overlay.read(handle, &mut buf, all.len() as u64)? {
                0 => return Ok(all),
                n => all.extend_from_slice(&buf[..n]),
            }
        }
    }

    /// The content of a file.
    pub fn read(&self, path: &str) -> Result<String> {
        self.read_node(self.id(path)?)
    }

    pub fn read_node(&self, id: NodeId) -> Result<String> {
        let opened = self.overlay.open(id, flags::READ, false)?;
        let data = self.read_handle(opened.handle);
        self.close(opened);
        Ok(String::from_utf8_lossy(&data?).into_owned())
    }

    /// Replaces the content of a file, or makes it (0644).
    pub fn write(&self, path: &str, data: &str) -> Result<()> {
        let opened = match self.id(path) {
            Ok(id) => self.overlay.open(id, flags::WRITE | flags::TRUNC, false)?,
            Err(Errno::ENOENT) => self.create(path, 0o644)?,
            Err(errno) => return Err(errno),
        };
        let done = self.overlay.write(opened.handle, data.as_bytes(), 0, false);
        self.close(opened);
        assert_eq!(done?, data.len(), "a short write");
        Ok(())
    }

    /// Writes into an existing file.
    pub fn patch(&self, path: &str, offset: u64, data: &str) -> Result<()> {
        let opened = self.open(path, flags::WRITE)?;
        let done = self
            .overlay
            .write(opened.handle, data.as_bytes(), offset, false);
        self.close(opened);
        done.map(drop)
    }

    /// A new file, open for reading and writing.
    pub fn create(&self, path: &str, perm: u32) -> Result<Opened> {
        self.create_as(path, perm, me())
    }

    pub fn create_as(&self, path: &str, perm: u32, caller: Caller) -> Result<Opened> {
        let (parent, name) = self.slot(path)?;
        let (entry, opened) = self
            .overlay
            .create(parent, name, perm, flags::BOTH, caller)?;
        self.met(entry);
        Ok(opened)
    }

    pub fn mkdir(&self, path: &str) -> Result<Entry> {
        self.mkdir_as(path, 0o755, me())
    }

    pub fn mkdir_as(&self, path: &str, perm: u32, caller: Caller) -> Result<Entry> {
        let (parent, name) = self.slot(path)?;
        Ok(self.met(self.overlay.mkdir(parent, name, perm, caller)?))
    }

    pub fn symlink(&self, path: &str, target: &str) -> Result<Entry> {
        let (parent, name) = self.slot(path)?;
        let made = self
            .overlay
            .symlink(parent, name, target.as_bytes(), me())?;
        Ok(self.met(made))
    }

    pub fn mknod(&self, path: &str, mode: u32, rdev: u32) -> Result<Entry> {
        let (parent, name) = self.slot(path)?;
        Ok(self.met(self.overlay.mknod(parent, name, mode, rdev, me())?))
    }

    pub fn link(&self, existing: &str, path: &str) -> Result<Entry> {
        let id = self.id(existing)?;
        let (parent, name) = self.slot(path)?;
        Ok(self.met(self.overlay.link(id, parent, name)?))
    }

    pub fn unlink(&self, path: &str) -> Result<()> {
        let (parent, name) = self.slot(path)?;
        self.overlay.unlink(parent, name)
    }

    pub fn rmdir(&self, path: &str) -> Result<()> {
        let (parent, name) = self.slot(path)?;
        self.overlay.rmdir(parent, name)
    }

    pub fn rename(&self, from: &str, to: &str, how: Rename) -> Result<()> {
        let (from, from_name) = self.slot(from)?;
        let (to, to_name) = self.slot(to)?;
        self.overlay.rename(from, from_name, to, to_name, how)
    }

    /// rename(2).
    pub fn mv(&self, from: &str, to: &str) -> Result<()> {
        self.rename(from, to, Rename::Replace)
    }

    pub fn setattr(&self, path: &str, set: SetAttr) -> Result<Attr> {
        self.overlay.setattr(self.id(path)?, set, None)
    }

    pub fn chmod(&self, path: &str, perm: u32) -> Result<()> {
        let perm = Some(perm);
        self.setattr(path, SetAttr { perm, ..KEEP }).map(drop)
    }

    pub fn truncate(&self, path: &str, size: u64) -> Result<()> {
        let size = Some(size);
        self.setattr(path, SetAttr { size, ..KEEP }).map(drop)
    }

    pub fn readlink(&self, path: &str) -> Result<String> {
        let target = self.overlay.readlink(self.id(path)?)?;
        Ok(String::from_utf8_lossy(&target).into_owned())
    }

    pub fn set_xattr(&self, path: &str, name: &str, value: &str) -> Result<()> {
        let id = self.id(path)?;
        self.overlay
            .setxattr(id, OsStr::new(name), value.as_bytes(), XattrMode::Any)
    }

    pub fn xattr(&self, path: &str, name: &str) -> Result<String> {
        let value = self.xattr_of(self.id(path)?, name)?;
        Ok(String::from_utf8_lossy(&value).into_owned())
    }

    pub fn xattr_of(&self, id: NodeId, name: &str) -> Result<Vec<u8>> {
        let mut value = vec![0; 4096];
        let size = self.overlay.getxattr(id, OsStr::new(name), &mut value)?;
        value.truncate(size);
        Ok(value)
    }

    pub fn remove_xattr(&self, path: &str, name: &str) -> Result<()> {
        let id = self.id(path)?;
        self.overlay.removexattr(id, OsStr::new(name))
    }

    /// Names of the attributes, sorted.
    pub fn xattrs_of(&self, id: NodeId) -> Result<Vec<String>> {
        let is_admin = rustix::process::geteuid().is_root();
        let list = match self.overlay.listxattr(id, is_admin) {
            Err(Errno::EOPNOTSUPP) => Vec::new(),
            result => result?,
        };
        let mut names: Vec<_> = list
            .split(|b| *b == 0)
            .filter(|name| !name.is_empty())
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        names.sort();
        Ok(names)
    }

    /// The names in a directory, sorted, without `.` and `..`.
    pub fn ls(&self, path: &str) -> Result<Vec<String>> {
        Ok(self.list(self.id(path)?)?.into_keys().collect())
    }

    /// The entries of a directory without `.` and `..`; no name comes twice.
    pub fn list(&self, id: NodeId) -> Result<BTreeMap<String, Listed>> {
        let mut found = BTreeMap::new();
        let mut twice = None;
        let result = self.overlay.readdir(id, 0, |entry| {
            if !entry.is_dot() {
                let name = String::from_utf8_lossy(entry.name).into_owned();
                let (ino, kind) = (entry.ino, entry.kind);
                if found.insert(name.clone(), Listed { ino, kind }).is_some() {
                    twice = Some(name);
                }
            }
            true
        });
        assert_eq!(twice, None, "listed twice");
        result.map(|()| found)
    }

    /// Gives a node back as often as it was met.
    pub fn forget(&self, id: NodeId) {
        let lookups = self.known.lock().unwrap().remove(&id);
        if let Some(lookups) = lookups {
            assert!(self.overlay.forget(id, lookups), "{id:?} is still counted");
        }
    }

    /// Gives everything back, in halves, as a kernel under memory pressure may.
    pub fn forget_all(&self) {
        let known = std::mem::take(&mut *self.known.lock().unwrap());
        for (id, lookups) in known {
            if lookups > 1 {
                assert!(!self.overlay.forget(id, lookups / 2));
            }
            let rest = lookups - lookups / 2;
            assert!(self.overlay.forget(id, rest), "{id:?} is still counted");
        }
        assert_eq!(self.overlay.known_nodes(), 0, "known after forgetting all");
    }
}
