//! From a name in a directory to a node: ask the layers, merge what they say, find or make the node.

use std::ffi::OsStr;
use std::sync::Arc;

use super::attr::Attr;
use super::merge::{Merge, Next, Part, Probe, Resolved};
use crate::layer::keys::Key as Mark;
use crate::layer::{mark, origin};
use crate::overlay::Overlay;
use crate::overlay::node::{Key, Lower, LowerDir, NewNode, Node, NodeId, Place, Upper};
use crate::sys::at::At;
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;
use crate::sys::stat::{FileType, Stat};

/// Answer to a lookup, and to everything that makes a name.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The node.
    pub id: NodeId,
    /// Its attributes.
    pub attr: Attr,
}

/// Which layer a probe asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Upper,
    /// A lower with more below it.
    Lower,
    /// The last one: what it hides does not matter.
    Bottom,
}

/// What the layers of a directory say of a name.
pub(in crate::overlay) struct Seen {
    resolved: Resolved,
    /// The first layer asked is the upper.
    has_upper: bool,
    /// The upper layer itself has a whiteout of the name.
    pub upper_whiteout: bool,
}

impl Seen {
    /// The part in the upper layer.
    pub fn upper(&self) -> Option<&Part> {
        self.top().filter(|part| self.has_upper && part.layer == 0)
    }

    /// The top-most part.
    pub fn top(&self) -> Option<&Part> {
        match &self.resolved {
            Resolved::Nothing => None,
            Resolved::NonDir { part, .. } => Some(part),
            Resolved::Dir(parts) => parts.first(),
        }
    }
}

impl Overlay {
    /// Looks a name up and counts it as known to the caller, who gives it back by [`Overlay::forget`].
    ///
    /// # Errors
    /// ENOENT; ENOTDIR; ENAMETOOLONG; EPERM for a redirect or a metacopy, ELOOP for a layer inside
    /// another, and whatever the layers answer.
    pub fn lookup(&self, parent: NodeId, name: &OsStr) -> Result<Entry> {
        let parent = self.dir_node(parent)?;
        let name = Name::from_os(name)?;
        let _dir = parent.dir.read();
        let (node, stat) = self.find(&parent, &name)?.ok_or(Errno::ENOENT)?;
        Ok(self.enter(&node, &stat))
    }

    /// Takes back lookups that were counted for a node. True when none is left.
    pub fn forget(&self, id: NodeId, lookups: u64) -> bool {
        let gone = self.table.forget(id, lookups);
        let none_left = gone.is_some();
        if let Some(node) = gone {
            self.reaper.end(node);
        }
        none_left
    }

    /// Counts a lookup and makes the answer.
    pub(in crate::overlay) fn enter(&self, node: &Arc<Node>, stat: &Stat) -> Entry {
        self.table.enter(node);
        Entry {
            id: node.id,
            attr: self.attr(node, stat),
        }
    }

    /// A node that must be a directory.
    pub(in crate::overlay) fn dir_node(&self, id: NodeId) -> Result<Arc<Node>> {
        let node = self.table.get(id)?;
        if node.is_dir() {
            Ok(node)
        } else {
            Err(Errno::ENOTDIR)
        }
    }

    /// The node of a name, with fresh attributes. The caller holds the directory's lock.
    pub(in crate::overlay) fn find(
        &self,
        parent: &Arc<Node>,
        name: &Name,
    ) -> Result<Option<(Arc<Node>, Stat)>> {
        let seen = self.see(parent, name)?;
        self.node_of(parent, name, &seen)
    }

    /// Asks the layers of a directory for a name. The caller holds the directory's lock.
    pub(in crate::overlay) fn see(&self, parent: &Arc<Node>, name: &Name) -> Result<Seen> {
        let mut merge = Merge::default();
        let upper = if parent.is_orphan() {
            None
        } else {
            self.upper_dir(parent)?
        };
        let mut seen = Seen {
            resolved: Resolved::Nothing,
            has_upper: upper.is_some(),
            upper_whiteout: false,
        };
        if parent.is_orphan() || (self.rules.oci && name.as_bytes().starts_with(mark::OCI_PREFIX)) {
            return Ok(seen);
        }
        let mut next = Next::Ask;
        if let Some(dir) = &upper {
            let probe = self.probe(dir, name, From::Upper)?;
            seen.upper_whiteout = matches!(probe, Probe::Whiteout);
            next = merge.step(probe);
            next = self.after_oci_whiteout(dir, name, next)?;
        }
        let lowers = parent.lower_dirs();
        for (at, lower) in lowers.iter().enumerate() {
            if next == Next::Stop {
                break;
            }
            let dir = self.lower_dir(lower)?;
            let from = if at + 1 == lowers.len() {
                From::Bottom
            } else {
                From::Lower
            };
            next = merge.step(self.probe(&dir, name, from)?);
            next = self.after_oci_whiteout(&dir, name, next)?;
        }
        seen.resolved = merge.finish();
        Ok(seen)
    }

