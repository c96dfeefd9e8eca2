//! How much a tree takes: what is in it, and what it costs on disk.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;

use super::driver::open;
use super::error::{Error, OrAt, Result};
use super::meta::Size;
use super::watch::{Nobody, Watch, interrupted};
use crate::sys::at::At;
use crate::sys::dir::DirFd;
use crate::sys::errno::{self, Errno};
use crate::sys::name::Name;
use crate::sys::stat::FileType;

/// What a tree takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Bytes of its files, each file counted once.
    pub bytes: u64,
    /// Objects, the root not counted.
    pub entries: u64,
    /// Inodes, that of the root included.
    pub inodes: u64,
    /// Bytes on disk, everything that has blocks counted once. Blocks that files share count for each.
    pub disk: u64,
}

impl Usage {
    /// Of the tree at `root`.
    ///
    /// # Errors
    /// Those of reading; what disappears meanwhile does not count.
    pub fn of(root: &Path) -> Result<Usage, Error> {
        Usage::watched(root, &Nobody)
    }

    /// As [`Usage::of`], looked on.
    ///
    /// # Errors
    /// As [`Usage::of`], and interrupted.
    pub fn watched(root: &Path, watch: &dyn Watch) -> Result<Usage, Error> {
        let top = open(root)?;
        let mut usage = Usage::default();
        let mut seen = HashSet::new();
        usage.inodes = 1;
        usage.disk = top.stat().or_at("cannot read", root)?.blocks * 512;
        match usage.add_tree(top, &mut seen, watch) {
            Err(_) if watch.is_stopped() => return Err(interrupted()),
            result => result.or_at("cannot read", root)?,
        }
        Ok(usage)
    }

    /// Both together.
    pub fn plus(self, other: Usage) -> Usage {
        Usage {
            bytes: self.bytes + other.bytes,
            entries: self.entries + other.entries,
            inodes: self.inodes + other.inodes,
            disk: self.disk + other.disk,
        }
    }

    /// What layer.json has of it.
    pub fn size(self) -> Size {
        Size {
            bytes: self.bytes,
            entries: self.entries,
        }
    }

    /// Without recursion; what is open at a time grows with the depth only where directories have siblings.
    fn add_tree(
        &mut self,
        top: DirFd,
        seen: &mut HashSet<(u64, u64)>,
        watch: &dyn Watch,
    ) -> errno::Result<()> {
        let mut todo = vec![(top, Vec::new(), false)];
        while let Some((dir, mut subdirs, listed)) = todo.pop() {
            if !listed {
                if watch.is_stopped() {
                    return Err(Errno::EINTR);
                }
                let (bytes, entries) = (self.bytes, self.entries);
                subdirs = self.add_entries(&dir, seen)?;
                watch.done(self.bytes - bytes, self.entries - entries);
            }
            let Some(next) = subdirs.pop() else {
                continue;
            };
            let inner = dir.open_dir(&next);
            if !subdirs.is_empty() {
                todo.push((dir, subdirs, true));
            }
            match inner {
                Ok(inner) => todo.push((inner, Vec::new(), false)),
                Err(Errno::ENOENT | Errno::EACCES) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn add_entries(
        &mut self,
        dir: &DirFd,
        seen: &mut HashSet<(u64, u64)>,
    ) -> errno::Result<Vec<Name>> {
        let mut names = Vec::new();
        let listing = match dir.at().open_dir_file() {
            // What a user closed to himself he does not want counted.
            Err(Errno::EACCES) => return Ok(Vec::new()),
            result => result?,
        };
        listing.for_each_entry(|entry| {
            names.push(Name::new(entry.name)?);
            Ok(())
        })?;
        let mut subdirs = Vec::new();
        for name in names {
            let stat = match At::child(dir, &name).stat() {
                Err(Errno::ENOENT) => continue,
                result => result?,
            };
            self.entries += 1;
            if stat.kind == FileType::Dir {
                subdirs.push(name);
            } else if stat.nlink > 1 && !seen.insert((stat.dev, stat.ino)) {
                continue;
            } else if stat.kind == FileType::File {
                self.bytes += stat.size;
            }
            self.inodes += 1;
            self.disk += stat.blocks * 512;
        }
        Ok(subdirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_count_once() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        std::fs::create_dir_all(dir.join("a/b/c")).unwrap();
        std::fs::create_dir_all(dir.join("a/d/e")).unwrap();
        std::fs::write(dir.join("a/b/c/file"), vec![1; 5000]).unwrap();
        std::fs::hard_link(dir.join("a/b/c/file"), dir.join("a/d/link")).unwrap();
        let usage = Usage::of(dir).unwrap();
        assert_eq!((usage.bytes, usage.entries, usage.inodes), (5000, 7, 7));
        assert!(usage.disk >= 5000);
        assert_eq!(usage.plus(usage).entries, 14);
    }
}
