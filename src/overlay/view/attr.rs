//! Attributes: of a node, of the filesystem.

use std::sync::Arc;

use crate::layer::idmap::ShownId;
use crate::overlay::Overlay;
use crate::overlay::node::handle::OpenFile;
use crate::overlay::node::indexed::Indexed;
use crate::overlay::node::{Node, NodeId, ROOT};
use crate::sys::creds::Owner;
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FsStat;
use crate::sys::stat::Stat;

/// What stat(2) shows: attributes of the top-most object under the merged identity.
#[derive(Clone, Copy, Debug)]
pub struct Attr {
    /// The inode number that users see.
    pub ino: u64,
    /// The link count that users see.
    pub nlink: u32,
    /// The owner that users see.
    pub uid: ShownId,
    /// The group that users see.
    pub gid: ShownId,
    /// They may be remembered. Not so where the number is not the node's own, or will change at copy-up.
    pub cacheable: bool,
    /// Everything else, as the top-most layer has it (2.5).
    pub stat: Stat,
}

impl Overlay {
    /// Attributes of a node.
    ///
    /// # Errors
    /// ESTALE for an unknown node or one changed behind our back; those of the layer.
    pub fn getattr(&self, id: NodeId, file: Option<OpenFile>) -> Result<Attr> {
        let node = self.table.get(id)?;
        // An open file that shows the current object answers without a walk to its name.
        let backing = match file {
            Some(OpenFile::Handle(handle)) => {
                let handle = self.handles.get(handle).ok();
                handle.map(|handle| handle.backing.read().clone())
            }
            Some(OpenFile::Node(..)) => self.table.files.get(node.fd_key()),
            None => None,
        };
        if let Some(backing) = backing
            && backing.lower != node.has_upper_data()
            && !node.is_metacopy()
        {
            let (file, disk) = (backing.file.at(), backing.file.stat()?);
            return Ok(self.attr(&node, &self.meant_by(&node, file, disk)?));
        }
        let stat = self.stat(&node)?;
        Ok(self.attr(&node, &stat))
    }

    /// Fresh attributes of a node's object.
    pub(in crate::overlay) fn stat(&self, node: &Arc<Node>) -> Result<Stat> {
        let mut stat = self.on_real(node, |at| {
            let disk = at.stat()?;
            Ok((self.meant_by(node, at, disk)?, disk))
        })?;
        if node.is_metacopy() {
            stat.blocks = self.data_blocks(node, &stat)?;
        }
        Ok(stat)
    }

    /// The blocks of a metacopy are those of its data (6.2). Nothing is looked up in data-only layers for
    /// them: they are guessed until the data is needed (6.3).
    pub(in crate::overlay) fn data_blocks(&self, node: &Arc<Node>, stat: &Stat) -> Result<u64> {
        match node.lower.data() {
            Some(data) if data.known().is_none() => Ok(guessed_blocks(stat)),
            _ => Ok(self.lower_data(node)?.0.at().stat()?.blocks),
        }
    }

    /// What users see of these attributes.
    pub(in crate::overlay) fn attr(&self, node: &Node, stat: &Stat) -> Attr {
        let nlink = match node.is_dir() {
            true if node.is_orphan() => 0,
            true if node.is_merged() || self.static_nlink => 1,
            // The last name is gone while the lower object, which keeps its links, is still open (15.2).
            false if node.upper().is_none() && node.is_orphan() => 0,
            _ => node.indexed().map_or(stat.nlink, Indexed::names),
        };
        let shared = node.lower.is_shared();
        let own_number = node.id() == ROOT || node.ino() == node.id().0;
        let (uid, gid) = self.shown_owner(Owner {
            uid: stat.uid,
            gid: stat.gid,
        });
        Attr {
            ino: node.ino(),
            nlink,
            uid,
            gid,
            cacheable: own_number && !(shared && node.upper().is_none()),
            stat: *stat,
        }
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// EINVAL when it is none.
    pub fn readlink(&self, id: NodeId) -> Result<Vec<u8>> {
        let node = self.table.get(id)?;
        self.on_real(&node, |at| Ok((at.read_link()?, at.stat()?)))
    }

    /// Sizes of the filesystem that takes the changes, or of the top-most layer (19.1).
    ///
    /// # Errors
    /// Those of statvfs.
    pub fn statfs(&self) -> Result<FsStat> {
        let lowers = || self.stack.lowers.iter();
        let top = self
            .stack
            .upper
            .as_ref()
            .map(|upper| &upper.layer)
            .or_else(|| lowers().next());
        let mut stat = FsStat::of(&*top.ok_or(Errno::EIO)?.root)?;
        stat.namelen = self.name_max;
        Ok(stat)
    }
}

/// What a file of this size would take without holes.
fn guessed_blocks(stat: &Stat) -> u64 {
    let block = u64::from(stat.blksize.max(512));
    stat.size.div_ceil(block).saturating_mul(block / 512)
}
