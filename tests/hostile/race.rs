//! Layers swapped for links to the outside while they are in use: a renaming thread against every kind of call.
//!
//! The daemon may answer anything, as changing a live layer is undefined; it may not be lured outside.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags};

use super::siege::{FILES_OUTSIDE, Field, Inside, Siege, bounded, not_secret};

/// Swaps two names until the attack is over, and tells how often.
fn swapping(a: &Path, b: &Path, attack: impl FnOnce()) -> usize {
    let (over, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).expect("swap");
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Not before the swapping has begun.
        while swaps.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        attack();
        over.store(true, Ordering::Relaxed);
    });
    swaps.load(Ordering::Relaxed)
}

fn fill(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for n in 0..FILES_OUTSIDE {
        fs::write(dir.join(format!("f{n}")), "mine").unwrap();
    }
}

/// Reads, changes, creates, removes and lists below `dir`, by names not used before, as known names are cached.
fn storm(inside: &Inside, dir: &str) {
    for n in 0..FILES_OUTSIDE {
        let path = format!("{dir}/f{n}");
        not_secret(&path, inside.read(&path));
        // Each may fail while the layer is upside down.
        match n % 4 {
            0 => drop(inside.chmod(&path, 0o600)),
            1 => drop(inside.write(&path, b"changed")),
            2 => drop(
                inside
                    .parent(&path)
                    .map(|(d, name)| rustix::fs::unlinkat(&d, name, AtFlags::empty())),
            ),
            _ => drop(
                inside
                    .parent(&path)
                    .map(|(d, name)| rustix::fs::renameat(&d, name, &d, format!("{name}.moved"))),
            ),
        }
        drop(inside.write(format!("{dir}/new{n}"), b"from inside"));
        if n % 16 == 0
            && let Ok(names) = inside.list(dir)
        {
            assert!(
                !names.contains(&b"canary".to_vec()),
                "{dir} lists the outside"
            );
        }
    }
}

#[test]
fn a_lower_directory_is_swapped_for_a_link() {
    Siege::new("a lower directory swapped for a symlink", 2)
        .lowers_change()
        .run(
            |l, outside| {
                fill(&l.lowers[0].join("top/d"));
                fill(&l.lowers[1].join("top/d"));
                symlink(outside, l.lowers[0].join("top/evil")).unwrap();
            },
            |field| {
                let top = field.layers.lowers[0].join("top");
                let swaps = swapping(&top.join("d"), &top.join("evil"), || {
                    storm(&field.inside, "top/d")
                });
                assert!(swaps > 10, "only {swaps} swaps");
            },
        );
}

#[test]
fn an_ancestor_of_a_lower_directory_is_swapped_for_a_link() {
    Siege::new("an ancestor swapped for a symlink", 1)
        .lowers_change()
        .run(
            |l, outside| {
                for n in 0..6 {
                    fill(&l.lowers[0].join(format!("a/b/d{n}")));
                }
                // Same names outside, in a second tree of links, so that a followed path would find something.
                fs::create_dir(l.lowers[0].join("evil")).unwrap();
                for n in 0..6 {
                    symlink(outside, l.lowers[0].join(format!("evil/d{n}"))).unwrap();
                }
            },
            |field| {
                let lower = &field.layers.lowers[0];
                swapping(&lower.join("a/b"), &lower.join("evil"), || {
                    for n in 0..6 {
                        storm(&field.inside, &format!("a/b/d{n}"));
                    }
                });
            },
        );
}

#[test]
fn an_upper_directory_is_swapped_for_a_link() {
    Siege::new("an upper directory swapped for a symlink", 1).run(
        |l, outside| {
            fill(&l.lowers[0].join("d"));
            fs::create_dir(l.upper.join("d")).unwrap();
            symlink(outside, l.upper.join("evil")).unwrap();
        },
        |field| {
            let upper = &field.layers.upper;
            swapping(&upper.join("d"), &upper.join("evil"), || {
                storm(&field.inside, "d")
            });
        },
    );
}

