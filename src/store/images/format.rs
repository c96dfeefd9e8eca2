//! The documents of images, as far as they matter here: OCI image layout, index, manifest, configuration, and the
//! `manifest.json` of docker-archive. Fields that are not known are kept.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::store::blob::Compression;
use crate::store::digest::Digest;
use crate::store::error::{Error, Kind, Result};

/// Longest document in bytes.
pub const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// What is in `oci-layout`.
pub const LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";
/// The annotation that carries a tag.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Points to a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// What it is.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Annotations, platform and more.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Descriptor {
    /// Of bytes at hand.
    pub fn of(media_type: &str, bytes: &[u8]) -> Descriptor {
        Descriptor {
            media_type: media_type.to_string(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            rest: Map::new(),
        }
    }

    /// The tag, if it has one.
    pub fn tag(&self) -> Option<&str> {
        self.rest.get("annotations")?.get(REF_NAME)?.as_str()
    }

    /// Does it point to a list of manifests?
    pub fn is_index(&self) -> bool {
        [INDEX, DOCKER_LIST].contains(&self.media_type.as_str())
    }

    /// Is it for machines like this one?
    pub fn fits(&self) -> bool {
        let platform = self.rest.get("platform");
        let field = |name: &str| platform.and_then(|platform| platform.get(name)?.as_str());
        let is = |name: &str, wanted: &str| field(name).is_none_or(|value| value == wanted);
        is("os", "linux") && is("architecture", architecture())
    }

    /// How the layer that it points to is packed.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for what is no layer that we know.
    pub fn compression(&self) -> Result<Compression> {
        let kind = self.media_type.as_str();
        let is_layer = kind.starts_with(LAYER) || kind.contains(".rootfs.diff.tar");
        let end = kind.rsplit("tar").next();
        match end {
            Some("") if is_layer => Ok(Compression::None),
            Some("+gzip" | ".gzip") if is_layer => Ok(Compression::Gzip),
            Some("+zstd" | ".zstd") if is_layer => Ok(Compression::Zstd),
            _ => {
                let kind = kind.escape_debug();
                Err(Error::new(
                    Kind::Unsupported,
                    format!("layers of type {kind} are not supported"),
                ))
            }
        }
    }
}

/// The type of a layer packed like this.
pub fn layer_type(compression: Compression) -> String {
    match compression {
        Compression::None => LAYER.to_string(),
        Compression::Gzip => format!("{LAYER}+gzip"),
        Compression::Zstd => format!("{LAYER}+zstd"),
    }
}

/// `index.json` of a layout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Index {
    /// Always 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// More.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Default for Index {
    fn default() -> Index {
        Index {
            schema_version: 2,
            manifests: Vec::new(),
            rest: Map::from_iter([("mediaType".to_string(), json!(INDEX))]),
        }
    }
}

/// The manifest of one image.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    pub layers: Vec<Descriptor>,
}

/// A manifest for a configuration and layers; and what points to it.
pub fn manifest(config: &[u8], layers: &[Descriptor]) -> (Vec<u8>, Descriptor) {
    let value = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": Descriptor::of(CONFIG, config),
        "layers": layers,
    });
    let bytes = value.to_string().into_bytes();
    let descriptor = Descriptor::of(MANIFEST, &bytes);
    (bytes, descriptor)
}

/// What points to a manifest that came from elsewhere.
pub fn points_to(manifest: &[u8]) -> Descriptor {
    let value: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let kind = value.get("mediaType").and_then(Value::as_str);
    Descriptor::of(kind.unwrap_or(MANIFEST), manifest)
}

/// The diffIDs in a configuration, the lowest first.
///
/// # Errors
/// [`Kind::Corrupt`] for what is no configuration.
pub fn diff_ids(config: &[u8]) -> Result<Vec<Digest>> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: Rootfs,
    }
    #[derive(Deserialize)]
    struct Rootfs {
        diff_ids: Vec<Digest>,
    }
    let config: Config = parse("configuration", config)?;
    Ok(config.rootfs.diff_ids)
}

/// Reads a document.
///
/// # Errors
/// [`Kind::Corrupt`].
pub fn parse<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T> {
    let parsed = serde_json::from_slice(bytes);
    parsed.map_err(|error| Error::new(Kind::Corrupt, format!("damaged {what}: {error}")))
}

/// A configuration of nothing but layers. It says no time, so the same layers make the same image.
pub fn new_config(diff_ids: &[Digest], created_by: &str) -> Value {
    let history: Vec<Value> = diff_ids
        .iter()
        .map(|_| json!({ "created": "1970-01-01T00:00:00Z", "created_by": created_by }))
        .collect();
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": history,
    })
}

/// This machine as Go, and so OCI, calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// One image of the `manifest.json` of docker-archive.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerImage {
    /// Where the configuration is.
    pub config: String,
    /// Names and tags.
    pub repo_tags: Option<Vec<String>>,
    /// Where the layers are, the lowest first.
    pub layers: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_layers() {
        for (kind, compression) in [
            (
                "application/vnd.oci.image.layer.v1.tar",
                Some(Compression::None),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+zstd",
                Some(Compression::Zstd),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                Some(Compression::Gzip),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar",
                Some(Compression::None),
            ),
            ("application/vnd.oci.image.layer.v1.tar+encrypted", None),
            ("text/plain", None),
        ] {
            let found = Descriptor::of(kind, b"").compression();
            assert_eq!(found.ok(), compression, "{kind}");
        }
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let descriptor = Descriptor::of(&layer_type(compression), b"");
            assert_eq!(descriptor.compression().unwrap(), compression);
        }
    }

    #[test]
    fn tags_and_unknown_fields_are_kept() {
        let empty = Digest::of(b"");
        let text = json!({
            "mediaType": "x", "digest": empty, "size": 0, "annotations": { REF_NAME: "a:b" }, "y": 1,
        });
        let text = text.to_string();
        let descriptor: Descriptor = parse("test", text.as_bytes()).unwrap();
        assert_eq!(descriptor.tag(), Some("a:b"));
        assert_eq!(serde_json::to_value(&descriptor).unwrap()["y"], 1);
        let traversal = text.replace("sha256:e3b0c4", "sha256:../../");
        let refused = parse::<Descriptor>("test", traversal.as_bytes()).unwrap_err();
        assert_eq!(refused.kind, Kind::Corrupt);
    }
}
