//! `index=on` over what others left: other layers, crashes, mounts without an index, the kernel. T080 - T082, T122.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::XattrFlags;

use super::support::env::{self, Scratch};
use super::support::layers::Layers;
use super::support::mount::{Mounted, Server};
use super::support::snapshot::{self, Compare, Snapshot};
use super::support::words::{index_entries, residue};

const ON: &str = "index=on";
const OFF: &str = "index=off";
const SERVERS: [Server; 2] = [Server::Kernel, Server::Plyfs];

fn mount(server: Server, layers: &Layers, index: &str) -> Result<Mounted, String> {
    let options = match server {
        Server::Kernel => format!("{index},redirect_dir=off,metacopy=off,xino=off"),
        Server::Plyfs => index.to_string(),
    };
    Mounted::new(server, layers, &options)
}

/// Mounts, works, unmounts.
fn mounted<T>(server: Server, layers: &Layers, index: &str, work: impl FnOnce(&Path) -> T) -> T {
    let mounted = mount(server, layers, index).unwrap();
    let result = work(&layers.merged);
    mounted.unmount().unwrap();
    result
}

/// Runs a test on layers of its own for each server: `a`, `b` and `d/c` are one file in the lower layer.
fn on_both(name: &str, test: impl Fn(Server, &mut Layers) + Send + Sync) {
    if let Some(why) = env::mounted_tests_impossible().or_else(env::kernel_overlay_impossible) {
        return env::cannot_run(name, &why);
    }
    env::isolated(|| {
        let mut scratch = Scratch::new();
        for server in SERVERS {
            // It has a UUID for certain.
            let root = scratch.tmpfs(&format!("{server:?}"), "64m");
            test(server, &mut layers(&root));
        }
    });
}

fn layers(root: &Path) -> Layers {
    let layers = Layers::new(root, 1, true);
    layers
        .lower(1)
        .file("a", "data")
        .link("a", "b")
        .link("a", "d/c");
    layers.settle();
    layers
}

fn append(path: PathBuf, text: &str) {
    let old = fs::read_to_string(&path).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    drop(file);
    assert_eq!(fs::read_to_string(&path).unwrap(), old + text);
}

/// Content and link count of `a`, `b` and `d/c`, where they exist, and whether they are one file.
fn names(root: &Path) -> String {
    let mut text = String::new();
    let mut numbers = Vec::new();
    for name in ["a", "b", "d/c"] {
        let Ok(meta) = fs::metadata(root.join(name)) else {
            continue;
        };
        let content = fs::read_to_string(root.join(name)).unwrap();
        text += &format!("{name}={content}:{} ", meta.nlink());
        numbers.push(meta.ino());
    }
    numbers.dedup();
    text + &format!("{} file", numbers.len())
}

/// The one entry of the index.
fn entry(layers: &Layers) -> PathBuf {
    let names = snapshot::names(&layers.work.join("index")).unwrap();
    let mut entries = names
        .iter()
        .filter(|name| name.to_string_lossy().starts_with("00fb"));
    let entry = layers.work.join("index").join(entries.next().unwrap());
    assert_eq!(entries.next(), None, "one entry");
    entry
}

fn set_count(path: &Path, value: &str) {
    let mark = "trusted.overlay.nlink";
    rustix::fs::lsetxattr(path, mark, value.as_bytes(), XattrFlags::empty()).unwrap();
}

fn assert_stale(result: Result<Mounted, String>, what: &str) {
    let why = match result {
        Ok(mounted) => {
            mounted.unmount().unwrap();
            panic!("{what}: mounted");
        }
        Err(why) => why,
    };
    let stale = why.contains("ESTALE") || why.contains("Stale file handle");
    assert!(stale, "{what}: {why}");
}

#[test]
fn t082_other_layers_are_refused() {
    on_both("T082", |server, layers| {
        mounted(server, layers, ON, |m| append(m.join("a"), "+"));
        let origin = "trusted.overlay.origin";
        let marks = snapshot::xattrs(&layers.upper).unwrap();
        assert!(marks[origin].starts_with(b"\0\xfb"), "{server:?}");
        let marks = snapshot::xattrs(&layers.work.join("index")).unwrap();
        assert!(marks["trusted.overlay.upper"].starts_with(b"\0\xfb"));

        let other = layers.upper.with_file_name("other");
        fs::create_dir(&other).unwrap();
        let lower = std::mem::replace(&mut layers.lowers[0], other.clone());
        for by in SERVERS {
            assert_stale(mount(by, layers, ON), "another lower layer");
            mount(by, layers, OFF).unwrap().unmount().unwrap();
        }
        layers.lowers[0] = lower;
        let upper = std::mem::replace(&mut layers.upper, other);
        for by in SERVERS {
            assert_stale(mount(by, layers, ON), "another upper layer");
        }
        layers.upper = upper;
        for by in SERVERS {
            let seen = mounted(by, layers, ON, names);
            assert_eq!(seen, "a=data+:3 b=data+:3 d/c=data+:3 1 file", "{by:?}");
        }
    });
}

