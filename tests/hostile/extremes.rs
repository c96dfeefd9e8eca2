//! Metadata at the ends of their ranges, on everything, before and after copy-up.

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::support::layers::Tree;
use super::support::scenario::Scenario;

/// The ends of what common filesystems hold: before 1970, ext4's last second, and nanoseconds.
const TIMES: [(i64, i64); 5] = [
    (-2_147_483_648, 0),
    (-1, 999_999_999),
    (0, 1),
    (4_294_967_296, 5),
    (15_032_385_535, 0),
];
const IDS: [u32; 4] = [65_534, 65_535, 0x8000_0000, 0xffff_fffe];
const MODES: [u32; 5] = [0, 0o111, 0o7777, 0o4001, 0o222];

fn set_times(tree: Tree<'_>, path: &str, (seconds, nanos): (i64, i64)) {
    // Marks the times as set, so that they stay.
    tree.times(path, 1, 1);
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos as _,
    };
    let both = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, tree.at(path), &both, AtFlags::SYMLINK_NOFOLLOW).expect("set times");
}

fn make<'a>(tree: Tree<'a>, kind: &str, path: &str) -> Tree<'a> {
    match kind {
        "file" => tree.file(path, "content"),
        "dir" => tree.dir(path),
        "fifo" => tree.fifo(path),
        _ => tree.symlink(path, "a target"),
    }
}

#[test]
fn t065_t066_extreme_metadata_survives_copy_up() {
    const KINDS: [&str; 4] = ["file", "dir", "fifo", "symlink"];
    Scenario::new("T065 T066", "metadata at the ends of their ranges")
        .on_ext4()
        .layers(|l| {
            let lower = l.lower(1);
            for kind in KINDS {
                for (n, id) in IDS.iter().enumerate() {
                    let path = format!("{kind}-id{n}");
                    make(lower, kind, &path).owner(&path, *id, IDS[(n + 1) % IDS.len()]);
                }
                for (n, mode) in MODES.iter().enumerate().filter(|_| kind != "symlink") {
                    let path = format!("{kind}-mode{n}");
                    make(lower, kind, &path).mode(&path, *mode);
                }
                for (n, time) in TIMES.iter().enumerate() {
                    let path = format!("{kind}-time{n}");
                    make(lower, kind, &path);
                    set_times(lower, &path, *time);
                }
            }
        })
        .steps(|s| {
            for kind in KINDS {
                for n in 0..IDS.len() {
                    s.stat(&format!("{kind}-id{n}")).noted();
                    s.utimens(&format!("{kind}-id{n}"), Some(1_000_000_000))
                        .ok();
                    s.stat(&format!("{kind}-id{n}")).noted();
                }
                for n in (0..MODES.len()).filter(|_| kind != "symlink") {
                    s.utimens(&format!("{kind}-mode{n}"), Some(1_000_000_000))
                        .ok();
                    s.stat(&format!("{kind}-mode{n}")).noted();
                }
                for n in 0..TIMES.len() {
                    s.mtime(&format!("{kind}-time{n}")).noted();
                    s.chown(&format!("{kind}-time{n}"), Some(7), Some(7)).ok();
                    s.mtime(&format!("{kind}-time{n}")).noted();
                }
            }
        });
}

#[test]
fn t065_many_and_large_attributes_survive_copy_up() {
    let long = format!("user.{}", "n".repeat(250));
    Scenario::new(
        "T065",
        "many attributes, the longest name, a large value, and odd bytes",
    )
    .layers(|l| {
        let lower = l.lower(1);
        for path in ["many", "long", "large", "odd", "dir/f"] {
            lower.file(path, "content");
        }
        for n in 0..40 {
            lower.xattr("many", &format!("user.attribute{n}"), format!("value {n}"));
            lower.xattr("dir", &format!("trusted.attribute{n}"), "t");
        }
        lower.xattr("long", &long, "v");
        lower.xattr("large", "user.large", vec![0xa5; 3500]);
        lower
            .xattr("odd", "user.\n", "newline")
            .xattr("odd", "user.empty", "")
            .xattr("odd", "user. ", [0, 255]);
        lower
            .xattr("odd", "security.nobody", "x")
            .xattr("odd", "trusted.overlayx", "x");
    })
    .steps(|s| {
        for path in ["many", "long", "large", "odd", "dir"] {
            s.listx(path).noted();
            s.chmod(path, 0o700).ok();
            s.listx(path).noted();
        }
        s.getx("long", &long).noted();
        s.getx("large", "user.large").noted();
        s.write("dir/f", "x").ok();
        s.listx("dir").noted();
    });
}
