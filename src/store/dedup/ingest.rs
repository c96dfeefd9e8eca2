//! A layer in the making: its files become links to equal ones of the layers that are there, before it is published.
//! The best moment for it: nobody has seen the layer yet, and a kill leaves garbage.
//!
//! Only layers whose index is there are asked: what has none was never compared, and `store dedup` does that.

use std::collections::{HashMap, HashSet};

use super::{Deduped, Part, eligible, link::Linker, mark, plan};
use crate::store::Store;
use crate::store::driver::open;
use crate::store::error::{Kind, Result};
use crate::store::id::Id;
use crate::store::index::{self, FileIndex, Known};
use crate::store::lock::{Lock, LockMode};
use crate::store::meta::{DriverKind, LayerMeta};
use crate::store::staging::Staging;

/// Of so many layers a file of the new one is compared with.
const SOURCES_MAX: usize = 2;

impl Store {
    /// Links the files of the layer whose tree is complete in `staging`. Its index is made where it has none.
    ///
    /// # Errors
    /// Those of reading and writing; the layer is of no use then.
    pub(in crate::store) fn dedup_staged(
        &self,
        staging: &Staging,
        layer: &mut LayerMeta,
    ) -> Result<Deduped> {
        let root = open(&staging.tree()?)?;
        let place = staging.meta().join(index::FILE);
        let index = match FileIndex::read(&place)? {
            Some(index) => index,
            None => {
                let index = index::build(&root, &Known::default(), self)?;
                staging.make_meta()?;
                index.write(&place)?;
                index
            }
        };
        layer.size = index.size();
        let (mut parts, _kept) = self.sources(layer, index.moved())?;
        parts.push(Part {
            layer: layer.clone(),
            root,
            index,
            replaced: true,
            singles_only: false,
        });
        let (all, new) = (parts.iter().collect::<Vec<_>>(), parts.len() - 1);
        let mut units = plan::equal_units(&all, 1);
        units.retain(|unit| unit.parts.contains(&new));
        for unit in &mut units {
            unit.parts.sort();
            unit.parts
                .drain(..unit.parts.len().saturating_sub(SOURCES_MAX + 1));
        }
        if units.is_empty() {
            return Ok(Deduped::default());
        }
        let used: HashSet<usize> = units.iter().flat_map(|unit| unit.parts.clone()).collect();
        for number in used {
            let part = &parts[number];
            mark::set_root(part.layer.driver, &part.root)?;
            if number != new {
                self.mark_deduplicated(&part.layer.id, staging)?;
            }
        }
        layer.deduplicated = true;
        Linker::new(&all, staging, self).run(&units)
    }

    /// The layers that may give files to a new one, and the locks that keep it so.
    fn sources(&self, new: &LayerMeta, moved: bool) -> Result<(Vec<Part>, Vec<Lock>)> {
        let (mut parts, mut locks) = (Vec::new(), Vec::new());
        let mut indices: HashMap<Id, FileIndex> = HashMap::new();
        let layers = self.all_layers(|error| log::info!("{error}"))?;
        for layer in layers.iter().filter(|layer| layer.driver == new.driver) {
            let place = self.layout().layer(&layer.id).join(index::FILE);
            if let Ok(Some(index)) = FileIndex::read(&place) {
                indices.insert(layer.id.clone(), index);
            }
        }
        let straight = |top: &Id| -> bool {
            let chain = self.chain(top).unwrap_or_default();
            !chain.is_empty()
                && chain
                    .iter()
                    .all(|layer| indices.get(&layer.id).is_some_and(|index| !index.moved()))
        };
        let overlay = new.driver == DriverKind::Overlay;
        if overlay && (moved || new.parent.as_ref().is_some_and(|parent| !straight(parent))) {
            return Ok((parts, locks));
        }
        let mut wanted = Vec::new();
        for layer in layers {
            if indices.contains_key(&layer.id) && (!overlay || straight(&layer.id)) {
                let content = self.layout().content(layer.driver, &layer.id);
                // No container is put on it meanwhile; of driver vfs none ever stands on it.
                let mode = match overlay {
                    true => LockMode::Exclusive,
                    false => LockMode::Shared,
                };
                match Lock::try_take(&content, mode) {
                    Ok(Some(lock)) => locks.push(lock),
                    Ok(None) => continue,
                    Err(error) if error.kind == Kind::NotFound => continue,
                    Err(error) => return Err(error),
                }
                wanted.push(layer);
            }
        }
        let below: HashSet<Id> = match overlay {
            true => self
                .below_containers()?
                .into_iter()
                .flat_map(|(_, chain)| chain)
                .collect(),
            false => HashSet::new(),
        };
        let mounted = eligible::mounted_overlays()?;
        for layer in wanted
            .into_iter()
            .filter(|layer| !below.contains(&layer.id))
        {
            let tree = self.tree(layer.driver, &layer.id);
            if eligible::in_mount(&mounted, &tree) {
                continue;
            }
            if let Some(index) = indices.remove(&layer.id) {
                parts.push(Part {
                    root: open(&tree)?,
                    layer,
                    index,
                    replaced: false,
                    singles_only: false,
                });
            }
        }
        Ok((parts, locks))
    }
}
