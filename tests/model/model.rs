//! The reference: a merged tree as a program sees it, in memory, with the verbs of a filesystem.
//!
//! It knows no layers, whiteouts or marks beyond three facts of an object: whether it has an upper part yet, what it
//! has below, and whether its data is still there. Each verb is written from the specification (6, 9, 11 to 13, 15) and
//! POSIX, not from the code under test. A verb that may fail for several reasons at once names all of them; which one
//! comes first is the business of the kernel above, which checks most of them before it asks.

use std::collections::BTreeMap;

use plyfs::overlay::change::rename::Rename;
use plyfs::sys::errno::Errno;
use plyfs::sys::stat::FileType;
use plyfs::sys::xattr::XattrMode;

/// Position of an object; it stays when the object loses its names.
pub type Id = usize;

/// What a verb gives, or every reason why it must fail.
pub type Outcome<T> = Result<T, Vec<Errno>>;

/// The root directory.
pub const ROOT: Id = 0;

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const GROUP_EXEC: u32 = 0o0010;
const UMASK: u32 = 0o022;

/// What an object is, with what it holds.
#[derive(Clone, Debug)]
pub enum Kind {
    File(Vec<u8>),
    Dir(BTreeMap<String, Id>),
    Symlink(String),
    Fifo,
}

/// A file, directory, symlink or fifo of the merged view.
#[derive(Clone, Debug)]
pub struct Object {
    pub kind: Kind,
    pub perm: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds, `None`: set by a change, so now.
    pub mtime: Option<i64>,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The number it has shown or must show; `None` until it is seen.
    pub ino: Option<u64>,
    /// It was made in, or copied up to, the upper layer.
    pub upper: bool,
    /// How many lower directories contribute, or the link count of a lower file; 0: nothing is below.
    pub lower: u32,
    /// Its data is in a lower layer; with an upper part it is a metacopy (6.1).
    pub data_below: bool,
}

impl Object {
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir(_))
    }

    pub fn file_type(&self) -> FileType {
        match self.kind {
            Kind::File(_) => FileType::File,
            Kind::Dir(_) => FileType::Dir,
            Kind::Symlink(_) => FileType::Symlink,
            Kind::Fifo => FileType::Fifo,
        }
    }

    /// A name of a lower hard link that has not parted from the others (7.1).
    pub fn is_shared(&self) -> bool {
        !self.upper && !self.is_dir() && self.lower > 1
    }

    fn drop_set_id(&mut self) {
        self.perm &= !SET_UID;
        if self.perm & GROUP_EXEC != 0 {
            self.perm &= !SET_GID;
        }
    }
}

/// What happens when a directory with a lower part is renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirRename {
    /// EXDEV (13.2).
    Refused,
    /// It keeps its lower part (5.4).
    Redirected,
    /// All of it is copied up, and it has no lower part any more (24.1).
    Copied,
}

/// The merged tree.
#[derive(Debug)]
pub struct Model {
    objects: Vec<Object>,
    pub dir_rename: DirRename,
    /// Copy-up leaves the data of a file below until somebody wants to write (6.1).
    pub metacopy: bool,
    /// May a write keep set-id bits, and whose are new objects?
    pub uid: u32,
    pub gid: u32,
}

fn refuse<T>(errno: Errno) -> Outcome<T> {
    Err(vec![errno])
}

/// Two that must both succeed, with the reasons of both.
fn both<T, U>(one: Outcome<T>, other: Outcome<U>) -> Outcome<(T, U)> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (one, other) => Err([one.err(), other.err()]
            .into_iter()
            .flatten()
            .flatten()
            .collect()),
    }
}

impl Model {
    pub fn new(root: Object, dir_rename: DirRename, (uid, gid): (u32, u32)) -> Model {
        Model {
            objects: vec![root],
            dir_rename,
            metacopy: false,
            uid,
            gid,
        }
    }

    pub fn get(&self, id: Id) -> &Object {
        &self.objects[id]
    }

    pub fn get_mut(&mut self, id: Id) -> &mut Object {
        &mut self.objects[id]
    }

