//! What is known of an object: one JSON file each, written once and published by rename. A reader ignores fields it
//! does not know, and takes the default for those that are not there.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{Error, Kind, OrAt, Result};
use super::id::{Id, SnapshotKey};
use crate::layer::idmap::IdMap;

/// How layers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    /// Differences, seen together by an overlay mount.
    Overlay,
    /// Complete copies, no mount.
    Vfs,
}

impl DriverKind {
    /// Its word in paths, files and options.
    pub fn word(self) -> &'static str {
        match self {
            DriverKind::Overlay => "overlay",
            DriverKind::Vfs => "vfs",
        }
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// When changes are made to last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncPolicy {
    /// Never: a power failure may cost anything. For machines that are thrown away.
    None,
    /// Layers and images are on disk before their ids are told.
    #[default]
    Commit,
    /// Containers, names and removals as well.
    Full,
}

/// `layer.json`: what is known of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerMeta {
    /// Its id.
    pub id: Id,
    /// How it is kept.
    pub driver: DriverKind,
    /// The layer below.
    #[serde(default)]
    pub parent: Option<Id>,
    /// Digest of its uncompressed tar, `sha256:...`; not known before the first export if nobody asked.
    #[serde(default)]
    pub diff_id: Option<String>,
    /// Digest of it and all below, as OCI defines it.
    #[serde(default)]
    pub chain_id: Option<String>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Bytes and entries of its tree.
    #[serde(default)]
    pub size: Size,
    /// Some of its files are hard links to those of other layers, so that `nlink` means nothing.
    #[serde(default)]
    pub deduplicated: bool,
    /// Its tree is a subvolume of btrfs.
    #[serde(default)]
    pub subvolume: bool,
    /// The program that made it.
    pub writer: String,
    /// How sure it was to be on disk when it was made.
    #[serde(default)]
    pub sync: SyncPolicy,
    /// Who made it.
    #[serde(default)]
    pub author: Option<String>,
    /// Why.
    #[serde(default)]
    pub message: Option<String>,
    /// Settings for the configuration of an image made of it.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// Anything.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// It is a committed snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotMeta>,
}

impl LayerMeta {
    /// A layer made now, of which nothing else is known yet.
    pub fn new(id: Id, driver: DriverKind, parent: Option<Id>) -> LayerMeta {
        LayerMeta {
            id,
            driver,
            parent,
            diff_id: None,
            chain_id: None,
            created: now(),
            size: Size::default(),
            deduplicated: false,
            subvolume: false,
            writer: writer(),
            sync: SyncPolicy::default(),
            author: None,
            message: None,
            config: BTreeMap::new(),
            labels: BTreeMap::new(),
            snapshot: None,
        }
    }
}

/// `meta/containers/<id>.json`: what is known of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerMeta {
    /// Its id.
    pub id: Id,
    /// How it is kept.
    pub driver: DriverKind,
    /// The layer it stands on; none: it began empty.
    #[serde(default)]
    pub layer: Option<Id>,
    /// The image it was made of.
    #[serde(default)]
    pub image: Option<Id>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// It cannot be written to.
    #[serde(default)]
    pub read_only: bool,
    /// Its changes need not survive a crash of the system.
    #[serde(default)]
    pub volatile: bool,
    /// How much it may take.
    #[serde(default)]
    pub quota: Option<Quota>,
    /// Under which numbers owners are shown in it.
    #[serde(default)]
    pub idmap: Option<IdMaps>,
    /// The program that made it.
    pub writer: String,
    /// Anything.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// It is an active snapshot or, if it cannot be written to, a view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotMeta>,
}

/// What makes a layer or container a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// What it is called; the object's id is made of it.
    pub key: SnapshotKey,
    /// When its labels were last changed, RFC 3339.
    pub updated: String,
}

/// How much a container may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Bytes on disk.
    #[serde(default)]
    pub size: Option<u64>,
    /// Files, directories and the rest.
    #[serde(default)]
    pub inodes: Option<u64>,
    /// The project of its files: by that the filesystem knows them.
    pub project: u32,
}

