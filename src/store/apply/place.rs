//! Where an entry goes: its name made plain, and the directory that has it.

use super::{Made, Unpacker, failed};
use crate::layer::acl;
use crate::store::error::{Error, Kind, Result};
use crate::store::merged::Found;
use crate::store::tar::read::shown;
use crate::sys::at::At;
use crate::sys::dir::DirFd;
use crate::sys::errno::Errno;
use crate::sys::name::Name;
use crate::sys::resolve::split_last;

/// Most components of a name: nothing real has a tenth of them.
const DEPTH_MAX: usize = 4096;

/// So much of an absurd name is shown.
const SHOWN_BYTES: usize = 60;

/// A directory of the tree.
pub(super) struct Place {
    /// As the archive names it.
    named: Vec<u8>,
    /// The path without links that leads there.
    pub path: Vec<u8>,
    pub dir: DirFd,
    /// What is made in it gets an ACL.
    pub inherits: bool,
}

/// A name without `.`, `..` and spare slashes; `None` for the root.
///
/// # Errors
/// [`Kind::Corrupt`] for one that climbs above the root.
pub(super) fn clean(path: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.pop().is_none() => {
                let text = format!("{}: the name leaves the layer", shown(path));
                return Err(Error::new(Kind::Corrupt, text));
            }
            b".." => {}
            part => parts.push(part),
        }
    }
    if parts.len() > DEPTH_MAX {
        let begin = shown(&path[..path.len().min(SHOWN_BYTES)]);
        let text = format!("{begin}...: a name of more than {DEPTH_MAX} components");
        return Err(Error::new(Kind::Corrupt, text));
    }
    Ok((!parts.is_empty()).then(|| parts.join(&b'/')))
}

/// A path in a directory.
pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match dir {
        b"" => name.to_vec(),
        dir => [dir, b"/", name].concat(),
    }
}

impl Unpacker<'_> {
    /// The directory that has `path`, made if it is not there, and the last component.
    pub(super) fn place(&mut self, path: &[u8]) -> Result<(Place, Name)> {
        let (parent, name) = split_last(path).map_err(|errno| failed(path, errno))?;
        if let Some(last) = self.last.take_if(|last| last.named == parent) {
            return Ok((last, name));
        }
        let (dir, real) = match self.resolve(parent) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => self.make_dirs(parent, path)?,
            result => result.map_err(|errno| failed(path, errno))?,
        };
        self.keep_time(&real, &dir)?;
        let named = parent.to_vec();
        let inherits = acl::gives(&dir).map_err(|errno| failed(path, errno))?;
        Ok((
            Place {
                named,
                path: real,
                dir,
                inherits,
            },
            name,
        ))
    }

    /// The next entry is likely to go to the same directory.
    pub(super) fn remember(&mut self, place: Place) {
        self.last = Some(place);
    }

    /// The directory at a path, and the path without links that leads there.
    pub(super) fn resolve(&self, path: &[u8]) -> Result<(DirFd, Vec<u8>), Errno> {
        match self.root.open_beneath(path) {
            Err(Errno::ELOOP) => self.root.open_in_root(path),
            result => Ok((result?, path.to_vec())),
        }
    }

    /// As [`Unpacker::resolve`], for an entry, and what is missing is made.
    fn make_dirs(&mut self, path: &[u8], entry: &[u8]) -> Result<(DirFd, Vec<u8>)> {
        let fail = |errno| failed(entry, errno);
        let mut dir = self.root.try_clone().map_err(fail)?;
        let mut real = Vec::new();
        for part in path.split(|&b| b == b'/') {
            let name = Name::new(part).map_err(fail)?;
            let inner = join(&real, part);
            (dir, real) = match dir.open_dir(&name) {
                Ok(next) => (next, inner),
                Err(Errno::ENOENT) => (self.imply(&dir, &real, &name)?, inner),
                Err(Errno::ENOTDIR) if self.made.get(&inner) == Some(&Made::Whiteout) => {
                    // What was removed from below begins anew.
                    (self.imply(&dir, &real, &name)?, inner)
                }
                // Maybe a link to a directory.
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    self.root.open_in_root(&inner).map_err(fail)?
                }
                Err(errno) => return Err(fail(errno)),
            };
        }
        Ok((dir, real))
    }

    /// Makes a directory that the archive only implies. It looks as the layers below have it, else as usual.
    fn imply(&mut self, parent: &DirFd, real: &[u8], name: &Name) -> Result<DirFd> {
        let path = join(real, name.as_bytes());
        let fail = |errno| failed(&path, errno);
        self.keep_time(real, parent)?;
        let anew = self.clear_whiteout(parent, name, &path)?;
        parent.mkdir(name, 0o700).map_err(fail)?;
        self.made.insert(path.clone(), Made::Object);
        let dir = parent.open_dir(name).map_err(fail)?;
        if acl::gives(parent).map_err(fail)? {
            acl::disinherit(dir.at()).map_err(fail)?;
        }
        let below = match self.below() {
            Some(below) if !anew => below.find(&path).map_err(fail)?.filter(Found::is_dir),
            _ => None,
        };
        self.dress(&dir, below.as_ref().map(|found| (found.stat, found.at())))?;
        if anew {
            self.make_opaque(&dir, &path)?;
        }
        let time = below.map(|found| found.stat.mtime).unwrap_or_default();
        self.dir_times.insert(path, time);
        Ok(dir)
    }

    /// What is made in a directory does not change its time.
    pub(super) fn keep_time(&mut self, path: &[u8], dir: &DirFd) -> Result<()> {
        if !self.dir_times.contains_key(path) {
            let stat = dir.stat().map_err(|errno| failed(path, errno))?;
            self.dir_times.insert(path.to_vec(), stat.mtime);
        }
        Ok(())
    }

    /// Removes what is at a name, whatever it is; data that the recipe needs is kept.
    pub(super) fn clear(&mut self, place: &Place, name: &Name, path: &[u8]) -> Result<()> {
        let fail = |errno| failed(path, errno);
        let inside = [path, b"/"].concat();
        let below = self.made.range(inside.clone()..);
        let below = below.take_while(|(at, _)| at.starts_with(&inside));
        let here = self.made.get_key_value(path).into_iter();
        let gone: Vec<_> = here
            .chain(below)
            .map(|(at, made)| (at.clone(), *made))
            .collect();
        for (at, made) in gone {
            self.made.remove(&at);
            self.dir_times.remove(&at);
            self.opaque.remove(&at);
            if let (Made::File(number), Some(recipe)) = (made, &mut self.recipe) {
                let (parent, last) = split_last(&at).map_err(fail)?;
                let dir = self.root.open_beneath(parent).map_err(fail)?;
                recipe.rescue(number, &dir, &last)?;
            }
        }
        self.last = None;
        crate::sys::remove::remove_tree(&place.dir, name).map_err(fail)
    }

    /// What is at a name.
    pub(super) fn stat_at(
        &self,
        dir: &DirFd,
        name: &Name,
        path: &[u8],
    ) -> Result<Option<crate::sys::stat::Stat>> {
        match At::child(dir, name).stat() {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(failed(path, errno)),
        }
    }
}
