//! [`Digest`]: sha256, as OCI names layers and blobs, computed while the bytes pass by.

use std::fmt;
use std::io::{Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::{Error, Kind, Result};

const PREFIX: &str = "sha256:";
const BYTES: usize = 32;

/// A sha256, written `sha256:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; BYTES]);

impl Digest {
    /// Of bytes that are at hand.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for another algorithm, [`Kind::Invalid`] for what is no digest.
    pub fn parse(text: &str) -> Result<Digest> {
        let shown = text.escape_debug();
        let invalid = || Error::new(Kind::Invalid, format!("{shown} is no digest"));
        let Some(hex) = text.strip_prefix(PREFIX) else {
            if text.starts_with("sha512:") {
                let why = format!("{shown}: only sha256 is supported");
                return Err(Error::new(Kind::Unsupported, why));
            }
            return Err(invalid());
        };
        let good = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() != 2 * BYTES || !hex.bytes().all(good) {
            return Err(invalid());
        }
        let mut bytes = [0; BYTES];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).map_err(|_| invalid())?;
        }
        Ok(Digest(bytes))
    }

    /// The 64 digits alone.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Digest of a layer and all below it, from that of those below (OCI `ChainID`).
    pub fn chain(below: Option<Digest>, diff_id: Digest) -> Digest {
        match below {
            None => diff_id,
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Digest> {
        Digest::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// Passes bytes on, in either direction, and counts and digests them.
pub struct Hashing<T> {
    inner: T,
    hasher: Sha256,
    bytes: u64,
}

impl<T> Hashing<T> {
    /// From the first byte on.
    pub fn new(inner: T) -> Hashing<T> {
        Hashing {
            inner,
            hasher: Sha256::new(),
            bytes: 0,
        }
    }

    /// What passed by: where it came from or went, its digest, how many bytes.
    pub fn finish(self) -> (T, Digest, u64) {
        (
            self.inner,
            Digest(self.hasher.finalize().into()),
            self.bytes,
        )
    }

    /// How many bytes passed by so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.take(&buffer[..got]);
        Ok(got)
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let done = self.inner.write(buffer)?;
        self.take(&buffer[..done]);
        Ok(done)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_nonsense_does_not() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(Digest::parse(empty).unwrap(), Digest::of(b""));
        for bad in [
            "",
            "sha256:",
            "sha256:../..",
            &empty.to_uppercase(),
            &empty[..70],
        ] {
            assert_eq!(Digest::parse(bad).unwrap_err().kind, Kind::Invalid, "{bad}");
        }
        assert_eq!(
            Digest::parse("sha512:00").unwrap_err().kind,
            Kind::Unsupported
        );
        let mut passing = Hashing::new(&b"abc"[..]);
        std::io::copy(&mut passing, &mut std::io::sink()).unwrap();
        assert_eq!(passing.finish().1, Digest::of(b"abc"));
    }
}
