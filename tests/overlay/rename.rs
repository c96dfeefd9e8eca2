//! rename in its three modes (section 13).

use plyfs::overlay::change::rename::Rename;
use plyfs::sys::errno::Errno;

use crate::inprocess::rig::{View, code, over, stack};

#[test]
fn t041_a_lower_file_leaves_a_whiteout() {
    over(|l| {
        l.file("a", "A").dir("d");
    })
    .test(|v| {
        v.mv("a", "d/b").unwrap();
        assert_eq!(v.read("d/b").unwrap(), "A");
        assert_eq!(v.upper_paths(), ["a whiteout", "d", "d/b"]);
        assert!(v.upper_mark("d/b", "origin").is_some());
        assert!(v.upper_mark("d", "impure").is_some());
    });
}

#[test]
fn t042_over_a_file_and_over_a_whiteout() {
    over(|l| {
        l.file("a", "A")
            .file("b", "B")
            .file("c", "C")
            .file("gone", "");
    })
    .test(|v| {
        v.mv("a", "b").unwrap();
        assert_eq!(v.read("b").unwrap(), "A");
        v.unlink("gone").unwrap();
        v.mv("c", "gone").unwrap();
        assert_eq!(v.read("gone").unwrap(), "C");
        assert_eq!(v.upper_paths(), ["a whiteout", "b", "c whiteout", "gone"]);
    });
}

#[test]
fn t043_t044_no_whiteout_where_none_is_needed() {
    over(|l| {
        l.file("gone", "").file("there", "and back");
    })
    .test(|v| {
        v.unlink("gone").unwrap();
        v.write("own", "x").unwrap();
        v.mv("own", "gone").unwrap();
        v.mv("there", "away").unwrap();
        v.mv("away", "there").unwrap();
        assert_eq!(v.upper_paths(), ["gone", "there"]);
        v.unlink("gone").unwrap();
        v.mkdir("dir").unwrap();
        v.mv("dir", "gone").unwrap();
        assert_eq!(
            v.upper_paths(),
            ["gone opaque", "there"],
            "a pure directory over a whiteout"
        );
    });
}

#[test]
fn t045_noreplace() {
    over(|l| {
        l.file("a", "A").file("b", "").file("gone", "");
    })
    .test(|v| {
        assert_eq!(v.rename("a", "b", Rename::NoReplace), Err(Errno::EEXIST));
        assert_eq!(v.upper_paths(), [""; 0], "13.6");
        v.unlink("gone").unwrap();
        v.rename("a", "gone", Rename::NoReplace).unwrap();
        assert_eq!(v.read("gone").unwrap(), "A");
    });
}

#[test]
fn t046_exchange_of_lower_files_makes_no_whiteouts() {
    over(|l| {
        l.file("a", "A").file("d/b", "B").file("gone", "");
    })
    .test(|v| {
        v.unlink("gone").unwrap();
        v.rename("a", "d/b", Rename::Exchange).unwrap();
        assert_eq!(
            (v.read("a").unwrap(), v.read("d/b").unwrap()),
            ("B".into(), "A".into())
        );
        assert_eq!(v.rename("a", "gone", Rename::Exchange), Err(Errno::ENOENT));
        assert_eq!(v.rename("a", "never", Rename::Exchange), Err(Errno::ENOENT));
        assert_eq!(v.upper_paths(), ["a", "d", "d/b", "gone whiteout"]);
    });
}

#[test]
fn t047_t048_directories_with_a_lower_part_stay() {
    stack(2, |b| {
        b.lower(1).file("merged/a", "").file("f", "");
        b.lower(2).file("merged/b", "").dir("lower");
    })
    .test(|v| {
        v.mkdir("pure").unwrap();
        let before = v.upper_paths();
        for dir in ["merged", "lower"] {
            assert_eq!(v.mv(dir, "new"), Err(Errno::EXDEV), "{dir}");
            assert_eq!(v.rename("f", dir, Rename::Exchange), Err(Errno::EXDEV));
            assert_eq!(v.rename(dir, "f", Rename::Exchange), Err(Errno::EXDEV));
            assert_eq!(v.rename("pure", dir, Rename::Exchange), Err(Errno::EXDEV));
        }
        assert_eq!(v.upper_paths(), before, "13.2: nothing is copied up");
    });
}

#[test]
fn t049_a_pure_directory_among_merged_ones_becomes_opaque() {
    stack(1, |b| {
        b.lower(1).file("d/x/hidden", "").dir("e");
    })
    .test(|v| {
        v.mkdir("pure").unwrap();
        v.write("pure/f", "kept").unwrap();
        v.mv("pure", "e/new").unwrap();
        assert_eq!(v.upper_paths(), ["e", "e/new opaque", "e/new/f"], "4.2");
        assert_eq!(v.read("e/new/f").unwrap(), "kept");
        v.mkdir("outer").unwrap();
        v.mkdir("inner").unwrap();
        v.mv("inner", "outer/inner").unwrap();
        assert_eq!(v.upper_mark("outer/inner", "opaque"), None, "4.6");
    });
}

