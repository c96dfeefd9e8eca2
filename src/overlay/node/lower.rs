//! The lower part of a node. Lower layers do not change, so these are values that never become wrong.

use std::sync::{Arc, OnceLock};

use super::fds::{FdCache, FdKey};
use super::names::Names;
use crate::sys::dir::DirFd;
use crate::sys::name::Name;

/// One directory of one lower layer.
#[derive(Debug)]
pub struct LowerDir {
    pub(super) key: FdKey,
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
            key: FdKey::next(),
            fds: fds.clone(),
            layer,
            dev,
            ino,
            xattr_whiteouts: false,
            names: Names::default(),
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
            key: FdKey::next(),
            fds: parent.fds.clone(),
            layer: parent.layer,
            dev,
            ino,
            xattr_whiteouts,
            names: Names::default(),
            from,
        }
    }
}

impl Drop for LowerDir {
    /// Nobody has the key any more.
    fn drop(&mut self) {
        self.fds.remove(self.key);
    }
}

/// One non-directory of one lower layer.
#[derive(Debug)]
pub struct LowerObject {
    /// The directory that holds it.
    pub dir: Arc<LowerDir>,
    /// Its name there.
    pub name: Name,
    /// Device it is on.
    pub dev: u64,
    /// Real inode number.
    pub ino: u64,
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
    Object {
        /// Where.
        object: LowerObject,
        /// It has other names, which stay lower when this one is copied up.
        shared: bool,
        /// It is a metacopy, and its data is there.
        data: Option<Box<DataFile>>,
    },
    /// The upper object is a metacopy.
    Data {
        /// Where its data is.
        data: Box<DataFile>,
        /// The lower file that it stands for has other names.
        shared: bool,
    },
    /// Directories that contribute, top-most first.
    Dirs(Box<[Arc<LowerDir>]>),
}

impl Lower {
    /// The layer whose object shows; none where the upper's own does.
    pub fn layer(&self) -> Option<usize> {
        match self {
            Lower::Object { object, .. } => Some(object.dir.layer),
            Lower::Dirs(dirs) => dirs.first().map(|dir| dir.layer),
            Lower::None | Lower::Data { .. } => None,
        }
    }
}
