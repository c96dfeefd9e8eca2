//! What linking is about to do, written down before: so that a kill in the middle of it costs nothing.
//!
//! Two things are not done by one rename. A directory gets a new time when a name in it is replaced, and gets its own
//! back then. And of a file with several names one after the other is replaced. So each layer has, while that lasts, a
//! file `linking` in its meta: the directories with their times, and the names of such files, in the form of an index.
//! Whoever has the store for himself next (gc, check, dedup) puts both right: [`Store::settle_links`].

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::compare::{Buffers, Looked};
use super::plan::{Unit, place};
use super::{Part, link};
use crate::store::Store;
use crate::store::driver::open;
use crate::store::error::{Error, Kind, OrAt, Result};
use crate::store::index::{FileIndex, Record};
use crate::store::meta::Size;
use crate::store::staging::Staging;
use crate::sys::at::{At, SetTime};
use crate::sys::dir::DirFd;
use crate::sys::errno::{self, Errno};
use crate::sys::name::Name;
use crate::sys::stat::{FileType, Time};

/// Its name in the meta of a layer.
pub(in crate::store) const FILE: &str = "linking";

/// Notes what the units change in a layer, number `number` of those that take part.
pub(super) fn write(
    part: &Part,
    number: usize,
    units: &[Unit],
    staging: &Staging,
    meta: &Path,
) -> Result<()> {
    let mut dirs: BTreeMap<&[u8], Time> = BTreeMap::new();
    let mut records = Vec::new();
    let mut group = 0;
    for unit in units.iter().filter(|unit| unit.parts.contains(&number)) {
        for path in &unit.paths {
            let dir = place(path).0;
            if !dirs.contains_key(dir) {
                match part.root.open_beneath(dir).and_then(|dir| dir.stat()) {
                    Ok(stat) => drop(dirs.insert(dir, stat.mtime)),
                    // Then nothing can be replaced in it.
                    Err(errno) => log::info!("{}: {errno}", dir.escape_ascii()),
                }
            }
        }
        if unit.paths.len() > 1 {
            group += 1;
            let name = |path| record(path, FileType::File, Time::default(), group);
            records.extend(unit.paths.iter().map(|path| name(path)));
        }
    }
    let dir = |(path, time)| record(path, FileType::Dir, time, 0);
    records.extend(dirs.into_iter().map(dir));
    let journal = FileIndex::new(records.into_iter(), false, Size::default());
    put(&journal, staging, meta, FILE)
}

/// Writes an index to a file of a layer's meta, in place of what is there.
pub(super) fn put(index: &FileIndex, staging: &Staging, meta: &Path, file: &str) -> Result<()> {
    let (staged, place) = (staging.scratch(file), meta.join(file));
    index.write(&staged)?;
    fs::rename(&staged, &place).or_at("cannot write", &place)
}

fn record(path: &[u8], kind: FileType, mtime: Time, group: u32) -> Record<'_> {
    Record {
        path,
        kind,
        perm: 0,
        uid: 0,
        gid: 0,
        mtime,
        size: 0,
        group,
        content: None,
        attributes: None,
    }
}

impl Store {
    /// What linking left half done, as paths.
    pub(in crate::store) fn unsettled_links(&self) -> Result<Vec<PathBuf>> {
        let layers = self.layers()?.into_iter();
        let journals = layers.map(|id| self.layout().layer(&id).join(FILE));
        Ok(journals.filter(|journal| journal.exists()).collect())
    }

    /// Everything was done.
    pub(super) fn forget_links(&self) -> Result<()> {
        for path in self.unsettled_links()? {
            fs::remove_file(&path).or_at("cannot remove", &path)?;
        }
        Ok(())
    }

    /// Puts right what linking left half done. The caller has the store for himself.
    ///
    /// # Errors
    /// Those of writing.
    pub(in crate::store) fn settle_links(&self) -> Result<()> {
        for id in self.layers()? {
            let path = self.layout().layer(&id).join(FILE);
            let Some(journal) = FileIndex::read(&path)? else {
                continue;
            };
            let layer = self.layer(&id)?;
            let root = open(&self.tree(layer.driver, &id))?;
            let stage = Staging::in_locked(self)?;
            settle(&root, &journal, &link::stage(&stage, 0)?)
                .map_err(|errno| Error::at(Kind::Other, "cannot put right", &path, errno))?;
            fs::remove_file(&path).or_at("cannot remove", &path)?;
        }
        Ok(())
    }
}

fn settle(root: &DirFd, journal: &FileIndex, stage: &DirFd) -> errno::Result<()> {
    let mut units: BTreeMap<u32, Vec<&[u8]>> = BTreeMap::new();
    for record in journal.records().filter(|record| record.group != 0) {
        units.entry(record.group).or_default().push(record.path);
    }
    let mut buffers = Buffers::default();
    for names in units.values() {
        converge(root, names, stage, &mut buffers)?;
    }
    let dirs: HashMap<&[u8], Time> = journal
        .records()
        .filter(|record| record.kind == FileType::Dir)
        .map(|record| (record.path, record.mtime))
        .collect();
    for (path, time) in dirs {
        match root.open_beneath(path) {
            // Somebody removed it; that is none of ours.
            Err(Errno::ENOENT) => {}
            dir => restore(&dir?, time)?,
        }
    }
    Ok(())
}

/// Gives a directory its time back.
pub(super) fn restore(dir: &DirFd, time: Time) -> errno::Result<()> {
    if dir.stat()?.mtime == time {
        return Ok(());
    }
    dir.at().set_times(SetTime::Omit, SetTime::At(time))
}

/// Makes all names be of the file that the first is of: that one is replaced last, so this takes back what was begun.
pub(super) fn converge(
    root: &DirFd,
    names: &[&[u8]],
    stage: &DirFd,
    buffers: &mut Buffers,
) -> errno::Result<()> {
    let at = |path: &[u8]| -> errno::Result<(DirFd, Name)> {
        let (dir, name) = place(path);
        Ok((root.open_beneath(dir)?, Name::new(name)?))
    };
    let [first, others @ ..] = names else {
        return Ok(());
    };
    let (dir, name) = at(first)?;
    let first = Looked::at(At::child(&dir, &name))?;
    for path in others {
        let (dir, name) = at(path)?;
        let other = Looked::at(At::child(&dir, &name))?;
        if other.stat.ino != first.stat.ino && first.equals(&other, buffers)? {
            link::replace(first.file.at(), &first.stat, &dir, &name, stage)?;
        }
    }
    Ok(())
}
