//! [`Name`]: one validated component of a path. Every verb on a directory fd takes one, so a path
//! that leaves its directory does not type-check.

use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::errno::{Errno, Result};

/// Longest name of one component in bytes (`NAME_MAX`).
pub const NAME_MAX: usize = 255;

/// One path component: not empty, not `.` or `..`, without `/` and NUL, at most [`NAME_MAX`] bytes.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<CStr>);

impl Name {
    /// Validates one component.
    ///
    /// # Errors
    /// ENAMETOOLONG above 255 bytes; EINVAL for anything else that is not a plain component.
    pub fn new(bytes: &[u8]) -> Result<Name> {
        if bytes.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if matches!(bytes, b"" | b"." | b"..") || bytes.contains(&b'/') {
            return Err(Errno::EINVAL);
        }
        let name = CString::new(bytes).map_err(|_| Errno::EINVAL)?;
        Ok(Name(name.into()))
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
        &self.0
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.to_bytes()
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
}
