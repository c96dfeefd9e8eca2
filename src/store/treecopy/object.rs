//! Copying one object of a tree: data, then owner, mode, attributes and times, in the order in which one does not undo
//! the other.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::trail::{Failure, Trail};
use super::{Dir, Entry, Job, Place, REFLINK, REFLINK_NOT, REFLINK_UNKNOWN, Task, Way};
use crate::layer::acl;
use crate::layer::mark::{MarkRules, Redirects, is_whiteout_device};
use crate::store::error::Kind;
use crate::sys::at::{At, OpenMode, SetTime};
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;
use crate::sys::name::Name;
use crate::sys::remove::remove_tree;
use crate::sys::stat::{FileType, Stat};
use crate::sys::xattr::XattrMode;

/// Files up to this size are read and written in one piece.
pub(super) const SMALL_BYTES: usize = 128 << 10;

/// Only marks that a layer may have when it is put onto another one.
const MARKS: MarkRules = MarkRules {
    user_redirects: true,
    oci: false,
    redirects: Redirects {
        follow: false,
        metacopy: false,
    },
    blocks_tell: false,
};

/// What a security module thinks of a file depends on where the file is.
const LABEL: &CStr = c"security.selinux";

const LEADS_ELSEWHERE: &str =
    "it is marked as a redirect or metacopy, whose data is in another layer";

