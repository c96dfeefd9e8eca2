//! The `redirect` mark: under which name the layers below know a directory, or hold the data of a
//! metacopy (overlay-semantics 5.2). It is an untrusted string: parsed here into validated names.

use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;

/// Longest absolute redirect that is written, in bytes (the kernel's `redirect_max`).
pub const REDIRECT_MAX_BYTES: usize = 256;

/// Where the layers below are to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// In the same parent, under another name.
    Beside(Name),
    /// At a path from the root of every layer; never empty.
    FromRoot(Vec<Name>),
}

impl Redirect {
    /// Parses the value of the mark.
    ///
    /// # Errors
    /// EINVAL for a malformed value, EACCES for a component that would leave its directory.
    pub fn parse(value: &[u8]) -> Result<Redirect> {
        match value.strip_prefix(b"/") {
            Some(path) => Ok(Redirect::FromRoot(
                path.split(|&b| b == b'/')
                    .map(component)
                    .collect::<Result<_>>()?,
            )),
            None => component(value).map(Redirect::Beside),
        }
    }

    /// The value of the mark.
    pub fn to_value(&self) -> Vec<u8> {
        match self {
            Redirect::Beside(name) => name.as_bytes().to_vec(),
            Redirect::FromRoot(path) => path
                .iter()
                .flat_map(|n| [b"/", n.as_bytes()].concat())
                .collect(),
        }
    }
}

fn component(bytes: &[u8]) -> Result<Name> {
    match bytes {
        b"." | b".." => Err(Errno::EACCES),
        bytes => Name::new(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t018_malformed_values() {
        for bad in [&b""[..], b"a/b", b"/", b"//a", b"/a/", b"/a//b"] {
            assert_eq!(
                Redirect::parse(bad),
                Err(Errno::EINVAL),
                "{}",
                bad.escape_ascii()
            );
        }
        for bad in [&b".."[..], b"/a/../b", b"/."] {
            assert_eq!(
                Redirect::parse(bad),
                Err(Errno::EACCES),
                "{}",
                bad.escape_ascii()
            );
        }
    }

    #[test]
    fn t017_values_round_trip() {
        for value in [&b"name"[..], b"/a", b"/a/b/c", b"\xff\n"] {
            assert_eq!(Redirect::parse(value).unwrap().to_value(), value);
        }
    }
}
