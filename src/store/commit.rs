//! Committing: a layer of what a container changed.
//!
//! A commit that removes the container turns its changes into the layer by renames alone. Between two of them the
//! changes are nowhere in the store, so the container says first what is going to happen, in `sealing`; whoever finds
//! that file later finishes the job ([`Store::lock_container`], gc, check). Nothing is lost at any point.

use std::fs;
use std::path::{Path, PathBuf};

use super::Store;
use super::driver::driver;
use super::error::{Error, Kind, OrAt, Result};
use super::id::Id;
use super::layers::{NewLayer, is_subvolume, refuse_snapshot};
use super::lock::{Lock, LockMode};
use super::meta::{ContainerMeta, LayerMeta, SyncPolicy, read_json, write_json};
use super::names::Named;
use super::staging::{Staging, is_there, sync_filesystem, sync_parent};
use super::trash;
use super::usage::Usage;
use super::watch::{Phase, Watch};

/// Says what a container is becoming.
pub(super) const SEALING: &str = "sealing";
/// The same before it is complete.
const SEALING_NEW: &str = "sealing.new";

/// What becomes of the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// It stays, and its changes are copied. It may not be mounted.
    #[default]
    Keep,
    /// The same while it may be mounted and in use. Each file is as it was at some moment, not all at the same one.
    KeepLive,
    /// It turns into the layer: nothing is copied.
    Remove,
}

impl Store {
    /// Makes a layer of what a container changed.
    ///
    /// # Errors
    /// [`Kind::Precondition`] while it is mounted and, to be removed, for a snapshot; [`Kind::Exists`] for an id or
    /// name that is taken.
    pub fn commit(&self, id: &Id, new: &NewLayer, ending: Ending) -> Result<LayerMeta> {
        let staging = self.stage()?;
        let (container, _alone) = self.lock_container(id, LockMode::Exclusive)?;
        if ending == Ending::Remove && new.snapshot.is_none() {
            refuse_snapshot(container.snapshot.as_ref())?;
        }
        self.quiesce(&container, ending)?;
        let driver = driver(container.driver);
        let new = NewLayer {
            parent: container.layer.clone(),
            driver: Some(container.driver),
            ..new.clone()
        };
        let mut meta = new.meta(container.driver)?;
        self.check_free(&meta.id, new.name.as_ref())?;
        let _parent = self.lock_parent(new.parent.as_ref())?;
        let changes = driver.changes(self.layout(), id);
        meta.subvolume = is_subvolume(&changes)?;
        self.begin(Phase::Measure, None);
        meta.size = Usage::watched(&changes, self)?.size();
        meta.sync = self.sync;
        if ending == Ending::Remove {
            self.seal(&staging, &container, &meta)?;
            if let Some(name) = &new.name {
                self.set_name(name, &Named::Layer(meta.id.clone()))
                    .map_err(|error| {
                        Error::new(error.kind, format!("{error}; the layer is {}", meta.id))
                    })?;
            }
        } else {
            let content = staging.content();
            fs::create_dir(&content).or_at("cannot make", &content)?;
            let live = ending == Ending::KeepLive;
            driver.copy_changes(self, id, &content.join("root"), live)?;
            meta = self.publish_layer(&staging, meta)?;
            self.name_layer(&meta.id, new.name.as_ref())?;
        }
        Ok(meta)
    }

    /// Makes sure that nobody changes the container, or at least that what was written through its mount is in it.
    fn quiesce(&self, container: &ContainerMeta, ending: Ending) -> Result<()> {
        if ending != Ending::KeepLive {
            return self.check_at_rest(container);
        }
        if self.mounted(container)?.is_some() {
            self.begin(Phase::Sync, None);
            let seen = driver(container.driver).seen_at(self.layout(), &container.id);
            sync_filesystem(&seen)?;
        }
        Ok(())
    }

