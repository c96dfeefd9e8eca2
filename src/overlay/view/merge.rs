//! What several layers, seen together, say of one name. Pure: probes in, meaning out
//! (overlay-semantics 2.2, 2.3). The layers are asked from the top, and no further than needed.

use crate::layer::mark::DirMarks;
use crate::sys::stat::{FileType, Stat};

/// What one layer says of one name. A redirect is the business of the caller: it says where the next
/// layer is to be asked, not what this one says.
#[derive(Clone, Copy, Debug)]
pub enum Probe {
    /// Nothing.
    Absent,
    /// The name is removed.
    Whiteout,
    /// Anything but a directory. `metacopy`: its data is elsewhere.
    NonDir {
        /// Attributes.
        stat: Stat,
        /// The file has its data in a layer below.
        metacopy: bool,
    },
    /// A directory.
    Dir {
        /// Attributes.
        stat: Stat,
        /// Marks.
        marks: DirMarks,
    },
}

/// Shall the next layer be asked?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It may contribute.
    Ask,
    /// What is below does not show.
    Stop,
}

/// One object that contributes: where it was found, its attributes and marks.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// What the caller of [`Merge::step`] said of the place.
    pub place: usize,
    /// Attributes.
    pub stat: Stat,
    /// Marks of a directory.
    pub marks: DirMarks,
}

/// Where the data of a non-directory is.
#[derive(Clone, Debug)]
pub enum DataAt {
    /// In the object itself.
    Own,
    /// In a layer below that has not been found yet; in the end this is an error (2.8).
    Missing,
    /// In this object.
    Below(Box<Part>),
}

/// What a name means.
#[derive(Clone, Debug, Default)]
pub enum Resolved {
    /// There is nothing.
    #[default]
    Nothing,
    /// A non-directory of one layer.
    NonDir {
        /// Where.
        part: Part,
        /// Where its data is.
        data: DataAt,
    },
    /// A directory: the parts from the top; never empty.
    Dir(Vec<Part>),
}

/// The layers asked so far.
#[derive(Debug, Default)]
pub struct Merge {
    resolved: Resolved,
}

impl Merge {
    /// Takes what the next layer says; `place` is given back with the part that it may become.
    pub fn step(&mut self, place: usize, probe: Probe) -> Next {
        let part = |stat, marks| Part { place, stat, marks };
        match (probe, &mut self.resolved) {
            (Probe::Absent, _) => Next::Ask,
            (Probe::Whiteout, _) => Next::Stop,
            (Probe::NonDir { stat, metacopy }, Resolved::Nothing) => {
                let data = if metacopy {
                    DataAt::Missing
                } else {
                    DataAt::Own
                };
                self.resolved = Resolved::NonDir {
                    part: part(stat, DirMarks::default()),
                    data,
                };
                if metacopy { Next::Ask } else { Next::Stop }
            }
            // The data of a metacopy is in the next file that is none itself (6.2).
            (Probe::NonDir { stat, metacopy }, Resolved::NonDir { data, .. })
                if stat.kind == FileType::File =>
            {
                if !metacopy {
                    *data = DataAt::Below(Box::new(part(stat, DirMarks::default())));
                }
                if metacopy { Next::Ask } else { Next::Stop }
            }
            // A file below a directory hides everything under it, and a directory ends a search for data.
            (Probe::NonDir { .. }, _) | (Probe::Dir { .. }, Resolved::NonDir { .. }) => Next::Stop,
            (Probe::Dir { stat, marks }, found) => {
                let part = part(stat, marks);
                match found {
                    Resolved::Dir(parts) => parts.push(part),
                    _ => *found = Resolved::Dir(vec![part]),
                }
                if marks.opaque { Next::Stop } else { Next::Ask }
            }
        }
    }

    /// Is it a directory, as far as is known?
    pub fn is_dir(&self) -> bool {
        matches!(self.resolved, Resolved::Dir(_))
    }

