//! Marks on the objects of one layer: whiteouts in all forms, opaque directories, and the marks of
//! features that must not be shown wrong (overlay-semantics 1, 3, 4, 25). Bytes are parsed here and
//! travel no further.

use std::ffi::CStr;

use super::keys::{self, FUSE_OVERLAYFS_OPAQUE, Key, Namespace};
use super::redirect::Redirect;
use crate::sys::at::At;
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;
use crate::sys::stat::{FileType, Rdev, Stat};

/// Prefix of an OCI whiteout: `.wh.NAME` removes NAME from the layers below.
pub const OCI_PREFIX: &[u8] = b".wh.";
/// The OCI mark that makes its directory opaque.
const OCI_OPAQUE: &[u8] = b".wh..wh..opq";

/// How a whiteout looks on disk (3.1, 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhiteoutForm {
    /// A character device 0:0 in the place of the name.
    Device,
    /// An empty file `.wh.NAME` beside it: for filesystems without such devices.
    Name,
    /// An empty file with an attribute in the place of the name: what can be kept on an overlayfs (17.5).
    Attribute,
}

/// The name of the file that removes `name` from the layers below.
///
/// # Errors
/// ENAMETOOLONG: names of more than 251 bytes cannot be removed so.
pub fn oci_whiteout(name: &Name) -> Result<Name> {
    Name::new(&[OCI_PREFIX, name.as_bytes()].concat())
}

/// The name of the file that makes its directory opaque.
///
/// # Errors
/// None in practice.
pub fn oci_opaque() -> Result<Name> {
    Name::new(OCI_OPAQUE)
}

/// Which marks count in this mount.
#[derive(Clone, Copy, Debug)]
pub struct MarkRules {
    /// `redirect` and `metacopy` of the user namespace count (the explicit `userxattr`, 26.1).
    pub user_redirects: bool,
    /// `.wh.` names are whiteouts (26.2b).
    pub oci: bool,
    /// What to do with a directory that has another name below, or a file that has its data there.
    pub redirects: Redirects,
    /// In all layers the blocks of a file tell whether it has data, see
    /// [`Layer::blocks_are_data`](super::layer::Layer::blocks_are_data).
    pub blocks_tell: bool,
}

/// How redirects and metacopies are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirects {
    /// A redirect is followed; else it is EPERM (5.1).
    pub follow: bool,
    /// A metacopy shows the data it stands for; else it is EPERM (2.8).
    pub metacopy: bool,
}

/// Marks of a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirMarks {
    /// Lower layers do not contribute.
    pub opaque: bool,
    /// Empty files in it may be whiteouts by attribute.
    pub xattr_whiteouts: bool,
    /// Some of its entries have an origin.
    pub impure: bool,
    /// Its lower part has another name.
    pub redirect: bool,
    /// Its attributes were read, and none protects it (16.4).
    pub unprotected: bool,
}

/// Marks of a regular file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileMarks {
    /// It is a whiteout.
    pub whiteout: bool,
    /// Its data is elsewhere.
    pub metacopy: bool,
    /// The layers below know it by another name.
    pub redirect: bool,
    /// Its attributes were read, and none protects it (16.4).
    pub unprotected: bool,
}

/// Is this the device node 0:0 that stands for a removed name (form A)?
pub fn is_whiteout_device(stat: &Stat) -> bool {
    stat.kind == FileType::Char && stat.rdev == Rdev::default()
}

/// The name that an OCI whiteout removes; `Some(None)` for the reserved `.wh..wh.*` names, which
/// remove nothing and are hidden; `None` for an ordinary name (3.2).
pub fn oci_target(name: &[u8]) -> Option<Option<&[u8]>> {
    let target = name.strip_prefix(OCI_PREFIX)?;
    Some((!target.is_empty() && !target.starts_with(OCI_PREFIX)).then_some(target))
}

impl MarkRules {
    /// The marks of a directory that are attributes of it.
    ///
    /// # Errors
    /// Those of reading attributes.
    pub fn of_dir(&self, at: At<'_>) -> Result<DirMarks> {
        let names = at.list_xattrs()?;
        let mut marks = DirMarks {
            unprotected: !names.iter().any(is_protection),
            ..DirMarks::default()
        };
        let trusted_only = names.iter().any(keys::is_trusted_mark);
        for name in names.iter() {
            let counts = |key| {
                (name == Namespace::Trusted.name(key))
                    || (!trusted_only && name == Namespace::User.name(key))
            };
            if counts(Key::Opaque) || (!trusted_only && name == FUSE_OVERLAYFS_OPAQUE) {
                match opaque_value(at, name)? {
                    Some(b'y') => marks.opaque = true,
                    Some(b'x') => marks.xattr_whiteouts = true,
                    _ => {}
                }
            } else if counts(Key::Impure) {
                marks.impure = true;
            } else if name == Namespace::Trusted.name(Key::Redirect)
                || (self.user_redirects && name == Namespace::User.name(Key::Redirect))
            {
                marks.redirect = true;
            }
        }
        Ok(marks)
    }

    /// The redirect of an object that is marked with one. Whether it may be followed is not asked here.
    ///
    /// # Errors
    /// EINVAL and EACCES for malformed ones.
    pub fn redirect(&self, at: At<'_>) -> Result<Redirect> {
        Redirect::parse(&self.trusted_value(at, Key::Redirect)?.ok_or(Errno::EIO)?)
    }

