//! Listing directories, with and without lookups (section 8, 22.2).

use plyfs::overlay::node::{NodeId, ROOT};
use plyfs::sys::errno::Errno;

use crate::inprocess::client::Client;
use crate::inprocess::rig::{code, over, stack};

/// The names from an offset on, at most `limit` of them, and the offset behind the last.
fn some(client: &Client, dir: NodeId, from: u64, limit: usize) -> (Vec<String>, u64) {
    let (mut names, mut next) = (Vec::new(), from);
    client
        .overlay
        .readdir(dir, from, |entry| {
            if names.len() == limit {
                return false;
            }
            names.push(String::from_utf8_lossy(entry.name).into_owned());
            next = entry.next;
            true
        })
        .unwrap();
    (names, next)
}

#[test]
fn t087_small_pieces_make_the_whole() {
    stack(3, |b| {
        for n in 0..40 {
            b.lower(1 + n % 3).file(&format!("d/{n:02}"), "");
            b.lower(3).file(&format!("d/{n:02}"), "");
        }
    })
    .test(|v| {
        let dir = v.id("d").unwrap();
        for size in [1, 2, 7] {
            let (mut all, mut at) = (Vec::new(), 0);
            loop {
                let (names, next) = some(v, dir, at, size);
                if names.is_empty() {
                    break;
                }
                all.extend(names);
                at = next;
            }
            assert_eq!(all[..2], [".", ".."]);
            let mut rest = all.split_off(2);
            rest.sort();
            let expected: Vec<_> = (0..40).map(|n| format!("{n:02}")).collect();
            assert_eq!(rest, expected, "{size} at a time");
        }
    });
}

#[test]
fn t085_a_directory_keeps_its_list_until_rewound() {
    over(|l| {
        l.file("d/a", "").file("d/b", "");
    })
    .test(|v| {
        let dir = v.id("d").unwrap();
        let (_, after_dots) = some(v, dir, 0, 2);
        v.write("d/c", "").unwrap();
        v.unlink("d/a").unwrap();
        let (mut old, _) = some(v, dir, after_dots, 9);
        old.sort();
        assert_eq!(old, ["a", "b"], "8.3");
        let (mut new, _) = some(v, dir, 0, 9);
        new.sort();
        assert_eq!(new, [".", "..", "b", "c"]);
    });
}

#[test]
fn an_offset_means_the_same_in_every_listing() {
    over(|l| {
        for n in 0..50 {
            l.file(&format!("d/keep-{n}"), "")
                .file(&format!("d/go-{n}"), "");
        }
        for n in 0..100 {
            l.file(&format!("other-{n}/f"), "");
        }
    })
    .test(|v| {
        let id = v.id("d").unwrap();
        let (mut names, next) = some(v, id, 0, 40);
        for n in 0..50 {
            v.unlink(&format!("d/go-{n}")).unwrap();
            v.write(&format!("d/new-{n}"), "").unwrap();
        }
        // Others read this directory and so many more that what was begun is not known any more (22.5).
        some(v, id, 0, 1);
        for n in 0..100 {
            some(v, v.id(&format!("other-{n}")).unwrap(), 0, 1);
        }
        names.extend(some(v, id, next, 1000).0);
        let mut kept: Vec<_> = names.iter().filter(|n| n.starts_with("keep")).collect();
        kept.sort();
        kept.dedup();
        assert_eq!(kept.len(), 50);
        let before = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), before, "listed once");
    });
}

#[test]
fn t086_a_handle_from_before_the_copyup_sees_the_merged_content() {
    over(|l| {
        l.file("d/a", "").file("d/b", "");
    })
    .test(|v| {
        let dir = v.id("d").unwrap();
        some(v, dir, 0, 9);
        v.write("d/new", "").unwrap();
        v.unlink("d/b").unwrap();
        let (mut names, _) = some(v, dir, 0, 9);
        names.sort();
        assert_eq!(names, [".", "..", "a", "new"], "8.5");
    });
}

