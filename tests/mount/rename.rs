//! Rename: T041-T051, T055.

use std::os::unix::fs::MetadataExt;

use super::support::scenario::Scenario;
use super::support::steps::{Errno, RenameFlags, Steps};

#[test]
fn t041_lower_file_to_new_name() {
    Scenario::new(
        "T041",
        "rename of a lower file: whiteout at the source, origin on the target",
    )
    .layers(|l| {
        l.lower(1)
            .file("f", "data")
            .dir("d")
            .symlink("s", "t")
            .fifo("p");
    })
    .steps(|s| {
        s.rename("f", "d/g").ok();
        s.rename("s", "s2").ok();
        s.rename("p", "p2").ok();
        for old in ["f", "s", "p"] {
            s.upper(old).is("whiteout 0000 0:0");
            s.stat(old).fails(Errno::NOENT);
        }
        s.read("d/g").is("\"data\"");
        s.mark("d/g", "origin").is("handle");
        s.mark("d", "impure").is("y");
        s.mark("s2", "origin").is("handle");
        s.rename("nothing", "x").fails(Errno::NOENT);
    });
}

#[test]
fn t042_lower_file_over_lower_file_and_whiteout() {
    Scenario::new(
        "T042",
        "rename of a lower file over a lower file, and over a whiteout",
    )
    .layers(|l| {
        l.lower(1)
            .file("a", "A")
            .file("b", "B")
            .file("c", "C")
            .file("gone", "old");
    })
    .steps(|s| {
        s.rename("a", "b").ok();
        s.upper("a").is("whiteout 0000 0:0");
        s.read("b").is("\"A\"");
        s.unlink("gone").ok();
        let inode = |s: &Steps, path: &str| {
            let stat = s.layers.upper().at(path).symlink_metadata();
            stat.map(|stat| MetadataExt::ino(&stat)).ok()
        };
        let whiteout = inode(s, "gone");
        s.rename("c", "gone").ok();
        s.upper("c").is("whiteout 0000 0:0");
        let moved = inode(s, "c") == whiteout && whiteout.is_some();
        s.check("the whiteout itself has moved to the source", moved)
            .holds();
        s.read("gone").is("\"C\"");
        s.ls(".").is("b gone");
        s.work_residue().is("");
    });
}

#[test]
fn t043_upper_file_over_whiteout() {
    Scenario::new("T043", "rename of a pure upper file over a whiteout: the whiteout is gone, no residue at the source")
        .layers(|l| {
            l.lower(1).file("gone", "old").file("other", "old");
            l.upper().whiteout("stale");
        })
        .steps(|s| {
            s.create("new", "n").ok();
            s.unlink("gone").ok();
            s.rename("new", "gone").ok();
            s.upper("new").is("absent");
            s.upper("gone").is("file 0644 0:0 1");
            s.create("new", "m").ok();
            s.rename("new", "other").ok();
            s.upper("new").is("absent");
            s.create("new", "k").ok();
            s.rename("new", "stale").ok();
            s.ls_upper(".").is("gone other stale");
        });
}

#[test]
fn t044_away_and_back() {
    Scenario::new(
        "T044",
        "a copied-up file renamed away and back leaves no whiteout",
    )
    .layers(|l| {
        l.lower(1).file("d/f", "data").dir("e");
    })
    .steps(|s| {
        s.rename("d/f", "e/f").ok();
        s.upper("d/f").is("whiteout 0000 0:0");
        s.rename("e/f", "d/f").ok();
        s.upper("d/f").is("file 0644 0:0 4");
        s.upper("e/f").is("absent");
        s.ls("d").is("f");
        s.ls("e").is("");
    });
}

#[test]
fn t045_noreplace() {
    Scenario::new(
        "T045",
        "NOREPLACE onto a visible name fails without copy-up, onto a whiteout it succeeds",
    )
    .layers(|l| {
        l.lower(1).file("a", "A").file("b", "B").file("gone", "old");
    })
    .steps(|s| {
        s.rename2("a", "b", RenameFlags::NOREPLACE)
            .fails(Errno::EXIST);
        s.ls_upper(".").is("");
        s.unlink("gone").ok();
        s.rename2("a", "gone", RenameFlags::NOREPLACE).ok();
        s.upper("a").is("whiteout 0000 0:0");
        s.read("gone").is("\"A\"");
        s.rename2("b", "fresh", RenameFlags::NOREPLACE).ok();
        s.ls(".").is("fresh gone");
    });
}

