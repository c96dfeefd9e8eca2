//! Driver `vfs`: a container is a copy of its layer, so it costs what a copy costs.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Bench;
use crate::measure::{Cost, Kind, run};
use crate::shop::Shop;
use crate::trees;

/// 50,000 small files: in memory for the processor, on a disk for the clock.
pub fn small_files(bench: &mut Bench) {
    let files = bench.scaled(50_000);
    let make = |at: &Path| trees::small_files(at, files);
    for (place, kind, bar) in [("memory", Kind::Cpu, 0.80), ("disk", Kind::Wall, 0.6)] {
        let what = format!("vfs: copy {files} small files, {place}");
        copies(bench, &what, kind, bar, &make);
    }
}

/// Few big files, where only bandwidth counts.
pub fn big_files(bench: &mut Bench) {
    let megabytes = bench.scaled(100);
    let make = |at: &Path| {
        for i in 0..4 {
            trees::big_file(&at.join(format!("big-{i}")), megabytes << 20);
        }
    };
    let what = format!("vfs: copy 4 files of {megabytes} MiB, memory");
    copies(bench, &what, Kind::Wall, 1.05, &make);
}

fn copies(bench: &mut Bench, what: &str, kind: Kind, bar: f64, make: &dyn Fn(&Path)) {
    let at = match kind {
        Kind::Cpu => bench.in_memory("copies"),
        Kind::Wall if what.contains("memory") => bench.in_memory("copies"),
        Kind::Wall => bench.on_disk("copies"),
    };
    let from = at.join("from");
    fs::create_dir(&from).unwrap();
    make(&from);
    let shop = Shop::new(&at, "vfs");
    shop.run(&[
        "layer",
        "create",
        "--from-dir",
        from.to_str().unwrap(),
        "--name",
        "base",
    ]);
    let to = at.join("to");
    let (ours, theirs) = bench
        .patience
        .pair(|| copy_by_store(&shop), || copy_by_cp(&[], &from, &to));
    bench.table.ratio(what, kind, &ours, "cp -a", &theirs, bar);
    fs::remove_dir_all(at).unwrap();
}

fn settle() {
    rustix::fs::sync();
}

fn copy_by_store(shop: &Shop) -> Cost {
    settle();
    let cost = shop.run(&["container", "create", "--layer", "base"]);
    let all = shop.say(&["container", "ls"]);
    // The id is the first word of the last line, whatever is above it.
    let id = all
        .lines()
        .last()
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    shop.run(&["container", "rm", id]);
    cost
}

fn copy_by_cp(options: &[&str], from: &Path, to: &Path) -> Cost {
    settle();
    let cost = run(Command::new("cp").arg("-a").args(options).arg(from).arg(to));
    fs::remove_dir_all(to).unwrap();
    cost
}

/// Where the filesystem shares blocks.
pub fn reflink(bench: &mut Bench) {
    let at = bench.on_disk("reflink");
    let image = at.join("image");
    fs::File::create(&image).unwrap().set_len(2 << 30).unwrap();
    let place = at.join("place");
    fs::create_dir(&place).unwrap();
    run(Command::new("mkfs.xfs").arg("-q").arg(&image));
    run(Command::new("mount")
        .args(["-o", "loop"])
        .arg(&image)
        .arg(&place));
    let from = place.join("from");
    fs::create_dir(&from).unwrap();
    trees::big_file(&from.join("big"), bench.scaled(200) << 20);
    let shop = Shop::new(&place, "vfs");
    shop.run(&[
        "layer",
        "create",
        "--from-dir",
        from.to_str().unwrap(),
        "--name",
        "base",
    ]);
    let to = place.join("to");
    let (ours, theirs) = bench.patience.pair(
        || copy_by_store(&shop),
        || copy_by_cp(&["--reflink=always"], &from, &to),
    );
    let what = "vfs: copy a file of 200 MB by reflink, xfs";
    bench
        .table
        .ratio(what, Kind::Wall, &ours, "cp -a --reflink", &theirs, 1.0);
    bench.table.within(what, &ours, 5.0);
    run(Command::new("umount").arg(&place));
}
