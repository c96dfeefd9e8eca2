//! Owner, mode and type kept in an attribute, where the filesystem cannot keep them or the mounter may
//! not set them (overlay-semantics 21, `xattr_permissions`). The value is `UID:GID:MODE[:TYPE]`, mode in
//! octal, TYPE one of `file dir pipe socket char-MAJOR-MINOR block-MAJOR-MINOR`, as container engines
//! and fuse-overlayfs write it. On disk there is a harmless file or directory of the mounter.
//!
//! Invariant: a directory on disk is a directory, a symbolic link has no such attribute.

use std::ffi::CStr;

use crate::sys::at::At;
use crate::sys::errno::{Errno, Result};
use crate::sys::stat::{FileType, Rdev, Stat};

/// Which attribute has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `security.fuseoverlayfs.override_stat`; needs privileges.
    Security,
    /// `user.containers.override_stat`, that of the engines.
    Containers,
    /// `user.fuseoverlayfs.override_stat`; read, never written.
    FuseOverlayfs,
}

/// In the order in which they are looked for.
const FORMS: [Form; 3] = [Form::Security, Form::Containers, Form::FuseOverlayfs];

impl Form {
    /// The name of the attribute.
    pub fn name(self) -> &'static CStr {
        match self {
            Form::Security => c"security.fuseoverlayfs.override_stat",
            Form::Containers => c"user.containers.override_stat",
            Form::FuseOverlayfs => c"user.fuseoverlayfs.override_stat",
        }
    }

    /// The form that a layer uses: that of its root.
    ///
    /// # Errors
    /// Those of reading attributes.
    pub fn of_root(root: At<'_>) -> Result<Option<Form>> {
        for form in FORMS {
            if root.get_xattr(form.name())?.is_some() {
                return Ok(Some(form));
            }
        }
        Ok(None)
    }

    /// The attributes that an object with these on disk stands for.
    ///
    /// # Errors
    /// EIO for a malformed value; those of reading attributes.
    pub fn apply(self, at: At<'_>, disk: Stat) -> Result<Stat> {
        if !matches!(disk.kind, FileType::File | FileType::Dir) {
            return Ok(disk);
        }
        let Some(value) = at.get_xattr(self.name())? else {
            return Ok(disk);
        };
        let kept = Kept::parse(&value).ok_or(Errno::EIO)?;
        Ok(kept.over(disk))
    }
}

/// Does an attribute of this name keep owner and mode?
pub fn is_name(name: &CStr) -> bool {
    FORMS.iter().any(|form| form.name() == name)
}

/// What such an attribute says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits (07777).
    pub perm: u32,
    /// Type, and number of a device; `None` when it says nothing.
    pub kind: Option<(FileType, Rdev)>,
}

impl Kept {
    /// What is to be kept of these attributes.
    pub fn of(stat: &Stat) -> Kept {
        Kept {
            uid: stat.uid,
            gid: stat.gid,
            perm: stat.perm,
            kind: Some((stat.kind, stat.rdev)),
        }
    }

    /// Reads a value; `None` for a malformed one.
    pub fn parse(value: &[u8]) -> Option<Kept> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.trim_end_matches('\0').splitn(4, ':');
        let mut id = || parts.next()?.parse().ok().filter(|&id| id != u32::MAX);
        let (uid, gid) = (id()?, id()?);
        let mode = u32::from_str_radix(parts.next()?, 8).ok()?;
        let kind = match parts.next() {
            None => None,
            Some(word) => Some(parse_kind(word)?),
        };
        Some(Kept {
            uid,
            gid,
            perm: mode & 0o7777,
            kind,
        })
    }

    /// The value.
    pub fn to_value(self) -> Vec<u8> {
        let Kept { uid, gid, perm, .. } = self;
        let mut text = format!("{uid}:{gid}:{perm:04o}");
        if let Some((kind, Rdev { major, minor })) = self.kind {
            let word = match kind {
                FileType::File => "file",
                FileType::Dir => "dir",
                FileType::Symlink => "symlink",
                FileType::Fifo => "pipe",
                FileType::Socket => "socket",
                FileType::Char => "char",
                FileType::Block => "block",
            };
            text = format!("{text}:{word}");
            if matches!(kind, FileType::Char | FileType::Block) {
                text = format!("{text}-{major}-{minor}");
            }
        }
        text.into_bytes()
    }

    /// What a file or directory with these attributes on disk stands for.
    fn over(self, disk: Stat) -> Stat {
        let (kind, rdev) = match (disk.kind, self.kind) {
            // Nothing but a file on disk stands for something else.
            (FileType::File, Some((kind, rdev)))
                if !matches!(kind, FileType::Dir | FileType::Symlink) =>
            {
                (kind, rdev)
            }
            (kind, _) => (kind, disk.rdev),
        };
        Stat {
            uid: self.uid,
            gid: self.gid,
            perm: self.perm,
            kind,
            rdev,
            ..disk
        }
    }
}

