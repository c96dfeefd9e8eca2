//! A trace on both sides, step by step, and what must hold at the end.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::FileType;
use rustix::mount::{MountFlags, UnmountFlags};

use super::act::{act, list};
use super::build::build;
use super::draw::{DIRS, Trace};
use super::known::{Known, OTHER_NAME, REFUSED, Seen, Then, known};
use super::mode::Mode;
use super::op::{Kind, Op, Path as Name, Place, Step};
use super::side::{Outcome, Side};
use super::support::layers::Layers;
use super::support::mount::{Mounted, Server};
use super::support::scenario::snapshots;
use super::support::snapshot::{Compare, Snapshot};
use super::support::words::residue;

/// A divergence.
#[derive(Debug)]
pub struct Failure {
    /// Failures of one kind have one cause, most likely.
    pub kind: String,
    pub text: String,
    /// The step it showed at; the number of steps when it showed at the end.
    pub at: usize,
}

/// A fresh tmpfs that is gone with its value. Without access times, so that who reads what does not show.
struct Ground(PathBuf);

impl Ground {
    fn new(below: &Path) -> Ground {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let at = below.join(format!("run-{}", COUNTER.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&at).expect("create a mount point");
        let options = Some(c"mode=0755,size=1g");
        rustix::mount::mount("tmpfs", &at, "tmpfs", MountFlags::NOATIME, options)
            .expect("mount a tmpfs");
        Ground(at)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, UnmountFlags::DETACH).expect("unmount the tmpfs");
        std::fs::remove_dir(&self.0).expect("remove the mount point");
    }
}

/// Runs a trace below `scratch`; the error is the first divergence. Tells which wanted differences it met.
pub fn run(mode: &Mode, trace: &Trace, scratch: &Path) -> Result<Vec<&'static Known>, Failure> {
    // That of the run before is still set.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let ground = Ground::new(scratch);
    let start = |server, name, options| {
        let root = ground.0.join(name);
        std::fs::create_dir(&root).expect("create a directory");
        let layers = build(&root, trace.lowers, &trace.items);
        let before = snapshots(&layers);
        let mut side =
            Side::new(server, layers, options).map_err(|why| failure("mount", why, 0))?;
        side.numbered = !mode.user;
        side.noopen = mode.user || mode.plyfs.contains("noopen=on");
        side.passthrough = !side.noopen && !mode.plyfs.contains("passthrough=off");
        let any = |kind| trace.items.iter().any(|item| item.kind == kind);
        side.ghosts |= any(Kind::XattrWhiteout);
        side.whiteouts = any(Kind::XattrWhiteout) || any(Kind::Whiteout);
        let entries = before
            .iter()
            .flat_map(|tree| tree.entries.values().flatten());
        side.shared = entries
            .filter(|e| e.kind != FileType::Directory && e.nlink > 1)
            .map(|e| e.ino)
            .collect();
        Ok((side, before))
    };
    let (kernel, kernel_before) = start(Server::Kernel, "kernel", mode.kernel)?;
    let (plyfs, plyfs_before) = start(Server::Plyfs, "plyfs", mode.plyfs)?;
    let mut run = Run {
        kernel,
        plyfs,
        touched: Vec::new(),
        since: [0; DIRS],
        met: Vec::new(),
        indexed: mode.index,
    };
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(trace.umask));
    for (n, step) in trace.steps.iter().enumerate() {
        run.step(step)
            .map_err(|(kind, text)| failure(kind, text, n))?;
        if run.is_over() {
            return Ok(run.met);
        }
    }
    let end = |(kind, text)| failure(kind, text, trace.steps.len());
    let views = run.end(mode).map_err(end)?;
    check_lowers(&run.kernel, &kernel_before).map_err(end)?;
    check_lowers(&run.plyfs, &plyfs_before).map_err(end)?;
    cross(
        mode,
        &run.kernel.layers,
        Server::Plyfs,
        &views.0,
        "the kernel's upper by plyfs",
    )
    .map_err(end)?;
    cross(
        mode,
        &run.plyfs.layers,
        Server::Kernel,
        &views.1,
        "plyfs's upper by the kernel",
    )
    .map_err(end)?;
    check_lowers(&run.kernel, &kernel_before).map_err(end)?;
    Ok(run.met)
}

