//! One page cache for all mounts of a layer: a file that one of them has read is in memory for the others, which
//! `mincore` tells of a map that nobody has read by.

use std::fs::{self, File};

use super::support::env::{self, Scratch};
use super::support::ffi::{Map, Mapping};
use super::support::layers::Layers;
use super::support::mount::{Mounted, Server};

const MOUNTS: usize = 20;
const PAGE: usize = 4096;
/// Pages of the files: 500 MiB would show no more.
const FILES: [usize; 4] = [1, 2, 100, 4000];
/// Pages of the small ones: each mount gets its own copy of them when they are opened.
const COME_WITH_THE_OPEN: usize = 1 + 2;

/// The layer, and so many mounts of it.
fn stage(root: &Scratch, writable: bool, options: &str) -> (Layers, Vec<(Layers, Mounted)>) {
    let source = Layers::new(&root.path().join("layer"), 1, false);
    for pages in FILES {
        source
            .lower(1)
            .file(&pages.to_string(), vec![b'x'; pages * PAGE]);
    }
    source.settle();
    let mounts = (0..MOUNTS).map(|n| {
        let mut layers = Layers::new(&root.path().join(n.to_string()), 1, writable);
        layers.lowers[0].clone_from(&source.lowers[0]);
        let mounted = Mounted::new(Server::Plyfs, &layers, options).unwrap();
        (layers, mounted)
    });
    let mounts = mounts.collect();
    (source, mounts)
}

/// How many pages of all files a mount has in memory without having read them.
fn resident(layers: &Layers) -> usize {
    let of = |pages: usize| {
        let file = File::open(layers.merged.join(pages.to_string())).unwrap();
        let map = Map::new(&file, pages * PAGE, Mapping::SharedRead).unwrap();
        map.resident().unwrap()
    };
    FILES.into_iter().map(of).sum()
}

fn check(writable: bool, options: &'static str, shared: bool) {
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("shared page cache", &why);
    }
    env::isolated(move || {
        let root = Scratch::new();
        let (_source, mounts) = stage(&root, writable, options);
        let all: usize = FILES.iter().sum();
        for pages in FILES {
            let (layers, _) = &mounts[0];
            let data = fs::read(layers.merged.join(pages.to_string())).unwrap();
            assert_eq!(data.len(), pages * PAGE);
        }
        assert_eq!(resident(&mounts[0].0), all, "who has read it has it");
        for (n, (layers, _)) in mounts.iter().enumerate().skip(1) {
            let expected = if shared { all } else { COME_WITH_THE_OPEN };
            assert_eq!(resident(layers), expected, "mount {n}");
        }
        for (_, mounted) in mounts {
            mounted.unmount().unwrap();
        }
    });
}

#[test]
fn views_without_an_upper_share_one_cache() {
    check(false, "", true);
}

#[test]
fn views_with_an_upper_share_it_if_they_are_asked_to() {
    check(true, "lower_passthrough=on", true);
}

/// So the tests above would see it.
#[test]
fn without_passthrough_each_has_its_own() {
    check(false, "passthrough=off", false);
    check(true, "", false);
}
