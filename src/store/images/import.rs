//! Images from layouts, archives and directories. Every digest is verified while layers are unpacked; a layer that is
//! in the store already is not read again. What fails leaves no layer behind.

use std::fs;
use std::path::{Path, PathBuf};

use super::format::new_config;
use super::source::Bundle;
use super::{ImageMeta, NewImage};
use crate::store::Store;
use crate::store::apply::{ApplyOptions, Expected, TreeForm, apply};
use crate::store::changes::between;
use crate::store::digest::Digest;
use crate::store::driver::open;
use crate::store::error::{Error, Kind, OrAt, Result};
use crate::store::export::TarExport;
use crate::store::files::source;
use crate::store::id::{Id, ObjectName};
use crate::store::layers::NewLayer;
use crate::store::lock::Lock;
use crate::store::merged::{Marked, Stack};
use crate::store::meta::{DriverKind, LayerMeta};
use crate::store::names::Named;
use crate::store::recipe::of_pipe;
use crate::store::remarks::Remarks;
use crate::store::transfer::Unpacking;

/// Where an image is, or shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An OCI image layout: a directory, and a tag in it.
    Oci(PathBuf, Option<String>),
    /// The same as an archive.
    OciArchive(PathBuf, Option<String>),
    /// What `docker save` writes.
    DockerArchive(PathBuf, Option<String>),
    /// The whole tree as an archive.
    Tar(PathBuf),
    /// The whole tree as a directory.
    Dir(PathBuf),
}

impl Place {
    /// Reads `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`, `tar:FILE`, `dir:DIR`.
    ///
    /// # Errors
    /// [`Kind::Invalid`].
    pub fn parse(text: &str) -> Result<Place> {
        let wrong = || {
            let text = text.escape_debug();
            let kinds = "oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], tar:FILE or dir:DIR";
            let text = format!("{text}: {kinds} is wanted");
            Error::new(Kind::Invalid, text)
        };
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag.to_string()).filter(|tag| !tag.is_empty())),
            None => (rest, None),
        };
        if rest.is_empty() || path.is_empty() {
            return Err(wrong());
        }
        match kind {
            "oci" => Ok(Place::Oci(path.into(), tag)),
            "oci-archive" => Ok(Place::OciArchive(path.into(), tag)),
            "docker-archive" => Ok(Place::DockerArchive(path.into(), tag)),
            "tar" => Ok(Place::Tar(rest.into())),
            "dir" => Ok(Place::Dir(rest.into())),
            _ => Err(wrong()),
        }
    }
}

/// An image that came.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The image.
    pub image: ImageMeta,
    /// Names it has got.
    pub names: Vec<ObjectName>,
    /// What could not be as the image has it.
    pub remarks: Remarks,
}

/// An import on its way.
struct Import<'a> {
    store: &'a Store,
    driver: Option<DriverKind>,
    how: &'a Unpacking<'a>,
    /// All layers so far, the lowest first; none of them is removed meanwhile.
    layers: Vec<Id>,
    locks: Vec<Lock>,
    /// Those that were not in the store before.
    made: Vec<Id>,
    remarks: Remarks,
}

impl Store {
    /// Takes an image in. `name` instead of the names it comes with.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is none, [`Kind::Corrupt`] when it is damaged, lies or does harm,
    /// [`Kind::Exists`] when a layer has the name; the store is as before then.
    pub fn import_image(
        &self,
        from: &Place,
        name: Option<&ObjectName>,
        driver: Option<DriverKind>,
        how: &Unpacking<'_>,
    ) -> Result<Imported> {
        if let Some(name) = name {
            self.check_tag(name)?;
        }
        let mut import = Import {
            store: self,
            driver,
            how,
            layers: Vec::new(),
            locks: Vec::new(),
            made: Vec::new(),
            remarks: Remarks::default(),
        };
        let imported = import.run(from).and_then(|(new, names)| {
            let image = self.add_image(&new)?;
            if image.layers != new.layers {
                let text = format!(
                    "image {} is there already, kept by another driver",
                    image.id
                );
                return Err(Error::new(Kind::Exists, text));
            }
            Ok((image, names))
        });
        let Import {
            made,
            locks,
            remarks,
            ..
        } = import;
        drop(locks);
        let (image, found) = match imported {
            Ok(done) => done,
            Err(error) => {
                self.remove_unused(&made)?;
                return Err(error);
            }
        };
        let names = self.name_image(&image, name, &found)?;
        Ok(Imported {
            image,
            names,
            remarks,
        })
    }

