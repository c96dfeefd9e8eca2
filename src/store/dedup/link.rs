//! Equal files become names of one inode.
//!
//! Directories are opened beneath the roots of their layers without following a link, files in them by their names: a
//! layer's content is anybody's. Work is cut by directories, as many at a time as there are processors.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::compare::{Buffers, Looked, is_same};
use super::plan::{Unit, place};
use super::{Deduped, LINKS_MAX, Part, journal, mark};
use crate::store::error::{Error, Kind, OrAt, Result};
use crate::store::staging::Staging;
use crate::store::watch::{Watch, tell};
use crate::sys::at::At;
use crate::sys::dir::{DirFd, RenameMode};
use crate::sys::errno::{self, Errno};
use crate::sys::name::Name;
use crate::sys::stat::{Stat, Time};

/// More threads than this only wait for each other.
const THREADS_MAX: usize = 4;
/// Units that one thread takes at a time.
const BATCH_UNITS: usize = 256;

/// Why a file was left as it is.
const CHANGED: &str = "not equal to what its index says";
const REFUSED: &str = "not permitted";
const ELSEWHERE: &str = "on another filesystem, subvolume or project";
const FULL: &str = "too many names";

/// Numbers names in staging.
static STAGED: AtomicU64 = AtomicU64::new(0);

pub(super) struct Linker<'a> {
    parts: &'a [&'a Part],
    staging: &'a Staging,
    watch: &'a dyn Watch,
    next: AtomicUsize,
    /// Times of directories, as they were before anything was replaced in them.
    times: Mutex<HashMap<(usize, Vec<u8>), Time>>,
}

/// The first names of some units are in one directory.
struct Batch<'u> {
    dir: &'u [u8],
    units: Vec<&'u Unit>,
}

/// A file of a unit.
struct Member {
    part: usize,
    open: Looked,
    /// It was given another name since it was looked at.
    linked: bool,
}

/// What one thread works with.
struct Desk {
    stage: DirFd,
    report: Deduped,
    buffers: Buffers,
    dirs: HashMap<usize, Option<DirFd>>,
}

/// A directory for names in staging: one for each thread, or they would wait for each other.
///
/// # Errors
/// Those of making it.
pub(super) fn stage(staging: &Staging, number: usize) -> Result<DirFd> {
    let dir = staging.scratch(&format!("names{number}"));
    fs::create_dir(&dir)
        .or_else(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })
        .or_at("cannot make", &dir)?;
    DirFd::open(&dir).or_at("cannot open", &dir)
}

/// Gives the file at `from`, which looks like `stat`, the name `name` in `dir`, in place of what has it.
///
/// # Errors
/// ESTALE when the file is another one by now, and then nothing has changed; those of link and rename.
pub(super) fn replace(
    from: At<'_>,
    stat: &Stat,
    dir: &DirFd,
    name: &Name,
    stage: &DirFd,
) -> errno::Result<()> {
    let number = STAGED.fetch_add(1, Ordering::Relaxed).to_string();
    let staged = Name::new(number.as_bytes())?;
    from.link(stage, &staged)?;
    let looks = |s: &Stat| (s.dev, s.ino, s.size, s.mtime, s.perm, s.uid, s.gid);
    let renamed = match At::child(stage, &staged).stat() {
        Ok(now) if looks(&now) == looks(stat) => {
            stage.rename(&staged, dir, name, RenameMode::Replace)
        }
        Ok(_) => Err(Errno::ESTALE),
        Err(errno) => Err(errno),
    };
    if renamed.is_err() {
        // Staging goes anyway.
        stage.unlink(&staged).unwrap_or_default();
    }
    renamed
}

