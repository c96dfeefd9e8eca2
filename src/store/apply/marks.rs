//! What an archive removes from the layers below: whiteouts and directories that begin anew. In a difference they
//! become the marks of the overlay (overlay-semantics 3, 4); in a whole tree what they mean is done.

use super::place::join;
use super::{Made, TreeForm, Unpacker, failed};
use crate::layer::keys::Key;
use crate::layer::mark::OCI_PREFIX;
use crate::store::error::Result;
use crate::store::merged::{Found, MergedDir};
use crate::store::tar::Entry;
use crate::sys::at::{At, OpenMode};
use crate::sys::dir::DirFd;
use crate::sys::errno::Errno;
use crate::sys::name::Name;
use crate::sys::resolve::split_last;
use crate::sys::stat::{FileType, Rdev};
use crate::sys::xattr::XattrMode;

/// What the name of an entry says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// An object.
    Object,
    /// This path is removed.
    Whiteout(Vec<u8>),
    /// This directory begins anew.
    Opaque(&'a [u8]),
    /// Something of AUFS that means nothing to us.
    Reserved,
    /// A whiteout that removes nothing one could name.
    Nonsense,
}

/// Reads the name of an entry, which is plain.
pub(super) fn meaning(path: &[u8]) -> Meaning<'_> {
    let (dir, last) = match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], path),
    };
    for part in dir.split(|&b| b == b'/') {
        match part.strip_prefix(OCI_PREFIX) {
            Some(rest) if rest.starts_with(OCI_PREFIX) => return Meaning::Reserved,
            Some(_) => return Meaning::Nonsense,
            None => {}
        }
    }
    match last.strip_prefix(OCI_PREFIX) {
        None => Meaning::Object,
        Some(b".wh..opq") => Meaning::Opaque(dir),
        Some(rest) if rest.starts_with(OCI_PREFIX) => Meaning::Reserved,
        Some(b"" | b"." | b"..") => Meaning::Nonsense,
        Some(rest) => Meaning::Whiteout(join(dir, rest)),
    }
}

