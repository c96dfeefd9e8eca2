//! Images to layouts, archives and directories. The configuration leaves byte for byte as it came, so the image keeps
//! its id; where the layers are packed as they came, the manifest does too.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::json;

use super::format::{
    DOCUMENT_BYTES_MAX, Descriptor, DockerImage, Index, LAYOUT, Manifest, REF_NAME, diff_ids,
    layer_type, manifest, parse, points_to,
};
use super::import::Place;
use super::leaving::Leaving;
use super::pack::pack;
use crate::store::Store;
use crate::store::apply::{ApplyOptions, Devices, Expected, Limits, TreeForm, apply};
use crate::store::blob::Compression;
use crate::store::digest::{Digest, Hashing};
use crate::store::driver::open;
use crate::store::error::{Error, Kind, OrAt, Result};
use crate::store::files::{keep, write_file};
use crate::store::id::Id;
use crate::store::recipe::{cannot_write, of_pipe};
use crate::store::remarks::Remarks;
use crate::store::staging::is_there;
use crate::store::tar::write::TarWriter;
use crate::store::transfer::Tree;
use crate::store::watch::Watch;

/// How hard gzip tries: what `gzip` does by itself.
const GZIP_LEVEL: u32 = 6;
/// The same of zstd.
const ZSTD_LEVEL: i32 = 3;
const BUFFER_BYTES: usize = 256 << 10;

/// How it leaves.
#[derive(Clone, Copy)]
pub struct Packing<'a> {
    /// How layers are packed; as they came if not said.
    pub compression: Option<Compression>,
    /// Who looks on.
    pub watch: &'a dyn Watch,
}

impl Store {
    /// Writes an image.
    ///
    /// # Errors
    /// [`Kind::Exists`] for a directory that is not empty, [`Kind::Corrupt`] for a layer that is damaged, those of
    /// writing.
    pub fn export_image(&self, image: &Leaving, to: &Place, how: Packing<'_>) -> Result<Remarks> {
        match to {
            Place::Oci(dir, tag) => self.to_layout(image, dir, tag.as_deref(), how),
            Place::OciArchive(file, tag) => {
                let staging = self.stage()?;
                let dir = staging.scratch("image");
                let remarks = self.to_layout(image, &dir, tag.as_deref(), how)?;
                pack(&dir, file)?;
                Ok(remarks)
            }
            Place::DockerArchive(file, name) => {
                let staging = self.stage()?;
                let dir = staging.scratch("image");
                fs::create_dir(&dir).or_at("cannot make", &dir)?;
                let remarks = self.to_docker(image, &dir, name.clone(), how)?;
                pack(&dir, file)?;
                Ok(remarks)
            }
            Place::Tar(file) => write_file(file, |sink| self.whole(image, sink, how.watch)),
            Place::Dir(dir) => self.to_directory(image, dir, how.watch),
        }
    }

    fn to_layout(
        &self,
        image: &Leaving,
        dir: &Path,
        tag: Option<&str>,
        how: Packing<'_>,
    ) -> Result<Remarks> {
        let blobs = dir.join("blobs/sha256");
        let (layout, index_path) = (dir.join("oci-layout"), dir.join("index.json"));
        let mut index = Index::default();
        if is_there(&layout)? {
            let bytes = fs::read(&index_path).or_at("cannot read", &index_path)?;
            index = parse("index.json", &bytes)?;
        } else if is_there(dir)?
            && fs::read_dir(dir)
                .or_at("cannot read", dir)?
                .next()
                .is_some()
        {
            let why = "it is not empty and no image layout";
            return Err(Error::at(Kind::Exists, "cannot write to", dir, why));
        }
        fs::create_dir_all(&blobs).or_at("cannot make", &blobs)?;
        let (layers, remarks) = self.layer_blobs(image, &blobs, how)?;
        put(&blobs.join(Digest::of(&image.config).hex()), &image.config)?;
        let (bytes, mut descriptor) = match unchanged(image, &layers)? {
            Some(bytes) => (bytes.clone(), points_to(bytes)),
            None => manifest(&image.config, &layers),
        };
        put(&blobs.join(descriptor.digest.hex()), &bytes)?;
        if let Some(tag) = tag {
            let annotations = json!({ REF_NAME: tag });
            descriptor
                .rest
                .insert("annotations".to_string(), annotations);
        }
        // A tag names one image; and without one, this is the image without a tag.
        index.manifests.retain(|known| known.tag() != tag);
        index.manifests.push(descriptor);
        put(&layout, LAYOUT.as_bytes())?;
        // With this the image is there.
        let bytes = serde_json::to_vec(&index).map_err(|e| Error::new(Kind::Other, e))?;
        put(&index_path, &bytes)?;
        Ok(remarks)
    }

    /// Writes all layers as blobs named by their digests.
    fn layer_blobs(
        &self,
        image: &Leaving,
        blobs: &Path,
        how: Packing<'_>,
    ) -> Result<(Vec<Descriptor>, Remarks)> {
        let came: Vec<Descriptor> = match &image.manifest {
            Some(bytes) => parse::<Manifest>("manifest", bytes)?.layers,
            None => Vec::new(),
        };
        let (mut layers, mut remarks) = (Vec::new(), Remarks::default());
        for (i, (layer, diff_id)) in image
            .layers
            .iter()
            .zip(diff_ids(&image.config)?)
            .enumerate()
        {
            let before = came.get(i).map(Descriptor::compression).transpose()?;
            let compression = how.compression.or(before).unwrap_or(Compression::Gzip);
            let mut file =
                tempfile::NamedTempFile::new_in(blobs).or_at("cannot write to", blobs)?;
            let (digest, size, lost) =
                self.blob(layer, diff_id, compression, file.as_file_mut(), how.watch)?;
            remarks.add(lost);
            keep(file, &blobs.join(digest.hex()))?;
            let media_type = match came.get(i) {
                // Another word for the same.
                Some(came) if before == Some(compression) => came.media_type.clone(),
                _ => layer_type(compression),
            };
            layers.push(Descriptor {
                media_type,
                digest,
                size,
                rest: Default::default(),
            });
        }
        Ok((layers, remarks))
    }

