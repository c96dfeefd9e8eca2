//! Requests that take long keep nobody else waiting. The lower layer of these mounts is a mount of plyfs itself, whose
//! daemon is stopped: what reads from it stands still for as long as a test likes, and no clock is needed.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};

use super::support::env::{self, Scratch};
use super::support::layers::Layers;
use super::support::mount::{Mounted, Server, abort_connection};
use super::support::steps;
use super::support::words::residue;

/// More than there are readers, and fewer than may wait.
const STUCK: usize = 12;
const SIZE: usize = 1_500_000;
/// Of a file that who reads the request may copy up himself.
const SMALL: usize = 3000;
/// What answers does so at once; what hangs is found out.
const PATIENCE: Duration = Duration::from_secs(60);

/// The mount below, which can stand still, and the one above.
struct Stage {
    _scratch: Scratch,
    below: Mounted,
    above: Mounted,
    layers: Layers,
    /// Names that the kernel must not forget meanwhile: to look them up again takes the mount below.
    known: Vec<OwnedFd>,
}

impl Stage {
    fn set(options: &str) -> Stage {
        let scratch = Scratch::new();
        let source = Layers::new(&scratch.path().join("below"), 1, false);
        for n in 0..STUCK {
            source.lower(1).file(&format!("big{n}"), vec![b'b'; SIZE]);
            source
                .lower(1)
                .file(&format!("small{n}"), vec![b's'; SMALL]);
        }
        source.settle();
        let below = Mounted::new(Server::Plyfs, &source, "passthrough=off,noopen=off").unwrap();
        let mut layers = Layers::new(&scratch.path().join("above"), 1, true);
        layers.lowers[0] = source.merged.clone();
        layers.upper().file("up/f", "upper");
        let above = Mounted::new(Server::Plyfs, &layers, options).unwrap();
        // What the layers have is known from here on, but for data.
        let names = (0..STUCK).flat_map(|n| [format!("big{n}"), format!("small{n}")]);
        let known = names.chain(["up/f".into()]).map(|name| {
            let path = layers.merged.join(name);
            fs::metadata(&path).unwrap();
            rustix::fs::open(&path, OFlags::PATH, Mode::empty()).unwrap()
        });
        let known = known.collect();
        Stage {
            _scratch: scratch,
            below,
            above,
            layers,
            known,
        }
    }

    fn signal(&self, signal: Signal) {
        let pid: Pid = self.below.pid().unwrap();
        kill_process(pid, signal).unwrap();
    }
}

/// Runs what must not wait; a panic if it does.
fn at_once(what: &str, action: impl FnOnce() + Send + 'static) {
    let (done, waits) = channel();
    let acting = std::thread::spawn(move || {
        action();
        done.send(()).unwrap();
    });
    if waits.recv_timeout(PATIENCE).is_err() {
        assert!(!acting.is_finished(), "{what} failed");
        panic!("{what} waits for somebody else's copy-up");
    }
    acting.join().unwrap();
}

/// Threads that change each a lower file, and how many are done.
fn start(root: &Path, size: &str, change: fn(&Path)) -> (Vec<JoinHandle<()>>, Arc<AtomicUsize>) {
    let done = Arc::new(AtomicUsize::new(0));
    let threads = (0..STUCK).map(|n| {
        let path = root.join(format!("{size}{n}"));
        let done = done.clone();
        std::thread::spawn(move || {
            change(&path);
            done.fetch_add(1, Ordering::SeqCst);
        })
    });
    (threads.collect(), done)
}

fn append(path: &Path) {
    let mut file = steps::open(path, "w,append").unwrap();
    file.write_all(b"more").unwrap();
}

