//! Lower files with several names and `index=on` (section 14.2).

use plyfs::overlay::change::rename::Rename;
use plyfs::sys::errno::Errno;

use crate::inprocess::rig::{Case, code, is_root, over};
use crate::support::env::cannot_run;

/// A lower file with three names, and a mount with an index; `None` where that cannot be.
fn indexed() -> Option<Case> {
    if !is_root() {
        cannot_run("index=on", "needs root, to open file handles");
        return None;
    }
    let case = over(|l| {
        l.file("a", "data").link("a", "b").link("a", "d/c").dir("e");
    });
    Some(case.options(|options| options.index = true))
}

#[test]
fn t080_one_node_under_all_names() {
    let Some(case) = indexed() else { return };
    case.test(|v| {
        let id = v.id("a").unwrap();
        let ino = v.stat("a").unwrap().ino;
        for name in ["b", "d/c"] {
            assert_eq!(v.id(name).unwrap(), id, "{name}");
        }
        v.patch("a", 0, "DATA").unwrap();
        assert_eq!(v.upper_paths(), ["a"]);
        v.forget_all();
        for name in ["d/c", "b", "a"] {
            let attr = v.stat(name).unwrap();
            assert_eq!((attr.ino, attr.nlink), (ino, 3), "{name}");
            assert_eq!(v.read(name).unwrap(), "DATA", "{name}");
            assert_eq!(v.id(name).unwrap(), v.id("a").unwrap(), "{name}");
        }
        v.remount();
        assert_eq!(v.stat("b").unwrap().nlink, 3);
        assert_eq!(v.read("b").unwrap(), "DATA");
    });
}

#[test]
fn t080_names_with_lower_siblings_are_asked_for_again() {
    let Some(case) = indexed() else { return };
    case.test(|v| {
        let lasting = |name| {
            let (parent, slot) = v.slot(name).unwrap();
            v.met(v.overlay.lookup(parent, slot).unwrap()).lasting
        };
        assert!(!lasting("a") && !lasting("b"));
        v.chmod("a", 0o600).unwrap();
        assert!(!lasting("a"), "others are still lower");
        v.chmod("b", 0o600).unwrap();
        v.chmod("d/c", 0o600).unwrap();
        assert!(lasting("a") && lasting("b") && lasting("d/c"));
        assert!(lasting("e"), "nothing else is");
    });
}

#[test]
fn t080_an_open_file_follows_a_change_by_another_name() {
    let Some(case) = indexed() else { return };
    case.test(|v| {
        let opened = v.open("b", libc::O_RDONLY).unwrap();
        v.patch("a", 0, "D").unwrap();
        assert_eq!(v.read_handle(opened.handle).unwrap(), b"Data");
        for name in ["a", "b", "d/c"] {
            v.unlink(name).unwrap();
        }
        assert_eq!(v.read_handle(opened.handle).unwrap(), b"Data");
        v.close(opened);
    });
}

#[test]
fn t081_the_entry_goes_with_the_last_name() {
    let Some(case) = indexed() else { return };
    case.test(|v| {
        let entries = |v: &crate::inprocess::rig::View| {
            let index = v.layers.work.join("index");
            std::fs::read_dir(index).unwrap().count()
        };
        v.unlink("b").unwrap();
        assert_eq!((v.stat("a").unwrap().nlink, entries(v)), (2, 1));
        v.link("a", "e/new").unwrap();
        assert_eq!(v.stat("d/c").unwrap().nlink, 3);
        v.unlink("a").unwrap();
        v.rename("e/new", "d/c", Rename::Replace).unwrap();
        assert!(v.exists("e/new"), "two names of one file");
        let id = v.id("d/c").unwrap();
        v.unlink("e/new").unwrap();
        v.unlink("d/c").unwrap();
        assert_eq!(entries(v), 0);
        assert_eq!(v.overlay.getattr(id, None).unwrap().nlink, 0);
        assert_eq!(v.read_node(id).unwrap(), "data");
        let linked = v.overlay.link(id, v.id("e").unwrap(), "again".as_ref());
        assert_eq!(code(linked), Errno::ENOENT);
    });
}

#[test]
fn t080_a_directory_made_pure_takes_all_names_along() {
    let Some(case) = indexed() else { return };
    let copying = case.options(|options| {
        options.index = true;
        options.rename_copy_limit = Some(1 << 20);
    });
    copying.test(|v| {
        v.patch("a", 0, "D").unwrap();
        v.mv("d", "e/d").unwrap();
        assert_eq!(v.read("e/d/c").unwrap(), "Data");
        assert_eq!(v.stat("e/d/c").unwrap().nlink, 3);
        v.patch("e/d/c", 0, "d").unwrap();
        assert_eq!(v.read("b").unwrap(), "data");
    });
}

#[test]
fn t080_names_changed_at_once() {
    if !is_root() {
        return cannot_run("index=on", "needs root, to open file handles");
    }
    const NAMES: usize = 24;
    let case = over(|l| {
        l.file("0", "data");
        for n in 1..NAMES {
            l.link("0", &n.to_string());
        }
    });
    let case = case.options(|options| options.index = true);
    case.test(|v| {
        let overlay = &v.overlay;
        let root = plyfs::overlay::node::ROOT;
        std::thread::scope(|scope| {
            for worker in 0..4 {
                scope.spawn(move || {
                    for n in (worker..NAMES).step_by(4) {
                        let name = n.to_string();
                        let entry = overlay.lookup(root, name.as_ref()).unwrap();
                        if n % 3 == 0 {
                            overlay.unlink(root, name.as_ref()).unwrap();
                        } else {
                            let new = format!("new{n}");
                            let linked = overlay.link(entry.id, root, new.as_ref()).unwrap();
                            overlay.forget(linked.id, 1);
                        }
                        overlay.forget(entry.id, 1);
                    }
                });
            }
        });
        let names = v.ls("").unwrap().len() as u32;
        assert_eq!(names, NAMES as u32 / 3 * 4);
        assert_eq!(v.stat("1").unwrap().nlink, names);
    });
}
