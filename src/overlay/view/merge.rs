//! What several layers, seen together, say of one name. Pure: probes in, meaning out
//! (overlay-semantics 2.2, 2.3). The layers are asked from the top, and no further than needed.

use crate::layer::mark::DirMarks;
use crate::sys::stat::Stat;

/// What one layer says of one name.
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

/// One object that contributes: the layer (0 is the first one asked), its attributes and marks.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Which of the layers asked.
    pub layer: usize,
    /// Attributes.
    pub stat: Stat,
    /// Marks of a directory.
    pub marks: DirMarks,
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
        /// Its data is elsewhere.
        metacopy: bool,
    },
    /// A directory: the parts from the top; never empty.
    Dir(Vec<Part>),
}

/// The layers asked so far.
#[derive(Debug, Default)]
pub struct Merge {
    asked: usize,
    resolved: Resolved,
}

impl Merge {
    /// Takes what the next layer says.
    pub fn step(&mut self, probe: Probe) -> Next {
        let layer = self.asked;
        self.asked += 1;
        match (probe, &mut self.resolved) {
            (Probe::Absent, _) => Next::Ask,
            (Probe::Whiteout, _) => Next::Stop,
            (Probe::NonDir { stat, metacopy }, Resolved::Nothing) => {
                let part = Part {
                    layer,
                    stat,
                    marks: DirMarks::default(),
                };
                self.resolved = Resolved::NonDir { part, metacopy };
                Next::Stop
            }
            // A file below a directory hides everything under it.
            (Probe::NonDir { .. }, _) => Next::Stop,
            (Probe::Dir { stat, marks }, found) => {
                let part = Part { layer, stat, marks };
                match found {
                    Resolved::Dir(parts) => parts.push(part),
                    _ => *found = Resolved::Dir(vec![part]),
                }
                if marks.opaque { Next::Stop } else { Next::Ask }
            }
        }
    }

    /// What the name means.
    pub fn finish(self) -> Resolved {
        self.resolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::stat::{FileType, Rdev, Time};

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
            mount_id: 0,
            btime: zero,
        }
    }

    const KINDS: usize = 5;

    fn probe(kind: usize) -> Probe {
        let dir = |opaque| Probe::Dir {
            stat: stat(FileType::Dir),
            marks: DirMarks {
                opaque,
                ..DirMarks::default()
            },
        };
        match kind {
            0 => Probe::Absent,
            1 => Probe::Whiteout,
            2 => Probe::NonDir {
                stat: stat(FileType::File),
                metacopy: false,
            },
            3 => dir(false),
            _ => dir(true),
        }
    }

    /// The meaning in the words of the specification: cut the stack where the view ends, then take the
    /// top-most object, and for a directory all directories before the cut.
    fn specification(stack: &[usize]) -> (Option<usize>, Vec<usize>) {
        let present: Vec<(usize, usize)> = stack
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, kind)| *kind != 0)
            .collect();
        let mut dirs = Vec::new();
        for (layer, kind) in present {
            match kind {
                1 => break,
                2 if dirs.is_empty() => return (Some(layer), dirs),
                2 => break,
                3 => dirs.push(layer),
                _ => {
                    dirs.push(layer);
                    break;
                }
            }
        }
        (None, dirs)
    }

    #[test]
    fn t001_to_t008_all_stacks_of_up_to_five_layers() {
        let mut stacks = 0;
        for depth in 0..=5u32 {
            for code in 0..KINDS.pow(depth) {
                let stack: Vec<usize> = (0..depth).map(|at| code / KINDS.pow(at) % KINDS).collect();
                let mut merge = Merge::default();
                for kind in &stack {
                    if merge.step(probe(*kind)) == Next::Stop {
                        break;
                    }
                }
                let found = match merge.finish() {
                    Resolved::Nothing => (None, Vec::new()),
                    Resolved::NonDir { part, .. } => (Some(part.layer), Vec::new()),
                    Resolved::Dir(parts) => (None, parts.iter().map(|part| part.layer).collect()),
                };
                assert_eq!(found, specification(&stack), "{stack:?}");
                stacks += 1;
            }
        }
        assert_eq!(stacks, 1 + 5 + 25 + 125 + 625 + 3125);
    }
}
