//! Looking: lookups by depth, listings, and the table of nodes under threads.

use std::fs;

use divan::Bencher;

use crate::rig::Rig;

/// So many layers that all have directory `d`; the last has the file `bottom` in it, and each a file of its own.
fn stack(layers: usize) -> Rig {
    Rig::new(layers, |n, dir| {
        fs::create_dir(dir.join("d")).unwrap();
        fs::write(dir.join(format!("d/own-{n}")), "").unwrap();
        if n == layers {
            fs::write(dir.join("d/bottom"), "").unwrap();
        }
    })
}

#[divan::bench(args = [1, 10, 100, 500])]
fn lookup_of_the_bottom_layer(bencher: Bencher, layers: usize) {
    let rig = stack(layers);
    let dir = rig.id("d");
    bencher.bench(|| assert!(rig.look(dir, "bottom")));
}

#[divan::bench(args = [1, 10, 100, 500])]
fn lookup_of_nothing(bencher: Bencher, layers: usize) {
    let rig = stack(layers);
    let dir = rig.id("d");
    bencher.bench(|| assert!(!rig.look(dir, "none")));
}

#[divan::bench]
fn getattr(bencher: Bencher) {
    let rig = Rig::new(1, |_, dir| fs::write(dir.join("f"), "").unwrap());
    let file = rig.id("f");
    bencher.bench(|| rig.overlay.getattr(file, None).unwrap());
}

const NAMES: usize = 1000;

/// A thousand names of so many layers.
fn names(layers: usize) -> Rig {
    Rig::new(layers, |n, dir| {
        fs::create_dir(dir.join("d")).unwrap();
        for i in (0..NAMES).filter(|i| i % layers + 1 == n) {
            fs::write(dir.join(format!("d/name-{i}")), "").unwrap();
        }
    })
}

#[divan::bench(args = [1, 3, 10])]
fn readdir(bencher: Bencher, layers: usize) {
    let rig = names(layers);
    let dir = rig.id("d");
    bencher.bench(|| {
        let mut seen = 0;
        let take = |_: plyfs::overlay::view::list::Dirent<'_>| {
            seen += 1;
            true
        };
        rig.overlay.readdir(dir, 0, take).unwrap();
        assert_eq!(seen, NAMES + 2);
    });
}

/// Every thread finds and forgets files of its own, all of which other threads know as well.
#[divan::bench(threads = [1, 2, 4])]
fn node_table(bencher: Bencher) {
    let rig = names(1);
    let dir = rig.id("d");
    let known: Vec<String> = (0..NAMES).map(|i| format!("name-{i}")).collect();
    for name in &known {
        rig.overlay.lookup(dir, name.as_ref()).unwrap();
    }
    bencher.bench(|| known.iter().take(100).all(|name| rig.look(dir, name)));
}