    /// Writes one layer, packed; gives digest and size of the blob.
    fn blob(
        &self,
        layer: &Id,
        diff_id: Digest,
        compression: Compression,
        file: &mut fs::File,
        watch: &dyn Watch,
    ) -> Result<(Digest, u64, Remarks)> {
        let mut out = Hashing::new(BufWriter::with_capacity(BUFFER_BYTES, file));
        let tree = Tree::Layer(layer.clone());
        let export = |sink: &mut (dyn Write + Send)| self.export(&tree, None, sink, watch);
        let exported = match compression {
            Compression::None => export(&mut out)?,
            Compression::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                let mut encoder = flate2::write::GzEncoder::new(&mut out, level);
                let exported = export(&mut encoder)?;
                encoder.finish().map_err(cannot_write)?;
                exported
            }
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(&mut out, ZSTD_LEVEL).map_err(cannot_write)?;
                let exported = export(&mut encoder)?;
                encoder.finish().map_err(cannot_write)?;
                exported
            }
        };
        out.flush().map_err(cannot_write)?;
        if exported.diff_id != diff_id {
            let is = exported.diff_id;
            let text = format!("layer {layer} is not what the image says: {is}, not {diff_id}");
            return Err(Error::new(Kind::Corrupt, text));
        }
        let (_, digest, size) = out.finish();
        Ok((digest, size, exported.remarks))
    }

    fn to_docker(
        &self,
        image: &Leaving,
        dir: &Path,
        name: Option<String>,
        how: Packing<'_>,
    ) -> Result<Remarks> {
        let mut remarks = Remarks::default();
        let mut layers = Vec::new();
        for (layer, diff_id) in image.layers.iter().zip(diff_ids(&image.config)?) {
            let file_name = format!("{}.tar", diff_id.hex());
            let path = dir.join(&file_name);
            layers.push(file_name);
            if is_there(&path)? {
                continue;
            }
            let mut file = fs::File::create_new(&path).or_at("cannot write", &path)?;
            let compression = how.compression.unwrap_or(Compression::None);
            remarks.add(
                self.blob(layer, diff_id, compression, &mut file, how.watch)?
                    .2,
            );
        }
        let config = format!("{}.json", Digest::of(&image.config).hex());
        put(&dir.join(&config), &image.config)?;
        let image = DockerImage {
            config,
            repo_tags: Some(name.into_iter().collect()),
            layers,
        };
        let bytes = serde_json::to_vec(&[image]).map_err(|e| Error::new(Kind::Other, e))?;
        put(&dir.join("manifest.json"), &bytes)?;
        Ok(remarks)
    }

    fn whole(
        &self,
        image: &Leaving,
        sink: &mut (dyn Write + Send),
        watch: &dyn Watch,
    ) -> Result<Remarks> {
        match image.layers.last() {
            Some(top) => Ok(self
                .export_whole(&Tree::Layer(top.clone()), sink, watch)?
                .remarks),
            None => {
                TarWriter::new(sink).finish().map_err(cannot_write)?;
                Ok(Remarks::default())
            }
        }
    }

    fn to_directory(&self, image: &Leaving, dir: &Path, watch: &dyn Watch) -> Result<Remarks> {
        fs::create_dir_all(dir).or_at("cannot make", dir)?;
        if fs::read_dir(dir)
            .or_at("cannot read", dir)?
            .next()
            .is_some()
        {
            return Err(Error::at(
                Kind::Exists,
                "cannot write to",
                dir,
                "it is not empty",
            ));
        }
        let (reader, mut writer) = std::io::pipe().or_at("cannot make a pipe for", dir)?;
        let options = ApplyOptions {
            limits: Limits::NONE,
            devices: Devices::Skip,
            strict_xattrs: false,
            expected: Expected::default(),
            recipe: None,
            hashes: false,
            watch,
        };
        std::thread::scope(|scope| {
            let export = scope.spawn(move || {
                let mut writer = BufWriter::new(&mut writer);
                self.whole(image, &mut writer, watch)
            });
            let applied = apply(&open(dir)?, TreeForm::Whole, Box::new(reader), &options);
            let crashed = |_| Err(Error::new(Kind::Other, "a thread panicked"));
            let (mut remarks, applied) = of_pipe(export.join().unwrap_or_else(crashed), applied)?;
            remarks.add(applied.remarks);
            Ok(remarks)
        })
    }
}

/// The manifest that an image came with, if it says just these blobs.
fn unchanged<'a>(image: &'a Leaving, layers: &[Descriptor]) -> Result<Option<&'a Vec<u8>>> {
    let Some(bytes) = &image.manifest else {
        return Ok(None);
    };
    let came: Manifest = parse("manifest", bytes)?;
    let same = came
        .layers
        .iter()
        .map(|l| l.digest)
        .eq(layers.iter().map(|l| l.digest));
    Ok(same.then_some(bytes))
}

/// Writes a small file as a whole, in place of one that is there.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    debug_assert!(bytes.len() as u64 <= DOCUMENT_BYTES_MAX);
    let dir = path.parent().unwrap_or(path);
    let mut file = tempfile::NamedTempFile::new_in(dir).or_at("cannot write to", dir)?;
    file.write_all(bytes).or_at("cannot write", path)?;
    keep(file, path)
}
