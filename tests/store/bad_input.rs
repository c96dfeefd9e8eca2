//! Bad input, row by row of the table in `docs/store.md` ("What an archive cannot do"): one line, its exit code, and
//! the store is as it was, byte for byte. What is made to look like that by GNU tar is in `archives`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use plyfs::store::tar::write::TarWriter;
use plyfs::store::tar::{Entry, EntryKind};
use plyfs::sys::stat::{Rdev, Time};

use crate::rig::{Shop, each, names, one, one_on};
use crate::support::uml::under_uml;

/// An entry with a mode and an owner that everybody may have.
fn entry(shop: &Shop, path: &str, kind: EntryKind) -> Entry {
    let id = if shop.user { 65534 } else { 0 };
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        perm: if kind == EntryKind::Dir { 0o755 } else { 0o644 },
        uid: id,
        gid: id,
        mtime: Time::default(),
        size: 0,
        link: Vec::new(),
        rdev: Rdev::default(),
        xattrs: Vec::new(),
    }
}

fn link(shop: &Shop, path: &str, kind: EntryKind, target: &str) -> Entry {
    let link = target.as_bytes().to_vec();
    Entry {
        link,
        ..entry(shop, path, kind)
    }
}

fn marked(shop: &Shop, path: &str, kind: EntryKind, name: &str, value: &[u8]) -> Entry {
    let xattrs = vec![(name.as_bytes().to_vec(), value.to_vec())];
    Entry {
        xattrs,
        ..entry(shop, path, kind)
    }
}

/// An archive of these; files hold `x` as often as they are big.
fn bytes(entries: &[Entry]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for entry in entries {
        writer.entry(entry).unwrap();
        if entry.size > 0 {
            writer.data(&vec![b'x'; entry.size as usize]).unwrap();
        }
    }
    writer.finish().unwrap()
}

/// A file in `files`.
fn file(shop: &Shop, name: &str, bytes: &[u8]) -> String {
    let path = shop.place.at("files").join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_string()
}

/// Everything in the store: content by path.
fn all(shop: &Shop) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![shop.root()];
    while let Some(path) = todo.pop() {
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        let content = match () {
            () if kind.is_dir() => {
                todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
                Vec::new()
            }
            () if kind.is_file() => fs::read(&path).unwrap(),
            () => Vec::new(),
        };
        found.insert(path, content);
    }
    found
}

/// A call fails with this code in these words, and changes nothing.
fn refused(shop: &Shop, code: i32, words: &[&str], args: &[&str]) {
    let before = all(shop);
    shop.refused(code, words, args);
    assert!(all(shop) == before, "{args:?} changed the store");
}

