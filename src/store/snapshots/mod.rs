//! Snapshots, as containerd knows them: trees that are known by a key, begin as the tree of a committed one, and are
//! committed under another key.
//!
//! | kind | what it is in the store |
//! |---|---|
//! | active | a container |
//! | view | a container that cannot be written to |
//! | committed | a layer |
//!
//! The object's id is made of the key, so a key is taken by the one rename that publishes the object, and nothing is
//! kept beside it. All snapshots of a store have the store's driver: two objects with one id would be in each other's
//! way where contents are, whatever they are.

use super::Store;
use super::commit::{Ending, SEALING};
use super::containers::NewContainer;
use super::driver::{MountPlan, driver};
use super::error::{Error, Kind, Result};
use super::id::{Id, SnapshotKey};
use super::layers::{NewLayer, Users};
use super::lock::LockMode;
use super::meta::{ContainerMeta, DriverKind, LayerMeta, SnapshotMeta, read_json};
use super::names::{self, Named};
use super::staging::is_there;
use super::usage::Usage;

pub mod filter;
pub mod info;
pub mod labels;

use info::{Object, Snapshot, SnapshotKind};
use labels::Labels;

/// A snapshot that is wanted.
#[derive(Clone, Debug)]
pub struct NewSnapshot {
    /// Its key.
    pub key: SnapshotKey,
    /// The key of a committed one, or the id or name of a layer; nothing: it begins empty.
    pub parent: Option<String>,
    /// It is to be read only.
    pub view: bool,
    /// How to keep it: as all in this store.
    pub driver: Option<DriverKind>,
    /// Anything.
    pub labels: Labels,
}

impl Store {
    /// Makes an active snapshot, or a view.
    ///
    /// # Errors
    /// [`Kind::Exists`] for a key that is taken, [`Kind::NotFound`] without the parent, [`Kind::Invalid`] when that is
    /// not committed.
    pub fn prepare_snapshot(&self, new: &NewSnapshot) -> Result<Snapshot> {
        labels::check(&new.labels)?;
        self.check_key_free(&new.key)?;
        let kind = self.config().driver;
        if new.driver.is_some_and(|driver| driver != kind) {
            let text = format!("snapshots of this store belong to driver {kind}");
            return Err(Error::new(Kind::Precondition, text));
        }
        let parent = new.parent.as_deref().filter(|parent| !parent.is_empty());
        let container = NewContainer {
            layer: parent
                .map(|parent| self.snapshot_parent(parent))
                .transpose()?,
            driver: Some(kind),
            read_only: new.view,
            labels: new.labels.clone(),
            snapshot: Some(new.key.clone()),
            ..NewContainer::default()
        };
        match self.create_container(&container) {
            Err(error) if error.kind == Kind::Exists => Err(taken(&new.key)),
            result => self.of_container(result?),
        }
    }

    /// Makes a committed snapshot `name` of the active one `key`, which is gone then. The labels are new ones.
    ///
    /// # Errors
    /// [`Kind::Exists`] for a name that is taken, [`Kind::Precondition`] for what is not active or is mounted.
    pub fn commit_snapshot(
        &self,
        name: &SnapshotKey,
        key: &SnapshotKey,
        labels: &Labels,
    ) -> Result<Snapshot> {
        labels::check(labels)?;
        let container = match self.snapshot_object(key)? {
            Object::Container(container) if !container.read_only => container,
            object => {
                let kind = object.kind().word();
                let text = format!("snapshot {key} is not active (it is {kind})");
                return Err(Error::new(Kind::Precondition, text));
            }
        };
        let new = NewLayer {
            snapshot: Some(name.clone()),
            labels: labels.clone(),
            ..NewLayer::default()
        };
        if let Some(finished) = self.finish_commit(&container, name)? {
            return Ok(finished);
        }
        self.check_key_free(name)?;
        match self.commit(&container.id, &new, Ending::Remove) {
            Err(error) if error.kind == Kind::Exists => Err(taken(name)),
            Err(error) if error.kind == Kind::NotFound => Err(missing(key)),
            result => self.of_layer(result?),
        }
    }

