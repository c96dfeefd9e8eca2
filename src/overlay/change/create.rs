//! Making new objects (overlay-semantics 11): in place where the upper layer has nothing of the name,
//! through the work directory where a whiteout must give way in the same step.

use std::ffi::OsStr;
use std::sync::Arc;

use super::copyup::Data;
use super::maker::{DEFAULT_ACL, Maker};
use super::slot::{LockedDir, Slot};
use super::temp::Temp;
use crate::layer::idmap::ShownId;
use crate::layer::mark;
use crate::overlay::Overlay;
use crate::overlay::node::handle::Backing;
use crate::overlay::node::{DefaultAcl, Node, NodeId, Place};
use crate::overlay::view::lookup::Entry;
use crate::overlay::view::overrides::LayerAt;
use crate::overlay::view::seen::Seen;
use crate::sys::at::{At, OpenMode};
use crate::sys::creds::Owner;
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;
use crate::sys::name::Name;
use crate::sys::stat::{FileType, Rdev};
use crate::sys::xattr::XattrMode;

const S_ISGID: u32 = 0o2000;

/// Who asks for a new object.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// File system user id.
    pub uid: ShownId,
    /// File system group id.
    pub gid: ShownId,
    /// Bits to leave out of a new mode, unless a default ACL decides.
    pub umask: u32,
}

/// What is made.
pub(super) enum New<'a> {
    File {
        perm: u32,
        mode: OpenMode,
    },
    Dir {
        perm: u32,
    },
    Node {
        kind: FileType,
        perm: u32,
        rdev: Rdev,
    },
    Symlink {
        target: &'a [u8],
    },
}

impl Overlay {
    /// mkdir(2).
    ///
    /// # Errors
    /// EEXIST, EROFS, those of the upper layer.
    pub fn mkdir(&self, parent: NodeId, name: &OsStr, perm: u32, caller: Caller) -> Result<Entry> {
        let new = New::Dir {
            perm: perm & 0o7777,
        };
        self.create_object(parent, name, &new, caller)
            .map(|(entry, _)| entry)
    }

    /// mknod(2). A character device 0:0 would be a whiteout and is refused (3.6).
    ///
    /// # Errors
    /// EPERM; EEXIST, EROFS, those of the upper layer.
    pub fn mknod(
        &self,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        rdev: u32,
        caller: Caller,
    ) -> Result<Entry> {
        let perm = mode & 0o7777;
        // A mode without a type is a regular file, as mknod(2) has it.
        let kind = FileType::from_mode(mode).unwrap_or(FileType::File);
        let device = matches!(kind, FileType::Char | FileType::Block);
        let rdev = if device {
            Rdev::from_encoded(rdev)
        } else {
            Rdev::default()
        };
        if kind == FileType::Char && rdev == Rdev::default() {
            return Err(Errno::EPERM);
        }
        let new = New::Node { kind, perm, rdev };
        self.create_object(parent, name, &new, caller)
            .map(|(entry, _)| entry)
    }

    /// symlink(2).
    ///
    /// # Errors
    /// EEXIST, EROFS, those of the upper layer.
    pub fn symlink(
        &self,
        parent: NodeId,
        name: &OsStr,
        target: &[u8],
        caller: Caller,
    ) -> Result<Entry> {
        self.create_object(parent, name, &New::Symlink { target }, caller)
            .map(|(entry, _)| entry)
    }

    /// Makes a regular file, and gives it open.
    pub(super) fn create_file(
        &self,
        parent: NodeId,
        name: &OsStr,
        perm: u32,
        mode: OpenMode,
        caller: Caller,
    ) -> Result<(Entry, Backing)> {
        let new = New::File {
            perm: perm & 0o7777,
            mode,
        };
        let (entry, file) = self.create_object(parent, name, &new, caller)?;
        let backing = Backing {
            file: Arc::new(file.ok_or(Errno::EIO)?),
            lower: false,
            writable: mode.write,
        };
        Ok((entry, backing))
    }

    fn create_object(
        &self,
        parent: NodeId,
        name: &OsStr,
        new: &New<'_>,
        caller: Caller,
    ) -> Result<(Entry, Option<FileFd>)> {
        let parent = self.dir_node(parent)?;
        let name = self.creatable_name(name)?;
        self.work()?;
        self.check_gains(&parent)?;
        let owner = self.owner_of(caller)?;
        if parent.upper().is_none() {
            self.check_free(&parent, &name)?;
        }
        self.ensure_upper(&parent, Data::Full)?;
        let locked = self.lock_dir(&parent)?;
        let maker = self.maker(&parent, &locked.dir, owner, caller.umask)?;
        let file = self.create_in(&locked, &name, &maker, new)?;
        let at = At::child(&locked.dir, &name);
        let disk = file.as_ref().map_or_else(|| at.stat(), FileFd::stat)?;
        let stat = self.meant(LayerAt::Upper, at, disk)?;
        let names_are_exact =
            stat.is_dir() && self.keeps_upper_names() && parent.upper_names().is_exact(&locked.dir);
        let place = Place::named(&parent, &name);
        let node = self.made(place, &stat);
        if names_are_exact {
            node.upper_names().begin_empty();
        }
        if stat.is_dir() && maker.acl == DefaultAcl::No {
            node.set_default_acl(Some(DefaultAcl::No));
        }
        Ok((self.enter(&node, &stat), file))
    }

