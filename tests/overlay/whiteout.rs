//! Whiteouts in the forms that are written on request, or where the upper filesystem has no other (26.2): T118.

use plyfs::overlay::options::WhiteoutForm;
use plyfs::sys::errno::Errno;

use crate::inprocess::rig::{Build, Case, View, code, stack};

/// All the ways in which a name is removed and comes back.
fn layers(b: &Build) {
    b.lower(1)
        .file("file", "old")
        .file("gone", "old")
        .file("moved", "old")
        .file("other", "old")
        .file("dir/in", "old")
        .file("dir/sub/deep", "old")
        .dir("target");
    b.lower(2).file("dir/below", "old").file("target/x", "old");
    b.lower(1).whiteout("target/x");
}

fn with(form: WhiteoutForm) -> Case {
    stack(2, layers).options(move |o| o.whiteout = Some(form))
}

/// Removes, makes again, moves over, and leaves a tree that `check` knows.
fn work_of_a_day(v: &View) {
    v.unlink("file").unwrap();
    assert_eq!(code(v.stat("file")), Errno::ENOENT);
    v.write("file", "new").unwrap();
    v.unlink("file").unwrap();
    v.mkdir("file").unwrap();
    v.write("file/x", "new").unwrap();
    v.unlink("gone").unwrap();
    v.link("file/x", "gone").unwrap();
    v.mv("moved", "away").unwrap();
    v.mv("away", "moved").unwrap();
    v.mv("moved", "target/f").unwrap();
    v.unlink("target/f").unwrap();
    for path in ["dir/in", "dir/below", "dir/sub/deep"] {
        v.unlink(path).unwrap();
    }
    assert_eq!(v.ls("dir").unwrap(), ["sub"]);
    v.rmdir("dir/sub").unwrap();
    v.mkdir("fresh").unwrap();
    // Over a directory that holds nothing but whiteouts, and over an empty one.
    v.mv("fresh", "dir").unwrap();
    v.write("dir/in", "new").unwrap();
    v.mv("dir", "target").unwrap();
    v.unlink("other").unwrap();
    v.symlink("other", "nowhere").unwrap();
    assert_eq!(v.rmdir("file"), Err(Errno::ENOTEMPTY));
}

fn check(v: &View) {
    assert_eq!(v.ls("").unwrap(), ["file", "gone", "other", "target"]);
    assert_eq!(v.ls("file").unwrap(), ["x"]);
    assert_eq!(v.ls("target").unwrap(), ["in"]);
    assert_eq!(v.read("target/in").unwrap(), "new");
    assert_eq!(v.read("gone").unwrap(), "new");
    let changes = v.overlay.changes().unwrap();
    let changes = changes.iter().map(|c| {
        let path = String::from_utf8_lossy(&c.path);
        format!("{:?} {path}", c.kind)
    });
    assert_eq!(
        changes.collect::<Vec<_>>(),
        [
            "Deleted dir",
            "Modified file",
            "Added file/x",
            "Modified gone",
            "Deleted moved",
            "Modified other",
            "Modified target",
            "Added target/in",
        ]
    );
}

#[test]
fn t118_whiteouts_by_name() {
    with(WhiteoutForm::Name).test(|v| {
        work_of_a_day(v);
        assert_eq!(
            v.upper_paths(),
            [
                ".wh.dir",
                ".wh.moved",
                "file opaque",
                "file/.wh..wh..opq",
                "file/x",
                "gone",
                "other",
                "target opaque",
                "target/.wh..wh..opq",
                "target/in",
            ]
        );
        check(v);
        v.remount();
        check(v);
    });
}

#[test]
fn t118_whiteouts_by_attribute() {
    with(WhiteoutForm::Attribute).test(|v| {
        work_of_a_day(v);
        check(v);
        for path in ["dir", "moved"] {
            assert_eq!(v.upper_mark(path, "whiteout"), Some(vec![]), "{path}");
        }
        let root = v.upper_mark("", "opaque");
        assert_eq!(root, Some(b"x".to_vec()), "the kernel must look for them");
        v.remount();
        check(v);
        // Any mount reads them.
        v.options.whiteout = None;
        v.remount();
        check(v);
        v.write("moved", "again").unwrap();
        v.mkdir("dir").unwrap();
        assert_eq!(v.ls("dir").unwrap(), [""; 0]);
    });
}

#[test]
fn t118_a_name_too_long_for_a_whiteout_cannot_be_removed() {
    let long = "n".repeat(252);
    let name = long.clone();
    let case = stack(1, move |b| {
        b.lower(1).file(&name, "old");
    });
    let by_name = |o: &mut plyfs::overlay::options::Options| {
        o.whiteout = Some(WhiteoutForm::Name);
    };
    case.options(by_name).test(move |v| {
        assert_eq!(v.unlink(&long), Err(Errno::ENAMETOOLONG));
        assert_eq!(v.mv(&long, "short"), Err(Errno::ENAMETOOLONG));
        assert_eq!(v.read(&long).unwrap(), "old");
        let own = "o".repeat(255);
        v.write(&own, "").unwrap();
        v.unlink(&own).unwrap();
    });
}

/// A crash, or another writer, leaves a `.wh.` file beside what hides the name by itself.
#[test]
fn t013_t118_a_whiteout_beside_its_name_in_the_upper() {
    let build = |b: &Build| {
        layers(b);
        b.upper().file("file", "up").file(".wh.file", "");
        b.upper().file("dir/up", "").file(".wh.dir", "");
        b.upper().file(".wh.gone", "");
    };
    for form in [WhiteoutForm::Device, WhiteoutForm::Name] {
        let case = stack(2, build).options(move |o| {
            o.whiteout = Some(form);
            o.oci = true;
        });
        case.test(|v| {
            assert_eq!(v.read("file").unwrap(), "up");
            assert_eq!(v.ls("dir").unwrap(), ["up"]);
            v.unlink("dir/up").unwrap();
            v.rmdir("dir").unwrap();
            v.mkdir("dir").unwrap();
            v.mkdir("gone").unwrap();
            v.mv("file", "renamed").unwrap();
            assert_eq!(
                v.ls("").unwrap(),
                ["dir", "gone", "moved", "other", "renamed", "target"]
            );
            assert_eq!(v.ls("dir").unwrap(), [""; 0]);
            let left = v.upper_paths();
            assert!(
                !left
                    .iter()
                    .any(|path| path == ".wh.gone" || path == ".wh.dir"),
                "{left:?}"
            );
        });
    }
}

#[test]
fn t118_redirects_lead_past_a_whiteout_by_name() {
    let case = stack(2, layers).options(|o| {
        o.whiteout = Some(WhiteoutForm::Name);
        o.redirect_dir = true;
        o.xattr = plyfs::overlay::options::XattrMode::Trusted;
    });
    if !crate::inprocess::rig::is_root() {
        return crate::support::env::cannot_run("t118_redirects", "needs root (trusted.* marks)");
    }
    case.test(|v| {
        v.unlink("gone").unwrap();
        v.mv("dir", "gone").unwrap();
        // As it is between the rename and the end of the whiteout.
        std::fs::write(v.up(".wh.gone"), "").unwrap();
        v.remount();
        assert_eq!(v.ls("gone").unwrap(), ["below", "in", "sub"]);
        assert_eq!(code(v.stat("dir")), Errno::ENOENT);
        v.mv("gone", "dir").unwrap();
        assert_eq!(v.ls("dir").unwrap(), ["below", "in", "sub"]);
        assert_eq!(code(v.stat("gone")), Errno::ENOENT);
    });
}
