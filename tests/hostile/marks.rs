//! Overlay marks as no overlay would write them.

use std::fs;

use super::siege::Siege;
use super::support::layers::{Layers, Tree};
use super::support::mount::{Mounted, Server};
use super::support::scenario::Scenario;
use super::support::snapshot::{names, xattrs};
use super::support::steps::FileType;

/// File handles of every wrong kind (1.2, 1.3).
fn wrong_handles() -> Vec<Vec<u8>> {
    let right = [
        &[0, 0xfb, 29, 0, 1][..],
        &[7; 16],
        &[1, 0, 0, 0, 2, 0, 0, 0],
    ]
    .concat();
    let change = |at: usize, byte: u8| {
        let mut handle = right.clone();
        handle[at] = byte;
        handle
    };
    vec![
        vec![],
        vec![0],
        vec![0, 0xfb],
        b"garbage".to_vec(),
        right.clone(),
        right[..20].to_vec(),
        right[..21].to_vec(),
        [&right[..], &[0; 100]].concat(),
        change(0, 1),
        change(1, 0xfa),
        change(2, 0),
        change(2, 255),
        change(3, 1),
        change(3, 0xff),
        change(4, 0),
        change(4, 0xff),
        vec![0xff; 512],
    ]
}

#[test]
fn t025_garbage_origins() {
    garbage_origins(
        "trusted",
        Scenario::new("T025", "an object with a garbage origin is usable"),
    );
}

#[test]
fn t025_garbage_origins_of_the_other_namespace() {
    let scenario = Scenario::new(
        "T025",
        "an object with a garbage user.overlay origin is usable",
    );
    garbage_origins(
        "user",
        scenario.plyfs_only("25.2: marks of both namespaces are hidden"),
    );
}

fn garbage_origins(prefix: &str, scenario: Scenario<'_>) {
    let mark = &format!("{prefix}.overlay.origin");
    scenario
        .layers(|l| {
            for (tree, layer) in [(l.lower(1), "lower"), (l.upper(), "upper")] {
                for (n, handle) in wrong_handles().iter().enumerate() {
                    let (file, dir) = (format!("{layer}{n}"), format!("{layer}-dir{n}"));
                    tree.file(&file, "content").xattr(&file, mark, handle);
                    tree.file(&format!("{dir}/f"), "content")
                        .xattr(&dir, mark, handle);
                }
            }
        })
        .steps(|s| {
            for n in 0..wrong_handles().len() {
                for layer in ["lower", "upper"] {
                    let (file, dir) = (format!("{layer}{n}"), format!("{layer}-dir{n}"));
                    s.listx(&file).is("");
                    s.read(&file).is("\"content\"");
                    s.write(&file, "changed").ok();
                    s.ls(&dir).is("f");
                    s.unlink(&format!("{dir}/f")).ok();
                    s.rename(&file, &format!("{file}.moved")).ok();
                }
            }
        });
}

#[test]
fn t008_opaque_marks_of_wrong_value() {
    const VALUES: [&[u8]; 8] = [
        b"",
        b"n",
        b"Y",
        b"yes",
        b"y\0",
        b"1",
        b"\xff",
        b"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
    ];
    Scenario::new("T008", "a directory is opaque only by exactly `y`")
        .lowers(3)
        .layers(|l| {
            for (n, value) in VALUES.iter().enumerate() {
                let dir = format!("d{n}");
                for (tree, name) in [
                    (l.lower(1), "top"),
                    (l.lower(2), "middle"),
                    (l.lower(3), "bottom"),
                ] {
                    tree.file(&format!("{dir}/{name}"), name).xattr(
                        &dir,
                        "trusted.overlay.opaque",
                        value,
                    );
                }
                l.upper()
                    .dir(&dir)
                    .xattr(&dir, "trusted.overlay.opaque", value);
            }
            l.lower(1).opaque("y", "y");
            l.lower(2).file("y/hidden", "2");
        })
        .steps(|s| {
            for n in 0..VALUES.len() {
                s.ls(&format!("d{n}")).is("bottom middle top");
            }
            s.ls("y").is("");
        });
}

