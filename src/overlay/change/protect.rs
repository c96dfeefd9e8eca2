//! Immutable and append-only objects (overlay-semantics 16.4): asked before anything is copied up. What
//! the flags forbid is what the VFS forbids for a filesystem that has them.

use std::sync::Arc;

use crate::layer::keys::Key as Mark;
use crate::layer::protattr::Protection;
use crate::overlay::Overlay;
use crate::overlay::node::Node;
use crate::sys::at::At;
use crate::sys::errno::{Errno, Result};
use crate::sys::stat::Stat;
use crate::sys::xattr::XattrMode;

impl Overlay {
    /// The protection of a node; read once, then remembered.
    pub(in crate::overlay) fn protection(&self, node: &Arc<Node>) -> Result<Protection> {
        if let Some(protection) = node.protection() {
            return Ok(protection);
        }
        let protection = match (node.upper(), self.marks) {
            (None, _) => self.lower_protection(node, &self.real_lower(node)?.at().stat()?),
            (Some(_), None) => Protection::default(),
            (Some(_), Some(marks)) => {
                let real = self.real(node)?;
                let mark = real.at().get_xattr(marks.name(Mark::Protattr))?;
                Protection::from_mark(mark.as_deref().unwrap_or_default())
            }
        };
        node.set_protection(protection);
        Ok(protection)
    }

    /// The protection that a lower object has there.
    pub(in crate::overlay) fn lower_protection(&self, node: &Node, stat: &Stat) -> Protection {
        let layer = node.lower.layer().and_then(|at| self.stack.lowers.get(at));
        match layer {
            Some(layer) if !layer.has_flags => Protection::default(),
            _ => Protection::of_inode(stat),
        }
    }

    /// Metadata may be changed, and the name may be taken away, given or moved.
    ///
    /// # Errors
    /// EPERM.
    pub(in crate::overlay) fn check_changeable(&self, node: &Arc<Node>) -> Result<()> {
        if self.protection(node)?.any() {
            Err(Errno::EPERM)
        } else {
            Ok(())
        }
    }

    /// The file may be opened for writing: what is append-only by appending, and not to be cut.
    ///
    /// # Errors
    /// EPERM.
    pub(in crate::overlay) fn check_writable(&self, node: &Arc<Node>, appends: bool) -> Result<()> {
        match self.protection(node)? {
            Protection {
                immutable: true, ..
            } => Err(Errno::EPERM),
            Protection {
                append_only: true, ..
            } if !appends => Err(Errno::EPERM),
            _ => Ok(()),
        }
    }

    /// The directory may get an entry.
    ///
    /// # Errors
    /// EPERM; ENOENT when it was removed meanwhile.
    pub(in crate::overlay) fn check_gains(&self, dir: &Arc<Node>) -> Result<()> {
        if dir.is_orphan() {
            return Err(Errno::ENOENT);
        }
        self.check_writable(dir, true)
    }

    /// The directory may lose an entry.
    ///
    /// # Errors
    /// EPERM.
    pub(in crate::overlay) fn check_loses(&self, dir: &Arc<Node>) -> Result<()> {
        self.check_changeable(dir)
    }

    /// Writes the mark of an upper object.
    pub(in crate::overlay) fn write_protection(
        &self,
        at: At<'_>,
        protection: Protection,
    ) -> Result<()> {
        let Some(marks) = self.marks else {
            return if protection.any() {
                Err(Errno::EOPNOTSUPP)
            } else {
                Ok(())
            };
        };
        let name = marks.name(Mark::Protattr);
        match protection.to_mark() {
            Some(value) => at.set_xattr(name, value, XattrMode::Any),
            None => match at.remove_xattr(name) {
                Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(()),
                result => result,
            },
        }
    }
}