fn chmod(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn rename(path: &Path) {
    fs::rename(path, path.with_extension("moved")).unwrap();
}

fn link(path: &Path) {
    fs::hard_link(path, path.with_extension("moved")).unwrap();
}

/// `size`: "big" or "small".
fn others_go_on(
    options: &'static str,
    size: &'static str,
    change: fn(&Path),
    whole: fn(&Path) -> bool,
) {
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("long requests", &why);
    }
    env::isolated(move || {
        let stage = Stage::set(options);
        let root = stage.layers.merged.clone();
        stage.signal(Signal::STOP);
        let (threads, done) = start(&root, size, change);
        wait_until(|| waiting_below(&stage) > 0);
        let at = root.clone();
        at_once("work on other files", move || {
            assert_eq!(fs::metadata(at.join("up/f")).unwrap().len(), 5);
            assert_eq!(fs::read(at.join("up/f")).unwrap(), b"upper");
            for n in 0..100 {
                fs::write(at.join(format!("up/new{n}")), "new").unwrap();
                fs::rename(at.join(format!("up/new{n}")), at.join("up/one")).unwrap();
            }
            symlink("nowhere", at.join("up/link")).unwrap();
            assert_eq!(fs::read_dir(at.join("up")).unwrap().count(), 3);
        });
        assert_eq!(done.load(Ordering::SeqCst), 0, "nothing stood still");
        stage.signal(Signal::CONT);
        for thread in threads {
            thread.join().unwrap();
        }
        for n in 0..STUCK {
            assert!(whole(&root.join(format!("{size}{n}"))), "{size}{n}");
        }
        assert!(residue(&stage.layers.work).unwrap().is_empty());
        drop(stage.known);
        stage.above.unmount().unwrap();
        stage.below.unmount().unwrap();
    });
}

/// How many requests the stopped daemon has not answered.
fn waiting_below(stage: &Stage) -> u64 {
    super::support::mount::waiting(stage.below.path())
}

fn wait_until(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "nothing reads the lower layer");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_longer(path: &Path) -> bool {
    fs::read(path).is_ok_and(|data| data.len() == SIZE + 4 && data.ends_with(b"bmore"))
}

fn is_longer_small(path: &Path) -> bool {
    fs::read(path).is_ok_and(|data| data.len() == SMALL + 4 && data.ends_with(b"smore"))
}

fn has_moved(path: &Path) -> bool {
    fs::read(path.with_extension("moved")).is_ok_and(|data| data == [b'b'; SIZE])
}

#[test]
fn opening_for_writing() {
    others_go_on("noopen=off", "big", append, is_longer);
}

/// One of these is copied up by who read the request: not by all who read, and by nobody where only one does.
#[test]
fn opening_small_files_for_writing() {
    for options in ["noopen=off", "noopen=off,threads=1", "noopen=off,threads=3"] {
        others_go_on(options, "small", append, is_longer_small);
    }
}

#[test]
fn changing_attributes() {
    let whole = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777 == 0o600;
    for options in ["", "noopen=on"] {
        others_go_on(options, "big", chmod, whole);
    }
}

#[test]
fn renaming() {
    others_go_on("", "big", rename, has_moved);
}

#[test]
fn linking() {
    others_go_on("", "big", link, has_moved);
}

/// A connection that ends while files are copied up: the daemon finishes them, and leaves nothing in the work
/// directory.
#[test]
fn the_end_waits_for_the_workers() {
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("long requests at the end of a mount", &why);
    }
    env::isolated(|| {
        let stage = Stage::set("");
        let root = stage.layers.merged.clone();
        stage.signal(Signal::STOP);
        let threads: Vec<_> = (0..STUCK)
            .map(|n| root.join(format!("big{n}")))
            .map(|path| std::thread::spawn(move || File::options().append(true).open(path)))
            .collect();
        wait_until(|| waiting_below(&stage) > 0);
        abort_connection(&root);
        for thread in threads {
            assert!(thread.join().unwrap().is_err());
        }
        stage.signal(Signal::CONT);
        drop(stage.known);
        stage.above.unmount().unwrap();
        assert!(residue(&stage.layers.work).unwrap().is_empty());
        stage.below.unmount().unwrap();
    });
}
