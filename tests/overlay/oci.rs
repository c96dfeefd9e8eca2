//! `.wh.` names as whiteouts, where that is asked for (3.2, 26.2b).

use plyfs::sys::errno::Errno;

use crate::inprocess::client::flags;
use crate::inprocess::rig::{Build, code, stack};

fn image(b: &Build) {
    b.lower(1)
        .file(".wh.gone", "")
        .file("d/.wh..wh..opq", "")
        .file("d/own", "");
    b.lower(1).file(".wh.both", "").file("both", "new");
    b.lower(2)
        .file("gone", "")
        .file("d/hidden", "")
        .file("both", "old")
        .file("kept", "");
}

#[test]
fn t011_t012_t013_names_hide_what_is_below_them() {
    stack(2, image).options(|o| o.oci = true).test(|v| {
        assert_eq!(v.ls("").unwrap(), ["both", "d", "kept"]);
        assert_eq!(v.ls("d").unwrap(), ["own"]);
        assert_eq!(v.read("both").unwrap(), "new");
        for path in ["gone", ".wh.gone", "d/hidden", "d/.wh..wh..opq"] {
            assert_eq!(code(v.stat(path)), Errno::ENOENT, "{path}");
        }
    });
}

#[test]
fn t011_without_the_option_they_are_files() {
    stack(2, image).test(|v| {
        assert_eq!(
            v.ls("").unwrap(),
            [".wh.both", ".wh.gone", "both", "d", "gone", "kept"]
        );
        assert_eq!(v.ls("d").unwrap(), [".wh..wh..opq", "hidden", "own"]);
        v.close(v.open(".wh.gone", flags::READ).unwrap());
        v.write(".wh.new", "").unwrap();
        v.unlink(".wh.gone").unwrap();
    });
}

#[test]
fn t132_nobody_makes_such_a_name() {
    stack(2, image).options(|o| o.oci = true).test(|v| {
        assert_eq!(code(v.create(".wh.x", 0o644)), Errno::EPERM);
        assert_eq!(code(v.mkdir("d/.wh.x")), Errno::EPERM);
        assert_eq!(code(v.symlink(".wh.x", "")), Errno::EPERM);
        assert_eq!(code(v.link("kept", ".wh.kept")), Errno::EPERM);
        assert_eq!(v.mv("kept", ".wh.kept"), Err(Errno::EPERM));
        assert_eq!(v.upper_paths(), [""; 0]);
    });
}

#[test]
fn removed_and_made_again_over_such_a_name() {
    stack(2, image).options(|o| o.oci = true).test(|v| {
        v.write("gone", "again").unwrap();
        v.unlink("both").unwrap();
        v.unlink("gone").unwrap();
        assert_eq!(
            v.upper_paths(),
            ["both whiteout"],
            "only what a lower layer shows is whited out"
        );
        v.mkdir("gone").unwrap();
        assert_eq!(v.ls("").unwrap(), ["d", "gone", "kept"]);
    });
}
