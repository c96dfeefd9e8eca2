//! A daemon that nobody asks anything: it sleeps, and is small, also after a crowd has come and gone.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::Pid;

use super::support::env::{self, Scratch};
use super::support::layers::Layers;
use super::support::mount::{Mounted, Server};

/// How long nothing may wake it.
const WATCHED: Duration = Duration::from_secs(3);
/// How long it may take until what was asked is done, and memory given back.
const PATIENCE: Duration = Duration::from_secs(60);
/// More files than it takes for memory to be looked for.
const DIRS: usize = 30;
const FILES: usize = 1000;
/// What may be left of a crowd.
const LEFT_KIB: u64 = 4 << 10;
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// A figure of a process's status.
fn figure(status: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(status).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    let digits = line.split_ascii_whitespace().nth(1).unwrap();
    digits.parse().unwrap()
}

/// How often any thread of the daemon has run.
fn runs(daemon: Pid) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.as_raw_nonzero())).unwrap();
    let of = |task: fs::DirEntry| {
        let status = task.path().join("status");
        figure(&status, "voluntary_ctxt_switches:") + figure(&status, "nonvoluntary_ctxt_switches:")
    };
    tasks.map(|task| of(task.unwrap())).sum()
}

/// How often it runs while nobody asks for anything.
fn wakeups(daemon: Pid) -> u64 {
    let before = runs(daemon);
    std::thread::sleep(WATCHED);
    runs(daemon) - before
}

/// Memory of the daemon's own, in KiB.
fn own_memory(daemon: Pid) -> u64 {
    let status = format!("/proc/{}/status", daemon.as_raw_nonzero());
    figure(Path::new(&status), "RssAnon:")
}

fn build(scratch: &Scratch, dirs: usize) -> Layers {
    // So many files take long on a disk; in a mount namespace of our own.
    rustix::mount::mount("tmpfs", scratch.path(), "tmpfs", MountFlags::empty(), None).unwrap();
    let layers = Layers::new(scratch.path(), 1, true);
    for dir in 0..dirs {
        let dir = layers.lowers[0].join(dir.to_string());
        fs::create_dir(&dir).unwrap();
        for file in 0..FILES {
            fs::write(dir.join(format!("a-file-{file}")), "").unwrap();
        }
    }
    layers
}

fn leave(scratch: &Scratch) {
    rustix::mount::unmount(scratch.path(), UnmountFlags::DETACH).unwrap();
}

/// Every file is known then.
fn visit(at: &Path) {
    for dir in fs::read_dir(at).unwrap() {
        for entry in fs::read_dir(dir.unwrap().path()).unwrap() {
            entry.unwrap().metadata().unwrap();
        }
    }
}

#[test]
fn nothing_wakes_an_idle_daemon() {
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("an idle daemon", &why);
    }
    env::isolated(|| {
        for options in ["", "noopen=on"] {
            let scratch = Scratch::new();
            let layers = build(&scratch, 1);
            let mounted = Mounted::new(Server::Plyfs, &layers, options).unwrap();
            let daemon = mounted.pid().unwrap();
            visit(&layers.merged);
            // A worker has been started, and waits.
            let written = fs::File::options()
                .append(true)
                .open(layers.merged.join("0/a-file-0"));
            written.unwrap().sync_all().unwrap();
            // Others may make the kernel forget its files, which it tells; not all the time.
            let start = Instant::now();
            while wakeups(daemon) > 0 {
                assert!(start.elapsed() < PATIENCE, "it wakes up again and again");
            }
            mounted.unmount().unwrap();
            leave(&scratch);
        }
    });
}

#[test]
fn memory_of_forgotten_files_goes_back() {
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("memory after a crowd", &why);
    }
    env::isolated(|| {
        let scratch = Scratch::new();
        let layers = build(&scratch, DIRS);
        let mounted = Mounted::new(Server::Plyfs, &layers, "").unwrap();
        let daemon = mounted.pid().unwrap();
        let before = own_memory(daemon);
        visit(&layers.merged);
        let known = own_memory(daemon);
        assert!(known > before + LEFT_KIB, "{known} KiB for so many files");
        let start = Instant::now();
        loop {
            fs::write(DROP_CACHES, "2").unwrap();
            std::thread::sleep(Duration::from_millis(500));
            let left = own_memory(daemon);
            if left <= before + LEFT_KIB {
                break;
            }
            let late = start.elapsed() > PATIENCE;
            assert!(!late, "{left} KiB are left of {known}, {before} before");
        }
        mounted.unmount().unwrap();
        leave(&scratch);
    });
}
