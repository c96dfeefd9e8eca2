//! Several threads on one overlay. Debug builds check the order of locks on the way.

use std::sync::Barrier;
use std::thread::scope;

use plyfs::overlay::node::ROOT;
use plyfs::sys::errno::Errno;

use crate::inprocess::client::{Client, KEEP, flags};
use crate::inprocess::rig::over;
use crate::support::dice::Dice;

const THREADS: usize = 6;

/// Runs `work` in several threads that start together.
fn together(work: impl Fn(usize) + Sync) {
    let start = Barrier::new(THREADS);
    scope(|s| {
        for n in 0..THREADS {
            let (start, work) = (&start, &work);
            s.spawn(move || {
                start.wait();
                work(n);
            });
        }
    });
}

#[test]
fn t073_one_file_copied_up_by_all() {
    over(|l| {
        for n in 0..20 {
            l.file(&format!("a/b{n}/f"), "x".repeat(100_000));
        }
    })
    .test(|v| {
        let client: &Client = v;
        for n in 0..20 {
            let path = format!("a/b{n}/f");
            together(|thread| {
                if thread % 2 == 0 {
                    client.patch(&path, thread as u64, "y").unwrap();
                } else {
                    client.setattr(&path, KEEP).unwrap();
                }
            });
            let data = client.read(&path).unwrap();
            assert_eq!(data.len(), 100_000);
            assert!(data.starts_with("yxyxyx"), "no write is lost");
        }
    });
}

#[test]
fn readers_see_old_or_new_data_during_copyup() {
    over(|l| {
        l.file("f", "old".repeat(50_000));
    })
    .test(|v| {
        let client: &Client = v;
        let opened = client.open("f", flags::READ).unwrap();
        together(|thread| {
            if thread == 0 {
                client.chmod("f", 0o600).unwrap();
            }
            for _ in 0..20 {
                assert_eq!(client.read_handle(opened.handle).unwrap().len(), 150_000);
                assert_eq!(client.stat("f").unwrap().stat.size, 150_000);
            }
        });
        client.close(opened);
    });
}

#[test]
fn lookups_against_forgets() {
    over(|l| {
        for n in 0..8 {
            l.file(&format!("d/f{n}"), format!("{n}"));
        }
    })
    .test(|v| {
        let overlay = &v.overlay;
        together(|thread| {
            let mut dice = Dice::new(thread as u64);
            for _ in 0..400 {
                let dir = overlay.lookup(ROOT, "d".as_ref()).unwrap();
                let n = dice.roll(8);
                let file = overlay.lookup(dir.id, format!("f{n}").as_ref()).unwrap();
                let opened = overlay.open(file.id, flags::READ, false).unwrap();
                let mut data = [0; 4];
                assert_eq!(overlay.read(opened.handle, &mut data, 0), Ok(1));
                assert_eq!(data[0], b'0' + n as u8);
                overlay.forget(dir.id, 1);
                overlay.forget(file.id, 1);
                overlay.release(opened.handle);
            }
        });
        assert_eq!(overlay.known_nodes(), 0);
    });
}

#[test]
fn create_and_unlink_storm() {
    over(|l| {
        for n in 0..4 {
            l.file(&format!("d/n{n}"), "lower");
        }
    })
    .test(|v| {
        let client: &Client = v;
        together(|thread| {
            let mut dice = Dice::new(thread as u64 + 100);
            for _ in 0..150 {
                let path = format!("d/n{}", dice.roll(4));
                let result = match dice.roll(4) {
                    0 => client.unlink(&path),
                    1 => client
                        .create(&path, 0o644)
                        .map(|opened| client.close(opened)),
                    2 => client.mkdir(&path).map(drop),
                    _ => client.rmdir(&path),
                };
                let fine = [Errno::ENOENT, Errno::EEXIST, Errno::EISDIR, Errno::ENOTDIR];
                assert!(
                    result.is_ok() || fine.contains(&result.unwrap_err()),
                    "{path}: {result:?}"
                );
                client.ls("d").unwrap();
            }
        });
    });
}

#[test]
fn renames_between_directories() {
    over(|l| {
        for n in 0..6 {
            l.file(&format!("d{n}/f{n}"), format!("{n}"));
        }
    })
    .test(|v| {
        let client: &Client = v;
        together(|thread| {
            let mut dice = Dice::new(thread as u64 + 7);
            for _ in 0..100 {
                let file = format!("f{}", dice.roll(6));
                let (from, to) = (dice.roll(6), dice.roll(6));
                let result = client.mv(&format!("d{from}/{file}"), &format!("d{to}/{file}"));
                let fine = [Errno::ENOENT, Errno::ESTALE];
                assert!(
                    result.is_ok() || fine.contains(&result.unwrap_err()),
                    "{result:?}"
                );
            }
        });
        let mut all = Vec::new();
        for n in 0..6 {
            for name in client.ls(&format!("d{n}")).unwrap() {
                assert_eq!(client.read(&format!("d{n}/{name}")).unwrap(), name[1..]);
                all.push(name);
            }
        }
        all.sort();
        assert_eq!(
            all,
            ["f0", "f1", "f2", "f3", "f4", "f5"],
            "none is lost or doubled"
        );
    });
}

#[test]
fn copyup_against_rename_and_unlink() {
    over(|l| {
        for n in 0..30 {
            l.file(&format!("d/f{n}"), "data");
        }
    })
    .test(|v| {
        let client: &Client = v;
        for n in 0..30 {
            let path = format!("d/f{n}");
            let id = client.id(&path).unwrap();
            together(|thread| match thread {
                0 if n % 2 == 0 => client.unlink(&path).unwrap(),
                0 => client.mv(&path, &format!("moved{n}")).unwrap(),
                _ => {
                    client.overlay.setattr(id, KEEP, None).unwrap();
                    assert_eq!(client.read_node(id).unwrap(), "data");
                }
            });
            assert_eq!(client.read_node(id).unwrap(), "data");
            assert!(!client.exists(&path));
            assert_eq!(client.exists(&format!("moved{n}")), n % 2 == 1);
        }
    });
}
