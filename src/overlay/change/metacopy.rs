//! Metacopies: upper files that hold metadata only (overlay-semantics 6). With `metacopy=on` a change of
//! metadata makes one; the data follows when somebody writes, into the same inode.
//!
//! Until its mark is gone such a file shows the data below, so a crash in between loses nothing. One that
//! moves needs a redirect to be found from its new name: the mark is on disk before the name is.

use std::sync::Arc;

use super::copyup::Data;
use super::temp::Temp;
use crate::layer::keys::{Key as Mark, Namespace};
use crate::overlay::Overlay;
use crate::overlay::node::Node;
use crate::overlay::options::SyncMode;
use crate::sys::at::{At, OpenMode, SetTime};
use crate::sys::errno::{Errno, Result};
use crate::sys::stat::{FileType, Stat};
use crate::sys::xattr::XattrMode;

const CAPABILITY: &std::ffi::CStr = c"security.capability";

impl Overlay {
    /// How much of a file must be copied up before it gets another name.
    pub(super) fn data_to_move(&self) -> Data {
        if self.metacopy {
            Data::Metadata
        } else {
            Data::Full
        }
    }

    /// Shall a copy-up of the metadata of this node leave the data where it is?
    ///
    /// # Errors
    /// Those of looking for data in data-only layers: without it there is no copy-up, as in the kernel.
    pub(super) fn makes_metacopy_of(&self, node: &Arc<Node>) -> Result<bool> {
        if !self.metacopy || node.kind != FileType::File {
            return Ok(false);
        }
        self.lower_data(node)?;
        Ok(true)
    }

    /// A file of this size without data.
    pub(super) fn make_empty(&self, stat: &Stat) -> Result<Temp<'_>> {
        let temp = self.work()?.file(self.perm_to_begin_with(stat))?;
        match temp.file() {
            Some(file) if stat.size > 0 => file.truncate(stat.size)?,
            _ => {}
        }
        Ok(temp)
    }

    /// Writes the mark (1.4).
    pub(super) fn mark_metacopy(&self, at: At<'_>) -> Result<()> {
        let marks = self.marks.ok_or(Errno::EOPNOTSUPP)?;
        at.set_xattr(marks.name(Mark::Metacopy), b"", XattrMode::Any)
    }

    /// Copies the data into the upper file.
    ///
    /// # Errors
    /// ENOSPC and other errors of writing.
    pub(super) fn copy_data_up(&self, node: &Arc<Node>, data: Data) -> Result<()> {
        let _one_at_a_time = node.copyup.lock();
        if node.has_upper_data() {
            return Ok(());
        }
        let (from, data_stat) = self.open_backing(node, OpenMode::READ)?;
        let mode = OpenMode {
            write: true,
            ..OpenMode::READ
        };
        let (to, stat) = self.on_real(node, |at| {
            let file = at.open_file(mode)?;
            let stat = file.stat()?;
            Ok(((file, stat), stat))
        })?;
        let size = data.size(stat.size);
        // Writing takes file capabilities away.
        let capability = to.at().get_xattr(CAPABILITY)?;
        self.work()?
            .copy_data((&from.file, &data_stat), &to, size)?;
        to.truncate(size)?;
        if let Some(capability) = capability {
            to.at().set_xattr(CAPABILITY, &capability, XattrMode::Any)?;
        }
        let mtime = if size < stat.size {
            SetTime::Now
        } else {
            SetTime::At(stat.mtime)
        };
        to.set_times(SetTime::At(stat.atime), mtime)?;
        if self.sync != SyncMode::Volatile {
            to.sync(false)?;
        }
        for namespace in [Namespace::Trusted, Namespace::User] {
            match to.at().remove_xattr(namespace.name(Mark::Metacopy)) {
                Ok(()) | Err(Errno::ENODATA | Errno::EOPNOTSUPP | Errno::EPERM) => {}
                Err(errno) => return Err(errno),
            }
        }
        node.set_upper_data();
        Ok(())
    }
}
