//! [`Driver`]: how the trees of layers and containers are kept on disk. Everything else of the store is the same for
//! all drivers.

use std::path::{Path, PathBuf};

use super::Store;
use super::drivers::overlay::Overlay;
use super::drivers::vfs::Vfs;
use super::error::{Error, Kind, OrAt, Result};
use super::id::Id;
use super::init::Marks;
use super::layout::Layout;
use super::meta::{ContainerMeta, DriverKind, IdMaps};
use super::treecopy::{Copied, Rules, copy_tree};
use super::watch::Phase;
use crate::sys::dir::DirFd;

/// How a container's tree is seen. Pure data: whoever has it decides who mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountPlan {
    /// It is a directory; nothing is to be mounted.
    Tree(PathBuf),
    /// An overlay mount.
    Overlay(OverlayPlan),
}

/// An overlay mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayPlan {
    /// Lower directories, the top-most first.
    pub lowers: Vec<PathBuf>,
    /// Upper and work directory; without them the view is read-only.
    pub changes: Option<(PathBuf, PathBuf)>,
    /// Where to mount.
    pub merged: PathBuf,
    /// Nothing of the upper need survive a crash of the system.
    pub volatile: bool,
    /// Which attributes carry the marks.
    pub marks: Marks,
    /// Under which numbers owners are shown.
    pub idmap: Option<IdMaps>,
}

/// What differs between drivers.
pub trait Driver: std::fmt::Debug + Sync {
    /// Its name.
    fn kind(&self) -> DriverKind;

    /// Makes the directory `tree` to which the difference to `parent` is to be added.
    ///
    /// # Errors
    /// Those of writing.
    fn begin_layer(&self, store: &Store, tree: &Path, parent: Option<&Id>) -> Result<()>;

    /// Adds the difference that is in the directory `from`: whiteouts and opaque directories in the forms of overlayfs
    /// count.
    ///
    /// # Errors
    /// Those of copying.
    fn add(&self, store: &Store, from: &Path, tree: &Path) -> Result<Copied>;

    /// Makes a container on `parent` in the empty directory `content`.
    ///
    /// # Errors
    /// Those of writing.
    fn begin_container(&self, store: &Store, content: &Path, parent: Option<&Id>) -> Result<()>;

    /// The directory of a container that holds what the layer will be that it is committed to.
    fn changes(&self, layout: &Layout, container: &Id) -> PathBuf;

    /// Where a container's tree is seen, mounted or not.
    fn seen_at(&self, layout: &Layout, container: &Id) -> PathBuf;

    /// Copies that directory to `tree`; `live`: while somebody may change it.
    ///
    /// # Errors
    /// Those of copying.
    fn copy_changes(
        &self,
        store: &Store,
        container: &Id,
        tree: &Path,
        live: bool,
    ) -> Result<Copied>;

    /// How a container is seen.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when a layer below is missing.
    fn plan(&self, store: &Store, container: &ContainerMeta) -> Result<MountPlan>;

    /// What must be in the content of a container for it to be whole.
    fn parts(&self) -> &'static [&'static str];

    /// Puts all layers from `layers` (the top-most first) into one tree that needs none below.
    ///
    /// # Errors
    /// Those of copying.
    fn flatten(&self, store: &Store, layers: &[Id], tree: &Path) -> Result<()>;
}

/// The driver of that name.
pub fn driver(kind: DriverKind) -> &'static dyn Driver {
    match kind {
        DriverKind::Overlay => &Overlay,
        DriverKind::Vfs => &Vfs,
    }
}

impl Store {
    /// The driver for a new object on `parent`; `asked` is what the user said.
    ///
    /// # Errors
    /// [`Kind::Precondition`] when the parent belongs to another one, [`Kind::Unsupported`] when the store's filesystem
    /// is not good enough for it.
    pub fn driver_for(
        &self,
        asked: Option<DriverKind>,
        parent: Option<&Id>,
    ) -> Result<&'static dyn Driver> {
        let kind = match parent {
            Some(parent) => self.layer(parent)?.driver,
            None => asked.unwrap_or(self.config().driver),
        };
        if let (Some(asked), Some(parent)) = (asked.filter(|asked| *asked != kind), parent) {
            let text = format!("layer {parent} belongs to driver {kind}, not {asked}");
            return Err(Error::new(Kind::Precondition, text));
        }
        let features = self.config().features;
        if kind == DriverKind::Overlay && (features.xattr.is_none() || !features.whiteout_device) {
            let why = "driver overlay needs extended attributes and device nodes 0:0, which the filesystem of the \
                       store does not have (driver vfs needs neither)";
            return Err(Error::new(Kind::Unsupported, why));
        }
        Ok(driver(kind))
    }
}

/// Copies between two directories by their paths.
///
/// # Errors
/// Those of [`copy_tree`].
pub(super) fn copy(from: &Path, to: &Path, rules: Rules<'_>) -> Result<Copied> {
    rules.watch.begin(Phase::Copy, None);
    copy_tree(&open(from)?, &open(to)?, rules)
}

/// Opens a directory.
///
/// # Errors
/// Those of open(2), with the path.
pub(super) fn open(dir: &Path) -> Result<DirFd> {
    DirFd::open(dir).or_at("cannot open", dir)
}