    fn create_in(
        &self,
        locked: &LockedDir<'_>,
        name: &Name,
        maker: &Maker<'_>,
        new: &New<'_>,
    ) -> Result<Option<FileFd>> {
        if self.is_only_upper(locked.node, name) && !self.keeps_modes() {
            let slot = Slot::new(locked, name);
            match maker.make(slot.dir, slot.name, new) {
                // Be it by a whiteout.
                Err(Errno::EEXIST) => {}
                result => return result,
            }
        }
        let seen = self.see(locked.node, name)?;
        if seen.top().is_some() {
            return Err(Errno::EEXIST);
        }
        let slot = &Slot::new(locked, name);
        // A file hides what is below by being there; a directory has to say so.
        let opaque = seen.upper_marker && matches!(new, New::Dir { .. });
        let file = match seen.upper_whiteout || opaque {
            false if self.keeps_modes() => self.create_elsewhere(slot, maker, new)?,
            false => maker.make(slot.dir, slot.name, new)?,
            true => self.create_over_whiteout(slot, maker, new, &seen)?,
        };
        if seen.upper_marker {
            self.drop_marker(slot);
        }
        Ok(file)
    }

    /// A name that may be given to a new object: names that would remove others are ours (26.2).
    pub(in crate::overlay) fn creatable_name(&self, name: &OsStr) -> Result<Name> {
        let name = Name::from_os(name)?;
        if self.rules.oci && name.as_bytes().starts_with(mark::OCI_PREFIX) {
            return Err(Errno::EPERM);
        }
        Ok(name)
    }

    /// A name that is taken is found out before anything is copied up for nothing (9).
    pub(in crate::overlay) fn check_free(&self, parent: &Arc<Node>, name: &Name) -> Result<()> {
        let _dir = parent.dir().read();
        match self.see(parent, name)?.top() {
            Some(_) => Err(Errno::EEXIST),
            None => Ok(()),
        }
    }

    /// Makes the object complete in the work directory, then lets it take the whiteout's place (11.2).
    fn create_over_whiteout(
        &self,
        slot: &Slot<'_>,
        maker: &Maker<'_>,
        new: &New<'_>,
        seen: &Seen,
    ) -> Result<Option<FileFd>> {
        let nursery = self.nursery(slot, maker)?;
        let dir = nursery.open_dir()?;
        let file = maker.make(&dir, slot.name, new)?;
        let is_dir = matches!(new, New::Dir { .. });
        if is_dir {
            self.set_opaque(At::child(&dir, slot.name))?;
        }
        if is_dir && seen.upper_whiteout {
            // The whiteout lands in the nursery and goes with it.
            nursery.exchange_entry(slot.name, slot.dir, slot.name)?;
        } else {
            nursery.replace_with_entry(slot.name, slot.dir, slot.name)?;
        }
        Ok(file)
    }

    /// Makes the object complete in the work directory, then moves it to where nothing is: without the
    /// attribute that keeps its mode it is not what it stands for.
    fn create_elsewhere(
        &self,
        slot: &Slot<'_>,
        maker: &Maker<'_>,
        new: &New<'_>,
    ) -> Result<Option<FileFd>> {
        let nursery = self.nursery(slot, maker)?;
        let file = maker.make(&nursery.open_dir()?, slot.name, new)?;
        nursery.replace_with_entry(slot.name, slot.dir, slot.name)?;
        Ok(file)
    }

    /// A directory in the work directory that passes on to what is made in it just what the parent would:
    /// group, set-group-id bit, default ACL. So the upper filesystem itself applies them (11.3).
    fn nursery(&self, slot: &Slot<'_>, maker: &Maker<'_>) -> Result<Temp<'_>> {
        let nursery = self.work()?.dir(0o700)?;
        let at = nursery.at()?;
        let parent = slot.dir.stat()?;
        if parent.perm & S_ISGID != 0 {
            at.chown(None, Some(parent.gid))?;
            at.chmod(0o700 | S_ISGID)?;
        }
        if maker.acl == DefaultAcl::Yes
            && let Some(acl) = slot.dir.at().get_xattr(DEFAULT_ACL)?
        {
            at.set_xattr(DEFAULT_ACL, &acl, XattrMode::Any)?;
        }
        Ok(nursery)
    }

    /// The owner on disk of what a caller makes: EOVERFLOW where the layers cannot have it.
    pub(super) fn owner_of(&self, caller: Caller) -> Result<Owner> {
        match self.disk_owner(Some(caller.uid), Some(caller.gid))? {
            (Some(uid), Some(gid)) => Ok(Owner { uid, gid }),
            _ => Err(Errno::EOVERFLOW),
        }
    }
}
