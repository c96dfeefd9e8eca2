//! Layers whose files may be links to those of other layers (docs/store.md, "Equal files"). Their link counts say
//! nothing: a file of such a layer has the names that its mark says, else one. The marks are made by the store.

use std::ffi::CStr;

use super::keys::{Key, Namespace};
use crate::sys::at::At;
use crate::sys::errno::Result;
use crate::sys::stat::{FileType, Stat};

/// Does the root of a layer say so? Whoever may not read the mark does not get the answer.
pub fn is_marked(root: At<'_>) -> bool {
    let marks = [Namespace::Trusted, Namespace::User].map(|namespace| namespace.name(Key::Shared));
    let is_mark = |name: &CStr| marks.contains(&name);
    root.list_xattrs()
        .is_ok_and(|names| names.iter().any(is_mark))
}

/// Attributes of an object of such a layer, with the number of its names in there.
///
/// # Errors
/// Those of reading attributes.
pub fn within_layer(at: At<'_>, disk: Stat) -> Result<Stat> {
    if disk.kind != FileType::File || disk.nlink < 2 {
        return Ok(disk);
    }
    let names = read(at, Key::Names)?
        .and_then(|mark| std::str::from_utf8(&mark).ok()?.parse().ok())
        .filter(|names| (1..=disk.nlink).contains(names));
    Ok(Stat {
        nlink: names.unwrap_or(1),
        ..disk
    })
}

fn read(at: At<'_>, key: Key) -> Result<Option<Vec<u8>>> {
    match at.get_xattr(Namespace::Trusted.name(key)) {
        // Not for this user, and then he has made none.
        Ok(Some(mark)) => Ok(Some(mark)),
        _ => at.get_xattr(Namespace::User.name(key)),
    }
}
