//! Making an index: one thread walks the tree, others read what nobody has hashed yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{Receiver, Sender, bounded};

use super::hash::{Known, attributes_of, content_of, open_quietly};
use super::{FileIndex, Hash, Record};
use crate::layer::keys::{Key, Namespace};
use crate::store::error::{Error, Kind, Result};
use crate::store::meta::Size;
use crate::store::watch::{Watch, tell};
use crate::sys::at::At;
use crate::sys::dir::DirFd;
use crate::sys::errno::{self, Errno};
use crate::sys::name::Name;
use crate::sys::stat::{FileType, Stat};

/// More threads than this only wait for each other.
const THREADS_MAX: usize = 4;
/// Files that one thread takes at a time.
const BATCH_FILES: usize = 128;
/// Batches that wait: each holds a directory open.
const WAITING_MAX: usize = 64;

/// What is known of an object before its content is read.
struct Draft {
    path: Vec<u8>,
    stat: Stat,
    content: Option<Hash>,
    attributes: Option<Hash>,
}

/// Files of one directory to be read: number of the draft, name, size.
struct Batch {
    dir: DirFd,
    files: Vec<(usize, Name, u64)>,
}

/// What reading a file gave; nothing where this user may not read it.
type Read = (usize, Option<Hash>, Option<Hash>);

/// The index of a tree. Files in `known` are not read.
///
/// # Errors
/// Those of reading; what this user closed to himself is left out.
pub fn build(root: &DirFd, known: &Known, watch: &dyn Watch) -> Result<FileIndex> {
    let failed = AtomicBool::new(false);
    let (batches, waiting) = bounded(WAITING_MAX);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (walked, read) = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..threads.clamp(1, THREADS_MAX))
            .map(|_| {
                let waiting: Receiver<Batch> = waiting.clone();
                let failed = &failed;
                scope.spawn(move || {
                    let done = read_all(&waiting, watch);
                    failed.fetch_or(done.is_err(), Ordering::Relaxed);
                    done
                })
            })
            .collect();
        drop(waiting);
        let mut walk = Walk {
            known,
            batches,
            drafts: Vec::new(),
            moved: false,
        };
        let walked = walk.tree(root);
        let Walk {
            batches,
            drafts,
            moved,
            ..
        } = walk;
        // The readers end when nobody can send any more.
        drop(batches);
        let crashed = |_| Err(Error::new(Kind::Other, "a thread panicked"));
        let read: Vec<_> = readers
            .into_iter()
            .map(|reader| reader.join().unwrap_or_else(crashed))
            .collect();
        (walked.map(|()| (drafts, moved)), read)
    });
    let (mut drafts, moved) = match walked {
        // The reader that failed knows why.
        Err(_) if failed.into_inner() => (Vec::new(), false),
        result => result.map_err(|(path, errno)| unreadable(&path, errno))?,
    };
    for read in read {
        for (number, content, attributes) in read? {
            (drafts[number].content, drafts[number].attributes) = (content, attributes);
        }
    }
    Ok(finish(drafts, moved))
}

fn finish(mut drafts: Vec<Draft>, moved: bool) -> FileIndex {
    drafts.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut names: HashMap<(u64, u64), (u32, u32)> = HashMap::new();
    let is_linked = |stat: &Stat| stat.nlink > 1 && !stat.is_dir();
    for draft in drafts.iter().filter(|draft| is_linked(&draft.stat)) {
        names.entry((draft.stat.dev, draft.stat.ino)).or_default().0 += 1;
    }
    let mut size = Size::default();
    let (mut groups, mut records) = (0, Vec::with_capacity(drafts.len()));
    for draft in &drafts {
        let stat = &draft.stat;
        let (mut group, mut first) = (0, true);
        if let (true, Some((count, number))) =
            (is_linked(stat), names.get_mut(&(stat.dev, stat.ino)))
        {
            // Links from elsewhere do not make a group.
            if *count > 1 {
                first = *number == 0;
                if first {
                    groups += 1;
                    *number = groups;
                }
                group = *number;
            }
        }
        let is_file = stat.kind == FileType::File;
        if is_file && first {
            size.bytes += stat.size;
        }
        size.entries += u64::from(!draft.path.is_empty());
        records.push(Record {
            path: &draft.path,
            kind: stat.kind,
            perm: stat.perm,
            uid: stat.uid,
            gid: stat.gid,
            mtime: stat.mtime,
            size: if stat.is_dir() { 0 } else { stat.size },
            group,
            content: draft.content,
            attributes: draft.attributes,
        });
    }
    FileIndex::new(records.into_iter(), moved, size)
}

struct Walk<'a> {
    known: &'a Known,
    batches: Sender<Batch>,
    drafts: Vec<Draft>,
    moved: bool,
}

type Walked<T> = Result<T, (Vec<u8>, Errno)>;

