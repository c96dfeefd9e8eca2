//! What is known of a snapshot, told as containerd tells it: parents by their keys.

use std::collections::HashMap;

use serde::Serialize;

use super::labels::Labels;
use crate::store::Store;
use crate::store::error::{Error, Kind, Result};
use crate::store::id::{Id, SnapshotKey};
use crate::store::meta::{ContainerMeta, DriverKind, LayerMeta};

/// What a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotKind {
    /// It can be changed and committed.
    Active,
    /// It can be read.
    View,
    /// It does not change, and others may begin as it is.
    Committed,
}

impl SnapshotKind {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            SnapshotKind::Active => "active",
            SnapshotKind::View => "view",
            SnapshotKind::Committed => "committed",
        }
    }
}

/// What is known of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Its key.
    pub name: SnapshotKey,
    /// What it is.
    pub kind: SnapshotKind,
    /// The key of the committed snapshot that it began as; the id of a layer that is none.
    pub parent: Option<String>,
    /// Anything.
    pub labels: Labels,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When its labels were last changed, RFC 3339.
    pub updated: String,
    /// The container or layer that it is.
    pub id: Id,
    /// How that is kept.
    pub driver: DriverKind,
}

/// What has a key.
pub(super) enum Object {
    Container(ContainerMeta),
    Layer(LayerMeta),
}

impl Object {
    pub(super) fn kind(&self) -> SnapshotKind {
        match self {
            Object::Layer(_) => SnapshotKind::Committed,
            Object::Container(container) => container_kind(container),
        }
    }
}

fn container_kind(container: &ContainerMeta) -> SnapshotKind {
    match container.read_only {
        true => SnapshotKind::View,
        false => SnapshotKind::Active,
    }
}

impl Store {
    /// What is known of a snapshot.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Corrupt`].
    pub fn snapshot(&self, key: &SnapshotKey) -> Result<Snapshot> {
        match self.snapshot_object(key)? {
            Object::Container(container) => self.of_container(container),
            Object::Layer(layer) => self.of_layer(layer),
        }
    }

    /// All snapshots, sorted by their keys. Damage of one is told and does not hide the others.
    ///
    /// # Errors
    /// Those of reading.
    pub fn snapshots(&self, mut damaged: impl FnMut(Error)) -> Result<Vec<Snapshot>> {
        let layers = self.all_layers(&mut damaged)?;
        let containers = self.all_containers(&mut damaged)?;
        let keys: HashMap<&Id, &SnapshotKey> = layers
            .iter()
            .filter_map(|layer| Some((&layer.id, &layer.snapshot.as_ref()?.key)))
            .collect();
        let called = |parent: Option<&Id>| {
            let parent = parent?;
            let key = keys.get(parent).map(|key| key.as_str());
            Some(key.unwrap_or(parent.as_str()).to_string())
        };
        let layers = layers
            .iter()
            .filter_map(|layer| layer_snapshot(layer, called(layer.parent.as_ref())));
        let containers = containers.iter().filter_map(|container| {
            container_snapshot(container, called(container.layer.as_ref()))
        });
        let mut all: Vec<Snapshot> = layers.chain(containers).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The key of a layer, or its id.
    fn parent_key(&self, parent: Option<&Id>) -> Result<Option<String>> {
        let Some(parent) = parent else {
            return Ok(None);
        };
        match self.layer(parent) {
            // Damage of the parent does not hide the child.
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::Corrupt) => {
                Ok(Some(parent.to_string()))
            }
            layer => Ok(Some(match layer?.snapshot {
                Some(snapshot) => snapshot.key.into(),
                None => parent.to_string(),
            })),
        }
    }

    pub(super) fn of_container(&self, container: ContainerMeta) -> Result<Snapshot> {
        let parent = self.parent_key(container.layer.as_ref())?;
        container_snapshot(&container, parent).ok_or_else(|| no_snapshot(&container.id))
    }

    pub(super) fn of_layer(&self, layer: LayerMeta) -> Result<Snapshot> {
        let parent = self.parent_key(layer.parent.as_ref())?;
        layer_snapshot(&layer, parent).ok_or_else(|| no_snapshot(&layer.id))
    }
}

fn container_snapshot(container: &ContainerMeta, parent: Option<String>) -> Option<Snapshot> {
    let snapshot = container.snapshot.clone()?;
    Some(Snapshot {
        name: snapshot.key,
        kind: container_kind(container),
        parent,
        labels: container.labels.clone(),
        created: container.created.clone(),
        updated: snapshot.updated,
        id: container.id.clone(),
        driver: container.driver,
    })
}

fn layer_snapshot(layer: &LayerMeta, parent: Option<String>) -> Option<Snapshot> {
    let snapshot = layer.snapshot.clone()?;
    Some(Snapshot {
        name: snapshot.key,
        kind: SnapshotKind::Committed,
        parent,
        labels: layer.labels.clone(),
        created: layer.created.clone(),
        updated: snapshot.updated,
        id: layer.id.clone(),
        driver: layer.driver,
    })
}

/// Somebody gave the id of a key to something else.
fn no_snapshot(id: &Id) -> Error {
    Error::new(
        Kind::Corrupt,
        format!("{id} has the id of a snapshot and is none"),
    )
}
