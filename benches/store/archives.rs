//! Layers as archives, images as they travel.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Bench;
use crate::measure::{Cost, Kind, run};
use crate::same::{Times, assert_same};
use crate::shop::Shop;
use crate::trees;

/// Makes a tree in a directory.
type Make<'a> = &'a dyn Fn(&Path);

/// What a layer keeps: extended attributes and ACLs, times and names of any kind.
const SAME_WORK: [&str; 3] = ["--xattrs", "--acls", "--format=posix"];

/// Out: to a file, through a pipe, with digests.
pub fn export(bench: &mut Bench) {
    let at = bench.in_memory("export");
    let (files, megabytes) = (bench.scaled(5_300), bench.scaled(200));
    let small = bench.scaled(50_000);
    let base = |at: &Path| trees::base(at, files, megabytes << 20);
    let many = |at: &Path| trees::small_files(at, small);
    let trees: [(String, Make<'_>); 2] = [
        (format!("{files} files and one of {megabytes} MiB"), &base),
        (format!("{small} small files"), &many),
    ];
    for (what, make) in trees {
        let from = at.join("from");
        fs::create_dir(&from).unwrap();
        make(&from);
        let shop = Shop::new(&at, "overlay");
        let dir = from.to_str().unwrap();
        shop.run(&["layer", "create", "--from-dir", dir, "--name", "base"]);
        plain(bench, &at, &shop, &from, &what);
        digested(bench, &at, &shop, &from, &what);
        fs::remove_dir_all(from).unwrap();
        shop.destroy();
    }
}

fn plain(bench: &mut Bench, at: &Path, shop: &Shop, from: &Path, what: &str) {
    let [ours, theirs] = ["ours.tar", "theirs.tar"].map(|name| at.join(name));
    let tar = |to: &Path| {
        let mut tar = Command::new("tar");
        tar.args(SAME_WORK).arg("-C").arg(from);
        tar.arg("-cf").arg(to).arg(".");
        tar
    };
    let (to_file, tar_to_file) = bench.patience.pair(
        || {
            let cost = shop.run(&["layer", "diff", "base", "-o", ours.to_str().unwrap()]);
            compare(from, &ours);
            cost
        },
        || {
            let cost = run(&mut tar(&theirs));
            fs::remove_file(&theirs).unwrap();
            cost
        },
    );
    let (piped, tar_piped) = bench.patience.pair(
        || pipe(&shop.command(&["layer", "diff", "base"])),
        || pipe(&tar(Path::new("-"))),
    );
    let peer = "tar --xattrs --acls";
    let table = &mut bench.table;
    let to_a_file = format!("a layer as an archive in tmpfs: {what}");
    table.ratio(&to_a_file, Kind::Cpu, &to_file, peer, &tar_to_file, 0.6);
    let through = format!("a layer as an archive, through a pipe: {what}");
    table.ratio(&through, Kind::Cpu, &piped, peer, &tar_piped, 0.6);
}

/// An archive has what the tree has, says tar.
fn compare(from: &Path, archive: &Path) {
    let mut tar = Command::new("tar");
    run(tar.arg("-C").arg(from).arg("-df").arg(archive));
    fs::remove_file(archive).unwrap();
}

/// What a command costs with somebody who reads what it writes.
fn pipe(command: &Command) -> Cost {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    run(Command::new("sh")
        .args(["-c", "\"$@\" | cat > /dev/null", "sh"])
        .args(words))
}

fn digested(bench: &mut Bench, at: &Path, shop: &Shop, from: &Path, what: &str) {
    let [ours, theirs] = ["ours.tar", "theirs.tar"].map(|name| at.join(name));
    let script = "tar \"$3\" \"$4\" \"$5\" -C \"$1\" -cf - . | tee \"$2\" | sha256sum";
    let (digest, summed) = bench.patience.pair(
        || {
            let to = ours.to_str().unwrap();
            let (said, cost) = shop.tell(&["--json", "layer", "diff", "base", "-o", to]);
            assert!(said.contains("sha256:"), "{said}");
            compare(from, &ours);
            cost
        },
        || {
            let mut sh = Command::new("sh");
            sh.args(["-c", script, "sh"]).arg(from).arg(&theirs);
            let cost = run(sh.args(SAME_WORK));
            fs::remove_file(&theirs).unwrap();
            cost
        },
    );
    let what = format!("a layer as an archive with its digest: {what}");
    let table = &mut bench.table;
    table.ratio(
        &what,
        Kind::Cpu,
        &digest,
        "tar, tee, sha256sum",
        &summed,
        1.15,
    );
}

/// In, beside umoci.
pub fn import(bench: &mut Bench) {
    let at = bench.in_memory("import");
    let from = at.join("from");
    fs::create_dir(&from).unwrap();
    trees::base(&from, bench.scaled(5_300), bench.scaled(200) << 20);
    let packer = Shop::new(&at, "overlay");
    let dir = from.to_str().unwrap();
    packer.run(&["layer", "create", "--from-dir", dir, "--name", "base"]);
    let layout = at.join("layout");
    let image = format!("oci:{}:latest", layout.display());
    packer.run(&["image", "export", "base", &image, "--compress", "gzip"]);
    packer.destroy();
    let check = |tree: &Path| {
        for name in fs::read_dir(&from).unwrap() {
            let name = name.unwrap().file_name();
            assert_same(&from.join(&name), &tree.join(&name), Times::Seconds);
        }
    };
    let (ours, theirs) = bench.patience.pair(
        || {
            let fresh = Shop::new(&bench.in_memory("store"), "overlay");
            let cost = fresh.run(&["image", "import", &image]);
            check(&fresh.layer(&only_layer(&fresh)));
            fresh.destroy();
            cost
        },
        || {
            let bundle = bench.in_memory("umoci").join("bundle");
            let image = format!("{}:latest", layout.display());
            let cost = run(Command::new("umoci")
                .args(["unpack", "--image", &image])
                .arg(&bundle));
            check(&bundle.join("rootfs"));
            fs::remove_dir_all(bundle).unwrap();
            cost
        },
    );
    let what = "an image of 400 MB, packed by gzip, taken in";
    let table = &mut bench.table;
    table.ratio(what, Kind::Wall, &ours, "umoci unpack", &theirs, 0.7);
}

/// The id of the one layer in a store.
fn only_layer(shop: &Shop) -> String {
    let said = shop.say(&["--json", "layer", "ls"]);
    let all: serde_json::Value = serde_json::from_str(&said).unwrap();
    all[0]["id"].as_str().unwrap().to_string()
}