/// The tree of a layer made of such an archive, and what was remarked.
fn taken(shop: &Shop, entries: &[Entry], more: &[&str]) -> (PathBuf, String) {
    let tar = file(shop, "good.tar", &bytes(entries));
    let said = shop.call(&[&["layer", "create", "--from-tar", &tar], more].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    let id = said.out.trim_end();
    let out = shop.place.at("files/again.tar");
    shop.ok(&["layer", "diff", id, "-o", out.to_str().unwrap()]);
    assert!(fs::read(&tar).unwrap() == fs::read(&out).unwrap());
    (
        shop.root().join(shop.driver).join(id).join("root"),
        said.err,
    )
}

#[test]
fn names_and_links_that_lead_out() {
    each("names_and_links_that_lead_out", |shop| {
        use EntryKind::{Dir, File, HardLink, Symlink};
        let victim = file(shop, "victim", b"safe");
        let out = shop.place.at("files");
        let out = out.to_str().unwrap();
        let escapes: &[(&[Entry], &str)] = &[
            (&[entry(shop, "../x", File)], "leaves the layer"),
            (&[entry(shop, "d/../../x", Dir)], "leaves the layer"),
            (
                &[link(shop, "l", Symlink, out), entry(shop, "l/x", File)],
                "l/x",
            ),
            (
                &[
                    link(shop, "l", Symlink, out),
                    entry(shop, "l/.wh.victim", File),
                ],
                "",
            ),
            (&[link(shop, "h", HardLink, &victim)], "victim"),
            (&[link(shop, "h", HardLink, "../../victim")], "victim"),
            (
                &[
                    link(shop, "l", Symlink, out),
                    link(shop, "h", HardLink, "l/victim"),
                ],
                "victim",
            ),
            (&[link(shop, "h", HardLink, "nothing")], "nothing"),
            (&[entry(shop, ".wh.", File)], ".wh."),
            (&[entry(shop, ".wh..", File)], ".wh.."),
            (
                &[entry(shop, "d", Dir), entry(shop, "d/.wh...", File)],
                ".wh...",
            ),
        ];
        for (entries, words) in escapes {
            let tar = file(shop, "bad.tar", &bytes(entries));
            // A whiteout of nothing is nothing; all else is refused.
            if entries.iter().any(|entry| entry.path == b"l/.wh.victim") {
                shop.ok(&["layer", "create", "--from-tar", &tar]);
            } else {
                refused(shop, 7, &[words], &["layer", "create", "--from-tar", &tar]);
            }
            assert_eq!(fs::read(&victim).unwrap(), b"safe");
        }
        let (tree, _) = taken(
            shop,
            &[entry(shop, "/abs", File), entry(shop, "a/./../b", File)],
            &[],
        );
        assert!(names(&tree).starts_with("a abs b") || names(&tree) == "abs b");
        shop.is_clean();
    });
}

#[test]
fn marks_in_an_archive_do_not_act() {
    each("marks_in_an_archive", |shop| {
        use EntryKind::{Char, Dir};
        let dir = shop.dir("base", "mkdir d; echo below > d/below; echo f > f");
        let base = shop.ok(&["layer", "create", "--from-dir", &dir]);
        for namespace in ["trusted.overlay.", "user.overlay.", "user.fuseoverlayfs."] {
            let opaque = marked(shop, "d", Dir, &format!("{namespace}opaque"), b"y");
            let (_, said) = taken(shop, &[opaque], &["--parent", &base, "--name", namespace]);
            let container = shop.ok(&["container", "create", "--layer", namespace]);
            assert_eq!(
                shop.work(&container, "cat d/below"),
                "below\n",
                "{namespace} {said}"
            );
            let strict = [
                "layer",
                "apply",
                &base,
                &file(shop, "bad.tar", &bytes(&[])),
                "--xattrs",
                "strict",
            ];
            shop.ok(&strict);
        }
        // A device 0:0 over a file of the layer below is no whiteout.
        let (_, said) = taken(
            shop,
            &[entry(shop, "f", Char)],
            &["--parent", &base, "--name", "dev"],
        );
        if shop.driver == "overlay" {
            assert!(said.contains("0:0"), "{said}");
            let container = shop.ok(&["container", "create", "--layer", "dev"]);
            assert_eq!(shop.work(&container, "cat f"), "f\n");
        }
        shop.is_clean();
    });
}

#[test]
fn devices_and_attributes_that_cannot_be() {
    for driver in ["overlay", "vfs"] {
        one("devices_that_cannot_be", driver, true, |shop| {
            let null = Entry {
                rdev: Rdev { major: 1, minor: 3 },
                ..entry(shop, "null", EntryKind::Char)
            };
            let tar = file(shop, "dev.tar", &bytes(std::slice::from_ref(&null)));
            let strict = ["layer", "create", "--from-tar", &tar, "--devices", "error"];
            refused(shop, 77, &["null", "device"], &strict);
            let (tree, said) = taken(shop, std::slice::from_ref(&null), &["--devices", "skip"]);
            assert!(
                said.contains("device skipped: null") && names(&tree).is_empty(),
                "{said}"
            );
            let (tree, said) = taken(shop, &[null], &[]);
            assert_eq!((names(&tree).as_str(), said.as_str()), ("null", ""));
        });
        for user in [false, true] {
            one("attributes_that_cannot_be", driver, user, |shop| {
                let huge = marked(shop, "f", EntryKind::File, "user.huge", &vec![b'v'; 70_000]);
                let tar = file(shop, "huge.tar", &bytes(std::slice::from_ref(&huge)));
                let strict = ["layer", "create", "--from-tar", &tar, "--xattrs", "strict"];
                let said = shop.call(&strict);
                said.failed(said.code.unwrap(), &["f", "user.huge"]);
                assert_ne!(said.code, Some(0));
                refused(shop, said.code.unwrap(), &["user.huge"], &strict);
                let (_, said) = taken(shop, &[huge], &[]);
                assert!(
                    said.contains("user.huge") || said.contains("attribute"),
                    "{said}"
                );
                shop.is_clean();
            });
        }
    }
}

#[test]
fn archives_that_end_too_early_or_lie() {
    each("archives_that_end_too_early", |shop| {
        let big = Entry {
            size: 100_000,
            ..entry(shop, "big", EntryKind::File)
        };
        let whole = bytes(&[entry(shop, "d", EntryKind::Dir), big]);
        file(shop, "whole.tar", &whole);
        let packed = |program: &str| {
            shop.sh(&format!("{program} -c < whole.tar > packed"));
            fs::read(shop.place.at("files/packed")).unwrap()
        };
        let (gzip, zstd) = (packed("gzip"), packed("zstd -q"));
        for (form, bytes) in [("tar", &whole), ("gz", &gzip), ("zst", &zstd)] {
            for cut in [1, bytes.len() / 3, bytes.len() - 1] {
                let name = format!("cut-{cut}.{form}");
                // The last byte of a plain archive is of its end mark: that is half one then.
                let tar = file(shop, &name, &bytes[..cut]);
                refused(shop, 7, &[""], &["layer", "create", "--from-tar", &tar]);
            }
            let mut broken = bytes.clone();
            let middle = if form == "tar" { 100 } else { broken.len() / 2 };
            broken[middle] ^= 0x55;
            let tar = file(shop, &format!("broken.{form}"), &broken);
            refused(shop, 7, &[""], &["layer", "create", "--from-tar", &tar]);
        }
        let noise: Vec<u8> = (0..5000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let tar = file(shop, "noise", &noise);
        refused(
            shop,
            7,
            &["archive"],
            &["layer", "create", "--from-tar", &tar],
        );
        // More said than there is, and less.
        for size in [
            "00000777777\0",
            "00000000010\0",
            "99999999999\0",
            "77777777777\0",
        ] {
            let mut lies = whole.clone();
            let header = 512;
            lies[header + 124..header + 136].copy_from_slice(size.as_bytes());
            let sum: u32 = (0..512)
                .map(|i| {
                    if (148..156).contains(&i) {
                        32
                    } else {
                        u32::from(lies[header + i])
                    }
                })
                .sum();
            lies[header + 148..header + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            let tar = file(shop, "lies.tar", &lies);
            refused(shop, 7, &[""], &["layer", "create", "--from-tar", &tar]);
        }
        shop.is_clean();
    });
}

#[test]
fn names_of_absurd_length_and_depth() {
    each("names_of_absurd_length", |shop| {
        use EntryKind::{Dir, File};
        let long = "n".repeat(256);
        let tar = file(shop, "long.tar", &bytes(&[entry(shop, &long, File)]));
        let create = ["layer", "create", "--from-tar", &tar];
        refused(shop, 7, &["nnnn", "too long"], &create);
        file(
            shop,
            "long.tar",
            &bytes(&[entry(shop, &format!("{}x", "d/".repeat(5000)), Dir)]),
        );
        refused(shop, 7, &["d/d/d"], &create);
        // Longer than any path of the kernel, and deep: no harm in it.
        let parts = vec!["p".repeat(200); 30].join("/");
        let (tree, _) = taken(shop, &[entry(shop, &parts, File)], &[]);
        assert_eq!(fs::read_dir(&tree).unwrap().count(), 1);
        let deep = format!("{}f", "d/".repeat(3000));
        taken(shop, &[entry(shop, &deep, File)], &["--name", "deep"]);
        let seen = shop.ok(&["layer", "changes", "deep"]);
        assert_eq!(seen.lines().count(), 3001);
        shop.ok(&["layer", "rm", "deep"]);
        shop.is_clean();
    });
}

#[test]
fn archives_that_want_too_much() {
    each("archives_that_want_too_much", |shop| {
        let big = Entry {
            size: 3 << 20,
            ..entry(shop, "big", EntryKind::File)
        };
        file(shop, "big.tar", &bytes(&[big]));
        shop.sh("gzip -k big.tar; zstd -q big.tar");
        let many: Vec<Entry> = (0..20)
            .map(|i| entry(shop, &format!("f{i}"), EntryKind::File))
            .collect();
        file(shop, "many.tar", &bytes(&many));
        for (name, limit, value) in [
            ("big.tar", "--max-unpacked", "2M"),
            ("big.tar.gz", "--max-unpacked", "2M"),
            ("big.tar.zst", "--max-unpacked", "2M"),
            ("many.tar", "--max-entries", "19"),
        ] {
            let path = shop.place.at("files").join(name);
            let path = path.to_str().unwrap();
            refused(
                shop,
                7,
                &[limit],
                &["layer", "create", "--from-tar", path, limit, value],
            );
            let place = format!("tar:{path}");
            refused(
                shop,
                7,
                &[limit],
                &["image", "import", &place, limit, value],
            );
        }
        shop.is_clean();
    });
}

/// Each verb that writes much, on a disk that has no room for it.
fn too_full(shop: &Shop, words: &[&str]) {
    let big = Entry {
        size: 30 << 20,
        ..entry(shop, "big", EntryKind::File)
    };
    let tar = file(shop, "big.tar", &bytes(&[big]));
    let dir = shop.dir("dir", "head -c 30000000 /dev/zero > big");
    let (as_tar, as_dir) = (format!("tar:{tar}"), format!("dir:{dir}"));
    for args in [
        vec!["layer", "create", "--from-tar", &tar],
        vec!["layer", "create", "--from-dir", &dir],
        vec!["image", "import", &as_tar],
        vec!["image", "import", &as_dir],
    ] {
        refused(shop, 1, words, &args);
    }
    let before = all(shop);
    let container = shop.ok(&["container", "create"]);
    let size = "head -c 12000000 /dev/zero > big";
    shop.work(&container, size);
    refused(shop, 1, words, &["container", "commit", &container]);
    // Nothing has to be copied for this.
    let layer = shop.ok(&["container", "commit", &container, "--rm"]);
    shop.ok(&["layer", "rm", &layer]);
    assert!(all(shop) == before);
    shop.is_clean();
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    for driver in ["overlay", "vfs"] {
        one("a_full_disk", driver, false, |shop| {
            // A store of its own on a disk of 20 MB; the last `--root` counts.
            let small = shop.place.at("small");
            fs::create_dir(&small).unwrap();
            let flags = rustix::mount::MountFlags::empty();
            rustix::mount::mount("tmpfs", &small, "tmpfs", flags, c"size=20m").unwrap();
            let shop = shop.at(small.join("store"));
            shop.ok(&["store", "init", "--driver", driver]);
            too_full(&shop, &["o space left"]);
        });
    }
}

#[test]
fn a_quota_that_is_used_up_leaves_the_store_as_it_was() {
    under_uml(
        "bad_input::a_quota_that_is_used_up_leaves_the_store_as_it_was",
        || {
            one_on(
                ("xfs", "usrquota"),
                "a_quota_that_is_used_up",
                "vfs",
                true,
                |shop| {
                    let disk = shop.place.at("disk");
                    let limit = [
                        "-x",
                        "-c",
                        "limit bsoft=20m bhard=20m 65534",
                        disk.to_str().unwrap(),
                    ];
                    shop.place.program("xfs_quota", &limit).worked();
                    too_full(shop, &["uota exceeded"]);
                },
            );
        },
    );
}

#[test]
fn a_signal_while_an_archive_comes_leaves_the_store_as_it_was() {
    each("a_signal_while_an_archive_comes", |shop| {
        if shop.user {
            return;
        }
        let big = Entry {
            size: 3 << 20,
            ..entry(shop, "big", EntryKind::File)
        };
        let bytes = bytes(&[big]);
        for (signal, verb) in [
            (
                rustix::process::Signal::INT,
                vec!["layer", "create", "--from-tar", "-"],
            ),
            (
                rustix::process::Signal::TERM,
                vec!["image", "import", "tar:-"],
            ),
        ] {
            let before = all(shop);
            let mut command = Command::new(env!("CARGO_BIN_EXE_plyfs"));
            command
                .arg("--root")
                .arg(shop.root())
                .args(["--progress", "none"]);
            command.args(verb).stdin(Stdio::piped());
            let mut child = command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut pipe = child.stdin.take().unwrap();
            pipe.write_all(&bytes[..2 << 20]).unwrap();
            let tmp = shop.root().join("tmp");
            crate::tool::wait_until("the file's beginning", || {
                let mut staged = fs::read_dir(&tmp).unwrap().flatten();
                staged.any(|entry| entry.path().join("content/root/big").exists())
            });
            crate::tool::signal(child.id(), signal);
            let output = child.wait_with_output().unwrap();
            drop(pipe);
            let err = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(
                (output.status.code(), output.stdout.len()),
                (Some(1), 0),
                "{err}"
            );
            assert!(
                err.contains("interrupted") && err.lines().count() == 1,
                "{err}"
            );
            assert!(all(shop) == before);
        }
        shop.is_clean();
    });
}
