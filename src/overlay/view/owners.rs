//! Whose an object is, as callers see it and as the upper layer stores it (overlay-semantics 21). Every
//! layer has the same mapping, so a copy-up changes no owner on disk.

use std::ffi::CStr;

use crate::layer::acl::{self, Whose};
use crate::layer::idmap::{DiskId, Ids, Owners, ShownId};
use crate::overlay::Overlay;
use crate::sys::creds::Owner;
use crate::sys::errno::{Errno, Result};

impl Overlay {
    /// The owner that callers see.
    pub(in crate::overlay) fn shown_owner(&self, disk: Owner) -> (ShownId, ShownId) {
        match &self.owners {
            None => (ShownId(disk.uid), ShownId(disk.gid)),
            Some(owners) => (
                owners.users.show(DiskId(disk.uid)),
                owners.groups.show(DiskId(disk.gid)),
            ),
        }
    }

    /// The owner to store where a caller names these.
    ///
    /// # Errors
    /// EOVERFLOW for an id without a counterpart in the layers, as on an idmapped mount.
    pub(in crate::overlay) fn disk_owner(
        &self,
        uid: Option<ShownId>,
        gid: Option<ShownId>,
    ) -> Result<(Option<u32>, Option<u32>)> {
        let Some(owners) = &self.owners else {
            return Ok((uid.map(|id| id.0), gid.map(|id| id.0)));
        };
        let store = |ids: &Ids, id: Option<ShownId>| match id {
            Some(id) => ids.store(id).map(|id| Some(id.0)).ok_or(Errno::EOVERFLOW),
            None => Ok(None),
        };
        Ok((store(&owners.users, uid)?, store(&owners.groups, gid)?))
    }

    /// Turns the value of an attribute from what is on disk to what callers see.
    pub(in crate::overlay) fn show_value(&self, name: &CStr, value: &mut [u8]) -> Result<()> {
        self.replace_ids(name, value, |ids, id| Some(ids.translate(DiskId(id)).0))
    }

    /// Turns the value of an attribute from what a caller gave to what is stored.
    ///
    /// # Errors
    /// EINVAL for an ACL with an id that has no counterpart, as on an idmapped mount.
    pub(in crate::overlay) fn store_value(&self, name: &CStr, value: &mut [u8]) -> Result<()> {
        self.replace_ids(name, value, |ids, id| ids.store(ShownId(id)).map(|id| id.0))
    }

    /// Does this attribute name ids that are mapped?
    pub(in crate::overlay) fn has_mapped_ids(&self, name: &CStr) -> bool {
        self.owners.is_some() && acl::is_acl(name)
    }

    fn replace_ids(
        &self,
        name: &CStr,
        value: &mut [u8],
        other: impl Fn(&Ids, u32) -> Option<u32>,
    ) -> Result<()> {
        // An empty value takes an ACL away.
        let Some(Owners { users, groups }) = &self.owners else {
            return Ok(());
        };
        if value.is_empty() || !acl::is_acl(name) {
            return Ok(());
        }
        acl::replace_ids(value, |whose, id| match whose {
            Whose::User => other(users, id),
            Whose::Group => other(groups, id),
        })
    }
}
