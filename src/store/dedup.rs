//! Equal files of different layers become one: by hard links, or by sharing blocks where the filesystem can.
//!
//! A hard link is one inode at one path of several layers. That is safe under any stacking exactly if
//! - the layers are sealed, and nothing was copied up from them: no container stands on them;
//! - path, bytes, owner, mode, time and all attributes are equal, so that nobody can tell the files apart;
//! - all names that the file has in one layer it has in the other, and no others;
//! - no directory around has another name in the layers below, so that the inode is never seen at two paths.
//!
//! Then an overlay copies it up at one path and leaves the inode alone, as it leaves every lower file alone.
//!
//! Nothing is believed: files are compared byte by byte right before one takes the place of the other, by a link in
//! staging and a rename, so that the name is there at every moment. What a kill leaves is in `journal`.
//!
//! Read this file, then `eligible` (which layers), `plan` (which files), `link` and `share` (how), `ingest` (the same
//! for a layer in the making).

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::Store;
use super::error::{Error, Kind, Result};
use super::id::Id;
use super::index::{self, FileIndex, Known};
use super::lock::LockMode;
use super::meta::{DriverKind, LayerMeta, SyncPolicy};
use super::staging::{Staging, sync_filesystem};
use super::watch::{Phase, Watch};
use crate::sys::dir::DirFd;

mod compare;
mod eligible;
mod ingest;
mod journal;
mod link;
mod mark;
mod plan;
mod share;

use link::Linker;

/// A file never gets more names than this: below what any usual filesystem takes (ext4: 65,000).
pub const LINKS_MAX: u32 = 60_000;

/// How files become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Links where they are safe, shared blocks for the rest where the filesystem can.
    #[default]
    Auto,
    /// Links alone.
    Hardlink,
    /// Shared blocks alone.
    Reflink,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct DedupOptions {
    /// How.
    pub method: Method,
    /// Smaller files are left alone, in bytes.
    pub min_size: u64,
    /// Nothing is changed, and no file read that the indices know.
    pub dry_run: bool,
    /// Also layers that containers stand on, as long as these are not mounted and have no index.
    pub force_offline: bool,
}

/// Files, and the bytes in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// Files.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

impl Saved {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }

    fn plus(&mut self, other: Saved) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// What was done, or with a dry run what could be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deduped {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Layers that were looked at.
    pub layers: u64,
    /// Files that are links to equal ones of other layers now.
    pub linked: Saved,
    /// Files that share their blocks with equal ones now.
    pub shared: Saved,
    /// Bytes on disk that links made free.
    pub freed: u64,
    /// Files that were left as they are, by why.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Layers whose files were not linked, and why.
    pub left_alone: Vec<LeftAlone>,
}

/// A layer whose files were not linked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftAlone {
    /// Which.
    pub layer: Id,
    /// Why.
    pub why: String,
}

impl Deduped {
    fn add(&mut self, other: Deduped) {
        self.linked.plus(other.linked);
        self.shared.plus(other.shared);
        self.freed += other.freed;
        for (why, files) in other.skipped {
            *self.skipped.entry(why).or_default() += files;
        }
    }

    fn skip(&mut self, why: &'static str) {
        *self.skipped.entry(why).or_default() += 1;
    }
}

/// A layer that takes part.
struct Part {
    layer: LayerMeta,
    root: DirFd,
    index: FileIndex,
    /// Its files may be replaced by links to equal ones.
    replaced: bool,
    /// Files with several names in it take no part.
    singles_only: bool,
}

impl Store {
    /// Makes equal files of sealed layers one.
    ///
    /// # Errors
    /// [`Kind::Busy`] while others work in the store, [`Kind::Unsupported`] when blocks are to be shared and cannot be,
    /// [`Kind::Corrupt`] when it is not known what stands on a layer.
    pub fn dedup(&self, options: &DedupOptions, watch: &dyn Watch) -> Result<Deduped> {
        let reflink = self.config().features.reflink;
        if options.method == Method::Reflink && !reflink {
            let why = "files of this filesystem cannot share blocks (--method hardlink)";
            return Err(Error::new(Kind::Unsupported, why));
        }
        // Reading takes long and hinders nobody.
        watch.begin(Phase::Hash, None);
        let mut known = self.all_indices(watch)?;
        let _alone = self.lock(LockMode::Exclusive)?;
        self.settle_links()?;
        let staging = Staging::in_locked(self)?;
        let mut report = Deduped {
            dry_run: options.dry_run,
            ..Deduped::default()
        };
        let mut parts = self.parts(&mut known)?;
        report.layers = parts.len() as u64;
        if options.method != Method::Reflink {
            let eligible = self.eligible(&parts, options.force_offline)?;
            for (part, why) in parts.iter_mut().zip(eligible.why_not) {
                part.replaced = why.is_none();
                part.singles_only = eligible.forced.contains(&part.layer.id);
                report.left_alone.extend(why.map(|why| LeftAlone {
                    layer: part.layer.id.clone(),
                    why,
                }));
            }
            for driver in [DriverKind::Overlay, DriverKind::Vfs] {
                let some: Vec<&Part> = parts
                    .iter()
                    .filter(|part| part.replaced && part.layer.driver == driver)
                    .collect();
                report.add(self.link_equal(&some, &staging, options, watch)?);
            }
        }
        if options.method != Method::Hardlink && reflink {
            report.add(share::share_equal(&parts, options, watch)?);
        }
        Ok(report)
    }