#[test]
fn t050_t051_over_directories() {
    over(|l| {
        l.file("full/x", "").dir("empty").file("emptied/x", "");
    })
    .test(|v| {
        for name in ["one", "two", "three"] {
            v.mkdir(name).unwrap();
            v.write(&format!("{name}/f"), name).unwrap();
        }
        assert_eq!(v.mv("one", "full"), Err(Errno::ENOTEMPTY));
        v.mv("one", "empty").unwrap();
        v.unlink("emptied/x").unwrap();
        v.mv("two", "emptied").unwrap();
        assert_eq!(
            (v.ls("empty").unwrap(), v.ls("emptied").unwrap()),
            (vec!["f".into()], vec!["f".to_string()])
        );
        assert_eq!(
            v.upper_paths(),
            [
                "emptied opaque",
                "emptied/f",
                "empty opaque",
                "empty/f",
                "three",
                "three/f"
            ]
        );
        assert_eq!(v.mv("three", "empty"), Err(Errno::ENOTEMPTY));
    });
}

#[test]
fn t055_what_posix_refuses() {
    over(|l| {
        l.file("f", "").dir("d");
    })
    .test(|v| {
        v.mkdir("up").unwrap();
        v.mkdir("up/in").unwrap();
        assert_eq!(v.mv("up", "up/in/x"), Err(Errno::EINVAL));
        assert_eq!(v.mv("up/in", "up"), Err(Errno::ENOTEMPTY));
        assert_eq!(
            v.rename("up/in", "up", Rename::Exchange),
            Err(Errno::EINVAL)
        );
        assert_eq!(v.mv("up", "f"), Err(Errno::ENOTDIR));
        assert_eq!(v.mv("f", "d"), Err(Errno::EISDIR));
        assert_eq!(v.mv("never", "x"), Err(Errno::ENOENT));
        assert_eq!(v.mv("f", "never/x"), Err(Errno::ENOENT));
        v.link("f", "g").unwrap();
        v.mv("f", "g").unwrap();
        assert!(
            v.exists("f") && v.exists("g"),
            "two names of one file: nothing happens"
        );
    });
}

#[test]
fn a_name_onto_itself_changes_nothing() {
    over(|l| {
        l.file("f", "x").file("d/x", "");
    })
    .test(|v| {
        v.mv("f", "f").unwrap();
        v.mv("d", "d").unwrap();
        v.rename("d", "d", Rename::Exchange).unwrap();
        assert_eq!(v.rename("d", "d", Rename::NoReplace), Err(Errno::EEXIST));
        assert_eq!(v.upper_paths(), [""; 0]);
    });
}

#[test]
fn a_moved_directory_takes_its_subtree_along() {
    over(|_| {}).test(|v| {
        for dir in ["a", "a/b", "a/b/c", "to"] {
            v.mkdir(dir).unwrap();
        }
        v.write("a/b/c/f", "deep").unwrap();
        let (file, dir) = (v.id("a/b/c/f").unwrap(), v.id("a/b/c").unwrap());
        v.mv("a/b", "to/moved").unwrap();
        assert_eq!(v.id("to/moved/c/f").unwrap(), file);
        assert_eq!(v.read_node(file).unwrap(), "deep");
        assert_eq!(v.list(dir).unwrap().len(), 1);
        v.write("to/moved/c/new", "").unwrap();
        assert_eq!(code(v.stat("a/b")), Errno::ENOENT);
    });
}

#[test]
fn t094_a_file_that_was_renamed_over_keeps_its_data() {
    over(|l| {
        l.file("new", "new").file("lower", "lower");
    })
    .test(|v| {
        v.write("upper", "upper").unwrap();
        for path in ["lower", "upper"] {
            let id = v.id(path).unwrap();
            let opened = v.open(path, crate::inprocess::client::flags::READ).unwrap();
            v.write("new", "new").unwrap();
            v.mv("new", path).unwrap();
            assert_eq!(v.read_handle(opened.handle).unwrap(), path.as_bytes());
            assert_eq!(
                v.overlay
                    .getattr(id, Some(opened.handle.into()))
                    .unwrap()
                    .nlink,
                0
            );
            assert_eq!(v.overlay.getattr(id, None).unwrap().nlink, 0);
            assert_eq!(v.read(path).unwrap(), "new");
            v.close(opened);
        }
    });
}

#[test]
fn a_directory_renamed_by_copying_keeps_its_numbers() {
    stack(1, |b| {
        b.lower(1).file("d/sub/f", "data").dir("to");
        // Made by hand: without the mark that a copy-up leaves.
        b.upper().dir("d/sub");
    })
    .options(|o| o.rename_copy_limit = Some(1 << 20))
    .test(|v| {
        let number = |v: &View, path: &str| v.stat(path).unwrap().ino;
        let before = ["d", "d/sub", "d/sub/f"].map(|path| number(v, path));
        v.mv("d", "to/e").unwrap();
        let after = ["to/e", "to/e/sub", "to/e/sub/f"];
        assert_eq!(after.map(|path| number(v, path)), before);
        v.forget_all();
        if v.has_stable_numbers() {
            assert_eq!(after.map(|path| number(v, path)), before, "7.1, 24.1");
        }
    });
}
