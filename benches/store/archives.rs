//! Layers as archives, images as they travel.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Bench;
use crate::measure::{Kind, run};
use crate::shop::Shop;
use crate::trees;

/// Out, with and without digests; in, beside umoci.
pub fn all(bench: &mut Bench) {
    let at = bench.in_memory("archives");
    let from = at.join("from");
    fs::create_dir(&from).unwrap();
    trees::base(&from, bench.scaled(5_300), bench.scaled(200) << 20);
    let shop = Shop::new(&at, "overlay");
    let dir = from.to_str().unwrap();
    shop.run(&["layer", "create", "--from-dir", dir, "--name", "base"]);
    export(bench, &at, &shop, &from);
    import(bench, &at, &shop);
    fs::remove_dir_all(at).unwrap();
}

fn export(bench: &mut Bench, at: &Path, shop: &Shop, from: &Path) {
    let [ours, theirs] = ["ours.tar", "theirs.tar"].map(|name| at.join(name));
    let our_file = ours.to_str().unwrap();
    let (plain, tar) = bench.patience.pair(
        || shop.run(&["layer", "diff", "base", "-o", our_file]),
        || {
            run(Command::new("tar")
                .arg("-C")
                .arg(from)
                .arg("-cf")
                .arg(&theirs)
                .arg("."))
        },
    );
    let what = "a layer as an archive";
    bench.table.ratio(what, Kind::Cpu, &plain, "tar", &tar, 0.6);
    let to = format!("oci:{}", at.join("layout").display());
    let script = format!(
        "tar -C {0} -cf - . | tee {1} | sha256sum",
        from.display(),
        theirs.display()
    );
    let (digest, summed) = bench.patience.pair(
        || {
            let cost = shop.run(&["image", "export", "base", &to, "--compress", "none"]);
            fs::remove_dir_all(at.join("layout")).unwrap();
            cost
        },
        || run(Command::new("sh").args(["-c", &script])),
    );
    let what = "a layer as an image with digests";
    bench.table.ratio(
        what,
        Kind::Cpu,
        &digest,
        "tar, tee, sha256sum",
        &summed,
        1.15,
    );
    fs::remove_file(ours).unwrap();
    fs::remove_file(theirs).unwrap();
}

fn import(bench: &mut Bench, at: &Path, shop: &Shop) {
    let layout = at.join("packed");
    let image = format!("oci:{}:latest", layout.display());
    shop.run(&["image", "export", "base", &image, "--compress", "gzip"]);
    let (ours, theirs) = bench.patience.pair(
        || {
            let place = bench.in_memory("import");
            let fresh = Shop::new(&place, "overlay");
            fresh.run(&["image", "import", &image])
        },
        || {
            let bundle = bench.in_memory("umoci").join("bundle");
            let image = format!("{}:latest", layout.display());
            run(Command::new("umoci")
                .args(["unpack", "--image", &image])
                .arg(bundle))
        },
    );
    let what = "an image of 400 MB, packed by gzip, taken in";
    bench
        .table
        .ratio(what, Kind::Wall, &ours, "umoci unpack", &theirs, 0.7);
}
