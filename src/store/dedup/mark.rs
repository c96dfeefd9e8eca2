//! What says of a layer that some of its files are links from elsewhere: its `layer.json`, and for a mount of its tree
//! alone an attribute of the root. A file with several names within the layer says how many these are.

use super::Part;
use crate::layer::keys::{Key, Namespace};
use crate::store::Store;
use crate::store::error::{OrAt, Result};
use crate::store::id::Id;
use crate::store::meta::DriverKind;
use crate::store::staging::Staging;
use crate::sys::at::At;
use crate::sys::dir::DirFd;
use crate::sys::errno::{self, Errno};
use crate::sys::xattr::XattrMode;

impl Store {
    /// From now on links of its files mean nothing.
    pub(super) fn mark_deduplicated(&self, id: &Id, staging: &Staging) -> Result<()> {
        if !self.layer(id)?.deduplicated {
            self.update_layer_by(staging, id, |layer| layer.deduplicated = true)?;
        }
        Ok(())
    }
}

/// Marks the root of a tree.
pub(super) fn set_root(driver: DriverKind, root: &DirFd) -> Result<()> {
    match driver {
        DriverKind::Vfs => Ok(()),
        DriverKind::Overlay => {
            set(root.at(), Key::Shared, b"y").or_at("cannot mark", std::path::Path::new("a layer"))
        }
    }
}

/// Notes how many names a file has within its layer, which its links no longer tell.
pub(super) fn set_names(part: &Part, at: At<'_>, names: usize) -> errno::Result<()> {
    match part.layer.driver {
        DriverKind::Vfs => Ok(()),
        DriverKind::Overlay => set(at, Key::Names, names.to_string().as_bytes()),
    }
}

fn set(at: At<'_>, key: Key, value: &[u8]) -> errno::Result<()> {
    match at.set_xattr(Namespace::Trusted.name(key), value, XattrMode::Any) {
        // A plain user.
        Err(Errno::EPERM | Errno::EOPNOTSUPP) => {
            at.set_xattr(Namespace::User.name(key), value, XattrMode::Any)
        }
        result => result,
    }
}
