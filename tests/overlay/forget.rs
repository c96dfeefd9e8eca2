//! Lookup counts: a node lives exactly as long as somebody knows it (22.1, 22.2).

use plyfs::overlay::node::{NodeId, ROOT};
use plyfs::sys::errno::Errno;

use crate::inprocess::client::flags;
use crate::inprocess::rig::{code, over, stack};

#[test]
fn every_lookup_is_counted_and_given_back() {
    over(|l| {
        l.file("f", "");
    })
    .test(|v| {
        let name = std::ffi::OsStr::new("f");
        let id = v.overlay.lookup(ROOT, name).unwrap().id;
        for _ in 0..4 {
            assert_eq!(
                v.overlay.lookup(ROOT, name).unwrap().id,
                id,
                "one node per object"
            );
        }
        assert_eq!(v.overlay.known_nodes(), 1);
        assert!(!v.overlay.forget(id, 3));
        assert!(!v.overlay.forget(id, 1));
        assert!(v.overlay.getattr(id, None).is_ok());
        assert!(v.overlay.forget(id, 1));
        assert_eq!(code(v.overlay.getattr(id, None)), Errno::ESTALE);
        assert!(
            !v.overlay.forget(id, 1),
            "forgetting what is not known is harmless"
        );
    });
}

#[test]
fn the_root_is_never_forgotten() {
    over(|_| {}).test(|v| {
        assert!(!v.overlay.forget(ROOT, u64::MAX));
        assert!(v.overlay.getattr(ROOT, None).is_ok());
        assert_eq!(v.overlay.known_nodes(), 0, "and is not counted");
    });
}

#[test]
fn unknown_nodes_are_stale() {
    over(|_| {}).test(|v| {
        let nobody = NodeId(987_654_321);
        let name = std::ffi::OsStr::new("x");
        assert_eq!(code(v.overlay.lookup(nobody, name)), Errno::ESTALE);
        assert_eq!(code(v.overlay.getattr(nobody, None)), Errno::ESTALE);
        assert_eq!(v.overlay.readdir(nobody, 0, |_| true), Err(Errno::ESTALE));
        assert_eq!(v.overlay.unlink(nobody, name), Err(Errno::ESTALE));
    });
}

#[test]
fn a_child_keeps_its_parents_without_being_asked() {
    over(|l| {
        l.file("a/b/c/f", "deep");
    })
    .test(|v| {
        let file = v.id("a/b/c/f").unwrap();
        for id in ["a", "a/b", "a/b/c"].map(|path| v.id(path).unwrap()) {
            v.forget(id);
        }
        assert_eq!(v.overlay.known_nodes(), 1);
        assert_eq!(v.read_node(file).unwrap(), "deep");
        v.overlay
            .setattr(file, crate::inprocess::client::KEEP, None)
            .unwrap();
        assert_eq!(
            v.upper_paths(),
            ["a", "a/b", "a/b/c", "a/b/c/f"],
            "copied up with its parents"
        );
    });
}

#[test]
fn an_open_file_works_after_its_node_was_forgotten() {
    over(|l| {
        l.file("f", "data");
    })
    .test(|v| {
        let opened = v.open("f", flags::READ).unwrap();
        v.forget_all();
        assert_eq!(v.read_handle(opened.handle).unwrap(), b"data");
        v.write("f", "new").unwrap();
        assert_eq!(v.read_handle(opened.handle).unwrap(), b"new", "T088");
        v.close(opened);
    });
}

#[test]
fn t076_a_node_and_its_number_stay_over_copyup_rename_and_forget() {
    over(|l| {
        l.file("d/f", "").symlink("d/s", "x").dir("d/sub");
    })
    .test(|v| {
        for path in ["d/f", "d/s", "d/sub", "d"] {
            let (id, ino) = (v.id(path).unwrap(), v.stat(path).unwrap().ino);
            v.setattr(path, crate::inprocess::client::KEEP).unwrap();
            assert_eq!(
                (v.id(path).unwrap(), v.stat(path).unwrap().ino),
                (id, ino),
                "{path}"
            );
            v.forget_all();
            let numbers = v.has_stable_numbers() && v.has_lasting_number(v.kind(path).unwrap());
            if numbers {
                assert_eq!(v.stat(path).unwrap().ino, ino, "7.1: {path} met again");
            }
        }
        let (id, ino) = (v.id("d/f").unwrap(), v.stat("d/f").unwrap().ino);
        v.mv("d/f", "moved").unwrap();
        assert_eq!(
            (v.id("moved").unwrap(), v.stat("moved").unwrap().ino),
            (id, ino)
        );
    });
}

#[test]
fn t079_names_of_one_lower_file_are_files_of_their_own() {
    over(|l| {
        l.file("a", "one").link("a", "b");
    })
    .test(|v| {
        let (a, b) = (v.id("a").unwrap(), v.id("b").unwrap());
        assert_ne!(a, b, "22.1");
        let ino = v.stat("a").unwrap().ino;
        assert_eq!(v.stat("b").unwrap().ino, ino);
        assert_eq!(v.stat("a").unwrap().nlink, 2);
        v.write("a", "two").unwrap();
        assert_eq!(v.id("a").unwrap(), a, "the node stays");
        let attr = v.stat("a").unwrap();
        assert_ne!(attr.ino, ino, "7.1");
        assert_eq!(attr.nlink, 1);
        assert_eq!(v.stat("b").unwrap().ino, ino);
        assert_eq!(v.read("b").unwrap(), "one");
    });
}

#[test]
fn numbers_are_unique() {
    stack(3, |b| {
        for n in 1..=3 {
            b.lower(n)
                .file(&format!("f{n}"), "")
                .dir(&format!("d{n}"))
                .dir("all");
        }
    })
    .test(|v| {
        v.mkdir("new").unwrap();
        let mut numbers: Vec<_> = v.list(ROOT).unwrap().values().map(|e| e.ino).collect();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), 8);
    });
}