    /// A crash may have caught the very same commit when it could no longer be taken back; then it is done now.
    fn finish_commit(
        &self,
        container: &ContainerMeta,
        name: &SnapshotKey,
    ) -> Result<Option<Snapshot>> {
        let content = self.layout().content(container.driver, &container.id);
        let intent: Option<LayerMeta> = read_json(&content.join(SEALING))?;
        if intent.is_none_or(|layer| layer.id != name.id()) {
            return Ok(None);
        }
        match self.lock_container(&container.id, LockMode::Shared) {
            // It was taken back.
            Ok(_) => Ok(None),
            Err(error) if error.kind == Kind::NotFound => self.snapshot(name).map(Some),
            Err(error) => Err(error),
        }
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Precondition`] while others stand on it or it is mounted.
    pub fn remove_snapshot(&self, key: &SnapshotKey) -> Result<()> {
        match self.snapshot_object(key)? {
            Object::Container(container) => self.discard_container(&container.id),
            Object::Layer(layer) => match self.discard_layer(&layer.id) {
                Err(error) if error.kind == Kind::Precondition => {
                    Err(self.in_use(key, &self.users_of(&layer.id)?)?)
                }
                result => result,
            },
        }
    }

    /// Refuses what [`Store::remove_snapshot`] refuses, as if those of `gone` were not there any more.
    ///
    /// # Errors
    /// As [`Store::remove_snapshot`].
    pub fn check_snapshot_unused(&self, key: &SnapshotKey, gone: &[SnapshotKey]) -> Result<()> {
        let layer = match self.snapshot_object(key)? {
            Object::Container(container) => return self.check_at_rest(&container),
            Object::Layer(layer) => layer,
        };
        let mut users = self.users_of(&layer.id)?;
        let stays = |id: &Id| gone.iter().all(|key| key.id() != *id);
        users.layers.retain(stays);
        users.containers.retain(stays);
        match users.is_empty() {
            true => Ok(()),
            false => Err(self.in_use(key, &users)?),
        }
    }

    /// How a snapshot is to be mounted. A view only for reading, whatever the plan allows.
    ///
    /// # Errors
    /// [`Kind::Precondition`] for a committed one: there is nothing to mount, only to begin from.
    pub fn snapshot_plan(&self, key: &SnapshotKey) -> Result<(SnapshotKind, MountPlan)> {
        match self.snapshot_object(key)? {
            Object::Layer(_) => {
                let text = format!("snapshot {key} is committed (see `plyfs snapshot view`)");
                Err(Error::new(Kind::Precondition, text))
            }
            Object::Container(container) => {
                let plan = self.mount_plan(&container)?;
                Ok((Object::Container(container).kind(), plan))
            }
        }
    }

    /// What a snapshot takes, without those below it.
    ///
    /// # Errors
    /// [`Kind::NotFound`], and those of reading.
    pub fn snapshot_usage(&self, key: &SnapshotKey) -> Result<Usage> {
        match self.snapshot_object(key)? {
            Object::Container(container) => {
                Usage::of(&driver(container.driver).changes(self.layout(), &container.id))
            }
            Object::Layer(layer) => Usage::of(&self.tree(layer.driver, &layer.id)),
        }
    }

    /// What a key stands for. What a crash interrupted is finished first.
    fn snapshot_object(&self, key: &SnapshotKey) -> Result<Object> {
        let id = key.id();
        match self.container(&id) {
            Ok(container) => return Ok(Object::Container(container)),
            Err(error) if error.kind == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
        match self.layer(&id) {
            Ok(layer) => Ok(Object::Layer(layer)),
            // The commit that makes it may have been interrupted after its last chance to be taken back.
            Err(error) if error.kind == Kind::NotFound => {
                let place = self.layout().content(self.config().driver, &id);
                if !is_there(&place)? {
                    return Err(missing(key));
                }
                let _store = self.lock(LockMode::Shared)?;
                self.settle_onto(&place)?;
                self.layer(&id).map(Object::Layer).map_err(|_| missing(key))
            }
            Err(error) => Err(error),
        }
    }

    fn snapshot_parent(&self, text: &str) -> Result<Id> {
        let key = SnapshotKey::parse(text)?;
        match self.snapshot_object(&key) {
            Ok(Object::Layer(layer)) => Ok(layer.id),
            Ok(Object::Container(_)) => {
                let text =
                    format!("snapshot {key} is not committed, so nothing can begin as it is");
                Err(Error::new(Kind::Invalid, text))
            }
            // A layer that came another way, by its whole id or its name.
            Err(error) if error.kind == Kind::NotFound => {
                let layer = match names::lookup(self, text)? {
                    Some(Named::Layer(id)) => Some(id),
                    _ => Id::parse(text).ok(),
                };
                let layer = layer.ok_or(error)?;
                self.layer(&layer).map(|layer| layer.id)
            }
            Err(error) => Err(error),
        }
    }

    fn check_key_free(&self, key: &SnapshotKey) -> Result<()> {
        match self.snapshot_object(key) {
            Err(error) if error.kind == Kind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(taken(key)),
        }
    }

    /// Why a snapshot cannot be removed.
    fn in_use(&self, key: &SnapshotKey, users: &Users) -> Result<Error> {
        let mut all = Vec::new();
        let word = |kind: &str, id: &Id, snapshot: Option<SnapshotMeta>| match snapshot {
            Some(snapshot) => format!("snapshot {}", snapshot.key),
            None => format!("{kind} {id}"),
        };
        for id in &users.layers {
            all.push(word("layer", id, self.layer(id)?.snapshot));
        }
        for id in &users.containers {
            all.push(word("container", id, self.container(id)?.snapshot));
        }
        all.extend(users.images.iter().map(|id| format!("image {id}")));
        let all = all.join(", ");
        let text = format!("cannot remove snapshot {key}: it is in use by {all}");
        Ok(Error::new(Kind::Precondition, text))
    }
}

fn missing(key: &SnapshotKey) -> Error {
    Error::new(Kind::NotFound, format!("no snapshot {key}"))
}

fn taken(key: &SnapshotKey) -> Error {
    Error::new(Kind::Exists, format!("snapshot {key} exists already"))
}
