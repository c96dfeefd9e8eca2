//! Trees at rest as they are seen together: a stack of layers, the top-most first, without a mount.
//!
//! The rules of lookup are those of the overlay (overlay-semantics 2.2, 3, 4, 5), read from the disk each time:
//! nothing changes while the store looks. A tree of driver vfs is a stack of one without marks.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::layer::mark::{MarkRules, Redirects, oci_target};
use crate::layer::stat_override::Form;
use crate::sys::at::{At, OpenMode};
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;
use crate::sys::name::Name;
use crate::sys::stat::Stat;

mod lookup;

/// The roots of some layers, and how to read them.
#[derive(Debug)]
pub struct Stack {
    roots: Vec<(Arc<DirFd>, Option<Form>)>,
    rules: Option<MarkRules>,
}

/// Is a stack made of differences, or is it one complete tree?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// Marks mean what they mean to an overlay mount.
    Yes,
    /// The same, and `.wh.` names are whiteouts, as plyfs writes them where no device can be made.
    WithNames,
    /// Everything is what it is.
    No,
}

/// A directory of the merged tree.
#[derive(Clone, Debug)]
pub struct MergedDir {
    stack: Arc<Stack>,
    /// What contributes: number of the layer, and the directory there.
    parts: Vec<(usize, Arc<DirFd>)>,
}

/// An object of the merged tree. Holds no files but those of the directories it is in.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its attributes, from the top-most layer that has it.
    pub stat: Stat,
    /// A directory that hides what the layers below the top-most one of its have of that name.
    pub opaque: bool,
    /// A directory whose lower parts have another name.
    pub moved: bool,
    stack: Arc<Stack>,
    /// Where it is; only a directory is in several layers.
    parts: Vec<Part>,
    data: Data,
}

/// Number of a layer, a directory there, a name in it.
type Part = (usize, Arc<DirFd>, Name);

/// Where the data of a file is.
#[derive(Clone, Debug)]
enum Data {
    /// In it.
    Own,
    /// It has only the attributes, and what has the data was not found.
    Missing,
    /// In a layer below.
    At(Arc<DirFd>, Name),
}

impl Stack {
    /// The root directory of these trees, the top-most first; `None` without any.
    ///
    /// # Errors
    /// Those of reading attributes.
    pub fn merge(roots: Vec<DirFd>, marked: Marked) -> Result<Option<MergedDir>> {
        let mut stack = Vec::new();
        for root in roots {
            let form = Form::of_root(root.at())?;
            stack.push((Arc::new(root), form));
        }
        let rules = (marked != Marked::No).then_some(MarkRules {
            user_redirects: false,
            oci: marked == Marked::WithNames,
            redirects: Redirects {
                follow: true,
                metacopy: true,
            },
            blocks_tell: false,
        });
        let roots = stack;
        Ok(MergedDir::roots(&Arc::new(Stack { roots, rules }), 0))
    }
}

impl MergedDir {
    /// Attributes of the directory.
    ///
    /// # Errors
    /// Those of statx.
    pub fn stat(&self) -> Result<Stat> {
        let (layer, dir) = self.top()?;
        self.overridden(layer, dir.at(), dir.stat()?)
    }

    /// The number of the top-most layer that has it, and the directory there.
    ///
    /// # Errors
    /// None: there always is one.
    pub fn top(&self) -> Result<(usize, &Arc<DirFd>)> {
        let (layer, dir) = self.parts.first().ok_or(Errno::ENOENT)?;
        Ok((*layer, dir))
    }

    /// The same directory as the layers below number `layer` have it.
    pub fn below(&self, layer: usize) -> Option<MergedDir> {
        let parts = self.parts.iter().filter(|(l, _)| *l > layer);
        MergedDir::new(&self.stack, parts.cloned().collect())
    }

    fn new(stack: &Arc<Stack>, parts: Vec<(usize, Arc<DirFd>)>) -> Option<MergedDir> {
        let stack = Arc::clone(stack);
        (!parts.is_empty()).then_some(MergedDir { stack, parts })
    }

    /// The root directory of the layers from number `first` on.
    fn roots(stack: &Arc<Stack>, first: usize) -> Option<MergedDir> {
        let roots = stack.roots.iter().enumerate().skip(first);
        let parts = roots.map(|(layer, (root, _))| (layer, Arc::clone(root)));
        MergedDir::new(stack, parts.collect())
    }

