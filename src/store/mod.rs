//! Layers, containers and images at rest: a library that knows neither FUSE nor the command line.
//!
//! What does not live here: mounting (a container yields a plan of its mount, `cli` carries it out) and merging (that
//! is [`crate::overlay`]). Read [`layout`] (what is where), [`meta`] (what is known of an object), [`staging`] (the
//! crash rule), [`lock`], then the verbs.
//!
//! | word | meaning |
//! |---|---|
//! | layer | a sealed tree: never changed, perhaps the parent of others |
//! | container | a tree that changes, on a layer or on nothing |
//! | image | a list of layers with a configuration |
//! | content | what an object holds: a directory of its driver |
//! | meta | what is known of an object: JSON; an object exists exactly if its meta does |
//! | staging | where an object is put together before it is published by rename |
//!
//! Every verb is whole by itself: it takes the locks it needs and leaves the store consistent, wherever it is killed.
//!
//! ```
//! use std::fs;
//!
//! use plyfs::store::Store;
//! use plyfs::store::commit::Ending;
//! use plyfs::store::containers::NewContainer;
//! use plyfs::store::driver::MountPlan;
//! use plyfs::store::layers::NewLayer;
//! use plyfs::store::meta::DriverKind;
//! use plyfs::store::transfer::Tree;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let place = tempfile::tempdir()?;
//! let at = |name: &str| place.path().join(name);
//! let store = Store::init(&at("store"), &at("run"), DriverKind::Vfs)?;
//!
//! // A layer of a directory.
//! fs::create_dir(at("rootfs"))?;
//! fs::write(at("rootfs").join("greeting"), "hello")?;
//! let (base, _) = store.create_layer(&NewLayer::default(), Some(&at("rootfs")))?;
//!
//! // A container on it. How it is seen is a plan: here a directory, with driver overlay a mount to be made.
//! let new = NewContainer { layer: Some(base.id.clone()), ..NewContainer::default() };
//! let container = store.create_container(&new)?;
//! if let MountPlan::Tree(tree) = store.mount_plan(&container)? {
//!     fs::write(tree.join("answer"), "good day")?;
//! }
//!
//! // What was changed becomes a layer, and the layer an archive.
//! let layer = store.commit(&container.id, &NewLayer::default(), Ending::Remove)?;
//! assert_eq!(layer.parent, Some(base.id));
//! let mut archive = Vec::new();
//! let exported = store.export(&Tree::Layer(layer.id), None, &mut archive, &store)?;
//! assert_eq!(exported.size, archive.len() as u64);
//! # Ok(())
//! # }
//! ```
//!
//! Who calls something long hands a [`watch::Watch`] over, or reads [`Store::progress`] from another thread and may
//! stop it there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub mod apply;
pub mod blob;
pub mod changes;
pub mod check;
pub mod commit;
pub mod containers;
pub mod dedup;
pub mod diff_id;
pub mod digest;
pub mod driver;
pub mod drivers;
pub mod error;
pub mod export;
pub mod files;
pub mod gc;
pub mod id;
pub mod images;
pub mod index;
pub mod init;
pub mod layers;
pub mod layout;
pub mod lock;
pub mod merged;
pub mod meta;
pub mod names;
pub mod quota;
pub mod recipe;
pub mod remarks;
pub mod snapshots;
pub mod staging;
pub mod tar;
pub mod transfer;
pub mod trash;
pub mod treecopy;
pub mod usage;
pub mod watch;

use error::{Error, Kind, OrAt, Result, shown};
use id::Id;
use init::Config;
use layout::{FORMAT, Layout};
use lock::{Lock, LockMode};
use meta::{ContainerMeta, DriverKind, LayerMeta, Size, SyncPolicy, read_json};
use names::Named;
use staging::Staging;
use watch::{Phase, Progress, Watch};

/// An open store. Holds no lock and no file; any number of them may be open.
#[derive(Clone, Debug)]
pub struct Store {
    layout: Layout,
    config: Config,
    /// When changes made through this value are made to last.
    pub sync: SyncPolicy,
    progress: Arc<Progress>,
    /// New layers are put together of what the others have: [`Store::dedup`] before they are published.
    pub dedup_new: bool,
}

