//! The daemon killed before each system call that changes the upper filesystem, for every kind of removal, creation and
//! rename, with whiteouts in every form: after a remount there is the old state or the new one. T056, T118.
//!
//! strace counts the calls and sends the signal, so no step is left to chance.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::env::{self, Scratch};
use super::support::layers::Layers;
use super::support::mount::{Mounted, Server};
use super::support::snapshot::{Compare, Snapshot};
use super::support::steps::FileType;
use super::support::words::residue;

/// What changes a tree. Attributes and data need not be in the list: the state after them is the one before the next
/// of these.
const CALLS: &str = "renameat2,linkat,unlinkat,mkdirat,mknodat,symlinkat,fchownat,utimensat";

type Step = fn(&Path) -> io::Result<()>;

/// What is done before, and the one call that is interrupted.
const CHANGES: &[(&str, Step, Step)] = &[
    ("unlink of a lower file", nothing, |m| {
        fs::remove_file(m.join("f"))
    }),
    ("unlink of a copied-up file", copied_up, |m| {
        fs::remove_file(m.join("f"))
    }),
    ("rmdir of an emptied directory", emptied, |m| {
        fs::remove_dir(m.join("d"))
    }),
    ("create over a whiteout", removed, |m| {
        fs::File::create_new(m.join("f")).map(drop)
    }),
    ("mkdir over a whiteout", removed, |m| {
        fs::create_dir(m.join("f"))
    }),
    ("symlink over a whiteout", removed, |m| {
        std::os::unix::fs::symlink("t", m.join("f"))
    }),
    ("link over a whiteout", removed, |m| {
        fs::hard_link(m.join("g"), m.join("f"))
    }),
    ("rename of a lower file", nothing, |m| {
        fs::rename(m.join("f"), m.join("new"))
    }),
    ("rename over a whiteout", removed, |m| {
        fs::rename(m.join("g"), m.join("f"))
    }),
    (
        "rename of a new directory over a whiteout",
        new_directory,
        |m| fs::rename(m.join("n"), m.join("f")),
    ),
    ("rename of a directory that hides another", replaced, |m| {
        fs::rename(m.join("d"), m.join("new"))
    }),
];

/// Steps that no single call can make where a rename leaves no whiteout (13.10).
const OVER_SOMETHING: &[(&str, Step, Step)] = &[
    ("rename of a lower file over another", nothing, |m| {
        fs::rename(m.join("f"), m.join("g"))
    }),
    (
        "rename of a directory over an emptied one",
        two_directories,
        |m| fs::rename(m.join("e"), m.join("d")),
    ),
];

fn build(l: &Layers) {
    l.lower(1).file("f", "f").file("g", "g");
    l.lower(1)
        .file("d/x", "x")
        .file("d/y", "y")
        .file("e/z", "z");
    l.lower(1).file("h1", "h").link("h1", "h2").link("h1", "h3");
    l.settle();
}

fn nothing(_: &Path) -> io::Result<()> {
    Ok(())
}

fn copied_up(m: &Path) -> io::Result<()> {
    fs::write(m.join("f"), "changed")
}

fn removed(m: &Path) -> io::Result<()> {
    fs::remove_file(m.join("f"))
}

fn emptied(m: &Path) -> io::Result<()> {
    fs::remove_file(m.join("d/x"))?;
    fs::remove_file(m.join("d/y"))
}

fn new_directory(m: &Path) -> io::Result<()> {
    removed(m)?;
    fs::create_dir(m.join("n"))?;
    fs::write(m.join("n/own"), "own")
}

fn replaced(m: &Path) -> io::Result<()> {
    emptied(m)?;
    fs::remove_dir(m.join("d"))?;
    fs::create_dir(m.join("d"))?;
    fs::write(m.join("d/own"), "own")
}

fn two_directories(m: &Path) -> io::Result<()> {
    emptied(m)?;
    fs::remove_file(m.join("e/z"))?;
    fs::remove_dir(m.join("e"))?;
    fs::create_dir(m.join("e"))?;
    fs::write(m.join("e/own"), "own")
}

/// A way to mount, with an upper on the scratch space or on ramfs.
#[derive(Clone, Copy)]
struct Way {
    options: &'static str,
    ramfs: bool,
}

/// A tree to be changed, and its mount.
struct Stage {
    layers: Layers,
    mounted: Mounted,
    _scratch: Scratch,
}