    fn overridden(&self, layer: usize, at: At<'_>, stat: Stat) -> Result<Stat> {
        match self.stack.roots.get(layer) {
            Some((_, Some(form))) => form.apply(at, stat),
            _ => Ok(stat),
        }
    }

    /// All that is in the directory, sorted by name.
    ///
    /// # Errors
    /// Those of reading the layers.
    pub fn list(&self) -> Result<Vec<(Name, Found)>> {
        let mut names = BTreeSet::new();
        for (_, dir) in &self.parts {
            names.extend(names_in(dir)?);
        }
        let mut listed = Vec::new();
        for name in names {
            if self.is_reserved(&name) {
                continue;
            }
            if let Some(found) = self.lookup(&name)? {
                listed.push((name, found));
            }
        }
        Ok(listed)
    }

    /// Names of what the top-most layer has here, whiteouts too, sorted; and whether those are named `.wh.`.
    ///
    /// # Errors
    /// Those of reading.
    pub fn names_on_top(&self) -> Result<BTreeSet<Name>> {
        let (_, dir) = self.top()?;
        let mut names = BTreeSet::new();
        for name in names_in(dir)? {
            match oci_target(name.as_bytes()) {
                Some(target) if self.is_reserved(&name) => {
                    names.extend(target.map(Name::new).transpose()?);
                }
                _ => {
                    names.insert(name);
                }
            }
        }
        Ok(names)
    }

    fn is_reserved(&self, name: &Name) -> bool {
        self.stack.rules.is_some_and(|rules| rules.oci) && oci_target(name.as_bytes()).is_some()
    }

    /// Do both show the same directories of the same layers, so that there is no difference?
    pub fn is_same(&self, other: &MergedDir) -> bool {
        let identity = |dir: &MergedDir| {
            let stats: Option<Vec<_>> = dir.parts.iter().map(|(_, d)| d.stat().ok()).collect();
            stats.map(|stats| stats.iter().map(|s| (s.dev, s.ino)).collect::<Vec<_>>())
        };
        self.parts.len() == other.parts.len() && identity(self) == identity(other)
    }

    /// What a path means, components joined by `/`; `None` for nothing, and for the root itself.
    ///
    /// # Errors
    /// Those of reading the layers; EINVAL for components that are no names.
    pub fn find(&self, path: &[u8]) -> Result<Option<Found>> {
        let mut dir = Some(self.clone());
        let mut found: Option<Found> = None;
        for part in path.split(|&b| b == b'/') {
            found = match dir {
                Some(dir) => dir.lookup(&Name::new(part)?)?,
                None => return Ok(None),
            };
            dir = match &found {
                Some(found) => found.children()?,
                None => return Ok(None),
            };
        }
        Ok(found)
    }
}

impl Found {
    /// Is it a directory?
    pub fn is_dir(&self) -> bool {
        self.stat.is_dir()
    }

    /// What is in it; `None` when it is no directory.
    ///
    /// # Errors
    /// Those of open.
    pub fn children(&self) -> Result<Option<MergedDir>> {
        if !self.is_dir() {
            return Ok(None);
        }
        let mut parts = Vec::new();
        for (layer, dir, name) in &self.parts {
            parts.push((*layer, Arc::new(dir.open_dir(name)?)));
        }
        Ok(MergedDir::new(&self.stack, parts))
    }

    /// The object as the target of a verb that reads its attributes.
    pub fn at(&self) -> At<'_> {
        let (_, dir, name) = &self.parts[0];
        At::child(dir, name)
    }

    /// Opens the data of a regular file, wherever it is.
    ///
    /// # Errors
    /// Those of open; EIO when a layer below should have it and has not.
    pub fn open(&self) -> Result<FileFd> {
        match &self.data {
            Data::Own => self.at().open_file(OpenMode::READ),
            Data::At(dir, name) => At::child(dir, name).open_file(OpenMode::READ),
            Data::Missing => Err(Errno::EIO),
        }
    }
}

fn names_in(dir: &DirFd) -> Result<Vec<Name>> {
    let mut names = Vec::new();
    dir.at().open_dir_file()?.for_each_entry(|entry| {
        names.push(Name::new(entry.name)?);
        Ok(())
    })?;
    Ok(names)
}
