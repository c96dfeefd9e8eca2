//! The first open of a small lower file brings its data along, into the kernel's cache. Nothing old may stay there
//! when somebody changes the file at that moment.

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::support::env::{self, Scratch};
use super::support::ffi::truncate;
use super::support::layers::Layers;
use super::support::mount::{Mounted, Server};
use super::support::steps;

const FILES: usize = 1500;
const READERS: usize = 2;
const LEN: usize = 5000;

fn old() -> Vec<u8> {
    (0..LEN).map(|i| b'a' + (i % 23) as u8).collect()
}

/// By path, with nothing open.
fn cut(path: &Path, len: u64) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    truncate(&path, len).unwrap();
}

/// A change, and what the file holds afterwards.
type Change = (fn(&Path), fn() -> Vec<u8>);

const CHANGES: &[Change] = &[
    (|path| cut(path, 10), || old()[..10].to_vec()),
    (
        |path| cut(path, 9000),
        || [old(), vec![0; 9000 - LEN]].concat(),
    ),
    (|path| fs::write(path, "new").unwrap(), || b"new".to_vec()),
    (
        |path| fs::write(path, vec![b'n'; LEN]).unwrap(),
        || vec![b'n'; LEN],
    ),
    (
        |path| {
            let mut file = steps::open(path, "w,append").unwrap();
            file.write_all(b"more").unwrap();
        },
        || [&old()[..], b"more"].concat(),
    ),
    (
        |path| {
            steps::open(path, "w").unwrap().write_all(b"first").unwrap();
            cut(path, 4096);
        },
        || [b"first", &old()[5..4096]].concat(),
    ),
];

/// All threads meet, as close as they can.
fn meet(arrived: &AtomicUsize, round: usize) {
    arrived.fetch_add(1, Ordering::SeqCst);
    while arrived.load(Ordering::SeqCst) < (round + 1) * (READERS + 1) {
        std::thread::yield_now();
    }
}

fn readers_beside_a_writer(options: &str) {
    let scratch = Scratch::new();
    let layers = Layers::new(scratch.path(), 1, true);
    for n in 0..FILES {
        layers.lower(1).file(&format!("d/f{n}"), old());
    }
    layers.settle();
    let mounted = Mounted::new(Server::Plyfs, &layers, options).unwrap();
    let path = |n: usize| layers.merged.join(format!("d/f{n}"));
    let arrived = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                for n in 0..FILES {
                    meet(&arrived, n);
                    // Any moment's content.
                    let seen = fs::read(path(n)).unwrap();
                    assert!(seen.len() <= 9000);
                }
            });
        }
        for n in 0..FILES {
            let (change, holds) = CHANGES[n % CHANGES.len()];
            meet(&arrived, n);
            change(&path(n));
            let (found, expected) = (fs::read(path(n)).unwrap(), holds());
            let len = fs::metadata(path(n)).unwrap().len();
            assert!(
                found == expected && len == expected.len() as u64,
                "{options}: file {n}, change {}: {} bytes of {}, size {len}",
                n % CHANGES.len(),
                found.len(),
                expected.len()
            );
        }
    });
    for n in 0..FILES {
        let holds = CHANGES[n % CHANGES.len()].1;
        assert!(
            fs::read(path(n)).unwrap() == holds(),
            "{options}: file {n}, later"
        );
    }
    mounted.unmount().unwrap();
}

#[test]
fn changes_beside_first_opens() {
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("changes beside first opens", &why);
    }
    env::isolated(|| {
        for options in ["", "passthrough=off,noopen=off", "metacopy=on", "index=on"] {
            readers_beside_a_writer(options);
        }
    });
}

/// Around pages, around the largest that comes along, and with holes.
#[test]
fn first_reads_of_all_sizes() {
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("first reads of all sizes", &why);
    }
    env::isolated(|| {
        let scratch = Scratch::new();
        let layers = Layers::new(scratch.path(), 1, true);
        let sizes = [0, 1, 4095, 4096, 4097, 65_535, 65_536, 65_537, 200_000];
        let content = |size: usize| old().into_iter().cycle().take(size).collect::<Vec<_>>();
        for size in sizes {
            layers.lower(1).file(&format!("f{size}"), content(size));
        }
        layers
            .lower(1)
            .sparse("holes", 50_000, &[(20_000, b"data")]);
        layers.settle();
        let mounted = Mounted::new(Server::Plyfs, &layers, "").unwrap();
        for size in sizes {
            let path = layers.merged.join(format!("f{size}"));
            for _ in 0..2 {
                assert!(fs::read(&path).unwrap() == content(size), "{size}");
                assert_eq!(fs::metadata(&path).unwrap().len(), size as u64);
            }
            let mut file = steps::open(&path, "w,append").unwrap();
            file.write_all(b"more").unwrap();
            let longer = [&content(size)[..], b"more"].concat();
            assert!(fs::read(&path).unwrap() == longer, "{size}, longer");
        }
        let mut holes = vec![0; 50_000];
        holes[20_000..20_004].copy_from_slice(b"data");
        assert!(fs::read(layers.merged.join("holes")).unwrap() == holes);
        mounted.unmount().unwrap();
    });
}
