//! The verbs of layers: create, remove, squash, and who stands on whom.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Store;
use super::driver::{Driver, open};
use super::error::{Error, Kind, OrAt, Result};
use super::id::{Id, ObjectName, SnapshotKey};
use super::lock::{Lock, LockMode};
use super::meta::{DriverKind, LayerMeta, Size, SnapshotMeta, SyncPolicy, read_json};
use super::names::Named;
use super::staging::{Staging, sync_parent};
use super::treecopy::Copied;
use super::usage::Usage;
use super::watch::{Phase, Watch};
use super::{names, trash};
use crate::sys::btrfs;

/// A layer that is wanted.
#[derive(Clone, Debug, Default)]
pub struct NewLayer {
    /// The layer below.
    pub parent: Option<Id>,
    /// How to keep it; as the parent, or as the store was made for.
    pub driver: Option<DriverKind>,
    /// Its id; else a random one.
    pub id: Option<Id>,
    /// Its name.
    pub name: Option<ObjectName>,
    /// Who made it.
    pub author: Option<String>,
    /// Why.
    pub message: Option<String>,
    /// Settings for an image made of it.
    pub config: BTreeMap<String, String>,
    /// Anything.
    pub labels: BTreeMap<String, String>,
    /// It is a committed snapshot, and its id is that of this key.
    pub snapshot: Option<SnapshotKey>,
}

impl NewLayer {
    /// What will be known of it.
    pub(super) fn meta(&self, driver: DriverKind) -> Result<LayerMeta> {
        let id = match (&self.snapshot, &self.id) {
            (Some(key), _) => key.id(),
            (None, Some(id)) => id.clone(),
            (None, None) => Id::random()?,
        };
        let meta = LayerMeta::new(id, driver, self.parent.clone());
        Ok(LayerMeta {
            snapshot: self.snapshot.clone().map(|key| SnapshotMeta {
                key,
                updated: meta.created.clone(),
            }),
            author: self.author.clone(),
            message: self.message.clone(),
            config: self.config.clone(),
            labels: self.labels.clone(),
            ..meta
        })
    }
}

/// Is the tree a subvolume?
pub(super) fn is_subvolume(tree: &Path) -> Result<bool> {
    btrfs::is_subvolume(&open(tree)?).or_at("cannot look at", tree)
}

/// Who stands on a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Users {
    /// Layers whose parent it is.
    pub layers: Vec<Id>,
    /// Containers on it.
    pub containers: Vec<Id>,
    /// Images that have it.
    pub images: Vec<Id>,
}

impl Users {
    /// Nobody?
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty() && self.containers.is_empty() && self.images.is_empty()
    }
}

/// What matters here of `image.json`.
#[derive(Deserialize)]
struct ImageLayers {
    #[serde(default)]
    layers: Vec<Id>,
}

impl Store {
    /// Makes a layer whose tree `fill` completes: it is given the tree, which holds all of the parent (vfs) or nothing
    /// but its root (overlay), and what is known of the layer, to add to it.
    ///
    /// # Errors
    /// [`Kind::Exists`] for an id or name that is taken, and what `fill` returns; the store is as before then.
    pub fn add_layer<T>(
        &self,
        new: &NewLayer,
        fill: impl FnOnce(&dyn Driver, &Staging, &Path, &mut LayerMeta) -> Result<T>,
    ) -> Result<(LayerMeta, T)> {
        let driver = self.driver_for(new.driver, new.parent.as_ref())?;
        let mut meta = new.meta(driver.kind())?;
        self.check_free(&meta.id, new.name.as_ref())?;
        let staging = self.stage()?;
        let _parent = self.lock_parent(new.parent.as_ref())?;
        let content = staging.content();
        std::fs::create_dir(&content).or_at("cannot make", &content)?;
        let tree = content.join("root");
        driver.begin_layer(self, &tree, new.parent.as_ref())?;
        let filled = fill(driver, &staging, &tree, &mut meta)?;
        meta.subvolume = is_subvolume(&tree)?;
        if meta.size == Size::default() {
            self.begin(Phase::Measure, None);
            meta.size = Usage::watched(&tree, self)?.size();
        }
        let meta = self.publish_layer(&staging, meta)?;
        self.name_layer(&meta.id, new.name.as_ref())?;
        Ok((meta, filled))
    }

    /// Makes a layer of the difference that is in the directory `from`, or an empty one.
    ///
    /// # Errors
    /// As [`Store::add_layer`].
    pub fn create_layer(&self, new: &NewLayer, from: Option<&Path>) -> Result<(LayerMeta, Copied)> {
        self.add_layer(new, |driver, _, tree, _| match from {
            Some(from) => driver.add(self, from, tree),
            None => Ok(Copied::default()),
        })
    }

    /// Makes a layer without parent that shows what `top` and all below it show together.
    ///
    /// # Errors
    /// As [`Store::add_layer`]; [`Kind::Unsupported`] for layers with redirects or metacopies.
    pub fn squash(&self, top: &Id, new: &NewLayer) -> Result<LayerMeta> {
        let chain = self.chain(top)?;
        let ids: Vec<Id> = chain.iter().map(|layer| layer.id.clone()).collect();
        let new = NewLayer {
            parent: None,
            driver: chain.first().map(|layer| layer.driver),
            ..new.clone()
        };
        let _kept = self.lock_parent(Some(top))?;
        let made = self.add_layer(&new, |driver, _, tree, _| {
            trash::remove(tree)?;
            driver.flatten(self, &ids, tree)
        })?;
        Ok(made.0)
    }