#[test]
fn t082_a_second_lower_may_change() {
    on_both("T082", |server, layers| {
        mounted(server, layers, ON, |m| append(m.join("a"), "+"));
        let second = layers.upper.with_file_name("second");
        fs::create_dir(&second).unwrap();
        layers.lowers.push(second);
        let seen = mounted(server, layers, ON, names);
        assert_eq!(seen, "a=data+:3 b=data+:3 d/c=data+:3 1 file");
    });
}

#[test]
fn t122_an_index_changes_hands() {
    on_both("T122", |first, layers| {
        let other = SERVERS.into_iter().find(|s| *s != first).unwrap();
        mounted(first, layers, ON, |m| append(m.join("a"), "1"));
        mounted(other, layers, ON, |m| {
            assert_eq!(names(m), "a=data1:3 b=data1:3 d/c=data1:3 1 file");
            append(m.join("d/c"), "2");
            fs::remove_file(m.join("a")).unwrap();
        });
        mounted(first, layers, ON, |m| {
            assert_eq!(names(m), "b=data12:2 d/c=data12:2 1 file");
            fs::hard_link(m.join("b"), m.join("new")).unwrap();
            fs::rename(m.join("b"), m.join("a")).unwrap();
        });
        mounted(other, layers, ON, |m| {
            assert_eq!(names(m), "a=data12:3 d/c=data12:3 1 file");
            for name in ["a", "new", "d/c"] {
                fs::remove_file(m.join(name)).unwrap();
            }
        });
        assert_eq!(index_entries(&layers.work).unwrap(), "");
        mounted(first, layers, ON, |m| assert_eq!(names(m), "0 file"));
    });
}

#[test]
fn t080_without_the_index_it_is_left_alone() {
    on_both("T080", |server, layers| {
        mounted(server, layers, ON, |m| append(m.join("a"), "+"));
        let index = Snapshot::take(&layers.work.join("index")).unwrap();
        mounted(server, layers, OFF, |m| {
            assert_eq!(fs::read_to_string(m.join("a")).unwrap(), "data+");
            assert_eq!(fs::read_to_string(m.join("b")).unwrap(), "data");
            append(m.join("b"), "-");
        });
        let after = Snapshot::take(&layers.work.join("index")).unwrap();
        let changed = index.differences(&after, Compare::Untouched);
        assert_eq!(changed, Vec::<String>::new(), "{server:?}");
        // What was broken off stays broken off.
        for by in SERVERS {
            let seen = mounted(by, layers, ON, names);
            assert_eq!(seen, "a=data+:3 b=data-:1 d/c=data+:3 3 file", "{by:?}");
        }
    });
}

#[test]
fn t080_a_read_only_mount_reads_the_index() {
    on_both("T080", |server, layers| {
        mounted(server, layers, ON, |m| append(m.join("a"), "+"));
        fs::remove_file(layers.upper.join("a")).unwrap();
        fs::hard_link(entry(layers), layers.upper.join("a")).unwrap();
        let options = format!("ro,{}", layers.options());
        let at = layers.merged.clone();
        let seen = match server {
            Server::Plyfs => mounted(server, layers, "index=on,ro", names),
            Server::Kernel => {
                let run = |program: &str, args: &[&str]| env::run(program, args).unwrap();
                let options = format!("{options},index=on");
                let at = at.to_str().unwrap();
                run("mount", &["-t", "overlay", "-o", &options, "overlay", at]);
                let seen = names(&layers.merged);
                run("umount", &[at]);
                seen
            }
        };
        assert_eq!(seen, "a=data+:3 b=data+:3 d/c=data+:3 1 file", "{server:?}");
    });
}

