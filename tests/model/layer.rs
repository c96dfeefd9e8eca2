//! Layers as data: built on disk for the overlay, and applied from the bottom to the top for the model, the way image
//! layers are unpacked one over the other. That is another way to say what a merge is than asking layers from the top,
//! so a mistake in one does not repeat in the other.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::inprocess::rig::{Build, mark};
use crate::model::{DirRename, Id, Kind, Model, Object, ROOT};
use crate::support::layers::{Layers, Tree};
use plyfs::layer::keys::Namespace;

/// Attributes of an object in a layer.
#[derive(Clone)]
pub struct Meta {
    pub perm: u32,
    /// Only root gives files away; others own what they make.
    pub owner: u32,
    pub xattr: Option<(&'static str, &'static str)>,
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o} of {} {:?}", self.perm, self.owner, self.xattr)
    }
}

/// How the directory is marked on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirMark {
    None,
    Opaque,
    /// An opaque mark whose value means nothing (T008).
    Odd,
    /// Whiteouts in it are empty files with an attribute, where that form counts: in a lower layer, not the last (3.1).
    XattrWhiteouts,
}

#[derive(Clone, Debug)]
pub struct Dir {
    pub meta: Meta,
    pub mark: DirMark,
    pub items: BTreeMap<&'static str, Item>,
}

#[derive(Clone, Debug)]
pub enum Item {
    File {
        meta: Meta,
        len: usize,
    },
    /// A further name of the last file before it in this layer.
    Link,
    Dir(Dir),
    Symlink,
    Fifo,
    Whiteout,
    /// A file with data that in a lower layer has the attribute of a whiteout: an ordinary file (T010). In the upper
    /// one it would be gone once it is cut, as in the kernel.
    NoWhiteout,
}

/// Which layer it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Upper,
    Lower,
    Bottom,
}

/// Writes one layer.
pub fn build(build: &Build, layer: Tree<'_>, which: Which, root: &Dir) {
    let mut builder = Builder {
        layer,
        namespace: build.namespace,
        which,
        last_file: None,
    };
    builder.dir("", root);
}

struct Builder<'a> {
    layer: Tree<'a>,
    namespace: Namespace,
    which: Which,
    last_file: Option<String>,
}

impl Builder<'_> {
    fn dir(&mut self, path: &str, dir: &Dir) {
        for (name, item) in &dir.items {
            self.item(&join(path, name), item, dir.mark);
        }
        // Layer roots have no marks: they are merged whatever is on them.
        if path.is_empty() {
            return;
        }
        let mark = |name| mark(self.namespace, name);
        match dir.mark {
            DirMark::None => {}
            DirMark::Opaque => drop(self.layer.xattr(path, &mark("opaque"), "y")),
            DirMark::Odd => drop(self.layer.xattr(path, &mark("opaque"), "yes")),
            DirMark::XattrWhiteouts => drop(self.layer.xattr(path, &mark("opaque"), "x")),
        }
        self.meta(path, &dir.meta);
    }

    fn item(&mut self, path: &str, item: &Item, parent: DirMark) {
        let layer = self.layer;
        let whiteout = mark(self.namespace, "whiteout");
        match item {
            Item::File { meta, len } => {
                layer.file(path, content(path, *len));
                self.meta(path, meta);
                self.last_file = Some(path.into());
            }
            Item::Link => match &self.last_file {
                Some(existing) => drop(layer.link(existing, path)),
                None => {
                    layer.file(path, content(path, 3));
                    self.last_file = Some(path.into());
                }
            },
            Item::Dir(dir) => {
                layer.dir(path);
                self.dir(path, dir);
            }
            Item::Symlink => drop(layer.symlink(path, path)),
            Item::Fifo => drop(layer.fifo(path)),
            Item::Whiteout
                if self.which == Which::Lower
                    && parent == DirMark::XattrWhiteouts
                    && path.contains('/') =>
            {
                layer.file(path, "").xattr(path, &whiteout, "");
            }
            Item::Whiteout => drop(layer.whiteout(path)),
            Item::NoWhiteout => {
                layer.file(path, "data");
                if self.which != Which::Upper {
                    layer.xattr(path, &whiteout, "");
                }
            }
        }
    }

    fn meta(&self, path: &str, meta: &Meta) {
        if rustix::process::geteuid().is_root() {
            self.layer.owner(path, meta.owner, meta.owner);
        }
        self.layer.mode(path, meta.perm);
        if let Some((name, value)) = meta.xattr {
            self.layer.xattr(path, name, value);
        }
    }
}

