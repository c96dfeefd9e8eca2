//! Garbage: what a crash left that no object needs. It takes the whole store for itself for that moment, so nothing
//! that is being made is ever taken for garbage.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Store;
use super::commit::SEALING;
use super::error::{OrAt, Result};
use super::id::Id;
use super::lock::{Lock, LockMode};
use super::meta::{DriverKind, Size};
use super::names::Named;
use super::staging::is_there;
use super::trash;
use super::watch::{Phase, Watch, tell};

/// What is not needed, and what became of the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Garbage {
    /// Paths in the store.
    pub paths: Vec<PathBuf>,
    /// Containers that a crash caught becoming layers, and that are finished or taken back.
    pub settled: Vec<Id>,
}

impl Store {
    /// Finishes what was interrupted and removes all garbage.
    ///
    /// # Errors
    /// [`Kind::Busy`](super::error::Kind::Busy) while anybody works in the store.
    pub fn gc(&self) -> Result<Garbage> {
        let _alone = self.lock(LockMode::Exclusive)?;
        let settled = self.settle_all()?;
        let paths = self.find_garbage()?;
        self.settle_links()?;
        let mut failed = None;
        self.begin(
            Phase::Remove,
            Some(Size {
                bytes: 0,
                entries: paths.len() as u64,
            }),
        );
        for path in &paths {
            tell(self, 0, 1)?;
            // One that cannot be removed is no reason to keep the others.
            if let Err(error) = trash::remove(&self.layout().root().join(path)) {
                failed = Some(error);
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(Garbage { paths, settled }),
        }
    }

    /// What [`Store::gc`] would do.
    ///
    /// # Errors
    /// As [`Store::gc`].
    pub fn garbage(&self) -> Result<Garbage> {
        let _alone = self.lock(LockMode::Exclusive)?;
        let settled = self.interrupted()?;
        Ok(Garbage {
            paths: self.find_garbage()?,
            settled: settled
                .into_iter()
                .map(|(container, _)| container.id)
                .collect(),
        })
    }

    /// The store is locked by the caller, alone.
    pub(super) fn find_garbage(&self) -> Result<Vec<PathBuf>> {
        let layout = self.layout();
        let mut found = entries(&layout.trash())?;
        found.extend(self.unsettled_links()?);
        for dir in entries(&layout.tmp())? {
            let lock = dir.join("lock");
            let held = is_there(&lock)? && Lock::try_take(&lock, LockMode::Exclusive)?.is_none();
            found.extend((!held).then_some(dir));
        }
        let pending = self.interrupted()?;
        for driver in [DriverKind::Overlay, DriverKind::Vfs] {
            for content in entries(&layout.contents(driver))? {
                let id = content
                    .file_name()
                    .and_then(|name| Id::parse(name.to_str()?).ok());
                let known = match &id {
                    Some(id) => {
                        is_there(&layout.layer(id))?
                            || is_there(&layout.container(id))?
                            || pending.iter().any(|(_, layer)| layer.id == *id)
                    }
                    None => false,
                };
                found.extend((!known).then_some(content));
            }
        }
        for (name, object) in self.names()? {
            let meta = match &object {
                Named::Layer(id) => layout.layer(id),
                Named::Image(id) => layout.image(id),
            };
            found.extend((!is_there(&meta)?).then(|| layout.name(&name)));
        }
        let inside = |path: &PathBuf| path.strip_prefix(layout.root()).map(Path::to_path_buf);
        Ok(found.iter().flat_map(inside).collect())
    }

    fn settle_all(&self) -> Result<Vec<Id>> {
        let mut settled = Vec::new();
        for (container, _) in self.interrupted()? {
            let content = self.layout().content(container.driver, &container.id);
            let _alone = Lock::take(&content, LockMode::Exclusive)?;
            if is_there(&content.join(SEALING))? {
                self.settle(&container)?;
                settled.push(container.id);
            }
        }
        Ok(settled)
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).or_at("cannot read", dir)? {
        found.push(entry.or_at("cannot read", dir)?.path());
    }
    found.sort();
    Ok(found)
}
