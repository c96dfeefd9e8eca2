//! Checking a store: is everything there that its objects need, and (`deep`) is it still what it was? Garbage is no
//! damage. Repairing removes what is known of objects that are not there any more, and names that lead nowhere; it
//! never removes anything that is there.

use std::fs;

use serde::Serialize;

use super::Store;
use super::driver::driver;
use super::error::{Kind, Result};
use super::gc::Garbage;
use super::id::Id;
use super::lock::LockMode;
use super::meta::{ContainerMeta, LayerMeta, Size, SnapshotMeta};
use super::staging::is_there;
use super::trash;
use super::watch::{Phase, Watch, tell};

mod deep;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What is wrong.
    pub damage: Vec<Damage>,
    /// What `store gc` would remove and finish.
    pub garbage: Garbage,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The object: `layer ID`.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// Repairing it loses nothing.
    pub repairable: bool,
    /// It was repaired.
    pub repaired: bool,
}

impl Store {
    /// Looks at every object; with `repair`, does what can be done without losing anything.
    ///
    /// # Errors
    /// [`Kind::Busy`] while anybody works in the store.
    pub fn check(&self, repair: bool) -> Result<Report> {
        let mut report = Report::default();
        if repair {
            report.garbage = self.gc()?;
        }
        let _alone = self.lock(LockMode::Exclusive)?;
        if !repair {
            report.garbage.paths = self.find_garbage()?;
            let interrupted = self.interrupted()?.into_iter();
            report.garbage.settled = interrupted.map(|(container, _)| container.id).collect();
        }
        let (layers, containers) = (self.layers()?, self.containers()?);
        let entries = (layers.len() + containers.len()) as u64;
        self.begin(Phase::Check, Some(Size { bytes: 0, entries }));
        for id in layers {
            tell(self, 0, 1)?;
            let found = self.check_layer(&id, repair)?;
            report.damage.extend(found);
        }
        for id in containers {
            tell(self, 0, 1)?;
            let found = self.check_container(&id, repair)?;
            report.damage.extend(found);
        }
        Ok(report)
    }

    fn check_layer(&self, id: &Id, repair: bool) -> Result<Option<Damage>> {
        let damage = |what: String, repairable| {
            let object = format!("layer {id}");
            Ok(Some(Damage {
                object,
                what,
                repairable,
                repaired: repairable && repair,
            }))
        };
        let meta: LayerMeta = match self.layer(id) {
            Ok(meta) => meta,
            Err(error) if matches!(error.kind, Kind::Corrupt | Kind::NotFound) => {
                return damage(error.to_string(), false);
            }
            Err(error) => return Err(error),
        };
        if meta.id != *id {
            return damage(format!("its layer.json says it is {}", meta.id), false);
        }
        if let Some(what) = misnamed(meta.snapshot.as_ref(), id) {
            return damage(what, false);
        }
        if !is_there(&self.tree(meta.driver, id))? {
            // Nothing of it is left but what was known of it.
            let repairable = self.users_of(id)?.is_empty();
            if repairable && repair {
                trash::discard(self, &self.layout().layer(id))?;
            }
            return damage("its tree is missing".into(), repairable);
        }
        match self.chain(id) {
            Err(error) if error.kind == Kind::Corrupt => damage(error.to_string(), false),
            result => result.map(|_| None),
        }
    }

    fn check_container(&self, id: &Id, repair: bool) -> Result<Option<Damage>> {
        let damage = |what: String, repairable| {
            let object = format!("container {id}");
            Ok(Some(Damage {
                object,
                what,
                repairable,
                repaired: repairable && repair,
            }))
        };
        let meta: ContainerMeta = match self.container(id) {
            Ok(meta) => meta,
            Err(error) if error.kind == Kind::Corrupt => return damage(error.to_string(), false),
            Err(error) => return Err(error),
        };
        if let Some(what) = misnamed(meta.snapshot.as_ref(), id) {
            return damage(what, false);
        }
        let content = self.layout().content(meta.driver, id);
        let interrupted = self
            .interrupted()?
            .iter()
            .any(|(container, _)| container.id == *id);
        if interrupted {
            return Ok(None);
        }
        if !is_there(&content)? {
            if repair {
                trash::discard(self, &self.layout().container(id))?;
            }
            return damage("its content is missing".into(), true);
        }
        for part in driver(meta.driver).parts() {
            if !is_there(&content.join(part))? {
                return damage(format!("its {part} is missing"), false);
            }
        }
        let layer = meta.layer.as_ref();
        if let Ok(text) = fs::read_to_string(content.join("lower-id"))
            && text.trim() != layer.map_or("", Id::as_str)
        {
            return damage(
                format!("its lower-id says {}", text.trim().escape_debug()),
                false,
            );
        }
        match layer.map(|layer| self.chain(layer)) {
            Some(Err(error)) if matches!(error.kind, Kind::Corrupt | Kind::NotFound) => {
                damage(error.to_string(), false)
            }
            Some(Err(error)) => Err(error),
            _ => Ok(None),
        }
    }
}

/// A snapshot is found by the id that is made of its key.
fn misnamed(snapshot: Option<&SnapshotMeta>, id: &Id) -> Option<String> {
    let key = &snapshot?.key;
    (key.id() != *id).then(|| format!("it says it is snapshot {key}, which has another id"))
}
