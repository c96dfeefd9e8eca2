//! Hard links (section 14.1).

use plyfs::sys::errno::Errno;

use crate::inprocess::rig::{code, over};

#[test]
fn t064_a_link_to_a_lower_file_makes_both_names_upper() {
    over(|l| {
        l.file("d/f", "data");
    })
    .test(|v| {
        let (id, ino) = (v.id("d/f").unwrap(), v.stat("d/f").unwrap().ino);
        assert_eq!(v.link("d/f", "new").unwrap().id, id, "one node");
        for path in ["d/f", "new"] {
            let attr = v.stat(path).unwrap();
            assert_eq!((attr.ino, attr.nlink), (ino, 2), "{path}");
        }
        v.write("new", "changed").unwrap();
        assert_eq!(v.read("d/f").unwrap(), "changed");
        assert_eq!(v.upper_paths(), ["d", "d/f", "new"]);
    });
}

#[test]
fn t083_the_count_follows_links_made_and_removed() {
    over(|_| {}).test(|v| {
        v.write("a", "x").unwrap();
        v.link("a", "b").unwrap();
        v.link("b", "c").unwrap();
        assert_eq!(v.stat("a").unwrap().nlink, 3);
        v.unlink("a").unwrap();
        assert_eq!(v.stat("c").unwrap().nlink, 2);
        v.forget_all();
        assert_eq!(v.id("b").unwrap(), v.id("c").unwrap());
        v.unlink("c").unwrap();
        assert_eq!(v.stat("b").unwrap().nlink, 1);
        assert_eq!(v.read("b").unwrap(), "x");
    });
}

#[test]
fn a_file_known_by_a_name_that_went_is_found_by_another() {
    over(|_| {}).test(|v| {
        v.write("a", "x").unwrap();
        v.link("a", "b").unwrap();
        v.forget_all();
        let id = v.id("a").unwrap();
        v.unlink("a").unwrap();
        assert_eq!(
            v.overlay.getattr(id, None).unwrap().nlink,
            1,
            "b is not known, but there"
        );
        assert_eq!(v.read_node(id).unwrap(), "x");
        assert_eq!(v.id("b").unwrap(), id);
    });
}

#[test]
fn directories_and_the_dead_are_not_linked() {
    over(|l| {
        l.dir("d").file("f", "");
    })
    .test(|v| {
        v.write("u", "").unwrap();
        assert_eq!(code(v.link("d", "x")), Errno::EPERM);
        for path in ["f", "u"] {
            let id = v.id(path).unwrap();
            v.unlink(path).unwrap();
            let made = v
                .overlay
                .link(id, plyfs::overlay::node::ROOT, std::ffi::OsStr::new("x"));
            assert_eq!(code(made), Errno::ENOENT, "{path}");
        }
        assert!(!v.exists("x"));
    });
}

#[test]
fn a_refused_link_copies_nothing_up() {
    over(|l| {
        l.file("f", "").file("d/taken", "");
    })
    .test(|v| {
        assert_eq!(code(v.link("f", "d/taken")), Errno::EEXIST);
        assert_eq!(v.upper_paths(), [""; 0], "section 9");
    });
}
