//! `lower_passthrough=on`: lower files are read by the kernel itself also where they can be copied up. T090, T091 and
//! T133 hold; T088 does not: a descriptor from before the copy-up goes on with the lower file (22.21).

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use super::support::dice::Dice;
use super::support::env::{self, Scratch};
use super::support::ffi::{Map, Mapping};
use super::support::layers::Layers;
use super::support::mount::{KERNEL_DEFAULTS, Mounted, Server};
use super::support::scenario::Scenario;
use super::support::steps;

const WHY: &str = "22.21";
const OPTIONS: &str = "lower_passthrough=on";
const LARGE: usize = 300_000;

#[test]
fn t090_t091_lower_files_that_are_passed_through() {
    Scenario::new(
        "T088 T090 T091",
        "a write goes to a copy, whoever reads the lower file",
    )
    .options(OPTIONS, KERNEL_DEFAULTS)
    .layers(|l| {
        let l = l.lower(1);
        for name in ["plain", "two", "trunc", "reopened", "d/deep", "cut", "mode"] {
            l.file(name, "lower data");
        }
        l.program("program", "/bin/true")
            .file("large", vec![b'l'; LARGE]);
    })
    .steps(|s| {
        let lower = "\"lower data\"";
        for name in ["plain", "d/deep"] {
            let old = s.opened(name, "r");
            s.fread(&old).is(lower);
            let new = s.opened(name, "rw");
            s.fwrite(&new, 0, "UPPER").ok();
            s.fread(&new).is("\"UPPER data\"");
            s.fread(&old).differs(WHY, "\"UPPER data\"", lower);
            s.fwrite(&new, 10, " and more").ok();
            s.fstat(&old).is("file 0644 0:0 19");
            s.fstat(&new).is("file 0644 0:0 19");
            s.stat(name).is("file 0644 0:0 19");
            s.read(name).is("\"UPPER data and more\"");
            s.fchmod(&old, 0o600).ok();
            s.stat(name).is("file 0600 0:0 19");
        }
        let (one, two) = (s.opened("two", "r"), s.opened("two", "r"));
        let new = s.opened("two", "w");
        s.fwrite(&new, 6, "DATA").ok();
        for fd in [&one, &two] {
            s.fread(fd).differs(WHY, "\"lower DATA\"", lower);
        }
        let again = s.opened("two", "r");
        s.fread(&again).is("\"lower DATA\"");
        let old = s.opened("trunc", "r");
        let new = s.opened("trunc", "rw,trunc");
        s.fread(&old).ignored();
        s.fwrite(&new, 0, "new").ok();
        s.read("trunc").is("\"new\"");
        drop(s.opened("reopened", "r"));
        let kept = s.opened("reopened", "r");
        drop(s.opened("reopened", "r"));
        let new = s.opened("reopened", "rw");
        s.fwrite(&new, 0, "third").ok();
        drop(kept);
        s.read("reopened").is("\"third data\"");
        let old = s.opened("cut", "r");
        s.fread(&old).is(lower);
        s.truncate("cut", 5).ok();
        s.read("cut").is("\"lower\"");
        s.truncate("cut", 2).ok();
        s.read("cut").is("\"lo\"");
        let old = s.opened("mode", "r");
        s.chmod("mode", 0o600).ok();
        s.link("mode", "other").ok();
        s.write("other", "by another name").ok();
        s.read("mode").is("\"by another name\"");
        s.fstat(&old).is("file 0600 0:0 15");
        let old = s.opened("large", "r");
        let map = Map::new(old.fd(), 4096, Mapping::SharedRead).unwrap();
        let new = s.opened("large", "rw");
        s.fwrite(&new, 0, "UPPER").ok();
        s.check(
            "the map is that of the lower file",
            map.bytes() == [b'l'; 4096],
        )
        .holds();
        let image = s.opened("program", "r");
        let map = Map::new(image.fd(), 4096, Mapping::SharedExec).unwrap();
        let new = s.opened("program", "rw");
        s.fwrite(&new, 1, "elf").ok();
        s.check(
            "the map has an ELF header",
            map.bytes().starts_with(b"\x7fELF"),
        )
        .holds();
    });
}

/// What the files of T133 should be like, by what was written to them.
struct Content {
    name: &'static str,
    data: Vec<u8>,
}