/// Owners under other numbers: triples `DISK:SHOWN:COUNT`, joined by colons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMaps {
    /// Of users.
    pub uids: String,
    /// Of groups.
    pub gids: String,
}

impl IdMaps {
    /// Reads `MAP` for both, or `uids=MAP,gids=MAP`.
    ///
    /// # Errors
    /// [`Kind::Invalid`].
    pub fn parse(text: &str) -> Result<IdMaps> {
        let wrong = |why: &str| {
            let text = text.escape_debug();
            Error::new(Kind::Invalid, format!("ids {text}: {why}"))
        };
        let (uids, gids) = match text.split_once(',') {
            None => (text, text),
            Some((uids, gids)) => {
                let both = uids.strip_prefix("uids=").zip(gids.strip_prefix("gids="));
                both.ok_or_else(|| wrong("DISK:SHOWN:COUNT or uids=...,gids=... is wanted"))?
            }
        };
        for map in [uids, gids] {
            IdMap::parse(map.as_bytes()).map_err(wrong)?;
        }
        Ok(IdMaps {
            uids: uids.to_string(),
            gids: gids.to_string(),
        })
    }
}

/// How much there is in a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Bytes of its files, each file counted once.
    pub bytes: u64,
    /// Objects, the root not counted.
    pub entries: u64,
}

/// `plyfs VERSION`.
pub fn writer() -> String {
    concat!("plyfs ", env!("CARGO_PKG_VERSION")).to_string()
}

/// Reads one JSON file. `None`: it is not there.
///
/// # Errors
/// [`Kind::Corrupt`] for what is not what it should be.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error).or_at("cannot read", path),
    };
    let value = serde_json::from_slice(&text);
    value
        .map(Some)
        .map_err(|error| Error::at(Kind::Corrupt, "damaged:", path, error))
}

/// Writes one JSON file that is not there yet, in staging.
///
/// # Errors
/// Those of writing.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::at(Kind::Other, "cannot write", path, error))?;
    text.push(b'\n');
    fs::File::create_new(path)
        .and_then(|mut file| file.write_all(&text))
        .or_at("cannot write", path)
}

/// The time now as RFC 3339 has it, in UTC with nanoseconds.
pub fn now() -> String {
    // A clock before 1970 is a broken clock; any time will do.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    rfc3339(since.as_secs(), since.subsec_nanos())
}

/// Seconds since 1970 as a date. The years are those of the civil calendar counted from March, so that the leap day
/// comes last.
fn rfc3339(seconds: u64, nanos: u32) -> String {
    const DAYS_TO_1970: u64 = 719_468;
    let (days, second) = (seconds / 86_400 + DAYS_TO_1970, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = year + era * 400 + carry;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        for (seconds, wanted) in [
            (0, "1970-01-01T00:00:00.000000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000000007Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000007Z"),
        ] {
            assert_eq!(rfc3339(seconds, 7), wanted);
        }
    }

    #[test]
    fn maps_of_owners() {
        let same = IdMaps::parse("0:1000:1:1:5:2").unwrap();
        assert_eq!(
            (same.uids.as_str(), &same.uids),
            ("0:1000:1:1:5:2", &same.gids)
        );
        let two = IdMaps::parse("uids=0:1:2,gids=0:3:4").unwrap();
        assert_eq!((two.uids.as_str(), two.gids.as_str()), ("0:1:2", "0:3:4"));
        for bad in ["", "x", "0:1", "0:1:2,0:1:2", "uids=0:1:2,gids=", "0:0:0"] {
            assert_eq!(IdMaps::parse(bad).unwrap_err().kind, Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn json_round_trips_and_damage_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("layer.json");
        assert_eq!(read_json::<LayerMeta>(&path).unwrap(), None);
        let meta = LayerMeta::new(Id::random().unwrap(), DriverKind::Vfs, None);
        write_json(&path, &meta).unwrap();
        assert_eq!(read_json(&path).unwrap(), Some(meta));
        fs::write(&path, "{\"id\": \"../x\"}").unwrap();
        let error = read_json::<LayerMeta>(&path).unwrap_err();
        assert_eq!(error.kind, Kind::Corrupt);
    }
}
