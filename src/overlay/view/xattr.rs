//! Reading extended attributes: our own marks are invisible, a user's that look like them are
//! unescaped (overlay-semantics 17).

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use crate::layer::{acl, keys, stat_override};
use crate::overlay::Overlay;
use crate::overlay::node::NodeId;
use crate::sys::errno::{Errno, Result};

/// Validates an attribute name.
pub(in crate::overlay) fn xattr_name(name: &OsStr) -> Result<CString> {
    CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)
}

impl Overlay {
    /// Reads an attribute into `value` and returns its size; an empty buffer asks for the size alone.
    ///
    /// # Errors
    /// ENODATA, ERANGE, EOPNOTSUPP.
    pub fn getxattr(&self, id: NodeId, name: &OsStr, value: &mut [u8]) -> Result<usize> {
        let node = self.table.get(id)?;
        let name = xattr_name(name)?;
        self.check_hidden(&name, Errno::ENODATA)?;
        // A mark that has no form on disk for users is not there for them.
        let name = keys::on_disk(&name).map_err(|_| Errno::ENODATA)?;
        let len = self.on_real(&node, |at| {
            let len = match at.get_xattr_into(&name, value) {
                // The kernel asks for ACLs before it lets anybody pass: where there can be none, there is none.
                Err(Errno::EOPNOTSUPP) if acl::is_acl(&name) => return Err(Errno::ENODATA),
                len => len?,
            };
            Ok((len, at.stat()?))
        })?;
        if let Some(value) = value.get_mut(..len) {
            self.show_value(&name, value)?;
        }
        Ok(len)
    }

    /// Refuses attributes that are no user's where modes are kept in one: that attribute itself, and ACLs,
    /// which would change the mode on disk.
    ///
    /// # Errors
    /// `errno` for the first, EOPNOTSUPP for the second.
    pub(in crate::overlay) fn check_hidden(&self, name: &CStr, errno: Errno) -> Result<()> {
        match self.overrides.is_some() {
            true if stat_override::is_name(name) => Err(errno),
            true if acl::is_acl(name) => Err(Errno::EOPNOTSUPP),
            _ => Ok(()),
        }
    }

    /// All attribute names that the caller may see, each ended by a NUL. `admin` callers see `trusted.*`.
    ///
    /// # Errors
    /// Those of listxattr.
    pub fn listxattr(&self, id: NodeId, admin: bool) -> Result<Vec<u8>> {
        let node = self.table.get(id)?;
        let mut list = Vec::new();
        let names = self.on_real(&node, |at| Ok((at.list_xattrs()?, at.stat()?)))?;
        let may_see = |name: &CStr| admin || !name.to_bytes().starts_with(b"trusted.");
        for name in names
            .iter()
            .filter(|name| self.check_hidden(name, Errno::ENODATA).is_ok())
            .filter_map(keys::shown)
            .filter(|name| may_see(name))
        {
            list.extend_from_slice(name.to_bytes_with_nul());
        }
        Ok(list)
    }
}