impl Store {
    /// Opens the store at `root`, with `run` for what does not outlive a boot.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is none, [`Kind::Unsupported`] for the format of another program version.
    pub fn open(root: &Path, run: &Path) -> Result<Store> {
        // Daemons and mount tables want paths that mean the same everywhere.
        let missing = || {
            let text = format!("no store at {} (`plyfs store init` makes one)", shown(root));
            Error::new(Kind::NotFound, text)
        };
        let root = match fs::canonicalize(root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
            result => result.or_at("store", root)?,
        };
        let layout = Layout::new(&root, run);
        let version = match fs::read_to_string(layout.version()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
            result => result.or_at("store", &layout.version())?,
        };
        if version.trim() != FORMAT.to_string() {
            let version = version.trim().escape_debug();
            let text = format!(
                "{} has format {version}, this program knows {FORMAT}",
                shown(&root)
            );
            return Err(Error::new(Kind::Unsupported, text));
        }
        let config: Config = read_json(&layout.config())?.ok_or_else(|| {
            Error::at(
                Kind::Corrupt,
                "damaged store: missing",
                &layout.config(),
                "file",
            )
        })?;
        let sync = SyncPolicy::default();
        let progress = Arc::default();
        let dedup_new = config.dedup;
        Ok(Store {
            layout,
            config,
            sync,
            progress,
            dedup_new,
        })
    }

    /// Where everything is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What was found and decided when the store was made.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How far the work of a verb is that is called on this value; and how to stop it.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Locks the whole store: shared to work in it, exclusively to remove what nobody knows.
    ///
    /// # Errors
    /// [`Kind::Busy`].
    pub fn lock(&self, mode: LockMode) -> Result<Lock> {
        Lock::take(&self.layout.lock(), mode)
    }

    /// A place to put an object together.
    ///
    /// # Errors
    /// Those of making it, [`Kind::Busy`] while garbage is collected.
    pub fn stage(&self) -> Result<Staging> {
        Staging::new(self)
    }

    /// Publishes a layer whose tree is complete in `staging`. Names come after.
    ///
    /// # Errors
    /// [`Kind::Exists`] when there is a layer of that id: for one that is known by its content, use that.
    pub fn publish_layer(&self, staging: &Staging, mut meta: LayerMeta) -> Result<LayerMeta> {
        meta.sync = self.sync;
        if self.dedup_new {
            self.dedup_staged(staging, &mut meta)?;
        }
        staging.write_meta("layer.json", &meta)?;
        let content = self.layout.content(meta.driver, &meta.id);
        let durable = self.sync != SyncPolicy::None;
        staging.publish(self, Some(&content), &self.layout.layer(&meta.id), durable)?;
        Ok(meta)
    }

    /// What is known of a layer.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Corrupt`].
    pub fn layer(&self, id: &Id) -> Result<LayerMeta> {
        let path = self.layout.layer(id).join("layer.json");
        read_json(&path)?.ok_or_else(|| Error::new(Kind::NotFound, format!("no layer {id}")))
    }

    /// What is known of a container.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Corrupt`].
    pub fn container(&self, id: &Id) -> Result<ContainerMeta> {
        let path = self.layout.container(id);
        read_json(&path)?.ok_or_else(|| Error::new(Kind::NotFound, format!("no container {id}")))
    }

    /// A layer and all below it, top-most first.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when one is missing or they go in a circle.
    pub fn chain(&self, top: &Id) -> Result<Vec<LayerMeta>> {
        let mut chain = vec![self.layer(top)?];
        while let Some(parent) = chain.last().and_then(|layer| layer.parent.clone()) {
            let circle = chain.iter().any(|layer| layer.id == parent);
            match self.layer(&parent) {
                Ok(layer) if !circle => chain.push(layer),
                Err(error) if error.kind != Kind::NotFound => return Err(error),
                _ => {
                    let child = chain.last().map_or(top, |layer| &layer.id);
                    let what = if circle {
                        "is below itself"
                    } else {
                        "is missing"
                    };
                    let text = format!("layer {parent}, the parent of {child}, {what}");
                    return Err(Error::new(Kind::Corrupt, text));
                }
            }
        }
        Ok(chain)
    }

