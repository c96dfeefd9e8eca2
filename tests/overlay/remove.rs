//! unlink and rmdir (sections 3, 12).

use std::os::unix::fs::MetadataExt;

use plyfs::sys::errno::Errno;

use crate::inprocess::rig::{code, over, stack};

#[test]
fn t026_removed_lower_files_share_one_whiteout() {
    over(|l| {
        l.file("a", "").file("b", "").file("d/c", "");
    })
    .test(|v| {
        for path in ["a", "b", "d/c"] {
            v.unlink(path).unwrap();
            assert_eq!(code(v.stat(path)), Errno::ENOENT);
        }
        assert_eq!(
            v.upper_paths(),
            ["a whiteout", "b whiteout", "d", "d/c whiteout"]
        );
        let disk = |path: &str| v.up(path).symlink_metadata().unwrap();
        assert_eq!(disk("a").ino(), disk("d/c").ino());
        assert_eq!(disk("a").mode() & 0o7777, 0, "3.3");
    });
}

#[test]
fn t027_t035_no_whiteout_where_nothing_is_below() {
    stack(2, |b| {
        b.lower(1).file("d/top", "");
        b.opaque(b.lower(1), "d");
        b.lower(2).file("d/hidden", "");
    })
    .test(|v| {
        v.write("own", "").unwrap();
        v.mkdir("dir").unwrap();
        v.write("dir/own", "").unwrap();
        v.unlink("own").unwrap();
        v.unlink("dir/own").unwrap();
        v.rmdir("dir").unwrap();
        assert_eq!(v.upper_paths(), [""; 0]);
        v.write("d/hidden", "").unwrap();
        v.unlink("d/hidden").unwrap();
        assert_eq!(
            v.upper_paths(),
            ["d"],
            "an opaque lower hides what is below it"
        );
    });
}

#[test]
fn t033_a_full_directory_stays_and_nothing_is_copied_up() {
    over(|l| {
        l.file("a/b/c", "");
    })
    .test(|v| {
        assert_eq!(v.rmdir("a"), Err(Errno::ENOTEMPTY));
        assert_eq!(v.rmdir("a/b"), Err(Errno::ENOTEMPTY));
        assert_eq!(v.upper_paths(), [""; 0]);
    });
}

#[test]
fn t034_an_emptied_directory_becomes_one_whiteout() {
    stack(2, |b| {
        b.lower(1).file("d/a", "");
        b.lower(2).file("d/b", "").dir("d/e");
    })
    .test(|v| {
        v.write("d/own", "").unwrap();
        for name in ["a", "b", "own"] {
            v.unlink(&format!("d/{name}")).unwrap();
        }
        v.rmdir("d/e").unwrap();
        v.rmdir("d").unwrap();
        assert_eq!(v.upper_paths(), ["d whiteout"]);
    });
}

#[test]
fn t006_a_directory_of_whiteouts_is_empty() {
    stack(2, |b| {
        b.lower(1).whiteout("d/x").whiteout("d/y");
        b.lower(2).dir("e");
        b.upper().whiteout("pure/stale");
    })
    .test(|v| {
        v.rmdir("d").unwrap();
        v.rmdir("pure").unwrap();
        assert_eq!(v.upper_paths(), ["d whiteout"], "3.7");
    });
}

#[test]
fn t037_the_wrong_call_is_refused() {
    over(|l| {
        l.file("f", "").dir("d").symlink("s", "d").file("gone", "");
    })
    .test(|v| {
        v.unlink("gone").unwrap();
        assert_eq!(v.unlink("d"), Err(Errno::EISDIR));
        assert_eq!(v.rmdir("f"), Err(Errno::ENOTDIR));
        assert_eq!(v.rmdir("s"), Err(Errno::ENOTDIR), "links are not followed");
        for missing in ["gone", "never"] {
            assert_eq!(v.unlink(missing), Err(Errno::ENOENT));
            assert_eq!(v.rmdir(missing), Err(Errno::ENOENT));
        }
        assert_eq!(v.unlink("f/x"), Err(Errno::ENOTDIR));
    });
}

#[test]
fn t038_a_thousand_lives_of_one_name_leave_one_entry() {
    over(|l| {
        l.file("n", "");
    })
    .test(|v| {
        for round in 0..1000 {
            v.unlink("n").unwrap();
            if round % 3 == 0 {
                v.mkdir("n").unwrap();
                v.rmdir("n").unwrap();
            }
            v.close(v.create("n", 0o644).unwrap());
            if round % 100 == 0 {
                v.forget_all();
            }
        }
        assert_eq!(v.upper_paths(), ["n"]);
    });
}

#[test]
fn t036_the_victim_is_not_copied() {
    over(|l| {
        l.sparse("d/big", 1 << 30, &[(5, b"x")]);
    })
    .test(|v| {
        let id = v.id("d/big").unwrap();
        v.unlink("d/big").unwrap();
        assert_eq!(v.upper_paths(), ["d", "d/big whiteout"]);
        let attr = v.overlay.getattr(id, None).unwrap();
        assert_eq!((attr.nlink, attr.stat.size), (0, 1 << 30));
    });
}

#[test]
fn whiteouts_by_attribute_do_not_fill_a_directory() {
    stack(2, |b| {
        let lower = b.lower(1).file("c/d/b", "");
        lower
            .xattr("c/d/b", &b.mark("whiteout"), "")
            .xattr("c/d", &b.mark("opaque"), "x");
        b.lower(2).file("c/other", "");
    })
    .test(|v| {
        assert_eq!(v.ls("c/d").unwrap().len(), 0);
        v.rmdir("c/d").unwrap();
        assert_eq!(v.ls("c").unwrap(), ["other"]);
        v.unlink("c/other").unwrap();
        v.rmdir("c").unwrap();
        assert_eq!(v.upper_paths(), ["c whiteout"]);
    });
}
