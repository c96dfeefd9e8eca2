//! Where the command line meets the overlay: options in, a filesystem and its changes out.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use super::changes::{Change, Kind};
use super::failure::Failure;
use crate::fs::adapter::{Adapter, Settings};
use crate::overlay::Overlay;
use crate::overlay::options::{MountFlags, Options};
use crate::overlay::view::changes::ChangeKind;

/// Opens the layers.
///
/// # Errors
/// One line that names path and option.
pub fn open(options: &Options) -> Result<Arc<Overlay>, Failure> {
    Overlay::new(options).map(Arc::new).map_err(Failure::failed)
}

/// What answers the kernel.
pub fn filesystem(overlay: &Arc<Overlay>, options: &Options, flags: &MountFlags) -> Adapter {
    let settings = Settings {
        timeout: options.timeout,
        acl: !options.noacl,
        passthrough: flags.passthrough.unwrap_or(true),
    };
    Adapter::new(Arc::clone(overlay), settings)
}

/// What was changed since the upper layer was empty.
///
/// # Errors
/// One line.
pub fn changes(overlay: &Overlay) -> Result<Vec<Change>, Failure> {
    let changes = overlay.changes().map_err(Failure::failed)?;
    let shown = |change: crate::overlay::view::changes::Change| Change {
        kind: match change.kind {
            ChangeKind::Added => Kind::Added,
            ChangeKind::Modified => Kind::Modified,
            ChangeKind::Deleted => Kind::Deleted,
        },
        path: OsString::from_vec(change.path).into(),
        directory: change.dir,
    };
    Ok(changes.into_iter().map(shown).collect())
}