#[test]
fn t046_exchange_files() {
    Scenario::new(
        "T046",
        "EXCHANGE of two lower files swaps them without whiteouts",
    )
    .layers(|l| {
        l.lower(1)
            .file("a", "A")
            .file("d/b", "B")
            .file("gone", "old")
            .mode("a", 0o600);
    })
    .steps(|s| {
        s.rename2("a", "d/b", RenameFlags::EXCHANGE).ok();
        s.read("a").is("\"B\"");
        s.read("d/b").is("\"A\"");
        s.stat("d/b").is("file 0600 0:0 1");
        s.ls_upper(".").is("a d/");
        s.unlink("gone").ok();
        s.rename2("a", "gone", RenameFlags::EXCHANGE)
            .fails(Errno::NOENT);
        s.rename2("a", "never", RenameFlags::EXCHANGE)
            .fails(Errno::NOENT);
        s.rename2("gone", "a", RenameFlags::EXCHANGE)
            .fails(Errno::NOENT);
        s.create("up", "U").ok();
        s.rename2("up", "a", RenameFlags::EXCHANGE).ok();
        s.read("up").is("\"B\"");
    });
}

#[test]
fn t047_directory_with_lower_content() {
    Scenario::new(
        "T047",
        "rename of a lower or merged directory: EXDEV, nothing copied up",
    )
    .layers(|l| {
        l.lower(1)
            .file("low/f", "1")
            .file("merged/f", "1")
            .dir("empty");
        l.upper().file("merged/g", "2");
    })
    .steps(|s| {
        s.rename("low", "x").fails(Errno::XDEV);
        s.rename("merged", "x").fails(Errno::XDEV);
        s.rename("low", "empty").fails(Errno::XDEV);
        s.rename("low", "merged/low").fails(Errno::XDEV);
        s.ls_upper(".").is("merged/");
        s.ls_upper("merged").is("g");
    });
}

#[test]
fn t048_exchange_with_lower_directory() {
    Scenario::new(
        "T048",
        "EXCHANGE of a file with a lower directory: EXDEV both ways",
    )
    .layers(|l| {
        l.lower(1).file("d/f", "1").file("low", "1");
        l.upper().file("up", "2").dir("ud");
    })
    .steps(|s| {
        for other in ["low", "up", "ud"] {
            s.rename2(other, "d", RenameFlags::EXCHANGE)
                .fails(Errno::XDEV);
            s.rename2("d", other, RenameFlags::EXCHANGE)
                .fails(Errno::XDEV);
        }
        s.ls_upper(".").is("ud/ up");
    });
}

#[test]
fn t049_upper_directory_in_merged_parent() {
    Scenario::new(
        "T049",
        "rename of a pure upper directory into a merged parent makes it opaque",
    )
    .layers(|l| {
        l.lower(1).dir("parent").file("file", "1");
        l.upper().dir("pure/inner");
    })
    .steps(|s| {
        s.mkdir("new").ok();
        s.create("new/f", "1").ok();
        s.mkdir("new/sub").ok();
        s.rename("new", "parent/there").ok();
        s.upper("parent/there").is("dir 0755 0:0 opaque=y");
        s.ls("parent/there").is("f sub/");
        s.read("parent/there/f").is("\"1\"");
        s.rename("pure/inner", "pure/renamed").ok();
        s.upper("pure/renamed").is("dir 0755 0:0");
        s.rename("pure/renamed", "root").ok();
        s.upper("root").is("dir 0755 0:0 opaque=y");
        s.mkdir("swap").ok();
        s.rename2("swap", "file", RenameFlags::EXCHANGE).ok();
        s.upper("file").is("dir 0755 0:0 opaque=y");
        s.read("swap").is("\"1\"");
    });
}

