//! [`Error`]: one line that names the object, its owner and, where there is one, the remedy; and a [`Kind`] that says
//! what a caller can do about it. The kinds are the exit codes of the command line.

use std::fmt;
use std::path::Path;

use crate::sys::errno::Errno;

/// Result of plynet's verbs.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The machine did not play along.
    Other,
    /// What was asked for makes no sense.
    Usage,
    /// There is no such object.
    NotFound,
    /// Something else has that name, address, port or range, or uses the object.
    Conflict,
    /// The caller may not do that.
    Permission,
    /// This kernel cannot do that.
    Unsupported,
}

impl Kind {
    /// The exit code that stands for it.
    pub fn code(self) -> u8 {
        match self {
            Kind::Other => 1,
            Kind::Usage => 2,
            Kind::NotFound => 3,
            Kind::Conflict => 4,
            Kind::Permission => 5,
            Kind::Unsupported => 6,
        }
    }
}

/// Why it was not done.
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

    /// [`Kind::Usage`] in words.
    pub fn usage(text: impl fmt::Display) -> Error {
        Error::new(Kind::Usage, text)
    }

    /// [`Kind::NotFound`] in words.
    pub fn not_found(text: impl fmt::Display) -> Error {
        Error::new(Kind::NotFound, text)
    }

    /// [`Kind::Conflict`] in words.
    pub fn conflict(text: impl fmt::Display) -> Error {
        Error::new(Kind::Conflict, text)
    }

    /// What the kernel answered to `what`.
    pub fn kernel(what: impl fmt::Display, errno: Errno) -> Error {
        let kind = match errno {
            Errno::EPERM | Errno::EACCES | Errno::EROFS => Kind::Permission,
            Errno::EOPNOTSUPP | Errno::ENOSYS => Kind::Unsupported,
            _ => Kind::Other,
        };
        let hint = match kind {
            Kind::Permission => {
                " (this needs CAP_NET_ADMIN and CAP_SYS_ADMIN: run as root, or as a plain user without --root)"
            }
            _ => "",
        };
        Error::new(kind, format!("{what}: {errno}{hint}"))
    }

    /// `what PATH: why`.
    pub fn at(what: &str, path: &Path, errno: Errno) -> Error {
        let kind = match errno {
            Errno::EPERM | Errno::EACCES | Errno::EROFS => Kind::Permission,
            _ => Kind::Other,
        };
        let path = path.to_string_lossy().escape_debug().to_string();
        Error::new(kind, format!("{what} {path}: {errno}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// Says what was being done to what when a system call failed.
pub trait OrAt<T> {
    /// The value, or the failure as `what PATH: why`.
    ///
    /// # Errors
    /// [`Error::at`].
    fn or_at(self, what: &str, path: &Path) -> Result<T>;
}

impl<T, E: Into<Errno>> OrAt<T> for Result<T, E> {
    fn or_at(self, what: &str, path: &Path) -> Result<T> {
        self.map_err(|error| Error::at(what, path, error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_manual() {
        let kinds = [
            Kind::Other,
            Kind::Usage,
            Kind::NotFound,
            Kind::Conflict,
            Kind::Permission,
            Kind::Unsupported,
        ];
        assert_eq!(kinds.map(Kind::code), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn what_the_kernel_says_has_its_kind() {
        let error = Error::kernel("veth", Errno::EPERM);
        assert_eq!(error.kind, Kind::Permission);
        assert!(
            error
                .to_string()
                .starts_with("veth: Operation not permitted (this needs")
        );
        assert_eq!(
            Error::kernel("x", Errno::EOPNOTSUPP).kind,
            Kind::Unsupported
        );
    }
}
