//! The verbs of containers: create, commit, remove; and finishing what a crash interrupted.
//!
//! A commit that removes the container turns its changes into the layer by renames alone. Between two of them the
//! changes are nowhere in the store, so the container says first what is going to happen, in `sealing`; whoever finds
//! that file later finishes the job ([`Store::lock_container`], gc, check). Nothing is lost at any point.

use std::fs;
use std::path::{Path, PathBuf};

use super::Store;
use super::driver::{MountPlan, driver};
use super::error::{Error, Kind, OrAt, Result};
use super::id::Id;
use super::layers::NewLayer;
use super::lock::{Lock, LockMode};
use super::meta::{
    ContainerMeta, DriverKind, LayerMeta, SyncPolicy, now, read_json, write_json, writer,
};
use super::names::Named;
use super::staging::{Staging, is_there, sync_filesystem, sync_parent};
use super::trash;
use super::usage::Usage;
use super::watch::{Phase, Watch};
use crate::sys::mountinfo::{Entry, Table};

/// A container that is wanted.
#[derive(Clone, Debug, Default)]
pub struct NewContainer {
    /// The layer it stands on.
    pub layer: Option<Id>,
    /// The image that layer is the top of.
    pub image: Option<Id>,
    /// How to keep it; as the layer, or as the store was made for.
    pub driver: Option<DriverKind>,
    /// It cannot be written to.
    pub read_only: bool,
    /// Its changes need not survive a crash of the system.
    pub volatile: bool,
}

/// Says what a container is becoming.
pub(super) const SEALING: &str = "sealing";

impl Store {
    /// Makes a container.
    ///
    /// # Errors
    /// [`Kind::NotFound`] without the layer, [`Kind::Unsupported`] for a read-only one of driver vfs.
    pub fn create_container(&self, new: &NewContainer) -> Result<ContainerMeta> {
        let driver = self.driver_for(new.driver, new.layer.as_ref())?;
        if new.read_only && driver.kind() == DriverKind::Vfs {
            let text = "a container of driver vfs is a directory, which cannot be read-only";
            return Err(Error::new(Kind::Unsupported, text));
        }
        let staging = self.stage()?;
        let _parent = self.lock_parent(new.layer.as_ref())?;
        let meta = ContainerMeta {
            id: Id::random()?,
            driver: driver.kind(),
            layer: new.layer.clone(),
            image: new.image.clone(),
            created: now(),
            read_only: new.read_only,
            volatile: new.volatile,
            writer: writer(),
            labels: Default::default(),
        };
        driver.begin_container(self, &staging.content(), new.layer.as_ref())?;
        write_json(&staging.meta(), &meta)?;
        let content = self.layout().content(meta.driver, &meta.id);
        let durable = self.sync == SyncPolicy::Full;
        staging.publish(
            self,
            Some(&content),
            &self.layout().container(&meta.id),
            durable,
        )?;
        Ok(meta)
    }

    /// What is known of a container, and a lock on it. What a crash interrupted is finished first.
    ///
    /// # Errors
    /// [`Kind::NotFound`], also when it turns out to have become a layer; [`Kind::Busy`].
    pub fn lock_container(&self, id: &Id, mode: LockMode) -> Result<(ContainerMeta, Lock)> {
        let meta = self.container(id)?;
        let content = self.layout().content(meta.driver, id);
        let gone = || Error::new(Kind::NotFound, format!("no container {id}"));
        let take = |mode| match Lock::take(&content, mode) {
            Err(error) if error.kind == Kind::NotFound => {
                // Removed meanwhile, or damaged.
                self.container(id)?;
                Err(Error::new(
                    Kind::Corrupt,
                    format!("container {id} has no content"),
                ))
            }
            result => result,
        };
        if is_there(&content.join(SEALING))? {
            let _store = self.lock(LockMode::Shared)?;
            let _alone = take(LockMode::Exclusive)?;
            self.settle(&meta)?;
        }
        let lock = take(mode)?;
        if !lock.still_at(&content) || !is_there(&self.layout().container(id))? {
            return Err(gone());
        }
        Ok((meta, lock))
    }

    /// How a container is seen.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when a layer is missing.
    pub fn mount_plan(&self, container: &ContainerMeta) -> Result<MountPlan> {
        driver(container.driver).plan(self, container)
    }

    /// The mount by which a container is seen, if it is mounted where this process looks.
    ///
    /// # Errors
    /// When there is no mount table.
    pub fn mounted(&self, container: &ContainerMeta) -> Result<Option<Entry>> {
        let MountPlan::Overlay(plan) = self.mount_plan(container)? else {
            return Ok(None);
        };
        let proc = Path::new("/proc/self/mountinfo");
        let table = Table::read().or_at("cannot read", proc)?;
        Ok(table.top_at(plan.merged.as_os_str()).cloned())
    }

