//! `kill -9` of the daemon in the middle of changes: after a remount every change is there or not there, never half.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::support::env;
use super::support::layers::Layers;
use super::support::mount::{Mounted, Server};
use super::support::scenario::snapshots;
use super::support::snapshot::{Compare, Snapshot};
use super::support::words::residue;

/// How many objects each worker goes through at most.
const ROUNDS: usize = 400;
/// Content of a file that is copied up: large enough that the kill may hit the copy.
static CONTENT: [u8; 200_000] = [b'l'; 200_000];

fn build(l: &Layers) {
    for i in 0..ROUNDS {
        l.lower(1)
            .file(&format!("copy/{i}"), CONTENT)
            .file(&format!("move/r{i}"), "moved");
        l.lower(1).file(&format!("empty/{i}/x"), "old");
    }
    l.settle();
}

/// Repeats `change` until it fails; returns how many were complete.
fn until_failure(done: &AtomicUsize, change: impl Fn(usize) -> io::Result<()>) -> usize {
    for i in 0..ROUNDS {
        if change(i).is_err() {
            return i;
        }
        done.fetch_add(1, Ordering::SeqCst);
    }
    ROUNDS
}

/// Three workers change the tree until the daemon is killed after `kill_after` changes. Returns what each completed.
fn hammer(mounted: Mounted, root: &Path, kill_after: usize) -> [usize; 3] {
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let copies = scope.spawn(|| {
            until_failure(&done, |i| {
                let file = fs::OpenOptions::new()
                    .write(true)
                    .open(root.join(format!("copy/{i}")))?;
                file.write_all_at(b"U", 0)
            })
        });
        let moves = scope.spawn(|| {
            until_failure(&done, |i| {
                fs::rename(
                    root.join(format!("move/r{i}")),
                    root.join(format!("move/s{i}")),
                )
            })
        });
        let empties = scope.spawn(|| {
            until_failure(&done, |i| {
                let dir = root.join(format!("empty/{i}"));
                fs::remove_file(dir.join("x"))?;
                fs::remove_dir(&dir)?;
                fs::create_dir(&dir)
            })
        });
        while done.load(Ordering::SeqCst) < kill_after {
            std::thread::yield_now();
        }
        mounted.crash();
        [copies, moves, empties].map(|worker| worker.join().unwrap())
    })
}

/// What is wrong with the tree after `done` complete changes and possibly one more begun, of each sort.
fn inspect(root: &Path, done: [usize; 3]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut insist = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    let [copies, moves, empties] = done;
    for i in 0..ROUNDS {
        let content = fs::read(root.join(format!("copy/{i}"))).unwrap_or_default();
        insist(
            content.len() == CONTENT.len(),
            format!("copy/{i} has {} bytes", content.len()),
        );
        insist(
            content.iter().skip(1).all(|b| *b == b'l'),
            format!("copy/{i} is damaged"),
        );
        let changed = content.first() == Some(&b'U');
        insist(
            i == copies || changed == (i < copies),
            format!("copy/{i} changed: {changed}, {copies} were"),
        );

        let [from, to] = ["r", "s"].map(|n| fs::read(root.join(format!("move/{n}{i}"))).ok());
        insist(
            from.is_some() != to.is_some(),
            format!("move/{i}: {from:?} and {to:?}"),
        );
        insist(
            i == moves || to.is_some() == (i < moves),
            format!("move/{i}: {to:?}, {moves} were moved"),
        );

        let old = root.join(format!("empty/{i}/x")).exists();
        let dir = root.join(format!("empty/{i}")).exists();
        insist(i == empties || dir, format!("empty/{i} is missing"));
        insist(
            i == empties || old == (i > empties),
            format!("empty/{i}/x exists: {old}, {empties} were emptied"),
        );
    }
    wrong
}

fn crash_after(changes: usize) {
    let name = format!("T074 kill -9 after {changes} changes");
    if let Some(why) = env::mounted_tests_impossible().or_else(env::kernel_overlay_impossible) {
        return env::cannot_run(&name, &why);
    }
    env::isolated(|| {
        let scratch = env::Scratch::new();
        let layers = Layers::new(scratch.path(), 1, true);
        build(&layers);
        let before = snapshots(&layers);
        let mounted = Mounted::new(Server::Plyfs, &layers, "").unwrap();
        let done = hammer(mounted, &layers.merged, changes);
        assert!(
            done.iter().sum::<usize>() >= changes && done.iter().any(|n| *n < ROUNDS),
            "killed in the middle"
        );

        let mounted = Mounted::new(Server::Plyfs, &layers, "").unwrap();
        let wrong = inspect(&layers.merged, done);
        let view = Snapshot::take(&layers.merged).unwrap();
        mounted.unmount().unwrap();
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
        assert_eq!(
            residue(&layers.work).unwrap(),
            Vec::<String>::new(),
            "residue in work"
        );

        let mounted = Mounted::new(Server::Kernel, &layers, "").unwrap();
        let judged = Snapshot::take(&layers.merged).unwrap();
        mounted.unmount().unwrap();
        assert_eq!(
            view.differences(&judged, Compare::SameView),
            Vec::<String>::new(),
            "the kernel's view"
        );
        let changed = before[0].differences(&snapshots(&layers)[0], Compare::Untouched);
        assert_eq!(changed, Vec::<String>::new(), "LOWER CHANGED");
    });
}

#[test]
fn t056_t074_killed_early() {
    crash_after(5);
}

#[test]
fn t056_t074_killed_in_the_middle() {
    crash_after(170);
}

#[test]
fn t056_t074_killed_late() {
    crash_after(431);
}
