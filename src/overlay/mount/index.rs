//! Whether a mount has an index, and which (overlay-semantics 14.3, 20).

use super::MountError;
use crate::layer::index::{IndexDir, unsupported};
use crate::layer::keys::Namespace;
use crate::layer::layer::Layer;
use crate::layer::stack::LayerStack;
use crate::overlay::options::{Options, XattrMode};

/// The index of the upper layer, made ready for changes. `None` where nobody wants one, or the layers cannot have one:
/// then the mount goes on without, as in the kernel.
pub(super) fn claimed(
    options: &Options,
    stack: &LayerStack,
    marks: Option<Namespace>,
) -> Result<Option<IndexDir>, MountError> {
    let (true, Some(upper)) = (options.index, &stack.upper) else {
        return Ok(None);
    };
    for lower in &stack.lowers {
        lower.check_indexable()?;
    }
    let without = |why| {
        log::warn!("index=on: {why}; going on as with index=off");
        Ok(None)
    };
    match (marks, unsupported(upper, &stack.lowers)) {
        (None, _) => without("the upper layer takes no extended attributes"),
        (_, Some(why)) => without(why),
        (Some(marks), None) => Ok(Some(IndexDir::claim(upper, &stack.lowers, marks)?)),
    }
}

/// The index of an upper layer that is only looked at, and is the top-most of `stack`. It is read as it is.
pub(super) fn read_only(
    options: &Options,
    work: &Layer,
    stack: &LayerStack,
) -> Result<Option<IndexDir>, MountError> {
    let [upper, lower, ..] = stack.lowers.as_slice() else {
        return Ok(None);
    };
    let marks = match options.xattr {
        XattrMode::User => Namespace::User,
        XattrMode::Trusted | XattrMode::Auto => Namespace::Trusted,
    };
    Ok(IndexDir::open_read_only(work, upper, lower, marks)?)
}
