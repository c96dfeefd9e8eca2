//! [`Maker`]: makes an object for somebody else, in whatever directory, as the upper filesystem would for them
//! (overlay-semantics 11.1, 11.5).

use std::sync::Arc;

use super::create::New;
use super::mode::{HARMLESS_DIR, HARMLESS_FILE};
use crate::layer::stat_override::Kept;
use crate::overlay::Overlay;
use crate::overlay::node::{DefaultAcl, Node};
use crate::overlay::view::overrides::LayerAt;
use crate::sys::at::{At, OpenMode};
use crate::sys::creds::Owner;
use crate::sys::dir::DirFd;
use crate::sys::errno::Result;
use crate::sys::file::FileFd;
use crate::sys::name::Name;
use crate::sys::stat::{FileType, Rdev, Stat};

const S_ISGID: u32 = 0o2000;

impl Overlay {
    pub(super) fn maker(
        &self,
        parent: &Arc<Node>,
        dir: &DirFd,
        owner: Owner,
        umask: u32,
    ) -> Result<Maker<'_>> {
        let acl = match parent.default_acl() {
            Some(acl) => acl,
            None => {
                let acl = match dir.at().get_xattr(DEFAULT_ACL)? {
                    Some(_) => DefaultAcl::Yes,
                    None => DefaultAcl::No,
                };
                parent.set_default_acl(Some(acl));
                acl
            }
        };
        let meant = match self.keeps_modes() {
            true => Some(self.meant(LayerAt::Upper, dir.at(), dir.stat()?)?),
            false => None,
        };
        Ok(Maker {
            overlay: self,
            parent: meant,
            owner,
            umask,
            acl,
        })
    }
}

pub(super) const DEFAULT_ACL: &std::ffi::CStr = c"system.posix_acl_default";

/// Makes objects that belong to a caller from their first moment (11.5).
pub(super) struct Maker<'a> {
    overlay: &'a Overlay,
    /// What the directory stands for where that is kept in an attribute.
    parent: Option<Stat>,
    owner: Owner,
    umask: u32,
    /// Does the directory give a default ACL?
    pub(super) acl: DefaultAcl,
}

impl Maker<'_> {
    pub(super) fn make(&self, dir: &DirFd, name: &Name, new: &New<'_>) -> Result<Option<FileFd>> {
        if let Some(parent) = &self.parent {
            return self.make_kept(parent, dir, name, new);
        }
        self.overlay.creds.acting_as(self.owner, || match new {
            New::File { perm, mode } => dir.create_file(name, *mode, self.masked(*perm)).map(Some),
            New::Dir { perm } => dir.mkdir(name, self.masked(*perm)).map(|()| None),
            New::Node { kind, perm, rdev } => dir
                .mknod(name, *kind, self.masked(*perm), *rdev)
                .map(|()| None),
            New::Symlink { target } => dir.symlink(name, target).map(|()| None),
        })
    }

    /// Makes a file without a name.
    pub(super) fn make_unnamed(&self, dir: &DirFd, mode: OpenMode, perm: u32) -> Result<FileFd> {
        if let Some(parent) = &self.parent {
            let file = dir.create_unnamed(mode, HARMLESS_FILE)?;
            self.keep(parent, file.at(), perm, (FileType::File, Rdev::default()))?;
            return Ok(file);
        }
        let make = || dir.create_unnamed(mode, self.masked(perm));
        self.overlay.creds.acting_as(self.owner, make)
    }

    /// Makes an object that stands for what is wanted. What the upper filesystem does elsewhere is done
    /// here: the group and the set-group-id bit of the directory are passed on (11.1).
    fn make_kept(
        &self,
        parent: &Stat,
        dir: &DirFd,
        name: &Name,
        new: &New<'_>,
    ) -> Result<Option<FileFd>> {
        let inherits = parent.perm & S_ISGID != 0;
        let at = At::child(dir, name);
        let plain = |mode| dir.create_file(name, mode, HARMLESS_FILE);
        let (file, perm, kind, rdev) = match new {
            New::File { perm, mode } => (Some(plain(*mode)?), *perm, FileType::File, None),
            New::Dir { perm } => {
                dir.mkdir(name, HARMLESS_DIR)?;
                let set_gid = if inherits { S_ISGID } else { 0 };
                (None, *perm | set_gid, FileType::Dir, None)
            }
            New::Node { kind, perm, rdev } => {
                plain(OpenMode::WRITE)?;
                (None, *perm, *kind, Some(*rdev))
            }
            New::Symlink { target } => {
                dir.symlink(name, target)?;
                let (uid, gid) = (self.owner.uid, self.group(parent));
                self.overlay.chown_link(at, Some(uid), Some(gid))?;
                return Ok(None);
            }
        };
        self.keep(parent, at, perm, (kind, rdev.unwrap_or_default()))?;
        Ok(file)
    }

    /// The group of what is made in a directory.
    fn group(&self, parent: &Stat) -> u32 {
        match parent.perm & S_ISGID != 0 {
            true => parent.gid,
            false => self.owner.gid,
        }
    }

    fn keep(&self, parent: &Stat, at: At<'_>, perm: u32, kind: (FileType, Rdev)) -> Result<()> {
        let kept = Kept {
            uid: self.owner.uid,
            gid: self.group(parent),
            perm: perm & !self.umask,
            kind: Some(kind),
        };
        self.overlay.keep(at, kept)
    }

    /// A default ACL takes the place of the umask; the upper filesystem applies it.
    fn masked(&self, perm: u32) -> u32 {
        match self.acl {
            DefaultAcl::Yes => perm,
            DefaultAcl::No => perm & !self.umask,
        }
    }
}
