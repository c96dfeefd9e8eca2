//! A scenario: layers, steps, and a judge.
//!
//! `Scenario::new("T026", "unlink of a lower file").lowers(1).layers(|l| ..).steps(|s| ..)` builds two equal copies of
//! the layers and runs the steps on plyfs over one and on kernel overlayfs over the other. Then it compares: the
//! transcripts; the merged views; the upper layers on disk; the view after a remount by the same server; and the view
//! when each server mounts what the other wrote. Work directories hold no residue, lower layers did not change.

use std::path::{Path, PathBuf};

use super::env::{self, Scratch};
use super::layers::Layers;
use super::mount::{KERNEL_DEFAULTS, Mounted, Server};
use super::snapshot::{Compare, Snapshot};
use super::steps::Steps;
use super::words::residue;

/// Set to run the judge alone: it shows that the scenarios say what the kernel does. Not a test of plyfs.
const JUDGE_ALONE: &str = "PLYFS_JUDGE_ALONE";

/// Set to see the whole transcript of a scenario that fails.
const TRANSCRIPT: &str = "PLYFS_TRANSCRIPT";

type Builder<'a> = Box<dyn Fn(&Layers) + Send + Sync + 'a>;
type Place<'a> = Box<dyn Fn(&mut Scratch) -> Result<PathBuf, String> + Send + Sync + 'a>;

/// One test, under construction.
pub struct Scenario<'a> {
    rows: &'static str,
    about: &'static str,
    lowers: usize,
    data_only: usize,
    writable: bool,
    options: String,
    kernel_options: String,
    without_kernel: Option<&'static str>,
    cross: bool,
    same_ino: bool,
    ext4: bool,
    two_filesystems: bool,
    small: Option<&'static str>,
    filesystem: Option<&'static str>,
    lower_on: Option<&'static str>,
    opaque_counts: bool,
    without_syscalls: &'static [libc::c_long],
    upper_on: Option<Place<'a>>,
    upper_counts: bool,
    build: Builder<'a>,
}

/// One server's run.
struct Run {
    server: Server,
    layers: Layers,
    lowers_before: Vec<Snapshot>,
    transcript: Vec<String>,
    view: Snapshot,
}