    /// Removes a layer and its names.
    ///
    /// # Errors
    /// [`Kind::Precondition`] while something stands on it, and for a snapshot; [`Kind::Busy`] while somebody uses it.
    pub fn remove_layer(&self, id: &Id) -> Result<()> {
        refuse_snapshot(self.layer(id)?.snapshot.as_ref())?;
        self.discard_layer(id)
    }

    /// Removes a layer, whatever it is to others.
    ///
    /// # Errors
    /// As [`Store::remove_layer`].
    pub(super) fn discard_layer(&self, id: &Id) -> Result<()> {
        let _store = self.lock(LockMode::Shared)?;
        let meta = self.layer(id)?;
        let content = self.layout().content(meta.driver, id);
        let _alone = match Lock::take(&content, LockMode::Exclusive) {
            Err(error) if error.kind == Kind::NotFound => None,
            result => Some(result?),
        };
        self.check_users(id, &Users::default())?;
        for name in self.names_of(&Named::Layer(id.clone()))? {
            self.remove_name(&name)?;
        }
        self.remove_object(&self.layout().layer(id), &content)
    }

    /// Refuses what [`Store::remove_layer`] refuses, as if `gone` were not there any more.
    ///
    /// # Errors
    /// As [`Store::remove_layer`].
    pub fn check_unused(&self, id: &Id, gone: &Users) -> Result<()> {
        refuse_snapshot(self.layer(id)?.snapshot.as_ref())?;
        self.check_users(id, gone)
    }

    fn check_users(&self, id: &Id, gone: &Users) -> Result<()> {
        let mut users = self.users_of(id)?;
        users.layers.retain(|id| !gone.layers.contains(id));
        users.containers.retain(|id| !gone.containers.contains(id));
        users.images.retain(|id| !gone.images.contains(id));
        if !users.is_empty() {
            let all = users.layers.iter().map(|id| format!("layer {id}"));
            let all = all.chain(users.containers.iter().map(|id| format!("container {id}")));
            let all: Vec<String> = all
                .chain(users.images.iter().map(|id| format!("image {id}")))
                .collect();
            let text = format!("layer {id} is in use by {}", all.join(", "));
            return Err(Error::new(Kind::Precondition, text));
        }
        Ok(())
    }

    /// Who stands on a layer.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when that cannot be known.
    pub fn users_of(&self, layer: &Id) -> Result<Users> {
        let mut users = Users::default();
        let stands = |below: &Option<Id>| below.as_ref() == Some(layer);
        let mut unknown = None;
        let mut damaged = |error| unknown = Some(error);
        let layers = self.all_layers(&mut damaged)?.into_iter();
        users.layers = layers
            .filter(|meta| stands(&meta.parent))
            .map(|meta| meta.id)
            .collect();
        let containers = self.all_containers(&mut damaged)?.into_iter();
        users.containers = containers
            .filter(|meta| stands(&meta.layer))
            .map(|meta| meta.id)
            .collect();
        if let Some(error) = unknown {
            return Err(error);
        }
        for id in self.images()? {
            let image: Option<ImageLayers> =
                read_json(&self.layout().image(&id).join("image.json"))?;
            if image.is_some_and(|image| image.layers.contains(layer)) {
                users.images.push(id);
            }
        }
        Ok(users)
    }

    /// Keeps a layer from being removed as long as the lock is held.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it is gone, [`Kind::Corrupt`] when it has no content.
    pub fn lock_parent(&self, parent: Option<&Id>) -> Result<Option<Lock>> {
        let Some(id) = parent else {
            return Ok(None);
        };
        let driver = self.layer(id)?.driver;
        let content = self.layout().content(driver, id);
        let lock = match Lock::take(&content, LockMode::Shared) {
            Err(error) if error.kind == Kind::NotFound => {
                // Removed meanwhile, or damaged.
                self.layer(id)?;
                return Err(Error::new(
                    Kind::Corrupt,
                    format!("layer {id} has no content"),
                ));
            }
            result => result?,
        };
        self.layer(id)?;
        Ok(Some(lock))
    }

    /// Refuses early what publishing would refuse after the work.
    pub(super) fn check_free(&self, id: &Id, name: Option<&ObjectName>) -> Result<()> {
        if self.layer(id).is_ok() {
            return Err(Error::new(
                Kind::Exists,
                format!("layer {id} exists already"),
            ));
        }
        match name {
            Some(name) if names::lookup(self, name.as_str())?.is_some() => Err(Error::new(
                Kind::Exists,
                format!("the name {name} is taken"),
            )),
            _ => Ok(()),
        }
    }

    /// Names a layer that was just made. If somebody else took the name meanwhile there shall be no layer either.
    pub(super) fn name_layer(&self, id: &Id, name: Option<&ObjectName>) -> Result<()> {
        let Some(name) = name else {
            return Ok(());
        };
        let named = self.set_name(name, &Named::Layer(id.clone()));
        if named.is_err() {
            self.remove_layer(id)?;
        }
        named
    }

    /// Takes an object away: what is known of it first, and with that it is gone.
    pub(super) fn remove_object(&self, meta: &Path, content: &Path) -> Result<()> {
        self.begin(Phase::Remove, None);
        trash::discard(self, meta)?;
        if self.sync == SyncPolicy::Full {
            sync_parent(meta)?;
        }
        trash::discard(self, content)
    }
}

/// What is known by a key is removed by its key.
///
/// # Errors
/// [`Kind::Precondition`].
pub(super) fn refuse_snapshot(snapshot: Option<&SnapshotMeta>) -> Result<()> {
    match snapshot {
        None => Ok(()),
        Some(snapshot) => {
            let text = format!("this is snapshot {} (see `plyfs snapshot`)", snapshot.key);
            Err(Error::new(Kind::Precondition, text))
        }
    }
}