    /// The index of a layer: as it is in the store, else made now and kept.
    ///
    /// # Errors
    /// Those of reading the layer.
    pub fn index_of(&self, layer: &LayerMeta, watch: &dyn Watch) -> Result<FileIndex> {
        let place = self.layout().layer(&layer.id).join(index::FILE);
        match FileIndex::read(&place) {
            Ok(Some(index)) => return Ok(index),
            Ok(None) => {}
            Err(error) if error.kind == Kind::Corrupt => log::info!("{error}; it is made again"),
            Err(error) => return Err(error),
        }
        self.make_index(layer, watch)
    }

    /// Makes the index of a layer, in place of what there is. The caller has locked the store.
    ///
    /// # Errors
    /// Those of reading the layer.
    pub(super) fn make_index(&self, layer: &LayerMeta, watch: &dyn Watch) -> Result<FileIndex> {
        let tree = super::driver::open(&self.tree(layer.driver, &layer.id))?;
        let index = index::build(&tree, &Known::default(), watch)?;
        let staging = Staging::in_locked(self)?;
        journal::put(
            &index,
            &staging,
            &self.layout().layer(&layer.id),
            index::FILE,
        )?;
        Ok(index)
    }

    fn all_indices(&self, watch: &dyn Watch) -> Result<HashMap<Id, FileIndex>> {
        let _store = self.lock(LockMode::Shared)?;
        let mut known = HashMap::new();
        for id in self.layers()? {
            // Removed meanwhile, or damaged: `parts` knows better.
            let Ok(_kept) = self.lock_parent(Some(&id)) else {
                continue;
            };
            if let Ok(layer) = self.layer(&id) {
                known.insert(id, self.index_of(&layer, watch)?);
            }
        }
        Ok(known)
    }

    /// All whole layers with their indices. One that came meanwhile waits for the next time.
    fn parts(&self, known: &mut HashMap<Id, FileIndex>) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        for layer in self.all_layers(|error| log::warn!("{error}"))? {
            if let Some(index) = known.remove(&layer.id) {
                parts.push(Part {
                    root: super::driver::open(&self.tree(layer.driver, &layer.id))?,
                    layer,
                    index,
                    replaced: false,
                    singles_only: false,
                });
            }
        }
        Ok(parts)
    }

    fn link_equal(
        &self,
        parts: &[&Part],
        staging: &Staging,
        options: &DedupOptions,
        watch: &dyn Watch,
    ) -> Result<Deduped> {
        let mut units = plan::equal_units(parts, options.min_size.max(1));
        plan::drop_done(parts, &mut units);
        if options.dry_run {
            return Ok(plan::count(&units));
        }
        if units.is_empty() {
            return Ok(Deduped::default());
        }
        let durable = self.sync != SyncPolicy::None;
        for (number, part) in parts.iter().enumerate() {
            if units.iter().any(|unit| unit.parts.contains(&number)) {
                self.mark_deduplicated(&part.layer.id, staging)?;
                mark::set_root(part.layer.driver, &part.root)?;
                journal::write(
                    part,
                    number,
                    &units,
                    staging,
                    &self.layout().layer(&part.layer.id),
                )?;
            }
        }
        if durable {
            sync_filesystem(self.layout().root())?;
        }
        watch.begin(Phase::Dedup, Some(plan::total(&units)));
        let linked = Linker::new(parts, staging, watch).run(&units);
        if durable {
            sync_filesystem(self.layout().root())?;
        }
        match linked {
            Ok(report) => self.forget_links().map(|()| report),
            Err(error) => self.settle_links().and(Err(error)),
        }
    }
}