/// The roots were opened once, at mount: their names mean nothing any more.
#[test]
fn roots_are_swapped_for_links() {
    for root in ["l1", "u", "w", "w/work"] {
        // Being renamed changes a root's ctime.
        Siege::new("a root swapped for a symlink", 2)
            .lowers_change()
            .run(
                |l, outside| {
                    fill(&l.lowers[0].join("d"));
                    fill(&l.lowers[1].join("d"));
                    symlink(outside, l.upper.with_file_name("evil")).unwrap();
                },
                |field| {
                    let base = field.outside.parent().unwrap();
                    let (root, evil) = (base.join(root), base.join("evil"));
                    if !root.exists() {
                        // Not every server makes `work/work`.
                        return;
                    }
                    let swaps = swapping(&root, &evil, || storm(&field.inside, "d"));
                    if swaps % 2 == 1 {
                        rustix::fs::renameat_with(CWD, &root, CWD, &evil, RenameFlags::EXCHANGE)
                            .unwrap();
                    }
                },
            );
    }
}

/// What replaces a file that the client has already looked up, before it is opened.
fn after_lookup(field: &Field, layer: &Path, evil: impl Fn(&Path)) {
    let inside = &field.inside;
    for n in 0..60 {
        let path = format!("d/f{n}");
        // Looked up and cached as a regular file.
        let (dir, name) = inside.parent(&path).expect("the directory is there");
        if rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            continue;
        }
        let new = layer.join("d/evil");
        evil(&new);
        fs::rename(&new, layer.join(&path)).expect("swap");
        match n % 3 {
            0 => not_secret(&path, inside.read(&path)),
            1 => drop(inside.write(&path, b"changed")),
            _ => drop(inside.chmod(&path, 0o600)),
        }
    }
}

#[test]
fn a_file_becomes_a_link_between_lookup_and_open() {
    Siege::new("a lower file becomes a symlink", 1)
        .lowers_change()
        .run(
            |l, _| fill(&l.lowers[0].join("d")),
            |field| {
                let target = field.outside.join("secret");
                after_lookup(field, &field.layers.lowers[0], |new| {
                    symlink(&target, new).unwrap()
                });
            },
        );
    Siege::new("an upper file becomes a symlink", 1).run(
        |l, _| fill(&l.upper.join("d")),
        |field| {
            let target = field.outside.join("secret");
            after_lookup(field, &field.layers.upper, |new| {
                symlink(&target, new).unwrap()
            });
        },
    );
}

/// Opening a fifo for reading blocks until somebody writes: the daemon must never do it.
#[test]
fn a_file_becomes_a_fifo_between_lookup_and_open() {
    for in_upper in [false, true] {
        let layer = move |l: &super::support::layers::Layers| match in_upper {
            true => l.upper.clone(),
            false => l.lowers[0].clone(),
        };
        Siege::new("a file becomes a fifo", 1).lowers_change().run(
            move |l, _| fill(&layer(l).join("d")),
            move |field| {
                let disk = layer(field.layers);
                for n in 0..30 {
                    let path = format!("d/f{n}");
                    let (dir, name) = field.inside.parent(&path).expect("the directory is there");
                    rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)
                        .expect("look the file up");
                    let new = disk.join("d/evil");
                    rustix::fs::mknodat(CWD, &new, FileType::Fifo, Mode::from_raw_mode(0o666), 0)
                        .expect("mkfifo");
                    fs::rename(&new, disk.join(&path)).expect("swap");
                    // The client itself waits for nobody, so whoever hangs is the daemon.
                    let inside = field.inside.another();
                    bounded("opening a file that became a fifo", move || match n % 3 {
                        0 => drop(inside.read(&path)),
                        1 => drop(inside.write(&path, b"changed")),
                        _ => drop(inside.chmod(&path, 0o600)),
                    });
                }
            },
        );
    }
}