    /// Every object that there ever was.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Object> {
        self.objects.iter_mut()
    }

    /// A new object without a name.
    pub fn put(&mut self, object: Object) -> Id {
        self.objects.push(object);
        self.objects.len() - 1
    }

    /// The entries of a directory; of anything else there are none.
    pub fn children(&self, dir: Id) -> BTreeMap<String, Id> {
        match &self.get(dir).kind {
            Kind::Dir(children) => children.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// Gives or takes a name, nothing else.
    pub fn set_entry(&mut self, dir: Id, name: &str, id: Option<Id>) {
        let Kind::Dir(children) = &mut self.objects[dir].kind else {
            panic!("entry {name} of what is no directory");
        };
        match id {
            Some(id) => drop(children.insert(name.into(), id)),
            None => drop(children.remove(name)),
        }
    }

    /// The object of a path; `""` is the root.
    pub fn find(&self, path: &str) -> Outcome<Id> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if !self.get(at).is_dir() {
                return refuse(Errno::ENOTDIR);
            }
            at = self.child(at, name).ok_or(vec![Errno::ENOENT])?;
        }
        Ok(at)
    }

    fn child(&self, dir: Id, name: &str) -> Option<Id> {
        self.children(dir).get(name).copied()
    }

    /// The directory of a path's last name, and that name.
    fn slot<'a>(&self, path: &'a str) -> Outcome<(Id, &'a str)> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.find(dir)?;
        match self.get(dir).is_dir() {
            true => Ok((dir, name)),
            false => refuse(Errno::ENOTDIR),
        }
    }

    /// Every path but the root's, with its object, in order.
    pub fn paths(&self) -> Vec<(String, Id)> {
        let mut paths = Vec::new();
        self.paths_below(ROOT, "", &mut paths);
        paths
    }

    fn paths_below(&self, dir: Id, above: &str, paths: &mut Vec<(String, Id)>) {
        for (name, child) in self.children(dir) {
            let path = format!("{above}{name}");
            paths.push((path.clone(), child));
            self.paths_below(child, &(path + "/"), paths);
        }
    }

    /// The objects on the way from a directory to an object, both included; empty when it is not below.
    fn way(&self, from: Id, to: Id) -> Vec<Id> {
        if from == to {
            return vec![to];
        }
        for child in self.children(from).into_values() {
            let mut way = self.way(child, to);
            if !way.is_empty() {
                way.insert(0, from);
                return way;
            }
        }
        Vec::new()
    }

    /// How many names an object has.
    pub fn names(&self, id: Id) -> u32 {
        let below = |dir: &Object| match &dir.kind {
            Kind::Dir(children) => children.values().filter(|child| **child == id).count(),
            _ => 0,
        };
        self.reachable()
            .iter()
            .map(|dir| below(self.get(*dir)) as u32)
            .sum()
    }

    /// Everything that has a name, each as often as it has one.
    pub fn reachable(&self) -> Vec<Id> {
        let mut found = vec![ROOT];
        let mut at = 0;
        while let Some(id) = found.get(at).copied() {
            at += 1;
            found.extend(self.children(id).into_values());
        }
        // A file with two names is met twice; only directories have entries, and they have one name.
        found
    }

    /// `st_nlink` (7.6, 15.2).
    pub fn nlink(&self, id: Id) -> u32 {
        let object = self.get(id);
        let named = id == ROOT || self.names(id) > 0;
        match &object.kind {
            _ if !named => 0,
            Kind::Dir(_) if object.lower + u32::from(object.upper) > 1 => 1,
            Kind::Dir(children) => {
                let dirs = children.values().filter(|child| self.get(**child).is_dir());
                2 + dirs.count() as u32
            }
            _ if !object.upper => object.lower,
            _ => self.names(id),
        }
    }

    /// Copy-up: the object and all above it are in the upper layer from now on (10.1). A lower hard link parts from its
    /// other names and becomes a file of its own (7.1).
    pub fn copy_up(&mut self, id: Id) {
        let mut way = self.way(ROOT, id);
        if way.is_empty() {
            // It has lost its name and is copied up alone (15.2).
            way.push(id);
        }
        let metacopy = self.metacopy;
        for id in way {
            let object = self.get_mut(id);
            if object.is_shared() {
                object.ino = None;
            }
            object.upper = true;
            object.data_below &= metacopy;
        }
    }

    /// open(2) for writing brings the data of a file up. To a metacopy its arrival is a write, if there is any (6.1).
    pub fn open_to_write(&mut self, id: Id) {
        let object = self.get_mut(id);
        let is_metacopy = object.upper && object.data_below;
        if is_metacopy && matches!(&object.kind, Kind::File(data) if !data.is_empty()) {
            object.mtime = None;
        }
        self.copy_up(id);
        self.get_mut(id).data_below = false;
    }

    fn changed(&mut self, dir: Id) {
        self.get_mut(dir).mtime = None;
    }

    /// create, mkdir, mknod, symlink (11).
    pub fn make(&mut self, path: &str, kind: Kind, perm: u32) -> Outcome<Id> {
        let (dir, name) = self.slot(path)?;
        if self.child(dir, name).is_some() {
            return refuse(Errno::EEXIST);
        }
        self.copy_up(dir);
        self.changed(dir);
        let (parent_perm, parent_gid) = (self.get(dir).perm, self.get(dir).gid);
        let inherits = parent_perm & SET_GID != 0;
        let mut perm = match kind {
            Kind::Symlink(_) => 0o777,
            // mkdir(2) gives no set-id bits.
            Kind::Dir(_) => perm & 0o1777 & !UMASK,
            _ => perm & !UMASK,
        };
        if inherits && matches!(kind, Kind::Dir(_)) {
            perm |= SET_GID;
        }
        let id = self.put(Object {
            kind,
            perm,
            uid: self.uid,
            gid: if inherits { parent_gid } else { self.gid },
            mtime: None,
            xattrs: BTreeMap::new(),
            ino: None,
            upper: true,
            lower: 0,
            data_below: false,
        });
        self.set_entry(dir, name, Some(id));
        Ok(id)
    }

    /// link(2): both names are upper, one object (14.1).
    pub fn link(&mut self, existing: &str, path: &str) -> Outcome<Id> {
        let (id, (dir, name)) = both(self.find(existing), self.slot(path))?;
        let mut wrong = Vec::new();
        if self.get(id).is_dir() {
            wrong.push(Errno::EPERM);
        }
        if self.child(dir, name).is_some() {
            wrong.push(Errno::EEXIST);
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        self.copy_up(id);
        self.copy_up(dir);
        self.changed(dir);
        self.set_entry(dir, name, Some(id));
        Ok(id)
    }

    /// unlink(2) (12).
    pub fn unlink(&mut self, path: &str) -> Outcome<()> {
        let (dir, name) = self.slot(path)?;
        match self.child(dir, name) {
            None => refuse(Errno::ENOENT),
            Some(id) if self.get(id).is_dir() => refuse(Errno::EISDIR),
            Some(_) => self.remove(dir, name),
        }
    }

    /// rmdir(2) (12).
    pub fn rmdir(&mut self, path: &str) -> Outcome<()> {
        let (dir, name) = self.slot(path)?;
        match self.child(dir, name) {
            None => refuse(Errno::ENOENT),
            Some(id) if !self.get(id).is_dir() => refuse(Errno::ENOTDIR),
            Some(id) if !self.children(id).is_empty() => refuse(Errno::ENOTEMPTY),
            Some(_) => self.remove(dir, name),
        }
    }

    fn remove(&mut self, dir: Id, name: &str) -> Outcome<()> {
        self.copy_up(dir);
        self.changed(dir);
        self.set_entry(dir, name, None);
        Ok(())
    }

    /// renameat2(2) (13).
    pub fn rename(&mut self, from: &str, to: &str, how: Rename) -> Outcome<()> {
        let ((from_dir, from_name), (to_dir, to_name)) = both(self.slot(from), self.slot(to))?;
        let Some(source) = self.child(from_dir, from_name) else {
            return refuse(Errno::ENOENT);
        };
        let target = self.child(to_dir, to_name);
        if target == Some(source) && how != Rename::NoReplace {
            return Ok(());
        }
        let wrong = self.wrong_with_rename((source, from_dir), (target, to_dir), how);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let swapped = target.filter(|_| how == Rename::Exchange);
        for id in [Some(source), swapped].into_iter().flatten() {
            if self.dir_rename == DirRename::Copied
                && self.get(id).is_dir()
                && self.get(id).lower > 0
            {
                self.copy_all(id);
            }
            self.copy_up(id);
        }
        self.copy_up(from_dir);
        self.copy_up(to_dir);
        self.set_entry(from_dir, from_name, swapped);
        self.set_entry(to_dir, to_name, Some(source));
        self.changed(from_dir);
        self.changed(to_dir);
        Ok(())
    }

    fn wrong_with_rename(
        &self,
        (source, from_dir): (Id, Id),
        (target, to_dir): (Option<Id>, Id),
        how: Rename,
    ) -> Vec<Errno> {
        let mut wrong = Vec::new();
        let mut when = |condition: bool, errno| {
            if condition {
                wrong.push(errno);
            }
        };
        let above = |dir: Id, below: Id| self.get(dir).is_dir() && !self.way(dir, below).is_empty();
        let stays = |id: Id| {
            let object = self.get(id);
            self.dir_rename == DirRename::Refused && object.is_dir() && object.lower > 0
        };
        when(how == Rename::NoReplace && target.is_some(), Errno::EEXIST);
        when(how == Rename::Exchange && target.is_none(), Errno::ENOENT);
        when(above(source, to_dir), Errno::EINVAL);
        when(stays(source), Errno::EXDEV);
        if let Some(target) = target {
            let (from_is_dir, to_is_dir) = (self.get(source).is_dir(), self.get(target).is_dir());
            if how == Rename::Exchange {
                when(above(target, from_dir), Errno::EINVAL);
                when(stays(target), Errno::EXDEV);
            } else {
                when(to_is_dir && !from_is_dir, Errno::EISDIR);
                when(from_is_dir && !to_is_dir, Errno::ENOTDIR);
                when(!self.children(target).is_empty(), Errno::ENOTEMPTY);
            }
        }
        wrong
    }

    fn copy_all(&mut self, top: Id) {
        for child in self.children(top).into_values() {
            self.copy_all(child);
        }
        self.copy_up(top);
        if self.get(top).is_dir() {
            self.get_mut(top).lower = 0;
        }
    }

    /// chmod(2).
    pub fn chmod(&mut self, id: Id, perm: u32) -> Outcome<()> {
        self.copy_up(id);
        self.get_mut(id).perm = perm;
        Ok(())
    }

    /// chown(2): set-id bits go (16.2).
    pub fn chown(&mut self, id: Id, uid: u32, gid: u32) -> Outcome<()> {
        self.copy_up(id);
        let object = self.get_mut(id);
        (object.uid, object.gid) = (uid, gid);
        if matches!(object.kind, Kind::File(_) | Kind::Fifo) {
            object.drop_set_id();
        }
        Ok(())
    }

    /// utimensat(2).
    pub fn touch(&mut self, id: Id, mtime: i64) -> Outcome<()> {
        self.copy_up(id);
        self.get_mut(id).mtime = Some(mtime);
        Ok(())
    }

    /// A cut or a growth, by truncate(2) or by opening with O_TRUNC.
    pub fn truncate(&mut self, id: Id, size: usize) -> Outcome<()> {
        if self.get(id).is_dir() {
            return refuse(Errno::EISDIR);
        }
        self.copy_up(id);
        self.written(id, |data| data.resize(size, 0));
        Ok(())
    }

    /// pwrite(2) through a descriptor.
    pub fn write(&mut self, id: Id, offset: usize, new: &[u8]) {
        if new.is_empty() {
            return;
        }
        self.written(id, |data| {
            data.resize(data.len().max(offset + new.len()), 0);
            data[offset..offset + new.len()].copy_from_slice(new);
        });
    }

    fn written(&mut self, id: Id, change: impl FnOnce(&mut Vec<u8>)) {
        let is_root = self.uid == 0;
        let object = self.get_mut(id);
        let Kind::File(data) = &mut object.kind else {
            panic!("a write to what is no file");
        };
        change(data);
        object.data_below = false;
        object.mtime = None;
        if !is_root {
            object.drop_set_id();
        }
    }

    /// The data of a file from an offset on.
    pub fn read(&self, id: Id, offset: usize, len: usize) -> &[u8] {
        let Kind::File(data) = &self.get(id).kind else {
            panic!("a read of what is no file");
        };
        &data[offset.min(data.len())..(offset + len).min(data.len())]
    }

    /// setxattr(2) on a file or directory: copies up even if it then fails (9).
    pub fn set_xattr(&mut self, id: Id, name: &str, value: &[u8], mode: XattrMode) -> Outcome<()> {
        self.copy_up(id);
        let xattrs = &mut self.get_mut(id).xattrs;
        match (mode, xattrs.contains_key(name)) {
            (XattrMode::Create, true) => refuse(Errno::EEXIST),
            (XattrMode::Replace, false) => refuse(Errno::ENODATA),
            _ => {
                xattrs.insert(name.into(), value.into());
                Ok(())
            }
        }
    }

    /// removexattr(2): what is not there copies nothing up (9).
    pub fn remove_xattr(&mut self, id: Id, name: &str) -> Outcome<()> {
        if !self.get(id).xattrs.contains_key(name) {
            return refuse(Errno::ENODATA);
        }
        self.copy_up(id);
        self.get_mut(id).xattrs.remove(name);
        Ok(())
    }
}
