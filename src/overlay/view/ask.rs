//! Asking the layers of a directory for a name, from the top, as far as needed.
//!
//! The layers below are asked in the parent's own stack under the same name, until a redirect says
//! otherwise: under another name, or along a path from the roots (overlay-semantics 5.3). Data-only layers
//! are not asked here: a metacopy whose data no other layer has is noted to have it there (6.3).

use std::sync::Arc;

use super::merge::{DataAt, Merge, Next, Probe, Resolved};
use super::seen::{Seen, UPPER};
use super::trail::{Below, From, Trail};
use crate::layer::mark::{self, DirMarks};
use crate::layer::redirect::Redirect;
use crate::overlay::Overlay;
use crate::overlay::node::names::Sought;
use crate::overlay::node::{LowerDir, Node};
use crate::sys::at::At;
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;
use crate::sys::stat::FileType;

/// What one layer answered.
struct Answer {
    probe: Probe,
    /// Where to ask the layers below.
    redirect: Option<Redirect>,
    /// Was the last object whose marks were read one with an absolute redirect? Only that leads to data-only
    /// layers (6.3).
    absolute: Option<bool>,
    /// The layers below are not to be asked, whatever the probe is.
    stop: bool,
    /// There is a `.wh.` file beside the name.
    marker: bool,
    /// It is a file whose attributes were read, and none protects it.
    unprotected: bool,
}

impl Answer {
    fn absent() -> Answer {
        Answer {
            probe: Probe::Absent,
            redirect: None,
            absolute: None,
            stop: false,
            marker: false,
            unprotected: false,
        }
    }
}

/// What the objects met so far need of the layers below.
#[derive(Default)]
struct Needs {
    /// The data of a metacopy.
    metacopy: bool,
    /// To be asked under another name.
    redirect: bool,
    /// One of the metacopies was in a lower layer.
    lower_metacopy: bool,
    /// The top-most lower file; has it other names?
    lower_shared: Option<bool>,
    /// See [`Answer::absolute`].
    absolute: bool,
}

impl Needs {
    /// Takes what the next layer says; `found` is what the layers above it make.
    fn note(&mut self, answer: &Answer, from: From, found: &Merge) {
        let lower = from != From::Upper;
        match answer.probe {
            // What does not show, as it is below something of another kind, asks for nothing.
            Probe::NonDir { .. } if found.is_dir() => return,
            Probe::Dir { .. } if found.is_file() => return,
            Probe::NonDir { stat, metacopy } => {
                self.metacopy |= metacopy;
                self.lower_metacopy |= metacopy && lower;
                if lower {
                    self.lower_shared.get_or_insert(stat.nlink > 1);
                }
            }
            _ => {}
        }
        self.redirect |= answer.redirect.is_some();
        self.absolute = answer.absolute.unwrap_or(self.absolute);
    }
}

impl Overlay {
    /// Asks the layers of a directory for a name. The caller holds the directory's lock.
    pub(in crate::overlay) fn see(&self, parent: &Arc<Node>, name: &Name) -> Result<Seen> {
        let mut seen = Seen::default();
        let hidden = self.rules.oci && name.as_bytes().starts_with(mark::OCI_PREFIX);
        if hidden || parent.is_orphan() {
            return Ok(seen);
        }
        let (mut merge, mut needs) = (Merge::default(), Needs::default());
        let mut trail = Trail::Beside(name.clone());
        let mut below = Below::from(parent.lowers(), 0);
        let mut next = Next::Ask;
        if let Some(answer) = self.ask_upper(parent, name)? {
            seen.upper_whiteout = matches!(answer.probe, Probe::Whiteout);
            seen.upper_marker = answer.marker;
            seen.upper_unprotected = answer.unprotected;
            needs.note(&answer, From::Upper, &merge);
            next = step(&mut merge, UPPER, &answer);
            if let Some(redirect) = answer.redirect {
                if matches!(redirect, Redirect::FromRoot(_)) {
                    below = Below::from(self.root.lowers(), 0);
                }
                seen.upper_redirect = Some(redirect.clone());
                trail.follow(redirect);
            }
        }
        while next == Next::Ask
            && let Some(lower) = below.next(trail.name().map(|name| self.sought(name)))
        {
            self.check_needs(&needs)?;
            let from = if self.is_bottom(lower) {
                From::Bottom(lower.layer)
            } else {
                From::Lower(lower.layer)
            };
            let answer = match &mut trail {
                Trail::Beside(name) => {
                    let answer = self.ask_lower(lower, name, from)?;
                    if !matches!(answer.probe, Probe::Absent) {
                        seen.lower.push((lower.clone(), name.clone()));
                    }
                    answer
                }
                Trail::FromRoot(path) => self.walk(lower, path, from, &mut seen.lower)?,
            };
            needs.note(&answer, from, &merge);
            next = step(&mut merge, seen.lower.len(), &answer);
            if let Some(redirect) = answer.redirect {
                if matches!(redirect, Redirect::FromRoot(_)) {
                    // The search goes on in all layers below this one, whatever the parent's stack is.
                    below = Below::from(self.root.lowers(), lower.layer + 1);
                }
                trail.follow(redirect);
            }
        }
        seen.resolved = merge.finish();
        seen.lower_shared = needs.lower_shared == Some(true);
        match trail {
            // This needs no leave (6.3).
            Trail::FromRoot(path) if self.is_data_only(&seen.resolved, &needs) => {
                seen.data_only = Some(path.into());
            }
            _ => self.check_needs(&needs)?,
        }
        Ok(seen)
    }

