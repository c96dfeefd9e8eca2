//! Trees at rest as they are seen together: a stack of layers, the top-most first, without a mount.
//!
//! The rules of lookup are those of the overlay (overlay-semantics 2.2, 3, 4, 5), read from the disk each time:
//! nothing changes while the store looks. A tree of driver vfs is a stack of one without marks.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::layer::mark::{FileMarks, MarkRules, Redirects, is_whiteout_device, oci_target};
use crate::layer::redirect::Redirect;
use crate::layer::stat_override::Form;
use crate::sys::at::{At, OpenMode};
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};
use crate::sys::file::FileFd;
use crate::sys::name::Name;
use crate::sys::stat::{FileType, Stat};

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

    /// What the name means here.
    ///
    /// # Errors
    /// Those of reading the layers.
    pub fn lookup(&self, name: &Name) -> Result<Option<Found>> {
        let mut search = Search {
            parts: self.parts.clone(),
            name: name.clone(),
            found: None,
        };
        while !search.parts.is_empty() {
            let (layer, dir) = search.parts.remove(0);
            if !self.probe(&mut search, layer, &dir)? {
                break;
            }
        }
        Ok(search.found)
    }

    /// What one layer adds; false when those below it add nothing.
    fn probe(&self, search: &mut Search, layer: usize, dir: &Arc<DirFd>) -> Result<bool> {
        let name = search.name.clone();
        let at = At::child(dir, &name);
        let part = (layer, Arc::clone(dir), name.clone());
        let stat = match at.stat() {
            Err(Errno::ENOENT | Errno::ENAMETOOLONG) => {
                let removed = match self.stack.rules {
                    Some(rules) => rules.has_oci_whiteout(dir, &name)?,
                    None => false,
                };
                return Ok(!removed);
            }
            result => result?,
        };
        let Some(rules) = self.stack.rules else {
            search.found = Some(self.found(part, stat)?);
            return Ok(false);
        };
        if !stat.is_dir() {
            return self.probe_file(search, &rules, part, &stat);
        }
        let marks = rules.of_dir(at)?;
        let mut opaque = marks.opaque;
        if rules.oci {
            let inner = dir.open_dir(&name)?;
            opaque |= rules.has_oci_opaque(&inner)? || rules.has_oci_whiteout(dir, &name)?;
        }
        match &mut search.found {
            Some(above) if above.is_dir() => above.parts.push(part),
            // A file hides it.
            Some(_) => return Ok(false),
            none => {
                let found = self.found(part, stat)?;
                let moved = marks.redirect && !opaque;
                *none = Some(Found {
                    opaque,
                    moved,
                    ..found
                });
            }
        }
        if marks.redirect && !opaque {
            self.follow(search, &rules, layer, at)?;
        }
        Ok(!opaque)
    }

    fn probe_file(
        &self,
        search: &mut Search,
        rules: &MarkRules,
        part: Part,
        stat: &Stat,
    ) -> Result<bool> {
        if is_whiteout_device(stat) || search.found.as_ref().is_some_and(Found::is_dir) {
            return Ok(false);
        }
        let (layer, dir, name) = &part;
        let (layer, dir, name) = (*layer, Arc::clone(dir), name.clone());
        let marks = match stat.kind {
            FileType::File => rules.of_file(At::child(&dir, &name), stat)?,
            _ => FileMarks::default(),
        };
        if marks.whiteout {
            return Ok(false);
        }
        match &mut search.found {
            // It has the data of the one above, which has only the attributes.
            Some(above) if stat.kind == FileType::File && !marks.metacopy => {
                above.data = Data::At(Arc::clone(&dir), name.clone());
            }
            Some(_) => {}
            none => {
                let found = self.found(part, *stat)?;
                let data = if marks.metacopy {
                    Data::Missing
                } else {
                    Data::Own
                };
                *none = Some(Found { data, ..found });
            }
        }
        if marks.metacopy && marks.redirect {
            self.follow(search, rules, layer, At::child(&dir, &name))?;
        }
        Ok(marks.metacopy)
    }

    fn found(&self, part: Part, stat: Stat) -> Result<Found> {
        let (layer, dir, name) = &part;
        Ok(Found {
            stat: self.overridden(*layer, At::child(dir, name), stat)?,
            opaque: false,
            moved: false,
            stack: Arc::clone(&self.stack),
            parts: vec![part],
            data: Data::Own,
        })
    }

    /// Goes on where the layers below know the object by its redirect.
    fn follow(
        &self,
        search: &mut Search,
        rules: &MarkRules,
        layer: usize,
        at: At<'_>,
    ) -> Result<()> {
        match rules.redirect(at)? {
            Redirect::Beside(name) => search.name = name,
            Redirect::FromRoot(path) => {
                let mut dir = MergedDir::roots(&self.stack, layer + 1);
                let (last, parents) = path.split_last().ok_or(Errno::EINVAL)?;
                for name in parents {
                    let found = match &dir {
                        Some(dir) => dir.lookup(name)?,
                        None => None,
                    };
                    dir = found.map(|found| found.children()).transpose()?.flatten();
                }
                search.parts = dir.map(|dir| dir.parts).unwrap_or_default();
                search.name = last.clone();
            }
        }
        Ok(())
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

struct Search {
    parts: Vec<(usize, Arc<DirFd>)>,
    name: Name,
    found: Option<Found>,
}

fn names_in(dir: &DirFd) -> Result<Vec<Name>> {
    let mut names = Vec::new();
    dir.at().open_dir_file()?.for_each_entry(|entry| {
        names.push(Name::new(entry.name)?);
        Ok(())
    })?;
    Ok(names)
}
