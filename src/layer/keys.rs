//! Names of the extended attributes that carry overlay marks: how they are written, hidden from
//! users of the mount, and escaped when a user stores one (overlay-semantics 1.1, 17, 25.2).

use std::borrow::Cow;
use std::ffi::{CStr, CString};

use crate::sys::errno::{Errno, Result};

/// Longest attribute name (`XATTR_NAME_MAX`).
const XATTR_NAME_MAX: usize = 255;

/// Which family of attribute names holds our marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// `trusted.overlay.*`, what the kernel uses; needs CAP_SYS_ADMIN.
    Trusted,
    /// `user.overlay.*`, the kernel's `userxattr`.
    User,
}

/// The marks that are read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Lower layers do not contribute to this directory.
    Opaque,
    /// This empty file is a whiteout.
    Whiteout,
    /// The lower part of this directory has another name.
    Redirect,
    /// This file has its data in a lower layer.
    Metacopy,
    /// The lower object this one was copied up from.
    Origin,
    /// Some entries of this directory have an origin.
    Impure,
    /// Immutable and append-only, kept apart from the inode's own flags.
    Protattr,
    /// How many names an indexed file has, relative to the links of one of its inodes.
    Nlink,
    /// The upper directory that this index directory belongs to.
    Upper,
    /// Files of this layer, whose root has the mark, may be links to those of other layers.
    Shared,
    /// How many names such a file has within its layer, if more than one.
    Names,
}

impl Namespace {
    /// The full attribute name of a mark.
    pub fn name(self, key: Key) -> &'static CStr {
        match (self, key) {
            (Namespace::Trusted, Key::Opaque) => c"trusted.overlay.opaque",
            (Namespace::Trusted, Key::Whiteout) => c"trusted.overlay.whiteout",
            (Namespace::Trusted, Key::Redirect) => c"trusted.overlay.redirect",
            (Namespace::Trusted, Key::Metacopy) => c"trusted.overlay.metacopy",
            (Namespace::Trusted, Key::Origin) => c"trusted.overlay.origin",
            (Namespace::Trusted, Key::Impure) => c"trusted.overlay.impure",
            (Namespace::Trusted, Key::Protattr) => c"trusted.overlay.protattr",
            (Namespace::Trusted, Key::Nlink) => c"trusted.overlay.nlink",
            (Namespace::Trusted, Key::Upper) => c"trusted.overlay.upper",
            (Namespace::Trusted, Key::Shared) => c"trusted.overlay.shared",
            (Namespace::Trusted, Key::Names) => c"trusted.overlay.names",
            (Namespace::User, Key::Opaque) => c"user.overlay.opaque",
            (Namespace::User, Key::Whiteout) => c"user.overlay.whiteout",
            (Namespace::User, Key::Redirect) => c"user.overlay.redirect",
            (Namespace::User, Key::Metacopy) => c"user.overlay.metacopy",
            (Namespace::User, Key::Origin) => c"user.overlay.origin",
            (Namespace::User, Key::Impure) => c"user.overlay.impure",
            (Namespace::User, Key::Protattr) => c"user.overlay.protattr",
            (Namespace::User, Key::Nlink) => c"user.overlay.nlink",
            (Namespace::User, Key::Upper) => c"user.overlay.upper",
            (Namespace::User, Key::Shared) => c"user.overlay.shared",
            (Namespace::User, Key::Names) => c"user.overlay.names",
        }
    }
}

/// The opaque mark that fuse-overlayfs writes without privileges; read, never written.
pub const FUSE_OVERLAYFS_OPAQUE: &CStr = c"user.fuseoverlayfs.opaque";

const TRUSTED: &[u8] = b"trusted.overlay.";
const USER: &[u8] = b"user.overlay.";
const FOREIGN: &[u8] = b"user.fuseoverlayfs.";
/// A user's own `PREFIXname` is stored as `PREFIXoverlay.name`.
const ESCAPE: &[u8] = b"overlay.";

/// Is this a mark of the trusted namespace? Its presence makes all others stale (25.4).
pub fn is_trusted_mark(name: &CStr) -> bool {
    name.to_bytes().starts_with(TRUSTED)
}

