//! Where the command line meets the overlay: options in, a filesystem and its changes out.

use std::sync::Arc;

use super::changes::Change;
use super::failure::Failure;
use crate::fs::stub::{Overlay, Stub};
use crate::overlay::options::Options;

/// Opens the layers.
///
/// # Errors
/// One line that names path and option.
pub fn open(options: &Options) -> Result<Arc<Overlay>, Failure> {
    Overlay::open(options)
        .map(Arc::new)
        .map_err(Failure::failed)
}

/// What answers the kernel.
pub fn filesystem(overlay: &Arc<Overlay>) -> Stub {
    Stub::new(Arc::clone(overlay))
}

/// What was changed since the upper layer was empty.
///
/// # Errors
/// One line.
pub fn changes(_: &Overlay) -> Result<Vec<Change>, Failure> {
    Ok(Vec::new())
}
