//! The second step of a copy-up that somebody else began: an upper file that holds metadata only gets
//! its data (overlay-semantics 6.1). plyfs reads metacopies of other writers and makes none.

use std::sync::Arc;

use super::copyup::Data;
use crate::layer::keys::{Key as Mark, Namespace};
use crate::overlay::Overlay;
use crate::overlay::node::Node;
use crate::overlay::options::SyncMode;
use crate::sys::at::{OpenMode, SetTime};
use crate::sys::errno::{Errno, Result};
use crate::sys::xattr::XattrMode;

const CAPABILITY: &std::ffi::CStr = c"security.capability";

impl Overlay {
    /// Copies the data into the upper file. Until its mark is gone the file still shows the data below,
    /// so a crash in between loses nothing.
    ///
    /// # Errors
    /// ENOSPC and other errors of writing.
    pub(super) fn copy_data_up(&self, node: &Arc<Node>, data: Data) -> Result<()> {
        let _one_at_a_time = node.copyup.lock();
        if node.has_upper_data() {
            return Ok(());
        }
        let (from, _) = self.open_backing(node, OpenMode::READ)?;
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
        from.file.copy_data_to(&to, size)?;
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
