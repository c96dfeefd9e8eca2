//! From a relative path to a directory, never out of the root it starts at. The path is untrusted: it comes
//! from an archive.

use std::ffi::CString;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::dir::DirFd;
use super::errno::{Errno, Result};
use super::name::Name;
use super::proc_fd;

/// Longest path that is given to one call in bytes, below `PATH_MAX`.
const PATH_BYTES: usize = 4000;
/// How often a lookup that a rename disturbed is tried again.
const TRIES: usize = 16;

impl DirFd {
    /// The directory at `path`, components joined by `/`, empty for this one. No component may be a symbolic
    /// link, `..`, or on another mount. Paths of any length will do.
    ///
    /// # Errors
    /// Those of open; ELOOP for a symbolic link, EXDEV for what leaves the root or the mount.
    pub fn open_beneath(&self, path: &[u8]) -> Result<DirFd> {
        let flags = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let (mut dir, mut rest) = (None, path);
        loop {
            let (now, later) = split(rest)?;
            let next = open(dir.as_ref().unwrap_or(self), now, flags)?;
            match later {
                None => return Ok(next),
                Some(later) => (dir, rest) = (Some(next), later),
            }
        }
    }

    /// As [`DirFd::open_beneath`], but symbolic links are followed as if this directory were `/`. Also
    /// gives the path without links that leads there.
    ///
    /// # Errors
    /// Those of open; EXDEV for another mount, ENAMETOOLONG for a path that one call does not take.
    pub fn open_in_root(&self, path: &[u8]) -> Result<(DirFd, Vec<u8>)> {
        let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let dir = open(self, path, flags)?;
        let (root, there) = (self.path_now()?, dir.path_now()?);
        let root = root.strip_suffix(b"/").unwrap_or(&root);
        match there.strip_prefix(root) {
            Some(b"") => Ok((dir, Vec::new())),
            Some([b'/', path @ ..]) => {
                let path = path.to_vec();
                Ok((dir, path))
            }
            // Moved while we looked.
            _ => Err(Errno::EXDEV),
        }
    }

    /// Where the kernel says that this directory is: a hint, as it may be moved at any time.
    ///
    /// # Errors
    /// Those of readlink.
    pub fn path_now(&self) -> Result<Vec<u8>> {
        let entry = proc_fd::entry(self.as_fd());
        let path = rustix::fs::readlinkat(proc_fd::dir()?, &*entry, Vec::new())?;
        Ok(path.into_bytes())
    }
}

fn open(dir: &DirFd, path: &[u8], resolve: ResolveFlags) -> Result<DirFd> {
    let path = if path.is_empty() {
        b".".as_slice()
    } else {
        path
    };
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut tries = TRIES;
    loop {
        match rustix::fs::openat2(dir, &*path, flags, Mode::empty(), resolve) {
            Ok(fd) => return Ok(DirFd(fd)),
            Err(rustix::io::Errno::AGAIN) if tries > 0 => tries -= 1,
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// What one call takes of a path, and the rest of it.
fn split(path: &[u8]) -> Result<(&[u8], Option<&[u8]>)> {
    if path.len() <= PATH_BYTES {
        return Ok((path, None));
    }
    let cut = path[..PATH_BYTES].iter().rposition(|&b| b == b'/');
    let cut = cut.ok_or(Errno::ENAMETOOLONG)?;
    Ok((&path[..cut], Some(&path[cut + 1..])))
}

/// Directory and last component of a path; the directory of a lone name is the empty path.
///
/// # Errors
/// EINVAL for an empty path and for a last component that is not a plain name; ENAMETOOLONG.
pub fn split_last(path: &[u8]) -> Result<(&[u8], Name)> {
    let (dir, last) = match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], path),
    };
    Ok((dir, Name::new(last)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_nowhere_but_in_the_root() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir_all(temp.path().join("etc")).unwrap();
        for (target, name) in [
            ("/a", "abs"),
            ("../../..", "up"),
            ("/etc", "out"),
            ("loop", "loop"),
        ] {
            std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        }
        let dir = DirFd::open(&root).unwrap();
        let ino = |d: &DirFd| d.stat().unwrap().ino;
        assert_eq!(ino(&dir.open_beneath(b"").unwrap()), ino(&dir));
        let b = ino(&dir.open_beneath(b"a/b").unwrap());
        assert_eq!(dir.open_beneath(b"abs/b").map(|_| ()), Err(Errno::ELOOP));
        assert_eq!(dir.open_beneath(b"a/../..").map(|_| ()), Err(Errno::EXDEV));
        let (found, path) = dir.open_in_root(b"abs/b").unwrap();
        assert_eq!((ino(&found), path.as_slice()), (b, &b"a/b"[..]));
        let (found, path) = dir.open_in_root(b"up/up/a").unwrap();
        assert_eq!(path, b"a");
        assert_ne!(ino(&found), ino(&dir));
        assert_eq!(dir.open_in_root(b"up").unwrap().1, b"");
        assert_eq!(dir.open_in_root(b"out").map(|_| ()), Err(Errno::ENOENT));
        assert_eq!(dir.open_in_root(b"loop").map(|_| ()), Err(Errno::ELOOP));
    }

    #[test]
    fn paths_of_any_length() {
        let temp = tempfile::tempdir().unwrap();
        let root = DirFd::open(temp.path()).unwrap();
        let name = Name::new(&[b'x'; 200]).unwrap();
        let mut dir = root.try_clone().unwrap();
        let mut path = Vec::new();
        for _ in 0..50 {
            dir.mkdir(&name, 0o700).unwrap();
            dir = dir.open_dir(&name).unwrap();
            path.extend_from_slice(name.as_bytes());
            path.push(b'/');
        }
        path.pop();
        let found = root.open_beneath(&path).unwrap();
        assert_eq!(found.stat().unwrap().ino, dir.stat().unwrap().ino);
        assert_eq!(split_last(b"a/b/c").unwrap().0, b"a/b");
        assert_eq!(split_last(b"c").unwrap().0, b"");
        assert_eq!(split_last(b"a/").map(|_| ()), Err(Errno::EINVAL));
    }
}
