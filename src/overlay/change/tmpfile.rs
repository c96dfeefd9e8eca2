//! Files without a name (O_TMPFILE, overlay-semantics 11.4). fuser 0.18 does not carry the request; other front ends
//! do.

use std::sync::Arc;

use super::copyup::Data;
use super::create::Caller;
use crate::overlay::Overlay;
use crate::overlay::node::handle::{Backing, Opened};
use crate::overlay::node::{NodeId, Place};
use crate::overlay::view::lookup::Entry;
use crate::overlay::view::overrides::LayerAt;
use crate::sys::at::OpenMode;
use crate::sys::errno::{Errno, Result};

impl Overlay {
    /// open(2) of a directory with O_TMPFILE. A file that is `linkable` (no O_EXCL) can be given a name by
    /// [`Overlay::link`]. What is left without a name is gone when it is closed and forgotten.
    ///
    /// # Errors
    /// EINVAL for flags that do not allow writing; EOPNOTSUPP where the upper filesystem has no such files; EROFS,
    /// others of the upper layer.
    pub fn tmpfile(
        &self,
        parent: NodeId,
        perm: u32,
        (flags, linkable): (i32, bool),
        caller: Caller,
    ) -> Result<(Entry, Opened)> {
        let parent = self.dir_node(parent)?;
        self.work()?;
        self.check_gains(&parent)?;
        let owner = self.owner_of(caller)?;
        self.ensure_upper(&parent, Data::Full)?;
        let mode = OpenMode {
            truncate: false,
            ..self.open_mode(flags)
        };
        let dir = self.upper_dir(&parent)?.ok_or(Errno::EROFS)?;
        let maker = self.maker(&parent, &dir, owner, caller.umask)?;
        let file = maker.make_unnamed(&dir, mode, perm & 0o7777)?;
        let path = Arc::new(file.at().open_path()?);
        let stat = self.meant(LayerAt::Upper, file.at(), file.stat()?)?;
        let place = match linkable {
            true => Place::Unnamed(path),
            false => Place::Orphan(Some(path)),
        };
        let node = self.made(place, &stat);
        let entry = self.enter(&node, &stat);
        let backing = Backing {
            file: Arc::new(file),
            lower: false,
            writable: mode.write,
        };
        Ok((entry, self.opened(node, None, mode, backing, stat)))
    }
}
