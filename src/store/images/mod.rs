//! Images: a list of layers with a configuration, known by the digest of the configuration.
//!
//! What an image has in the store: `image.json` ([`ImageMeta`]), `config` and, when it came with one, `manifest`: these
//! two byte for byte as they came, so that an image leaves as what it was. Read [`format`](mod@format) (what is in a
//! layout or archive), `source` (reading one), [`import`], [`leaving`], [`export`].

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::error::{Error, Kind, OrAt, Result};
use super::id::{Id, ObjectName};
use super::layers::Users;
use super::lock::LockMode;
use super::meta::{DriverKind, SyncPolicy, now, read_json, writer};
use super::names::Named;
use super::trash;
use super::{Store, all};

pub mod export;
pub mod format;
pub mod import;
pub mod leaving;
mod pack;
mod source;

/// `image.json`: what is known of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMeta {
    /// Its id: the digest of its configuration.
    pub id: Id,
    /// Its layers, the lowest first.
    pub layers: Vec<Id>,
    /// When it came here, RFC 3339.
    pub created: String,
    /// Digest of the manifest it came with.
    #[serde(default)]
    pub manifest: Option<Digest>,
    /// The program that made it.
    pub writer: String,
}

/// An image that is whole: all of its layers are in the store.
#[derive(Clone, Debug)]
pub struct NewImage {
    /// The configuration, as it came.
    pub config: Vec<u8>,
    /// The manifest, as it came.
    pub manifest: Option<Vec<u8>>,
    /// The layers, the lowest first.
    pub layers: Vec<Id>,
}

impl Store {
    /// What is known of an image.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Corrupt`].
    pub fn image(&self, id: &Id) -> Result<ImageMeta> {
        let path = self.layout().image(id).join("image.json");
        read_json(&path)?.ok_or_else(|| Error::new(Kind::NotFound, format!("no image {id}")))
    }

    /// Its configuration, byte for byte.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when it is not what the id says.
    pub fn image_config(&self, id: &Id) -> Result<Vec<u8>> {
        let path = self.layout().image(id).join("config");
        let config = fs::read(&path).or_at("cannot read", &path)?;
        if Digest::of(&config).hex() != id.as_str() {
            return Err(Error::at(Kind::Corrupt, "damaged:", &path, "wrong digest"));
        }
        Ok(config)
    }

    /// The manifest it came with, byte for byte.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when it is not what it was.
    pub fn image_manifest(&self, image: &ImageMeta) -> Result<Option<Vec<u8>>> {
        let Some(digest) = image.manifest else {
            return Ok(None);
        };
        let path = self.layout().image(&image.id).join("manifest");
        let manifest = fs::read(&path).or_at("cannot read", &path)?;
        if Digest::of(&manifest) != digest {
            return Err(Error::at(Kind::Corrupt, "damaged:", &path, "wrong digest"));
        }
        Ok(Some(manifest))
    }

    /// All images, in the order of their ids. Damage of one is told and does not hide the others.
    ///
    /// # Errors
    /// Those of reading.
    pub fn all_images(&self, damaged: impl FnMut(Error)) -> Result<Vec<ImageMeta>> {
        all(self.images()?, |id| self.image(id), damaged)
    }

