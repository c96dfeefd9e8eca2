//! Several threads at once: T073, and what the judge makes of the same work.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::support::dice::Dice;
use super::support::layers::Layers;
use super::support::mount::Server;
use super::support::scenario::Scenario;
use super::support::steps::{Steps, errno_name};

const THREADS: usize = 4;
const CHANGES: usize = 500;

/// One change of a thread's own names in directories that all threads share.
fn change(root: &Path, me: usize, dice: &mut Dice, step: usize) -> (String, io::Result<()>) {
    let mut name = || format!("d{}/t{me}-{}", dice.roll(3), dice.roll(8));
    let (a, b) = (name(), name());
    let (pa, pb): (PathBuf, PathBuf) = (root.join(&a), root.join(&b));
    let kind = dice.roll(10);
    let result = match kind {
        0 => fs::write(&pa, format!("{a} {step}")),
        1 => fs::OpenOptions::new()
            .append(true)
            .open(&pa)
            .and_then(|f| f.write_all_at(b"", 0)),
        2 => fs::remove_file(&pa),
        3 | 4 => fs::rename(&pa, &pb),
        5 => fs::hard_link(&pa, &pb),
        6 => fs::create_dir(&pa),
        7 => fs::remove_dir(&pa),
        8 => fs::set_permissions(&pa, fs::Permissions::from_mode(0o600 + (step % 8) as u32)),
        _ => std::os::unix::fs::symlink(&a, &pb),
    };
    // Between two changes, look at what others do.
    let seen = fs::read_dir(root.join(format!("d{}", dice.roll(3)))).map(Iterator::count);
    (format!("{kind} {a} {b}"), seen.and(result))
}

fn build_shared(l: &Layers) {
    for t in 0..THREADS {
        for i in 0..8 {
            l.lower(1 + i % 2)
                .file(&format!("d{}/t{t}-{i}", i % 3), format!("lower {t} {i}"));
        }
    }
}