    /// Refuses a malformed metacopy.
    ///
    /// # Errors
    /// EIO.
    pub fn check_metacopy(&self, at: At<'_>) -> Result<()> {
        // Empty, or version 0, its own length, flags, digest algorithm, digest (1.4).
        match self.trusted_value(at, Key::Metacopy)?.as_deref() {
            Some([]) => Ok(()),
            Some(value @ [0, len, _, _, ..]) if usize::from(*len) == value.len() => Ok(()),
            _ => Err(Errno::EIO),
        }
    }

    /// The value of a mark that counts in the trusted namespace, and in the other one on demand.
    fn trusted_value(&self, at: At<'_>, key: Key) -> Result<Option<Vec<u8>>> {
        match at.get_xattr(Namespace::Trusted.name(key))? {
            None if self.user_redirects => at.get_xattr(Namespace::User.name(key)),
            value => Ok(value),
        }
    }

    /// Does the directory hold the OCI opaque mark?
    ///
    /// # Errors
    /// Those of statx.
    pub fn has_oci_opaque(&self, dir: &DirFd) -> Result<bool> {
        Ok(self.oci && exists(dir, OCI_OPAQUE)?)
    }

    /// Is `name` removed by a `.wh.` file beside it?
    ///
    /// # Errors
    /// Those of statx.
    pub fn has_oci_whiteout(&self, dir: &DirFd, name: &Name) -> Result<bool> {
        Ok(self.oci && exists(dir, &[OCI_PREFIX, name.as_bytes()].concat())?)
    }

    /// The marks of a regular file. Attributes are read only of files that can carry one: a whiteout is
    /// empty, and a metacopy has no data blocks (an attribute block may count for one).
    ///
    /// # Errors
    /// Those of reading attributes.
    pub fn of_file(&self, at: At<'_>, stat: &Stat) -> Result<FileMarks> {
        let mut marks = FileMarks::default();
        let bytes = stat.blocks.saturating_mul(512);
        if self.blocks_tell && bytes > 2 * u64::from(stat.blksize) && bytes >= stat.size {
            return Ok(marks);
        }
        let names = at.list_xattrs()?;
        marks.unprotected = !names.iter().any(is_protection);
        for name in names.iter() {
            let is =
                |key| name == Namespace::Trusted.name(key) || name == Namespace::User.name(key);
            let leads_below = |key| {
                name == Namespace::Trusted.name(key)
                    || (self.user_redirects && name == Namespace::User.name(key))
            };
            if stat.size == 0 && is(Key::Whiteout) {
                marks.whiteout = true;
            } else if leads_below(Key::Metacopy) {
                marks.metacopy = true;
            } else if leads_below(Key::Redirect) {
                marks.redirect = true;
            }
        }
        Ok(marks)
    }
}

fn is_protection(name: &CStr) -> bool {
    [Namespace::Trusted, Namespace::User]
        .map(|space| space.name(Key::Protattr))
        .contains(&name)
}

fn exists(dir: &DirFd, name: &[u8]) -> Result<bool> {
    match Name::new(name).and_then(|name| At::child(dir, &name).stat()) {
        Ok(_) => Ok(true),
        // A whiteout name that is too long to exist does not exist.
        Err(Errno::ENOENT | Errno::ENAMETOOLONG) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The value of an opaque mark counts only if it is exactly one byte (1.1).
fn opaque_value(at: At<'_>, name: &CStr) -> Result<Option<u8>> {
    let mut value = [0; 1];
    match at.get_xattr_into(name, &mut value) {
        Ok(1) => Ok(Some(value[0])),
        Ok(_) | Err(Errno::ERANGE | Errno::ENODATA) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::xattr::XattrMode;

    const RULES: MarkRules = MarkRules {
        user_redirects: false,
        oci: false,
        redirects: Redirects {
            follow: true,
            metacopy: true,
        },
        blocks_tell: false,
    };

    #[test]
    fn oci_names() {
        assert_eq!(oci_target(b".wh.f"), Some(Some(&b"f"[..])));
        assert_eq!(oci_target(b".wh..wh..opq"), Some(None));
        assert_eq!(oci_target(b".wh..wh.plnk"), Some(None));
        assert_eq!(oci_target(b".wh."), Some(None));
        assert_eq!(oci_target(b".whf"), None);
    }

    #[test]
    fn t008_only_one_byte_y_is_opaque() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DirFd::open(temp.path()).unwrap();
        for (value, opaque, xwhiteouts) in [
            (&b"y"[..], true, false),
            (b"x", false, true),
            (b"n", false, false),
            (b"yes", false, false),
            (b"", false, false),
        ] {
            dir.at()
                .set_xattr(c"user.overlay.opaque", value, XattrMode::Any)
                .unwrap();
            let marks = RULES.of_dir(dir.at()).unwrap();
            assert_eq!(
                (marks.opaque, marks.xattr_whiteouts),
                (opaque, xwhiteouts),
                "{value:?}"
            );
        }
    }

    #[test]
    fn t010_only_an_empty_file_is_a_whiteout_by_attribute() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DirFd::open(temp.path()).unwrap();
        let name = Name::new(b"f").unwrap();
        std::fs::write(temp.path().join("f"), b"").unwrap();
        let at = At::child(&dir, &name);
        at.set_xattr(c"user.overlay.whiteout", b"", XattrMode::Any)
            .unwrap();
        assert!(RULES.of_file(at, &at.stat().unwrap()).unwrap().whiteout);
        std::fs::write(temp.path().join("f"), b"data").unwrap();
        assert!(!RULES.of_file(at, &at.stat().unwrap()).unwrap().whiteout);
    }
}
