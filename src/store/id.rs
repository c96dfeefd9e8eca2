//! [`Id`] of an object and the [`ObjectName`]s people give to them. Both become one file name, so both are validated
//! when they come in, and nothing else is ever joined to a path of the store.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::error::{Error, Kind, OrAt, Result};

/// Hex digits of a random id.
const RANDOM_DIGITS: usize = 32;
/// Hex digits of an id that is a digest.
const DIGEST_DIGITS: usize = 64;
/// Longest key of a snapshot.
const KEY_BYTES_MAX: usize = 4096;
/// Longest file name of a name.
const NAME_BYTES_MAX: usize = 255;

/// Identifies one layer, container or image: 32 random hex digits, or the 64 of a sha256 for what is known by its
/// content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// Validates an id.
    ///
    /// # Errors
    /// [`Kind::Invalid`].
    pub fn parse(text: &str) -> Result<Id> {
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex && matches!(text.len(), RANDOM_DIGITS | DIGEST_DIGITS) {
            return Ok(Id(text.to_string()));
        }
        let text = text.escape_debug();
        let why = format!("{text} is no id: an id has 32 or 64 lower-case hex digits");
        Err(Error::new(Kind::Invalid, why))
    }

    /// A new one that nobody has.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> Result<Id> {
        Ok(Id(random_hex(RANDOM_DIGITS / 2)?))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Id {
    type Error = Error;

    fn try_from(text: String) -> Result<Id> {
        Id::parse(&text)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0
    }
}

/// So many random bytes in hex.
///
/// # Errors
/// When the system has no random numbers.
pub fn random_hex(bytes: usize) -> Result<String> {
    let path = Path::new("/dev/urandom");
    let mut buffer = vec![0_u8; bytes];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut buffer))
        .or_at("random numbers", path)?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A name that stands for an object, as `debian`, `registry.example/web:1.2`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName(String);

impl ObjectName {
    /// Validates a name: letters, digits and `._:/@+-`, the first a letter or digit, no empty part between slashes,
    /// and not what looks like an id.
    ///
    /// # Errors
    /// [`Kind::Invalid`].
    pub fn parse(text: &str) -> Result<ObjectName> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"._:/@+-".contains(&b);
        let wrong = |why: &str| {
            let text = text.escape_debug();
            Err(Error::new(
                Kind::Invalid,
                format!("{text} is no name: {why}"),
            ))
        };
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || !text.bytes().all(good) {
            return wrong("letters, digits and ._:/@+- are allowed, the first a letter or digit");
        }
        if text.split('/').any(str::is_empty) {
            return wrong("there is nothing between two slashes, or after the last");
        }
        if Id::parse(text).is_ok() {
            return wrong("it looks like an id");
        }
        let name = ObjectName(text.to_string());
        if name.file_name().len() > NAME_BYTES_MAX {
            return wrong("too long");
        }
        Ok(name)
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as one component of a path.
    pub fn file_name(&self) -> String {
        self.0.replace('/', "%2F")
    }

    /// The name a file name stands for, if it stands for one.
    pub fn from_file_name(file: &str) -> Option<ObjectName> {
        ObjectName::parse(&file.replace("%2F", "/")).ok()
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key of a snapshot: any text. It never becomes a path; what it names in the store has an id made of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotKey(String);

impl SnapshotKey {
    /// Validates a key.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for none, and for one that is longer than a path may be.
    pub fn parse(text: &str) -> Result<SnapshotKey> {
        match text.len() {
            0 => Err(Error::new(Kind::Invalid, "a snapshot wants a key")),
            1..=KEY_BYTES_MAX => Ok(SnapshotKey(text.to_string())),
            n => {
                let why = format!("a key of {n} bytes is too long ({KEY_BYTES_MAX} are allowed)");
                Err(Error::new(Kind::Invalid, why))
            }
        }
    }

    /// The key as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the layer or container that has it.
    pub fn id(&self) -> Id {
        Id(Digest::of(format!("snapshot {}", self.0).as_bytes()).hex())
    }
}

/// On one line.
impl fmt::Display for SnapshotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_debug())
    }
}

impl TryFrom<String> for SnapshotKey {
    type Error = Error;

    fn try_from(text: String) -> Result<SnapshotKey> {
        SnapshotKey::parse(&text)
    }
}

impl From<SnapshotKey> for String {
    fn from(key: SnapshotKey) -> String {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex_of_two_lengths() {
        let id = Id::random().unwrap();
        assert_eq!(Id::parse(id.as_str()).unwrap(), id);
        assert_ne!(Id::random().unwrap(), id);
        assert!(Id::parse(&"a".repeat(64)).is_ok());
        for bad in [
            "",
            "..",
            "A0",
            &"A".repeat(32),
            &"g".repeat(32),
            &"a".repeat(33),
        ] {
            assert_eq!(Id::parse(bad).unwrap_err().kind, Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn keys_are_any_text_and_become_ids() {
        let long = "k".repeat(KEY_BYTES_MAX);
        for good in [
            "a",
            "default/1/extract-5 sha256:0",
            "../../x",
            "\u{e9}\n",
            &long,
        ] {
            let key = SnapshotKey::parse(good).unwrap();
            assert_eq!(Id::parse(key.id().as_str()), Ok(key.id()));
            assert!(!key.to_string().contains('\n'));
            let json = serde_json::to_string(&key).unwrap();
            assert_eq!(serde_json::from_str::<SnapshotKey>(&json).unwrap(), key);
        }
        for bad in ["", &"k".repeat(KEY_BYTES_MAX + 1)] {
            assert_eq!(SnapshotKey::parse(bad).unwrap_err().kind, Kind::Invalid);
        }
        assert!(serde_json::from_str::<SnapshotKey>("\"\"").is_err());
    }

    #[test]
    fn names_become_one_component_and_come_back() {
        for good in ["a", "debian:12", "reg.example:5000/a/b@sha256:0", "1+2_3-4"] {
            let name = ObjectName::parse(good).unwrap();
            assert!(!name.file_name().contains('/'));
            assert_eq!(ObjectName::from_file_name(&name.file_name()), Some(name));
        }
        let long = "x".repeat(256);
        let hex = "a".repeat(32);
        for bad in [
            "", ".", "..", "/a", "a/", "a//b", "a b", "a\nb", "\u{e9}", "-x", &long, &hex,
        ] {
            assert!(ObjectName::parse(bad).is_err(), "{bad}");
        }
    }
}
