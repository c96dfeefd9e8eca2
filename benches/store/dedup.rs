//! Equal files of two layers.

use std::fs;
use std::process::Command;

use crate::Bench;
use crate::measure::{Kind, costs, run};
use crate::shop::Shop;
use crate::trees;

/// Found afterwards, and when a second image comes in.
pub fn all(bench: &mut Bench) {
    let at = bench.on_disk("dedup");
    let from = at.join("from");
    fs::create_dir(&from).unwrap();
    let files = bench.scaled(50_000);
    trees::small_files(&from, files);
    let dir = from.to_str().unwrap();
    let name = format!("dedup of two layers with {files} files");
    let (ours, theirs) = bench.patience.pair(
        || {
            let shop = Shop::new(&at.join("store"), "overlay");
            shop.run(&["layer", "create", "--from-dir", dir]);
            shop.run(&["layer", "create", "--from-dir", dir]);
            rustix::fs::sync();
            let cost = shop.run(&["store", "dedup"]);
            fs::remove_dir_all(at.join("store")).unwrap();
            cost
        },
        || {
            let script = format!("find {dir} -type f -print0 | xargs -0 b3sum");
            costs(|| {
                for _ in 0..2 {
                    run(Command::new("sh").args(["-c", &script]));
                }
            })
        },
    );
    bench
        .table
        .ratio(&name, Kind::Wall, &ours, "b3sum of both", &theirs, 1.2);
    bench.table.within(&name, &ours, 1000.0);
    second_image(bench, dir);
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
