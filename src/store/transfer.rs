//! Layers from archives and to archives, and what layers and containers change.

use std::io::{Read, Write};

use super::Store;
use super::apply::{Applied, ApplyOptions, Devices, Expected, Limits, TreeForm, apply};
use super::changes::{Visit, between, of_top};
use super::diff_id::chain_id;
use super::digest::{Digest, Hashing};
use super::driver::{driver, open};
use super::error::{Error, Kind, OrAt, Result};
use super::export::TarExport;
use super::id::Id;
use super::index;
use super::layers::NewLayer;
use super::merged::{Marked, MergedDir, Stack};
use super::meta::{DriverKind, LayerMeta};
use super::recipe;
use super::remarks::Remarks;
use super::watch::{Phase, Watch};
use crate::layer::keys::Namespace;

/// How to unpack an archive to a layer.
#[derive(Clone, Copy)]
pub struct Unpacking<'a> {
    /// What may be unpacked.
    pub limits: Limits,
    /// What to do with devices where none can be made.
    pub devices: Devices,
    /// An attribute that cannot be set is an error.
    pub strict_xattrs: bool,
    /// Digests known before.
    pub expected: Expected,
    /// The layer is known by its content: its id is made of its digest and those below, and one that is there already
    /// is taken instead.
    pub by_content: bool,
    /// Who looks on.
    pub watch: &'a dyn Watch,
}

/// A layer that came as an archive.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// What is known of it.
    pub layer: LayerMeta,
    /// What was unpacked.
    pub applied: Applied,
    /// It was there already.
    pub was_there: bool,
}

impl<'a> Unpacking<'a> {
    /// As usual.
    pub fn new(watch: &'a dyn Watch) -> Unpacking<'a> {
        Unpacking {
            limits: Limits::default(),
            devices: Devices::default(),
            strict_xattrs: false,
            expected: Expected::default(),
            by_content: false,
            watch,
        }
    }
}

/// A layer or a container: what can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// A layer, with all below it.
    Layer(Id),
    /// A container, as it is now.
    Container(Id),
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Digest of the archive.
    pub diff_id: Digest,
    /// Its bytes.
    pub size: u64,
    /// What could not be said in it.
    pub remarks: Remarks,
}

impl Store {
    /// Makes a layer of an archive: plain, gzip or zstd.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] for an archive that is damaged, lies or does harm, and those of [`Store::add_layer`]; the
    /// store is as before then.
    pub fn unpack_layer(
        &self,
        new: &NewLayer,
        source: Box<dyn Read + Send>,
        how: &Unpacking<'_>,
    ) -> Result<Unpacked> {
        let (above, below) = match &new.parent {
            Some(parent) => {
                let view = self.view(&Tree::Layer(parent.clone()))?;
                (Some(self.layer(parent)?.chain_id), Some(view))
            }
            None => (None, None),
        };
        let mut unpacked = None;
        let added = self.add_layer(new, |driver, staging, tree, meta| {
            let recipe = staging.meta();
            std::fs::create_dir(&recipe).or_at("cannot make", &recipe)?;
            let options = ApplyOptions {
                limits: how.limits,
                devices: how.devices,
                strict_xattrs: how.strict_xattrs,
                expected: how.expected,
                recipe: Some(&recipe),
                hashes: true,
                watch: how.watch,
            };
            let form = match driver.kind() {
                DriverKind::Vfs => TreeForm::Whole,
                DriverKind::Overlay => TreeForm::Difference {
                    marks: self.marks()?,
                    below,
                },
            };
            let root = open(tree)?;
            let applied = apply(&root, form, source, &options)?;
            // What was copied from the parent was not read, and need not be before somebody asks.
            if driver.kind() == DriverKind::Overlay || new.parent.is_none() {
                let index = index::build(&root, &applied.known, how.watch)?;
                index.write(&recipe.join(index::FILE))?;
                meta.size = index.size();
            }
            let diff_id = applied.blob.diff_id;
            meta.diff_id = Some(diff_id.to_string());
            let chain = chain_id(above.as_ref(), diff_id)?;
            meta.chain_id = chain.map(|chain| chain.to_string());
            if let (true, Some(chain)) = (how.by_content, chain) {
                meta.id = self.chain_layer(chain, driver.kind())?;
            }
            unpacked = Some((meta.id.clone(), applied));
            Ok(())
        });
        match (added, unpacked) {
            (Ok((layer, ())), Some((_, applied))) => Ok(Unpacked {
                layer,
                applied,
                was_there: false,
            }),
            (Err(error), Some((id, applied))) if error.kind == Kind::Exists && how.by_content => {
                let layer = self.layer(&id).map_err(|_| error)?;
                Ok(Unpacked {
                    layer,
                    applied,
                    was_there: true,
                })
            }
            (Err(error), _) => Err(error),
            (Ok(_), None) => Err(Error::new(Kind::Other, "nothing was unpacked")),
        }
    }

    fn marks(&self) -> Result<Namespace> {
        let marks = self.config().features.xattr;
        let why = "the filesystem of the store has no extended attributes";
        let marks = marks.ok_or_else(|| Error::new(Kind::Unsupported, why))?;
        Ok(marks.namespace())
    }