impl Walk<'_> {
    /// Without recursion; what is open at a time grows with the depth only where directories have siblings.
    fn tree(&mut self, root: &DirFd) -> Walked<()> {
        let at_root = |errno| (Vec::new(), errno);
        let stat = root.stat().map_err(at_root)?;
        let top = root.try_clone().map_err(at_root)?;
        let attributes = attributes_of(root.at()).map_err(at_root)?;
        self.draft(Vec::new(), stat, None, attributes);
        let mut todo = vec![(top, Vec::new(), Vec::new(), false)];
        while let Some((dir, path, mut subdirs, listed)) = todo.pop() {
            if !listed {
                let found = self.entries(&dir, &path);
                subdirs = found.map_err(|errno| (path.clone(), errno))?;
            }
            let Some(next) = subdirs.pop() else {
                continue;
            };
            let inner = dir.open_dir(&next);
            let inner_path = join(&path, next.as_bytes());
            if !subdirs.is_empty() {
                todo.push((dir, path, subdirs, true));
            }
            let inner = inner.map_err(|errno| (inner_path.clone(), errno))?;
            // What is mounted in a tree is not part of it.
            if inner
                .stat()
                .map_err(|errno| (inner_path.clone(), errno))?
                .mount_id
                == stat.mount_id
            {
                todo.push((inner, inner_path, Vec::new(), false));
            }
        }
        Ok(())
    }

    fn entries(&mut self, dir: &DirFd, path: &[u8]) -> errno::Result<Vec<Name>> {
        let listing = match dir.at().open_dir_file() {
            Err(Errno::EACCES) => return Ok(Vec::new()),
            result => result?,
        };
        let mut names = Vec::new();
        listing.for_each_entry(|entry| {
            names.push(Name::new(entry.name)?);
            Ok(())
        })?;
        let (mut subdirs, mut files) = (Vec::new(), Vec::new());
        for name in names {
            let at = At::child(dir, &name);
            let stat = match at.stat() {
                Err(Errno::EACCES) => continue,
                result => result?,
            };
            let (mut content, mut attributes) = (None, None);
            if stat.kind == FileType::File {
                content = self.known.get(stat.ino, stat.size);
                if content.is_none() {
                    files.push((self.drafts.len(), name.clone(), stat.size));
                }
            }
            if stat.kind != FileType::File || content.is_some() {
                attributes = attributes_of(at)?;
            }
            match stat.kind {
                FileType::Symlink => content = Some(*blake3::hash(&at.read_link()?).as_bytes()),
                FileType::Char | FileType::Block => {
                    let number = format!("{}:{}", stat.rdev.major, stat.rdev.minor);
                    content = Some(*blake3::hash(number.as_bytes()).as_bytes());
                }
                FileType::Dir => self.moved |= attributes.is_some() && is_moved(at)?,
                _ => {}
            }
            self.draft(join(path, name.as_bytes()), stat, content, attributes);
            if stat.is_dir() {
                subdirs.push(name);
            }
        }
        while !files.is_empty() {
            let rest = files.split_off(files.len().min(BATCH_FILES));
            let batch = Batch {
                dir: dir.try_clone()?,
                files: std::mem::replace(&mut files, rest),
            };
            // Only when all readers failed is there nobody to take it.
            self.batches.send(batch).map_err(|_| Errno::EIO)?;
        }
        Ok(subdirs)
    }

    fn draft(
        &mut self,
        path: Vec<u8>,
        stat: Stat,
        content: Option<Hash>,
        attributes: Option<Hash>,
    ) {
        self.drafts.push(Draft {
            path,
            stat,
            content,
            attributes,
        });
    }
}

fn is_moved(at: At<'_>) -> errno::Result<bool> {
    for namespace in [Namespace::Trusted, Namespace::User] {
        if at.get_xattr(namespace.name(Key::Redirect))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read_all(waiting: &Receiver<Batch>, watch: &dyn Watch) -> Result<Vec<Read>> {
    let (mut done, mut buffer) = (Vec::new(), Vec::new());
    for batch in waiting {
        for (number, name, size) in batch.files {
            tell(watch, size, 1)?;
            let read = match open_quietly(At::child(&batch.dir, &name)) {
                Err(Errno::EACCES) => Ok((None, None)),
                Err(errno) => Err(errno),
                Ok(file) => read_one(&file, size, &mut buffer),
            };
            let (content, attributes) = read.map_err(|errno| unreadable(name.as_bytes(), errno))?;
            done.push((number, content, attributes));
        }
    }
    Ok(done)
}

fn read_one(
    file: &crate::sys::file::FileFd,
    size: u64,
    buffer: &mut Vec<u8>,
) -> errno::Result<(Option<Hash>, Option<Hash>)> {
    let attributes = match file.has_xattrs()? {
        true => attributes_of(file.at())?,
        false => None,
    };
    Ok((Some(content_of(file, size, buffer)?), attributes))
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match dir {
        b"" => name.to_vec(),
        _ => [dir, b"/", name].concat(),
    }
}

fn unreadable(path: &[u8], errno: Errno) -> Error {
    let path = path.escape_ascii();
    Error::new(
        Kind::Other,
        format!("cannot read {path} of the tree: {errno}"),
    )
}