    /// The tree of a layer, and of a container of driver vfs.
    pub fn tree(&self, driver: DriverKind, id: &Id) -> PathBuf {
        self.layout.tree(driver, id)
    }

    /// The ids of all layers, sorted.
    ///
    /// # Errors
    /// Those of reading.
    pub fn layers(&self) -> Result<Vec<Id>> {
        ids_in(&self.layout.layers(), "")
    }

    /// The ids of all containers, sorted.
    ///
    /// # Errors
    /// Those of reading.
    pub fn containers(&self) -> Result<Vec<Id>> {
        ids_in(&self.layout.containers(), ".json")
    }

    /// All layers, in the order of their ids. Damage of one is told and does not hide the others.
    ///
    /// # Errors
    /// Those of reading.
    pub fn all_layers(&self, damaged: impl FnMut(Error)) -> Result<Vec<LayerMeta>> {
        all(self.layers()?, |id| self.layer(id), damaged)
    }

    /// All containers, in the order of their ids. Damage of one is told and does not hide the others.
    ///
    /// # Errors
    /// Those of reading.
    pub fn all_containers(&self, damaged: impl FnMut(Error)) -> Result<Vec<ContainerMeta>> {
        all(self.containers()?, |id| self.container(id), damaged)
    }

    /// The ids of all images, sorted.
    ///
    /// # Errors
    /// Those of reading.
    pub fn images(&self) -> Result<Vec<Id>> {
        ids_in(&self.layout.images(), "")
    }

    /// The layer that is meant by an id, the beginning of one, or a name.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Invalid`] for what means several.
    pub fn find_layer(&self, text: &str) -> Result<Id> {
        match names::lookup(self, text)? {
            Some(Named::Layer(id)) => Ok(id),
            _ => names::by_beginning("layer", self.layers()?, text),
        }
    }

    /// The container that is meant by an id or the beginning of one.
    ///
    /// # Errors
    /// As [`Store::find_layer`].
    pub fn find_container(&self, text: &str) -> Result<Id> {
        names::by_beginning("container", self.containers()?, text)
    }

    /// The image that is meant by an id, the beginning of one, or a name.
    ///
    /// # Errors
    /// As [`Store::find_layer`].
    pub fn find_image(&self, text: &str) -> Result<Id> {
        match names::lookup(self, text)? {
            Some(Named::Image(id)) => Ok(id),
            _ => names::by_beginning("image", self.images()?, text),
        }
    }
}

/// Whoever looks on at a store's work reads [`Store::progress`].
impl Watch for Store {
    fn begin(&self, phase: Phase, total: Option<Size>) {
        self.progress.begin(phase, total);
    }

    fn done(&self, bytes: u64, entries: u64) {
        self.progress.done(bytes, entries);
    }

    fn is_stopped(&self) -> bool {
        self.progress.is_stopped()
    }
}

/// What is known of each; one that was removed meanwhile is left out.
fn all<T>(
    ids: Vec<Id>,
    read: impl Fn(&Id) -> Result<T>,
    mut damaged: impl FnMut(Error),
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    for id in ids {
        match read(&id) {
            Err(error) if error.kind == Kind::NotFound => {}
            Err(error) if error.kind == Kind::Corrupt => damaged(error),
            result => found.push(result?),
        }
    }
    Ok(found)
}

/// The ids that have a file of that ending in a directory of the store, sorted.
fn ids_in(dir: &Path, ending: &str) -> Result<Vec<Id>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(dir).or_at("cannot read", dir)? {
        let name = entry.or_at("cannot read", dir)?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(ending));
        ids.extend(id.and_then(|id| Id::parse(id).ok()));
    }
    ids.sort();
    Ok(ids)
}
