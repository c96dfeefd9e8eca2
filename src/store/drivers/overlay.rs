//! Driver `overlay`: a layer is what differs from its parent, in the forms of the kernel's overlayfs. A container has
//! `upper`, `work`, `merged` and `lower-id`; it is seen through an overlay mount of all layers below it, so it costs
//! nothing to make whatever they hold. Whoever mounts it, plyfs or the kernel, finds the same on disk.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::layer::keys;
use crate::store::Store;
use crate::store::driver::{Driver, MountPlan, OverlayPlan, copy, open};
use crate::store::error::{Error, Kind, OrAt, Result};
use crate::store::id::Id;
use crate::store::layout::Layout;
use crate::store::meta::{ContainerMeta, DriverKind};
use crate::store::treecopy::{Copied, Rules, Way, dress};

/// Mode of the root of a view on nothing.
const ROOT_MODE: u32 = 0o755;

/// The driver.
#[derive(Debug)]
pub struct Overlay;

impl Driver for Overlay {
    fn kind(&self) -> DriverKind {
        DriverKind::Overlay
    }

    fn begin_layer(&self, store: &Store, tree: &Path, parent: Option<&Id>) -> Result<()> {
        make_root(store, tree, parent)
    }

    fn add(&self, store: &Store, from: &Path, tree: &Path) -> Result<Copied> {
        copy(from, tree, as_is(store))
    }

    fn begin_container(&self, store: &Store, content: &Path, parent: Option<&Id>) -> Result<()> {
        make_root(store, &content.join("upper"), parent)?;
        make_dir(&content.join("work"), 0o700)?;
        make_dir(&content.join("merged"), 0o700)?;
        // The kernel wants something below an upper.
        make_dir(&content.join("empty"), ROOT_MODE)?;
        let lower_id = content.join("lower-id");
        let text = parent.map(|id| format!("{id}\n")).unwrap_or_default();
        fs::write(&lower_id, text).or_at("cannot write", &lower_id)
    }

    fn changes(&self, layout: &Layout, container: &Id) -> PathBuf {
        layout.content(self.kind(), container).join("upper")
    }

    fn seen_at(&self, layout: &Layout, container: &Id) -> PathBuf {
        layout.content(self.kind(), container).join("merged")
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
            ..as_is(store)
        };
        copy(&self.changes(store.layout(), container), tree, rules)
    }

    fn plan(&self, store: &Store, container: &ContainerMeta) -> Result<MountPlan> {
        let content = store.layout().content(self.kind(), &container.id);
        let chain = match &container.layer {
            Some(layer) => store.chain(layer)?,
            None => Vec::new(),
        };
        let tree = |id: &Id| store.tree(self.kind(), id);
        let mut lowers: Vec<PathBuf> = chain.iter().map(|layer| tree(&layer.id)).collect();
        // A view needs a lower, and a read-only one of the kernel two.
        if lowers.is_empty() || (container.read_only && lowers.len() < 2) {
            lowers.push(content.join("empty"));
        }
        let no_marks = "the filesystem of the store has no extended attributes";
        let marks = store.config().features.xattr;
        Ok(MountPlan::Overlay(OverlayPlan {
            lowers,
            changes: (!container.read_only).then(|| (content.join("upper"), content.join("work"))),
            merged: content.join("merged"),
            volatile: container.volatile,
            idmap: container.idmap.clone(),
            marks: marks.ok_or_else(|| Error::new(Kind::Unsupported, no_marks))?,
        }))
    }

    fn parts(&self) -> &'static [&'static str] {
        &["upper", "work", "merged", "empty", "lower-id"]
    }

    fn flatten(&self, store: &Store, layers: &[Id], tree: &Path) -> Result<()> {
        let onto = Rules {
            way: Way::Onto,
            attributes: |name| !keys::is_private(name),
            watch: store,
            live: false,
        };
        make_dir(tree, 0o700)?;
        for layer in layers.iter().rev() {
            copy(&store.tree(self.kind(), layer), tree, onto)?;
        }
        Ok(())
    }
}

fn as_is(store: &Store) -> Rules<'_> {
    Rules {
        way: Way::Fresh,
        attributes: keys::is_lasting,
        watch: store,
        live: false,
    }
}

/// The root of a view looks like its top-most layer's: a new one looks like its parent's, or nothing would be the same.
fn make_root(store: &Store, root: &Path, parent: Option<&Id>) -> Result<()> {
    make_dir(root, ROOT_MODE)?;
    let Some(parent) = parent else {
        return Ok(());
    };
    let like = store.tree(DriverKind::Overlay, parent);
    let rules = Rules {
        attributes: |name| !keys::is_private(name),
        ..as_is(store)
    };
    dress(&open(&like)?, &open(root)?, rules)
}

/// Makes a directory of that mode, whatever the umask.
///
/// # Errors
/// Those of making it.
pub(in crate::store) fn make_dir(dir: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .mode(mode)
        .create(dir)
        .or_at("cannot make", dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).or_at("cannot make", dir)
}
