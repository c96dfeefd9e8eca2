//! Driver `vfs`: every layer and every container is a complete tree of its own, at `root`. Nothing is mounted and no
//! feature of the filesystem is needed; what a copy costs depends on the filesystem: where files can share blocks it
//! costs an inode each.

use std::path::{Path, PathBuf};

use super::overlay::make_dir;
use crate::layer::keys;
use crate::store::Store;
use crate::store::driver::{Driver, MountPlan, copy};
use crate::store::error::Result;
use crate::store::id::Id;
use crate::store::layout::Layout;
use crate::store::meta::{ContainerMeta, DriverKind};
use crate::store::treecopy::{Copied, Rules, Way};

/// The driver.
#[derive(Debug)]
pub struct Vfs;

impl Vfs {
    fn copy_of(&self, store: &Store, tree: &Path, parent: Option<&Id>) -> Result<()> {
        match parent {
            Some(parent) => {
                make_dir(tree, 0o700)?;
                copy(&store.tree(self.kind(), parent), tree, exact(store))?;
                Ok(())
            }
            None => make_dir(tree, 0o755),
        }
    }
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
        make_dir(tree, 0o700)?;
        let rules = Rules {
            live,
            ..exact(store)
        };
        copy(&self.changes(store.layout(), container), tree, rules)
    }

    fn plan(&self, store: &Store, container: &ContainerMeta) -> Result<MountPlan> {
        Ok(MountPlan::Tree(self.seen_at(store.layout(), &container.id)))
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
