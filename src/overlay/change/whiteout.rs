//! Writing whiteouts (overlay-semantics 3.3, 12.2, 26.2) in the form of the mount.
//!
//! Invariant: whatever lies below a removed name never shows in between. A device or a marked file takes
//! the name in one rename. A `.wh.NAME` file lies beside it and is made before NAME goes: what has the
//! name in the same layer shows as long as it is there (3.2).

use super::slot::Slot;
use super::temp::Temp;
use super::workdir::WorkDir;
use crate::layer::keys::{Key as Mark, Namespace};
use crate::layer::mark::{self, WhiteoutForm};
use crate::overlay::Overlay;
use crate::overlay::node::rank;
use crate::overlay::view::seen::Seen;
use crate::sync::Mutex;
use crate::sys::at::At;
use crate::sys::dir::{DirFd, RenameMode};
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;
use crate::sys::stat::{FileType, Rdev};
use crate::sys::xattr::XattrMode;

/// Permissions of a file that is a whiteout: nobody writes to it, and its owner can pack it.
const MARKER_PERM: u32 = 0o400;

/// What the upper filesystem can do; asked once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// Character devices 0:0 can be made.
    device: bool,
    /// Two names can change places.
    pub exchange: bool,
    /// A rename can leave a device 0:0 behind.
    pub whiteout: bool,
}

/// How whiteouts are written.
#[derive(Debug)]
pub(super) struct Whiteouts {
    pub form: WhiteoutForm,
    pub can: Abilities,
    /// The namespace of marked files.
    marks: Option<Namespace>,
    /// One whiteout that all removals link to (3.3).
    shared: Mutex<Option<Name>, { rank::WHITEOUT }>,
}

impl Default for Whiteouts {
    fn default() -> Whiteouts {
        let can = Abilities {
            device: true,
            exchange: true,
            whiteout: true,
        };
        Whiteouts::new(WhiteoutForm::Device, can, None)
    }
}

impl Whiteouts {
    fn new(form: WhiteoutForm, can: Abilities, marks: Option<Namespace>) -> Whiteouts {
        Whiteouts {
            form,
            can,
            marks,
            shared: Mutex::default(),
        }
    }
}

impl Abilities {
    fn probe(work: &WorkDir) -> Result<Abilities> {
        let device = is_possible(work.device())?;
        let (device, one) = match device {
            Some(name) => (true, name),
            None => (false, work.marker()?),
        };
        let mut two = work.fresh_name()?;
        let possible = |two: &Name, mode| {
            let done = work.dir.rename(&one, &work.dir, two, mode);
            is_possible(done).map(|done| done.is_some())
        };
        // Each attempt leaves two names for the next one.
        let whiteout = device && possible(&two, RenameMode::Whiteout)?;
        if !whiteout {
            two = work.marker()?;
        }
        let exchange = possible(&two, RenameMode::Exchange)?;
        work.discard(&one);
        work.discard(&two);
        Ok(Abilities {
            device,
            exchange,
            whiteout,
        })
    }
}

/// `None` for what this filesystem, or this user, can never do. Other errors say nothing of that.
fn is_possible<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::EPERM | Errno::EACCES | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS) => {
            Ok(None)
        }
        Err(errno) => Err(errno),
    }
}

impl WorkDir {
    /// Finds out what the upper filesystem can do, and settles the form of whiteouts. Where nothing is
    /// asked for that is the kernel's, if a device can be made and can change places with a directory.
    ///
    /// # Errors
    /// EOPNOTSUPP for a form that the filesystem cannot have; those of the attempts.
    pub fn settle_whiteouts(
        &mut self,
        asked: Option<WhiteoutForm>,
        marks: Option<Namespace>,
    ) -> Result<()> {
        let can = Abilities::probe(self)?;
        let form = match asked {
            Some(WhiteoutForm::Device) if !can.device => return Err(Errno::EOPNOTSUPP),
            Some(WhiteoutForm::Attribute) if marks.is_none() => return Err(Errno::EOPNOTSUPP),
            Some(form) => form,
            None if can.device && can.exchange => WhiteoutForm::Device,
            None => WhiteoutForm::Name,
        };
        log::debug!("whiteouts: {form:?}, {can:?}");
        self.whiteouts = Whiteouts::new(form, can, marks);
        Ok(())
    }

    /// Are whiteouts written as `.wh.` files?
    pub fn whiteouts_are_names(&self) -> bool {
        self.whiteouts.form == WhiteoutForm::Name
    }

    fn marker(&self) -> Result<Name> {
        let name = self.fresh_name()?;
        self.dir
            .mknod(&name, FileType::File, MARKER_PERM, Rdev::default())?;
        Ok(name)
    }

    fn new_whiteout(&self) -> Result<Name> {
        if self.whiteouts.form != WhiteoutForm::Device {
            let name = self.marker()?;
            if let (WhiteoutForm::Attribute, Some(marks)) =
                (self.whiteouts.form, self.whiteouts.marks)
            {
                let at = At::child(&self.dir, &name);
                // Who is no superuser gives attributes only to what he may write to.
                at.chmod(MARKER_PERM | 0o200)?;
                at.set_xattr(marks.name(Mark::Whiteout), b"", XattrMode::Any)?;
                at.chmod(MARKER_PERM)?;
            }
            return Ok(name);
        }
        self.device()
    }

