//! Extended attributes, those that look like ours included (section 17).

use std::ffi::OsStr;

use plyfs::sys::errno::Errno;
use plyfs::sys::xattr::XattrMode;

use crate::inprocess::client::KEEP;
use crate::inprocess::rig::{code, is_root, over};
use crate::support::snapshot::xattrs;

#[test]
fn set_get_list_remove() {
    over(|l| {
        l.file("f", "").xattr("f", "user.lower", "L");
    })
    .test(|v| {
        v.set_xattr("f", "user.new", "N").unwrap();
        assert_eq!(v.xattr("f", "user.lower").unwrap(), "L");
        assert_eq!(v.xattr("f", "user.new").unwrap(), "N");
        assert_eq!(
            v.xattrs_of(v.id("f").unwrap()).unwrap(),
            ["user.lower", "user.new"]
        );
        v.remove_xattr("f", "user.lower").unwrap();
        assert_eq!(code(v.xattr("f", "user.lower")), Errno::ENODATA);
        assert_eq!(v.remove_xattr("f", "user.lower"), Err(Errno::ENODATA));
    });
}

#[test]
fn sizes_are_asked_for_first() {
    over(|l| {
        l.file("f", "").xattr("f", "user.long", "x".repeat(100));
    })
    .test(|v| {
        let (id, name) = (v.id("f").unwrap(), OsStr::new("user.long"));
        assert_eq!(v.overlay.getxattr(id, name, &mut []), Ok(100));
        assert_eq!(
            v.overlay.getxattr(id, name, &mut [0; 99]),
            Err(Errno::ERANGE)
        );
        assert_eq!(v.overlay.getxattr(id, name, &mut [0; 100]), Ok(100));
    });
}

#[test]
fn t061_create_and_replace_copy_up_even_if_they_fail() {
    over(|l| {
        l.file("has", "")
            .xattr("has", "user.a", "1")
            .file("lacks", "");
    })
    .test(|v| {
        let set = |path: &str, mode| {
            v.overlay
                .setxattr(v.id(path).unwrap(), OsStr::new("user.a"), b"2", mode)
        };
        assert_eq!(set("has", XattrMode::Create), Err(Errno::EEXIST));
        assert_eq!(set("lacks", XattrMode::Replace), Err(Errno::ENODATA));
        assert_eq!(v.upper_paths(), ["has", "lacks"], "section 9");
        assert_eq!(v.xattr("has", "user.a").unwrap(), "1");
        assert_eq!(set("has", XattrMode::Replace), Ok(()));
        assert_eq!(set("lacks", XattrMode::Create), Ok(()));
    });
}

#[test]
fn t107_our_marks_are_invisible_and_a_users_are_escaped() {
    over(|l| {
        l.file("d/f", "").dir("gone").file("trick/hidden", "");
    })
    .test(|v| {
        v.setattr("d/f", KEEP).unwrap();
        v.rmdir("gone").unwrap();
        v.mkdir("gone").unwrap();
        for (path, mark) in [("d/f", "origin"), ("d", "impure"), ("gone", "opaque")] {
            assert!(v.upper_mark(path, mark).is_some(), "{path} has {mark}");
            let id = v.id(path).unwrap();
            assert_eq!(v.xattrs_of(id).unwrap(), [""; 0], "{path}");
            assert_eq!(code(v.xattr(path, &v.mark(mark))), Errno::ENODATA, "17.1");
            assert_eq!(v.remove_xattr(path, &v.mark(mark)), Err(Errno::ENODATA));
        }
        // A user sets a mark: it is data, and works as nothing else.
        let opaque = v.mark("opaque");
        v.set_xattr("trick", &opaque, "y").unwrap();
        assert_eq!(v.xattr("trick", &opaque).unwrap(), "y");
        assert_eq!(
            v.xattrs_of(v.id("trick").unwrap()).unwrap(),
            [opaque.as_str()]
        );
        assert!(
            xattrs(&v.up("trick"))
                .unwrap()
                .contains_key(&v.mark("overlay.opaque"))
        );
        v.remount();
        assert_eq!(v.ls("trick").unwrap(), ["hidden"]);
        v.remove_xattr("trick", &opaque).unwrap();
        assert_eq!(v.xattrs_of(v.id("trick").unwrap()).unwrap(), [""; 0]);
    });
}

#[test]
fn names_without_the_dot_are_plain_and_long_ones_do_not_fit() {
    over(|l| {
        l.file("f", "");
    })
    .test(|v| {
        v.set_xattr("f", "user.overlayfoo", "1").unwrap();
        assert!(
            xattrs(&v.up("f")).unwrap().contains_key("user.overlayfoo"),
            "17.3"
        );
        let long = format!("user.overlay.{}", "x".repeat(240));
        assert_eq!(v.set_xattr("f", &long, "1"), Err(Errno::EOPNOTSUPP), "17.2");
        assert_eq!(code(v.xattr("f", "user.\0nul")), Errno::EINVAL);
    });
}

#[test]
fn trusted_names_are_shown_to_admins_only() {
    if !is_root() {
        return; // Only root writes them; `namespaces` said loudly that this is not root.
    }
    over(|l| {
        l.file("f", "")
            .xattr("f", "trusted.secret", "1")
            .xattr("f", "user.open", "1");
    })
    .test(|v| {
        let list = |admin| {
            let names = v.overlay.listxattr(v.id("f").unwrap(), admin).unwrap();
            String::from_utf8(names).unwrap()
        };
        assert_eq!(list(false), "user.open\0");
        assert!(list(true).contains("trusted.secret\0"));
    });
}

#[test]
fn t109_links_take_no_user_attributes() {
    over(|l| {
        l.symlink("s", "x").fifo("p");
    })
    .test(|v| {
        for path in ["s", "p"] {
            assert_eq!(
                v.set_xattr(path, "user.a", "1"),
                Err(Errno::EPERM),
                "{path}"
            );
            let listed = v.list(plyfs::overlay::node::ROOT).unwrap()[path].ino;
            assert_eq!(listed, v.stat(path).unwrap().ino, "8.4");
        }
        assert!(v.upper_paths().is_empty(), "9: nothing is copied up");
    });
}
