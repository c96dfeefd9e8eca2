//! [`Error`]: one line that names the object and, where there is one, the remedy; and a [`Kind`] that says what a
//! caller can do about it. The kinds are the exit codes of the command line.

use std::fmt;
use std::path::Path;

use crate::sys::errno::Errno;

/// Result of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The machine did not play along: disk full, no permission, interrupted.
    Other,
    /// There is no such object.
    NotFound,
    /// The name or id is taken.
    Exists,
    /// Something has to be done first: the object has children, is mounted, belongs to another driver.
    Precondition,
    /// An argument makes no sense.
    Invalid,
    /// What was read is damaged, or lies.
    Corrupt,
    /// Somebody else is using it just now; try again.
    Busy,
    /// This machine, kernel or filesystem cannot do that.
    Unsupported,
}

impl Kind {
    /// The exit code that stands for it.
    pub fn code(self) -> u8 {
        match self {
            Kind::Other => 1,
            Kind::NotFound => 3,
            Kind::Exists => 4,
            Kind::Precondition => 5,
            Kind::Invalid => 6,
            Kind::Corrupt => 7,
            Kind::Busy => 8,
            Kind::Unsupported => 77,
        }
    }
}

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What sort of failure.
    pub kind: Kind,
    text: String,
}

impl Error {
    /// A failure in words.
    pub fn new(kind: Kind, text: impl fmt::Display) -> Error {
        let text = text.to_string();
        Error { kind, text }
    }

    /// `what PATH: why`.
    pub fn at(kind: Kind, what: &str, path: &Path, why: impl fmt::Display) -> Error {
        Error::new(kind, format!("{what} {}: {why}", shown(path)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// A path on one line.
pub fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// Says what was being done to what when a system call failed.
pub trait OrAt<T> {
    /// The value, or the failure as `what PATH: why`.
    ///
    /// # Errors
    /// [`Kind::Other`].
    fn or_at(self, what: &str, path: &Path) -> Result<T>;
}

impl<T> OrAt<T> for Result<T, Errno> {
    fn or_at(self, what: &str, path: &Path) -> Result<T> {
        self.map_err(|errno| Error::at(Kind::Other, what, path, errno))
    }
}

impl<T> OrAt<T> for Result<T, std::io::Error> {
    fn or_at(self, what: &str, path: &Path) -> Result<T> {
        self.map_err(|error| match error.raw_os_error() {
            Some(code) => Error::at(Kind::Other, what, path, Errno::from_raw(code)),
            None => Error::at(Kind::Other, what, path, error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_and_the_code_of_its_kind() {
        let failed: Result<(), Errno> = Err(Errno::ENOSPC);
        let error = failed.or_at("layer", Path::new("a\nb")).unwrap_err();
        assert_eq!(error.to_string(), "layer a\\nb: No space left on device");
        assert_eq!(error.kind.code(), 1);
        assert_eq!(Kind::Unsupported.code(), 77);
    }
}
