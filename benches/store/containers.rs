//! The life of a container.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Bench;
use crate::measure::{Kind, costs, run};
use crate::same::{Times, assert_same};
use crate::shop::Shop;
use crate::trees;

/// Create, mount, unmount: quick, and as quick on 128 layers as on one.
pub fn life(bench: &mut Bench) {
    let shop = Shop::new(&bench.on_disk("life"), "overlay");
    let [one, all] = [1, 128].map(|layers| (layers, stack(&shop, layers)));
    for (runtime, bar) in [("fuse", 30.0), ("kernel", 10.0)] {
        let live = |(layers, top): &(u64, String)| {
            let (mut id, mut seen) = (String::new(), String::new());
            let mut cost = costs(|| {
                id = shop.say(&["container", "create", "--layer", top]);
                seen = shop.say(&["container", "mount", "--runtime", runtime, &id]);
            });
            assert_eq!(fs::read_dir(&seen).unwrap().count() as u64, *layers);
            cost = cost.plus(shop.run(&["container", "unmount", &id]));
            shop.run(&["container", "rm", &id]);
            cost
        };
        let (many, few) = bench.patience.pair(|| live(&all), || live(&one));
        let what = |layers| format!("overlay: create, mount ({runtime}), unmount, {layers}");
        let table = &mut bench.table;
        table.within(&what("1 layer"), &few, bar);
        table.within(&what("128 layers"), &many, bar);
        let to_one = what("128 layers to 1");
        table.ratio(&to_one, Kind::Wall, &many, "1 layer", &few, 2.0);
    }
}

/// So many layers, each with a file of its own; the top-most one's id.
fn stack(shop: &Shop, layers: u64) -> String {
    let mut top = String::new();
    for i in 0..layers {
        let parent = ["container", "create", "--layer", &top];
        let id = shop.say(if i == 0 { &parent[..2] } else { &parent });
        fs::write(shop.upper(&id).join(format!("file-{i}")), "x").unwrap();
        top = shop.say(&["--sync", "none", "container", "commit", "--rm", &id]);
    }
    top
}

/// A commit costs a rename, or a copy of what was changed.
pub fn commit(bench: &mut Bench) {
    let megabytes = bench.scaled(200);
    let model = bench.in_memory("commit").join("big");
    trees::big_file(&model, megabytes << 20);
    let ext4 = bench.on_disk("commit");
    let xfs = bench.filesystem("xfs");
    for (kind, at) in [("ext4", &*ext4), ("xfs", xfs.path())] {
        let shop = Shop::new(at, "overlay");
        let commit = |options: &[&str]| {
            let id = shop.say(&["container", "create"]);
            fs::copy(&model, shop.upper(&id).join("big")).unwrap();
            rustix::fs::sync();
            let (layer, cost) = shop.tell(&[options, &[&id]].concat());
            assert_same(&model, &shop.layer(&layer).join("big"), Times::Any);
            shop.run(&["layer", "rm", &layer]);
            if !options.contains(&"--rm") {
                shop.run(&["container", "rm", &id]);
            }
            cost
        };
        let bare = ["--sync", "none", "container", "commit"];
        let what = format!("overlay: commit --rm of {megabytes} MiB, {kind}");
        let runs = bench
            .patience
            .alone(|| commit(&[&bare[..], &["--rm"]].concat()));
        bench
            .table
            .within(&format!("{what}, without sync"), &runs, 20.0);
        let runs = bench
            .patience
            .alone(|| commit(&["container", "commit", "--rm"]));
        bench
            .table
            .within(&format!("{what}, data is on disk"), &runs, 20.0);
        let what = format!("overlay: commit of {megabytes} MiB, a copy, {kind}");
        let to = at.join("copy");
        let (ours, theirs) = bench.patience.pair(
            || commit(&bare),
            || {
                fs::copy(&model, at.join("from")).unwrap();
                rustix::fs::sync();
                let cost = run(Command::new("cp").arg("-a").arg(at.join("from")).arg(&to));
                assert_same(&model, &to, Times::Any);
                fs::remove_file(&to).unwrap();
                fs::remove_file(at.join("from")).unwrap();
                cost
            },
        );
        match kind {
            "xfs" => bench.table.within(&what, &ours, 5.0),
            _ => {
                let table = &mut bench.table;
                table.ratio(&what, Kind::Wall, &ours, "cp -a", &theirs, 1.05);
            }
        }
    }
    digest(bench, &model);
}

