//! [`Name`]: one validated component of a path. Every verb on a directory fd takes one, so a path
//! that leaves its directory does not type-check.

use std::cmp::Ordering;
use std::ffi::{CStr, OsStr};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use triomphe::ThinArc;

use super::errno::{Errno, Result};

/// Longest name of one component in bytes (`NAME_MAX`).
pub const NAME_MAX: usize = 255;

/// One path component: not empty, not `.` or `..`, without `/` and NUL, at most [`NAME_MAX`] bytes.
/// Cheap to clone, and small, as there may be a million of them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Kept);

/// The most that fits beside the tag in two words; half of the names in the world, with their NUL.
const SHORT: usize = 15;

/// The bytes of a name with a NUL. Each name is kept in one way only, so that equal names are equal values.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Kept {
    /// Filled up with NULs.
    Short([u8; SHORT]),
    Long(ThinArc<(), u8>),
}

impl Name {
    /// Validates one component.
    ///
    /// # Errors
    /// ENAMETOOLONG above 255 bytes; EINVAL for anything else that is not a plain component.
    pub fn new(bytes: &[u8]) -> Result<Name> {
        if bytes.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if matches!(bytes, b"" | b"." | b"..") || bytes.iter().any(|byte| matches!(byte, b'/' | 0))
        {
            return Err(Errno::EINVAL);
        }
        if bytes.len() < SHORT {
            let mut short = [0; SHORT];
            short[..bytes.len()].copy_from_slice(bytes);
            return Ok(Name(Kept::Short(short)));
        }
        let mut long = [0; NAME_MAX + 1];
        long[..bytes.len()].copy_from_slice(bytes);
        let long = ThinArc::from_header_and_slice((), &long[..=bytes.len()]);
        Ok(Name(Kept::Long(long)))
    }

    /// Like [`Name::new`] for a name that came as an `OsStr`.
    ///
    /// # Errors
    /// As [`Name::new`].
    pub fn from_os(name: &OsStr) -> Result<Name> {
        Name::new(name.as_bytes())
    }

    /// The name with its terminating NUL, as system calls want it.
    pub fn as_c_str(&self) -> &CStr {
        let bytes = match &self.0 {
            Kept::Short(bytes) => bytes.as_slice(),
            Kept::Long(bytes) => &bytes.slice,
        };
        // There always is a NUL.
        CStr::from_bytes_until_nul(bytes).unwrap_or_default()
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        self.as_c_str().to_bytes()
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_components() {
        assert_eq!(Name::new(b"a b\n\xff").unwrap().as_bytes(), b"a b\n\xff");
        for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b"] {
            assert_eq!(Name::new(bad), Err(Errno::EINVAL), "{bad:?}");
        }
        assert!(Name::new(&[b'x'; 255]).is_ok());
        assert_eq!(Name::new(&[b'x'; 256]), Err(Errno::ENAMETOOLONG));
    }

    #[test]
    fn names_of_any_length_are_kept_and_ordered() {
        let names: Vec<_> = (1..=NAME_MAX)
            .map(|len| Name::new(&vec![b'x'; len]).unwrap())
            .collect();
        for (len, name) in (1..).zip(&names) {
            assert_eq!(name.as_bytes(), vec![b'x'; len]);
            assert_eq!(name.as_c_str().count_bytes(), len);
            assert_eq!(name, &name.clone());
        }
        assert!(names.is_sorted_by(|a, b| a < b));
        assert!(Name::new(b"y").unwrap() > names[NAME_MAX - 1]);
        assert_eq!(size_of::<Name>(), 16);
    }
}
