//! Reading everything: is each layer still what it was when its index was made? A layer is sealed, so nobody may have
//! changed it; but root can, and so can a disk.
//!
//! Where there is no index, or a damaged one, the archive that the layer came as says what it is; where there is none
//! either, what is there now is taken for right, and the next check knows it.

use std::collections::HashMap;

use super::Damage;
use crate::store::Store;
use crate::store::driver::open;
use crate::store::error::{Error, Kind, Result};
use crate::store::id::Id;
use crate::store::index::{self, FileIndex, Known, Record};
use crate::store::lock::LockMode;
use crate::store::meta::LayerMeta;
use crate::store::recipe;
use crate::store::transfer::Tree;
use crate::store::watch::{Phase, Watch};

/// Of so many files of one layer it is told what is wrong with them.
const TOLD_MAX: usize = 100;

impl Store {
    /// Reads all layers and compares them with their indices. With `repair` a damaged index is made again.
    ///
    /// # Errors
    /// Those of reading.
    pub fn check_contents(&self, repair: bool, watch: &dyn Watch) -> Result<Vec<Damage>> {
        let _store = self.lock(LockMode::Shared)?;
        watch.begin(Phase::Check, None);
        let mut damage = Vec::new();
        for id in self.layers()? {
            // What has no content or no meta was told already.
            let Ok(_kept) = self.lock_parent(Some(&id)) else {
                continue;
            };
            if let Ok(layer) = self.layer(&id) {
                self.check_content(&layer, repair, watch, &mut damage)?;
            }
        }
        Ok(damage)
    }

    fn check_content(
        &self,
        layer: &LayerMeta,
        repair: bool,
        watch: &dyn Watch,
        damage: &mut Vec<Damage>,
    ) -> Result<()> {
        let place = self.layout().layer(&layer.id).join(index::FILE);
        let old = match FileIndex::read(&place) {
            Ok(Some(old)) => old,
            Ok(None) => {
                if self.check_archive(layer, watch, damage)? {
                    self.make_index(layer, watch)?;
                }
                return Ok(());
            }
            Err(error) if error.kind == Kind::Corrupt => {
                let proven = self.check_archive(layer, watch, damage)?;
                if proven && repair {
                    self.make_index(layer, watch)?;
                }
                damage.push(of(
                    &layer.id,
                    "its index is damaged".into(),
                    proven && repair,
                ));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let tree = open(&self.tree(layer.driver, &layer.id))?;
        let now = index::build(&tree, &Known::default(), watch)?;
        let found = compare(&old, &now);
        let more = found.len().saturating_sub(TOLD_MAX);
        for what in found.into_iter().take(TOLD_MAX) {
            damage.push(of(&layer.id, what, false));
        }
        if more > 0 {
            damage.push(of(&layer.id, format!("and {more} more differences"), false));
        }
        Ok(())
    }

    /// Is the layer what its archive was? True also without one.
    fn check_archive(
        &self,
        layer: &LayerMeta,
        watch: &dyn Watch,
        damage: &mut Vec<Damage>,
    ) -> Result<bool> {
        if !recipe::exists(&self.layout().layer(&layer.id))? || layer.diff_id.is_none() {
            return Ok(true);
        }
        let tree = Tree::Layer(layer.id.clone());
        match self.export(&tree, None, &mut std::io::sink(), watch) {
            Ok(_) => Ok(true),
            // Whatever is missing or cannot be read: the archive does not come back.
            Err(error) if !watch.is_stopped() => {
                damage.push(of(&layer.id, reason(&error, &layer.id), false));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

fn reason(error: &Error, layer: &Id) -> String {
    let text = error.to_string();
    let known = format!("layer {layer} is damaged: ");
    text.strip_prefix(&known).unwrap_or(&text).to_string()
}

fn of(layer: &Id, what: String, repaired: bool) -> Damage {
    Damage {
        object: format!("layer {layer}"),
        what,
        repairable: false,
        repaired,
    }
}

/// What became of the objects of a layer, each with its path.
fn compare(old: &FileIndex, now: &FileIndex) -> Vec<String> {
    let (old_links, new_links) = (first_names(old), first_names(now));
    let (mut before, mut after) = (old.records().peekable(), now.records().peekable());
    let mut found = Vec::new();
    let mut tell = |path: &[u8], what: &str| {
        let path = match path {
            b"" => ".".into(),
            _ => path.escape_ascii().to_string(),
        };
        found.push(format!("{path}: {what}"));
    };
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(old), Some(new)) => old.path.cmp(new.path),
        };
        let old = (order.is_le()).then(|| before.next()).flatten();
        let new = (order.is_ge()).then(|| after.next()).flatten();
        match (old, new) {
            (Some(old), None) => tell(old.path, "it is missing"),
            (None, Some(new)) => tell(new.path, "it was not in the layer"),
            (Some(old), Some(new)) => {
                let links = |names: &HashMap<u32, &[u8]>, record: &Record<'_>| {
                    names.get(&record.group).map(|name| name.to_vec())
                };
                let same_links = links(&old_links, &old) == links(&new_links, &new);
                if let Some(what) = difference(&old, &new, same_links) {
                    tell(old.path, &what);
                }
            }
            (None, None) => break,
        }
    }
    found
}

fn difference(old: &Record<'_>, new: &Record<'_>, same_links: bool) -> Option<String> {
    Some(if old.kind != new.kind {
        "it is of another type".to_string()
    } else if old.content.is_some() && new.content.is_none() {
        "it cannot be read".to_string()
    } else if old.size != new.size || (old.content.is_some() && old.content != new.content) {
        "its content has changed".to_string()
    } else if old.perm != new.perm {
        format!("its mode is {:o}, not {:o}", new.perm, old.perm)
    } else if (old.uid, old.gid) != (new.uid, new.gid) {
        let (is, was) = ((new.uid, new.gid), (old.uid, old.gid));
        format!("its owner is {}:{}, not {}:{}", is.0, is.1, was.0, was.1)
    } else if old.mtime != new.mtime {
        "its time has changed".to_string()
    } else if old.attributes != new.attributes {
        "its attributes have changed".to_string()
    } else if !same_links {
        "it has other names".to_string()
    } else {
        return None;
    })
}

/// The first name of each file that has several.
fn first_names(index: &FileIndex) -> HashMap<u32, &[u8]> {
    let mut names = HashMap::new();
    for record in index.records().filter(|record| record.group != 0) {
        names.entry(record.group).or_insert(record.path);
    }
    names
}