impl Unpacker<'_> {
    /// The layers below, when this is a difference to some.
    pub(super) fn below(&self) -> Option<&MergedDir> {
        match &self.form {
            TreeForm::Difference { below, .. } => below.as_ref(),
            TreeForm::Whole => None,
        }
    }

    pub(super) fn whiteout(&mut self, entry: &Entry, target: &[u8]) -> Result<()> {
        let (parent, name) = split_last(target).map_err(|e| failed(&entry.path, e))?;
        let resolved = match self.resolve(parent) {
            // No directory, so nothing below shows in it. Some write that of a directory that became something else.
            Err(Errno::ENOTDIR) => return Ok(()),
            Err(Errno::ENOENT) => None,
            result => Some(result.map_err(|e| failed(target, e))?),
        };
        if let TreeForm::Whole = self.form {
            return match resolved {
                Some((dir, real)) => self.prune(&dir, &real, &name),
                None => Ok(()),
            };
        }
        let real = resolved.map_or_else(|| parent.to_vec(), |(_, real)| real);
        self.hide(&join(&real, name.as_bytes()))
    }

    /// Removes a path of the layers below, in a difference.
    fn hide(&mut self, path: &[u8]) -> Result<()> {
        let fail = |errno| failed(path, errno);
        let hidden = match self.below() {
            Some(below) => below.find(path).map_err(fail)?,
            None => None,
        };
        // A whiteout of nothing would only be in the way of those who list the directory.
        if hidden.is_none() || self.begins_anew(path) {
            return Ok(());
        }
        let (place, name) = self.place(path)?;
        match self.stat_at(&place.dir, &name, path)? {
            None => self.make_whiteout(&place.dir, &place.path, &name)?,
            Some(stat) if stat.is_dir() && hidden.is_some_and(|found| found.is_dir()) => {
                let dir = place.dir.open_dir(&name).map_err(fail)?;
                self.make_opaque(&dir, path)?;
            }
            // What this layer has hides it anyway.
            Some(_) => {}
        }
        self.remember(place);
        Ok(())
    }

    pub(super) fn opaque(&mut self, entry: &Entry, dir: &[u8]) -> Result<()> {
        let fail = |errno| failed(&entry.path, errno);
        if let TreeForm::Whole = self.form {
            let (dir, real) = match self.resolve(dir) {
                Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
                result => result.map_err(fail)?,
            };
            for name in names(&dir).map_err(fail)? {
                self.prune(&dir, &real, &name)?;
            }
            return Ok(());
        }
        if dir.is_empty() {
            // No mark of a root means anything.
            let listed = match self.below() {
                Some(below) => below.list().map_err(fail)?,
                None => Vec::new(),
            };
            for (name, _) in listed {
                self.hide(name.as_bytes())?;
            }
            return Ok(());
        }
        // A name in it makes sure that it is there.
        let (place, _) = self.place(&join(dir, b"x"))?;
        let hidden = match self.below() {
            Some(below) => below.find(&place.path).map_err(fail)?,
            None => None,
        };
        if hidden.as_ref().is_some_and(Found::is_dir) {
            self.make_opaque(&place.dir, &place.path)?;
        }
        self.remember(place);
        Ok(())
    }

    /// Removes what this archive did not make.
    fn prune(&mut self, dir: &DirFd, parent: &[u8], name: &Name) -> Result<()> {
        let path = join(parent, name.as_bytes());
        let fail = |errno| failed(&path, errno);
        let inside = [&path[..], b"/"].concat();
        let below = self.made.range(inside.clone()..).next();
        let is_ours = self.made.contains_key(&path)
            || below.is_some_and(|(path, _)| path.starts_with(&inside));
        if !is_ours {
            self.last = None;
            self.keep_time(parent, dir)?;
            self.dir_times.remove(&path);
            return crate::sys::remove::remove_tree(dir, name).map_err(fail);
        }
        if At::child(dir, name).stat().map_err(fail)?.is_dir() {
            let inner = dir.open_dir(name).map_err(fail)?;
            for name in names(&inner).map_err(fail)? {
                self.prune(&inner, &path, &name)?;
            }
        }
        Ok(())
    }

    fn begins_anew(&self, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/');
        !self.opaque.is_empty()
            && ends
                .into_iter()
                .any(|(end, _)| self.opaque.contains(&path[..end]))
    }

    fn make_whiteout(&mut self, dir: &DirFd, parent: &[u8], name: &Name) -> Result<()> {
        let path = join(parent, name.as_bytes());
        let fail = |errno| failed(&path, errno);
        let TreeForm::Difference { marks, .. } = self.form else {
            return Ok(());
        };
        match dir.mknod(name, FileType::Char, 0, Rdev::default()) {
            Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::EINVAL) => {
                dir.create_file(name, OpenMode::WRITE, 0o600)
                    .map_err(fail)?;
                let set = |at: At<'_>, key, value: &[u8]| {
                    at.set_xattr(marks.name(key), value, XattrMode::Any)
                        .map_err(fail)
                };
                set(At::child(dir, name), Key::Whiteout, b"")?;
                set(dir.at(), Key::Opaque, b"x")?;
            }
            result => result.map_err(fail)?,
        }
        self.made.insert(path, Made::Whiteout);
        Ok(())
    }

    /// Takes back a whiteout of this archive; false when there is none.
    pub(super) fn clear_whiteout(&mut self, dir: &DirFd, name: &Name, path: &[u8]) -> Result<bool> {
        if self.made.get(path) != Some(&Made::Whiteout) {
            return Ok(false);
        }
        self.made.remove(path);
        dir.unlink(name).map_err(|errno| failed(path, errno))?;
        Ok(true)
    }

    /// Marks a directory that begins anew; whiteouts in it are of no more use.
    pub(super) fn make_opaque(&mut self, dir: &DirFd, path: &[u8]) -> Result<()> {
        let TreeForm::Difference { marks, .. } = self.form else {
            return Ok(());
        };
        let name = marks.name(Key::Opaque);
        dir.at()
            .set_xattr(name, b"y", XattrMode::Any)
            .map_err(|errno| failed(path, errno))?;
        self.opaque.insert(path.to_vec());
        let inside = [path, b"/"].concat();
        let made = self.made.range(inside.clone()..);
        let made = made.take_while(|(path, _)| path.starts_with(&inside));
        let whiteouts = made.filter(|(_, made)| **made == Made::Whiteout);
        let useless: Vec<Vec<u8>> = whiteouts.map(|(path, _)| path.clone()).collect();
        for path in useless {
            let (parent, name) = split_last(&path).map_err(|e| failed(&path, e))?;
            let dir = self
                .root
                .open_beneath(parent)
                .map_err(|e| failed(&path, e))?;
            self.clear_whiteout(&dir, &name, &path)?;
        }
        Ok(())
    }
}

fn names(dir: &DirFd) -> Result<Vec<Name>, Errno> {
    let mut names = Vec::new();
    dir.at().open_dir_file()?.for_each_entry(|entry| {
        names.push(Name::new(entry.name)?);
        Ok(())
    })?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something() {
        assert_eq!(meaning(b"a/b"), Meaning::Object);
        assert_eq!(meaning(b"a/.whb"), Meaning::Object);
        assert_eq!(meaning(b"a/.wh.b"), Meaning::Whiteout(b"a/b".to_vec()));
        assert_eq!(meaning(b".wh.b"), Meaning::Whiteout(b"b".to_vec()));
        assert_eq!(meaning(b"a/.wh..wh..opq"), Meaning::Opaque(b"a"));
        assert_eq!(meaning(b".wh..wh..opq"), Meaning::Opaque(b""));
        assert_eq!(meaning(b".wh..wh.plnk/x"), Meaning::Reserved);
        assert_eq!(meaning(b".wh..wh.orph"), Meaning::Reserved);
        for bad in [&b".wh."[..], b"a/.wh..", b"a/.wh...", b".wh.a/b"] {
            assert_eq!(meaning(bad), Meaning::Nonsense);
        }
    }
}