impl Job<'_> {
    /// Copies one entry; a directory is made, and its entries are put on the stack.
    pub(super) fn copy(
        &self,
        dir: &Arc<Dir>,
        entry: &Entry,
        made: &mut Vec<Task>,
        buffer: &mut [u8],
    ) -> Result<(), Failure> {
        let name = &entry.name;
        let from = At::child(&dir.from, name);
        let counted = match entry.kind {
            Some(FileType::File) => self.copy_file(dir, name, buffer)?,
            Some(FileType::Dir) => {
                self.make_dir(dir, name)?;
                made.push(Task::Enter(Arc::clone(dir), name.clone()));
                true
            }
            Some(_) => self.copy_node(dir, name)?,
            None => {
                let kind = Some(from.stat()?.kind);
                let name = name.clone();
                return self.copy(dir, &Entry { name, kind }, made, buffer);
            }
        };
        if counted {
            self.counts.entries.fetch_add(1, Ordering::Relaxed);
            self.rules.watch.done(0, 1);
        }
        Ok(())
    }

    fn copy_file(&self, dir: &Dir, name: &Name, buffer: &mut [u8]) -> Result<bool, Failure> {
        let at = At::child(&dir.from, name);
        let from = open(at)?;
        let stat = from.stat()?;
        if stat.kind != FileType::File {
            // It was another object when it was listed: somebody is changing the tree.
            return Err(Errno::ESTALE.into());
        }
        if self.rules.way == Way::Onto {
            let marks = MARKS.of_file(at, &stat)?;
            if marks.metacopy || marks.redirect {
                return Err(Failure::Words(Kind::Unsupported, LEADS_ELSEWHERE));
            }
            if marks.whiteout {
                remove_tree(&dir.to, name)?;
                return Ok(false);
            }
        }
        self.once(dir, name, &stat, || {
            Ok(self.copy_one_file(&from, at, &stat, dir, name, buffer)?)
        })?;
        Ok(true)
    }

    /// A directory of the copy, from its top.
    fn walk(&self, trail: &Trail) -> Result<DirFd> {
        let mut dir = self.target.try_clone()?;
        for name in trail.names() {
            dir = dir.open_dir(name)?;
        }
        Ok(dir)
    }

    fn copy_one_file(
        &self,
        from: &FileFd,
        at: At<'_>,
        stat: &Stat,
        dir: &Dir,
        name: &Name,
        buffer: &mut [u8],
    ) -> Result<()> {
        let first = match self.obedient {
            true => stat.perm & 0o777 | self.unlocked(),
            false => 0o600,
        };
        let to = self.make(dir, name, || {
            dir.to.create_file(name, OpenMode::WRITE, first)
        })?;
        if dir.gives_acl {
            acl::disinherit(to.at())?;
        }
        self.copy_data(from, &to, stat, buffer)?;
        let perm = self.give_to(to.at(), stat)?;
        if from.has_xattrs()? {
            self.copy_attributes(at, to.at())?;
        }
        if first != perm || perm & self.umask != 0 {
            to.at().chmod(perm)?;
        }
        to.set_times(SetTime::At(stat.atime), SetTime::At(stat.mtime))?;
        self.counts.bytes.fetch_add(stat.size, Ordering::Relaxed);
        Ok(())
    }

    fn copy_data(&self, from: &FileFd, to: &FileFd, stat: &Stat, buffer: &mut [u8]) -> Result<()> {
        if stat.size == 0 {
            return Ok(());
        }
        let watch = self.rules.watch;
        if self.reflink.load(Ordering::Relaxed) != REFLINK_NOT {
            match from.clone_to(to) {
                Ok(()) => {
                    self.reflink.store(REFLINK, Ordering::Relaxed);
                    watch.done(stat.size, 0);
                    return Ok(());
                }
                // A single file may refuse what the filesystem can. Whatever is wrong shows in the copy below.
                Err(_) => {
                    let unknown = REFLINK_UNKNOWN;
                    let order = Ordering::Relaxed;
                    // Another thread may have found out meanwhile.
                    let _ = self
                        .reflink
                        .compare_exchange(unknown, REFLINK_NOT, order, order);
                }
            }
        }
        let dense = stat.blocks * 512 >= stat.size;
        match usize::try_from(stat.size) {
            Ok(size) if dense && size <= buffer.len() => {
                let read = from.read_at(&mut buffer[..size], 0)?;
                to.write_all_at(&buffer[..read], 0)?;
                watch.done(stat.size, 0);
                Ok(())
            }
            _ => {
                let mut told = |bytes| {
                    watch.done(bytes, 0);
                    match watch.is_stopped() {
                        true => Err(Errno::EINTR),
                        false => Ok(()),
                    }
                };
                from.copy_stretches_to(to, stat.size, &mut told)
            }
        }
    }

    /// Device, fifo, socket or symbolic link; false for a whiteout that took effect.
    fn copy_node(&self, dir: &Dir, name: &Name) -> Result<bool, Failure> {
        let from = At::child(&dir.from, name);
        let stat = from.stat()?;
        if self.rules.way == Way::Onto && is_whiteout_device(&stat) {
            remove_tree(&dir.to, name)?;
            return Ok(false);
        }
        self.once(dir, name, &stat, || self.copy_one_node(dir, name, &stat))?;
        Ok(true)
    }

    /// Makes the copy of an object by `copy`, or by a link if one of its names has been copied before.
    fn once(
        &self,
        dir: &Dir,
        name: &Name,
        stat: &Stat,
        copy: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if stat.nlink == 1 {
            return copy();
        }
        let place = Arc::clone(self.links.lock().entry((stat.dev, stat.ino)).or_default());
        let mut place = place.lock();
        if let Some(first) = &*place {
            let first_dir = self.walk(&first.dir)?;
            let first = At::child(&first_dir, &first.name);
            return Ok(self.make(dir, name, || first.link(&dir.to, name))?);
        }
        copy()?;
        *place = Some(Place {
            dir: Arc::clone(&dir.trail),
            name: name.clone(),
        });
        Ok(())
    }

    fn copy_one_node(&self, dir: &Dir, name: &Name, stat: &Stat) -> Result<(), Failure> {
        let (from, to) = (At::child(&dir.from, name), At::child(&dir.to, name));
        if stat.kind == FileType::Symlink {
            let target = from.read_link()?;
            self.make(dir, name, || dir.to.symlink(name, &target))?;
            self.give_to(to, stat)?;
        } else {
            let make = || dir.to.mknod(name, stat.kind, stat.perm & 0o777, stat.rdev);
            match self.make(dir, name, make) {
                Err(Errno::EPERM) => {
                    let why = "only root may make devices";
                    return Err(Failure::Words(Kind::Unsupported, why));
                }
                result => result?,
            }
            if dir.gives_acl {
                acl::disinherit(to)?;
            }
            let perm = self.give_to(to, stat)?;
            to.chmod(perm)?;
        }
        if !from.list_xattrs()?.is_empty() {
            self.copy_attributes(from, to)?;
        }
        to.set_times(SetTime::At(stat.atime), SetTime::At(stat.mtime))?;
        Ok(())
    }

    /// Makes the copy of a directory, open to this user until it is complete.
    fn make_dir(&self, dir: &Dir, name: &Name) -> Result<(), Failure> {
        if self.rules.way == Way::Fresh {
            return Ok(dir.to.mkdir(name, 0o700)?);
        }
        let marks = MARKS.of_dir(At::child(&dir.from, name))?;
        if marks.redirect {
            return Err(Failure::Words(Kind::Unsupported, LEADS_ELSEWHERE));
        }
        match dir.to.mkdir(name, 0o700) {
            Err(Errno::EEXIST) => {}
            result => return Ok(result?),
        }
        let to = At::child(&dir.to, name);
        if to.stat()?.is_dir() && !marks.opaque {
            to.chmod(0o700)?;
            return Ok(());
        }
        remove_tree(&dir.to, name)?;
        dir.to.mkdir(name, 0o700)?;
        Ok(())
    }

    /// Makes something; what is in the way goes, where that is allowed.
    fn make<T>(&self, dir: &Dir, name: &Name, make: impl Fn() -> Result<T>) -> Result<T> {
        match make() {
            Err(Errno::EEXIST) if self.rules.way == Way::Onto => {
                remove_tree(&dir.to, name)?;
                make()
            }
            result => result,
        }
    }

    /// Sets what is left to set on a directory, now that nothing is added to it any more.
    pub(super) fn finish_dir(&self, dir: &Dir) -> Result<()> {
        let (from, to) = (dir.from.at(), dir.to.at());
        let perm = self.give_to(to, &dir.stat)?;
        if self.rules.way == Way::Onto {
            // The attributes of a directory are those of its top-most layer alone.
            for name in to.list_xattrs()?.iter().filter(|name| *name != LABEL) {
                to.remove_xattr(name)?;
            }
        }
        // The mode comes after: one without write permission takes no attributes.
        self.copy_attributes(from, to)?;
        to.chmod(perm)?;
        to.set_times(SetTime::At(dir.stat.atime), SetTime::At(dir.stat.mtime))
    }

    /// Sets the owner; returns the permission bits that are right for the one it has then: set-id bits are not for
    /// somebody else.
    fn give_to(&self, to: At<'_>, stat: &Stat) -> Result<u32> {
        if self.obedient && self.ids == (stat.uid, stat.gid) {
            return Ok(stat.perm);
        }
        match to.chown(Some(stat.uid), Some(stat.gid)) {
            // A user may give nothing away, and in a user namespace some ids do not exist.
            Err(Errno::EPERM | Errno::EINVAL) if !self.privileged() => {
                self.counts.owners_lost.fetch_add(1, Ordering::Relaxed);
                Ok(stat.perm & !0o6000)
            }
            result => result.map(|()| stat.perm),
        }
    }

    fn privileged(&self) -> bool {
        self.ids.0 == 0
    }

    /// What the mode of a file needs until its attributes are set, by whom modes keep out.
    fn unlocked(&self) -> u32 {
        if self.privileged() { 0 } else { 0o200 }
    }

    fn copy_attributes(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        for name in from
            .list_xattrs()?
            .iter()
            .filter(|name| (self.rules.attributes)(name))
        {
            let Some(value) = from.get_xattr(name)? else {
                continue;
            };
            let label = name == LABEL;
            let must = name.to_bytes().starts_with(b"security.")
                || name.to_bytes().starts_with(b"system.");
            match to.set_xattr(name, &value, XattrMode::Any) {
                Err(Errno::EOPNOTSUPP) if label || !must => {}
                Err(Errno::EPERM) if label || !self.privileged() => {}
                result => {
                    result?;
                    continue;
                }
            }
            self.counts.attributes_lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Opens a file for reading, without a mark of that where we may.
fn open(at: At<'_>) -> Result<FileFd> {
    let quiet = OpenMode {
        noatime: true,
        ..OpenMode::READ
    };
    match at.open_file(quiet) {
        Err(Errno::EPERM) => at.open_file(OpenMode::READ),
        result => result,
    }
}