/// What a crash can leave between the steps of linking a name up, and what it must come to.
#[test]
fn t080_a_crash_leaves_the_count_right() {
    on_both("T080", |server, layers| {
        mounted(server, layers, ON, |m| append(m.join("a"), "+"));
        let entry = entry(layers);
        let whole = "a=data+:3 b=data+:3 d/c=data+:3 1 file";
        // Before the link.
        set_count(&entry, "L+0");
        assert_eq!(mounted(server, layers, ON, names), whole, "{server:?}");
        // After it.
        fs::hard_link(&entry, layers.upper.join("b")).unwrap();
        assert_eq!(mounted(server, layers, ON, names), whole, "{server:?}");
        mounted(server, layers, ON, |m| {
            fs::remove_file(m.join("d/c")).unwrap();
            assert_eq!(names(m), "a=data+:2 b=data+:2 1 file", "{server:?}");
        });
        assert_eq!(index_entries(&layers.work).unwrap(), "file 3 U-1");
        // A count that says nothing: the links are counted, that of the index among them.
        set_count(&entry, "nothing");
        let seen = mounted(server, layers, ON, names);
        assert_eq!(seen, "a=data+:3 b=data+:3 1 file", "{server:?}");
    });
}

#[test]
fn t081_dead_entries_are_removed_at_mount() {
    on_both("T081", |server, layers| {
        mounted(server, layers, ON, |m| append(m.join("a"), "+"));
        let (good, index) = (entry(layers), layers.work.join("index"));
        fs::write(index.join("#17"), "unfinished").unwrap();
        fs::create_dir(index.join("#18")).unwrap();
        // A copy of another file's entry: its origin is not its name.
        let mut name = good.file_name().unwrap().to_str().unwrap().to_string();
        name.replace_range(42..50, "77777777");
        let cp = [
            "-a",
            good.to_str().unwrap(),
            index.join(&name).to_str().unwrap(),
        ]
        .map(String::from);
        let args: Vec<&str> = cp.iter().map(String::as_str).collect();
        env::run("cp", &args).unwrap();
        mount(server, layers, ON).unwrap().unmount().unwrap();
        assert_eq!(
            snapshot::names(&index).unwrap(),
            [good.file_name().unwrap()]
        );
        // No name is left: a crash between the removal of the last one and that of the entry.
        fs::remove_file(layers.upper.join("a")).unwrap();
        set_count(&good, "U-1");
        mount(server, layers, ON).unwrap().unmount().unwrap();
        assert_eq!(index_entries(&layers.work).unwrap(), "", "{server:?}");
    });
}

#[test]
fn t081_an_entry_of_a_file_that_is_gone() {
    on_both("T081", |server, layers| {
        mounted(server, layers, ON, |m| append(m.join("a"), "+"));
        fs::remove_file(layers.upper.join("a")).unwrap();
        for name in ["a", "b", "d/c"] {
            fs::remove_file(layers.lowers[0].join(name)).unwrap();
        }
        mount(server, layers, ON).unwrap().unmount().unwrap();
        assert_eq!(index_entries(&layers.work).unwrap(), "", "{server:?}");
    });
}

#[test]
fn t082_what_is_no_entry_stops_the_mount() {
    on_both("T082", |server, layers| {
        mounted(server, layers, ON, |m| append(m.join("a"), "+"));
        let index = layers.work.join("index");
        let good = entry(layers);
        for bad in ["garbage", "00fb", "zz"] {
            fs::write(index.join(bad), "").unwrap();
            let why = mount(server, layers, ON).err().unwrap();
            assert!(why.contains("EINVAL") || why.contains(bad), "{why}");
            fs::remove_file(index.join(bad)).unwrap();
        }
        rustix::fs::lremovexattr(&good, "trusted.overlay.origin").unwrap();
        let why = mount(server, layers, ON).err().unwrap();
        assert!(why.contains("ENODATA") || why.contains("No data"), "{why}");
        mount(server, layers, OFF).unwrap().unmount().unwrap();
    });
}

#[test]
fn t082_layers_that_can_have_no_index() {
    on_both("T082", |server, layers| {
        // An overlay has no file handles.
        let inner = layers.upper.with_file_name("inner");
        fs::create_dir(&inner).unwrap();
        let mut below = Layers::new(&inner, 1, true);
        below.lowers = vec![layers.lowers[0].clone()];
        let below_mount = mount(Server::Kernel, &below, OFF).unwrap();
        layers.lowers[0] = below.merged.clone();
        let top = mount(server, layers, ON).unwrap();
        append(layers.merged.join("a"), "+");
        let seen = names(&layers.merged);
        let said = top.said();
        top.unmount().unwrap();
        below_mount.unmount().unwrap();
        assert_eq!(seen, "a=data+:1 b=data:3 d/c=data:3 2 file", "{server:?}");
        assert_eq!(index_entries(&layers.work).unwrap(), "none");
        if server == Server::Plyfs {
            assert!(said.contains("no file handles"), "{said}");
        }
    });
}

