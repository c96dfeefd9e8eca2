//! Reading an OCI layout or a docker-archive: a [`Bundle`] says what is in it. Both are untrusted: files are found
//! beneath their directory only, documents have a limit and must have the digest by which they are known.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::format::{Descriptor, DockerImage, Index, Manifest, diff_ids, parse};
use super::read_small;
use crate::store::apply::Expected;
use crate::store::digest::Digest;
use crate::store::error::{Error, Kind, OrAt, Result, shown};
use crate::sys::at::{At, OpenMode};
use crate::sys::dir::DirFd;
use crate::sys::errno::Errno;
use crate::sys::resolve::split_last;

/// How deep lists of manifests may be nested.
const INDEX_DEPTH_MAX: usize = 4;

/// An image as it lies in a directory.
pub(super) struct Bundle {
    dir: DirFd,
    shown: PathBuf,
    pub config: Vec<u8>,
    pub manifest: Option<Vec<u8>>,
    /// Where the layers are, and what is known of them; the lowest first.
    pub layers: Vec<(Vec<u8>, Expected)>,
    pub names: Vec<String>,
}

impl Bundle {
    /// Reads an OCI image layout.
    pub(super) fn oci(path: &Path, tag: Option<&str>) -> Result<Bundle> {
        let place = Place::open(path)?;
        place.read(b"oci-layout")?;
        let index: Index = parse("index.json", &place.read(b"index.json")?)?;
        let chosen = choose(path, &index.manifests, tag)?;
        let names = chosen.tag().map(str::to_string).into_iter().collect();
        let (manifest_bytes, manifest) = place.manifest(&chosen)?;
        let config = place.blob(&manifest.config)?;
        let mut layers = Vec::new();
        for (layer, diff_id) in paired(&manifest.layers, &config)? {
            // Whether we can unpack it.
            layer.compression()?;
            let expected = Expected {
                blob: Some(layer.digest),
                size: Some(layer.size),
                diff_id: Some(diff_id),
            };
            layers.push((blob_path(layer.digest), expected));
        }
        Ok(place.bundle(config, Some(manifest_bytes), layers, names))
    }

    /// Reads an unpacked docker-archive.
    pub(super) fn docker(path: &Path, name: Option<&str>) -> Result<Bundle> {
        let place = Place::open(path)?;
        let images: Vec<DockerImage> = parse("manifest.json", &place.read(b"manifest.json")?)?;
        let tags = |image: &DockerImage| image.repo_tags.clone().unwrap_or_default();
        let mut fitting = images.into_iter().filter(|image| {
            name.is_none_or(|name| {
                tags(image)
                    .iter()
                    .any(|tag| full_name(tag) == full_name(name))
            })
        });
        let image = match (fitting.next(), fitting.next()) {
            (Some(image), None) => image,
            (None, _) => return Err(Error::new(Kind::NotFound, "no such image in the archive")),
            (Some(_), Some(_)) => {
                let text =
                    "several images in the archive: say which one, as docker-archive:FILE:NAME:TAG";
                return Err(Error::new(Kind::Invalid, text));
            }
        };
        let config = place.read(image.config.as_bytes())?;
        let named = image.config.trim_end_matches(".json").rsplit('/').next();
        let digest = Digest::of(&config).hex();
        if let Some(named) = named.filter(|named| named.len() == digest.len() && *named != digest) {
            let text = format!("the configuration has digest {digest}, not {named}");
            return Err(Error::new(Kind::Corrupt, text));
        }
        let mut layers = Vec::new();
        for (layer, diff_id) in paired(&image.layers, &config)? {
            let expected = Expected {
                diff_id: Some(diff_id),
                ..Expected::default()
            };
            layers.push((layer.as_bytes().to_vec(), expected));
        }
        let names = match name {
            Some(name) => vec![name.to_string()],
            None => tags(&image),
        };
        Ok(place.bundle(config, None, layers, names))
    }

    /// The blob of a layer.
    pub(super) fn open(&self, layer: &[u8]) -> Result<Box<dyn Read + Send>> {
        let file = find(&self.dir, layer).map_err(|errno| missing(&self.shown, layer, errno))?;
        Ok(Box::new(file))
    }
}

/// Layers and their diffIDs.
fn paired<'a, T>(layers: &'a [T], config: &[u8]) -> Result<Vec<(&'a T, Digest)>> {
    let diff_ids = diff_ids(config)?;
    if diff_ids.len() != layers.len() {
        let (have, say) = (layers.len(), diff_ids.len());
        let text = format!("{have} layers, but the configuration speaks of {say}");
        return Err(Error::new(Kind::Corrupt, text));
    }
    Ok(layers.iter().zip(diff_ids).collect())
}