    /// Is it anything else that exists?
    pub fn is_file(&self) -> bool {
        matches!(self.resolved, Resolved::NonDir { .. })
    }

    /// What the name means.
    pub fn finish(self) -> Resolved {
        self.resolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::stat::{Rdev, Time};

    fn stat(kind: FileType) -> Stat {
        let zero = Time::default();
        Stat {
            dev: 1,
            ino: 1,
            kind,
            perm: 0,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: Rdev::default(),
            size: 0,
            blocks: 0,
            blksize: 0,
            atime: zero,
            mtime: zero,
            ctime: zero,
            immutable: false,
            append_only: false,
            mount_id: 0,
            btime: zero,
        }
    }

    const KINDS: usize = 6;

    fn probe(kind: usize) -> Probe {
        let dir = |opaque| Probe::Dir {
            stat: stat(FileType::Dir),
            marks: DirMarks {
                opaque,
                ..DirMarks::default()
            },
        };
        let file = |metacopy| Probe::NonDir {
            stat: stat(FileType::File),
            metacopy,
        };
        match kind {
            0 => Probe::Absent,
            1 => Probe::Whiteout,
            2 => file(false),
            3 => dir(false),
            4 => dir(true),
            _ => file(true),
        }
    }

    /// What shows: a file and where its data is, or the layers of a directory.
    #[derive(Debug, Default, PartialEq)]
    struct Shown {
        file: Option<usize>,
        data: Option<usize>,
        dirs: Vec<usize>,
    }

    /// The meaning in the words of the specification: cut the stack where the view ends, then take the
    /// top-most object: a file with the next data at or below it, a directory with all directories.
    fn specification(stack: &[usize]) -> Shown {
        let present: Vec<(usize, usize)> = stack
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, kind)| *kind != 0)
            .collect();
        let visible = || present.iter().take_while(|(_, kind)| *kind != 1);
        match visible().next() {
            Some((layer, 2 | 5)) => {
                let files = visible().take_while(|(_, kind)| matches!(kind, 2 | 5));
                let data = files
                    .filter(|(_, kind)| *kind == 2)
                    .map(|(layer, _)| *layer)
                    .next();
                Shown {
                    file: Some(*layer),
                    data,
                    dirs: Vec::new(),
                }
            }
            _ => {
                let mut dirs = Vec::new();
                for (layer, kind) in visible().take_while(|(_, kind)| matches!(kind, 3 | 4)) {
                    dirs.push(*layer);
                    if *kind == 4 {
                        break;
                    }
                }
                Shown {
                    file: None,
                    data: None,
                    dirs,
                }
            }
        }
    }

    #[test]
    fn t001_to_t008_t022_all_stacks_of_up_to_five_layers() {
        let mut stacks = 0;
        for depth in 0..=5u32 {
            for code in 0..KINDS.pow(depth) {
                let stack: Vec<usize> = (0..depth).map(|at| code / KINDS.pow(at) % KINDS).collect();
                let mut merge = Merge::default();
                for (layer, kind) in stack.iter().enumerate() {
                    if merge.step(layer, probe(*kind)) == Next::Stop {
                        break;
                    }
                }
                let shown = match merge.finish() {
                    Resolved::Nothing => Shown::default(),
                    Resolved::NonDir { part, data } => Shown {
                        file: Some(part.place),
                        data: match data {
                            DataAt::Own => Some(part.place),
                            DataAt::Missing => None,
                            DataAt::Below(data) => Some(data.place),
                        },
                        dirs: Vec::new(),
                    },
                    Resolved::Dir(parts) => Shown {
                        dirs: parts.iter().map(|part| part.place).collect(),
                        ..Shown::default()
                    },
                };
                assert_eq!(shown, specification(&stack), "{stack:?}");
                stacks += 1;
            }
        }
        assert_eq!(
            stacks,
            (0..=5).map(|depth| 6usize.pow(depth)).sum::<usize>()
        );
    }
}