/// The model of a stack on disk. `lowers` are as described to [`build`], top-most first.
pub fn merged(layers: &Layers, lowers: &[Dir], upper: &Dir, dir_rename: DirRename) -> Model {
    let me = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let root = object(
        &layers.upper,
        Kind::Dir(BTreeMap::new()),
        Which::Upper,
        None,
    );
    let mut model = Model::new(root, dir_rename, me);
    for (dir, disk) in lowers.iter().zip(&layers.lowers).rev() {
        let which = Which::Lower;
        let mut layer = Applied {
            model: &mut model,
            disk,
            which,
            last_file: None,
        };
        layer.dir(ROOT, "", dir);
        model.get_mut(ROOT).lower += 1;
    }
    let which = Which::Upper;
    let mut layer = Applied {
        model: &mut model,
        disk: &layers.upper,
        which,
        last_file: None,
    };
    layer.dir(ROOT, "", upper);
    model
}

/// One layer on its way into the model. It is not read, so that its access times stay.
struct Applied<'a> {
    model: &'a mut Model,
    disk: &'a Path,
    which: Which,
    last_file: Option<Id>,
}

impl Applied<'_> {
    fn dir(&mut self, at: Id, path: &str, dir: &Dir) {
        for (name, item) in &dir.items {
            let found = self.model.children(at).get(*name).copied();
            let id = self.item(&join(path, name), item, found);
            self.model.set_entry(at, name, id);
        }
    }

    fn item(&mut self, path: &str, item: &Item, found: Option<Id>) -> Option<Id> {
        Some(match item {
            Item::Whiteout => return None,
            Item::File { meta, len } => {
                let id = self.put(path, Kind::File(content(path, *len)), Some(meta));
                self.last_file = Some(id);
                id
            }
            Item::NoWhiteout => self.put(path, Kind::File(b"data".into()), None),
            Item::Symlink => self.put(path, Kind::Symlink(path.into()), None),
            Item::Fifo => self.put(path, Kind::Fifo, None),
            Item::Link => match self.last_file {
                // The names of one upper file are one object, those of a lower one part (7.1).
                Some(last) if self.which == Which::Upper => last,
                Some(last) => {
                    let last = self.model.get(last).clone();
                    self.model.put(last)
                }
                None => {
                    let id = self.put(path, Kind::File(content(path, 3)), None);
                    self.last_file = Some(id);
                    id
                }
            },
            Item::Dir(dir) => self.subdir(path, dir, found),
        })
    }

    /// A directory merges with what is there, if that is one, or takes its place.
    fn subdir(&mut self, path: &str, dir: &Dir, found: Option<Id>) -> Id {
        let id = self.put(path, Kind::Dir(BTreeMap::new()), Some(&dir.meta));
        let merges = |id: &Id| self.model.get(*id).is_dir() && dir.mark != DirMark::Opaque;
        if let Some(below) = found.filter(merges) {
            let below = self.model.get(below).clone();
            let merged = self.model.get_mut(id);
            merged.kind = below.kind;
            merged.lower += below.lower;
            if self.which == Which::Upper {
                merged.ino = below.ino;
            }
        }
        self.dir(id, path, dir);
        id
    }

    fn put(&mut self, path: &str, kind: Kind, meta: Option<&Meta>) -> Id {
        self.model
            .put(object(&self.disk.join(path), kind, self.which, meta))
    }
}

/// An object as one layer has it. Times, owner, links and number are what the disk says.
fn object(path: &Path, kind: Kind, which: Which, meta: Option<&Meta>) -> Object {
    let stat = path.symlink_metadata().unwrap();
    let is_dir = matches!(kind, Kind::Dir(_));
    let is_file = matches!(kind, Kind::File(_));
    let links = if is_dir { 1 } else { stat.nlink() as u32 };
    let xattr = meta.and_then(|meta| meta.xattr);
    Object {
        kind,
        perm: stat.mode() & 0o7777,
        uid: stat.uid(),
        gid: stat.gid(),
        mtime: Some(stat.mtime()),
        xattrs: xattr
            .map(|(name, value)| (name.into(), value.into()))
            .into_iter()
            .collect(),
        ino: Some(stat.ino()),
        upper: which == Which::Upper,
        lower: if which == Which::Upper { 0 } else { links },
        data_below: is_file && which != Which::Upper,
    }
}

fn content(path: &str, len: usize) -> Vec<u8> {
    path.bytes().cycle().take(len).collect()
}

/// A layer, one line for each path.
pub fn text(layer: &str, dir: &Dir) -> String {
    let mut text = String::new();
    for (name, item) in &dir.items {
        let path = join(layer, name);
        match item {
            Item::Dir(dir) => {
                text += &format!(
                    "{path}: Dir {:?} {:?}\n{}",
                    dir.mark,
                    dir.meta,
                    self::text(&path, dir)
                );
            }
            item => text += &format!("{path}: {item:?}\n"),
        }
    }
    text
}

fn join(dir: &str, name: &str) -> String {
    match dir {
        "" => name.into(),
        _ => format!("{dir}/{name}"),
    }
}