    /// The tree of a layer or container as it is seen, without a mount.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Corrupt`] when a layer below is missing.
    pub fn view(&self, tree: &Tree) -> Result<MergedDir> {
        let (kind, below) = self.stands_on(tree)?;
        let (top, below) = match tree {
            Tree::Layer(id) => (self.tree(kind, id), below),
            Tree::Container(id) => (driver(kind).changes(self.layout(), id), below),
        };
        let mut roots = vec![open(&top)?];
        if let (DriverKind::Overlay, Some(below)) = (kind, below) {
            for layer in self.chain(&below)? {
                roots.push(open(&self.tree(kind, &layer.id))?);
            }
        }
        let marked = match kind {
            DriverKind::Overlay => Marked::Yes,
            DriverKind::Vfs => Marked::No,
        };
        let merged = Stack::merge(roots, marked).or_at("cannot read", &top)?;
        merged.ok_or_else(|| Error::new(Kind::Corrupt, "a tree without layers"))
    }

    /// The driver of a layer or container, and the layer it stands on.
    fn stands_on(&self, tree: &Tree) -> Result<(DriverKind, Option<Id>)> {
        Ok(match tree {
            Tree::Layer(id) => {
                let meta = self.layer(id)?;
                (meta.driver, meta.parent)
            }
            Tree::Container(id) => {
                let meta = self.container(id)?;
                (meta.driver, meta.layer)
            }
        })
    }

    /// Tells what a tree changes: of `base`, else of what it stands on.
    ///
    /// # Errors
    /// Those of [`Store::view`], of reading, and of who is told.
    pub fn changes(
        &self,
        tree: &Tree,
        base: Option<&Tree>,
        visit: &mut (dyn Visit + Send),
    ) -> Result<()> {
        let view = self.view(tree)?;
        if let Some(base) = base {
            return between(Some(&self.view(base)?), &view, visit);
        }
        match self.stands_on(tree)? {
            (DriverKind::Overlay, _) => of_top(&view, visit),
            (DriverKind::Vfs, Some(below)) => {
                between(Some(&self.view(&Tree::Layer(below))?), &view, visit)
            }
            (DriverKind::Vfs, None) => between(None, &view, visit),
        }
    }

    /// Writes what a tree changes as an archive: of `base`, else of what it stands on. A layer that came as an archive
    /// becomes the same archive again, byte for byte.
    ///
    /// # Errors
    /// Those of [`Store::changes`] and of writing; [`Kind::Corrupt`] when a layer is not what its digest says.
    pub fn export(
        &self,
        tree: &Tree,
        base: Option<&Tree>,
        sink: &mut (dyn Write + Send),
        watch: &dyn Watch,
    ) -> Result<Exported> {
        watch.begin(Phase::Pack, None);
        if let (Tree::Layer(id), None) = (tree, base) {
            let _kept = self.lock_parent(Some(id))?;
            let recipe = self.layout().layer(id);
            let meta = self.layer(id)?;
            if recipe::exists(&recipe)? {
                let root = open(&self.tree(meta.driver, id))?;
                let exported = hashed(sink, |sink| {
                    recipe::replay(&recipe, &root, sink, watch).map(|()| Remarks::default())
                })?;
                return match meta.diff_id {
                    Some(expected) if expected != exported.diff_id.to_string() => {
                        let is = exported.diff_id;
                        let text = format!("layer {id} is damaged: its archive has digest {is}");
                        Err(Error::new(Kind::Corrupt, text))
                    }
                    _ => Ok(exported),
                };
            }
        }
        hashed(sink, |sink| self.write_changes(tree, base, sink, watch))
    }

    /// As [`Store::export`], for who does not ask for the digest: it is computed only where it proves that a layer is
    /// undamaged.
    ///
    /// # Errors
    /// As [`Store::export`].
    pub fn export_undigested(
        &self,
        tree: &Tree,
        base: Option<&Tree>,
        sink: &mut (dyn Write + Send),
        watch: &dyn Watch,
    ) -> Result<Remarks> {
        if let (Tree::Layer(id), None) = (tree, base)
            && recipe::exists(&self.layout().layer(id))?
        {
            return Ok(self.export(tree, None, sink, watch)?.remarks);
        }
        watch.begin(Phase::Pack, None);
        let _kept = match tree {
            Tree::Layer(id) => self.lock_parent(Some(id))?,
            Tree::Container(_) => None,
        };
        let remarks = self.write_changes(tree, base, &mut *sink, watch)?;
        sink.flush().map_err(recipe::cannot_write)?;
        Ok(remarks)
    }

    fn write_changes(
        &self,
        tree: &Tree,
        base: Option<&Tree>,
        sink: impl Write + Send,
        watch: &dyn Watch,
    ) -> Result<Remarks> {
        let mut export = TarExport::new(sink, watch);
        self.changes(tree, base, &mut export)?;
        Ok(export.finish()?.1)
    }

    /// Writes the whole tree as an archive that stands on nothing.
    ///
    /// # Errors
    /// As [`Store::export`].
    pub fn export_whole(
        &self,
        tree: &Tree,
        sink: &mut (dyn Write + Send),
        watch: &dyn Watch,
    ) -> Result<Exported> {
        watch.begin(Phase::Pack, None);
        hashed(sink, |sink| {
            let mut export = TarExport::new(sink, watch);
            between(None, &self.view(tree)?, &mut export)?;
            Ok(export.finish()?.1)
        })
    }
}

type Sink<'a> = Hashing<&'a mut (dyn Write + Send)>;

fn hashed(
    sink: &mut (dyn Write + Send),
    write: impl FnOnce(&mut Sink<'_>) -> Result<Remarks>,
) -> Result<Exported> {
    let mut hashing = Hashing::new(sink);
    let remarks = write(&mut hashing)?;
    let (sink, diff_id, size) = hashing.finish();
    sink.flush().map_err(recipe::cannot_write)?;
    Ok(Exported {
        diff_id,
        size,
        remarks,
    })
}
