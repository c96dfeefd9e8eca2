//! Copying a whole tree: everything that is in it, by as many threads as help, without a path at run time.
//!
//! | what | how |
//! |---|---|
//! | data | shared blocks; else inside the kernel; else by hand. Holes stay holes |
//! | names of one file | stay names of one file |
//! | owner, mode, times, attributes, ACLs, devices, fifos, sockets | kept |
//!
//! The work is a stack of directories, so that what is open at a time grows with the depth of the tree and not with its
//! size. A large directory is cut into batches. The metadata of a directory is set when its last entry is there.
//!
//! [`Way::Onto`] puts a layer onto the tree of the layers below it: what is in the way is replaced, whiteouts and
//! opaque directories take effect, and no mark is left.

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use super::error::{Error, Result};
use super::meta::Size;
use super::watch::{Watch, interrupted};
use crate::layer::acl;
use crate::sys::dir::DirFd;
use crate::sys::errno::{self, Errno};
use crate::sys::name::Name;
use crate::sys::process;
use crate::sys::remove::remove_tree;
use crate::sys::stat::{FileType, Stat};
use trail::{Failure, Trail, failed};

mod object;
#[cfg(test)]
mod tests;
mod trail;

/// More threads than this only wait for each other.
const THREADS_MAX: usize = 4;
/// Entries of one directory that one thread takes at a time.
const BATCH_ENTRIES: usize = 256;

/// What is in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing: everything is copied as it is.
    Fresh,
    /// The layers below.
    Onto,
}

/// How a tree is copied.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// What is in the target.
    pub way: Way,
    /// Which attributes go along.
    pub attributes: fn(&CStr) -> bool,
    /// Who looks on, and may end the copy early.
    pub watch: &'a dyn Watch,
    /// Somebody may be changing the source: what disappears was not there.
    pub live: bool,
}

/// What was copied, and what could not be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// How much.
    pub size: Size,
    /// Files share their blocks with the source.
    pub reflink: bool,
    /// Objects that belong to this user now, who may not give them away.
    pub owners_lost: u64,
    /// Attributes that the filesystem cannot hold or this user may not set.
    pub attributes_lost: u64,
}

/// Copies what is in `from`, and the metadata of `from` itself, to the directory `to`.
///
/// # Errors
/// The first failure, with the path in the tree; `to` is then of no use.
/// [`Unsupported`](super::error::Kind::Unsupported) for a layer that cannot be put onto others because its marks lead
/// elsewhere.
pub fn copy_tree(from: &DirFd, to: &DirFd, rules: Rules<'_>) -> Result<Copied> {
    let job = Job::new(from, to, rules).map_err(|errno| failed(&Trail::top(), errno))?;
    job.start(from, to)
        .map_err(|errno| failed(&Trail::top(), errno))?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let mut helpers = 1..threads.clamp(2, THREADS_MAX);
        job.work(&mut || {
            if helpers.next().is_some() {
                scope.spawn(|| job.work(&mut || ()));
            }
        });
    });
    let counts = &job.counts;
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let copied = Copied {
        size: Size {
            bytes: read(&counts.bytes),
            entries: read(&counts.entries),
        },
        reflink: job.reflink.load(Ordering::Relaxed) == REFLINK,
        owners_lost: read(&counts.owners_lost),
        attributes_lost: read(&counts.attributes_lost),
    };
    match job.stack.into_inner().failure {
        Some(error) => Err(error),
        None => Ok(copied),
    }
}

/// Gives the empty directory `to` the metadata of `from`.
///
/// # Errors
/// Those of writing.
pub fn dress(from: &DirFd, to: &DirFd, rules: Rules<'_>) -> Result<()> {
    let dressed = Job::new(from, to, rules).and_then(|job| job.finish_dir(&Dir::top(from, to)?));
    dressed.map_err(|errno| failed(&Trail::top(), errno))
}

