//! [`WorkDir`]: where objects are made before they have a name in the tree ([`Temp`]). A crash leaves
//! remains here and nowhere else; the next mount clears them
//! (overlay-semantics 1.5, 18.3, 18.5).

use std::sync::atomic::{AtomicU64, Ordering};

use super::temp::Temp;
use super::whiteout::Whiteouts;
use crate::sys::at::{At, OpenMode};
use crate::sys::dir::{DirFd, RenameMode};
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;
use crate::sys::name::Name;
use crate::sys::remove::remove_tree;
use crate::sys::stat::{FileType, Rdev, Stat};

const READ_WRITE: OpenMode = OpenMode {
    write: true,
    ..OpenMode::READ
};

/// A file without holes up to this size is copied by one read and one write.
const AT_ONCE_BYTES: u64 = 64 << 10;

/// The `work` directory inside the user's `workdir`.
#[derive(Debug)]
pub struct WorkDir {
    pub(super) dir: DirFd,
    counter: AtomicU64,
    /// The device that was last found to share no blocks with this one; 0 is none.
    apart: AtomicU64,
    pub(super) whiteouts: Whiteouts,
    /// The upper filesystem finds names in a case in which it does not list them.
    pub(in crate::overlay) folds_case: bool,
}

impl WorkDir {
    /// Empties and takes over the work directory below `base`. With `volatile` it is marked, so that no
    /// later mount trusts what a crash may have left.
    ///
    /// # Errors
    /// EINVAL when it carries the mark of a volatile mount; those of clearing it.
    pub fn claim(base: &DirFd, volatile: bool) -> Result<WorkDir> {
        let work = name(b"work")?;
        if is_marked_volatile(base, &work)? {
            return Err(Errno::EINVAL);
        }
        remove_tree(base, &work)?;
        // Nobody but us has business here; without the capability to pass we must keep our own way in.
        base.mkdir(&work, 0)?;
        let dir = base.open_dir(&work)?;
        if dir.check_writable().is_err() {
            At::child(base, &work).chmod(0o700)?;
        }
        if volatile {
            mark_volatile(&dir)?;
        }
        Ok(WorkDir {
            folds_case: At::child(base, &name(b"WORK")?).stat().is_ok(),
            dir,
            counter: AtomicU64::new(0),
            apart: AtomicU64::new(0),
            whiteouts: Whiteouts::default(),
        })
    }

    /// A name that nothing in the work directory has.
    pub(super) fn fresh_name(&self) -> Result<Name> {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        name(format!("#{number:x}").as_bytes())
    }

    fn temp(&self, make: impl Fn(&Name) -> Result<()>) -> Result<Temp<'_>> {
        let name = self.fresh_name()?;
        make(&name)?;
        Ok(Temp::named(self, name))
    }

    /// An unpublished regular file, open for reading and writing.
    ///
    /// # Errors
    /// Those of open.
    pub fn file(&self, perm: u32) -> Result<Temp<'_>> {
        match self.dir.create_unnamed(READ_WRITE, perm) {
            Ok(file) => Ok(Temp::open(self, None, file)),
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT) => self.named_file(perm),
            Err(errno) => Err(errno),
        }
    }

    fn named_file(&self, perm: u32) -> Result<Temp<'_>> {
        let name = self.fresh_name()?;
        let file = self.dir.create_file(&name, READ_WRITE, perm)?;
        Ok(Temp::open(self, Some(name), file))
    }

    /// Makes the empty file `to` hold the first `size` bytes of `from`, which has the attributes `stat`: by sharing
    /// blocks where the two filesystems can do that.
    ///
    /// # Errors
    /// Those of reading and writing.
    pub(super) fn copy_data(
        &self,
        (from, stat): (&FileFd, &Stat),
        to: &FileFd,
        size: u64,
    ) -> Result<()> {
        if size == 0 {
            return Ok(());
        }
        if self.apart.load(Ordering::Relaxed) != stat.dev {
            match from.clone_to(to) {
                // All of it is there, and what came to it meanwhile.
                Ok(()) => return to.truncate(size),
                Err(Errno::EOPNOTSUPP | Errno::EXDEV | Errno::ENOTTY) => {
                    self.apart.store(stat.dev, Ordering::Relaxed);
                }
                Err(errno) => log::debug!("no shared blocks: {errno}"),
            }
        }
        match stat.blocks.saturating_mul(512) >= stat.size && size <= AT_ONCE_BYTES {
            true => from.copy_small_to(to, size),
            false => from.copy_stretches_to(to, size, &mut |_| Ok(())),
        }
    }

    /// An unpublished directory.
    ///
    /// # Errors
    /// Those of mkdir.
    pub fn dir(&self, perm: u32) -> Result<Temp<'_>> {
        self.temp(|name| self.dir.mkdir(name, perm))
    }

    /// An unpublished symbolic link.
    ///
    /// # Errors
    /// Those of symlink.
    pub fn symlink(&self, target: &[u8]) -> Result<Temp<'_>> {
        self.temp(|name| self.dir.symlink(name, target))
    }

    /// An unpublished device, fifo, socket or empty file.
    ///
    /// # Errors
    /// Those of mknod.
    pub fn node(&self, kind: FileType, perm: u32, rdev: Rdev) -> Result<Temp<'_>> {
        self.temp(|name| self.dir.mknod(name, kind, perm, rdev))
    }

    /// One more, unpublished name of an object.
    ///
    /// # Errors
    /// Those of link.
    pub fn link(&self, object: At<'_>) -> Result<Temp<'_>> {
        self.temp(|name| object.link(&self.dir, name))
    }

    /// Takes an object out of the tree; it is deleted when the [`Temp`] is dropped.
    ///
    /// # Errors
    /// Those of rename.
    pub fn take(&self, dir: &DirFd, name: &Name) -> Result<Temp<'_>> {
        let temp = self.fresh_name()?;
        dir.rename(name, &self.dir, &temp, RenameMode::Replace)?;
        Ok(Temp::named(self, temp))
    }

    /// Moves an object of the work directory to a free name.
    ///
    /// # Errors
    /// EEXIST; those of rename.
    pub(super) fn rename_to_free(&self, name: &Name, dir: &DirFd, to: &Name) -> Result<()> {
        match self.dir.rename(name, dir, to, RenameMode::NoReplace) {
            // Not known to this filesystem. The directory is locked and the upper is ours: it stays free.
            Err(Errno::EINVAL | Errno::ENOSYS) => match At::child(dir, to).stat() {
                Err(Errno::ENOENT) => self.dir.rename(name, dir, to, RenameMode::Replace),
                Ok(_) => Err(Errno::EEXIST),
                Err(errno) => Err(errno),
            },
            result => result,
        }
    }

    pub(super) fn discard(&self, name: &Name) {
        if let Err(errno) = remove_tree(&self.dir, name) {
            log::warn!("{name:?} stays in the work directory: {errno}");
        }
    }
}

