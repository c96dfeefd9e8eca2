//! Names that programs stumble over, and names that look like our own.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::siege::Siege;
use super::support::scenario::Scenario;
use super::support::steps::RenameFlags;

/// Not one of them needs to be text.
fn odd_names() -> Vec<OsString> {
    let mut names: Vec<Vec<u8>> = [
        &b"new\nline"[..],
        b"\n",
        b" ",
        b"-rf",
        b"\xff\xfe",
        b"half \xc3",
        b"\x01\x1b[31m",
        b"a:b,c\\d",
        b"%s%n",
        b"...",
        b".hidden",
        b"'\"`$(reboot)`",
        b"\x7f",
        b"user.overlay.opaque",
    ]
    .iter()
    .map(|name| name.to_vec())
    .collect();
    names.push(b"x".repeat(255));
    names.push(b"\xf0".repeat(255));
    names
        .iter()
        .map(|name| OsStr::from_bytes(name).to_os_string())
        .collect()
}

fn fill(dir: &Path, text: &str) {
    for name in odd_names() {
        fs::write(dir.join(&name), text).unwrap();
    }
}

fn sorted(mut names: Vec<OsString>) -> Vec<Vec<u8>> {
    names.sort();
    names
        .into_iter()
        .map(|name| name.as_bytes().to_vec())
        .collect()
}

#[test]
fn odd_names_are_listed_changed_moved_and_removed() {
    Siege::new("odd names", 2).run(
        |l, _| {
            for dir in ["both", "below", "gone"] {
                fs::create_dir(l.lowers[1].join(dir)).unwrap();
                fill(&l.lowers[1].join(dir), "below");
            }
            for dir in ["both", "dirs"] {
                fs::create_dir(l.lowers[0].join(dir)).unwrap();
            }
            fill(&l.lowers[0].join("both"), "top");
            for name in odd_names() {
                fs::create_dir_all(l.lowers[0].join("dirs").join(&name).join(&name)).unwrap();
            }
        },
        |field| {
            let inside = &field.inside;
            let path = |dir: &str, name: &OsStr| Path::new(dir).join(name);
            for dir in ["both", "below", "gone", "dirs"] {
                assert_eq!(
                    inside.list(dir).expect("list"),
                    sorted(odd_names()),
                    "{dir}"
                );
            }
            for name in odd_names() {
                assert_eq!(inside.read(path("both", &name)).expect("read"), b"top");
                inside
                    .write(path("below", &name), b"WRITE")
                    .expect("copy up");
                assert_eq!(inside.read(path("below", &name)).expect("read"), b"WRITE");
                let merged = &field.layers.merged;
                fs::remove_file(merged.join("gone").join(&name)).expect("unlink");
                assert!(fs::symlink_metadata(merged.join("gone").join(&name)).is_err());
                fs::rename(
                    merged.join("both").join(&name),
                    merged.join("gone").join(&name),
                )
                .expect("rename");
                let deep = merged.join("dirs").join(&name);
                fs::create_dir(deep.join("fresh")).expect("mkdir");
                fs::remove_dir(deep.join(&name)).expect("rmdir");
                fs::write(deep.join(&name), "a file over a whiteout").expect("create");
            }
            assert_eq!(inside.list("both").expect("list"), Vec::<Vec<u8>>::new());
            assert_eq!(inside.list("gone").expect("list"), sorted(odd_names()));
            // A whole tree of them goes.
            fs::remove_dir_all(field.layers.merged.join("dirs")).expect("rm -rf");
        },
    );
}

