//! [`Errno`]: the error of everything on the data path. A plain code, no allocation.

use std::fmt;

/// An errno value as the kernel knows it, always positive.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

/// Result of the data path.
pub type Result<T, E = Errno> = std::result::Result<T, E>;

macro_rules! names {
    ($($name:ident),* $(,)?) => {
        #[allow(missing_docs)]
        impl Errno {
            $(pub const $name: Errno = Errno(libc::$name);)*

            /// The symbolic name, for logs and messages.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Errno::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

names! {
    EPERM, ENOENT, EINTR, EIO, ENXIO, EBADF, EAGAIN, ENOMEM, EACCES, EBUSY, EEXIST, EXDEV, ENODEV,
    ENOTDIR, EISDIR, EINVAL, ENFILE, EMFILE, ENOTTY, ETXTBSY, EFBIG, ENOSPC, ESPIPE, EROFS, EMLINK,
    ERANGE, ENAMETOOLONG, ENOSYS, ENOTEMPTY, ELOOP, ENODATA, EOVERFLOW, EOPNOTSUPP, ESTALE, EDQUOT,
    EREMOTE, ENOTCONN, E2BIG, EADDRINUSE, EADDRNOTAVAIL, EPROTONOSUPPORT, ENOBUFS, ESRCH, EAFNOSUPPORT,
    ENETUNREACH, EPIPE, ECONNABORTED,
}

impl Errno {
    /// From a raw positive code; anything else is a bug somewhere and reads as EIO.
    pub fn from_raw(code: i32) -> Errno {
        if code > 0 { Errno(code) } else { Errno::EIO }
    }

    /// The raw positive code.
    pub fn raw(self) -> i32 {
        self.0
    }

    /// The calling thread's `errno`.
    pub fn last() -> Errno {
        std::io::Error::last_os_error().into()
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Errno {
        Errno::from_raw(errno.raw_os_error())
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Errno {
        error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
    }
}

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> std::io::Error {
        std::io::Error::from_raw_os_error(errno.0)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // std's text ends in " (os error N)", which says nothing to a reader.
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

impl std::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_text() {
        assert_eq!(format!("{:?}", Errno::EXDEV), "EXDEV");
        assert_eq!(Errno::ENOENT.to_string(), "No such file or directory");
        assert_eq!(Errno::from_raw(-5), Errno::EIO);
    }
}
