//! Equal files of two layers.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Bench;
use crate::measure::{Cost, Kind, costs, run};
use crate::shop::Shop;
use crate::trees;

/// Found afterwards, made one, and when a second image comes in.
pub fn all(bench: &mut Bench) {
    let at = bench.on_disk("dedup");
    let from = at.join("from");
    fs::create_dir(&from).unwrap();
    let files = bench.scaled(50_000);
    trees::small_files(&from, files);
    let dir = from.to_str().unwrap();
    let (ours, theirs) = bench.patience.pair(
        || two_layers(&at, dir, |shop| shop.run(&["store", "dedup", "--dry-run"])),
        || {
            let script = format!("find {dir} -type f -print0 | xargs -0 b3sum");
            costs(|| {
                for _ in 0..2 {
                    run(Command::new("sh").args(["-c", &script]));
                }
            })
        },
    );
    let name = format!("equal files of two layers with {files}, nothing known before");
    let table = &mut bench.table;
    table.ratio(&name, Kind::Cpu, &ours, "b3sum of both", &theirs, 1.2);
    for (place, at) in [
        ("in memory", bench.in_memory("dedup")),
        ("on disk", bench.on_disk("linked")),
    ] {
        let linked = bench.patience.alone(|| {
            two_layers(&at, dir, |shop| {
                shop.run(&["store", "dedup", "--dry-run"]);
                rustix::fs::sync();
                shop.run(&["store", "dedup"])
            })
        });
        let name = format!("they become one, with indices, {place}");
        bench.table.within(&name, &linked, 1000.0);
    }
    second_image(bench, dir);
}

/// What an action costs on a fresh store with two equal layers.
fn two_layers(at: &Path, from: &str, action: impl FnOnce(&Shop) -> Cost) -> Cost {
    let shop = Shop::new(&at.join("store"), "overlay");
    for _ in 0..2 {
        shop.run(&["layer", "create", "--from-dir", from]);
    }
    rustix::fs::sync();
    let cost = action(&shop);
    fs::remove_dir_all(at.join("store")).unwrap();
    cost
}

/// The same files once more, as another image: what it adds on disk.
fn second_image(bench: &mut Bench, dir: &str) {
    let at = bench.on_disk("second");
    let shop = Shop::new(&at, "overlay");
    let take = |name: &str| {
        shop.run(&["layer", "create", "--from-dir", dir, "--name", name]);
        shop.run(&["store", "dedup"]);
        rustix::fs::sync();
        shop.disk_usage()
    };
    let first = take("first");
    let both = take("second");
    let percent = (both - first) as f64 * 100.0 / first as f64;
    let [first, more] = [first, both - first].map(|bytes| format!("{} KiB", bytes >> 10));
    bench.table.share(
        "a second identical layer, on disk",
        more,
        first,
        percent,
        3.0,
    );
}