/// The digest of what was changed, which an image needs.
fn digest(bench: &mut Bench, model: &Path) {
    let shop = Shop::new(&bench.in_memory("digest"), "overlay");
    let (ours, theirs) = bench.patience.pair(
        || {
            let id = shop.say(&["container", "create"]);
            fs::copy(model, shop.upper(&id).join("big")).unwrap();
            let (layer, sealed) = shop.tell(&["container", "commit", "--rm", &id]);
            let args = ["--json", "layer", "diff", &layer, "-o", "/dev/null"];
            let (said, cost) = shop.tell(&args);
            assert!(said.contains("sha256:"), "{said}");
            shop.run(&["layer", "rm", &layer]);
            sealed.plus(cost)
        },
        || run(Command::new("sha256sum").arg(model)),
    );
    let what = "overlay: commit --rm and digest of the layer";
    let table = &mut bench.table;
    table.ratio(what, Kind::Cpu, &ours, "sha256sum", &theirs, 1.1);
}

/// What differs is found without a look at what lies below.
pub fn changes(bench: &mut Bench) {
    let at = bench.on_disk("changes");
    let shop = Shop::new(&at, "overlay");
    let from = at.join("from");
    fs::create_dir(&from).unwrap();
    let files = bench.scaled(50_000);
    trees::small_files(&from, files);
    let dir = from.to_str().unwrap();
    shop.run(&["layer", "create", "--from-dir", dir, "--name", "base"]);
    let id = shop.say(&["container", "create", "--layer", "base"]);
    let mounted = shop.say(&["container", "mount", &id]);
    for i in 0..20 {
        fs::write(format!("{mounted}/d0/e0/file-{i}"), "changed").unwrap();
    }
    shop.run(&["container", "unmount", &id]);
    let told = shop.say(&["container", "changes", &id]);
    // Two directories around them, and the root's own line is none.
    assert_eq!(told.lines().count(), 22, "{told}");
    for verb in ["changes", "diff"] {
        let runs = bench.patience.alone(|| shop.run(&["container", verb, &id]));
        let what = format!("overlay: {verb} of 20 files over {files}");
        bench.table.within(&what, &runs, 10.0);
    }
}

/// 128 layers of driver `vfs`, each a copy of the one below and a file more; all are read at the end.
pub fn deep(bench: &mut Bench) {
    let layers = bench.scaled(128);
    let runs = bench.patience.alone(|| {
        let shop = Shop::new(&bench.on_disk("deep"), "vfs");
        let data = |i| trees::bytes(i, 4096);
        let mut top = String::new();
        let cost = costs(|| {
            for i in 0..layers {
                let parent = ["--sync", "none", "container", "create", "--layer", &top];
                let id = shop.say(if i == 0 { &parent[..4] } else { &parent });
                fs::write(shop.tree(&id).join(format!("file-{i}")), data(i)).unwrap();
                top = shop.say(&["--sync", "none", "container", "commit", "--rm", &id]);
            }
            for i in 0..layers {
                let file = shop.tree(&top).join(format!("file-{i}"));
                assert_eq!(fs::read(file).unwrap(), data(i));
            }
        });
        shop.destroy();
        cost
    });
    let what = format!("vfs: {layers} layers made, the last one read");
    bench.table.within(&what, &runs, 5000.0);
}
