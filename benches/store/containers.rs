//! The life of a container.

use std::fs;
use std::process::Command;

use crate::Bench;
use crate::measure::{Kind, costs, run};
use crate::shop::Shop;
use crate::trees;

/// Create, mount, unmount: quick, and as quick on 128 layers as on one.
pub fn life(bench: &mut Bench) {
    for (runtime, bar) in [("fuse", 30.0), ("kernel", 10.0)] {
        let runs = [1, 128].map(|layers| {
            let at = bench.on_disk("life");
            let shop = Shop::new(&at, "overlay");
            let top = stack(&shop, layers);
            let runs = bench.patience.alone(|| {
                let mut id = String::new();
                let cost = costs(|| {
                    id = shop.say(&["container", "create", "--layer", &top]);
                    shop.run(&["container", "mount", "--runtime", runtime, &id]);
                    shop.run(&["container", "unmount", &id]);
                });
                shop.run(&["container", "rm", &id]);
                cost
            });
            let what = format!("overlay: create, mount ({runtime}), unmount: {layers} layers");
            bench.table.within(&what, &runs, bar);
            runs
        });
        let what = format!("overlay: the same ({runtime}), 128 layers to 1");
        let [one, many] = &runs;
        bench
            .table
            .ratio(&what, Kind::Wall, many, "1 layer", one, 2.0);
    }
}

/// So many layers, each with a file of its own; the top-most one's id.
fn stack(shop: &Shop, layers: usize) -> String {
    let mut top = String::new();
    for i in 0..layers {
        let parent = ["container", "create", "--layer", &top];
        let id = shop.say(if i == 0 { &parent[..2] } else { &parent });
        fs::write(shop.upper(&id).join(format!("file-{i}")), "x").unwrap();
        top = shop.say(&["--sync", "none", "container", "commit", "--rm", &id]);
    }
    top
}

/// A commit costs what was changed, or nothing at all.
pub fn commit(bench: &mut Bench) {
    let at = bench.on_disk("commit");
    let shop = Shop::new(&at, "overlay");
    let megabytes = bench.scaled(200);
    let what = format!("overlay: commit --rm of {megabytes} MiB, without sync");
    let changed = || {
        let id = shop.say(&["container", "create"]);
        trees::big_file(&shop.upper(&id).join("big"), megabytes << 20);
        rustix::fs::sync();
        id
    };
    let runs = bench.patience.alone(|| {
        let id = changed();
        shop.run(&["--sync", "none", "container", "commit", "--rm", &id])
    });
    bench.table.within(&what, &runs, 20.0);
    changes(bench);
}

/// What differs is found without a look at what lies below.
fn changes(bench: &mut Bench) {
    let at = bench.on_disk("changes");
    let shop = Shop::new(&at, "overlay");
    let from = at.join("from");
    fs::create_dir(&from).unwrap();
    let files = bench.scaled(50_000);
    trees::small_files(&from, files);
    shop.run(&[
        "layer",
        "create",
        "--from-dir",
        from.to_str().unwrap(),
        "--name",
        "base",
    ]);
    let id = shop.say(&["container", "create", "--layer", "base"]);
    let mounted = shop.say(&["container", "mount", &id]);
    for i in 0..20 {
        fs::write(format!("{mounted}/d0/e0/file-{i}"), "changed").unwrap();
    }
    shop.run(&["container", "unmount", &id]);
    for verb in ["changes", "diff"] {
        let runs = bench.patience.alone(|| shop.run(&["container", verb, &id]));
        let what = format!("overlay: {verb} of 20 files over {files}");
        bench.table.within(&what, &runs, 10.0);
    }
}

/// 128 layers of driver `vfs`, each a copy of the one below and a file more; all are read at the end.
pub fn deep(bench: &mut Bench) {
    let at = bench.on_disk("deep");
    let layers = bench.scaled(128);
    let runs = bench.patience.alone(|| {
        let shop = Shop::new(&at.join("store"), "vfs");
        let cost = costs(|| {
            let mut top = String::new();
            for i in 0..layers {
                let parent = ["--sync", "none", "container", "create", "--layer", &top];
                let id = shop.say(if i == 0 { &parent[..4] } else { &parent });
                fs::write(
                    shop.tree(&id).join(format!("file-{i}")),
                    trees::bytes(i, 4096),
                )
                .unwrap();
                top = shop.say(&["--sync", "none", "container", "commit", "--rm", &id]);
            }
            run(Command::new("cat").args(
                fs::read_dir(shop.tree(&top))
                    .unwrap()
                    .map(|e| e.unwrap().path()),
            ));
        });
        fs::remove_dir_all(at.join("store")).unwrap();
        cost
    });
    bench.table.within(
        &format!("vfs: {layers} layers made and read"),
        &runs,
        5000.0,
    );
}