impl Stage {
    fn set(way: Way, before: Step) -> Stage {
        let mut scratch = Scratch::new();
        let mut layers = Layers::new(&scratch.path().join("layers"), 1, true);
        if way.ramfs {
            let place = scratch
                .mounted("below", &["mount", "-t", "ramfs", "none"])
                .unwrap();
            (layers.upper, layers.work) = (place.join("u"), place.join("w"));
            fs::create_dir(&layers.upper).unwrap();
            fs::create_dir(&layers.work).unwrap();
        }
        build(&layers);
        let mounted = mount(&layers, way);
        before(&layers.merged).unwrap();
        Stage {
            layers,
            mounted,
            _scratch: scratch,
        }
    }

    /// Carries the change out while strace looks on, told more by `inject`; what came of it, and what strace saw.
    fn traced(&self, change: Step, inject: Option<String>) -> (io::Result<()>, String) {
        let pid = self.mounted.pid().unwrap().as_raw_nonzero().get();
        let log = self.layers.merged.with_file_name("strace.log");
        let mut strace = Command::new("strace");
        strace.args([
            "-f",
            "-p",
            &pid.to_string(),
            "-e",
            &format!("trace={CALLS}"),
        ]);
        if let Some(inject) = inject {
            strace.args(["-e", &inject]);
        }
        strace.stdin(Stdio::null()).stdout(Stdio::null());
        let stderr = fs::File::create(&log).unwrap();
        let mut strace = strace.stderr(stderr).spawn().unwrap();
        wait_until_attached(&log, &mut strace);
        let result = change(&self.layers.merged);
        // It ends with the daemon, and leaves the daemon alone when it is told to go.
        if result.is_ok() {
            let strace = rustix::process::Pid::from_child(&strace);
            rustix::process::kill_process(strace, rustix::process::Signal::TERM).unwrap();
        }
        strace.wait().unwrap();
        (result, fs::read_to_string(log).unwrap())
    }

    /// The calls that the change makes: each with its number among those of its name.
    fn calls(&self, change: Step) -> Vec<(String, usize)> {
        let (result, log) = self.traced(change, None);
        result.unwrap();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut calls = Vec::new();
        for line in log.lines() {
            let word = line
                .split('(')
                .next()
                .and_then(|head| head.split(' ').next_back());
            let name = CALLS.split(',').find(|name| word == Some(name));
            if let Some(name) = name {
                let count = counts.entry(name).or_default();
                *count += 1;
                calls.push((name.to_string(), *count));
            }
        }
        calls
    }

    /// The change with the daemon killed before one of its calls.
    fn interrupted(&self, change: Step, (name, number): &(String, usize)) {
        let inject = format!("inject={name}:signal=KILL:when={number}");
        let (result, log) = self.traced(change, Some(inject));
        let code = result.map_err(|e| e.raw_os_error());
        let killed = matches!(code, Err(Some(libc::ECONNABORTED | libc::ENOTCONN)));
        assert!(killed, "{name} {number}: not killed: {code:?}\n{log}");
    }

    fn crashed(self, way: Way) -> (Snapshot, Vec<String>) {
        let Stage {
            layers,
            mounted,
            _scratch,
        } = self;
        mounted.crash();
        let mounted = mount(&layers, way);
        let view = view(&layers.merged);
        let left = residue(&layers.work).unwrap();
        mounted.unmount().unwrap();
        (view, left)
    }
}

fn mount(layers: &Layers, way: Way) -> Mounted {
    let options = ["threads=1", way.options].join(",");
    Mounted::new(Server::Plyfs, layers, options.trim_end_matches(',')).unwrap()
}