    fn check_tag(&self, name: &ObjectName) -> Result<()> {
        let owner = self.names()?.into_iter().find(|(taken, _)| taken == name);
        match owner {
            Some((_, Named::Layer(_))) => {
                let text = format!("the name {name} is taken by a layer");
                Err(Error::new(Kind::Exists, text))
            }
            _ => Ok(()),
        }
    }

    fn name_image(
        &self,
        image: &ImageMeta,
        name: Option<&ObjectName>,
        found: &[String],
    ) -> Result<Vec<ObjectName>> {
        if let Some(name) = name {
            self.tag(&image.id, name)?;
            return Ok(vec![name.clone()]);
        }
        let mut names = Vec::new();
        // What others call it is a suggestion.
        for name in found.iter().filter_map(|name| ObjectName::parse(name).ok()) {
            match self.tag(&image.id, &name) {
                Ok(()) => names.push(name),
                Err(error) if error.kind == Kind::Exists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(names)
    }
}

impl Import<'_> {
    fn run(&mut self, from: &Place) -> Result<(NewImage, Vec<String>)> {
        let staging = self.store.stage()?;
        let bundle = match from {
            Place::Oci(path, tag) => Bundle::oci(path, tag.as_deref())?,
            Place::OciArchive(path, tag) => {
                let dir = staging.scratch("image");
                self.unpack_archive(path, &dir)?;
                Bundle::oci(&dir, tag.as_deref())?
            }
            Place::DockerArchive(path, name) => {
                let dir = staging.scratch("image");
                self.unpack_archive(path, &dir)?;
                Bundle::docker(&dir, name.as_deref())?
            }
            Place::Tar(path) => {
                let layer = self.layer(source(path)?, Expected::default())?;
                return self.of_one_layer(&layer);
            }
            Place::Dir(path) => {
                let layer = self.directory(path)?;
                return self.of_one_layer(&layer);
            }
        };
        self.bundle(bundle)
    }

    fn bundle(&mut self, bundle: Bundle) -> Result<(NewImage, Vec<String>)> {
        if let Some(layers) = self.layers_of(&bundle.config)? {
            for layer in layers {
                self.take(layer)?;
            }
        }
        let mut chain = None;
        for (path, expected) in bundle.layers.iter().skip(self.layers.len()) {
            let diff_id = expected.diff_id;
            chain = diff_id.map(|diff_id| Digest::chain(chain, diff_id));
            let known = match chain {
                Some(chain) => Some(self.store.chain_layer(chain, self.kind())?),
                None => None,
            };
            match known.filter(|id| self.store.layer(id).is_ok()) {
                Some(id) => self.take(id)?,
                None => drop(self.layer(bundle.open(path)?, *expected)?),
            }
        }
        let image = NewImage {
            config: bundle.config,
            manifest: bundle.manifest,
            layers: self.layers.clone(),
        };
        Ok((image, bundle.names))
    }

    /// The layers of an image that is there already.
    fn layers_of(&self, config: &[u8]) -> Result<Option<Vec<Id>>> {
        let id = Id::parse(&Digest::of(config).hex())?;
        let image = match self.store.image(&id) {
            Err(error) if error.kind == Kind::NotFound => return Ok(None),
            result => result?,
        };
        let driver = match image.layers.first() {
            Some(layer) => self.store.layer(layer)?.driver,
            None => self.kind(),
        };
        match self.driver {
            Some(asked) if asked != driver => {
                let text = format!("image {id} is there already, kept by driver {driver}");
                Err(Error::new(Kind::Exists, text))
            }
            _ => Ok(Some(image.layers)),
        }
    }

    fn kind(&self) -> DriverKind {
        self.driver.unwrap_or(self.store.config().driver)
    }

    /// Uses a layer that is there.
    fn take(&mut self, id: Id) -> Result<()> {
        self.locks.extend(self.store.lock_parent(Some(&id))?);
        self.layers.push(id);
        Ok(())
    }

    fn layer(
        &mut self,
        blob: Box<dyn std::io::Read + Send>,
        expected: Expected,
    ) -> Result<LayerMeta> {
        let new = NewLayer {
            parent: self.layers.last().cloned(),
            driver: Some(self.kind()),
            ..NewLayer::default()
        };
        let how = Unpacking {
            expected,
            by_content: true,
            ..*self.how
        };
        let number = self.layers.len() + 1;
        let unpacked = self.store.unpack_layer(&new, blob, &how);
        let unpacked =
            unpacked.map_err(|error| Error::new(error.kind, format!("layer {number}: {error}")))?;
        self.remarks.add(unpacked.applied.remarks);
        if !unpacked.was_there {
            self.made.push(unpacked.layer.id.clone());
        }
        self.take(unpacked.layer.id.clone())?;
        Ok(unpacked.layer)
    }

    /// A directory as a layer: it passes through an archive, so that its digest is known.
    fn directory(&mut self, path: &Path) -> Result<LayerMeta> {
        let missing = |_| Error::at(Kind::NotFound, "no directory", path, "it is not there");
        fs::metadata(path).map_err(missing)?;
        let tree = Stack::merge(vec![open(path)?], Marked::No).or_at("cannot read", path)?;
        let tree = tree.ok_or_else(|| Error::new(Kind::Other, "an empty stack"))?;
        let (reader, writer) = std::io::pipe().or_at("cannot make a pipe for", path)?;
        let watch = self.how.watch;
        std::thread::scope(|scope| {
            let export = scope.spawn(move || {
                let mut export = TarExport::new(std::io::BufWriter::new(writer), watch);
                between(None, &tree, &mut export)?;
                let (mut sink, remarks) = export.finish()?;
                std::io::Write::flush(&mut sink).map_err(crate::store::recipe::cannot_write)?;
                Ok::<_, Error>(remarks)
            });
            let layer = self.layer(Box::new(reader), Expected::default());
            let crashed = |_| Err(Error::new(Kind::Other, "a thread panicked"));
            let (remarks, layer) = of_pipe(export.join().unwrap_or_else(crashed), layer)?;
            self.remarks.add(remarks);
            Ok(layer)
        })
    }

    fn of_one_layer(&self, layer: &LayerMeta) -> Result<(NewImage, Vec<String>)> {
        let digest = layer.diff_id.as_deref().map(Digest::parse).transpose()?;
        let diff_ids: Vec<Digest> = digest.into_iter().collect();
        let config = new_config(&diff_ids, "plyfs image import");
        let image = NewImage {
            config: config.to_string().into_bytes(),
            manifest: None,
            layers: self.layers.clone(),
        };
        Ok((image, Vec::new()))
    }

    /// An archive of an image is an archive like any other: unpacked under the same rules, to a directory of ours.
    fn unpack_archive(&self, path: &Path, dir: &Path) -> Result<()> {
        fs::create_dir(dir).or_at("cannot make", dir)?;
        let options = ApplyOptions {
            limits: self.how.limits,
            devices: self.how.devices,
            strict_xattrs: false,
            expected: Expected::default(),
            recipe: None,
            hashes: false,
            watch: self.how.watch,
        };
        apply(&open(dir)?, TreeForm::Whole, source(path)?, &options)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_all_kinds() {
        let tag = Some("reg/a:1".to_string());
        for (text, place) in [
            ("oci:d", Place::Oci("d".into(), None)),
            ("oci:/a/b:reg/a:1", Place::Oci("/a/b".into(), tag.clone())),
            ("oci-archive:f.tar", Place::OciArchive("f.tar".into(), None)),
            (
                "docker-archive:f:reg/a:1",
                Place::DockerArchive("f".into(), tag),
            ),
            ("tar:a:b", Place::Tar("a:b".into())),
            ("dir:.", Place::Dir(".".into())),
        ] {
            assert_eq!(Place::parse(text).unwrap(), place);
        }
        for bad in ["", "x", "oci:", "oci::tag", "docker://debian", "tar:"] {
            assert_eq!(Place::parse(bad).unwrap_err().kind, Kind::Invalid, "{bad}");
        }
    }
}
