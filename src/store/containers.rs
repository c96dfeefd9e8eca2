//! The verbs of containers but commit: create, lock, remove.

use std::collections::BTreeMap;
use std::path::Path;

use super::Store;
use super::commit::SEALING;
use super::driver::{MountPlan, driver};
use super::drivers::overlay::make_dir;
use super::error::{Error, Kind, OrAt, Result};
use super::id::{Id, SnapshotKey};
use super::layers::refuse_snapshot;
use super::lock::{Lock, LockMode};
use super::meta::{
    ContainerMeta, DriverKind, IdMaps, SnapshotMeta, SyncPolicy, now, write_json, writer,
};
use super::staging::is_there;
use super::trash;
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
    /// Bytes on disk that it may take.
    pub size: Option<u64>,
    /// Files, directories and the rest that it may have.
    pub inodes: Option<u64>,
    /// Under which numbers owners are shown in it.
    pub idmap: Option<IdMaps>,
    /// Anything.
    pub labels: BTreeMap<String, String>,
    /// It is an active snapshot or a view, and its id is that of this key.
    pub snapshot: Option<SnapshotKey>,
}

impl Store {
    /// Makes a container.
    ///
    /// # Errors
    /// [`Kind::NotFound`] without the layer, [`Kind::Unsupported`] for a read-only one of driver vfs.
    pub fn create_container(&self, new: &NewContainer) -> Result<ContainerMeta> {
        let driver = self.driver_for(new.driver, new.layer.as_ref())?;
        // A view is mounted by others, and only to be read.
        let view = new.read_only && new.snapshot.is_some();
        let asked = match new {
            NewContainer {
                read_only: true, ..
            } if !view => Some("be read-only"),
            NewContainer { idmap: Some(_), .. } => Some("show other owners"),
            _ => None,
        };
        if let (Some(what), DriverKind::Vfs) = (asked, driver.kind()) {
            let text = format!("a container of driver vfs is a directory, which cannot {what}");
            return Err(Error::new(Kind::Unsupported, text));
        }
        let staging = self.stage()?;
        let _parent = self.lock_parent(new.layer.as_ref())?;
        let content = staging.content();
        make_dir(&content, 0o700)?;
        let quota = self.set_quota(&content, new.size, new.inodes)?;
        let created = now();
        let meta = ContainerMeta {
            id: match &new.snapshot {
                Some(key) => key.id(),
                None => Id::random()?,
            },
            driver: driver.kind(),
            layer: new.layer.clone(),
            image: new.image.clone(),
            created: created.clone(),
            read_only: new.read_only,
            volatile: new.volatile,
            quota,
            idmap: new.idmap.clone(),
            writer: writer(),
            labels: new.labels.clone(),
            snapshot: new.snapshot.clone().map(|key| SnapshotMeta {
                key,
                updated: created,
            }),
        };
        // What is only read is the layer itself, and no copy.
        let needs_no_copy = view && driver.kind() == DriverKind::Vfs;
        let below = new.layer.as_ref().filter(|_| !needs_no_copy);
        let made = driver.begin_container(self, &content, below);
        if let Err(error) = made.and_then(|()| write_json(&staging.meta(), &meta)) {
            self.lift_quota(&meta)?;
            return Err(error);
        }
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
        if container.driver == DriverKind::Vfs {
            return Ok(None);
        }
        // Not by its plan: that reads what is known of every layer below.
        let place = driver(container.driver).seen_at(self.layout(), &container.id);
        let proc = Path::new("/proc/self/mountinfo");
        let table = Table::read().or_at("cannot read", proc)?;
        Ok(table.top_at(place.as_os_str()).cloned())
    }

    /// Removes a container with all it changed.
    ///
    /// # Errors
    /// [`Kind::Precondition`] while it is mounted, and for a snapshot; [`Kind::Busy`] while somebody uses it.
    pub fn remove_container(&self, id: &Id) -> Result<()> {
        self.refuse_snapshot_container(id)?;
        self.discard_container(id)
    }

    fn refuse_snapshot_container(&self, id: &Id) -> Result<()> {
        match self.container(id) {
            // What is damaged must be removable.
            Err(error) if error.kind == Kind::Corrupt => Ok(()),
            container => refuse_snapshot(container?.snapshot.as_ref()),
        }
    }

    /// Removes a container, whatever it is to others.
    ///
    /// # Errors
    /// As [`Store::remove_container`].
    pub(super) fn discard_container(&self, id: &Id) -> Result<()> {
        let _store = self.lock(LockMode::Shared)?;
        let (meta, _alone) = match self.lock_container(id, LockMode::Exclusive) {
            Err(error) if error.kind == Kind::Corrupt => {
                return trash::discard(self, &self.layout().container(id));
            }
            result => result?,
        };
        self.check_at_rest(&meta)?;
        let content = self.layout().content(meta.driver, id);
        self.lift_quota(&meta)?;
        self.remove_object(&self.layout().container(id), &content)
    }

    /// Refuses what [`Store::remove_container`] refuses; `unmounted`: as if it were not mounted.
    ///
    /// # Errors
    /// As [`Store::remove_container`].
    pub fn check_removable(&self, id: &Id, unmounted: bool) -> Result<()> {
        self.refuse_snapshot_container(id)?;
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
}
