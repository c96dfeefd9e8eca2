//! Setting and removing extended attributes (overlay-semantics 9, 17).

use std::borrow::Cow;
use std::ffi::OsStr;

use super::copyup::Data;
use crate::layer::idmap::ShownId;
use crate::layer::keys;
use crate::overlay::Overlay;
use crate::overlay::node::NodeId;
use crate::overlay::view::overrides::LayerAt;
use crate::overlay::view::xattr::xattr_name;
use crate::sys::errno::{Errno, Result};
use crate::sys::stat::FileType;
use crate::sys::xattr::XattrMode;

const S_ISGID: u32 = 0o2000;

impl Overlay {
    /// Sets an attribute; copies up even if setting then fails, as the kernel does.
    ///
    /// # Errors
    /// EEXIST, ENODATA, EOPNOTSUPP, EPERM, EROFS; EINVAL for an ACL with an id the layers cannot have.
    pub fn setxattr(&self, id: NodeId, name: &OsStr, value: &[u8], mode: XattrMode) -> Result<()> {
        let node = self.table.get(id)?;
        let name = xattr_name(name)?;
        self.check_hidden(&name, Errno::EPERM)?;
        // The VFS refuses this first; other callers shall find the same (9).
        let plain = matches!(node.kind, FileType::File | FileType::Dir);
        if name.to_bytes().starts_with(b"user.") && !plain {
            return Err(Errno::EPERM);
        }
        let name = keys::on_disk(&name)?;
        self.work()?;
        self.check_changeable(&node)?;
        let mut value = Cow::Borrowed(value);
        if self.has_mapped_ids(&name) {
            self.store_value(&name, value.to_mut())?;
        }
        // A name of a copied-up file stays where it is, as in the kernel (14.2).
        if node.upper().is_none() {
            self.ensure_upper(&node, Data::Metadata)?;
        }
        node.set_default_acl(None);
        self.on_upper(&node, |at, _| at.set_xattr(&name, &value, mode))
    }

    /// Takes the set-group-id bit when an access ACL was set by somebody who is not in the object's group, as
    /// posix_acl_update_mode() in the kernel does (16.2).
    ///
    /// # Errors
    /// As [`Overlay::setattr`].
    pub fn after_set_acl(&self, id: NodeId, is_member: impl FnOnce(ShownId) -> bool) -> Result<()> {
        let attr = self.getattr(id, None)?;
        if attr.stat.perm & S_ISGID == 0 || is_member(attr.gid) {
            return Ok(());
        }
        let node = self.table.get(id)?;
        self.on_upper(&node, |at, disk| {
            let meant = self.meant(LayerAt::Upper, at, *disk)?;
            let perm = meant.perm & !S_ISGID;
            self.set_owner_and_mode(at, &meant, (None, None), Some(perm))
        })
    }

    /// Removes an attribute; one that is not there is found out before anything is copied up.
    ///
    /// # Errors
    /// ENODATA, EOPNOTSUPP, EPERM, EROFS.
    pub fn removexattr(&self, id: NodeId, name: &OsStr) -> Result<()> {
        let node = self.table.get(id)?;
        self.work()?;
        self.check_changeable(&node)?;
        let name = xattr_name(name)?;
        self.check_hidden(&name, Errno::ENODATA)?;
        let name = keys::on_disk(&name).map_err(|_| Errno::ENODATA)?;
        if node.upper().is_none() {
            self.real(&node)?.at().get_xattr_into(&name, &mut [])?;
            self.ensure_upper(&node, Data::Metadata)?;
        }
        node.set_default_acl(None);
        self.on_upper(&node, |at, _| at.remove_xattr(&name))
    }
}