/// Where plyfs takes set-id bits that the kernel leaves (16.2), they are taken away on both sides: in a user namespace
/// those of a file written through a map, and with passthrough those of a file that got them while it was open.
fn take_set_id(side: &Side, op: &Op) {
    const SET_ID: u32 = 0o6000;
    let user = !side.numbered;
    let file = match op {
        Op::MapWrite { map, .. } if user => side.maps[*map].as_ref().map(|mapped| &mapped.file),
        Op::Pwrite { slot, .. } | Op::Write { slot, .. } if side.passthrough => {
            side.slots[*slot].as_ref().map(|slot| &slot.file)
        }
        _ => None,
    };
    if let Some(file) = file
        && let Ok(stat) = rustix::fs::fstat(file)
        && stat.st_mode & SET_ID != 0
    {
        let plain = rustix::fs::Mode::from_raw_mode(stat.st_mode & !SET_ID);
        // A file without a name takes no changes on the kernel (15.2).
        let _refused = rustix::fs::fchmod(file, plain);
    }
}

fn failure(kind: impl Into<String>, text: impl Into<String>, at: usize) -> Failure {
    Failure {
        kind: kind.into(),
        text: text.into(),
        at,
    }
}

/// Kind and text.
type Wrong = (String, String);

struct Run {
    kernel: Side,
    plyfs: Side,
    /// Names that changed in some directory; `*` is any.
    touched: Vec<String>,
    /// How many had changed when each directory was opened.
    since: [usize; DIRS],
    met: Vec<&'static Known>,
    /// Both keep an index.
    indexed: bool,
}

impl Run {
    fn step(&mut self, step: &Step) -> Result<(), Wrong> {
        self.note_names(&step.op);
        if step.op == Op::Remount {
            return self.remount();
        }
        let lower = self.lower(&step.op);
        let mut kernel = act(&mut self.kernel, &step.op, step.uid);
        let mut plyfs = act(&mut self.plyfs, &step.op, step.uid);
        if kernel.is_ok() && plyfs.is_ok() {
            take_set_id(&self.kernel, &step.op);
            take_set_id(&self.plyfs, &step.op);
        }
        if let Op::DirFinish { dir } = step.op {
            (kernel, plyfs) = (self.untouched(dir, kernel), self.untouched(dir, plyfs));
        }
        self.compare(&step.op, "", lower, &kernel, &plyfs)?;
        if let Op::Rename { from, to, .. } = &step.op
            && kernel.is_err()
            && [from, to]
                .iter()
                .any(|at| self.kernel.redirect(at) != self.plyfs.redirect(at))
        {
            self.met.push(&REFUSED);
        }
        // What other users do has effects of its own on set-id bits.
        if !(step.look || step.uid != 0) || self.is_over() {
            return Ok(());
        }
        for path in step.op.changes() {
            let (kernel, plyfs) = (self.kernel.look(path), self.plyfs.look(path));
            self.compare(&step.op, &format!("then {path}: "), false, &kernel, &plyfs)?;
        }
        if let Some(slot) = step.op.changes_slot() {
            let op = Op::Fstat { slot };
            let lower = self.lower(&op);
            let (kernel, plyfs) = (act(&mut self.kernel, &op, 0), act(&mut self.plyfs, &op, 0));
            self.compare(&op, "then ", lower, &kernel, &plyfs)?;
        }
        Ok(())
    }

    fn compare(
        &mut self,
        op: &Op,
        what: &str,
        lower: bool,
        k: &Outcome,
        p: &Outcome,
    ) -> Result<(), Wrong> {
        if k == p {
            return Ok(());
        }
        let ghosts = self.holds_only_ghosts(op);
        let one_file = self.is_one_file(op);
        let Some(row) = known(&Seen {
            op,
            kernel: k,
            plyfs: p,
            lower,
            ghosts,
            one_file,
            indexed: self.indexed,
        }) else {
            let class = |o: &Outcome| {
                o.as_ref()
                    .map_or_else(|e| format!("{e:?}"), |_| "ok".into())
            };
            let kind = format!(
                "{}/{}/{}/{}",
                op.verb(),
                what.is_empty(),
                class(k),
                class(p)
            );
            return Err((kind, format!("{what}\n    kernel {k:?}\n    plyfs  {p:?}")));
        };
        self.met.push(row);
        if row.then == Then::CloseSlot {
            self.close_all_of(op);
        }
        Ok(())
    }