    /// `.wh.NAME` removes NAME from the layers below its own (3.2).
    fn after_oci_whiteout(&self, dir: &DirFd, name: &Name, next: Next) -> Result<Next> {
        let stop = next == Next::Stop || self.rules.has_oci_whiteout(dir, name)?;
        Ok(if stop { Next::Stop } else { Next::Ask })
    }

    /// Asks one layer.
    fn probe(&self, dir: &DirFd, name: &Name, from: From) -> Result<Probe> {
        let at = At::child(dir, name);
        let stat = match at.stat() {
            Ok(stat) => stat,
            // A layer that cannot have so long a name does not have it (2.1).
            Err(Errno::ENOENT | Errno::ENAMETOOLONG) => return Ok(Probe::Absent),
            Err(errno) => return Err(errno),
        };
        match stat.kind {
            FileType::Dir if self.stack.is_layer_root(stat.dev, stat.ino) => Err(Errno::ELOOP),
            FileType::Dir => self.probe_dir(dir, name, stat, from),
            FileType::File => {
                let marks = self.rules.of_file(at, &stat)?;
                if marks.whiteout {
                    return Ok(Probe::Whiteout);
                }
                Ok(Probe::NonDir {
                    stat,
                    metacopy: marks.metacopy,
                })
            }
            _ if mark::is_whiteout_device(&stat) => Ok(Probe::Whiteout),
            _ => Ok(Probe::NonDir {
                stat,
                metacopy: false,
            }),
        }
    }

    fn probe_dir(&self, dir: &DirFd, name: &Name, stat: Stat, from: From) -> Result<Probe> {
        if from == From::Bottom {
            // Nothing below it could be hidden or renamed (2.4).
            return Ok(Probe::Dir {
                stat,
                marks: mark::DirMarks::default(),
            });
        }
        let mut marks = self.rules.of_dir(At::child(dir, name))?;
        if marks.redirect {
            return Err(Errno::EPERM);
        }
        marks.opaque |= self.rules.oci && self.rules.has_oci_opaque(&dir.open_dir(name)?)?;
        Ok(Probe::Dir { stat, marks })
    }

    /// Is the name in the directory's lower stack, whatever the upper says (0.3)? An error counts as yes.
    pub(in crate::overlay) fn is_lower_positive(&self, parent: &Arc<Node>, name: &Name) -> bool {
        for lower in parent.lower_dirs() {
            let probe = self.lower_dir(lower).and_then(|dir| {
                let probe = self.probe(&dir, name, From::Bottom)?;
                Ok((probe, self.rules.has_oci_whiteout(&dir, name)?))
            });
            match probe {
                Ok((Probe::Absent, false)) => {}
                Ok((Probe::Absent, true) | (Probe::Whiteout, _)) => return false,
                Ok(_) | Err(_) => return true,
            }
        }
        false
    }

    /// The node for what the layers said, with the attributes of its top-most part.
    pub(in crate::overlay) fn node_of(
        &self,
        parent: &Arc<Node>,
        name: &Name,
        seen: &Seen,
    ) -> Result<Option<(Arc<Node>, Stat)>> {
        let place = || Place::Named(vec![(parent.clone(), name.clone())]);
        match &seen.resolved {
            Resolved::Nothing => Ok(None),
            // Its data is in a layer below, which is not followed: EPERM, never an empty file (2.8).
            Resolved::NonDir { metacopy: true, .. } => Err(Errno::EPERM),
            Resolved::NonDir { part, .. } if seen.upper().is_some() => {
                let ino = self.upper_ino(parent, name, &part.stat)?;
                let node = self.table.find_or_make(real_key(&part.stat), || NewNode {
                    kind: part.stat.kind,
                    ino,
                    lower: Lower::None,
                    upper: Some(upper_of(&part.stat)),
                    impure: false,
                    place: place(),
                });
                // One more name of a hard link.
                node.add_name(parent, name);
                Ok(Some((node, part.stat)))
            }
            Resolved::NonDir { part, .. } => Ok(Some((
                self.lower_node(parent, name, part, seen, place),
                part.stat,
            ))),
            Resolved::Dir(parts) => {
                let stat = parts.first().ok_or(Errno::EIO)?.stat;
                Ok(Some((
                    self.dir_node_of(parent, name, parts, seen, place),
                    stat,
                )))
            }
        }
    }