fn wait_until_attached(log: &Path, strace: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let said = fs::read_to_string(log).unwrap();
        if said.contains("attached") {
            return;
        }
        assert!(strace.try_wait().unwrap().is_none(), "strace: {said}");
        assert!(Instant::now() < deadline, "strace does not attach: {said}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What names and contents show; the times of directories follow when everything else is done.
fn view(at: &Path) -> Snapshot {
    let mut view = Snapshot::take(at).unwrap();
    for entry in view.entries.values_mut().flatten() {
        if entry.kind == FileType::Directory {
            entry.mtime = (0, 0);
        }
    }
    view
}

/// The steps at which a crash leaves something that is neither old nor new, in words.
fn check(way: Way, (name, before, change): &(&str, Step, Step)) -> Vec<String> {
    let stage = Stage::set(way, *before);
    let old = view(&stage.layers.merged);
    let calls = stage.calls(*change);
    let new = view(&stage.layers.merged);
    stage.mounted.unmount().unwrap();
    assert!(!calls.is_empty(), "{name}: nothing to interrupt");
    let mut wrong = Vec::new();
    for call in &calls {
        let stage = Stage::set(way, *before);
        stage.interrupted(*change, call);
        let (view, left) = stage.crashed(way);
        let [not_old, not_new] = [&old, &new].map(|state| state.differences(&view, Compare::View));
        let before = format!("{name}, killed before {call:?} of {calls:?}");
        if !not_old.is_empty() && !not_new.is_empty() {
            let lines = [not_old, not_new].concat().join("\n");
            wrong.push(format!("{before}:\n{lines}"));
        }
        if !left.is_empty() {
            wrong.push(format!("{before}: left in work: {left:?}"));
        }
    }
    wrong
}

fn every_step(options: &'static str, ramfs: bool, changes: &[&[(&str, Step, Step)]]) {
    let name = format!("T056 T118 killed at each step, {options}");
    let missing = Command::new("strace").arg("-V").output().is_err();
    let missing = missing.then(|| "needs strace".to_string());
    if let Some(why) = env::mounted_tests_impossible().or(missing) {
        return env::cannot_run(&name, &why);
    }
    let way = Way { options, ramfs };
    let changes = changes.iter().copied().flatten();
    let wrong: Vec<_> = changes
        .flat_map(|change| env::isolated(|| check(way, change)))
        .collect();
    assert!(wrong.is_empty(), "{name}\n{}", wrong.join("\n"));
}

#[test]
fn t056_killed_at_each_step() {
    every_step("", false, &[CHANGES, OVER_SOMETHING]);
}

/// Steps of files that are copied up without their data.
const METACOPIES: &[(&str, Step, Step)] = &[
    ("chmod of a lower file", nothing, |m| mode(m, 0o600)),
    (
        "open for writing of a metacopy",
        |m| mode(m, 0o600),
        |m| {
            fs::OpenOptions::new()
                .write(true)
                .open(m.join("f"))
                .map(drop)
        },
    ),
    (
        "rename of a metacopy",
        |m| mode(m, 0o600),
        |m| fs::rename(m.join("f"), m.join("d/new")),
    ),
    (
        "link of a metacopy",
        |m| mode(m, 0o600),
        |m| fs::hard_link(m.join("f"), m.join("d/new")),
    ),
];

fn mode(m: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(m.join("f"), fs::Permissions::from_mode(mode))
}

#[test]
fn t056_killed_at_each_step_with_metacopies() {
    every_step("metacopy=on", false, &[METACOPIES, CHANGES, OVER_SOMETHING]);
}

#[test]
fn t056_t118_killed_at_each_step_with_names() {
    every_step("whiteout=wh", false, &[CHANGES, OVER_SOMETHING]);
}

#[test]
fn t056_t118_killed_at_each_step_with_attributes() {
    every_step("whiteout=xattr", false, &[CHANGES]);
}

#[test]
fn t056_t118_killed_at_each_step_on_ramfs() {
    every_step("whiteout=wh", true, &[CHANGES, OVER_SOMETHING]);
}

/// Steps of files with several names.
const INDEXED: &[(&str, Step, Step)] = &[
    ("truncate of a lower hard link", nothing, |m| cut(m, "h1")),
    (
        "truncate by another name",
        |m| cut(m, "h1"),
        |m| {
            fs::OpenOptions::new()
                .write(true)
                .open(m.join("h2"))
                .map(drop)
        },
    ),
    ("unlink of a lower hard link", nothing, |m| {
        fs::remove_file(m.join("h1"))
    }),
    (
        "unlink of the last name",
        |m| fs::remove_file(m.join("h1")).and_then(|()| fs::remove_file(m.join("h2"))),
        |m| fs::remove_file(m.join("h3")),
    ),
    ("link to a lower hard link", nothing, |m| {
        fs::hard_link(m.join("h1"), m.join("new"))
    }),
    ("rename of a lower hard link", nothing, |m| {
        fs::rename(m.join("h1"), m.join("d/new"))
    }),
    ("rename over a lower hard link", nothing, |m| {
        fs::rename(m.join("f"), m.join("h2"))
    }),
];

fn cut(m: &Path, name: &str) -> io::Result<()> {
    fs::File::create(m.join(name)).map(drop)
}

#[test]
fn t080_t056_killed_at_each_step_with_an_index() {
    every_step("index=on", false, &[INDEXED]);
}
