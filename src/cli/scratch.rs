//! Temporary directories of `plyfs run`: where the view is mounted and where its changes go.
//!
//! They live where an upper layer can: not on an overlayfs, as in most containers. Where nothing else is left, a
//! tmpfs that only this process and its children see. Removal copes with directories nobody may enter: a work
//! directory has mode 0000.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::failure::{Failure, reason};
use crate::sys::mount;

/// A directory with `merged`, `upper` and `work` in it.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
    tmpfs: bool,
}

impl Scratch {
    /// Makes it. To be called in the namespace in which the view will be mounted.
    ///
    /// # Errors
    /// When there is no place.
    pub fn new() -> Result<Scratch, Failure> {
        let places = places();
        let good = places
            .iter()
            .find(|place| mount::may_hold_upper(place.as_os_str()));
        let place = good.or(places.first());
        let place = place.ok_or_else(|| {
            Failure::failed("no temporary directory ($TMPDIR, /var/tmp, /tmp) can be used")
        })?;
        let wrong = |error| Failure::at("temporary directory", place, reason(&error));
        let dir = tempfile::Builder::new()
            .prefix("plyfs-run-")
            .tempdir_in(place)
            .map_err(wrong)?
            .keep();
        let scratch = Scratch {
            dir,
            tmpfs: good.is_none(),
        };
        match scratch.furnish() {
            Ok(()) => Ok(scratch),
            Err(failure) => {
                scratch.remove()?;
                Err(failure)
            }
        }
    }

    fn furnish(&self) -> Result<(), Failure> {
        let wrong = |why: String| Failure::at("temporary directory", &self.dir, why);
        if self.tmpfs {
            mount::private_tmpfs(self.dir.as_os_str())
                .map_err(|errno| wrong(format!("cannot mount a tmpfs: {errno}")))?;
        }
        for name in ["merged", "upper", "work"] {
            fs::create_dir(self.dir.join(name)).map_err(|error| wrong(reason(&error)))?;
        }
        Ok(())
    }

    /// Where the view goes.
    pub fn merged(&self) -> PathBuf {
        self.dir.join("merged")
    }

    /// For changes.
    pub fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    /// For the preparation of changes.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Removes everything.
    ///
    /// # Errors
    /// Names what is left.
    pub fn remove(self) -> Result<(), Failure> {
        let wrong = |why: String| Failure::at("left behind:", &self.dir, why);
        if self.tmpfs {
            mount::drop_tmpfs(self.dir.as_os_str()).map_err(|errno| wrong(errno.to_string()))?;
        }
        let first = fs::remove_dir_all(&self.dir);
        let done = first.or_else(|_| {
            open_up(&self.dir);
            fs::remove_dir_all(&self.dir)
        });
        done.map_err(|error| wrong(reason(&error)))
    }
}

/// Directories that can be written, best first.
fn places() -> Vec<PathBuf> {
    let asked = std::env::var_os("TMPDIR").map(PathBuf::from);
    let usual = ["/var/tmp", "/tmp"].map(PathBuf::from);
    let all = asked.into_iter().chain(usual);
    all.filter(|place| place.is_absolute() && mount::is_writable(place.as_os_str()))
        .collect()
}

/// Makes every directory below `dir` enterable for its owner, as far as that is allowed.
fn open_up(dir: &Path) {
    // What stays closed is reported by the removal that follows.
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_away_with_closed_directories_inside() {
        let scratch = Scratch::new().unwrap();
        let dir = scratch.dir.clone();
        let closed = scratch.work().join("work");
        fs::create_dir(&closed).unwrap();
        fs::write(closed.join("file"), "x").unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        assert!(scratch.merged().is_dir() && scratch.upper().is_dir());
        scratch.remove().unwrap();
        assert!(!dir.exists());
    }
}