/// The prefix of ours that a name starts with, and the rest of it.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    [TRUSTED, USER]
        .into_iter()
        .find_map(|prefix| Some((prefix, name.strip_prefix(prefix)?)))
}

/// Must a mark with this name stay behind when its object is copied up? Escaped names are user data
/// and go along (25.3).
pub fn is_private(name: &CStr) -> bool {
    let name = name.to_bytes();
    match split(name) {
        Some((_, rest)) => !rest.starts_with(ESCAPE),
        None => name.starts_with(FOREIGN),
    }
}

/// Does an attribute say what a layer means? Not if it is about the one mount whose upper the layer was (numbers, links
/// and the lower objects that its own were copied up from) or about what it shares with others on disk.
pub fn is_lasting(name: &CStr) -> bool {
    const PASSING: [&[u8]; 7] = [
        b"origin", b"impure", b"nlink", b"upper", b"uuid", b"shared", b"names",
    ];
    !split(name.to_bytes()).is_some_and(|(_, rest)| PASSING.contains(&rest))
}

/// How a name on disk shows through the mount; `None` for our own marks.
pub fn shown(name: &CStr) -> Option<Cow<'_, CStr>> {
    if is_private(name) {
        return None;
    }
    match split(name.to_bytes())
        .and_then(|(prefix, rest)| Some((prefix, rest.strip_prefix(ESCAPE)?)))
    {
        Some((prefix, rest)) => CString::new([prefix, rest].concat()).ok().map(Cow::Owned),
        None => Some(Cow::Borrowed(name)),
    }
}

/// The name on disk for a name that a user of the mount gave.
///
/// # Errors
/// EOPNOTSUPP when the escaped name is too long (17.2); EPERM for the marks of fuse-overlayfs, which
/// have no escaped form.
pub fn on_disk(name: &CStr) -> Result<Cow<'_, CStr>> {
    let bytes = name.to_bytes();
    if bytes.starts_with(FOREIGN) {
        return Err(Errno::EPERM);
    }
    let Some((prefix, rest)) = split(bytes) else {
        return Ok(Cow::Borrowed(name));
    };
    let escaped = [prefix, ESCAPE, rest].concat();
    if escaped.len() > XATTR_NAME_MAX {
        return Err(Errno::EOPNOTSUPP);
    }
    CString::new(escaped)
        .map(Cow::Owned)
        .map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t107_names_are_hidden_and_escaped() {
        for mark in [
            c"trusted.overlay.opaque",
            c"user.overlay.whiteout",
            c"user.fuseoverlayfs.opaque",
        ] {
            assert!(is_private(mark));
            assert_eq!(shown(mark), None);
        }
        for plain in [
            c"user.foo",
            c"trusted.overlayfoo",
            c"user.overlay",
            c"security.capability",
        ] {
            assert!(!is_private(plain));
            assert_eq!(shown(plain).as_deref(), Some(plain));
            assert_eq!(on_disk(plain).as_deref(), Ok(plain));
        }
    }

    #[test]
    fn marks_of_one_mount_do_not_last() {
        assert!(!is_lasting(c"trusted.overlay.origin") && !is_lasting(c"user.overlay.impure"));
        for lasting in [
            c"trusted.overlay.opaque",
            c"user.overlay.overlay.origin",
            c"user.fuseoverlayfs.opaque",
            c"user.origin",
        ] {
            assert!(is_lasting(lasting));
        }
    }

    #[test]
    fn escaping_round_trips_at_any_depth() {
        for name in [
            c"trusted.overlay.foo",
            c"user.overlay.overlay.opaque",
            c"user.overlay.",
        ] {
            let disk = on_disk(name).unwrap();
            assert_ne!(disk.as_ref(), name);
            assert!(!is_private(&disk));
            assert_eq!(shown(&disk).as_deref(), Some(name));
        }
        let long = CString::new([&b"trusted.overlay."[..], &[b'x'; 235]].concat()).unwrap();
        assert_eq!(on_disk(&long), Err(Errno::EOPNOTSUPP));
        assert_eq!(on_disk(c"user.fuseoverlayfs.opaque"), Err(Errno::EPERM));
    }
}