/// Names that work directories, whiteouts of other systems and our own temporaries use are ordinary here.
#[test]
fn names_like_our_own() {
    const NAMES: [&str; 12] = [
        "#1",
        "#2",
        "#0",
        "#ffffffff",
        ".wh.f",
        ".wh..wh..opq",
        ".wh.",
        ".wh..wh.plnk",
        "work",
        "index",
        "incompat",
        "lock",
    ];
    Scenario::new(
        "T011 T132",
        "names like those of temporaries and of AUFS whiteouts are ordinary",
    )
    .lowers(2)
    .layers(|l| {
        l.lower(2).file("f", "f").file("d/f", "f");
        for name in NAMES {
            l.lower(1)
                .file(name, name)
                .file(&format!("d/{name}"), name)
                .dir(&format!("dirs/{name}"));
            l.lower(2).file(&format!("below/{name}"), name);
        }
    })
    .steps(|s| {
        for dir in ["", "d", "dirs", "below"] {
            s.ls(dir).noted();
        }
        for name in NAMES {
            s.write(name, "changed").ok();
            s.unlink(&format!("d/{name}")).ok();
            s.create(&format!("d/{name}"), "new").ok();
            s.mkdir(&format!("new-{name}")).ok();
            s.create(&format!("new-{name}/{name}"), "in it").ok();
            s.rename(&format!("below/{name}"), &format!("dirs/{name}/{name}"))
                .ok();
            s.rename2(&format!("d/{name}"), name, RenameFlags::EXCHANGE)
                .ok();
        }
        s.read("f").is("\"f\"");
        s.unlink("d/f").ok();
        for dir in ["", "d", "dirs", "below"] {
            s.ls(dir).noted();
        }
        s.work_residue().is("");
    });
}

/// Names that stand for other names: the rest of the name may be nothing, a dot, or too long to be looked for.
#[test]
fn whiteouts_by_name_of_odd_names_and_kinds() {
    let long = |n: usize| "y".repeat(n);
    Siege::new("`.wh.` names of every odd sort", 2)
        .options("oci=on")
        .run(
            |l, outside| {
                let (top, below) = (&l.lowers[0], l.lower(2));
                for name in [
                    ".wh.",
                    ".wh..",
                    ".wh...",
                    ".wh..wh.f",
                    ".wh..wh.",
                    ".wh..wh.orph",
                    ".wh...",
                ] {
                    fs::write(top.join(name), "").unwrap();
                }
                for n in [250, 251, 252, 255] {
                    below.file(&long(n), "found");
                }
                // The longest name that can be hidden so.
                l.lower(1).file(&format!(".wh.{}", long(251)), "");
                for name in ["dir", "link", "fifo", "full"] {
                    below
                        .file(name, "below")
                        .file(&format!("{name}-opaque/f"), "below");
                }
                l.lower(1)
                    .dir(".wh.dir")
                    .fifo(".wh.fifo")
                    .file(".wh.full", "content");
                std::os::unix::fs::symlink(outside, top.join(".wh.link")).unwrap();
                l.lower(1)
                    .dir("dir-opaque/.wh..wh..opq")
                    .file("full-opaque/.wh..wh..opq", "content");
                l.lower(1)
                    .dir("link-opaque")
                    .fifo("fifo-opaque/.wh..wh..opq");
                std::os::unix::fs::symlink(outside, top.join("link-opaque/.wh..wh..opq")).unwrap();
                below.file("a/b/c", "below");
                l.lower(1)
                    .file("a/.wh...", "")
                    .file("a/b/.wh..", "")
                    .file("a/.wh.", "");
            },
            |field| {
                let inside = &field.inside;
                for n in [250, 252, 255] {
                    let read = inside.read(long(n)).expect("a long name");
                    assert_eq!(read, b"found", "{n} bytes");
                    assert!(inside.batter(&long(n)));
                }
                inside.read(long(251)).expect_err("hidden by name");
                for name in inside.list(".").expect("list the root") {
                    assert!(
                        !name.starts_with(b".wh."),
                        "a mark is listed: {}",
                        name.escape_ascii()
                    );
                    assert!(inside.batter(&String::from_utf8(name).expect("text")));
                }
                assert_eq!(
                    inside
                        .read("a/b/c")
                        .expect("neither `.` nor `..` can be hidden"),
                    b"below"
                );
                assert!(!inside.list("a/b").expect("list").is_empty());
                for name in [".wh.new", ".wh..wh..opq", "a/.wh.c"] {
                    let refused = inside
                        .write(name, b"x")
                        .expect_err("names of marks cannot be made");
                    assert_eq!(refused.raw_os_error(), Some(libc::EPERM), "{name}");
                }
            },
        );
}