    /// The node of an object that was just made in the upper layer, where nothing of the name was.
    pub(in crate::overlay) fn made(
        &self,
        parent: &Arc<Node>,
        name: &Name,
        stat: &Stat,
    ) -> Arc<Node> {
        self.table.make(real_key(stat), || NewNode {
            kind: stat.kind,
            ino: self.identity.ino(stat.dev, stat.ino),
            lower: Lower::None,
            upper: Some(upper_of(stat)),
            impure: false,
            place: Place::Named(vec![(parent.clone(), name.clone())]),
        })
    }

    fn lower_node(
        &self,
        parent: &Arc<Node>,
        name: &Name,
        part: &Part,
        seen: &Seen,
        place: impl FnOnce() -> Place,
    ) -> Arc<Node> {
        let stat = &part.stat;
        let shared = stat.nlink > 1;
        let key = match shared {
            true => Key::Named {
                parent: parent.id,
                name: name.clone(),
            },
            false => real_key(stat),
        };
        let lower_at = part.layer - usize::from(seen.has_upper);
        self.table.find_or_make(key, || NewNode {
            kind: stat.kind,
            ino: self.identity.ino(stat.dev, stat.ino),
            lower: match parent.lower_dirs().get(lower_at) {
                Some(dir) => Lower::Object {
                    dir: dir.clone(),
                    name: name.clone(),
                    dev: stat.dev,
                    ino: stat.ino,
                    shared,
                },
                None => Lower::None,
            },
            upper: None,
            impure: false,
            place: place(),
        })
    }

    fn dir_node_of(
        &self,
        parent: &Arc<Node>,
        name: &Name,
        parts: &[Part],
        seen: &Seen,
        place: impl FnOnce() -> Place,
    ) -> Arc<Node> {
        let upper = seen.upper();
        let lowers = &parts[usize::from(upper.is_some())..];
        // A merged directory has the number of its top-most lower, which no copy-up changes (7.2).
        let numbered = lowers.first().unwrap_or(&parts[0]);
        self.table
            .find_or_make(real_key(&parts[0].stat), || NewNode {
                kind: FileType::Dir,
                ino: self.identity.ino(numbered.stat.dev, numbered.stat.ino),
                lower: self.lower_stack(parent, name, lowers, seen),
                upper: upper.map(|part| upper_of(&part.stat)),
                impure: upper.is_some_and(|part| part.marks.impure),
                place: place(),
            })
    }

    fn lower_stack(&self, parent: &Arc<Node>, name: &Name, parts: &[Part], seen: &Seen) -> Lower {
        let dirs: Vec<_> = parts
            .iter()
            .filter_map(|part| {
                let dir = parent
                    .lower_dirs()
                    .get(part.layer - usize::from(seen.has_upper))?;
                let (dev, ino) = (part.stat.dev, part.stat.ino);
                Some(Arc::new(LowerDir::child(
                    dir,
                    name,
                    dev,
                    ino,
                    part.marks.xattr_whiteouts,
                )))
            })
            .collect();
        if dirs.is_empty() {
            Lower::None
        } else {
            Lower::Dirs(dirs.into())
        }
    }

    /// The number of an upper non-directory: that of its origin, if it was copied up (7.1). Only a
    /// directory with the `impure` mark can hold such an entry.
    fn upper_ino(&self, parent: &Arc<Node>, name: &Name, stat: &Stat) -> Result<u64> {
        let origin = match (self.marks, self.upper_dir(parent)?) {
            (Some(marks), Some(dir)) if parent.is_impure() => At::child(&dir, name)
                .get_xattr(marks.name(Mark::Origin))?
                .as_deref()
                .and_then(origin::decode),
            _ => None,
        };
        let ino = origin.and_then(|origin| self.identity.origin_ino(origin));
        Ok(ino.unwrap_or_else(|| self.identity.ino(stat.dev, stat.ino)))
    }
}

/// The key of an object that is one inode.
pub(in crate::overlay) fn real_key(stat: &Stat) -> Key {
    Key::Real {
        dev: stat.dev,
        ino: stat.ino,
    }
}

/// An upper object.
pub(in crate::overlay) fn upper_of(stat: &Stat) -> Upper {
    Upper {
        dev: stat.dev,
        ino: stat.ino,
    }
}
