//! chmod, chown, truncate, utimens in one verb, as FUSE and the VFS have it; and the inode flags.

use std::sync::Arc;

use super::copyup::Data;
use crate::layer::idmap::ShownId;
use crate::overlay::Overlay;
use crate::overlay::node::handle::OpenFile;
use crate::overlay::node::{Node, NodeId};
use crate::overlay::view::attr::Attr;
use crate::overlay::view::io::check_regular;
use crate::overlay::view::overrides::LayerAt;
use crate::sys::at::{At, OpenMode, SetTime};
use crate::sys::errno::{Errno, Result};
use crate::sys::stat::{FileType, Stat};

const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const S_IXGRP: u32 = 0o0010;

/// What shall change.
#[derive(Clone, Copy, Debug)]
pub struct SetAttr {
    /// Permission bits (07777).
    pub perm: Option<u32>,
    /// Owner.
    pub uid: Option<ShownId>,
    /// Group.
    pub gid: Option<ShownId>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Access time.
    pub atime: SetTime,
    /// Modification time.
    pub mtime: SetTime,
    /// The caller has no right to keep set-id bits on a file that is cut.
    pub kill_set_id: bool,
    /// Who asks.
    pub caller: u32,
}

impl SetAttr {
    fn is_empty(&self) -> bool {
        let ids = self.uid.is_some() || self.gid.is_some();
        let times = (self.atime, self.mtime);
        let omitted = (SetTime::Omit, SetTime::Omit);
        !ids && self.perm.is_none() && self.size.is_none() && times == omitted
    }
}

impl Overlay {
    /// Changes attributes and returns the new ones. Every such call copies up (9), a cut to nothing
    /// without the data.
    ///
    /// # Errors
    /// EROFS, EPERM, EINVAL, EFBIG, those of the upper layer; EOVERFLOW for an owner the layers cannot have.
    pub fn setattr(&self, id: NodeId, set: SetAttr, file: Option<OpenFile>) -> Result<Attr> {
        let node = self.table.get(id)?;
        self.work()?;
        if set.size.is_some() {
            check_regular(&node)?;
        }
        // Setting the times to now is what writing does, and adding is writing.
        let touches = set.perm.is_none()
            && set.uid.is_none()
            && set.gid.is_none()
            && set.size.is_none()
            && !matches!(set.atime, SetTime::At(_))
            && !matches!(set.mtime, SetTime::At(_));
        self.check_writable(&node, touches)?;
        if set.is_empty() && set.caller != 0 {
            // Either a chown(2) to nobody, of which FUSE checks nothing and for which set-id bits are the owner's, or
            // the announcement of a write that will take them by itself. Nothing is right for both.
            let attr = self.getattr(id, None)?;
            let bits = attr.stat.kind != FileType::Dir && attr.stat.perm & (S_ISUID | S_ISGID) != 0;
            if bits && attr.stat.uid != set.caller {
                return Ok(attr);
            }
        }
        let (uid, gid) = self.disk_owner(set.uid, set.gid)?;
        let data = set.size.map_or(Data::Metadata, Data::UpTo);
        self.ensure_upper(&node, data)?;
        if let Some(size) = set.size {
            self.truncate(&node, size, file)?;
        }
        let stat = self.on_upper(&node, |at, before| {
            let meant = self.meant(LayerAt::Upper, at, *before)?;
            // A call that changes nothing is a chown(2) to nobody, which takes set-id bits away all the same (16.2).
            if set.is_empty() {
                at.chown(None, None)?;
            }
            let killed = (set.size.is_some() && set.kill_set_id)
                .then(|| without_set_id(&meant))
                .flatten();
            self.set_owner_and_mode(at, &meant, (uid, gid), set.perm.or(killed))?;
            if set.atime != SetTime::Omit || set.mtime != SetTime::Omit {
                at.set_times(set.atime, set.mtime)?;
            }
            self.meant(LayerAt::Upper, at, at.stat()?)
        })?;
        Ok(self.attr(&node, &stat))
    }

    /// Runs a change on a node's upper object after proving that it is the right one.
    pub(in crate::overlay) fn on_upper<T>(
        &self,
        node: &Arc<Node>,
        change: impl Fn(At<'_>, &Stat) -> Result<T>,
    ) -> Result<T> {
        let upper = node.upper().ok_or(Errno::EROFS)?;
        self.on_real(node, |at| {
            let stat = at.stat()?;
            if (stat.dev, stat.ino) != (upper.dev, upper.ino) {
                return Err(Errno::ENOENT);
            }
            Ok((change(at, &stat)?, stat))
        })
    }

    fn truncate(&self, node: &Arc<Node>, size: u64, file: Option<OpenFile>) -> Result<()> {
        if let Some(OpenFile::Handle(handle)) = file
            && let Ok(handle) = self.handles.get(handle)
            && handle.mode.write
        {
            return self.backing(&handle)?.file.truncate(size);
        }
        // Who does not tell of opens may be about to write.
        let file = match file {
            Some(OpenFile::Node(..)) => self.upper_file(node)?,
            _ => self.open_backing(node, OpenMode::WRITE)?.0.file,
        };
        file.truncate(size)
    }

    /// Takes the set-id bits off a file that somebody without the right to keep them wrote to (16.2).
    pub(in crate::overlay) fn kill_set_id(&self, node: &Arc<Node>) -> Result<()> {
        self.on_upper(node, |at, disk| {
            let meant = self.meant(LayerAt::Upper, at, *disk)?;
            self.set_owner_and_mode(at, &meant, (None, None), without_set_id(&meant))
        })
    }
}

/// The permission bits without set-id bits, `None` when there are none to take. Set-group-id without
/// group execution means mandatory locking and stays.
pub(super) fn without_set_id(stat: &Stat) -> Option<u32> {
    let mut perm = stat.perm;
    if stat.kind == FileType::File {
        perm &= !S_ISUID;
        if perm & S_IXGRP != 0 {
            perm &= !S_ISGID;
        }
    }
    (perm != stat.perm).then_some(perm)
}
