//! What is made for an entry that is an object. Nothing is changed in place: what has the name is removed first, but a
//! directory where a directory is to be.

use super::attributes::Wanted;
use super::place::{Place, clean, join};
use super::{Devices, Made, TreeForm, Unpacker, failed, refused};
use crate::layer::acl;
use crate::layer::mark::is_whiteout_device;
use crate::store::blob::BlobReader;
use crate::store::error::{Error, Kind, Result};
use crate::store::tar::read::{TarReader, shown};
use crate::store::tar::sparse::Sparse;
use crate::store::tar::{Entry, EntryKind};
use crate::store::watch::tell;
use crate::sys::at::{At, OpenMode, SetTime};
use crate::sys::dir::DirFd;
use crate::sys::errno::Errno;
use crate::sys::file::FileFd;
use crate::sys::name::Name;
use crate::sys::resolve::split_last;
use crate::sys::stat::{FileType, Rdev};

/// The reader has checked the sizes: this cannot be.
fn refused_data(real: &[u8]) -> Error {
    Error::new(Kind::Corrupt, format!("{}: too little data", shown(real)))
}

type Archive<'b> = TarReader<BlobReader<'b>>;

/// What came of making an object.
enum Outcome<T> {
    New(T),
    /// A directory; `anew`: in place of what the layers below have.
    Anew(T),
    /// The directory that was there.
    Kept,
}