    /// Closes the file of an operation on both sides, with all its duplicates and maps.
    fn close_all_of(&mut self, op: &Op) {
        let number = |file: &std::fs::File| rustix::fs::fstat(file).map(|s| s.st_ino).ok();
        let Some(slot) = slot_of(op) else { return };
        let Some(ino) = self.kernel.slots[slot]
            .as_ref()
            .and_then(|s| number(&s.file))
        else {
            return;
        };
        for n in 0..self.kernel.slots.len() {
            let same = self.kernel.slots[n]
                .as_ref()
                .is_some_and(|s| number(&s.file) == Some(ino));
            if same || n == slot {
                (self.kernel.slots[n], self.plyfs.slots[n]) = (None, None);
            }
        }
        for n in 0..self.kernel.maps.len() {
            if self.kernel.maps[n]
                .as_ref()
                .is_some_and(|m| number(&m.file) == Some(ino))
            {
                (self.kernel.maps[n], self.plyfs.maps[n]) = (None, None);
            }
        }
        if let Op::Reopen { slot, .. } = op {
            (self.kernel.slots[*slot], self.plyfs.slots[*slot]) = (None, None);
        }
    }

    fn lower(&self, op: &Op) -> bool {
        match op {
            Op::MapRead { map } | Op::MapWrite { map, .. } => {
                self.kernel.maps[*map].as_ref().is_some_and(|m| m.lower)
            }
            other => slot_of(other)
                .is_some_and(|n| self.kernel.slots[n].as_ref().is_some_and(|s| s.lower)),
        }
    }

    /// Did the trees part in a way that is wanted?
    fn is_over(&self) -> bool {
        self.met.last().is_some_and(|row| row.then == Then::End)
    }

    fn is_one_file(&self, op: &Op) -> bool {
        use std::os::unix::fs::MetadataExt;
        let number = |path: &str| {
            let at = self.plyfs.layers.merged.join(path);
            std::fs::symlink_metadata(at).map(|m| (m.dev(), m.ino()))
        };
        match op {
            Op::Rename { from, to, .. } => {
                matches!((number(from), number(to)), (Ok(from), Ok(to)) if from == to)
            }
            _ => false,
        }
    }

    fn holds_only_ghosts(&mut self, op: &Op) -> bool {
        if matches!(op, Op::RemoveAll { .. }) {
            // It went some way already; such names can be below only where the layers have them.
            return self.plyfs.whiteouts;
        }
        let (Op::Rmdir { path } | Op::Rename { to: path, .. }) = op else {
            return false;
        };
        list(&mut self.kernel, path, 4096).is_ok_and(|names| names == "..:Directory .:Directory")
    }

