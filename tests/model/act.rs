//! One trace on both: each step is done by the overlay and by the model, and what they say must be the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;

use plyfs::layer::idmap::ShownId;
use plyfs::overlay::change::setattr::SetAttr;
use plyfs::overlay::node::NodeId;
use plyfs::overlay::node::handle::HandleId;
use plyfs::overlay::view::attr::Attr;
use plyfs::sys::at::SetTime;
use plyfs::sys::errno::{Errno, Result as Answer};
use plyfs::sys::stat::{FileType, Time};

use crate::draw::{Change, How, Op, SLOTS, Slot, Spot};
use crate::inprocess::client::{Client, KEEP, flags, me};
use crate::inprocess::rig::View;
use crate::model::{Id, Kind, Model, Outcome};
use crate::support::layers::RECENT;

/// What is wrong, in words.
pub type Wrong = String;

/// A file that the trace holds open.
pub struct Open {
    pub handle: HandleId,
    pub node: NodeId,
    pub id: Id,
    pub write: bool,
}

/// A directory that the trace holds open, and what was read since the last rewind.
pub struct OpenDir {
    pub node: NodeId,
    pub id: Id,
    pub offset: u64,
    /// The entries at the rewind.
    pub before: BTreeMap<String, Id>,
    /// All names since the rewind.
    pub ever: BTreeSet<String>,
    pub got: Vec<String>,
}

/// The overlay and the model side by side.
pub struct Pair<'a> {
    pub view: &'a mut View,
    pub model: Model,
    /// Directories count their subdirectories as links on this filesystem.
    pub counts_dirs: bool,
    pub files: [Option<Open>; SLOTS],
    pub dirs: [Option<OpenDir>; SLOTS],
    /// Under which node an object is known: always the same one until it is forgotten (22.1).
    pub known: HashMap<Id, NodeId>,
}

/// Both succeed, or the overlay fails for one of the reasons that the model has.
fn agree<T, U: std::fmt::Debug>(
    expected: Outcome<T>,
    got: Answer<U>,
) -> Result<Option<(T, U)>, Wrong> {
    match (expected, got) {
        (Ok(expected), Ok(got)) => Ok(Some((expected, got))),
        (Err(reasons), Err(errno)) if reasons.contains(&errno) => Ok(None),
        (Ok(_), Err(errno)) => Err(format!("fails with {errno:?} and should not")),
        (Err(reasons), Ok(got)) => Err(format!(
            "should fail with one of {reasons:?}, and gives {got:?}"
        )),
        (Err(reasons), Err(errno)) => {
            Err(format!("fails with {errno:?}, expected one of {reasons:?}"))
        }
    }
}