    /// Publishes an image. It is no error when it is there already.
    ///
    /// # Errors
    /// Those of writing.
    pub fn add_image(&self, new: &NewImage) -> Result<ImageMeta> {
        let meta = ImageMeta {
            id: Id::parse(&Digest::of(&new.config).hex())?,
            layers: new.layers.clone(),
            created: now(),
            manifest: new.manifest.as_deref().map(Digest::of),
            writer: writer(),
        };
        let staging = self.stage()?;
        staging.write_meta("image.json", &meta)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = staging.meta().join(name);
            fs::write(&path, bytes).or_at("cannot write", &path)
        };
        write("config", &new.config)?;
        if let Some(manifest) = &new.manifest {
            write("manifest", manifest)?;
        }
        let durable = self.sync != SyncPolicy::None;
        match staging.publish(self, None, &self.layout().image(&meta.id), durable) {
            Err(error) if error.kind == Kind::Exists => self.image(&meta.id),
            result => result.map(|()| meta),
        }
    }

    /// Gives an image a name; a name of another image moves.
    ///
    /// # Errors
    /// [`Kind::Exists`] when a layer has it.
    pub fn tag(&self, image: &Id, name: &ObjectName) -> Result<()> {
        self.image(image)?;
        let object = Named::Image(image.clone());
        match self.names()?.into_iter().find(|(taken, _)| taken == name) {
            Some((_, Named::Layer(_))) => {
                let text = format!("the name {name} is taken by a layer");
                Err(Error::new(Kind::Exists, text))
            }
            _ => self.move_name(name, &object),
        }
    }

    /// Removes an image, its names, and those of its layers that nothing else needs. Gives these.
    ///
    /// # Errors
    /// [`Kind::Precondition`] while containers were made of it.
    pub fn remove_image(&self, id: &Id) -> Result<Vec<Id>> {
        let image = self.removable_image(id)?;
        {
            let _store = self.lock(LockMode::Shared)?;
            for name in self.names_of(&Named::Image(id.clone()))? {
                self.remove_name(&name)?;
            }
            trash::discard(self, &self.layout().image(id))?;
        }
        self.remove_unused(&image.layers)
    }

    /// The layers that [`Store::remove_image`] would remove, were `gone` not there any more; `gone` grows by these and
    /// the image.
    ///
    /// # Errors
    /// As [`Store::remove_image`].
    pub fn unused_with_image(&self, id: &Id, gone: &mut Users) -> Result<Vec<Id>> {
        let image = self.removable_image(id)?;
        gone.images.push(image.id);
        self.take_unused(&image.layers, |layer| {
            self.check_unused(layer, gone)?;
            gone.layers.push(layer.clone());
            Ok(())
        })
    }

    fn removable_image(&self, id: &Id) -> Result<ImageMeta> {
        let image = self.image(id)?;
        let mut unknown = None;
        let containers = self.all_containers(|error| unknown = Some(error))?;
        if let Some(error) = unknown {
            return Err(error);
        }
        for container in containers {
            if container.image.as_ref() == Some(id) {
                let text = format!("image {id} is in use by container {}", container.id);
                return Err(Error::new(Kind::Precondition, text));
            }
        }
        Ok(image)
    }

    /// Removes layers, given the lowest first, that have no name and that nothing stands on.
    pub(super) fn remove_unused(&self, layers: &[Id]) -> Result<Vec<Id>> {
        self.take_unused(layers, |layer| self.remove_layer(layer))
    }

    fn take_unused(
        &self,
        layers: &[Id],
        mut take: impl FnMut(&Id) -> Result<()>,
    ) -> Result<Vec<Id>> {
        let mut removed = Vec::new();
        let mut seen = BTreeSet::new();
        for layer in layers
            .iter()
            .rev()
            .filter(|layer| seen.insert((*layer).clone()))
        {
            if !self.names_of(&Named::Layer(layer.clone()))?.is_empty() {
                break;
            }
            match take(layer) {
                Ok(()) => removed.push(layer.clone()),
                Err(error)
                    if matches!(error.kind, Kind::NotFound | Kind::Precondition | Kind::Busy) =>
                {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// The id of a layer that is known by its content. One driver's layers are not another's.
    pub(super) fn chain_layer(&self, chain: Digest, driver: DriverKind) -> Result<Id> {
        let digest = match driver == self.config().driver {
            true => chain,
            false => Digest::of(format!("{chain} {driver}").as_bytes()),
        };
        Id::parse(&digest.hex())
    }

    /// The image and its top-most layer, for a container.
    ///
    /// # Errors
    /// As [`Store::find_image`].
    pub fn find_image_top(&self, text: &str) -> Result<(Id, Option<Id>)> {
        let image = self.image(&self.find_image(text)?)?;
        Ok((image.id, image.layers.last().cloned()))
    }
}

/// Reads a small file.
fn read_small(path: &Path, file: &mut impl std::io::Read) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let limit = format::DOCUMENT_BYTES_MAX;
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .or_at("cannot read", path)?;
    if bytes.len() as u64 > limit {
        return Err(Error::at(
            Kind::Corrupt,
            "too long:",
            path,
            format!("more than {limit} bytes"),
        ));
    }
    Ok(bytes)
}