#[test]
fn t082_without_the_right_to_open_handles() {
    on_both("T082", |server, layers| {
        if server == Server::Kernel {
            return;
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--bounding-set", "-dac_read_search"])
            .arg(env!("CARGO_BIN_EXE_plyfs"))
            .args(["mount", "-f", "-o"])
            .arg(format!("{},index=on", layers.options()))
            .arg(&layers.merged);
        let mounted = Mounted::plyfs_by(command, &layers.merged).unwrap();
        append(layers.merged.join("a"), "+");
        let (seen, said) = (names(&layers.merged), mounted.said());
        mounted.unmount().unwrap();
        assert_eq!(seen, "a=data+:1 b=data:3 d/c=data:3 2 file");
        assert!(said.contains("CAP_DAC_READ_SEARCH"), "{said}");
    });
}

#[test]
fn t122_handles_without_a_uuid() {
    on_both("T122", |server, layers| {
        let on = "index=on,uuid=off";
        mounted(server, layers, on, |m| append(m.join("a"), "+"));
        let name = entry(layers);
        let name = name.file_name().unwrap().to_str().unwrap();
        assert_eq!(&name[10..42], "0".repeat(32), "{server:?}");
        for by in SERVERS {
            let seen = mounted(by, layers, on, names);
            assert_eq!(seen, "a=data+:3 b=data+:3 d/c=data+:3 1 file", "{by:?}");
            assert_stale(mount(by, layers, ON), "handles with a UUID");
        }
    });
}

/// How many files with three names each the crash test has.
const FILES: usize = 150;

/// Changes and removes names until the daemon dies, which it does after `kill_after` changes.
fn work_until_killed(mounted: Mounted, root: &Path, kill_after: usize) {
    let done = AtomicUsize::new(0);
    let work = |offset: usize| {
        for i in (offset..FILES).step_by(2) {
            let at = |name: &str| root.join(format!("{name}{i}"));
            let change = fs::write(at("d/y"), "changed")
                .and_then(|()| fs::remove_file(at("z")))
                .and_then(|()| fs::hard_link(at("x"), at("d/new")))
                .and_then(|()| fs::remove_file(at("d/y")));
            if change.is_err() {
                return;
            }
            done.fetch_add(1, Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        let workers = [0, 1].map(|n| scope.spawn(move || work(n)));
        while done.load(Ordering::SeqCst) < kill_after && !workers.iter().all(|w| w.is_finished()) {
            std::thread::yield_now();
        }
        mounted.crash();
    });
}

/// All names of each file are one file, and are as many as it has links.
fn inspect(root: &Path) {
    for i in 0..FILES {
        let paths = ["x", "d/y", "z", "d/new"].map(|name| root.join(format!("{name}{i}")));
        let there: Vec<_> = paths.iter().filter(|path| path.exists()).collect();
        let first = fs::metadata(there[0]).unwrap();
        let content = fs::read(there[0]).unwrap();
        assert!(
            matches!(content.as_slice(), b"" | b"changed" | b"original"),
            "{i}: {content:?}"
        );
        for path in &there {
            let meta = fs::metadata(path).unwrap();
            assert_eq!(meta.ino(), first.ino(), "{path:?}");
            assert_eq!(meta.nlink() as usize, there.len(), "{path:?}");
            assert_eq!(fs::read(path).unwrap(), content, "{path:?}");
        }
    }
}

fn killed_after(changes: usize) {
    let name = format!("index=on, kill -9 after {changes} changes");
    if let Some(why) = env::mounted_tests_impossible().or_else(env::kernel_overlay_impossible) {
        return env::cannot_run(&name, &why);
    }
    env::isolated(|| {
        let scratch = Scratch::new();
        let layers = Layers::new(scratch.path(), 1, true);
        for i in 0..FILES {
            let [x, y, z] = ["x", "d/y", "z"].map(|name| format!("{name}{i}"));
            layers
                .lower(1)
                .file(&x, "original")
                .link(&x, &y)
                .link(&x, &z);
        }
        layers.settle();
        let first = mount(Server::Plyfs, &layers, ON).unwrap();
        work_until_killed(first, &layers.merged, changes);
        let second = mount(Server::Plyfs, &layers, ON).unwrap();
        inspect(&layers.merged);
        let view = Snapshot::take(&layers.merged).unwrap();
        second.unmount().unwrap();
        assert_eq!(residue(&layers.work).unwrap(), Vec::<String>::new());
        let judged = mounted(Server::Kernel, &layers, ON, |m| Snapshot::take(m).unwrap());
        let different = view.differences(&judged, Compare::SameView);
        assert_eq!(different, Vec::<String>::new(), "the kernel's view");
    });
}

#[test]
fn t080_t074_killed_early() {
    killed_after(2);
}

#[test]
fn t080_t074_killed_late() {
    killed_after(90);
}