fn name(bytes: &[u8]) -> Result<Name> {
    Name::new(bytes)
}

/// `incompat/volatile` below a work directory says that the upper may lack data (18.3).
fn is_marked_volatile(base: &DirFd, work: &Name) -> Result<bool> {
    let marked = base
        .open_dir(work)
        .and_then(|dir| dir.open_dir(&name(b"incompat")?))
        .and_then(|dir| At::child(&dir, &name(b"volatile")?).stat());
    match marked {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn mark_volatile(work: &DirFd) -> Result<()> {
    let (incompat, volatile) = (name(b"incompat")?, name(b"volatile")?);
    work.mkdir(&incompat, 0o700)?;
    let dir = work.open_dir(&incompat)?;
    dir.mkdir(&volatile, 0o700)?;
    dir.open_dir(&volatile)?
        .create_file(&name(b"dirty")?, OpenMode::WRITE, 0o600)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> (tempfile::TempDir, DirFd) {
        let temp = tempfile::tempdir().unwrap();
        let dir = DirFd::open(temp.path()).unwrap();
        (temp, dir)
    }

    #[test]
    fn t112_leftovers_of_any_depth_are_cleared() {
        let (temp, dir) = base();
        let deep = temp.path().join(format!("work/#1{}", "/d".repeat(60)));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("file"), "x").unwrap();
        std::fs::write(temp.path().join("work/#2"), "x").unwrap();
        drop(WorkDir::claim(&dir, false).unwrap());
        assert_eq!(
            std::fs::read_dir(temp.path().join("work")).unwrap().count(),
            0
        );
        std::fs::remove_dir(temp.path().join("work")).unwrap();
        std::fs::write(temp.path().join("work"), "a file").unwrap();
        drop(WorkDir::claim(&dir, false).unwrap());
        assert!(temp.path().join("work").is_dir());
    }

    #[test]
    fn t111_the_volatile_mark_blocks_the_next_claim() {
        let (_temp, dir) = base();
        drop(WorkDir::claim(&dir, true).unwrap());
        assert_eq!(WorkDir::claim(&dir, false).err(), Some(Errno::EINVAL));
        assert_eq!(WorkDir::claim(&dir, true).err(), Some(Errno::EINVAL));
    }

    #[test]
    fn a_dropped_temp_leaves_nothing() {
        let (temp, dir) = base();
        let work = WorkDir::claim(&dir, false).unwrap();
        let made = work.dir(0o755).unwrap();
        made.open_dir()
            .unwrap()
            .mkdir(&name(b"inner").unwrap(), 0o755)
            .unwrap();
        drop(made);
        drop(work.file(0o600).unwrap());
        drop(work.named_file(0o600).unwrap());
        drop(work.symlink(b"x").unwrap());
        assert_eq!(
            std::fs::read_dir(temp.path().join("work")).unwrap().count(),
            0
        );
    }

    #[test]
    fn published_under_a_free_name_only() {
        let (_temp, dir) = base();
        let work = WorkDir::claim(&dir, false).unwrap();
        let target = name(b"t").unwrap();
        for round in 0..2 {
            let unnamed = work.file(0o600).unwrap().publish(&dir, &target);
            assert_eq!(unnamed.is_ok(), round == 0);
            assert_eq!(
                work.named_file(0o600).unwrap().publish(&dir, &target),
                Err(Errno::EEXIST)
            );
        }
        work.file(0o600).unwrap().replace(&dir, &target).unwrap();
    }
}
