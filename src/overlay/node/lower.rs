//! The lower part of a node. Lower layers do not change, so these are values that never become wrong.

use std::sync::{Arc, OnceLock};

use super::fds::{FdCache, FdKey};
use super::lowers::{DEEP, Lowers};
use super::names::Names;
use crate::sys::dir::DirFd;
use crate::sys::name::Name;
use crate::sys::stat::{PackedDev, Stat};

/// A directory up to this size, which is one block of most filesystems, is short.
const SHORT_BYTES: u64 = 4096;

/// One directory of one lower layer.
#[derive(Debug)]
pub struct LowerDir {
    /// Where its fd is kept as long as it is known.
    fds: Arc<FdCache>,
    /// Index of the layer, 0 for the top-most lower.
    pub layer: usize,
    /// Device it is on.
    pub dev: u64,
    /// Real inode number.
    pub ino: u64,
    /// Empty files in it may be whiteouts by attribute.
    pub xattr_whiteouts: bool,
    /// What is in it.
    pub names: Names,
    /// It is read before it is asked for the first name.
    pub(super) read_first: bool,
    pub(super) from: LowerFrom,
}

#[derive(Debug)]
pub(super) enum LowerFrom {
    Root(Arc<DirFd>),
    Parent(Arc<LowerDir>, Name),
}

impl LowerDir {
    /// The root of a layer.
    pub fn root(
        layer: usize,
        root: Arc<DirFd>,
        dev: u64,
        ino: u64,
        fds: &Arc<FdCache>,
    ) -> LowerDir {
        let from = LowerFrom::Root(root);
        LowerDir {
            fds: fds.clone(),
            layer,
            dev,
            ino,
            xattr_whiteouts: false,
            names: Names::default(),
            read_first: false,
            from,
        }
    }

    /// A directory below another.
    pub fn child(
        parent: &Arc<LowerDir>,
        name: &Name,
        dev: u64,
        ino: u64,
        xattr_whiteouts: bool,
    ) -> LowerDir {
        let from = LowerFrom::Parent(parent.clone(), name.clone());
        LowerDir {
            fds: parent.fds.clone(),
            layer: parent.layer,
            dev,
            ino,
            xattr_whiteouts,
            names: Names::default(),
            read_first: false,
            from,
        }
    }
}

impl LowerDir {
    /// It is one of so many, and has this size. To read a short one takes six calls, to ask it for its first name three
    /// and for each further one another: of a deep stack all are asked soon.
    pub fn among(mut self, many: usize, size: u64) -> LowerDir {
        self.read_first = many >= DEEP && size <= SHORT_BYTES;
        self
    }

    /// Are these attributes of it?
    pub fn is(&self, stat: &Stat) -> bool {
        (stat.dev, stat.ino) == (self.dev, self.ino)
    }

    /// What its fd is kept under.
    pub(super) fn fd_key(&self) -> FdKey {
        FdKey::of(self)
    }
}

impl Drop for LowerDir {
    fn drop(&mut self) {
        self.fds.remove(self.fd_key());
    }
}

/// One non-directory of one lower layer.
#[derive(Debug)]
pub struct LowerObject {
    /// The directory that holds it.
    pub dir: Arc<LowerDir>,
    /// Its name there.
    pub name: Name,
    /// Real inode number.
    ino: u64,
    /// Device it is on.
    dev: PackedDev,
    /// It has other names, which stay lower when this one is copied up.
    pub shared: bool,
}

impl LowerObject {
    /// One with these attributes, and without other names that matter.
    pub fn new(dir: Arc<LowerDir>, name: Name, stat: &Stat) -> LowerObject {
        LowerObject {
            dir,
            name,
            ino: stat.ino,
            dev: PackedDev::of(stat.dev),
            shared: false,
        }
    }

    /// Are these attributes of it?
    pub fn is(&self, stat: &Stat) -> bool {
        (PackedDev::of(stat.dev), stat.ino) == (self.dev, self.ino)
    }
}

/// Where a metacopy has its data.
#[derive(Debug)]
pub enum DataFile {
    /// In this file, the next below that is no metacopy itself.
    Found(LowerObject),
    /// At this path of a data-only layer: looked up when the data is first needed (6.3).
    DataOnly {
        /// From the root of the layer; never empty.
        path: Box<[Name]>,
        /// Filled by the look-up.
        found: OnceLock<LowerObject>,
    },
}

impl DataFile {
    /// The file as far as it is known.
    pub fn known(&self) -> Option<&LowerObject> {
        match self {
            DataFile::Found(object) => Some(object),
            DataFile::DataOnly { found, .. } => found.get(),
        }
    }
}

/// The lower part of a node; immutable.
#[derive(Debug)]
pub enum Lower {
    /// It has none.
    None,
    /// A non-directory: the first found in the stack.
    Object(LowerObject),
    /// The same, but it is a metacopy, and its data is there.
    Metacopy(Box<(LowerObject, DataFile)>),
    /// The upper object is a metacopy.
    Data {
        /// Where its data is.
        data: Box<DataFile>,
        /// The lower file that it stands for has other names.
        shared: bool,
    },
    /// Directories that contribute, top-most first.
    Dirs(Box<Lowers>),
}

impl Lower {
    /// A non-directory, a metacopy if its data is elsewhere.
    pub fn of(object: LowerObject, data: Option<DataFile>) -> Lower {
        match data {
            None => Lower::Object(object),
            Some(data) => Lower::Metacopy(Box::new((object, data))),
        }
    }

    /// The non-directory.
    pub fn object(&self) -> Option<&LowerObject> {
        match self {
            Lower::Object(object) => Some(object),
            Lower::Metacopy(metacopy) => Some(&metacopy.0),
            Lower::None | Lower::Data { .. } | Lower::Dirs(_) => None,
        }
    }

    /// Where the data of a metacopy is, lower or upper.
    pub fn data(&self) -> Option<&DataFile> {
        match self {
            Lower::Metacopy(metacopy) => Some(&metacopy.1),
            Lower::Data { data, .. } => Some(data),
            Lower::None | Lower::Object(_) | Lower::Dirs(_) => None,
        }
    }

    /// Has the non-directory other names, which stay lower when this one is copied up?
    pub fn is_shared(&self) -> bool {
        self.object().is_some_and(|object| object.shared)
    }

    /// The layer whose object shows; none where the upper's own does.
    pub fn layer(&self) -> Option<usize> {
        match self {
            Lower::Dirs(dirs) => dirs.first().map(|dir| dir.layer),
            _ => self.object().map(|object| object.dir.layer),
        }
    }
}