#[test]
fn t084_untouched_names_are_listed_once_while_others_come_and_go() {
    over(|l| {
        for n in 0..200 {
            l.file(&format!("d/keep-{n}"), "")
                .file(&format!("d/go-{n}"), "");
        }
    })
    .test(|v| {
        let dir = v.id("d").unwrap();
        let (mut all, mut at, mut round) = (Vec::new(), 0, 0);
        loop {
            let (names, next) = some(v, dir, at, 16);
            if names.is_empty() {
                break;
            }
            all.extend(names);
            at = next;
            v.unlink(&format!("d/go-{round}")).unwrap();
            v.write(&format!("d/new-{round}"), "").unwrap();
            round += 1;
        }
        let kept: Vec<_> = all.iter().filter(|name| name.starts_with("keep")).collect();
        assert_eq!(kept.len(), 200);
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count, "no name twice");
    });
}

#[test]
fn t078_dots_have_the_numbers_of_their_directories() {
    stack(2, |b| {
        b.lower(1).dir("d/sub");
        b.lower(2).dir("d");
    })
    .test(|v| {
        let dots = |v: &Client, path: &str| {
            let dir = v.id(path).unwrap();
            let mut numbers = Vec::new();
            let take = |e: plyfs::overlay::view::list::Dirent<'_>| {
                numbers.push((e.is_dot(), e.ino));
                true
            };
            v.overlay.readdir(dir, 0, take).unwrap();
            (numbers[0], numbers[1])
        };
        let ino = |path: &str| v.stat(path).unwrap().ino;
        for round in ["lower", "upper"] {
            assert_eq!(dots(v, ""), ((true, ino("")), (true, ino(""))), "{round}");
            assert_eq!(
                dots(v, "d/sub"),
                ((true, ino("d/sub")), (true, ino("d"))),
                "{round}"
            );
            v.write("d/sub/file", "").unwrap();
        }
    });
}

#[test]
fn readdirplus_counts_just_the_entries_that_were_taken() {
    over(|l| {
        for n in 0..9 {
            l.file(&format!("f{n}"), "");
        }
    })
    .test(|v| {
        let dir = ROOT;
        let mut taken = Vec::new();
        let take = |entry: plyfs::overlay::view::list::Dirent<'_>, found| {
            if taken.len() == 4 {
                return false;
            }
            if let Some(found) = found {
                assert!(!entry.is_dot());
                taken.push(found);
            } else {
                assert!(entry.is_dot(), "22.2: dots are not looked up");
            }
            true
        };
        v.overlay.readdirplus(dir, 0, take).unwrap();
        assert_eq!(v.overlay.known_nodes(), 4);
        for entry in taken {
            assert_eq!(
                entry.attr.ino,
                v.overlay.getattr(entry.id, None).unwrap().ino
            );
            assert!(v.overlay.forget(entry.id, 1), "told of once");
            assert_eq!(code(v.overlay.getattr(entry.id, None)), Errno::ESTALE);
        }
        assert_eq!(v.overlay.known_nodes(), 0);
    });
}

#[test]
fn readdirplus_says_what_lookup_says() {
    stack(2, |b| {
        b.lower(1)
            .file("both", "1")
            .symlink("link", "x")
            .whiteout("gone")
            .dir("dir");
        b.lower(2)
            .file("both", "2")
            .file("gone", "")
            .file("dir/x", "")
            .fifo("fifo");
    })
    .test(|v| {
        v.chmod("both", 0o600).unwrap();
        let dir = ROOT;
        let mut found = Vec::new();
        let take = |e: plyfs::overlay::view::list::Dirent<'_>, entry: Option<_>| {
            let name = String::from_utf8_lossy(e.name).into_owned();
            found.extend(entry.map(|entry| (name, e.ino, v.met(entry))));
            true
        };
        v.overlay.readdirplus(dir, 0, take).unwrap();
        assert_eq!(found.len(), 4);
        for (name, ino, entry) in found {
            let looked = v.lookup(ROOT, &name).unwrap();
            assert_eq!(looked.id, entry.id, "{name}");
            assert_eq!(
                (ino, looked.attr.ino),
                (entry.attr.ino, entry.attr.ino),
                "{name}"
            );
            assert_eq!(looked.attr.stat.perm, entry.attr.stat.perm, "{name}");
        }
    });
}

#[test]
fn only_directories_are_listed() {
    over(|l| {
        l.file("f", "").symlink("s", ".");
    })
    .test(|v| {
        for path in ["f", "s"] {
            let id = v.id(path).unwrap();
            assert_eq!(v.overlay.readdir(id, 0, |_| true), Err(Errno::ENOTDIR));
        }
    });
}