    /// May the layers below be asked for what the ones above need?
    fn check_needs(&self, needs: &Needs) -> Result<()> {
        let redirects = self.rules.redirects;
        if needs.metacopy && !redirects.metacopy || needs.redirect && !redirects.follow {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// Is this a metacopy that has its data in a data-only layer? One in the upper layer does not lead there
    /// by itself, as in the kernel.
    fn is_data_only(&self, resolved: &Resolved, needs: &Needs) -> bool {
        let missing = matches!(
            resolved,
            Resolved::NonDir {
                data: DataAt::Missing,
                ..
            }
        );
        missing && needs.absolute && needs.lower_metacopy && !self.data_only.is_empty()
    }

    /// Nothing is merged below the last layer, so its marks need not be read.
    fn is_bottom(&self, lower: &LowerDir) -> bool {
        lower.layer + 1 == self.root.lower_dirs().len()
    }

    /// Walks a path from the root of one layer, by the rules of that layer for each component. Redirects
    /// on the way change the path for the layers below.
    fn walk(
        &self,
        root: &Arc<LowerDir>,
        path: &mut Vec<Name>,
        from: From,
        found: &mut Vec<(Arc<LowerDir>, Name)>,
    ) -> Result<Answer> {
        let (mut dir, mut stop, mut absolute) = (root.clone(), false, None);
        let here = path.clone();
        let Some((last, above)) = here.split_last() else {
            return Err(Errno::EIO);
        };
        for (depth, name) in above.iter().enumerate() {
            let answer = self.ask_lower(&dir, name, from)?;
            stop |= answer.stop;
            absolute = answer.absolute.or(absolute);
            match answer.probe {
                Probe::Absent => {
                    return Ok(Answer {
                        stop,
                        absolute,
                        ..Answer::absent()
                    });
                }
                Probe::Whiteout | Probe::NonDir { .. } => {
                    return Ok(Answer {
                        stop: true,
                        absolute,
                        ..Answer::absent()
                    });
                }
                Probe::Dir { stat, marks } => {
                    stop |= marks.opaque;
                    let marked = marks.xattr_whiteouts;
                    dir = Arc::new(LowerDir::child(&dir, name, stat.dev, stat.ino, marked));
                }
            }
            if let Some(redirect) = answer.redirect {
                // What is left of the path behind this component stays.
                let rest = path.split_off(path.len() - (here.len() - depth - 1));
                match redirect {
                    Redirect::FromRoot(new) => *path = new,
                    Redirect::Beside(name) => {
                        path.pop();
                        path.push(name);
                    }
                }
                path.extend(rest);
            }
        }
        let answer = self.ask_lower(&dir, last, from)?;
        if !matches!(answer.probe, Probe::Absent) {
            found.push((dir, last.clone()));
        }
        Ok(Answer {
            stop: stop | answer.stop,
            absolute: answer.absolute.or(absolute),
            ..answer
        })
    }

    /// What to look for in the names of lower directories.
    fn sought(&self, name: &Name) -> Sought {
        let sought = Sought::new(name);
        match self.rules.oci {
            true => sought.or_marker(name),
            false => sought,
        }
    }

    /// Asks one directory of a lower layer, if it is not known that it lacks the name.
    fn ask_lower(&self, lower: &Arc<LowerDir>, name: &Name, from: From) -> Result<Answer> {
        let (names, sought) = (&lower.names, self.sought(name));
        self.read_first(lower)?;
        if names.lack(&sought) {
            return Ok(Answer::absent());
        }
        let marked = names.may_mark(&sought);
        let dir = self.lower_dir(lower)?;
        let answer = self.ask(&dir, name, from, marked)?;
        if matches!(answer.probe, Probe::Absent) {
            names.missed(&dir);
        }
        Ok(answer)
    }

    /// Asks the upper part of a directory, if there is one and it is not known that it lacks the name.
    fn ask_upper(&self, parent: &Arc<Node>, name: &Name) -> Result<Option<Answer>> {
        if parent.upper().is_none() {
            return Ok(None);
        }
        let names = parent.upper_names();
        let marked = self.may_be_marked(name, |marker| names.lack(marker));
        if !marked && names.lack(&[name.as_bytes()]) {
            return Ok(Some(Answer::absent()));
        }
        let Some(dir) = self.upper_dir(parent)? else {
            return Ok(None);
        };
        let answer = self.ask(&dir, name, From::Upper, marked)?;
        if matches!(answer.probe, Probe::Absent) && self.keeps_upper_names() {
            names.missed(&dir);
        }
        Ok(Some(answer))
    }

    /// Asks one directory of one layer. `marked`: it may have a `.wh.` file for the name.
    fn ask(&self, dir: &DirFd, name: &Name, from: From, marked: bool) -> Result<Answer> {
        let at = At::child(dir, name);
        let mut answer = Answer::absent();
        // `.wh.NAME` removes NAME from the layers below its own (3.2).
        answer.marker = marked && self.rules.has_oci_whiteout(dir, name)?;
        answer.stop = answer.marker;
        let stat = match at.stat() {
            Ok(stat) => stat,
            // A layer that cannot have so long a name does not have it (2.1).
            Err(Errno::ENOENT | Errno::ENAMETOOLONG) => return Ok(answer),
            Err(errno) => return Err(errno),
        };
        answer.probe = match stat.kind {
            FileType::Dir if self.stack.is_layer_root(stat.dev, stat.ino) => {
                return Err(Errno::ELOOP);
            }
            // Nothing below the last layer could be hidden or renamed (2.4).
            FileType::Dir if from.is_bottom() => {
                answer.absolute = Some(false);
                Probe::Dir {
                    stat,
                    marks: DirMarks::default(),
                }
            }
            FileType::Dir => {
                let mut marks = self.dir_marks(from.layer(), at, &stat)?;
                if marks.redirect && !marks.opaque {
                    answer.redirect = Some(self.rules.redirect(at)?);
                }
                answer.absolute = Some(is_absolute(&answer.redirect));
                marks.opaque |=
                    self.rules.oci && self.rules.has_oci_opaque(&dir.open_dir(name)?)?;
                Probe::Dir { stat, marks }
            }
            FileType::File => {
                let marks = self.file_marks(from.layer(), at, &stat)?;
                answer.unprotected = marks.unprotected;
                if marks.metacopy {
                    self.rules.check_metacopy(at)?;
                    if marks.redirect && (!self.data_only.is_empty() || !from.is_bottom()) {
                        answer.redirect = Some(self.rules.redirect(at)?);
                    }
                    answer.absolute = Some(is_absolute(&answer.redirect));
                }
                match marks.whiteout {
                    true => Probe::Whiteout,
                    false => Probe::NonDir {
                        stat,
                        metacopy: marks.metacopy,
                    },
                }
            }
            _ if mark::is_whiteout_device(&stat) => Probe::Whiteout,
            _ => Probe::NonDir {
                stat,
                metacopy: false,
            },
        };
        // It hides what has this name below, not what a redirect or the data of a metacopy leads to.
        let leads_below = matches!(answer.probe, Probe::NonDir { metacopy: true, .. });
        answer.stop &= !leads_below && answer.redirect.is_none();
        self.mean(from.layer(), at, &mut answer.probe)?;
        Ok(answer)
    }

    /// Is the name in the directory's lower stack, whatever the upper says (0.3)? An error counts as yes.
    pub(in crate::overlay) fn is_lower_positive(&self, parent: &Arc<Node>, name: &Name) -> bool {
        let mut below = Below::from(parent.lowers(), 0);
        let sought = self.sought(name);
        while let Some(lower) = below.next(Some(sought)) {
            let Ok(answer) = self.ask_lower(lower, name, From::Bottom(lower.layer)) else {
                return true;
            };
            match answer.probe {
                Probe::Absent if answer.stop => return false,
                Probe::Absent => {}
                Probe::Whiteout => return false,
                Probe::NonDir { .. } | Probe::Dir { .. } => return true,
            }
        }
        false
    }
}

fn is_absolute(redirect: &Option<Redirect>) -> bool {
    matches!(redirect, Some(Redirect::FromRoot(_)))
}

fn step(merge: &mut Merge, place: usize, answer: &Answer) -> Next {
    let next = merge.step(place, answer.probe);
    if answer.stop { Next::Stop } else { next }
}
