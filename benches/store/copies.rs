//! Driver `vfs`: a container is a copy of its layer, so it costs what a copy costs.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Bench;
use crate::measure::{Cost, Costs, Kind, run};
use crate::same::{Times, assert_same};
use crate::shop::Shop;
use crate::trees;

/// 50,000 small files in memory: what the processor does.
pub fn small_in_memory(bench: &mut Bench) {
    let files = bench.scaled(50_000);
    let at = bench.in_memory("copies");
    let (ours, theirs) = copies(bench, &at, &[], &|at| trees::small_files(at, files));
    let what = format!("vfs: copy of {files} small files, tmpfs");
    let table = &mut bench.table;
    table.ratio(&what, Kind::Cpu, &ours, "cp -a", &theirs, 0.80);
}

/// The same on ext4: what one waits for.
pub fn small_on_disk(bench: &mut Bench) {
    let files = bench.scaled(50_000);
    let at = bench.on_disk("copies");
    let (ours, theirs) = copies(bench, &at, &[], &|at| trees::small_files(at, files));
    let what = format!("vfs: copy of {files} small files, ext4");
    let table = &mut bench.table;
    table.ratio(&what, Kind::Wall, &ours, "cp -a", &theirs, 0.6);
}

/// Few big files, where only bandwidth counts.
pub fn big_files(bench: &mut Bench) {
    let megabytes = bench.scaled(100);
    let make = |at: &Path| {
        for i in 0..4 {
            trees::big_file(&at.join(format!("big-{i}")), megabytes << 20);
        }
    };
    for (name, at) in [
        ("tmpfs", bench.in_memory("copies")),
        ("ext4", bench.on_disk("copies")),
    ] {
        let (ours, theirs) = copies(bench, &at, &[], &make);
        let what = format!("vfs: copy of 4 files of {megabytes} MiB, {name}");
        let table = &mut bench.table;
        table.ratio(&what, Kind::Wall, &ours, "cp -a", &theirs, 1.05);
        table.ratio(&what, Kind::Cpu, &ours, "cp -a", &theirs, 1.05);
    }
}

/// Where the filesystem shares blocks.
pub fn reflink(bench: &mut Bench) {
    let (files, megabytes) = (bench.scaled(5_300), bench.scaled(200));
    for kind in ["xfs", "btrfs"] {
        let disk = bench.filesystem(kind);
        let always: &[&str] = &["--reflink=always"];
        let one = |at: &Path| trees::big_file(&at.join("big"), megabytes << 20);
        let (ours, theirs) = copies(bench, disk.path(), always, &one);
        let what = format!("vfs: container of a file of {megabytes} MiB by reflink, {kind}");
        let table = &mut bench.table;
        table.within(&what, &ours, 5.0);
        table.ratio(&what, Kind::Wall, &ours, "cp -a --reflink", &theirs, 1.0);
        let base = |at: &Path| trees::base(at, files, megabytes << 20);
        let (ours, theirs) = copies(bench, disk.path(), always, &base);
        let what = format!("vfs: copy of {files} files by reflink, {kind}");
        let table = &mut bench.table;
        table.ratio(&what, Kind::Wall, &ours, "cp -a --reflink", &theirs, 1.0);
    }
}

/// A tree that is made by `make`, copied by the store and by cp.
fn copies(bench: &Bench, at: &Path, options: &[&str], make: &dyn Fn(&Path)) -> (Costs, Costs) {
    let (from, to) = (at.join("from"), at.join("to"));
    fs::create_dir(&from).unwrap();
    make(&from);
    let shop = Shop::new(at, "vfs");
    let dir = from.to_str().unwrap();
    shop.run(&["layer", "create", "--from-dir", dir, "--name", "base"]);
    let (ours, theirs) = bench
        .patience
        .pair(|| by_store(&shop, &from), || by_cp(options, &from, &to));
    fs::remove_dir_all(from).unwrap();
    shop.destroy();
    (ours, theirs)
}

fn by_store(shop: &Shop, from: &Path) -> Cost {
    rustix::fs::sync();
    let (id, cost) = shop.tell(&["container", "create", "--layer", "base"]);
    // The root of a layer is the store's own.
    for name in fs::read_dir(from).unwrap() {
        let name = name.unwrap().file_name();
        assert_same(&from.join(&name), &shop.tree(&id).join(&name), Times::Exact);
    }
    shop.run(&["container", "rm", &id]);
    cost
}

fn by_cp(options: &[&str], from: &Path, to: &Path) -> Cost {
    rustix::fs::sync();
    let cost = run(Command::new("cp").arg("-a").args(options).arg(from).arg(to));
    assert_same(from, to, Times::Exact);
    fs::remove_dir_all(to).unwrap();
    cost
}
