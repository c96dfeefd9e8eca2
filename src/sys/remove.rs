//! Removing a whole tree by directory fds alone.

use super::at::At;
use super::btrfs;
use super::dir::DirFd;
use super::errno::{Errno, Result};
use super::name::Name;

/// Removes an entry with all that is below it, however deep, whatever its permissions. What is mounted in it is left
/// alone: it belongs to somebody else.
///
/// # Errors
/// Those of removing; ENOENT is none; EBUSY for what is mounted.
pub fn remove_tree(parent: &DirFd, top: &Name) -> Result<()> {
    match parent.unlink(top) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    let mount = parent.stat()?.mount_id;
    // A stack of its own: the depth is the layer's, not ours to limit.
    let mut path: Vec<(DirFd, Name)> = vec![(parent.try_clone()?, top.clone())];
    while let Some((dir, entry)) = path.last() {
        match dir.rmdir(entry) {
            Ok(()) | Err(Errno::ENOENT) => {
                path.pop();
                continue;
            }
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        let inner = dir.open_dir(entry)?;
        let stat = inner.stat()?;
        if stat.mount_id != mount {
            return Err(Errno::EBUSY);
        }
        if btrfs::may_be_subvolume(&stat) && btrfs::destroy(dir, entry).is_ok() {
            continue;
        }
        match empty_of_files(&inner)? {
            Some(subdir) => path.push((inner, subdir)),
            None => continue,
        }
    }
    Ok(())
}

/// Removes the non-directories in `dir`; returns one directory in it.
fn empty_of_files(dir: &DirFd) -> Result<Option<Name>> {
    let listing = match dir.at().open_dir_file() {
        // Our own directory of mode 0: open it up.
        Err(Errno::EACCES) => {
            dir.at().chmod(0o700)?;
            dir.at().open_dir_file()?
        }
        result => result?,
    };
    let mut entries = Vec::new();
    listing.for_each_entry(|entry| {
        entries.push(Name::new(entry.name)?);
        Ok(())
    })?;
    let mut subdir = None;
    for entry in entries {
        match dir.unlink(&entry) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(Errno::EACCES) => {
                dir.at().chmod(0o700)?;
                dir.unlink(&entry)?;
            }
            Err(_) if At::child(dir, &entry).stat()?.is_dir() => subdir = Some(entry),
            Err(errno) => return Err(errno),
        }
    }
    Ok(subdir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_trees_of_any_depth_and_permission() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DirFd::open(temp.path()).unwrap();
        let top = Name::new(b"top").unwrap();
        let deep = temp.path().join(format!("top{}", "/d".repeat(300)));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("file"), "x").unwrap();
        std::os::unix::fs::symlink("/", temp.path().join("top/root")).unwrap();
        At::child(&dir, &top).chmod(0).unwrap();
        remove_tree(&dir, &top).unwrap();
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
        remove_tree(&dir, &top).unwrap();
    }
}
