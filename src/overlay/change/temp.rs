//! [`Temp`]: an object in the work directory without a name in the tree. Publishing consumes it; dropping
//! it deletes it, so that no failure leaves anything behind.

use super::workdir::WorkDir;
use crate::sys::at::{At, PathFd};
use crate::sys::dir::{DirFd, RenameMode};
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;
use crate::sys::name::Name;

#[derive(Debug)]
enum What {
    Named(Name),
    /// A file that never had a name: what is open.
    Unnamed,
    /// Published, or handed on.
    Gone,
}

/// An object without a name in the tree. Dropping it deletes it.
#[derive(Debug)]
pub struct Temp<'a> {
    work: &'a WorkDir,
    what: What,
    /// A regular file that is to be written is open.
    file: Option<FileFd>,
}

impl<'a> Temp<'a> {
    /// The object that has this name in the work directory.
    pub(super) fn named(work: &'a WorkDir, name: Name) -> Temp<'a> {
        Temp {
            work,
            what: What::Named(name),
            file: None,
        }
    }

    /// A file that has this name, or none.
    pub(super) fn open(work: &'a WorkDir, name: Option<Name>, file: FileFd) -> Temp<'a> {
        Temp {
            work,
            what: name.map_or(What::Unnamed, What::Named),
            file: Some(file),
        }
    }

    /// The regular file, open for reading and writing, if it was made to be written.
    pub fn file(&self) -> Option<&FileFd> {
        self.file.as_ref()
    }

    fn unnamed(&self) -> Result<&FileFd> {
        self.file.as_ref().ok_or(Errno::ENOENT)
    }

    /// The object.
    ///
    /// # Errors
    /// ENOENT once it is gone.
    pub fn at(&self) -> Result<At<'_>> {
        match &self.what {
            What::Named(name) => Ok(At::child(&self.work.dir, name)),
            What::Unnamed => Ok(self.unnamed()?.at()),
            What::Gone => Err(Errno::ENOENT),
        }
    }

    /// The directory that this object is.
    ///
    /// # Errors
    /// ENOTDIR.
    pub fn open_dir(&self) -> Result<DirFd> {
        match &self.what {
            What::Named(name) => self.work.dir.open_dir(name),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Gives the object a free name in the tree.
    ///
    /// # Errors
    /// EEXIST; those of link and rename.
    pub fn publish(mut self, dir: &DirFd, name: &Name) -> Result<()> {
        match &self.what {
            What::Named(temp) => self.work.rename_to_free(temp, dir, name)?,
            What::Unnamed => self.unnamed()?.at().link(dir, name)?,
            What::Gone => return Err(Errno::ENOENT),
        }
        self.what = What::Gone;
        Ok(())
    }

    /// Puts the object in the place of a non-directory, which ceases to exist in the same step.
    ///
    /// # Errors
    /// Those of rename.
    pub fn replace(mut self, dir: &DirFd, name: &Name) -> Result<()> {
        self.give_name()?;
        if let What::Named(temp) = &self.what {
            self.work.dir.rename(temp, dir, name, RenameMode::Replace)?;
        }
        self.what = What::Gone;
        Ok(())
    }

    /// Changes places with what has the name; what was there is deleted as this value is dropped.
    ///
    /// # Errors
    /// Those of rename.
    pub fn exchange(&mut self, dir: &DirFd, name: &Name) -> Result<()> {
        match &self.what {
            What::Named(temp) => self.work.dir.rename(temp, dir, name, RenameMode::Exchange),
            _ => Err(Errno::ENOENT),
        }
    }

    /// Moves an entry of this directory over a non-directory of the tree.
    ///
    /// # Errors
    /// Those of rename.
    pub fn replace_with_entry(&self, entry: &Name, dir: &DirFd, name: &Name) -> Result<()> {
        self.open_dir()?
            .rename(entry, dir, name, RenameMode::Replace)
    }

    /// Changes an entry of this directory for what has a name in the tree.
    ///
    /// # Errors
    /// Those of rename.
    pub fn exchange_entry(&self, entry: &Name, dir: &DirFd, name: &Name) -> Result<()> {
        self.open_dir()?
            .rename(entry, dir, name, RenameMode::Exchange)
    }

    /// An object that lives on without a name, held by the fd alone.
    ///
    /// # Errors
    /// Those of open and unlink.
    pub fn into_unnamed(mut self) -> Result<PathFd> {
        match std::mem::replace(&mut self.what, What::Gone) {
            What::Unnamed => Ok(self.file.take().ok_or(Errno::ENOENT)?.into_path_fd()),
            What::Named(name) => {
                let path = At::child(&self.work.dir, &name).open_path();
                self.work.discard(&name);
                path
            }
            What::Gone => Err(Errno::ENOENT),
        }
    }

    /// A rename needs a name to start from.
    fn give_name(&mut self) -> Result<()> {
        if let What::Unnamed = self.what {
            let name = self.work.fresh_name()?;
            self.unnamed()?.at().link(&self.work.dir, &name)?;
            self.what = What::Named(name);
        }
        Ok(())
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if let What::Named(name) = &self.what {
            self.work.discard(name);
        }
    }
}
