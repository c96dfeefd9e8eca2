//! `rename_dir=copy`: a directory with a lower part becomes a pure upper one, so that it can be renamed
//! like any other, without EXDEV and without a redirect that other mounts refuse (overlay-semantics 24.1).
//!
//! Everything that shows below it is copied up in place, which changes nothing in the view; then one
//! mark, `opaque`, cuts it off from the layers below, which changes nothing either. A crash in between
//! leaves a directory with more in the upper layer than it had to have.

use std::sync::Arc;

use super::copyup::Data;
use crate::overlay::Overlay;
use crate::overlay::node::Node;
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;

impl Overlay {
    /// Makes a directory pure. To be called with empty hands.
    ///
    /// # Errors
    /// EXDEV where this is not asked for, or when more than the limit would be copied; those of copy-up.
    pub(super) fn flatten(&self, top: &Arc<Node>) -> Result<()> {
        let limit = self.rename_copy_limit.ok_or(Errno::EXDEV)?;
        let (mut dirs, mut others) = (vec![top.clone()], Vec::new());
        let (mut bytes, mut at) = (0u64, 0);
        while let Some(dir) = dirs.get(at).cloned() {
            at += 1;
            for (child, name, size) in self.children(&dir)? {
                if child.is_dir() {
                    dirs.push(child);
                    continue;
                }
                if !child.has_upper_data() {
                    bytes = bytes.saturating_add(size);
                }
                others.push((child, dir.clone(), name));
                if bytes > limit {
                    return Err(Errno::EXDEV);
                }
            }
        }
        for dir in &dirs {
            self.ensure_upper(dir, Data::Full)?;
        }
        for (node, dir, name) in &others {
            self.ensure_upper_at(node, dir, name, Data::Full)?;
        }
        for dir in &dirs {
            self.keep_number(dir)?;
        }
        {
            let locked = self.lock_dir(top)?;
            self.set_opaque(locked.dir.at()).map_err(|_| Errno::EXDEV)?;
        }
        for dir in &dirs {
            dir.cut_off();
        }
        log::debug!("flattened {top:?}: {bytes} bytes copied");
        Ok(())
    }

    /// Notes on a directory whose number it shows: once cut off, nothing else tells (7.2). Copy-up does that; what
    /// others wrote may come without.
    fn keep_number(&self, dir: &Arc<Node>) -> Result<()> {
        let upper = self.real(dir)?;
        if dir.has_lower() && !self.has_origin(upper.at())? {
            self.set_origin(dir, self.real_lower(dir)?.at(), upper.at())?;
            if let Some((parent, _)) = dir.name() {
                self.set_impure(&parent)?;
            }
        }
        Ok(())
    }

    /// What shows in a directory, with names and sizes.
    fn children(&self, dir: &Arc<Node>) -> Result<Vec<(Arc<Node>, Name, u64)>> {
        let state = dir.dir().read();
        let listing = self.list(dir, &state)?;
        let mut children = Vec::with_capacity(listing.len());
        for entry in listing.iter() {
            let name = Name::new(entry.name)?;
            if let Some((child, stat)) = self.find(dir, &name)? {
                children.push((child, name, stat.size));
            }
        }
        Ok(children)
    }
}
