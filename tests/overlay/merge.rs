//! What a stack of layers looks like (sections 2 to 4).

use plyfs::layer::keys::Namespace;
use plyfs::overlay::options::{Options, UpperDirs, XattrMode};
use plyfs::sys::errno::Errno;
use plyfs::sys::stat::FileType;

use crate::inprocess::rig::{code, mount, namespaces, over, scratch, stack};

#[test]
fn t001_a_file_hides_a_directory() {
    stack(2, |b| {
        b.lower(1).file("x", "file");
        b.lower(2).file("x/inner", "hidden");
    })
    .test(|v| {
        assert_eq!(v.read("x").unwrap(), "file");
        assert_eq!(code(v.ls("x")), Errno::ENOTDIR);
        assert_eq!(code(v.lookup(v.id("x").unwrap(), "inner")), Errno::ENOTDIR);
    });
}

#[test]
fn t002_t003_what_lies_under_a_file_or_a_whiteout_stays_hidden() {
    stack(3, |b| {
        b.lower(1).file("f/one", "1").file("w/one", "1");
        b.lower(2).file("f", "between").whiteout("w");
        b.lower(3).file("f/three", "3").file("w/three", "3");
    })
    .test(|v| {
        assert_eq!(v.ls("f").unwrap(), ["one"]);
        assert_eq!(v.ls("w").unwrap(), ["one"]);
        assert_eq!(code(v.stat("f/three")), Errno::ENOENT);
    });
}

#[test]
fn t004_t005_t006_whiteouts_hide_and_are_not_listed() {
    stack(2, |b| {
        b.lower(1)
            .whiteout("gone")
            .whiteout("alone/x")
            .whiteout("in/gone");
        b.lower(2)
            .file("gone", "")
            .file("in/gone", "")
            .file("in/stays", "");
        b.lower(2).whiteout("bottom");
    })
    .test(|v| {
        assert_eq!(v.ls("").unwrap(), ["alone", "in"]);
        assert_eq!(v.ls("in").unwrap(), ["stays"]);
        assert_eq!(v.ls("alone").unwrap(), [""; 0]);
        for path in ["gone", "bottom", "in/gone", "alone/x"] {
            assert_eq!(code(v.stat(path)), Errno::ENOENT, "{path}");
        }
    });
}

#[test]
fn t007_a_symlink_hides_a_directory() {
    stack(2, |b| {
        b.lower(1).symlink("x", "elsewhere");
        b.lower(2).file("x/inner", "");
    })
    .test(|v| {
        assert_eq!(v.kind("x").unwrap(), FileType::Symlink);
        assert_eq!(v.readlink("x").unwrap(), "elsewhere");
    });
}

#[test]
fn t008_opaque_hides_what_is_below() {
    stack(3, |b| {
        b.lower(1).file("d/one", "");
        b.opaque(b.lower(2), "d");
        b.lower(2).file("d/two", "");
        b.lower(3).file("d/three", "");
        for value in ["n", "yes", ""] {
            let dir = format!("not-{value}");
            let name = b.mark("opaque");
            b.lower(1).dir(&dir).xattr(&dir, &name, value);
            b.lower(3).file(&format!("{dir}/seen"), "");
        }
    })
    .test(|v| {
        assert_eq!(v.ls("d").unwrap(), ["one", "two"]);
        assert_eq!(code(v.stat("d/three")), Errno::ENOENT);
        for value in ["n", "yes", ""] {
            assert_eq!(
                v.ls(&format!("not-{value}")).unwrap(),
                ["seen"],
                "{value:?}"
            );
        }
    });
}

#[test]
fn t009_t010_whiteouts_by_attribute() {
    stack(2, |b| {
        let whiteout = b.mark("whiteout");
        b.lower(1).file("d/gone", "").xattr("d/gone", &whiteout, "");
        b.lower(1)
            .file("d/data", "x")
            .xattr("d/data", &whiteout, "");
        b.lower(1).xattr("d", &b.mark("opaque"), "x");
        b.lower(2)
            .file("d/gone", "")
            .file("d/data", "lower")
            .file("d/more", "");
    })
    .test(|v| {
        assert_eq!(v.ls("d").unwrap(), ["data", "more"]);
        assert_eq!(v.read("d/data").unwrap(), "x");
        assert_eq!(code(v.stat("d/gone")), Errno::ENOENT);
        v.write("d/gone", "again").unwrap();
        assert_eq!(v.read("d/gone").unwrap(), "again");
    });
}

