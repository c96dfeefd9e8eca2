//! Which layers may share files by links.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::Path;

use super::Part;
use crate::store::Store;
use crate::store::error::{Error, Kind, OrAt, Result};
use crate::store::id::Id;
use crate::store::lock::{Lock, LockMode};
use crate::store::meta::{ContainerMeta, DriverKind};
use crate::store::staging::is_there;

/// Which layers may take part.
pub(super) struct Eligible {
    /// For each of the layers, why not.
    pub why_not: Vec<Option<String>>,
    /// Containers stand on these, and that was said not to matter.
    pub forced: BTreeSet<Id>,
    /// The containers stay as they are, as long as these are held.
    _at_rest: Vec<Lock>,
}

impl Store {
    /// `force`: layers below containers may, too, as long as nobody uses these.
    pub(super) fn eligible(&self, parts: &[Part], force: bool) -> Result<Eligible> {
        let moved: HashSet<&Id> = parts
            .iter()
            .filter(|part| part.layer.driver == DriverKind::Overlay && part.index.moved())
            .map(|part| &part.layer.id)
            .collect();
        let (used, mut at_rest) = (self.below_containers()?, Vec::new());
        let mut in_use: HashMap<Id, String> = HashMap::new();
        let mut forced = BTreeSet::new();
        for (container, chain) in &used {
            let why = match force {
                false => Err("containers stand on it".to_string()),
                true => self.hold_offline(container).map(|lock| at_rest.push(lock)),
            };
            for layer in chain {
                match &why {
                    Ok(()) => drop(forced.insert(layer.clone())),
                    Err(why) => drop(in_use.insert(layer.clone(), why.clone())),
                }
            }
        }
        let mounted = mounted_overlays()?;
        let mut why_not = Vec::new();
        for part in parts {
            why_not.push(self.why_not(part, &moved, &in_use, &mounted));
        }
        Ok(Eligible {
            why_not,
            forced,
            _at_rest: at_rest,
        })
    }

    fn why_not(
        &self,
        part: &Part,
        moved: &HashSet<&Id>,
        in_use: &HashMap<Id, String>,
        mounted: &[String],
    ) -> Option<String> {
        let id = &part.layer.id;
        if part.layer.driver == DriverKind::Vfs {
            return None;
        }
        let chain = match self.chain(id) {
            Err(error) => return Some(error.to_string()),
            Ok(chain) => chain,
        };
        if chain.iter().any(|layer| moved.contains(&layer.id)) {
            let why = "a directory of it, or of a layer below it, has another name further below";
            return Some(why.to_string());
        }
        let tree = self.tree(part.layer.driver, id);
        if in_mount(mounted, &tree) {
            return Some("it is in a mount that is not one of the store".to_string());
        }
        in_use.get(id).cloned()
    }

    /// Each container of driver overlay, with all layers below it.
    pub(super) fn below_containers(&self) -> Result<Vec<(ContainerMeta, Vec<Id>)>> {
        let mut unknown = None;
        let containers = self.all_containers(|error| unknown = Some(error))?;
        if let Some(error) = unknown {
            let text = format!("{error}; on which layers it stands is not known");
            return Err(Error::new(Kind::Corrupt, text));
        }
        let mut found = Vec::new();
        for container in containers {
            if let (DriverKind::Overlay, Some(layer)) = (container.driver, &container.layer) {
                let chain = self.chain(layer)?.into_iter().map(|layer| layer.id);
                let chain = chain.collect();
                found.push((container, chain));
            }
        }
        Ok(found)
    }

    /// Keeps a container from being mounted; why that is no use, if it is none.
    fn hold_offline(&self, container: &ContainerMeta) -> Result<Lock, String> {
        let id = &container.id;
        let held = self.lock_container(id, LockMode::Exclusive);
        let (_, lock) = held.map_err(|error| error.to_string())?;
        let at_rest = self.check_at_rest(container);
        at_rest.map_err(|error| error.to_string())?;
        let index = self
            .layout()
            .content(container.driver, id)
            .join("work/index");
        let unused = fs::read_dir(&index).map_or(true, |mut entries| entries.next().is_none());
        match is_there(&index) {
            Ok(there) if !there || unused => Ok(lock),
            _ => Err(format!(
                "container {id} has an index of files with several names"
            )),
        }
    }
}

/// The options of all overlays of the kernel that are mounted where this process looks.
///
/// # Errors
/// When there is no mount table.
pub(super) fn mounted_overlays() -> Result<Vec<String>> {
    let path = Path::new("/proc/self/mountinfo");
    let table = fs::read(path).or_at("cannot read", path)?;
    let table = String::from_utf8_lossy(&table);
    let overlays = table
        .lines()
        .filter_map(|line| line.split_once(" - overlay "));
    Ok(overlays.map(|(_, options)| options.to_string()).collect())
}

/// Is it one of the directories of such a mount?
pub(super) fn in_mount(mounted: &[String], tree: &Path) -> bool {
    let tree = tree.to_string_lossy();
    mounted.iter().any(|options| names_dir(options, &tree))
}

/// Do mount options have this directory? A path that the table writes in another way than it is only seems not to be
/// there, and then the mount is one by hand over layers of a store with such a name.
fn names_dir(options: &str, dir: &str) -> bool {
    options.split([',', ':', '=', ' ']).any(|word| word == dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_both_kinds_of_options() {
        let options = "overlay rw,lowerdir+=/s/overlay/a/root,lowerdir=/x:/s/b,upperdir=/u";
        for dir in ["/s/overlay/a/root", "/s/b", "/x", "/u"] {
            assert!(names_dir(options, dir));
        }
        assert!(!names_dir(options, "/s/overlay/a"));
    }
}
