//! Metacopies and data-only layers made by an enemy: they lead to files of the layers or nowhere, whatever they say,
//! and whatever is put in the place of the data meanwhile.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode};

use super::siege::{FILES_OUTSIDE, Siege, not_secret};
use crate::support::layers::Tree;

const MODES: [&str; 2] = ["", "metacopy=on"];

/// All that a metacopy can be asked for.
fn batter(inside: &super::siege::Inside, path: &str) {
    not_secret(path, inside.read(path));
    for attempt in 0..2 {
        // Each may fail; what the data is must not depend on what was tried before.
        drop(inside.chmod(path, 0o600 + attempt));
        not_secret(path, inside.read(path));
        drop(inside.write(path, b"changed"));
    }
    inside.batter(path);
}

/// T024 in its worst form: redirects that try to leave, through links, dots, other kinds of objects.
#[test]
fn redirects_to_data_that_try_to_leave() {
    for options in MODES {
        let targets = [
            "/../outside/f0",
            "/../../etc/passwd",
            "/ab/../../outside/f0",
            "/./ab/f",
            "/link/f0",
            "/link",
            "/ab/file-link",
            "/ab/dir",
            "/ab/fifo",
            "/ab/device",
            "/ab/white",
            "/ab/f/more",
            "/ab",
            "/",
            "//",
            "//ab/f",
            "/ab/f/",
            "/proc/self/root",
            "ab/f",
            "..",
        ];
        let long = ["/x".repeat(2000), format!("/{}", "x".repeat(3000))];
        let targets: Vec<String> = targets.map(String::from).into_iter().chain(long).collect();
        let count = targets.len();
        Siege::new("redirects to data that try to leave", 3)
            .data_only(1)
            .options(options)
            .run(
                move |l, outside| {
                    let outside = outside.to_string_lossy();
                    let data = l.lower(3);
                    data.file("ab/f", "mine").dir("ab/dir").fifo("ab/fifo");
                    data.symlink("link", &outside)
                        .symlink("ab/file-link", &format!("{outside}/f0"))
                        .whiteout("ab/white")
                        .node("ab/device", FileType::CharacterDevice, (1, 5));
                    for (n, to) in targets.iter().enumerate() {
                        for (layer, tree) in [l.lower(1), l.lower(2), l.upper()].iter().enumerate()
                        {
                            let name = format!("m{n}-{layer}");
                            tree.metacopy(&name, 4, Some(to));
                        }
                    }
                },
                move |field| {
                    for n in 0..count {
                        for layer in 0..3 {
                            batter(&field.inside, &format!("m{n}-{layer}"));
                        }
                    }
                },
            );
    }
}

/// Metacopies that lead to each other in circles and long chains: each layer is asked once.
#[test]
fn metacopies_in_circles() {
    const LAYERS: usize = 30;
    for options in MODES {
        Siege::new("metacopies in circles", LAYERS)
            .data_only(1)
            .options(options)
            .run(
                |l, _| {
                    for n in 1..LAYERS {
                        l.lower(n)
                            .metacopy("self", 4, Some("self"))
                            .metacopy("a", 4, Some("b"))
                            .metacopy("b", 4, Some("/a"))
                            .metacopy("dir/a", 4, Some("/a"))
                            .metacopy("chain", 4, Some("/chain"));
                        l.lower(n)
                            .dir("d")
                            .xattr("d", "trusted.overlay.redirect", "/e");
                        l.lower(n)
                            .dir("e")
                            .xattr("e", "trusted.overlay.redirect", "/d");
                        l.lower(n)
                            .metacopy("d/f", 4, Some("/e/f"))
                            .metacopy("e/f", 4, None);
                    }
                    l.lower(LAYERS).file("chain", "data");
                },
                |field| {
                    for name in ["self", "a", "b", "dir/a", "d/f", "e/f"] {
                        batter(&field.inside, name);
                    }
                    assert_eq!(field.inside.read("chain").expect("read"), b"data");
                },
            );
    }
}

/// The data is something else by the time it is needed.
#[test]
fn data_that_is_replaced() {
    fn replace(at: &Path, outside: &Path, how: usize) {
        fs::remove_file(at).expect("remove the data");
        match how {
            0 => symlink(outside.join("f0"), at).expect("symlink"),
            1 => fs::create_dir(at).expect("mkdir"),
            2 => rustix::fs::mknodat(CWD, at, FileType::Fifo, Mode::RUSR, 0).expect("mkfifo"),
            3 => fs::write(at, "another file").expect("write"),
            _ => {}
        }
    }
    for options in MODES {
        Siege::new("data that is replaced", 3)
            .data_only(1)
            .lowers_change()
            .options(options)
            .run(
                |l, _| {
                    let files = |tree: Tree<'_>, dir: &str| {
                        for n in 0..FILES_OUTSIDE {
                            tree.file(&format!("{dir}/f{n}"), "mine");
                        }
                    };
                    files(l.lower(3), "data");
                    files(l.lower(2), "low");
                    for n in 0..FILES_OUTSIDE {
                        l.lower(1)
                            .metacopy(&format!("data{n}"), 4, Some(&format!("/data/f{n}")))
                            .metacopy(&format!("low{n}"), 4, Some(&format!("/low/f{n}")));
                    }
                },
                |field| {
                    let lowers = &field.layers.lowers;
                    for n in 0..40 {
                        let known = n % 2 == 0;
                        for (dir, name) in [
                            (lowers[2].join("data"), format!("data{n}")),
                            (lowers[1].join("low"), format!("low{n}")),
                        ] {
                            if known {
                                assert_eq!(field.inside.read(&name).expect("read"), b"mine");
                            }
                            replace(&dir.join(format!("f{n}")), field.outside, n / 2 % 5);
                            batter(&field.inside, &name);
                        }
                    }
                    for (dir, name) in [
                        (lowers[2].join("data"), "data"),
                        (lowers[1].join("low"), "low"),
                    ] {
                        fs::rename(&dir, dir.with_extension("gone")).expect("rename");
                        symlink(field.outside, &dir).expect("symlink");
                        for n in 40..60 {
                            batter(&field.inside, &format!("{name}{n}"));
                        }
                    }
                },
            );
    }
}