/// Whether blocks can be shared is found out with the first file.
const REFLINK_UNKNOWN: u8 = 0;
const REFLINK: u8 = 1;
const REFLINK_NOT: u8 = 2;

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    entries: AtomicU64,
    owners_lost: AtomicU64,
    attributes_lost: AtomicU64,
}

/// One copy of a tree.
struct Job<'a> {
    rules: Rules<'a>,
    stack: Mutex<Stack>,
    /// Something was put on the stack, or the work is over.
    news: Condvar,
    target: DirFd,
    target_stat: Stat,
    /// The mount that the source is on.
    source_mount: u64,
    /// A new object has the mode it is made with, less the umask, and belongs to `ids`.
    obedient: bool,
    umask: u32,
    ids: (u32, u32),
    reflink: AtomicU8,
    counts: Counts,
    /// By device and inode number. The lock of a group is held while its first copy is made.
    links: Mutex<HashMap<(u64, u64), Arc<Group>>>,
}

#[derive(Default)]
struct Stack {
    todo: Vec<Task>,
    /// Threads that are working, and so may put more on the stack.
    busy: usize,
    failure: Option<Error>,
}

enum Task {
    /// A directory whose copy has been made and is empty, or the top.
    Enter(Arc<Dir>, Name),
    /// Some entries of a directory.
    Batch(Arc<Dir>, Vec<Entry>),
}

struct Entry {
    name: Name,
    kind: Option<FileType>,
}

/// A directory that is being copied.
struct Dir {
    trail: Arc<Trail>,
    from: DirFd,
    to: DirFd,
    stat: Stat,
    /// What is made in the copy gets an ACL from it.
    gives_acl: bool,
    /// Batches that are not done.
    batches: AtomicUsize,
}

/// A file with several names: where its first copy is.
type Group = Mutex<Option<Place>>;

/// Where a copy of a file is.
struct Place {
    dir: Arc<Trail>,
    name: Name,
}

impl Dir {
    fn top(from: &DirFd, to: &DirFd) -> errno::Result<Dir> {
        Ok(Dir {
            trail: Trail::top(),
            from: from.try_clone()?,
            to: to.try_clone()?,
            stat: from.stat()?,
            gives_acl: acl::gives(to)?,
            batches: AtomicUsize::new(0),
        })
    }
}

