//! Copy-up: giving a node an upper part (overlay-semantics 9, 10).
//!
//! The object is made complete in the work directory, data and metadata, and appears in the upper layer
//! by one link or rename. Until then the view shows the lower object, whatever fails.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::mode::{HARMLESS_DIR, HARMLESS_FILE};
use super::temp::Temp;
use super::workdir::WorkDir;
use crate::layer::keys::{self, Key as Mark};
use crate::layer::origin;
use crate::layer::stat_override::Kept;
use crate::overlay::Overlay;
use crate::overlay::change::slot::Slot;
use crate::overlay::node::{Key, Node, Upper};
use crate::overlay::options::SyncMode;
use crate::overlay::view::lookup::upper_of;
use crate::sys::at::{At, OpenMode, SetTime};
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;
use crate::sys::stat::{FileType, Stat};
use crate::sys::xattr::XattrMode;

/// FS_SYNC_FL and FS_NOATIME_FL.
const COPIED_FLAGS: u32 = 0x08 | 0x80;

/// How much of a file's data the caller needs in the upper layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// None: only metadata changes. A file that has no data of its own in the upper layer stays so; with
    /// `metacopy=on` a lower file gets an upper one without (6.1).
    Metadata,
    /// All of it.
    Full,
    /// The caller cuts the file to this size next: no more is copied (24.9).
    UpTo(u64),
}

impl Data {
    /// How many bytes of a file of this size are wanted, if any are copied.
    pub(super) fn size(self, size: u64) -> u64 {
        match self {
            Data::Metadata | Data::Full => size,
            Data::UpTo(limit) => size.min(limit),
        }
    }
}

impl Overlay {
    /// The work directory; there is one exactly when changes are possible.
    ///
    /// # Errors
    /// EROFS on a mount without an upper (19.2).
    pub(in crate::overlay) fn work(&self) -> Result<&WorkDir> {
        self.work.as_ref().ok_or(Errno::EROFS)
    }

    /// Makes sure that a node has an upper part, its parents first (10.1). To be called with empty hands.
    ///
    /// # Errors
    /// EROFS; ENOSPC and other errors of writing; EOVERFLOW for an owner that cannot be represented.
    pub(in crate::overlay) fn ensure_upper(&self, node: &Arc<Node>, data: Data) -> Result<()> {
        self.work()?;
        match node.indexed() {
            Some(_) => self.ensure_upper_indexed(node, data),
            None => {
                self.ensure_parents(node)?;
                self.ensure_copy(node, data)
            }
        }
    }

    /// Makes sure that the parents of a node without an upper part have one.
    fn ensure_parents(&self, node: &Arc<Node>) -> Result<()> {
        if node.upper().is_some() {
            return Ok(());
        }
        let mut above = Vec::new();
        let mut at = node.name();
        while let Some((parent, _)) = at {
            if parent.upper().is_some() {
                break;
            }
            at = parent.name();
            above.push(parent);
        }
        for parent in above.iter().rev() {
            self.copy_up(parent, Data::Full)?;
        }
        Ok(())
    }

    /// Makes sure that a node whose parents have an upper part has one, with as much data as is wanted.
    pub(super) fn ensure_copy(&self, node: &Arc<Node>, data: Data) -> Result<()> {
        if node.upper().is_none() {
            self.copy_up(node, data)?;
        }
        // It may have been somebody else, who wanted less.
        if data == Data::Metadata || node.has_upper_data() {
            Ok(())
        } else {
            self.copy_data_up(node, data)
        }
    }

    /// Copies one node up whose parent has an upper part. A second caller waits, then finds it done (10.2).
    fn copy_up(&self, node: &Arc<Node>, data: Data) -> Result<()> {
        let _one_at_a_time = node.copyup.lock();
        if node.upper().is_some() {
            return Ok(());
        }
        let lower = self.real_lower(node)?;
        let metacopy = data == Data::Metadata && self.makes_metacopy_of(node)?;
        let source = match node.kind == FileType::File && !metacopy {
            true => Some(self.open_backing(node, OpenMode::READ)?),
            false => None,
        };
        // The data of a lower metacopy is another file's.
        let opened = source.as_ref().filter(|_| !node.is_metacopy());
        let disk = opened.map_or_else(|| lower.at().stat(), |(_, stat)| Ok(*stat))?;
        let stat = self.meant_by(node, lower.at(), disk)?;
        let temp = match &source {
            _ if metacopy => self.make_empty(&stat)?,
            Some((from, disk)) => self.make_file((&from.file, disk), &stat, data)?,
            None => self.make_other(lower.at(), &stat)?,
        };
        let at = temp.at()?;
        let made = at.stat()?;
        self.copy_owner(at, &stat, &made)?;
        copy_xattrs(lower.at(), at, |name| self.is_users(name))?;
        match (opened, temp.file()) {
            (Some((from, _)), Some(to)) => copy_flags(&from.file, to),
            _ => copy_flags_of(lower.at(), at, stat.kind),
        }
        let protection = self.lower_protection(node, &stat);
        if protection.any() {
            self.write_protection(at, protection)?;
        }
        let shared = node.lower.is_shared();
        if !shared {
            self.set_origin(node, lower.at(), at)?;
        }
        if metacopy {
            self.mark_metacopy(at)?;
        }
        let cut = stat.kind == FileType::File && data.size(stat.size) < stat.size;
        let mtime = if cut {
            SetTime::Now
        } else {
            SetTime::At(stat.mtime)
        };
        at.set_times(SetTime::At(stat.atime), mtime)?;
        // Without data there is nothing that a crash could lose.
        if !metacopy || self.sync == SyncMode::Strict {
            self.sync_copy(temp.file(), at, stat.kind)?;
        }
        self.publish_copy(node, (temp, upper_of(&made)), shared, !metacopy)?;
        self.copied_up.fetch_add(1, Ordering::Relaxed);
        log::debug!("copied up {node:?}");
        Ok(())
    }