    /// Makes a layer of what a container changed. With `remove`, by renames alone, and the container is gone.
    ///
    /// # Errors
    /// [`Kind::Precondition`] while it is mounted, [`Kind::Exists`] for an id or name that is taken.
    pub fn commit(&self, id: &Id, new: &NewLayer, remove: bool) -> Result<LayerMeta> {
        let staging = self.stage()?;
        let (container, _alone) = self.lock_container(id, LockMode::Exclusive)?;
        self.check_at_rest(&container)?;
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
        self.begin(Phase::Measure, None);
        meta.size = Usage::watched(&changes, self)?.size();
        meta.sync = self.sync;
        if remove {
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
            driver.copy_changes(self, id, &content.join("root"))?;
            meta = self.publish_layer(&staging, meta)?;
            self.name_layer(&meta.id, new.name.as_ref())?;
        }
        Ok(meta)
    }

    /// Removes a container with all it changed.
    ///
    /// # Errors
    /// [`Kind::Precondition`] while it is mounted, [`Kind::Busy`] while somebody uses it.
    pub fn remove_container(&self, id: &Id) -> Result<()> {
        let _store = self.lock(LockMode::Shared)?;
        let (meta, _alone) = match self.lock_container(id, LockMode::Exclusive) {
            Err(error) if error.kind == Kind::Corrupt => {
                return trash::discard(self, &self.layout().container(id));
            }
            result => result?,
        };
        self.check_at_rest(&meta)?;
        let content = self.layout().content(meta.driver, id);
        self.remove_object(&self.layout().container(id), &content)
    }

    /// Refuses what [`Store::remove_container`] refuses; `unmounted`: as if it were not mounted.
    ///
    /// # Errors
    /// As [`Store::remove_container`].
    pub fn check_removable(&self, id: &Id, unmounted: bool) -> Result<()> {
        match self.lock_container(id, LockMode::Shared) {
            Err(error) if error.kind == Kind::Corrupt => Ok(()),
            Ok((meta, _lock)) if !unmounted => self.check_at_rest(&meta),
            result => result.map(drop),
        }
    }

    /// Refuses a container that somebody may change just now, as far as one can see: it is mounted here, or a plyfs
    /// elsewhere has its upper.
    ///
    /// # Errors
    /// [`Kind::Precondition`], [`Kind::Busy`].
    pub fn check_at_rest(&self, container: &ContainerMeta) -> Result<()> {
        let id = &container.id;
        if self.mounted(container)?.is_some() {
            let text = format!("container {id} is mounted (`plyfs container unmount`)");
            return Err(Error::new(Kind::Precondition, text));
        }
        let changes = driver(container.driver).changes(self.layout(), id);
        // A daemon lets go a moment after its mount is gone.
        match Lock::take(&changes, LockMode::Exclusive) {
            Err(error) if error.kind == Kind::Busy => {
                let text = format!("container {id} is mounted in another mount namespace");
                Err(Error::new(Kind::Busy, text))
            }
            Err(error) if error.kind == Kind::NotFound => Err(Error::new(
                Kind::Corrupt,
                format!("container {id} has lost its tree"),
            )),
            result => result.map(drop),
        }
    }

    fn seal(&self, staging: &Staging, container: &ContainerMeta, layer: &LayerMeta) -> Result<()> {
        let content = self.layout().content(container.driver, &container.id);
        let durable = self.sync != SyncPolicy::None;
        self.clear_place(layer)?;
        let intent = staging.scratch(SEALING);
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

    /// Removes what a crash left where the layer's content goes.
    fn clear_place(&self, layer: &LayerMeta) -> Result<()> {
        let place = self.layout().content(layer.driver, &layer.id);
        match Lock::take(&place, LockMode::Exclusive) {
            Err(error) if error.kind == Kind::NotFound => Ok(()),
            Err(error) => Err(error),
            // Somebody was publishing it, and has.
            Ok(_) if is_there(&self.layout().layer(&layer.id))? => {
                let text = format!("layer {} exists already", layer.id);
                Err(Error::new(Kind::Exists, text))
            }
            Ok(_) => trash::discard(self, &place),
        }
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
            make_if_missing(&content)?;
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

fn make_if_missing(dir: &Path) -> Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        result => result.or_at("cannot make", dir),
    }
}

#[cfg(test)]
mod tests;
