//! Labels of snapshots: all that can be changed of one that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::info::{Object, Snapshot};
use crate::store::Store;
use crate::store::error::{Error, Kind, OrAt, Result};
use crate::store::id::SnapshotKey;
use crate::store::lock::LockMode;
use crate::store::meta::{SnapshotMeta, SyncPolicy, now, write_json};
use crate::store::staging::sync_parent;

/// Bytes of a label, its name and its value together; containerd's limit.
const LABEL_BYTES_MAX: usize = 4096;

/// Labels by their names.
pub type Labels = BTreeMap<String, String>;

/// How labels are to change.
#[derive(Clone, Debug, Default)]
pub struct Relabel {
    /// Those that are there now count for nothing.
    pub replace: bool,
    /// To have these values.
    pub set: Labels,
    /// To be there no more.
    pub remove: BTreeSet<String>,
}

impl Store {
    /// Changes the labels of a snapshot. Nothing else of it can be changed.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Invalid`] for labels that are none.
    pub fn label_snapshot(&self, key: &SnapshotKey, change: &Relabel) -> Result<Snapshot> {
        check(&change.set)?;
        match self.snapshot_object(key)? {
            Object::Container(container) => {
                let id = container.id;
                let (_, _alone) = self.lock_container(&id, LockMode::Exclusive)?;
                // It may have changed until the lock was there.
                let mut container = self.container(&id)?;
                change.apply(&mut container.labels, container.snapshot.as_mut());
                let place = self.layout().container(&id);
                let staging = self.stage()?;
                let staged = staging.scratch("container.json");
                write_json(&staged, &container)?;
                fs::rename(&staged, &place).or_at("cannot write", &place)?;
                self.sync_labels(&place)?;
                self.of_container(container)
            }
            Object::Layer(layer) => {
                let _kept = self.lock_parent(Some(&layer.id))?;
                self.update_layer(&layer.id, |layer| {
                    change.apply(&mut layer.labels, layer.snapshot.as_mut());
                })?;
                let layer = self.layer(&layer.id)?;
                self.sync_labels(&self.layout().layer(&layer.id).join("layer.json"))?;
                self.of_layer(layer)
            }
        }
    }

    fn sync_labels(&self, place: &Path) -> Result<()> {
        match self.sync {
            SyncPolicy::Full => sync_parent(place),
            SyncPolicy::Commit | SyncPolicy::None => Ok(()),
        }
    }
}

impl Relabel {
    fn apply(&self, labels: &mut Labels, snapshot: Option<&mut SnapshotMeta>) {
        if self.replace {
            labels.clear();
        }
        labels.retain(|name, _| !self.remove.contains(name));
        labels.extend(self.set.clone());
        if let Some(snapshot) = snapshot {
            snapshot.updated = now();
        }
    }
}

/// Refuses what cannot be a label.
///
/// # Errors
/// [`Kind::Invalid`].
pub(super) fn check(labels: &Labels) -> Result<()> {
    for (name, value) in labels {
        let why = match (name.len(), name.len() + value.len()) {
            (0, _) => "it has no name".to_string(),
            (_, n) if n > LABEL_BYTES_MAX => {
                format!("{n} bytes are too many ({LABEL_BYTES_MAX} are allowed)")
            }
            _ => continue,
        };
        let name: String = name.chars().take(64).collect();
        let text = format!("label {}: {why}", name.escape_debug());
        return Err(Error::new(Kind::Invalid, text));
    }
    Ok(())
}
