//! What a name means in a stack of layers: each is asked, from the top, until one ends the search
//! (overlay-semantics 2.2).

use std::sync::Arc;

use super::{Data, Found, MergedDir, Part};
use crate::layer::mark::{FileMarks, MarkRules, is_whiteout_device};
use crate::layer::redirect::Redirect;
use crate::sys::at::At;
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;
use crate::sys::stat::{FileType, Stat};

/// A search on its way down.
struct Search {
    parts: Vec<(usize, Arc<DirFd>)>,
    name: Name,
    found: Option<Found>,
}

impl MergedDir {
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
}