#[test]
fn t050_upper_directory_over_lower_directory() {
    Scenario::new(
        "T050",
        "rename of an upper directory over a merged one: only if that is empty, then opaque",
    )
    .layers(|l| {
        l.lower(1)
            .file("full/f", "1")
            .dir("empty")
            .file("half/f", "1");
        l.upper().file("half/g", "2");
    })
    .steps(|s| {
        s.mkdir("new").ok();
        s.create("new/n", "n").ok();
        s.rename("new", "full").fails(Errno::NOTEMPTY);
        s.rename("new", "half").fails(Errno::NOTEMPTY);
        s.rename("new", "empty").ok();
        s.upper("empty").is("dir 0755 0:0 opaque=y");
        s.ls("empty").is("n");
        s.upper("new").is("absent");
    });
}

#[test]
fn t051_upper_directory_over_directory_of_whiteouts() {
    Scenario::new(
        "T051",
        "rename of an upper directory over one that holds only whiteouts",
    )
    .layers(|l| {
        l.lower(1)
            .file("d/a", "1")
            .file("d/b", "1")
            .file("off/x", "1");
        l.upper().whiteout("off/x");
    })
    .steps(|s| {
        s.unlink("d/a").ok();
        s.unlink("d/b").ok();
        s.mkdir("new").ok();
        s.create("new/n", "n").ok();
        s.rename("new", "d").ok();
        s.ls_upper("d").is("n");
        s.upper("d").is("dir 0755 0:0 opaque=y");
        s.mkdir("new").ok();
        s.rename("new", "off").ok();
        s.ls_upper("off").is("");
        s.ls("off").is("");
        s.work_residue().is("");
    });
}

#[test]
fn t055_rename_refusals() {
    Scenario::new(
        "T055",
        "into itself, over another type, between two names of one file",
    )
    .layers(|l| {
        l.lower(1).file("f", "1").dir("d").file("d/x", "1");
        l.upper().dir("ud/sub").file("uf", "2").link("uf", "ul");
    })
    .steps(|s| {
        s.rename("ud", "ud/sub/x").fails(Errno::INVAL);
        s.rename("ud", "f").fails(Errno::NOTDIR);
        s.rename("f", "ud").fails(Errno::ISDIR);
        s.rename("f", "d").fails(Errno::ISDIR);
        s.rename("uf", "ul").ok();
        s.ls(".").is("d/ f ud/ uf ul");
        s.ls_upper(".").is("ud/ uf ul");
    });
}

#[test]
fn rename_of_a_merged_directory_by_copying() {
    Scenario::new(
        "T047",
        "rename_dir=copy renames a merged directory without EXDEV and without a redirect (24.1)",
    )
    .options("rename_dir=copy:1M", "")
    .plyfs_only("the kernel answers EXDEV, or leaves a redirect")
    .lowers(2)
    .layers(|l| {
        l.lower(1)
            .file("d/one", "1")
            .file("d/sub/deep/a", "a")
            .whiteout("d/gone");
        l.lower(2)
            .file("d/two", "2")
            .file("d/gone", "x")
            .file("d/sub/b", "b")
            .symlink("d/link", "two");
        l.lower(2)
            .sparse("big/hole", 2 << 20, &[])
            .file("big/x", "x");
        l.upper().file("d/up", "u");
    })
    .steps(|s| {
        s.unlink("d/sub/b").ok();
        s.rename("d", "e").ok();
        s.ls("e").is("link one sub/ two up");
        s.read("e/sub/deep/a").is("\"a\"");
        s.stat("d").fails(Errno::NOENT);
        s.stat("e/sub/b").fails(Errno::NOENT);
        s.upper("d").noted();
        s.rename("e/sub", "sub").ok();
        s.mkdir("d").ok();
        s.ls("d").is("");
        s.create("sub/b", "again").ok();
        s.unlink("e/two").ok();
        s.create("e/two", "new").ok();
        s.rename("e", "d").ok();
        s.ls("d").is("link one two up");
        s.rename("big", "small").fails(Errno::XDEV);
        s.ls("big").is("hole x");
    });
}