impl Pair<'_> {
    pub fn client(&self) -> &Client {
        self.view
    }

    /// Where a spot is now.
    pub fn path(&self, spot: &Spot) -> String {
        let paths = self.model.paths();
        let nth = |n: u8, wanted: &dyn Fn(Id) -> bool| {
            let found: Vec<_> = paths.iter().filter(|(_, id)| wanted(*id)).collect();
            let at = usize::from(n).checked_rem(found.len());
            at.map_or("a".into(), |at| found[at].0.clone())
        };
        let is_dir = |id: Id| self.model.get(id).is_dir();
        match spot {
            Spot::Root => String::new(),
            Spot::There(n) => nth(*n, &|_| true),
            Spot::File(n) => nth(*n, &|id| !is_dir(id)),
            Spot::Dir(n) => nth(*n, &is_dir),
            Spot::In(n, name) if n % 3 == 0 => (*name).into(),
            Spot::In(n, name) => format!("{}/{name}", nth(n / 3, &is_dir)),
            Spot::Literal(path) => path.clone(),
        }
    }

    /// Does one step on both.
    pub fn step(&mut self, op: &Op) -> Result<(), Wrong> {
        match op {
            Op::Look(path) => self.look(path),
            Op::Create { path, perm, slot } => self.create(path, *perm, *slot),
            Op::Mkdir { path, perm } => {
                let expected = self.model.make(path, Kind::Dir(Default::default()), *perm);
                let got = self.client().mkdir_as(path, *perm, me());
                self.made(expected, got.map(|entry| (entry.id, entry.attr)))
            }
            Op::Symlink { path, target } => {
                let expected = self.model.make(path, Kind::Symlink((*target).into()), 0);
                let got = self.client().symlink(path, target);
                self.made(expected, got.map(|entry| (entry.id, entry.attr)))
            }
            Op::Mkfifo(path) => {
                let expected = self.model.make(path, Kind::Fifo, 0o666);
                let got = self.client().mknod(path, libc::S_IFIFO | 0o666, 0);
                self.made(expected, got.map(|entry| (entry.id, entry.attr)))
            }
            Op::Link { existing, path } => {
                let expected = self.model.link(existing, path);
                let got = self.client().link(existing, path);
                self.made(expected, got.map(|entry| (entry.id, entry.attr)))
            }
            Op::Unlink(path) => {
                let got = self.client().unlink(path);
                agree(self.model.unlink(path), got).map(drop)
            }
            Op::Rmdir(path) => {
                let got = self.client().rmdir(path);
                agree(self.model.rmdir(path), got).map(drop)
            }
            Op::Rename { from, to, how } => {
                let got = self.client().rename(from, to, *how);
                agree(self.model.rename(from, to, *how), got)?;
                self.lose_unknown_numbers();
                Ok(())
            }
            Op::Change { path, what } => self.change_at(path, what),
            Op::ChangeOpen { slot, what } => self.change_open(*slot, what),
            Op::Open { path, slot, how } => self.open(path, *slot, *how),
            Op::Read { slot, offset, len } => self.read(*slot, *offset, *len),
            Op::Write { slot, offset, len } => self.write(*slot, *offset, *len),
            Op::Close(slot) => {
                self.close(*slot);
                Ok(())
            }
            Op::OpenDir { path, slot } => self.open_dir(path, *slot),
            Op::ReadDir { slot, count, plus } => self.read_dir(*slot, *count, *plus),
            Op::Rewind(slot) => {
                if let Some(dir) = &mut self.dirs[*slot] {
                    dir.offset = 0;
                }
                Ok(())
            }
            Op::CloseDir(slot) => {
                self.dirs[*slot] = None;
                Ok(())
            }
            Op::Forget(path) => {
                if let Ok(id) = self.model.find(path) {
                    self.forget(id);
                }
                Ok(())
            }
            Op::ForgetAll => {
                for id in self.known.keys().copied().collect::<Vec<_>>() {
                    self.forget(id);
                }
                Ok(())
            }
            Op::Remount => self.remount(),
            Op::Compare => self.compare(),
        }
    }

    fn look(&mut self, path: &str) -> Result<(), Wrong> {
        let got = self.client().id(path);
        let got = got.and_then(|node| Ok((node, self.client().overlay.getattr(node, None)?)));
        self.made(self.model.find(path), got)
    }

    /// Compares an object that an answer tells of.
    fn made(&mut self, expected: Outcome<Id>, got: Answer<(NodeId, Attr)>) -> Result<(), Wrong> {
        match agree(expected, got)? {
            Some((id, (node, attr))) => self.met(id, node, &attr),
            None => Ok(()),
        }
    }

    /// An object is the node it was, with the attributes that it has.
    pub fn met(&mut self, id: Id, node: NodeId, attr: &Attr) -> Result<(), Wrong> {
        let known = *self.known.entry(id).or_insert(node);
        if known != node {
            return Err(format!("known as {known:?}, now met as {node:?} (22.1)"));
        }
        self.same(id, attr)
    }

    /// The attributes of an object are those of the model.
    pub fn same(&mut self, id: Id, attr: &Attr) -> Result<(), Wrong> {
        let (object, s) = (self.model.get(id), attr.stat);
        let mtime = Some(s.mtime.sec).filter(|sec| *sec < RECENT);
        let is_dir = object.is_dir();
        let size = match &object.kind {
            Kind::File(data) => data.len() as u64,
            _ => s.size,
        };
        let nlink = match is_dir && !self.counts_dirs {
            true => attr.nlink,
            false => self.model.nlink(id),
        };
        let ino = object.ino.unwrap_or(attr.ino);
        let expected = (
            object.file_type(),
            object.perm,
            object.uid,
            object.gid,
            size,
            nlink,
            object.mtime,
            ino,
        );
        let got = (
            s.kind, s.perm, s.uid, s.gid, s.size, attr.nlink, mtime, attr.ino,
        );
        if expected != got {
            let words = "(kind, mode, uid, gid, size, nlink, mtime, ino)";
            return Err(format!(
                "{words}:\n    expected {expected:?}\n    got      {got:?}"
            ));
        }
        self.model.get_mut(id).ino = Some(ino);
        Ok(())
    }

    fn create(&mut self, path: &str, perm: u32, slot: Slot) -> Result<(), Wrong> {
        let expected = self.model.make(path, Kind::File(Vec::new()), perm);
        let client = self.client();
        let got = client.slot(path).and_then(|(parent, name)| {
            let (entry, opened) = client
                .overlay
                .create(parent, name, perm, flags::BOTH, me())?;
            Ok((client.met(entry), opened))
        });
        let Some((id, (entry, opened))) = agree(expected, got)? else {
            return Ok(());
        };
        self.close(slot);
        self.files[slot] = Some(Open {
            handle: opened.handle,
            node: entry.id,
            id,
            write: true,
        });
        self.met(id, entry.id, &entry.attr)
    }

    fn open(&mut self, path: &str, slot: Slot, how: How) -> Result<(), Wrong> {
        let expected = self.model.find(path);
        let kind = expected.as_ref().map(|id| self.model.get(*id).file_type());
        // The kernel above opens devices and fifos itself, and follows symlinks.
        if matches!(kind, Ok(FileType::Symlink | FileType::Fifo)) {
            return Ok(());
        }
        let expected = expected.and_then(|id| match self.model.get(id).is_dir() {
            true => Err(vec![Errno::EISDIR]),
            false => Ok(id),
        });
        let access = if how.write { flags::BOTH } else { flags::READ };
        let trunc = if how.trunc { flags::TRUNC } else { 0 };
        let got = self.client().open(path, access | trunc);
        let Some((id, opened)) = agree(expected, got)? else {
            return Ok(());
        };
        if how.write {
            self.model.open_to_write(id);
        }
        if how.trunc {
            self.model.truncate(id, 0).map_err(|e| format!("{e:?}"))?;
        }
        self.close(slot);
        let node = self.client().id(path).map_err(|e| format!("{e:?}"))?;
        self.files[slot] = Some(Open {
            handle: opened.handle,
            node,
            id,
            write: how.write,
        });
        self.look_at_open(slot)
    }

    /// fstat(2).
    fn look_at_open(&mut self, slot: Slot) -> Result<(), Wrong> {
        let Some(open) = &self.files[slot] else {
            return Ok(());
        };
        let (id, node) = (open.id, open.node);
        for handle in [Some(open.handle), None] {
            let attr = self.client().overlay.getattr(node, handle.map(Into::into));
            self.met(id, node, &attr.map_err(|e| format!("fstat: {e:?}"))?)?;
        }
        Ok(())
    }

    fn read(&mut self, slot: Slot, offset: usize, len: usize) -> Result<(), Wrong> {
        let Some(open) = &self.files[slot] else {
            return Ok(());
        };
        let mut data = vec![0; len];
        let got = self
            .client()
            .overlay
            .read(open.handle, &mut data, offset as u64);
        data.truncate(got.map_err(|e| format!("{e:?}"))?);
        same_data(self.model.read(open.id, offset, len), &data)
    }

    fn write(&mut self, slot: Slot, offset: usize, len: usize) -> Result<(), Wrong> {
        let Some(open) = self.files[slot].as_ref().filter(|open| open.write) else {
            return Ok(());
        };
        let (id, data) = (open.id, vec![b'w'; len]);
        let got = self
            .client()
            .overlay
            .write(open.handle, &data, offset as u64, false);
        self.model.write(id, offset, &data);
        match got {
            Ok(written) if written == len => self.look_at_open(slot),
            got => Err(format!("{len} bytes written: {got:?}")),
        }
    }

    fn change_at(&mut self, path: &str, what: &Change) -> Result<(), Wrong> {
        match agree(self.model.find(path), self.client().id(path))? {
            Some((id, node)) => self.change(id, node, None, what),
            None => Ok(()),
        }
    }

    fn change_open(&mut self, slot: Slot, what: &Change) -> Result<(), Wrong> {
        match &self.files[slot] {
            // ftruncate(2) wants a descriptor for writing.
            Some(open) if open.write || !matches!(what, Change::Truncate(_)) => {
                self.change(open.id, open.node, Some(open.handle), what)
            }
            _ => Ok(()),
        }
    }

    fn change(
        &mut self,
        id: Id,
        node: NodeId,
        handle: Option<HandleId>,
        what: &Change,
    ) -> Result<(), Wrong> {
        let kind = self.model.get(id).file_type();
        let set = match what {
            // The kernel above refuses these by itself.
            Change::Chmod(_) if kind == FileType::Symlink => return Ok(()),
            Change::Truncate(_) if !matches!(kind, FileType::File | FileType::Dir) => return Ok(()),
            Change::SetXattr(..) | Change::RemoveXattr(_) => {
                return self.change_xattr(id, node, what);
            }
            Change::Chown(..) if self.model.uid != 0 => return Ok(()),
            Change::Chmod(perm) => SetAttr {
                perm: Some(*perm),
                ..KEEP
            },
            Change::Chown(uid, gid) => SetAttr {
                uid: Some(ShownId(*uid)),
                gid: Some(ShownId(*gid)),
                ..KEEP
            },
            Change::Touch(sec) => SetAttr {
                mtime: SetTime::At(Time { sec: *sec, nsec: 0 }),
                ..KEEP
            },
            Change::Truncate(size) => SetAttr {
                size: Some(*size as u64),
                ..KEEP
            },
        };
        let got = self
            .client()
            .overlay
            .setattr(node, set, handle.map(Into::into));
        let expected = match what {
            Change::Chmod(perm) => self.model.chmod(id, *perm),
            Change::Chown(uid, gid) => self.model.chown(id, *uid, *gid),
            Change::Touch(sec) => self.model.touch(id, *sec),
            Change::Truncate(size) => self.model.truncate(id, *size),
            Change::SetXattr(..) | Change::RemoveXattr(_) => Ok(()),
        };
        match agree(expected, got)? {
            Some(((), attr)) => self.met(id, node, &attr),
            None => Ok(()),
        }
    }

    fn change_xattr(&mut self, id: Id, node: NodeId, what: &Change) -> Result<(), Wrong> {
        // Nothing else has attributes of users, and the kernel above says so (9).
        if !matches!(self.model.get(id).kind, Kind::File(_) | Kind::Dir(_)) {
            return Ok(());
        }
        let overlay = &self.client().overlay;
        let (expected, got) = match what {
            Change::SetXattr(name, value, mode) => {
                let got = overlay.setxattr(node, OsStr::new(name), value.as_bytes(), *mode);
                (self.model.set_xattr(id, name, value.as_bytes(), *mode), got)
            }
            Change::RemoveXattr(name) => {
                let got = overlay.removexattr(node, OsStr::new(name));
                (self.model.remove_xattr(id, name), got)
            }
            _ => return Ok(()),
        };
        agree(expected, got)?;
        self.same_xattrs(id, node)
    }

    pub fn close(&mut self, slot: Slot) {
        if let Some(open) = self.files[slot].take() {
            self.client().overlay.release(open.handle);
        }
    }
}

/// Data as short words when it differs.
pub fn same_data(expected: &[u8], got: &[u8]) -> Result<(), Wrong> {
    if expected == got {
        return Ok(());
    }
    let words = |data: &[u8]| {
        format!(
            "{} bytes \"{}\"",
            data.len(),
            data[..data.len().min(60)].escape_ascii()
        )
    };
    Err(format!(
        "data: expected {}, got {}",
        words(expected),
        words(got)
    ))
}