#[test]
fn t014_marks_of_other_programs_count() {
    stack(2, |b| {
        b.lower(1)
            .dir("f")
            .xattr("f", "user.fuseoverlayfs.opaque", "y");
        b.lower(1).dir("u").xattr("u", "user.overlay.opaque", "y");
        b.lower(2).file("f/below", "").file("u/below", "");
    })
    .test(|v| {
        assert_eq!(v.ls("f").unwrap(), [""; 0]);
        assert_eq!(v.ls("u").unwrap(), [""; 0]);
    });
}

#[test]
fn t131_trusted_marks_make_the_others_stale() {
    if namespaces().len() == 1 {
        return; // `namespaces` said so loudly.
    }
    stack(2, |b| {
        b.lower(1).dir("d").xattr("d", "trusted.overlay.origin", "");
        b.lower(1).xattr("d", "user.overlay.opaque", "y");
        b.lower(2).file("d/below", "");
    })
    .test(|v| assert_eq!(v.ls("d").unwrap(), ["below"]));
}

#[test]
fn t015_a_merged_directory_has_the_attributes_of_its_top() {
    stack(3, |b| {
        b.lower(1)
            .file("d/a", "1")
            .mode("d", 0o750)
            .xattr("d", "user.from", "one");
        b.lower(2)
            .file("d/a", "2")
            .file("d/b", "2")
            .mode("d", 0o711);
        b.lower(2).xattr("d", "user.other", "two");
        b.lower(3).file("d/a", "3").file("d/c", "3");
    })
    .test(|v| {
        assert_eq!(v.ls("d").unwrap(), ["a", "b", "c"]);
        assert_eq!(v.read("d/a").unwrap(), "1");
        let attr = v.stat("d").unwrap();
        assert_eq!((attr.stat.perm, attr.nlink), (0o750, 1));
        assert_eq!(v.xattrs_of(v.id("d").unwrap()).unwrap(), ["user.from"]);
    });
}

#[test]
fn t016_names_may_have_255_bytes_and_no_more() {
    over(|l| {
        l.file(&"n".repeat(255), "");
    })
    .test(|v| {
        assert!(v.exists(&"n".repeat(255)));
        let long = "n".repeat(256);
        assert_eq!(code(v.stat(&long)), Errno::ENAMETOOLONG);
        assert_eq!(code(v.create(&long, 0o644)), Errno::ENAMETOOLONG);
        assert_eq!(v.unlink(&long), Err(Errno::ENAMETOOLONG));
        assert_eq!(v.mv(&"n".repeat(255), &long), Err(Errno::ENAMETOOLONG));
    });
}

#[test]
fn t021_a_layer_inside_another_is_refused_by_name_only() {
    let dir = scratch();
    let lower = dir.path().join("l");
    std::fs::create_dir_all(lower.join("upper")).unwrap();
    std::fs::create_dir_all(lower.join("work")).unwrap();
    std::fs::write(lower.join("file"), "fine").unwrap();
    let upper = UpperDirs {
        upper: lower.join("upper"),
        work: lower.join("work"),
    };
    let options = Options::new(vec![lower], Some(upper)).unwrap();
    let client = mount(&options).unwrap();
    assert_eq!(client.ls("").unwrap(), ["file", "upper", "work"]);
    assert_eq!(code(client.stat("upper")), Errno::ELOOP);
    assert_eq!(code(client.stat("work")), Errno::ELOOP);
    assert_eq!(client.read("file").unwrap(), "fine");
}

#[test]
fn redirects_and_metacopies_count_in_the_trusted_namespace_only() {
    stack(2, |b| {
        b.lower(1)
            .dir("moved")
            .xattr("moved", &b.mark("redirect"), "old");
        b.lower(1)
            .file("thin", "")
            .xattr("thin", &b.mark("metacopy"), "");
        b.lower(2).file("old/file", "").file("thin", "");
    })
    .options(|o| o.xattr = XattrMode::Auto)
    .test(|v| {
        let expected: &[&str] = match v.namespace {
            Namespace::Trusted => &["file"],
            Namespace::User => &[],
        };
        assert_eq!(v.ls("moved").unwrap(), expected, "26.1");
        assert_eq!(v.read("thin").unwrap(), "");
    });
}

#[test]
fn t019_refused_where_they_are_not_followed() {
    stack(2, |b| {
        b.lower(1)
            .dir("d/moved")
            .xattr("d/moved", &b.mark("redirect"), "old");
        b.lower(2).file("d/old/file", "");
    })
    .options(|o| o.redirects.follow = false)
    .ends_here()
    .test(|v| {
        assert_eq!(code(v.stat("d/moved")), Errno::EPERM, "5.1");
        assert_eq!(v.ls("d").unwrap(), ["moved", "old"], "listed all the same");
        assert_eq!(v.mv("d/old", "d/moved"), Err(Errno::EPERM));
    });
}