/// T133 as in `openfiles`, with what is written remembered: paths and descriptors from after a copy-up show that,
/// others that or the lower data.
fn any_order(root: &Path, seed: u64) {
    let mut files = [("low", LARGE), ("small", 10), ("page", 4096)].map(|(name, len)| Content {
        name,
        data: vec![b'l'; len],
    });
    let mut dice = Dice::new(seed);
    let mut slots: [Option<(usize, bool, File)>; 6] = Default::default();
    let mut copied = [false; 3];
    for step in 0..400 {
        let (slot, which) = (dice.roll(slots.len()), dice.roll(files.len()));
        match (dice.roll(6), slots[slot].take()) {
            (0 | 1, _) | (_, None) => {
                let flags = ["r", "r", "r", "rw", "rw,trunc"][dice.roll(5)];
                let file = steps::open(&root.join(files[which].name), flags)
                    .unwrap_or_else(|error| panic!("step {step}: {flags}: {error}"));
                copied[which] |= flags != "r";
                if flags == "rw,trunc" {
                    files[which].data.clear();
                }
                slots[slot] = Some((which, copied[which], file));
            }
            (2, Some(closed)) => drop(closed),
            (3, Some((which, new, file))) => {
                let mut data = vec![0; LARGE + 1000];
                let len = file.read_at(&mut data, 0).expect("read");
                let now = &files[which].data[..];
                let old = data[..len].iter().all(|byte| *byte == b'l');
                assert!(data[..len] == *now || !new && old, "step {step}");
                slots[slot] = Some((which, new, file));
            }
            (_, Some((which, new, file))) => {
                let text = format!("<{step}>");
                let at = dice.roll(files[which].data.len() + 1);
                if file.write_at(text.as_bytes(), at as u64).is_ok() {
                    let data = &mut files[which].data;
                    data.resize(data.len().max(at + text.len()), 0);
                    data[at..at + text.len()].copy_from_slice(text.as_bytes());
                }
                slots[slot] = Some((which, new, file));
            }
        }
        let file = &files[which];
        let shown = fs::read(root.join(file.name)).expect("read by path");
        assert!(shown == file.data, "step {step}: {}", file.name);
    }
}

#[test]
fn t133_any_order_of_opens_of_files_that_are_passed_through() {
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("T133", &why);
    }
    env::isolated(|| {
        for (seed, options) in [
            (1, OPTIONS),
            (2, OPTIONS),
            (3, "lower_passthrough=on,metacopy=on"),
        ] {
            let scratch = Scratch::new();
            let layers = Layers::new(scratch.path(), 1, true);
            for (name, len) in [("low", LARGE), ("small", 10), ("page", 4096)] {
                layers.lower(1).file(name, vec![b'l'; len]);
            }
            layers.settle();
            let mounted = Mounted::new(Server::Plyfs, &layers, options).unwrap();
            any_order(&layers.merged, seed);
            for (name, len) in [("low", LARGE), ("small", 10), ("page", 4096)] {
                let lower = fs::read(layers.lowers[0].join(name)).unwrap();
                assert!(lower == vec![b'l'; len], "22.8: lower {name}");
            }
            mounted.unmount().unwrap();
        }
    });
}

/// The number that users see stays, though the kernel has two inodes.
#[test]
fn t076_the_inode_number_stays() {
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("T076", &why);
    }
    env::isolated(|| {
        let scratch = Scratch::new();
        let layers = Layers::new(scratch.path(), 1, true);
        layers.lower(1).file("d/f", "lower");
        layers.settle();
        let mounted = Mounted::new(Server::Plyfs, &layers, OPTIONS).unwrap();
        let path = layers.merged.join("d/f");
        let old = File::open(&path).unwrap();
        let ino = old.metadata().unwrap().ino();
        let new = steps::open(&path, "rw").unwrap();
        new.write_all_at(b"upper", 0).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        for meta in [old.metadata(), new.metadata(), fs::metadata(&path)] {
            let meta = meta.unwrap();
            assert_eq!((meta.ino(), meta.mode() & 0o777), (ino, 0o640));
        }
        fs::remove_file(&path).unwrap();
        for file in [&old, &new] {
            assert_eq!(file.metadata().unwrap().nlink(), 0);
        }
        fs::write(&path, "another").unwrap();
        new.write_all_at(b"gone", 0).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"another");
        drop((old, new));
        mounted.unmount().unwrap();
    });
}
