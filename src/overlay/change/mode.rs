//! Setting owner, group and mode of an upper object: on the object itself, or in the attribute that
//! keeps them (`xattr_permissions`, overlay-semantics 21).

use crate::layer::stat_override::Kept;
use crate::overlay::Overlay;
use crate::overlay::view::overrides::LayerAt;
use crate::sys::at::At;
use crate::sys::errno::{Errno, Result};
use crate::sys::stat::{FileType, Stat};
use crate::sys::xattr::XattrMode;

/// Permissions on disk of what stands for something else: the mounter's own.
pub(in crate::overlay) const HARMLESS_FILE: u32 = 0o600;
/// As above, of a directory.
pub(in crate::overlay) const HARMLESS_DIR: u32 = 0o700;

const CAPABILITY: &std::ffi::CStr = c"security.capability";

impl Overlay {
    /// Are owner, mode and type of upper objects kept in an attribute?
    pub(in crate::overlay) fn keeps_modes(&self) -> bool {
        self.form(LayerAt::Upper).is_some()
    }

    /// Writes what an upper object stands for. A symbolic link takes no such attribute.
    ///
    /// # Errors
    /// Those of setting an attribute.
    pub(in crate::overlay) fn keep(&self, at: At<'_>, kept: Kept) -> Result<()> {
        match self.form(LayerAt::Upper) {
            Some(form) => at.set_xattr(form.name(), &kept.to_value(), XattrMode::Any),
            None => Ok(()),
        }
    }

    /// chown(2) and chmod(2) of an upper object, which stands for `meant` until now.
    ///
    /// # Errors
    /// Those of the two calls.
    pub(in crate::overlay) fn set_owner_and_mode(
        &self,
        at: At<'_>,
        meant: &Stat,
        (uid, gid): (Option<u32>, Option<u32>),
        perm: Option<u32>,
    ) -> Result<()> {
        let owner_changes = uid.is_some() || gid.is_some();
        if !self.keeps_modes() {
            if owner_changes {
                at.chown(uid, gid)?;
            }
            return perm.map_or(Ok(()), |perm| at.chmod(perm));
        }
        if meant.kind == FileType::Symlink {
            return match owner_changes {
                true => self.chown_link(at, uid, gid),
                false => Ok(()),
            };
        }
        if !owner_changes && perm.is_none() {
            return Ok(());
        }
        let mut kept = Kept::of(meant);
        kept.uid = uid.unwrap_or(kept.uid);
        kept.gid = gid.unwrap_or(kept.gid);
        if owner_changes && meant.kind == FileType::File {
            // What chown(2) takes away (16.2).
            kept.perm = super::setattr::without_set_id(meant).unwrap_or(kept.perm);
            // Asked first: without privileges, removing what is not there is an error, too.
            if at.get_xattr(CAPABILITY)?.is_some() {
                at.remove_xattr(CAPABILITY)?;
            }
        }
        kept.perm = perm.unwrap_or(kept.perm);
        self.keep(at, kept)
    }

    /// The owner of a link says little; where the mounter may not set it, it stays the mounter's.
    pub(in crate::overlay) fn chown_link(
        &self,
        at: At<'_>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()> {
        match at.chown(uid, gid) {
            Err(errno @ (Errno::EPERM | Errno::EACCES | Errno::EINVAL)) if self.keeps_modes() => {
                log::debug!("a symbolic link keeps its owner: {errno}");
                Ok(())
            }
            result => result,
        }
    }
}