impl<'a> Linker<'a> {
    pub(super) fn new(parts: &'a [&'a Part], staging: &'a Staging, watch: &'a dyn Watch) -> Self {
        Linker {
            parts,
            staging,
            watch,
            next: AtomicUsize::new(0),
            times: Mutex::default(),
        }
    }

    /// Makes each unit one file in all of its layers that may be changed.
    ///
    /// # Errors
    /// Those that are no reason to leave a file alone; what was done until then stays, and is whole.
    pub(super) fn run(&self, units: &[Unit]) -> Result<Deduped> {
        let batches = batches(units);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let done: Vec<Result<Deduped>> = std::thread::scope(|scope| {
            let batches = &batches;
            let all: Vec<_> = (0..threads.clamp(1, THREADS_MAX))
                .map(|thread| scope.spawn(move || self.work(batches, thread)))
                .collect();
            let crashed = |_| Err(Error::new(Kind::Other, "a thread panicked"));
            all.into_iter()
                .map(|one| one.join().unwrap_or_else(crashed))
                .collect()
        });
        let mut report = Deduped::default();
        for one in done {
            report.add(one?);
        }
        Ok(report)
    }

    fn work(&self, batches: &[Batch<'_>], thread: usize) -> Result<Deduped> {
        let mut desk = Desk {
            stage: stage(self.staging, thread)?,
            report: Deduped::default(),
            buffers: Buffers::default(),
            dirs: HashMap::new(),
        };
        while let Some(batch) = batches.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let done = self.batch(batch, &mut desk);
            if done.is_err() {
                self.next.store(batches.len(), Ordering::Relaxed);
            }
            done?;
        }
        Ok(desk.report)
    }

    fn batch(&self, batch: &Batch<'_>, desk: &mut Desk) -> Result<()> {
        desk.dirs.clear();
        for unit in &batch.units {
            for &part in &unit.parts {
                if let Entry::Vacant(place) = desk.dirs.entry(part) {
                    let dir = self.parts[part].root.open_beneath(batch.dir).ok();
                    if let Some(dir) = &dir {
                        self.note_time(part, batch.dir, dir)
                            .or_else(|e| fail(batch.dir, e))?;
                    }
                    place.insert(dir);
                }
            }
        }
        let mut done = Ok(());
        for unit in &batch.units {
            done = self.unit(unit, desk);
            if done.is_err() {
                break;
            }
        }
        for (&part, dir) in &desk.dirs {
            if let Some(dir) = dir {
                self.restore_time(part, batch.dir, dir)
                    .or_else(|e| fail(batch.dir, e))?;
            }
        }
        done
    }

    fn unit(&self, unit: &Unit, desk: &mut Desk) -> Result<()> {
        tell(self.watch, unit.size, 1)?;
        let mut kept: Vec<Member> = Vec::new();
        for &part in &unit.parts {
            let Some(Some(dir)) = desk.dirs.get(&part) else {
                desk.report.skip(REFUSED);
                continue;
            };
            let name = Name::new(unit.place().1).or_else(|e| fail(&unit.paths[0], e))?;
            let open = match Looked::at(At::child(dir, &name)) {
                Ok(open) => open,
                Err(errno) => {
                    desk.report.skip(
                        why(errno)
                            .ok_or(errno)
                            .or_else(|e| fail(&unit.paths[0], e))?,
                    );
                    continue;
                }
            };
            let member = Member {
                part,
                open,
                linked: false,
            };
            match self.join(unit, &mut kept, &member, desk) {
                Ok(true) => {}
                Ok(false) => kept.push(member),
                Err(errno) => {
                    desk.report.skip(
                        why(errno)
                            .ok_or(errno)
                            .or_else(|e| fail(&unit.paths[0], e))?,
                    );
                    kept.push(member);
                }
            }
        }
        Ok(())
    }

    /// Makes a file one of those that are kept; false if it is to be kept, too.
    fn join(
        &self,
        unit: &Unit,
        kept: &mut [Member],
        member: &Member,
        desk: &mut Desk,
    ) -> errno::Result<bool> {
        let identity = |member: &Member| (member.open.stat.dev, member.open.stat.ino);
        if kept.iter().any(|other| identity(other) == identity(member)) {
            return Ok(true);
        }
        if !self.parts[member.part].replaced {
            return Ok(false);
        }
        let names = unit.paths.len();
        for other in kept {
            if std::mem::take(&mut other.linked) {
                other.open.refresh()?;
            }
            if other.open.stat.nlink as usize + names > LINKS_MAX as usize {
                desk.report.skip(FULL);
                continue;
            }
            if !other.open.equals(&member.open, &mut desk.buffers)? || !other.open.is_unchanged()? {
                desk.report.skip(CHANGED);
                continue;
            }
            other.linked = true;
            match self.replace_all(unit, other, member, desk) {
                Err(Errno::EMLINK) => desk.report.skip(FULL),
                result => {
                    result?;
                    let stat = &member.open.stat;
                    desk.report.linked.add(stat.size);
                    if stat.nlink as usize == names {
                        desk.report.freed += stat.blocks * 512;
                    }
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn replace_all(
        &self,
        unit: &Unit,
        from: &Member,
        to: &Member,
        desk: &mut Desk,
    ) -> errno::Result<()> {
        let (to_part, name) = (self.parts[to.part], Name::new(unit.place().1)?);
        if let [_] = unit.paths[..] {
            let dirs = (desk.dirs.get(&from.part), desk.dirs.get(&to.part));
            let (Some(Some(from_dir)), Some(Some(to_dir))) = dirs else {
                return Err(Errno::ESTALE);
            };
            check(&to.open, At::child(to_dir, &name))?;
            let source = At::child(from_dir, &name);
            return replace(source, &from.open.stat, to_dir, &name, &desk.stage);
        }
        self.check_names(unit, from)?;
        self.check_names(unit, to)?;
        mark::set_names(self.parts[from.part], from.open.file.at(), unit.paths.len())?;
        // The first name last: until then it says what the file was.
        for path in unit.paths.iter().rev() {
            if let Err(errno) = self.replace_one(path, from, to, &desk.stage) {
                let names: Vec<&[u8]> = unit.paths.iter().map(Vec::as_slice).collect();
                journal::converge(&to_part.root, &names, &desk.stage, &mut desk.buffers)?;
                return Err(errno);
            }
        }
        Ok(())
    }

    /// All names of a unit are names of this file.
    fn check_names(&self, unit: &Unit, member: &Member) -> errno::Result<()> {
        for path in &unit.paths {
            let (dir, name) = place(path);
            let dir = self.parts[member.part].root.open_beneath(dir)?;
            check(&member.open, At::child(&dir, &Name::new(name)?))?;
        }
        Ok(())
    }

    fn replace_one(
        &self,
        path: &[u8],
        from: &Member,
        to: &Member,
        stage: &DirFd,
    ) -> errno::Result<()> {
        let (dir_path, name) = place(path);
        let dir = self.parts[to.part].root.open_beneath(dir_path)?;
        self.note_time(to.part, dir_path, &dir)?;
        let name = Name::new(name)?;
        let replaced = replace(from.open.file.at(), &from.open.stat, &dir, &name, stage);
        self.restore_time(to.part, dir_path, &dir)?;
        replaced
    }

    /// Before anything is replaced in it.
    fn note_time(&self, part: usize, path: &[u8], dir: &DirFd) -> errno::Result<()> {
        // Under the lock: nobody else begins with this directory meanwhile.
        let mut times = self.times.lock();
        if let Entry::Vacant(place) = times.entry((part, path.to_vec())) {
            place.insert(dir.stat()?.mtime);
        }
        Ok(())
    }

    fn restore_time(&self, part: usize, path: &[u8], dir: &DirFd) -> errno::Result<()> {
        let time = self.times.lock().get(&(part, path.to_vec())).copied();
        time.map_or(Ok(()), |time| journal::restore(dir, time))
    }
}

/// The name still means the file, and that has not been touched.
fn check(open: &Looked, at: At<'_>) -> errno::Result<()> {
    match is_same(&at.stat()?, &open.stat) {
        true => Ok(()),
        false => Err(Errno::ESTALE),
    }
}

/// Units by the directories of their first names; those with several names alone.
fn batches(units: &[Unit]) -> Vec<Batch<'_>> {
    let mut all: Vec<Batch<'_>> = Vec::new();
    let mut open: HashMap<&[u8], usize> = HashMap::new();
    for unit in units {
        let dir = unit.place().0;
        match open.get(dir) {
            Some(&at) if all[at].units.len() < BATCH_UNITS => all[at].units.push(unit),
            _ => {
                open.insert(dir, all.len());
                let units = vec![unit];
                all.push(Batch { dir, units });
            }
        }
    }
    all
}

/// Why a file is left alone after this; `None`: it is no reason for that.
fn why(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::EPERM | Errno::EACCES | Errno::EROFS => Some(REFUSED),
        Errno::EXDEV => Some(ELSEWHERE),
        Errno::EMLINK => Some(FULL),
        Errno::ESTALE | Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR | Errno::EISDIR => {
            Some(CHANGED)
        }
        _ => None,
    }
}

fn fail<T>(path: &[u8], errno: Errno) -> Result<T> {
    let path = path.escape_ascii();
    Err(Error::new(
        Kind::Other,
        format!("cannot link {path} of a layer: {errno}"),
    ))
}
