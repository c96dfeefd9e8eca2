//! Owner, mode and extended attributes of what is unpacked. A process that may not give files away keeps owners in an
//! attribute of each file, as container engines do; and so the modes that would keep itself out.

use std::ffi::CString;

use super::{TreeForm, Unpacker, failed};
use crate::layer::stat_override::{self, Form, Kept};
use crate::layer::{acl, keys};
use crate::store::changes::xattrs;
use crate::store::error::{Error, Kind, Result};
use crate::store::tar::Entry;
use crate::sys::at::At;
use crate::sys::dir::DirFd;
use crate::sys::errno::Errno;
use crate::sys::stat::{FileType, Rdev, Stat};
use crate::sys::xattr::XattrMode;

/// What an object shall look like.
pub(super) struct Wanted {
    kind: FileType,
    rdev: Rdev,
    perm: u32,
    uid: u32,
    gid: u32,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Wanted {
    pub(super) fn of(entry: &Entry, kind: FileType) -> Wanted {
        Wanted {
            kind,
            rdev: entry.rdev,
            perm: entry.perm,
            uid: entry.uid,
            gid: entry.gid,
            xattrs: entry.xattrs.clone(),
        }
    }
}

impl Unpacker<'_> {
    /// Gives a directory the attributes of another one, or usual ones.
    pub(super) fn dress(&mut self, dir: &DirFd, like: Option<(Stat, At<'_>)>) -> Result<()> {
        let mut wanted = Wanted {
            kind: FileType::Dir,
            rdev: Rdev::default(),
            perm: 0o755,
            // Root's, where root unpacks.
            uid: self.ids.0,
            gid: self.ids.1,
            xattrs: Vec::new(),
        };
        if let Some((stat, at)) = like {
            (wanted.perm, wanted.uid, wanted.gid) = (stat.perm, stat.uid, stat.gid);
            wanted.xattrs = xattrs(at).map_err(|errno| failed(b"", errno))?;
        }
        self.attributes(dir.at(), &wanted, b"")
    }

    /// The root of a difference looks like that of the layers below, until an entry says something else.
    pub(super) fn dress_root(&mut self) -> Result<()> {
        let TreeForm::Difference { below, .. } = &self.form else {
            return self.keep_time(b"", self.root);
        };
        let below = below.clone();
        let fail = |errno| failed(b"", errno);
        let (root, mut time) = (self.root, Default::default());
        match &below {
            Some(below) => {
                let stat = below.stat().map_err(fail)?;
                let (_, top) = below.top().map_err(fail)?;
                self.dress(root, Some((stat, top.at())))?;
                time = stat.mtime;
            }
            None => self.dress(root, None)?,
        }
        self.dir_times.insert(Vec::new(), time);
        Ok(())
    }

    /// As [`Unpacker::attributes`], for what has attributes already: others than these go.
    pub(super) fn replace_attributes(
        &mut self,
        at: At<'_>,
        wanted: &Wanted,
        path: &[u8],
    ) -> Result<()> {
        let fail = |errno| failed(path, errno);
        // Also what was recorded before.
        match at.remove_xattr(Form::Containers.name()) {
            Ok(()) | Err(Errno::ENODATA | Errno::EPERM | Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(fail(errno)),
        }
        for (name, _) in xattrs(at).map_err(fail)? {
            let stays = wanted.xattrs.iter().any(|(wanted, _)| *wanted == name);
            let Ok(name) = CString::new(name) else {
                continue;
            };
            let name = self.on_disk(&name).unwrap_or(name);
            match at.remove_xattr(&name) {
                _ if stays => {}
                Ok(()) | Err(Errno::ENODATA | Errno::EPERM | Errno::EOPNOTSUPP) => {}
                Err(errno) => return Err(fail(errno)),
            }
        }
        self.attributes(at, wanted, path)
    }

    /// Sets everything but times.
    pub(super) fn attributes(&mut self, at: At<'_>, wanted: &Wanted, path: &[u8]) -> Result<()> {
        let fail = |errno| failed(path, errno);
        let is_owned = self.own(at, wanted, path)? && !self.is_locked_out(wanted);
        let is_file = matches!(wanted.kind, FileType::File | FileType::Dir);
        let disk = at.stat().map_err(fail)?;
        let is_recorded = !is_owned || disk.kind != wanted.kind;
        if wanted.kind != FileType::Symlink {
            let perm = match (is_recorded, disk.kind) {
                (false, _) => wanted.perm,
                // Ours to read and change, and no set-id program of somebody else.
                (true, FileType::Dir) => wanted.perm & 0o1777 | 0o700,
                (true, _) => wanted.perm & 0o777 | 0o600,
            };
            if perm != disk.perm {
                at.chmod(perm).map_err(fail)?;
            }
        }
        for (name, value) in &wanted.xattrs {
            self.set_xattr(at, name, value, path, is_recorded)?;
        }
        let can_record = is_file || disk.kind == FileType::File;
        if is_recorded && can_record {
            self.recorded_any = true;
            let kept = Kept {
                uid: wanted.uid,
                gid: wanted.gid,
                perm: wanted.perm,
                kind: Some((wanted.kind, wanted.rdev)),
            };
            self.keep(at, kept, path)?;
        }
        Ok(())
    }

    /// Gives the object to its owner; false where that is not allowed.
    fn own(&mut self, at: At<'_>, wanted: &Wanted, path: &[u8]) -> Result<bool> {
        let owner = (wanted.uid, wanted.gid);
        if self.records_owners && owner != self.ids {
            return Ok(false);
        }
        match at.chown(Some(wanted.uid), Some(wanted.gid)) {
            Ok(()) => Ok(true),
            Err(Errno::EPERM) => {
                self.records_owners = true;
                Ok(false)
            }
            // An id that this user namespace has not.
            Err(Errno::EINVAL) => Ok(false),
            Err(errno) => Err(failed(path, errno)),
        }
    }

    /// Could this process not work on an object of this mode, although it is its own?
    fn is_locked_out(&self, wanted: &Wanted) -> bool {
        let needed = match wanted.kind {
            FileType::Dir => 0o700,
            FileType::File => 0o400,
            _ => 0,
        };
        self.ids.0 != 0 && wanted.perm & needed != needed
    }

    fn keep(&mut self, at: At<'_>, kept: Kept, path: &[u8]) -> Result<()> {
        let name = Form::Containers.name();
        match at.set_xattr(name, &kept.to_value(), XattrMode::Any) {
            Err(Errno::EOPNOTSUPP | Errno::EPERM | Errno::ENOSPC) => {
                self.remarks.note("owner not kept", path);
                Ok(())
            }
            result => result.map_err(|errno| failed(path, errno)),
        }
    }

    /// Who looks for recorded owners looks at the root first.
    pub(super) fn mark_recorded(&mut self) -> Result<()> {
        let root = self.root.at();
        let fail = |errno| failed(b"", errno);
        if self.recorded_any && Form::of_root(root).map_err(fail)?.is_none() {
            let stat = root.stat().map_err(fail)?;
            self.keep(root, Kept::of(&stat), b"")?;
        }
        Ok(())
    }

    /// The name under which an attribute of a user is kept; `None` where it has none.
    fn on_disk(&self, name: &CString) -> Option<CString> {
        match self.form {
            TreeForm::Difference { .. } => keys::on_disk(name).ok().map(|name| name.into_owned()),
            TreeForm::Whole => Some(name.clone()),
        }
    }

    fn set_xattr(
        &mut self,
        at: At<'_>,
        name: &[u8],
        value: &[u8],
        path: &[u8],
        is_recorded: bool,
    ) -> Result<()> {
        let named = CString::new(name).map_err(|_| failed(path, Errno::EINVAL))?;
        if stat_override::is_name(&named) {
            self.remarks
                .note("attribute of another unpacker skipped", path);
            return Ok(());
        }
        let Some(disk) = self.on_disk(&named) else {
            self.remarks
                .note("attribute skipped, it would act as a mark", path);
            return Ok(());
        };
        match at.set_xattr(&disk, value, XattrMode::Any) {
            Ok(()) => Ok(()),
            Err(Errno::ENOSPC | Errno::EDQUOT) if name != b"security.capability" => {
                self.xattr_lost(name, Errno::ENOSPC, path)
            }
            Err(errno)
                if name == b"security.capability" && !is_recorded && !self.records_owners =>
            {
                Err(failed_xattr(name, errno, path))
            }
            Err(errno) if acl::is_acl(&disk) && errno == Errno::EINVAL => {
                Err(failed_xattr(name, errno, path))
            }
            Err(errno) => self.xattr_lost(name, errno, path),
        }
    }

    fn xattr_lost(&mut self, name: &[u8], errno: Errno, path: &[u8]) -> Result<()> {
        if self.options.strict_xattrs {
            return Err(failed_xattr(name, errno, path));
        }
        self.remarks.note("attribute not kept", path);
        Ok(())
    }
}

fn failed_xattr(name: &[u8], errno: Errno, path: &[u8]) -> Error {
    let (path, name) = (path.escape_ascii(), name.escape_ascii());
    Error::new(
        Kind::Other,
        format!("{path}: cannot set attribute {name}: {errno}"),
    )
}
