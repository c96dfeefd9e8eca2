//! Removing: out of the way at once by a rename into `trash/`, deleted afterwards. What a crash leaves in there is
//! garbage by its place alone.

use std::fs;
use std::path::Path;

use super::Store;
use super::error::{OrAt, Result};
use super::id::random_hex;
use crate::sys::dir::DirFd;
use crate::sys::errno::Errno;
use crate::sys::name::Name;
use crate::sys::remove::remove_tree;

/// Takes what is at `path` out of the store and deletes it. It is no error when it is not there.
///
/// # Errors
/// Those of renaming; what cannot be deleted stays in the trash and is only logged.
pub fn discard(store: &Store, path: &Path) -> Result<()> {
    let place = store.layout().trash().join(random_hex(16)?);
    match fs::rename(path, &place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        result => result.or_at("cannot remove", path)?,
    }
    if let Err(error) = remove(&place) {
        log::warn!("{error}; `store gc` tries again");
    }
    Ok(())
}

/// Deletes a tree, whatever is in it. It is no error when it is not there.
///
/// # Errors
/// Those of removing.
pub fn remove(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::EINVAL).or_at("cannot remove", path);
    };
    let removed = DirFd::open(parent).and_then(|dir| remove_tree(&dir, &Name::from_os(name)?));
    match removed {
        Err(Errno::ENOENT) => Ok(()),
        result => result.or_at("cannot remove", path),
    }
}