/// Whiteouts with noise on them, and what is almost a whiteout.
fn plant_whiteouts(tree: Tree<'_>, n: usize) {
    let path = |name: &str| format!("d/{name}{n}");
    for name in ["writable", "owned", "marked", "origin", "linked"] {
        tree.whiteout(&path(name));
    }
    tree.mode(&path("writable"), 0o777)
        .owner(&path("owned"), 1000, 1000);
    tree.xattr(&path("marked"), "trusted.overlay.opaque", "y");
    tree.xattr(&path("origin"), "trusted.overlay.origin", "zzz");
    for m in 0..20 {
        tree.link(&path("linked"), &format!("d/linked{n}.{m}"));
    }
    tree.node(&path("block"), FileType::BlockDevice, (0, 0));
    tree.node(&path("minor"), FileType::CharacterDevice, (0, 1));
    tree.node(&path("major"), FileType::CharacterDevice, (1, 0));
}

#[test]
fn whiteouts_of_odd_shapes() {
    const HIDDEN: [&str; 5] = ["writable", "owned", "marked", "origin", "linked"];
    const SEEN: [&str; 3] = ["block", "minor", "major"];
    let long = format!("d/{}", "x".repeat(255));
    Scenario::new(
        "T003 T004",
        "a whiteout is a character device 0/0, whatever else it is",
    )
    .lowers(3)
    .layers(|l: &Layers| {
        for name in HIDDEN.iter().chain(&SEEN) {
            for n in 0..2 {
                l.lower(3).file(&format!("d/{name}{n}"), "hidden");
                l.lower(2)
                    .file(&format!("d/{name}{n}.5"), "hidden if linked");
            }
        }
        l.lower(2).file("d/seen", "seen").file(&long, "hidden");
        l.lower(1).dir("d").whiteout(&long);
        plant_whiteouts(l.lower(1), 0);
        plant_whiteouts(l.upper(), 1);
    })
    .steps(|s| {
        s.ls("d").noted();
        for n in 0..2 {
            for path in HIDDEN.map(|name| format!("d/{name}{n}")) {
                s.stat(&path).is("ENOENT");
                s.create(&path, "new").ok();
                s.unlink(&path).ok();
            }
            for path in SEEN.map(|name| format!("d/{name}{n}")) {
                s.stat(&path).noted();
                s.unlink(&path).ok();
            }
        }
        s.create(&long, "new").ok();
    });
}