/// The manifest that is meant.
fn choose(path: &Path, manifests: &[Descriptor], tag: Option<&str>) -> Result<Descriptor> {
    let fitting: Vec<&Descriptor> = match tag {
        Some(tag) => manifests.iter().filter(|m| m.tag() == Some(tag)).collect(),
        None => manifests.iter().collect(),
    };
    match fitting.as_slice() {
        [one] => return Ok((*one).clone()),
        [] => {
            let what = tag.map_or("no image".to_string(), |tag| format!("no image {tag}"));
            let text = format!("{} in {}", what.escape_debug(), shown(path));
            return Err(Error::new(Kind::NotFound, text));
        }
        _ => {}
    }
    // Several for different machines, perhaps.
    match fitting
        .iter()
        .filter(|m| m.fits())
        .collect::<Vec<_>>()
        .as_slice()
    {
        [one] => Ok((**one).clone()),
        [] => {
            let text = format!("no image for this machine in {}", shown(path));
            Err(Error::new(Kind::NotFound, text))
        }
        _ => {
            let tags: Vec<&str> = manifests.iter().filter_map(Descriptor::tag).collect();
            let tags = tags.join(" ");
            let tags = tags.escape_debug();
            let text = format!(
                "several images in {}: say which one (tags: {tags})",
                shown(path)
            );
            Err(Error::new(Kind::Invalid, text))
        }
    }
}

/// A directory that documents are read from.
struct Place {
    dir: DirFd,
    shown: PathBuf,
}

impl Place {
    fn open(path: &Path) -> Result<Place> {
        match DirFd::open(path) {
            Err(Errno::ENOENT) => Err(Error::at(
                Kind::NotFound,
                "no image at",
                path,
                "it is not there",
            )),
            result => Ok(Place {
                dir: result.or_at("cannot open", path)?,
                shown: path.to_path_buf(),
            }),
        }
    }

    fn bundle(
        self,
        config: Vec<u8>,
        manifest: Option<Vec<u8>>,
        layers: Vec<(Vec<u8>, Expected)>,
        names: Vec<String>,
    ) -> Bundle {
        Bundle {
            dir: self.dir,
            shown: self.shown,
            config,
            manifest,
            layers,
            names,
        }
    }

    fn read(&self, name: &[u8]) -> Result<Vec<u8>> {
        let mut file = find(&self.dir, name).map_err(|errno| missing(&self.shown, name, errno))?;
        read_small(&self.shown, &mut file)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let bytes = self.read(&blob_path(descriptor.digest))?;
        let is = Digest::of(&bytes);
        if is != descriptor.digest || bytes.len() as u64 != descriptor.size {
            let text = format!("blob {} is damaged: it has digest {is}", descriptor.digest);
            return Err(Error::new(Kind::Corrupt, text));
        }
        Ok(bytes)
    }

    /// Follows lists of manifests to one for this machine.
    fn manifest(&self, descriptor: &Descriptor) -> Result<(Vec<u8>, Manifest)> {
        let mut descriptor = descriptor.clone();
        for _ in 0..INDEX_DEPTH_MAX {
            let bytes = self.blob(&descriptor)?;
            if !descriptor.is_index() {
                let manifest = parse("manifest", &bytes)?;
                return Ok((bytes, manifest));
            }
            let index: Index = parse("list of manifests", &bytes)?;
            descriptor = choose(&self.shown, &index.manifests, None)?;
        }
        Err(Error::new(
            Kind::Corrupt,
            "lists of manifests in lists of manifests",
        ))
    }
}

fn blob_path(digest: Digest) -> Vec<u8> {
    format!("blobs/sha256/{}", digest.hex()).into_bytes()
}

/// Opens a regular file beneath a directory; links are followed as if that were `/`.
fn find(dir: &DirFd, path: &[u8]) -> Result<File, Errno> {
    let mut path = path.to_vec();
    for _ in 0..INDEX_DEPTH_MAX {
        let (parent, name) = split_last(&path)?;
        let (parent, real) = dir.open_in_root(parent)?;
        let at = At::child(&parent, &name);
        match at.read_link() {
            // docker-archive has links from one layer to an equal one.
            Ok(target) if target.starts_with(b"/") => path = target,
            Ok(target) => path = [&real[..], b"/", &target].concat(),
            Err(_) => return Ok(at.open_file(OpenMode::READ)?.into_std()),
        }
        path = lexical(&path);
    }
    Err(Errno::ELOOP)
}

/// Without `.` and `..`; what climbs above the root stays there.
fn lexical(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

fn missing(place: &Path, name: &[u8], errno: Errno) -> Error {
    let kind = match errno {
        Errno::ENOENT
        | Errno::ENOTDIR
        | Errno::ELOOP
        | Errno::EXDEV
        | Errno::EINVAL
        | Errno::EISDIR => Kind::Corrupt,
        _ => Kind::Other,
    };
    let name = name.escape_ascii();
    Error::new(
        kind,
        format!("{name} of the image at {}: {errno}", shown(place)),
    )
}
/// A name as programs write it that know one registry before all others: `a` is `docker.io/library/a:latest`.
fn full_name(name: &str) -> String {
    let host = |part: &str| part.contains(['.', ':']) || part == "localhost";
    let mut full = match name.split_once('/') {
        Some((first, _)) if host(first) => name.to_string(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    };
    let last = full.rsplit('/').next().unwrap_or_default();
    if !last.contains(':') {
        full.push_str(":latest");
    }
    full
}

#[cfg(test)]
mod tests {
    use super::full_name;

    #[test]
    fn names_with_and_without_their_registry() {
        assert_eq!(full_name("a"), "docker.io/library/a:latest");
        assert_eq!(full_name("them/it:1"), "docker.io/them/it:1");
        for full in [
            "localhost/a:1",
            "reg.example:5000/a/b:latest",
            "docker.io/library/a:1",
        ] {
            assert_eq!(full_name(full), full);
        }
    }
}
