//! What the layers of a directory say of a name, and where the parts of it are. Made by `ask`.

use std::sync::{Arc, OnceLock};

use super::merge::{DataAt, Part, Resolved};
use crate::layer::redirect::Redirect;
use crate::overlay::node::{DataFile, Lower, LowerDir, LowerObject, Lowers};
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;

/// What the layers of a directory say of a name.
#[derive(Default)]
pub(in crate::overlay) struct Seen {
    /// What the name means.
    pub resolved: Resolved,
    /// The upper layer has a whiteout in the place of the name.
    pub upper_whiteout: bool,
    /// The upper layer has a `.wh.` file beside the name, and does something with it: it may have the name, too.
    pub upper_marker: bool,
    /// The attributes of the upper file were read, and none protects it.
    pub upper_unprotected: bool,
    /// The redirect of the upper directory or metacopy.
    pub upper_redirect: Option<Redirect>,
    /// The top-most lower file has other names.
    pub lower_shared: bool,
    /// The path in data-only layers that has the data of this metacopy.
    pub(super) data_only: Option<Box<[Name]>>,
    /// Where the lower parts were found; [`Part::place`] counts from 1 here, 0 is the upper.
    pub(super) lower: Vec<(Arc<LowerDir>, Name)>,
}

/// [`Part::place`] of what the upper layer has.
pub(super) const UPPER: usize = 0;

impl Seen {
    /// The part in the upper layer.
    pub fn upper(&self) -> Option<&Part> {
        self.top().filter(|part| part.place == UPPER)
    }

    /// The top-most part.
    pub fn top(&self) -> Option<&Part> {
        match &self.resolved {
            Resolved::Nothing => None,
            Resolved::NonDir { part, .. } => Some(part),
            Resolved::Dir(parts) => parts.first(),
        }
    }

    /// A lower part that is no directory.
    ///
    /// # Errors
    /// EIO for a part that is not lower: a bug.
    pub fn object(&self, part: &Part) -> Result<LowerObject> {
        let place = part.place.checked_sub(1).and_then(|at| self.lower.get(at));
        let (dir, name) = place.cloned().ok_or(Errno::EIO)?;
        Ok(LowerObject::new(dir, name, &part.stat))
    }

    /// Where the data of a metacopy is; `None` for a file with data of its own.
    ///
    /// # Errors
    /// EIO when no layer has it (2.8).
    pub fn data_file(&self) -> Result<Option<DataFile>> {
        let Resolved::NonDir { data, .. } = &self.resolved else {
            return Ok(None);
        };
        match (data, &self.data_only) {
            (DataAt::Own, _) => Ok(None),
            (DataAt::Below(part), _) => Ok(Some(DataFile::Found(self.object(part)?))),
            (DataAt::Missing, Some(path)) => Ok(Some(DataFile::DataOnly {
                path: path.clone(),
                found: OnceLock::new(),
            })),
            (DataAt::Missing, None) => Err(Errno::EIO),
        }
    }

    /// The lower parts of a directory.
    pub fn lower_dirs(&self, parts: &[Part]) -> Lower {
        let dirs = parts.iter().filter_map(|part| {
            let (dir, name) = self.lower.get(part.place.checked_sub(1)?)?;
            let (dev, ino) = (part.stat.dev, part.stat.ino);
            let marked = part.marks.xattr_whiteouts;
            let lower = LowerDir::child(dir, name, dev, ino, marked);
            Some(Arc::new(lower.among(parts.len(), part.stat.size)))
        });
        let dirs: Lowers = dirs.collect();
        if dirs.is_empty() {
            Lower::None
        } else {
            Lower::Dirs(Box::new(dirs))
        }
    }
}
