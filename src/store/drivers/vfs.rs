//! Driver `vfs`: every layer and every container is a complete tree of its own, at `root`. Nothing is mounted and no
//! feature of the filesystem is needed; what a copy costs depends on the filesystem: where files can share blocks it
//! costs an inode each, and on btrfs, where trees are subvolumes and a copy is a snapshot, nothing.

use std::path::{Path, PathBuf};

use super::overlay::make_dir;
use crate::layer::keys;
use crate::store::Store;
use crate::store::driver::{Driver, MountPlan, copy};
use crate::store::error::{OrAt, Result};
use crate::store::id::Id;
use crate::store::layout::Layout;
use crate::store::meta::{ContainerMeta, DriverKind};
use crate::store::treecopy::{Copied, Rules, Way};
use crate::sys::at::At;
use crate::sys::btrfs;
use crate::sys::dir::DirFd;
use crate::sys::errno::Errno;
use crate::sys::name::Name;

/// The driver.
#[derive(Debug)]
pub struct Vfs;

impl Vfs {
    fn copy_of(&self, store: &Store, tree: &Path, parent: Option<&Id>) -> Result<()> {
        match parent {
            Some(parent) => {
                clone(store, &store.tree(self.kind(), parent), tree, exact(store)).map(drop)
            }
            None => make_tree(store, tree, 0o755),
        }
    }
}

/// Makes `to` what `from` is: a snapshot where both can be subvolumes, else a copy.
fn clone(store: &Store, from: &Path, to: &Path, rules: Rules<'_>) -> Result<Copied> {
    if store.config().features.subvolumes && snapshot(from, to).or_at("cannot snapshot", from)? {
        return Ok(Copied {
            reflink: true,
            ..Copied::default()
        });
    }
    make_tree(store, to, 0o700)?;
    copy(from, to, rules)
}

/// False: `from` is no subvolume of this user, or has others in it, which a snapshot would not have.
fn snapshot(from: &Path, to: &Path) -> Result<bool, Errno> {
    let from = DirFd::open(from)?;
    if !btrfs::is_subvolume(&from)? || btrfs::has_inner(&from)? {
        return Ok(false);
    }
    let (parent, name) = split(to)?;
    match btrfs::snapshot(&from, &parent, &name) {
        Err(Errno::EPERM) => Ok(false),
        result => result.map(|()| true),
    }
}

/// Makes the directory of a tree: a subvolume where there are some.
fn make_tree(store: &Store, tree: &Path, mode: u32) -> Result<()> {
    if !store.config().features.subvolumes {
        return make_dir(tree, mode);
    }
    let make = || {
        let (parent, name) = split(tree)?;
        btrfs::create(&parent, &name)?;
        At::child(&parent, &name).chmod(mode)
    };
    make().or_at("cannot make", tree)
}

fn split(path: &Path) -> Result<(DirFd, Name), Errno> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::EINVAL);
    };
    Ok((DirFd::open(parent)?, Name::from_os(name)?))
}

impl Driver for Vfs {
    fn kind(&self) -> DriverKind {
        DriverKind::Vfs
    }

    fn begin_layer(&self, store: &Store, tree: &Path, parent: Option<&Id>) -> Result<()> {
        self.copy_of(store, tree, parent)
    }

    fn add(&self, store: &Store, from: &Path, tree: &Path) -> Result<Copied> {
        let onto = Rules {
            way: Way::Onto,
            attributes: |name| !keys::is_private(name),
            watch: store,
            live: false,
        };
        copy(from, tree, onto)
    }

    fn begin_container(&self, store: &Store, content: &Path, parent: Option<&Id>) -> Result<()> {
        self.copy_of(store, &content.join("root"), parent)
    }

    fn changes(&self, layout: &Layout, container: &Id) -> PathBuf {
        layout.tree(self.kind(), container)
    }

    fn seen_at(&self, layout: &Layout, container: &Id) -> PathBuf {
        layout.tree(self.kind(), container)
    }

    fn copy_changes(
        &self,
        store: &Store,
        container: &Id,
        tree: &Path,
        live: bool,
    ) -> Result<Copied> {
        let rules = Rules {
            live,
            ..exact(store)
        };
        let changes = self.changes(store.layout(), container);
        clone(store, &changes, tree, rules)
    }

    fn plan(&self, store: &Store, container: &ContainerMeta) -> Result<MountPlan> {
        let tree = match &container.layer {
            // Nothing was copied that cannot change.
            Some(layer) if container.read_only => store.tree(self.kind(), layer),
            _ => self.seen_at(store.layout(), &container.id),
        };
        Ok(MountPlan::Tree(tree))
    }

    fn parts(&self) -> &'static [&'static str] {
        &["root"]
    }

    fn flatten(&self, store: &Store, layers: &[Id], tree: &Path) -> Result<()> {
        // The top-most holds everything.
        self.copy_of(store, tree, layers.first())
    }
}

/// In a complete tree nothing is a mark.
fn exact(store: &Store) -> Rules<'_> {
    Rules {
        way: Way::Fresh,
        attributes: |_| true,
        watch: store,
        live: false,
    }
}