impl<'a> Scenario<'a> {
    /// `rows` are the T numbers of the specification.
    pub fn new(rows: &'static str, about: &'static str) -> Scenario<'a> {
        Scenario {
            rows,
            about,
            lowers: 1,
            data_only: 0,
            writable: true,
            options: String::new(),
            kernel_options: KERNEL_DEFAULTS.into(),
            without_kernel: None,
            cross: true,
            same_ino: true,
            ext4: false,
            two_filesystems: false,
            small: None,
            filesystem: None,
            lower_on: None,
            opaque_counts: true,
            without_syscalls: &[],
            upper_on: None,
            upper_counts: true,
            build: Box::new(|_| {}),
        }
    }

    /// How many lower layers.
    pub fn lowers(mut self, n: usize) -> Self {
        self.lowers = n;
        self
    }

    /// How many of them, the last ones, are data-only (section 6.3).
    pub fn data_only(mut self, n: usize) -> Self {
        self.data_only = n;
        self
    }

    /// No upper, no work directory.
    pub fn read_only(mut self) -> Self {
        self.writable = false;
        self
    }

    /// Mount options beside the layers, for plyfs and for the kernel.
    pub fn options(mut self, plyfs: &str, kernel: &str) -> Self {
        self.options = plyfs.into();
        self.kernel_options = kernel.into();
        self
    }

    /// The row does not apply to the kernel; say which section has it.
    pub fn plyfs_only(mut self, why: &'static str) -> Self {
        self.without_kernel = Some(why);
        self
    }

    /// No mounts of what the other server wrote (a volatile upper, a very large tree).
    pub fn no_cross_mount(mut self) -> Self {
        self.cross = false;
        self
    }

    /// Inode numbers may change over a remount (7.3).
    pub fn inodes_may_change(mut self) -> Self {
        self.same_ino = false;
        self
    }

    /// The layers must be on ext4.
    pub fn on_ext4(mut self) -> Self {
        self.ext4 = true;
        self
    }

    /// Lower 2 on a filesystem of its own.
    pub fn on_two_filesystems(mut self) -> Self {
        self.two_filesystems = true;
        self
    }

    /// Opaque marks are compared by their effect only (remount, mount by the other): where nothing is below, they are
    /// optional (4.5), and the kernel leaves one behind when a rename fails late.
    pub fn opaque_by_effect(mut self) -> Self {
        self.opaque_counts = false;
        self
    }

    /// All layers on a filesystem of this type, in an image.
    pub fn on_filesystem(mut self, kind: &'static str) -> Self {
        self.filesystem = Some(kind);
        self
    }

    /// Lower 1 on a filesystem of this type: one to be written, one made of what was built, or an overlay of it.
    pub fn lower_on(mut self, kind: &'static str) -> Self {
        self.lower_on = Some(kind);
        self.same_ino = false;
        self
    }

    /// plyfs runs on a kernel that does not know these system calls.
    pub fn without_syscalls(mut self, numbers: &'static [libc::c_long]) -> Self {
        self.without_syscalls = numbers;
        self
    }

    /// plyfs has its upper and work directory below this directory, on a filesystem that is no good for the kernel.
    /// What lies there is not compared, and numbers may change where it cannot keep marks.
    pub fn upper_on(
        mut self,
        place: impl Fn(&mut Scratch) -> Result<PathBuf, String> + Send + Sync + 'a,
    ) -> Self {
        self.upper_on = Some(Box::new(place));
        self.same_ino = false;
        self.upper_differs()
    }

    /// plyfs writes other marks than the kernel, who cannot read them: the views are compared, not the upper layers.
    pub fn upper_differs(mut self) -> Self {
        self.upper_counts = false;
        self.cross = false;
        self
    }

    /// All layers on one tmpfs of this size (as its mount option says it).
    pub fn on_tmpfs_of(mut self, size: &'static str) -> Self {
        self.small = Some(size);
        self
    }

    /// How the layers are built.
    pub fn layers(mut self, build: impl Fn(&Layers) + Send + Sync + 'a) -> Self {
        self.build = Box::new(build);
        self
    }

    /// Runs the scenario; panics with all that is wrong.
    pub fn steps(self, steps: impl Fn(&mut Steps) + Send + Sync) {
        let name = format!("{} {}", self.rows, self.about);
        if let Some(why) = env::mounted_tests_impossible() {
            return env::cannot_run(&name, &why);
        }
        let wrong = env::isolated(|| self.judge(&steps));
        match wrong {
            Ok(wrong) => assert!(wrong.is_empty(), "\n{name}\n{}\n", wrong.join("\n")),
            Err(why) => env::cannot_run(&name, &why),
        }
    }

    /// All that is wrong; an error says why the scenario cannot run.
    fn judge(&self, steps: &(dyn Fn(&mut Steps) + Send + Sync)) -> Result<Vec<String>, String> {
        let mut scratch = Scratch::new();
        let mut wrong = Vec::new();
        let alone = std::env::var_os(JUDGE_ALONE).is_some();
        if alone {
            env::cannot_run(self.rows, "JUDGE ALONE: plyfs is not tested");
        }
        let mut kernel = None;
        if self.without_kernel.is_none() {
            if let Some(why) = env::kernel_overlay_impossible() {
                return Err(why);
            }
            kernel = Some(self.run(Server::Kernel, &mut scratch, steps, &mut wrong)?);
        }
        let mut plyfs = None;
        if !alone {
            plyfs = Some(self.run(Server::Plyfs, &mut scratch, steps, &mut wrong)?);
        }
        if let (Some(Some(kernel)), Some(Some(plyfs))) = (&kernel, &plyfs) {
            self.compare(kernel, plyfs, &mut wrong);
            if !wrong.is_empty() && std::env::var_os(TRANSCRIPT).is_some() {
                eprintln!("what plyfs did:\n{}", plyfs.transcript.join("\n"));
            }
            if self.cross && wrong.is_empty() {
                self.remount("kernel's upper by plyfs", Server::Plyfs, kernel, &mut wrong);
                self.remount(
                    "plyfs's upper by the kernel",
                    Server::Kernel,
                    plyfs,
                    &mut wrong,
                );
            }
        }
        for run in [kernel.flatten(), plyfs.flatten()].iter_mut().flatten() {
            check_lowers(run, "after everything", &mut wrong);
        }
        Ok(wrong)
    }

    /// Mount, steps, unmount, remount, on one server. `None` after a failure that leaves nothing to compare.
    fn run(
        &self,
        server: Server,
        scratch: &mut Scratch,
        steps: &(dyn Fn(&mut Steps) + Send + Sync),
        wrong: &mut Vec<String>,
    ) -> Result<Option<Run>, String> {
        let name = format!("{server:?}").to_lowercase();
        let root = if self.ext4 {
            scratch.ext4("ext4")?.join(&name)
        } else {
            scratch.path().join(&name)
        };
        std::fs::create_dir_all(&root).expect("create a directory");
        if let Some(size) = self.small {
            scratch.tmpfs(&name, size);
        }
        let writable = ["xfs", "btrfs", "ntfs"];
        if let Some(kind) = self.filesystem {
            scratch.filesystem(&name, kind)?;
        }
        if let Some(kind) = self.lower_on.filter(|kind| writable.contains(kind)) {
            scratch.filesystem(&format!("{name}/l1"), kind)?;
        }
        if self.two_filesystems {
            scratch.tmpfs(&format!("{name}/l2"), "1g");
        }
        let mut layers = Layers::new(&root, self.lowers, self.writable);
        if let (Some(place), Server::Plyfs) = (&self.upper_on, server) {
            let place = place(scratch)?;
            (layers.upper, layers.work) = (place.join("u"), place.join("w"));
            for dir in [&layers.upper, &layers.work] {
                std::fs::create_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            }
        }
        layers.data_only = self.data_only;
        (self.build)(&layers);
        layers.settle();
        if let Some(kind) = self.lower_on.filter(|kind| !writable.contains(kind)) {
            scratch.packed(&format!("{name}/l1"), kind)?;
        }
        let lowers_before = snapshots(&layers);
        let mounted = match self.mount(server, &layers) {
            Ok(mounted) => mounted,
            Err(why) => {
                wrong.push(format!("[{name}] cannot mount: {why}"));
                return Ok(None);
            }
        };
        let mut acting = Steps::new(server, &layers, mounted.pid());
        steps(&mut acting);
        let Steps {
            transcript,
            failures,
            ..
        } = acting;
        wrong.extend(failures.iter().map(|f| format!("[{name}] {f}")));
        let view = Snapshot::take(&layers.merged);
        if let Some(verdict) = mounted.verdict() {
            wrong.push(format!("[{name}] {verdict}"));
        }
        if let Err(why) = mounted.unmount() {
            wrong.push(format!("[{name}] unmount: {why}"));
        }
        let view = match view {
            Ok(view) => view.without_ghosts(),
            Err(why) => {
                wrong.push(format!("[{name}] reading the merged view: {why}"));
                return Ok(None);
            }
        };
        match residue(&layers.work) {
            Ok(left) if left.is_empty() => {}
            Ok(left) => wrong.push(format!("[{name}] residue in work: {left:?}")),
            Err(why) => wrong.push(format!("[{name}] reading work: {why}")),
        }
        let mut run = Run {
            server,
            layers,
            lowers_before,
            transcript,
            view,
        };
        check_lowers(&mut run, "after the steps", wrong);
        self.remount(&format!("{name}, remounted"), server, &run, wrong);
        Ok(Some(run))
    }

    fn mount(&self, server: Server, layers: &Layers) -> Result<Mounted, String> {
        let options = self.mount_options(server);
        match server {
            Server::Plyfs => Mounted::plyfs_without(self.without_syscalls, layers, options),
            Server::Kernel => Mounted::new(server, layers, options),
        }
    }

    fn compare(&self, kernel: &Run, plyfs: &Run, wrong: &mut Vec<String>) {
        let longest = kernel.transcript.len().max(plyfs.transcript.len());
        for i in 0..longest {
            let (k, p) = (kernel.transcript.get(i), plyfs.transcript.get(i));
            if k != p {
                wrong.push(format!(
                    "step {}:\n    kernel {k:?}\n    plyfs  {p:?}",
                    i + 1
                ));
            }
        }
        report(
            "merged views: kernel -, plyfs +",
            kernel.view.differences(&plyfs.view, Compare::View),
            wrong,
        );
        if !self.upper_counts {
            return;
        }
        let disk = |run: &Run| {
            let mut tree = Snapshot::take(&run.layers.upper).expect("read the upper");
            if !self.opaque_counts {
                tree.forget_xattr("trusted.overlay.opaque");
            }
            tree
        };
        let (k, p) = (disk(kernel), disk(plyfs));
        report(
            "upper layers: kernel -, plyfs +",
            k.differences(&p, Compare::Upper),
            wrong,
        );
        for (name, tree) in [("kernel", &k), ("plyfs", &p)] {
            report(
                &format!("{name}: directories that lack `impure`"),
                missing_impure(tree),
                wrong,
            );
        }
    }

    /// The view of what a run left, by the same server or by the other, must be what the run saw.
    fn remount(&self, what: &str, server: Server, run: &Run, wrong: &mut Vec<String>) {
        let mounted = match self.mount(server, &run.layers) {
            Ok(mounted) => mounted,
            Err(why) => return wrong.push(format!("{what}: cannot mount: {why}")),
        };
        let view = Snapshot::take(&run.layers.merged);
        if let Err(why) = mounted.unmount() {
            wrong.push(format!("{what}: unmount: {why}"));
        }
        // Across filesystems each server numbers in its own way (7.4).
        let numbered = self.same_ino && !(self.two_filesystems && server != run.server);
        let how = if numbered {
            Compare::SameView
        } else {
            Compare::View
        };
        match view {
            Ok(view) => report(
                what,
                run.view.differences(&view.without_ghosts(), how),
                wrong,
            ),
            Err(why) => wrong.push(format!("{what}: reading the merged view: {why}")),
        }
    }

    fn mount_options(&self, server: Server) -> &str {
        match server {
            Server::Kernel => &self.kernel_options,
            Server::Plyfs => &self.options,
        }
    }
}

