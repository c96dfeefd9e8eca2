//! Where plyfs and the kernel may differ, and why. Everything else is a failure.
//!
//! Beside this table, what is compared was chosen so that other wanted differences do not show: names the kernel lists
//! although they are whiteouts (3.7) are dropped on its side; `O_TMPFILE` (11.4), the other namespace's `user.overlay.`
//! names in trusted mode (25.2) and filesystem types (22.16) are not drawn; the layout of holes after a copy-up (10.6)
//! is checked against the content; st_ino is compared by order of appearance.

use rustix::io::Errno;

use super::op::Op;
use super::side::Outcome;

/// One outcome on both sides.
pub struct Seen<'a> {
    pub op: &'a Op,
    pub kernel: &'a Outcome,
    pub plyfs: &'a Outcome,
    /// The operation is on a file or map that was opened for reading while it was in lower layers only.
    pub lower: bool,
    /// The directory that is to go holds only names that do not exist.
    pub ghosts: bool,
    /// A rename left both names, and they are one file.
    pub one_file: bool,
    /// The mount keeps an index.
    pub indexed: bool,
}

/// What to do about a wanted difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    GoOn,
    /// The states of the open file differ now: close it.
    CloseSlot,
    /// The trees differ now: end the run without a verdict on the rest.
    End,
}

/// A wanted difference.
pub struct Known {
    pub section: &'static str,
    pub what: &'static str,
    holds: fn(&Seen) -> bool,
    pub then: Then,
}

/// All of them.
pub const KNOWN: &[Known] = &[
    Known {
        section: "15.2",
        what: "an open lower file whose name is gone has no links; the kernel goes on to show those of the layer",
        holds: |s| {
            s.lower
                && links(s.plyfs) == Some("0")
                && without_links(s.kernel) == without_links(s.plyfs)
        },
        then: Then::GoOn,
    },
    Known {
        section: "15.2",
        what: "an open lower file whose name is gone can be changed; the kernel fails in its copy-up",
        holds: |s| {
            let refused = [Errno::EXIST, Errno::NOENT, Errno::STALE];
            let through_fd = s.op.changes_slot().is_some() || matches!(s.op, Op::Reopen { .. });
            s.lower
                && through_fd
                && s.kernel.as_ref().is_err_and(|e| refused.contains(e))
                && s.kernel != s.plyfs
        },
        then: Then::CloseSlot,
    },
    Known {
        section: "15.2",
        what: "the same through the file of a map",
        holds: |s| {
            s.lower
                && matches!(s.op, Op::MapWrite { .. })
                && *s.kernel == Err(Errno::EXIST)
                && s.plyfs.is_ok()
        },
        then: Then::End,
    },
    Known {
        section: "3.7",
        what: "a directory of one layer that holds only whiteouts is empty; the kernel counts them",
        holds: |s| {
            // Where all could be removed, `.` itself is what cannot.
            let all = matches!(s.op, Op::RemoveAll { .. }) && *s.plyfs == Err(Errno::INVAL);
            s.ghosts && *s.kernel == Err(Errno::NOTEMPTY) && (s.plyfs.is_ok() || all)
        },
        then: Then::End,
    },
    Known {
        section: "13.2",
        what: "a rename between two names of one file does nothing; the kernel without origins takes them for two",
        holds: |s| {
            // Two files want the rights that a rename wants.
            let refused = [Errno::STALE, Errno::ACCESS, Errno::PERM];
            s.one_file && s.kernel.as_ref().is_err_and(|e| refused.contains(e)) && s.plyfs.is_ok()
        },
        then: Then::End,
    },
    Known {
        section: "16.2",
        what: "chown to nobody on set-id bits of another owner does nothing; FUSE does not tell it from a write",
        holds: |s| {
            let nobody = matches!(
                s.op,
                Op::Chown {
                    uid: None,
                    gid: None,
                    ..
                }
            );
            nobody && *s.kernel == Err(Errno::PERM) && s.plyfs.is_ok()
        },
        then: Then::GoOn,
    },
    Known {
        section: "22.4",
        what: "the link count of a directory is remembered by the FUSE client when a copy-up changes it to 1",
        holds: |s| {
            let is_dir = |o: &Outcome| o.as_ref().is_ok_and(|text| text.starts_with("dir "));
            is_dir(s.plyfs)
                && links(s.kernel) == Some("1")
                && without_links(s.kernel) == without_links(s.plyfs)
        },
        then: Then::GoOn,
    },
    Known {
        section: "14.2",
        what: "another name of an indexed file came to the upper, and its directory became a merged one, with one link",
        holds: |s| {
            let is_dir = |o: &Outcome| o.as_ref().is_ok_and(|text| text.starts_with("dir "));
            s.indexed
                && is_dir(s.plyfs)
                && links(s.plyfs) == Some("1")
                && without_links(s.kernel) == without_links(s.plyfs)
        },
        then: Then::GoOn,
    },
    Known {
        section: "16.2",
        what: "a write by another user leaves set-group-id without group execution; the kernel knows all his groups",
        holds: |s| match (mode(s.kernel), mode(s.plyfs)) {
            (Some((kernel, rest)), Some((plyfs, same))) => {
                plyfs == kernel | 0o2000 && plyfs & 0o10 == 0 && kernel != plyfs && rest == same
            }
            _ => false,
        },
        then: Then::End,
    },
    Known {
        section: "15.1",
        what: "a map of a file opened before its copy-up shows later writes; that of the kernel the old pages",
        holds: |s| s.lower && matches!(s.op, Op::MapRead { .. }),
        then: Then::GoOn,
    },
];

/// A rename that both refuse leaves less behind here. It shows in the upper layers only.
pub const REFUSED: Known = Known {
    section: "13.2",
    what: "a rename that is refused copies nothing up; the kernel may find out after it wrote a redirect",
    holds: |_| false,
    then: Then::End,
};

/// Not an outcome: which of its names an indexed file has in the upper layer. The view is the same but for the link
/// counts of directories, and so is what a later mount with an index shows.
pub const OTHER_NAME: Known = Known {
    section: "14.2",
    what: "a change by an open file brings another of its names to the upper: FUSE does not tell by which it is open",
    holds: |_| false,
    then: Then::GoOn,
};

/// The row that allows these outcomes to differ.
pub fn known(seen: &Seen) -> Option<&'static Known> {
    KNOWN.iter().find(|row| (row.holds)(seen))
}

/// The permission bits of a file, and what stands after them.
fn mode(outcome: &Outcome) -> Option<(u32, &str)> {
    let (mode, rest) = outcome
        .as_ref()
        .ok()?
        .strip_prefix("file ")?
        .split_once(' ')?;
    Some((u32::from_str_radix(mode, 8).ok()?, rest))
}

fn links(outcome: &Outcome) -> Option<&str> {
    let (_, rest) = outcome.as_ref().ok()?.split_once(" links=")?;
    rest.split(' ').next()
}

/// What stands before and after the link count.
fn without_links(outcome: &Outcome) -> Option<(&str, &str)> {
    let (before, rest) = outcome.as_ref().ok()?.split_once(" links=")?;
    Some((before, rest.split_once(' ').map_or("", |(_, after)| after)))
}