fn parse_kind(word: &str) -> Option<(FileType, Rdev)> {
    let device = |numbers: &str| {
        let (major, minor) = numbers.split_once('-')?;
        Some(Rdev {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    };
    let plain = |kind| Some((kind, Rdev::default()));
    match word {
        "file" => plain(FileType::File),
        "dir" => plain(FileType::Dir),
        "symlink" => plain(FileType::Symlink),
        "pipe" => plain(FileType::Fifo),
        "socket" => plain(FileType::Socket),
        _ => match word.split_once('-')? {
            ("char", numbers) => Some((FileType::Char, device(numbers)?)),
            ("block", numbers) => Some((FileType::Block, device(numbers)?)),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::dir::DirFd;
    use crate::sys::name::Name;
    use crate::sys::xattr::XattrMode;

    fn kept(perm: u32, kind: Option<(FileType, Rdev)>) -> Kept {
        Kept {
            uid: 1000,
            gid: 33,
            perm,
            kind,
        }
    }

    #[test]
    fn t125_values_of_engines() {
        let dev = |major, minor| Rdev { major, minor };
        let none = Rdev::default();
        let table = [
            ("1000:33:0644", kept(0o644, None)),
            (
                "1000:33:0644:file",
                kept(0o644, Some((FileType::File, none))),
            ),
            (
                "1000:33:1777:dir",
                kept(0o1777, Some((FileType::Dir, none))),
            ),
            (
                "1000:33:0600:pipe",
                kept(0o600, Some((FileType::Fifo, none))),
            ),
            (
                "1000:33:0755:socket",
                kept(0o755, Some((FileType::Socket, none))),
            ),
            (
                "1000:33:0666:char-1-3",
                kept(0o666, Some((FileType::Char, dev(1, 3)))),
            ),
            (
                "1000:33:0660:block-259-70000",
                kept(0o660, Some((FileType::Block, dev(259, 70000)))),
            ),
        ];
        for (text, wanted) in table {
            assert_eq!(Kept::parse(text.as_bytes()), Some(wanted), "{text}");
            assert_eq!(wanted.to_value(), text.as_bytes());
        }
        // Older writers: no leading zero, and the type in the mode.
        assert_eq!(Kept::parse(b"1000:33:755"), Some(kept(0o755, None)));
        assert_eq!(Kept::parse(b"1000:33:100644"), Some(kept(0o644, None)));
    }

    #[test]
    fn t125_malformed_values() {
        for text in [
            "",
            "1:2",
            "1:2:",
            "a:2:755",
            "1:2:9",
            "-1:2:755",
            "4294967295:2:755",
            "1:2:755:",
            "1:2:755:door",
            "1:2:755:char",
            "1:2:755:char-1",
            "1:2:755:char-1-x",
            "1:2:755:file:more",
            "1:2:755:\u{fc}",
        ] {
            assert_eq!(Kept::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Kept::parse(b"1:2:755:\xff"), None);
    }

    #[test]
    fn t125_what_is_on_disk_decides_what_it_may_stand_for() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DirFd::open(temp.path()).unwrap();
        std::fs::write(temp.path().join("f"), b"").unwrap();
        let name = Name::new(b"f").unwrap();
        let file = At::child(&dir, &name);
        let form = Form::Containers;
        assert_eq!(Form::of_root(dir.at()), Ok(None));
        let disk = dir.stat().unwrap();
        assert_eq!(form.apply(dir.at(), disk).unwrap().uid, disk.uid);
        for (at, value, kind) in [
            (dir.at(), "5:6:0751:char-1-3", FileType::Dir),
            (file, "5:6:0751:dir", FileType::File),
            (file, "5:6:0751:symlink", FileType::File),
            (file, "5:6:0751:char-1-3", FileType::Char),
        ] {
            at.set_xattr(form.name(), value.as_bytes(), XattrMode::Any)
                .unwrap();
            let stat = form.apply(at, at.stat().unwrap()).unwrap();
            let seen = (stat.uid, stat.gid, stat.perm, stat.kind);
            assert_eq!(seen, (5, 6, 0o751, kind), "{value}");
        }
        assert_eq!(Form::of_root(dir.at()), Ok(Some(form)));
        file.set_xattr(form.name(), b"?", XattrMode::Any).unwrap();
        let disk = file.stat().unwrap();
        assert_eq!(form.apply(file, disk).map(|_| ()), Err(Errno::EIO));
    }
}