/// All lower layers, as they are.
pub fn snapshots(layers: &Layers) -> Vec<Snapshot> {
    let take = |path: &PathBuf| Snapshot::take(path).expect("read a lower layer");
    layers.lowers.iter().map(take).collect()
}

/// The first law: lower layers never change, in bytes, metadata or times. What is reported once is not reported again.
fn check_lowers(run: &mut Run, when: &str, wrong: &mut Vec<String>) {
    let now = snapshots(&run.layers);
    for (n, (before, after)) in run.lowers_before.iter().zip(&now).enumerate() {
        let what = format!("[{:?}] LOWER {} CHANGED {when}", run.server, n + 1);
        report(&what, before.differences(after, Compare::Untouched), wrong);
    }
    run.lowers_before = now;
}

/// Upper directories with an entry that has an origin need `impure` (1.1): else readdir shows wrong inode numbers.
fn missing_impure(upper: &Snapshot) -> Vec<String> {
    let mark = |path: &str, name: &str| {
        let entry = upper.entries.get(path)?.as_ref().ok()?;
        entry.xattrs.get(name).cloned()
    };
    let mut missing = Vec::new();
    for path in upper.entries.keys().filter(|p| *p != ".") {
        // A file handle starts with version 0; anything else is a test's garbage.
        let handle = mark(path, "trusted.overlay.origin").is_some_and(|v| v.first() == Some(&0));
        let parent = Path::new(path)
            .parent()
            .and_then(Path::to_str)
            .filter(|p| !p.is_empty())
            .unwrap_or(".");
        if handle && mark(parent, "trusted.overlay.impure").is_none() {
            missing.push(format!("  {parent} (of {path})"));
        }
    }
    missing
}

fn report(what: &str, lines: Vec<String>, wrong: &mut Vec<String>) {
    if !lines.is_empty() {
        let more = if lines.len() > 40 {
            format!("\n  ... and {} more", lines.len() - 40)
        } else {
            String::new()
        };
        wrong.push(format!(
            "{what}:\n{}{more}",
            lines[..lines.len().min(40)].join("\n")
        ));
    }
}