    fn seal(&self, staging: &Staging, container: &ContainerMeta, layer: &LayerMeta) -> Result<()> {
        let content = self.layout().content(container.driver, &container.id);
        let durable = self.sync != SyncPolicy::None;
        // The layer's content is claimed before the container says what it becomes: of many that want to be one layer
        // one goes on from here. Its tree is empty until the changes replace it; without one, a rename would replace
        // the claim.
        staging.tree()?;
        let layout = self.layout();
        let _claim = staging.place_content(
            self,
            &layout.content(layer.driver, &layer.id),
            &layout.layer(&layer.id),
        )?;
        // A layer has no limits; and a container at its limit must be able to say what it becomes.
        self.lift_quota(container)?;
        let intent = content.join(SEALING_NEW);
        trash::remove(&intent)?;
        write_json(&intent, layer)?;
        if durable {
            sync_filesystem(&content)?;
        }
        let place = content.join(SEALING);
        fs::rename(&intent, &place).or_at("cannot make", &place)?;
        if durable {
            sync_parent(&place)?;
        }
        self.settle_as(container, layer, true)
    }

    /// Finishes, or takes back, what a crash interrupted. The content of the container is locked.
    pub(super) fn settle(&self, container: &ContainerMeta) -> Result<()> {
        let content = self.layout().content(container.driver, &container.id);
        match read_json::<LayerMeta>(&content.join(SEALING))? {
            Some(layer) => self.settle_as(container, &layer, false),
            None => Ok(()),
        }
    }

    /// From `sealing` to the layer; the store is locked by the caller, in whatever mode. `forward`: begin with the
    /// first step; else only go on when it was done.
    fn settle_as(&self, container: &ContainerMeta, layer: &LayerMeta, forward: bool) -> Result<()> {
        let layout = self.layout();
        let changes = driver(container.driver).changes(layout, &container.id);
        let durable = self.sync != SyncPolicy::None;
        let tree = layout.tree(layer.driver, &layer.id);
        let content = layout.content(layer.driver, &layer.id);
        let unsealed = is_there(&changes)?;
        if unsealed && !forward {
            let intent = layout
                .content(container.driver, &container.id)
                .join(SEALING);
            return fs::remove_file(&intent).or_at("cannot remove", &intent);
        }
        if unsealed {
            fs::rename(&changes, &tree).or_at("cannot rename", &changes)?;
            if durable {
                sync_parent(&tree)?;
                sync_parent(&content)?;
                sync_parent(&changes)?;
            }
        }
        let meta = layout.layer(&layer.id);
        if !is_there(&meta)? {
            let staging = Staging::in_locked(self)?;
            staging.write_meta("layer.json", layer)?;
            staging.publish(self, None, &meta, durable)?;
        }
        let container_content = layout.content(container.driver, &container.id);
        self.remove_object(&layout.container(&container.id), &container_content)
    }

    /// Is the content at this place that of a layer or container?
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn knows_content(&self, place: &Path) -> Result<bool> {
        let Some(id) = id_of(place) else {
            return Ok(false);
        };
        Ok(is_there(&self.layout().layer(&id))? || is_there(&self.layout().container(&id))?)
    }

    /// Settles the container that a crash caught while it became the layer whose content goes to `place`; false when
    /// there is none.
    ///
    /// # Errors
    /// [`Kind::Busy`] while somebody else does.
    pub(super) fn settle_onto(&self, place: &Path) -> Result<bool> {
        let id = id_of(place);
        let interrupted = self.interrupted()?;
        let Some((container, _)) = interrupted
            .into_iter()
            .find(|(_, layer)| Some(&layer.id) == id.as_ref())
        else {
            return Ok(false);
        };
        let content = self.layout().content(container.driver, &container.id);
        match Lock::take(&content, LockMode::Exclusive) {
            // It was nothing but busy, and is done.
            Err(error) if error.kind == Kind::NotFound => {}
            Err(error) => return Err(error),
            Ok(_alone) => self.settle(&container)?,
        }
        Ok(true)
    }

    /// Containers that a crash caught while they became layers.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn interrupted(&self) -> Result<Vec<(ContainerMeta, LayerMeta)>> {
        let mut found = Vec::new();
        for id in self.containers()? {
            let Ok(meta) = self.container(&id) else {
                continue;
            };
            let intent: PathBuf = self.layout().content(meta.driver, &id).join(SEALING);
            if let Some(layer) = read_json(&intent)? {
                found.push((meta, layer));
            }
        }
        Ok(found)
    }
}

/// The object whose content is at `place`.
fn id_of(place: &Path) -> Option<Id> {
    Id::parse(place.file_name()?.to_str()?).ok()
}

#[cfg(test)]
mod tests;