    fn note_names(&mut self, op: &Op) {
        if let Op::DirOpen { dir, .. } | Op::DirRewind { dir } = op {
            self.since[*dir] = self.touched.len();
        }
        if matches!(op, Op::RemoveAll { .. }) {
            self.touched.push("*".into());
        }
        if let Op::Open { path, flags, .. } = op
            && flags & libc::O_CREAT != 0
            && self
                .kernel
                .stat(path, false)
                .is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Symlink)
        {
            self.touched.push("*".into());
        }
        let last = |path: &&str| {
            path.trim_end_matches(['/', '.'])
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_string()
        };
        let names: Vec<Name> = op.changes().iter().map(last).collect();
        self.touched.extend(names);
    }

    /// Of the names read from an open directory, those nobody changed meanwhile: each must be there, once (8.3).
    fn untouched(&self, dir: usize, names: Outcome) -> Outcome {
        let touched = &self.touched[self.since[dir]..];
        let keep = |name: &&str| !touched.iter().any(|t| t == name || t == "*");
        Ok(names?.lines().filter(keep).collect::<Vec<_>>().join(" "))
    }

    fn remount(&mut self) -> Result<(), Wrong> {
        for side in [&mut self.kernel, &mut self.plyfs] {
            let name = format!("{:?}", side.server);
            side.unmount()
                .map_err(|why| ("unmount".to_string(), format!("{name}: {why}")))?;
            side.mount()
                .map_err(|why| ("mount again".to_string(), format!("{name}: {why}")))?;
        }
        Ok(())
    }

    /// Views, unmounts, work directories, uppers.
    fn end(&mut self, mode: &Mode) -> Result<(Snapshot, Snapshot), Wrong> {
        let take = |path: &Path| {
            Snapshot::take(path).map_err(|e| ("reading a tree".to_string(), e.to_string()))
        };
        let view = |side: &Side| {
            let tree = take(&side.layers.merged)?;
            Ok::<_, Wrong>(if side.ghosts {
                tree.without_ghosts()
            } else {
                tree
            })
        };
        let views = (view(&self.kernel)?, view(&self.plyfs)?);
        report(
            "merged views: kernel -, plyfs +",
            views.0.differences(&views.1, Compare::View),
        )?;
        for side in [&mut self.kernel, &mut self.plyfs] {
            let name = format!("{:?}", side.server);
            side.unmount()
                .map_err(|why| ("unmount".to_string(), format!("{name}: {why}")))?;
            let left =
                residue(&side.layers.work).map_err(|e| ("residue".to_string(), e.to_string()))?;
            report(&format!("{name} leaves in work"), left)?;
        }
        let upper = |side: &Side| {
            let mut tree = take(&side.layers.upper)?;
            // By its effect only, in the mounts by the other side: where nothing is below, it is optional (4.5).
            tree.forget_xattr(&mode.mark("opaque"));
            Ok::<_, Wrong>(tree)
        };
        let mut uppers = (upper(&self.kernel)?, upper(&self.plyfs)?);
        let mut different = uppers.0.differences(&uppers.1, Compare::Upper);
        if mode.index && !different.is_empty() {
            let mark = mode.mark("nlink");
            uppers.0.forget_names_of_indexed(&mark, &uppers.1);
            uppers.1.forget_names_of_indexed(&mark, &uppers.0);
            let rest = uppers.0.differences(&uppers.1, Compare::Upper);
            if rest.is_empty() {
                different = rest;
                self.met.push(&OTHER_NAME);
            }
        }
        report("upper layers: kernel -, plyfs +", different)?;
        Ok(views)
    }
}

fn slot_of(op: &Op) -> Option<usize> {
    match op {
        Op::Reopen { from: slot, .. }
        | Op::Dup { from: slot, .. }
        | Op::CopyRange { to: slot, .. } => Some(*slot),
        Op::Fstat { slot }
        | Op::Pread { slot, .. }
        | Op::Read { slot, .. }
        | Op::Fsync { slot, .. }
        | Op::Flock { slot, .. }
        | Op::Seek { slot, .. } => Some(*slot),
        Op::Getxattr {
            place: Place::Slot(slot),
            ..
        }
        | Op::Listxattr {
            place: Place::Slot(slot),
        } => Some(*slot),
        other => other.changes_slot(),
    }
}

fn report(what: &str, lines: Vec<String>) -> Result<(), Wrong> {
    if lines.is_empty() {
        Ok(())
    } else {
        Err((what.to_string(), format!("{what}:\n{}", lines.join("\n"))))
    }
}

/// The first law: lower layers never change.
fn check_lowers(side: &Side, before: &[Snapshot]) -> Result<(), Wrong> {
    for (n, (before, now)) in before.iter().zip(snapshots(&side.layers)).enumerate() {
        let what = format!("{:?}: LOWER {} CHANGED", side.server, n + 1);
        report(&what, before.differences(&now, Compare::Untouched))?;
    }
    Ok(())
}

/// What one side left, mounted by the other, looks as it did.
fn cross(
    mode: &Mode,
    layers: &Layers,
    by: Server,
    view: &Snapshot,
    what: &str,
) -> Result<(), Wrong> {
    let options = if by == Server::Kernel {
        mode.kernel
    } else {
        mode.plyfs
    };
    let mounted = Mounted::new(by, layers, options).map_err(|why| (what.to_string(), why))?;
    let now = Snapshot::take(&layers.merged);
    mounted.unmount().map_err(|why| (what.to_string(), why))?;
    let now = now
        .map_err(|e| (what.to_string(), e.to_string()))?
        .without_ghosts();
    // Symlinks and special files cannot have an origin in `user.`, so their numbers change at a mount (22.14).
    let how = if mode.user {
        Compare::View
    } else {
        Compare::SameView
    };
    report(what, view.differences(&now, how))
}