/// All threads work on names of their own; what each did goes to the transcript, thread by thread.
fn work_on_own_names(s: &mut Steps) {
    let root = s.at(".");
    let logs: Vec<Vec<String>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|me| {
                let root = &root;
                scope.spawn(move || {
                    let mut dice = Dice::new(me as u64 + 1);
                    let one = |step| {
                        let (what, result) = change(root, me, &mut dice, step);
                        let said = result.map_or_else(|e| errno_name(&e), |()| "ok".into());
                        format!("thread {me} step {step}: {what}: {said}")
                    };
                    (0..CHANGES).map(one).collect()
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    for (me, log) in logs.iter().enumerate() {
        let changed = log.iter().filter(|l| l.ends_with(": ok")).count();
        s.check(&format!("thread {me} changed much"), changed > CHANGES / 5)
            .holds();
    }
    s.transcript.extend(logs.into_iter().flatten());
}

#[test]
fn stress_own_names_in_shared_directories() {
    Scenario::new(
        "stress",
        "threads change their own names in shared directories: the same tree as the kernel's",
    )
    .lowers(2)
    .layers(build_shared)
    .steps(work_on_own_names);
}

#[test]
fn stress_one_set_of_names() {
    const NAMES: usize = 6;
    Scenario::new(
        "stress",
        "threads fight over the same names: every success adds up",
    )
    .layers(|l| {
        for i in 0..NAMES {
            l.lower(1).file(&format!("d/{i}"), "lower");
        }
    })
    .steps(|s| {
        let dir = s.at("d");
        // Creations less removals, by name; the lower files are there at first.
        let present: [AtomicI64; NAMES] = std::array::from_fn(|_| AtomicI64::new(1));
        let odd = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for me in 0..THREADS {
                let (dir, present, odd) = (&dir, &present, &odd);
                scope.spawn(move || {
                    let mut dice = Dice::new(77 + me as u64);
                    for _ in 0..CHANGES {
                        let i = dice.roll(NAMES);
                        let path = dir.join(i.to_string());
                        let (result, change, expected) = match dice.roll(4) {
                            0 => (
                                fs::File::create_new(&path).map(drop),
                                1,
                                io::ErrorKind::AlreadyExists,
                            ),
                            1 => (fs::remove_file(&path), -1, io::ErrorKind::NotFound),
                            2 => (fs::read(&path).map(drop), 0, io::ErrorKind::NotFound),
                            _ => {
                                let file = fs::OpenOptions::new().append(true).open(&path);
                                (
                                    file.and_then(|f| io::Write::write_all(&mut &f, b"x")),
                                    0,
                                    io::ErrorKind::NotFound,
                                )
                            }
                        };
                        match result {
                            Ok(()) => drop(present[i].fetch_add(change, Ordering::SeqCst)),
                            Err(e) if e.kind() == expected => {}
                            Err(e) => {
                                eprintln!("odd: {}: {e}", path.display());
                                odd.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    }
                });
            }
        });
        // The kernel lets EEXIST through when a copy-up loses a race (10.4).
        let as_expected = odd.into_inner() == 0 || s.server == Server::Kernel;
        s.check("only the expected errors", as_expected).holds();
        let listed: BTreeSet<String> = fs::read_dir(&dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        for (i, count) in present.iter().enumerate() {
            let (count, name) = (count.load(Ordering::SeqCst), i.to_string());
            let there = dir.join(&name).exists();
            let adds_up = count == i64::from(there) && listed.contains(&name) == there;
            s.check(&format!("{name}: successes add up"), adds_up)
                .holds();
        }
        // Who won is chance: leave the same tree behind on both sides.
        for i in 0..NAMES {
            let path = dir.join(i.to_string());
            if path.exists() {
                fs::remove_file(path).unwrap();
            }
        }
    });
}

#[test]
fn t073_two_threads_copy_up_one_file() {
    const FILES: usize = 40;
    Scenario::new(
        "T073",
        "two threads copy up one file: one result, no EEXIST leaks",
    )
    .layers(|l| {
        for i in 0..FILES {
            l.lower(1).file(&format!("a/b{i}/f"), vec![b'l'; 100_000]);
        }
    })
    .steps(|s| {
        let root = s.at(".");
        let barrier = Barrier::new(2);
        let failures: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..2_u64)
                .map(|me| {
                    let (root, barrier) = (&root, &barrier);
                    scope.spawn(move || {
                        let mut failed = 0;
                        for i in 0..FILES {
                            barrier.wait();
                            let file = fs::OpenOptions::new()
                                .write(true)
                                .open(root.join(format!("a/b{i}/f")));
                            let wrote = file.and_then(|f| f.write_all_at(b"U", me * 50_000));
                            failed += usize::from(wrote.is_err());
                        }
                        failed
                    })
                })
                .collect();
            workers.into_iter().map(|w| w.join().unwrap()).sum()
        });
        s.check("no write failed", failures == 0).holds();
        for i in 0..FILES {
            let content = fs::read(root.join(format!("a/b{i}/f"))).unwrap();
            let both = content.len() == 100_000 && content[0] == b'U' && content[50_000] == b'U';
            s.check("both changes are in one file", both).holds();
        }
    });
}

#[test]
fn stress_atomic_replacement() {
    const READERS: usize = 3;
    Scenario::new(
        "stress",
        "a name replaced by rename is never missing, and never half a file",
    )
    .layers(|l| {
        l.lower(1)
            .file("d/conf", "version 00000\n")
            .file("d/other", "x")
            .link("d/other", "d/alias");
    })
    .steps(|s| {
        let dir = s.at("d");
        let done = AtomicUsize::new(0);
        let read = |path: &Path| -> Result<(), String> {
            let file = fs::File::open(path).map_err(|e| format!("open: {e}"))?;
            let size = file.metadata().map_err(|e| format!("fstat: {e}"))?.len();
            let mut data = [0; 64];
            let n = file
                .read_at(&mut data, 0)
                .map_err(|e| format!("read: {e}"))?;
            path.symlink_metadata().map_err(|e| format!("stat: {e}"))?;
            let whole = n == 14 && data.starts_with(b"version ") && size == 14;
            if whole {
                Ok(())
            } else {
                Err(format!("{n} bytes of {size}"))
            }
        };
        let wrong: Vec<String> = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..READERS)
                .map(|_| {
                    scope.spawn(|| {
                        let mut wrong = Vec::new();
                        while done.load(Ordering::SeqCst) == 0 {
                            wrong.extend(read(&dir.join("conf")).err());
                        }
                        wrong
                    })
                })
                .collect();
            for version in 1..=CHANGES {
                let new = dir.join("conf.new");
                fs::write(&new, format!("version {version:05}\n")).unwrap();
                fs::rename(&new, dir.join("conf")).unwrap();
            }
            done.store(1, Ordering::SeqCst);
            readers
                .into_iter()
                .flat_map(|r| r.join().unwrap())
                .collect()
        });
        s.act("what readers met", Ok(wrong.join("; "))).is("");
    });
}