    /// The file itself, with as much data as is wanted; metadata follows.
    fn make_file(
        &self,
        (from, disk): (&FileFd, &Stat),
        stat: &Stat,
        data: Data,
    ) -> Result<Temp<'_>> {
        let work = self.work()?;
        let temp = work.file(self.perm_to_begin_with(stat))?;
        let to = temp.file().ok_or(Errno::EIO)?;
        work.copy_data((from, disk), to, data.size(stat.size))?;
        Ok(temp)
    }

    /// Permissions of a file that is about to stand for another, without set-id bits: nobody else gets at it.
    pub(super) fn perm_to_begin_with(&self, stat: &Stat) -> u32 {
        match self.keeps_modes() {
            true => HARMLESS_FILE,
            false => stat.perm & 0o777,
        }
    }

    /// The object itself, of another kind; metadata follows.
    fn make_other(&self, lower: At<'_>, stat: &Stat) -> Result<Temp<'_>> {
        let work = self.work()?;
        match stat.kind {
            FileType::Dir => work.dir(HARMLESS_DIR),
            FileType::Symlink => work.symlink(&lower.read_link()?),
            // A file that stands for it.
            _ if self.keeps_modes() => work.file(HARMLESS_FILE),
            kind => work.node(kind, HARMLESS_FILE, stat.rdev),
        }
    }

    /// Owner, group and mode of what was `made` with others.
    fn copy_owner(&self, to: At<'_>, stat: &Stat, made: &Stat) -> Result<()> {
        let (uid, gid) = (Some(stat.uid), Some(stat.gid));
        match stat.kind {
            FileType::Symlink if self.keeps_modes() => return self.chown_link(to, uid, gid),
            _ if self.keeps_modes() => return self.keep(to, Kept::of(stat)),
            _ => {}
        }
        let owned = (made.uid, made.gid) == (stat.uid, stat.gid);
        if !owned {
            match to.chown(uid, gid) {
                // An id without a mapping in our user namespace cannot be stored (10.3).
                Err(Errno::EINVAL) => return Err(Errno::EOVERFLOW),
                result => result?,
            }
        }
        match stat.kind {
            FileType::Symlink => Ok(()),
            // A change of the owner takes set-id bits away.
            _ if owned && made.perm == stat.perm => Ok(()),
            _ if stat.perm & 0o7000 == 0 && made.perm == stat.perm => Ok(()),
            _ => to.chmod(stat.perm),
        }
    }

    /// Is an attribute the user's, and not one that keeps the mode or would change it?
    fn is_users(&self, name: &CStr) -> bool {
        self.check_hidden(name, Errno::EPERM).is_ok()
    }

    /// Notes the lower object, which keeps the inode number over a remount. Where attributes cannot be
    /// had (a symbolic link with `user.` marks, say) the number is kept for this mount only.
    pub(super) fn set_origin(&self, node: &Arc<Node>, lower: At<'_>, to: At<'_>) -> Result<()> {
        let Some(marks) = self.marks else {
            return Ok(());
        };
        let Some(layer) = node.lower.layer() else {
            return Ok(());
        };
        let uuid = self.stack.lowers.get(layer).and_then(|layer| layer.uuid);
        match to.set_xattr(
            marks.name(Mark::Origin),
            &origin::encode(lower, uuid),
            XattrMode::Any,
        ) {
            Err(Errno::EPERM | Errno::EOPNOTSUPP) => Ok(()),
            result => result,
        }
    }

    /// Data must be on disk before a name leads to it, or a crash shows an empty file (10.4, 18.2).
    fn sync_copy(&self, file: Option<&FileFd>, at: At<'_>, kind: FileType) -> Result<()> {
        match (self.sync, file) {
            (SyncMode::Volatile, _) => Ok(()),
            (_, Some(file)) => file.sync(false),
            (SyncMode::Strict, None) if kind == FileType::Dir => at.open_dir_file()?.sync(false),
            (_, None) => Ok(()),
        }
    }

    /// Puts the finished copy where the node is. A node that lost its name meanwhile keeps it unnamed, so
    /// that open files go on working (15.2).
    fn publish_copy(
        &self,
        node: &Arc<Node>,
        (temp, upper): (Temp<'_>, Upper),
        shared: bool,
        with_data: bool,
    ) -> Result<()> {
        if node.indexed().is_some() {
            return self.publish_to_index(node, temp, with_data);
        }
        // No rename moves the node away while it gets its name.
        let _topology = self.topology.read();
        match node.name() {
            Some((parent, name)) => {
                let locked = self.lock_dir(&parent)?;
                let slot = Slot::new(&locked, &name);
                if !node.has_name(&parent, &name) {
                    return self.keep_unnamed(node, temp, upper, with_data);
                }
                // It keeps its number, even where that cannot be noted for the next mount.
                if !shared {
                    self.set_impure(slot.parent)?;
                }
                self.keeping_times(&slot, || temp.publish(slot.dir, slot.name))?;
                node.set_upper(upper, with_data);
                let number = self.identity.ino(upper.dev, upper.ino);
                self.table.rekey(node, Key::Number(number));
            }
            None => return self.keep_unnamed(node, temp, upper, with_data),
        }
        if shared {
            node.set_ino(self.identity.ino(upper.dev, upper.ino));
        }
        Ok(())
    }

    fn keep_unnamed(
        &self,
        node: &Arc<Node>,
        temp: Temp<'_>,
        upper: Upper,
        with_data: bool,
    ) -> Result<()> {
        let fd = temp.into_unnamed()?;
        node.set_orphan_fd(Arc::new(fd));
        node.set_upper(upper, with_data);
        Ok(())
    }

    /// Copy-up is no change of the parent that a user made: its times stay (10.4, 14).
    pub(super) fn keeping_times(
        &self,
        slot: &Slot<'_>,
        change: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let before = slot.dir.stat()?;
        change()?;
        slot.dir
            .at()
            .set_times(SetTime::At(before.atime), SetTime::At(before.mtime))
    }

    /// Marks an upper directory as holding entries with an origin: its listing must ask each for its number.
    pub(in crate::overlay) fn set_impure(&self, node: &Arc<Node>) -> Result<()> {
        if node.is_impure() {
            return Ok(());
        }
        if let (Some(marks), Some(dir)) = (self.marks, self.upper_dir(node)?) {
            dir.at()
                .set_xattr(marks.name(Mark::Impure), b"y", XattrMode::Any)?;
        }
        node.set_impure();
        Ok(())
    }
}

/// Copies the inode flags that follow a file (10.6). A filesystem without such flags loses them, as in the kernel.
fn copy_flags(from: &FileFd, to: &FileFd) {
    let kept = from.inode_flags().unwrap_or_default() & COPIED_FLAGS;
    if kept != 0 {
        let flags = to.inode_flags().unwrap_or_default() | kept;
        to.set_inode_flags(flags)
            .unwrap_or_else(|errno| log::debug!("inode flags: {errno}"));
    }
}

/// As above, for what is not open.
fn copy_flags_of(from: At<'_>, to: At<'_>, kind: FileType) {
    let open = |at: At<'_>| match kind {
        FileType::File => at.open_file(OpenMode::READ).ok(),
        FileType::Dir => at.open_dir_file().ok(),
        _ => None,
    };
    let open_to = |from| Some((from, open(to)?));
    if let Some((from, to)) = open(from).and_then(open_to) {
        copy_flags(&from, &to);
    }
}

/// Copies the attributes that are `wanted`; overlay marks of any kind stay behind (10.5, 25.3).
pub(in crate::overlay) fn copy_xattrs(
    from: At<'_>,
    to: At<'_>,
    wanted: impl Fn(&CStr) -> bool,
) -> Result<()> {
    for name in from
        .list_xattrs()?
        .iter()
        .filter(|name| !keys::is_private(name) && wanted(name))
    {
        let Some(value) = from.get_xattr(name)? else {
            continue;
        };
        let bytes = name.to_bytes();
        let must = bytes.starts_with(b"system.posix_acl_") || bytes.starts_with(b"security.");
        match to.set_xattr(name, &value, XattrMode::Any) {
            Err(Errno::EOPNOTSUPP) if !must => {}
            result => result?,
        }
    }
    Ok(())
}