/// Marks that lead elsewhere, and marks with values nobody wrote: refused or ignored, never followed outside.
#[test]
fn marks_that_lead_elsewhere() {
    let redirects = || {
        let texts = [
            "",
            "a/b",
            "//a",
            "/a/",
            "/",
            ".",
            "..",
            "../outside",
            "/../outside",
            "/../../../../etc",
            "outside",
            "/link",
            "/link/dir",
            "link",
            "\n",
            "\0",
            "a\0b",
            "data",
            "/data",
        ];
        let long = ["x".repeat(3000), "/x".repeat(1500), "x".repeat(256)];
        texts.map(String::from).into_iter().chain(long)
    };
    let metacopies: [&[u8]; 6] = [
        b"",
        b"garbage",
        &[0, 4, 0, 0],
        &[0, 4, 0, 1],
        &[9, 9, 9, 9],
        &[0xff; 300],
    ];
    Siege::new("redirect, metacopy and other marks with wrong values", 2).run(
        |l, outside| {
            l.lower(2)
                .symlink("link", &outside.to_string_lossy())
                .file("data", "data of another file");
            for (n, redirect) in redirects().enumerate() {
                for (tree, name) in [(l.lower(1), "below"), (l.upper(), "above")] {
                    let (dir, file) = (
                        format!("marked/{name}-dir{n}"),
                        format!("marked/{name}-file{n}"),
                    );
                    tree.dir(&dir)
                        .xattr(&dir, "trusted.overlay.redirect", &redirect);
                    tree.file(&file, "")
                        .xattr(&file, "trusted.overlay.redirect", &redirect);
                    tree.xattr(
                        &file,
                        "trusted.overlay.metacopy",
                        metacopies[n % metacopies.len()],
                    );
                }
            }
            for mark in [
                "impure",
                "nlink",
                "upper",
                "uuid",
                "protattr",
                "whiteout",
                "nobody.knows",
            ] {
                for (n, value) in ["", "y", "garbage", "U+99999999999999999999", "L-1", "ai"]
                    .iter()
                    .enumerate()
                {
                    for (tree, name) in [(l.lower(1), "below"), (l.upper(), "above")] {
                        let (dir, file) = (
                            format!("marked/{name}-{mark}-dir{n}"),
                            format!("marked/{name}-{mark}{n}"),
                        );
                        tree.file(&format!("{dir}/f"), "f").file(&file, "f");
                        tree.xattr(&dir, &format!("trusted.overlay.{mark}"), value);
                        tree.xattr(&file, &format!("trusted.overlay.{mark}"), value);
                    }
                }
            }
            l.upper()
                .xattr("", "trusted.overlay.uuid", "garbage")
                .xattr("", "trusted.overlay.origin", "garbage");
        },
        |field| {
            // Listing may fail as a whole where one name is refused (the kernel's does), so names come from the disk.
            for layer in [&field.layers.lowers[0], &field.layers.upper] {
                for name in names(&layer.join("marked")).expect("read a layer") {
                    let name = name.into_string().expect("text");
                    let path = format!("marked/{name}");
                    if ["impure", "nlink", "nobody"]
                        .iter()
                        .any(|mark| name.contains(mark))
                    {
                        let content = if name.contains("dir") {
                            format!("{path}/f")
                        } else {
                            path.clone()
                        };
                        assert_eq!(
                            field.inside.read(&content).expect("a usable object"),
                            b"f",
                            "{content}"
                        );
                    }
                    assert!(field.inside.batter(&path));
                    field.inside.batter(&format!("{path}/f"));
                }
            }
        },
    );
}

/// An origin that is a perfect handle of a file outside: a number at most, never a way to its content.
#[test]
fn an_origin_that_names_a_file_outside() {
    Siege::new("origins that name files outside", 1).run(
        |l, outside| {
            let handle = handle_of(&l.upper.with_file_name("maker"), &outside.join("dir"));
            for (tree, name) in [(l.lower(1), "below"), (l.upper(), "above")] {
                tree.file(name, "mine")
                    .xattr(name, "trusted.overlay.origin", &handle);
                let dir = format!("{name}-dir");
                tree.file(&format!("{dir}/f0"), "mine").xattr(
                    &dir,
                    "trusted.overlay.origin",
                    &handle,
                );
            }
        },
        |field| {
            for name in [
                "below",
                "above",
                "below-dir/f0",
                "above-dir/f0",
                "below-dir",
                "above-dir",
            ] {
                assert!(field.inside.batter(name));
            }
            assert_eq!(field.inside.read("above").expect("read"), b"mine");
        },
    );
}

/// The handle of a file as an overlay writes it: the kernel is asked to copy it up. It reads without access times.
fn handle_of(maker: &std::path::Path, dir: &std::path::Path) -> Vec<u8> {
    let mut layers = Layers::new(maker, 0, true);
    layers.lowers = vec![dir.to_path_buf()];
    let mounted =
        Mounted::new(Server::Kernel, &layers, "index=off").expect("mount kernel overlayfs");
    let link = mounted.path().join("link");
    fs::hard_link(mounted.path().join("secret"), link).expect("copy up");
    mounted.unmount().expect("unmount");
    let marks = xattrs(&layers.upper.join("link")).expect("read the mark");
    marks
        .get("trusted.overlay.origin")
        .cloned()
        .expect("the kernel wrote an origin")
}