impl Unpacker<'_> {
    pub(super) fn object(
        &mut self,
        entry: &Entry,
        path: &[u8],
        archive: &mut Archive<'_>,
    ) -> Result<()> {
        let (place, name) = self.place(path)?;
        let real = join(&place.path, name.as_bytes());
        match entry.kind {
            EntryKind::File => self.file(entry, &place, &name, &real, archive)?,
            EntryKind::Dir => self.directory(entry, &place, &name, &real)?,
            EntryKind::HardLink => self.hard_link(entry, &place, &name, &real)?,
            EntryKind::Symlink => {
                let make = |dir: &DirFd, name: &Name| dir.symlink(name, &entry.link);
                self.make(&place, &name, &real, entry.kind, make)?;
                self.finish(entry, &place, &name, &real, FileType::Symlink)?;
            }
            EntryKind::Fifo => self.node(entry, &place, &name, &real, FileType::Fifo)?,
            EntryKind::Char => self.node(entry, &place, &name, &real, FileType::Char)?,
            EntryKind::Block => self.node(entry, &place, &name, &real, FileType::Block)?,
        }
        self.remember(place);
        Ok(())
    }

    pub(super) fn root_entry(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != EntryKind::Dir {
            return Err(refused(entry, "the root of the layer must be a directory"));
        }
        let root = self.root;
        self.replace_attributes(root.at(), &Wanted::of(entry, FileType::Dir), b"")?;
        self.dir_times.insert(Vec::new(), entry.mtime);
        Ok(())
    }

    /// Makes an object, removing what is in the way.
    fn make<T>(
        &mut self,
        place: &Place,
        name: &Name,
        real: &[u8],
        kind: EntryKind,
        make: impl Fn(&DirFd, &Name) -> Result<T, Errno>,
    ) -> Result<Outcome<T>> {
        let fail = |errno| failed(real, errno);
        let is_dir = kind == EntryKind::Dir;
        let is_new = !matches!(kind, EntryKind::HardLink | EntryKind::Symlink);
        let made = match make(&place.dir, name) {
            Err(Errno::EEXIST) => {
                if self.clear_whiteout(&place.dir, name, real)? {
                    make(&place.dir, name).map(Outcome::Anew)
                } else if is_dir && At::child(&place.dir, name).stat().map_err(fail)?.is_dir() {
                    return Ok(Outcome::Kept);
                } else {
                    if self.made.contains_key(real) {
                        self.remarks
                            .note("more than one entry, the last one counts", real);
                    }
                    self.clear(place, name, real)?;
                    make(&place.dir, name).map(Outcome::New)
                }
            }
            result => result.map(Outcome::New),
        };
        let made = made.map_err(fail)?;
        if place.inherits && is_new {
            acl::disinherit(At::child(&place.dir, name)).map_err(fail)?;
        }
        self.made.insert(real.to_vec(), Made::Object);
        Ok(made)
    }

    fn directory(&mut self, entry: &Entry, place: &Place, name: &Name, real: &[u8]) -> Result<()> {
        let wanted = Wanted::of(entry, FileType::Dir);
        let at = At::child(&place.dir, name);
        match self.make(place, name, real, entry.kind, |dir, name| {
            dir.mkdir(name, 0o700)
        })? {
            Outcome::New(()) => self.attributes(at, &wanted, real)?,
            Outcome::Anew(()) => {
                self.attributes(at, &wanted, real)?;
                let dir = place.dir.open_dir(name).map_err(|e| failed(real, e))?;
                self.make_opaque(&dir, real)?;
            }
            Outcome::Kept => {
                self.made.insert(real.to_vec(), Made::Object);
                self.replace_attributes(at, &wanted, real)?;
            }
        }
        self.dir_times.insert(real.to_vec(), entry.mtime);
        Ok(())
    }

    fn file(
        &mut self,
        entry: &Entry,
        place: &Place,
        name: &Name,
        real: &[u8],
        archive: &mut Archive<'_>,
    ) -> Result<()> {
        let make = |dir: &DirFd, name: &Name| dir.create_file(name, OpenMode::WRITE, 0o600);
        let (Outcome::New(file) | Outcome::Anew(file)) =
            self.make(place, name, real, entry.kind, make)?
        else {
            return Err(failed(real, Errno::EISDIR));
        };
        if entry.size > 0 {
            let sparse = archive.sparse().cloned();
            if let Some(recipe) = &mut self.recipe {
                let number = match &sparse {
                    Some(sparse) => recipe.sparse_file(real, sparse)?,
                    None => recipe.file(real, entry.size)?,
                };
                self.made.insert(real.to_vec(), Made::File(number));
            }
            match sparse {
                Some(sparse) => self.sparse_data(&file, real, &sparse, archive)?,
                None => self.whole_data(&file, real, entry.size, archive)?,
            }
        }
        self.attributes(
            At::child(&place.dir, name),
            &Wanted::of(entry, FileType::File),
            real,
        )?;
        let time = SetTime::At(entry.mtime);
        file.set_times(time, time).map_err(|e| failed(real, e))
    }

    /// The data of a file with holes. These count as unpacked: a copy of the file elsewhere may have to have them.
    fn sparse_data(
        &mut self,
        file: &FileFd,
        real: &[u8],
        sparse: &Sparse,
        archive: &mut Archive<'_>,
    ) -> Result<()> {
        let data: u64 = sparse.stretches.iter().map(|stretch| stretch.len).sum();
        self.meter.holes(sparse.size - data)?;
        for stretch in &sparse.stretches {
            let range = (stretch.offset, stretch.len);
            self.data(file, real, range, archive, None)?;
        }
        file.truncate(sparse.size).map_err(|e| failed(real, e))
    }

    /// The data of a file without holes, which is hashed as it passes by.
    fn whole_data(
        &mut self,
        file: &FileFd,
        real: &[u8],
        size: u64,
        archive: &mut Archive<'_>,
    ) -> Result<()> {
        if !self.options.hashes {
            return self.data(file, real, (0, size), archive, None);
        }
        let mut hasher = blake3::Hasher::new();
        self.data(file, real, (0, size), archive, Some(&mut hasher))?;
        let noted = self.known.note(file, &hasher);
        noted.map_err(|e| failed(real, e))
    }

    /// The next `len` bytes of data, to be written at `offset`.
    fn data(
        &mut self,
        file: &FileFd,
        real: &[u8],
        (mut offset, len): (u64, u64),
        archive: &mut Archive<'_>,
        mut hasher: Option<&mut blake3::Hasher>,
    ) -> Result<()> {
        let end = offset + len;
        while offset < end {
            let most = usize::try_from(end - offset).unwrap_or(usize::MAX);
            let most = most.min(self.buffer.len());
            let got = archive.read_data(&mut self.buffer[..most])?;
            if got == 0 {
                return Err(refused_data(real));
            }
            self.meter.data(got, archive.source().packed_bytes())?;
            tell(self.options.watch, got as u64, 0)?;
            let written = file.write_all_at(&self.buffer[..got], offset);
            written.map_err(|e| failed(real, e))?;
            if let Some(hasher) = &mut hasher {
                hasher.update(&self.buffer[..got]);
            }
            offset += got as u64;
        }
        Ok(())
    }

    fn hard_link(&mut self, entry: &Entry, place: &Place, name: &Name, real: &[u8]) -> Result<()> {
        let missing = || {
            let link = entry.link.escape_ascii();
            refused(entry, format!("a hard link to {link}, which is not there"))
        };
        let target = clean(&entry.link)?.ok_or_else(missing)?;
        let (parent, last) = split_last(&target).map_err(|e| failed(&target, e))?;
        let (dir, parent) = match self.resolve(parent) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Err(missing()),
            result => result.map_err(|e| failed(&target, e))?,
        };
        let target = join(&parent, last.as_bytes());
        if target == real {
            self.remarks.note("hard link to itself ignored", real);
            return Ok(());
        }
        let stat = self.stat_at(&dir, &last, &target)?.ok_or_else(missing)?;
        let marked = matches!(self.form, TreeForm::Difference { .. });
        let is_whiteout = self.made.get(&target) == Some(&Made::Whiteout)
            || (marked && is_whiteout_device(&stat));
        if is_whiteout {
            return Err(missing());
        }
        if stat.is_dir() {
            return Err(refused(entry, "a hard link to a directory"));
        }
        let make = |to: &DirFd, name: &Name| At::child(&dir, &last).link(to, name);
        self.make(place, name, real, entry.kind, make)?;
        Ok(())
    }

    /// A pipe or a device.
    fn node(
        &mut self,
        entry: &Entry,
        place: &Place,
        name: &Name,
        real: &[u8],
        kind: FileType,
    ) -> Result<()> {
        let marked = matches!(self.form, TreeForm::Difference { .. });
        if marked && kind == FileType::Char && entry.rdev == Rdev::default() {
            self.remarks
                .note("device 0:0 skipped, it would act as a whiteout", real);
            return Ok(());
        }
        let make = |dir: &DirFd, name: &Name| match dir.mknod(name, kind, 0o600, entry.rdev) {
            Err(Errno::EPERM) if kind != FileType::Fifo => Ok(false),
            result => result.map(|()| true),
        };
        let outcome = self.make(place, name, real, entry.kind, make)?;
        let (Outcome::New(made) | Outcome::Anew(made)) = outcome else {
            return Err(failed(real, Errno::EISDIR));
        };
        if made {
            return self.finish(entry, place, name, real, kind);
        }
        self.made.remove(real);
        match self.options.devices {
            Devices::Record => {
                let make = |dir: &DirFd, name: &Name| dir.create_file(name, OpenMode::WRITE, 0o600);
                self.make(place, name, real, entry.kind, make)?;
                self.finish(entry, place, name, real, kind)
            }
            Devices::Skip => {
                self.remarks.note("device skipped", real);
                Ok(())
            }
            Devices::Refuse => {
                let text = format!("{}: cannot make a device here", real.escape_ascii());
                Err(Error::new(Kind::Unsupported, text))
            }
        }
    }

    /// Attributes and times of what is neither a file nor a directory.
    fn finish(
        &mut self,
        entry: &Entry,
        place: &Place,
        name: &Name,
        real: &[u8],
        kind: FileType,
    ) -> Result<()> {
        let at = At::child(&place.dir, name);
        self.attributes(at, &Wanted::of(entry, kind), real)?;
        let time = SetTime::At(entry.mtime);
        at.set_times(time, time).map_err(|e| failed(real, e))
    }
}