impl<'a> Job<'a> {
    fn new(from: &DirFd, to: &DirFd, rules: Rules<'a>) -> errno::Result<Job<'a>> {
        let target_stat = to.stat()?;
        let inherits = to.at().get_xattr(c"system.posix_acl_default")?.is_some();
        let set_gid = target_stat.perm & 0o2000 != 0;
        Ok(Job {
            rules,
            stack: Mutex::default(),
            news: Condvar::new(),
            target: to.try_clone()?,
            target_stat,
            source_mount: from.stat()?.mount_id,
            obedient: rules.way == Way::Fresh && !inherits && !set_gid,
            umask: process::umask().unwrap_or(0o777),
            ids: process::effective_ids(),
            reflink: AtomicU8::new(REFLINK_UNKNOWN),
            counts: Counts::default(),
            links: Mutex::default(),
        })
    }

    fn start(&self, from: &DirFd, to: &DirFd) -> errno::Result<()> {
        let mut todo = Vec::new();
        self.list(Arc::new(Dir::top(from, to)?), &mut todo)?;
        self.stack.lock().todo = todo;
        Ok(())
    }

    /// What one thread does: takes tasks until there are none and nobody can make more. Calls `recruit` whenever there
    /// is something for another thread to do: to start one costs more than to copy a few files.
    fn work(&self, recruit: &mut dyn FnMut()) {
        let mut buffer = vec![0; object::SMALL_BYTES];
        let mut made = Vec::new();
        let mut stack = self.stack.lock();
        loop {
            if stack.failure.is_some() || (stack.todo.is_empty() && stack.busy == 0) {
                self.news.notify_all();
                return;
            }
            let Some(task) = stack.todo.pop() else {
                self.news.wait(&mut stack);
                continue;
            };
            stack.busy += 1;
            if !stack.todo.is_empty() {
                recruit();
            }
            drop(stack);
            let done = match self.rules.watch.is_stopped() {
                true => Err(interrupted()),
                false => self.one(task, &mut made, &mut buffer),
            };
            stack = self.stack.lock();
            stack.busy -= 1;
            if let Err(error) = done {
                let stopped = self.rules.watch.is_stopped();
                let why = if stopped { interrupted() } else { error };
                stack.failure.get_or_insert(why);
            }
            stack.todo.append(&mut made);
            self.news.notify_all();
        }
    }

    fn one(&self, task: Task, made: &mut Vec<Task>, buffer: &mut [u8]) -> Result<()> {
        match task {
            Task::Enter(parent, name) => {
                let trail = Trail::below(&parent.trail, &name);
                self.enter(&parent, &name, &trail, made)
                    .map_err(|errno| failed(&trail, errno))
            }
            Task::Batch(dir, entries) => {
                for entry in entries {
                    match self.copy(&dir, &entry, made, buffer) {
                        Err(Failure::Errno(Errno::ENOENT | Errno::ESTALE)) if self.rules.live => {
                            remove_tree(&dir.to, &entry.name)
                                .map_err(|errno| failed(&dir.trail, errno))?;
                        }
                        copied => {
                            copied.map_err(|failure| failure.named(&dir.trail, &entry.name))?;
                        }
                    }
                }
                self.end_batch(&dir)
                    .map_err(|errno| failed(&dir.trail, errno))
            }
        }
    }

    fn enter(
        &self,
        parent: &Dir,
        name: &Name,
        trail: &Arc<Trail>,
        made: &mut Vec<Task>,
    ) -> errno::Result<()> {
        let from = match parent.from.open_dir(name) {
            Err(Errno::ENOENT | Errno::ENOTDIR) if self.rules.live => {
                return parent.to.rmdir(name);
            }
            from => from?,
        };
        let stat = from.stat()?;
        if (stat.dev, stat.ino) == (self.target_stat.dev, self.target_stat.ino) {
            // A tree cannot be copied into itself; as rename(2) has it.
            return Err(Errno::EINVAL);
        }
        let to = parent.to.open_dir(name)?;
        let dir = Dir {
            trail: Arc::clone(trail),
            from,
            // A new directory has its ACLs only once it is complete.
            gives_acl: self.rules.way == Way::Onto && acl::gives(&to)?,
            to,
            stat,
            batches: AtomicUsize::new(0),
        };
        if dir.stat.mount_id != self.source_mount {
            // What is mounted in a tree is not part of it, as for an overlay on it.
            return self.finish_dir(&dir);
        }
        self.list(Arc::new(dir), made)
    }

    /// Puts the entries of a directory on the stack.
    fn list(&self, dir: Arc<Dir>, made: &mut Vec<Task>) -> errno::Result<()> {
        let mut entries = Vec::new();
        dir.from.at().open_dir_file()?.for_each_entry(|entry| {
            entries.push(Entry {
                name: Name::new(entry.name)?,
                kind: entry.kind,
            });
            Ok(())
        })?;
        dir.batches.store(
            entries.len().div_ceil(BATCH_ENTRIES).max(1),
            Ordering::Relaxed,
        );
        if entries.is_empty() {
            return self.end_batch(&dir);
        }
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(BATCH_ENTRIES));
            let batch = std::mem::replace(&mut entries, rest);
            made.push(Task::Batch(Arc::clone(&dir), batch));
        }
        Ok(())
    }

    /// The last batch of a directory completes it. That its subdirectories are still being filled changes nothing in
    /// the directory itself.
    fn end_batch(&self, dir: &Dir) -> errno::Result<()> {
        if dir.batches.fetch_sub(1, Ordering::AcqRel) == 1 {
            return self.finish_dir(dir);
        }
        Ok(())
    }
}