    fn device(&self) -> Result<Name> {
        let name = self.fresh_name()?;
        self.dir.mknod(&name, FileType::Char, 0, Rdev::default())?;
        Ok(name)
    }

    /// Puts a whiteout, of whatever form, at a free name.
    ///
    /// # Errors
    /// EEXIST; those of link and mknod.
    fn whiteout_at(&self, dir: &DirFd, at: &Name) -> Result<()> {
        let mut shared = self.whiteouts.shared.lock();
        loop {
            let fresh = shared.is_none();
            let name = match shared.take() {
                Some(name) => name,
                None => self.new_whiteout()?,
            };
            match At::child(&self.dir, &name).link(dir, at) {
                Ok(()) => {
                    *shared = Some(name);
                    return Ok(());
                }
                // Too many links, or its inode was taken away: the next whiteout is a new inode.
                Err(Errno::EMLINK | Errno::ENOENT) if !fresh => self.discard(&name),
                // A filesystem without hard links: this one goes where it is wanted.
                Err(Errno::EPERM | Errno::EMLINK | Errno::EOPNOTSUPP) if fresh => {
                    return self.rename_to_free(&name, dir, at);
                }
                Err(errno) => {
                    *shared = Some(name);
                    return Err(errno);
                }
            }
        }
    }

    /// An unpublished whiteout.
    ///
    /// # Errors
    /// As for one that is published.
    pub(super) fn whiteout(&self) -> Result<Temp<'_>> {
        let name = self.fresh_name()?;
        self.whiteout_at(&self.dir, &name)?;
        Ok(Temp::named(self, name))
    }
}

impl Overlay {
    /// Takes away what the upper layer has of a name that layers below have, too: they stay hidden (12.2).
    ///
    /// # Errors
    /// ENOSPC when there is no room for a whiteout; ENAMETOOLONG where the name is too long for one.
    pub(super) fn hide(&self, slot: &Slot<'_>, seen: &Seen) -> Result<()> {
        let work = self.work()?;
        let upper = seen.upper().map(|part| part.stat.is_dir());
        if work.whiteouts_are_names() {
            let made = self.put_marker(slot)?;
            let removed = match upper {
                Some(true) => self.remove_upper_dir(slot),
                Some(false) => slot.dir.unlink(slot.name),
                None => Ok(()),
            };
            if removed.is_err() && made {
                self.drop_marker(slot);
            }
            return removed;
        }
        self.announce_whiteout(slot)?;
        match upper {
            // The whiteout and the directory change places; what was in it goes with it.
            Some(true) => work.whiteout()?.exchange(slot.dir, slot.name),
            Some(false) => work.whiteout()?.replace(slot.dir, slot.name),
            None => work.whiteout_at(slot.dir, slot.name),
        }
    }

    /// Removes a directory of the upper layer that is empty in the view. If it lost its lowers it may
    /// still hold whiteouts: it is moved out and deleted there.
    pub(super) fn remove_upper_dir(&self, slot: &Slot<'_>) -> Result<()> {
        match slot.dir.rmdir(slot.name) {
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => {
                drop(self.work()?.take(slot.dir, slot.name)?);
                Ok(())
            }
            result => result,
        }
    }

    /// Makes the `.wh.` file of a name; false if it is there already.
    pub(super) fn put_marker(&self, slot: &Slot<'_>) -> Result<bool> {
        let marker = mark::oci_whiteout(slot.name)?;
        slot.parent.upper_names().add(&[marker.as_bytes()]);
        match self.work()?.whiteout_at(slot.dir, &marker) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Removes the `.wh.` file of a name, now that an object of this layer hides what is below. Should that
    /// fail, the view is right all the same; another reader may think the name removed.
    pub(super) fn drop_marker(&self, slot: &Slot<'_>) {
        match mark::oci_whiteout(slot.name).and_then(|marker| slot.dir.unlink(&marker)) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => log::warn!("the whiteout of {:?} stays: {errno}", slot.name),
        }
    }

    /// A directory says that empty files in it may be whiteouts, or the kernel lists them (3.1).
    pub(super) fn announce_whiteout(&self, slot: &Slot<'_>) -> Result<()> {
        let whiteouts = &self.work()?.whiteouts;
        let (WhiteoutForm::Attribute, Some(marks)) = (whiteouts.form, whiteouts.marks) else {
            return Ok(());
        };
        let at = slot.dir.at();
        let said = self.rules.of_dir(at)?;
        if said.opaque || said.xattr_whiteouts {
            return Ok(());
        }
        at.set_xattr(marks.name(Mark::Opaque), b"x", XattrMode::Any)
    }

    /// Marks a directory that nobody sees yet as opaque: by an attribute, and in the form of container
    /// images where whiteouts have that form. Where neither can be said a directory that shows what was
    /// removed must not be made (4.1).
    ///
    /// # Errors
    /// EIO; those of setting an attribute.
    pub(in crate::overlay) fn set_opaque(&self, at: At<'_>) -> Result<()> {
        let by_name = self.work()?.whiteouts_are_names();
        if by_name {
            let dir = at.open_dir()?;
            match self.work()?.whiteout_at(&dir, &mark::oci_opaque()?) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        match self.marks {
            Some(marks) => at.set_xattr(marks.name(Mark::Opaque), b"y", XattrMode::Any),
            None if by_name => Ok(()),
            None => Err(Errno::EIO),
        }
    }
}