/// A name that comes and goes never disturbs who uses the file by a descriptor or another name.
#[test]
fn stress_names_that_move() {
    Scenario::new(
        "stress",
        "a file is usable by a descriptor and by its other name while one name moves",
    )
    .layers(|l| {
        l.lower(1).file("d/a", "data").dir("e");
        l.upper().file("up/a", "data").link("up/a", "other");
    })
    .steps(|s| {
        let root = s.at(".");
        let done = AtomicUsize::new(0);
        // The copied-up one gets its second name here.
        fs::hard_link(root.join("d/a"), root.join("e/other")).unwrap();
        let mut all = Vec::new();
        for (dir, other) in [("d", "e/other"), ("up", "other")] {
            done.store(0, Ordering::SeqCst);
            let (dir, other) = (root.join(dir), root.join(other));
            let use_it = |file: &fs::File| -> io::Result<()> {
                file.metadata()?;
                file.set_permissions(fs::Permissions::from_mode(0o640))?;
                match rustix::fs::fgetxattr(file, "user.none", &mut [0; 8]) {
                    Err(rustix::io::Errno::NODATA) => {}
                    other => {
                        return Err(
                            other.map_or_else(io::Error::from, |_| io::Error::other("an xattr"))
                        );
                    }
                }
                fs::read(&other)?;
                fs::set_permissions(&other, fs::Permissions::from_mode(0o600))?;
                fs::OpenOptions::new()
                    .write(true)
                    .open(&other)?
                    .write_all_at(b"DATA", 0)
            };
            let wrong: Vec<String> = std::thread::scope(|scope| {
                let user = scope.spawn(|| {
                    let file = fs::OpenOptions::new()
                        .read(true)
                        .write(true)
                        .open(&other)
                        .unwrap();
                    let mut wrong = Vec::new();
                    while done.load(Ordering::SeqCst) == 0 {
                        wrong.extend(use_it(&file).err().map(|e| e.to_string()));
                    }
                    wrong
                });
                for _ in 0..CHANGES / 2 {
                    fs::rename(dir.join("a"), dir.join("b")).unwrap();
                    fs::hard_link(dir.join("b"), dir.join("c")).unwrap();
                    fs::remove_file(dir.join("b")).unwrap();
                    fs::rename(dir.join("c"), dir.join("a")).unwrap();
                }
                done.store(1, Ordering::SeqCst);
                user.join().unwrap()
            });
            all.extend(wrong);
        }
        s.act("what the user met", Ok(all.join("; "))).is("");
    });
}

/// Opens of one file by many threads, in all modes: one I/O mode at a time, and never an error of it (22.8).
#[test]
fn t133_opens_by_many_threads() {
    const LARGE: usize = 300_000;
    Scenario::new(
        "T133",
        "threads open, read, write and close the same large files",
    )
    .layers(|l| {
        l.lower(1)
            .file("low", vec![b'l'; LARGE])
            .file("small", "small file that is read");
        l.upper().file("up", vec![b'u'; LARGE]);
    })
    .steps(|s| {
        let root = s.at(".");
        let wrong: Vec<String> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS)
                .map(|me| {
                    let root = &root;
                    scope.spawn(move || {
                        let mut dice = Dice::new(133 + me as u64);
                        let mut wrong = Vec::new();
                        for _ in 0..CHANGES {
                            let name = ["low", "up", "small"][dice.roll(3)];
                            let write = dice.roll(3) == 0;
                            let open = fs::OpenOptions::new()
                                .read(true)
                                .write(write)
                                .open(root.join(name));
                            let used = open.and_then(|file| {
                                let mut data = [0; 8];
                                let at = if name == "small" {
                                    0
                                } else {
                                    (dice.roll(LARGE / 8 - 1) * 8) as u64
                                };
                                file.read_exact_at(&mut data, at)?;
                                // What is there already: the files stay as they are, whoever comes first.
                                if write {
                                    file.write_all_at(&data, at)
                                } else {
                                    Ok(())
                                }
                            });
                            wrong.extend(used.err().map(|e| format!("{name}: {e}")));
                        }
                        wrong
                    })
                })
                .collect();
            workers
                .into_iter()
                .flat_map(|w| w.join().unwrap())
                .collect()
        });
        s.act("errors", Ok(wrong.join("; "))).is("");
        for name in ["low", "up", "small"] {
            s.read(name).noted();
        }
    });
}

/// The kernel forgets what it knows again and again while threads work.
/// What the kernel has forgotten holds no descriptor any more: of thousands of removed files none is left; a few
/// directories are kept for the next lookup.
fn no_leak(s: &mut Steps, drop_caches: &str) {
    const DIRECTORIES: usize = 100;
    let Some(pid) = s.pid else {
        return s.check("the daemon holds little", true).holds();
    };
    let open = || {
        let listed = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()));
        listed.unwrap().count()
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    // Forgetting is a message to the daemon, which closes in the background.
    while open() > DIRECTORIES && Instant::now() < deadline {
        fs::write(drop_caches, "2").unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    s.check("the daemon holds little", open() <= DIRECTORIES)
        .holds();
}

#[test]
fn t128_forgetting() {
    const DROP: &str = "/proc/sys/vm/drop_caches";
    if fs::OpenOptions::new().write(true).open(DROP).is_err() {
        return super::support::env::cannot_run("T128", "cannot write /proc/sys/vm/drop_caches");
    }
    Scenario::new(
        "T128",
        "threads work while the kernel drops its caches: the same tree, no stale handles",
    )
    .lowers(2)
    .layers(build_shared)
    .steps(|s| {
        let stop = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let dropper = scope.spawn(|| {
                let mut drops = 0;
                while stop.load(Ordering::SeqCst) == 0 {
                    fs::write(DROP, "2").unwrap();
                    drops += 1;
                }
                drops
            });
            work_on_own_names(s);
            stop.store(1, Ordering::SeqCst);
            assert!(dropper.join().unwrap() > 0, "caches were dropped meanwhile");
        });
        no_leak(s, DROP);
    });
}
