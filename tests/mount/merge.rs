//! What a stack of layers looks like: T001-T008, T015, T016.

use super::support::scenario::Scenario;
use super::support::steps::Errno;

#[test]
fn t001_upper_file_over_lower_dir() {
    Scenario::new("T001", "an upper file hides a lower directory")
        .layers(|l| {
            l.lower(1).file("d/below", "lower");
            l.upper().file("d", "upper");
        })
        .steps(|s| {
            s.read("d").is("\"upper\"");
            s.open("d", "r,dir").fails(Errno::NOTDIR);
            s.stat("d/below").fails(Errno::NOTDIR);
            s.ls(".").is("d");
        });
}

#[test]
fn t002_dir_file_dir() {
    Scenario::new(
        "T002",
        "directory / file / directory: only the top directory",
    )
    .lowers(3)
    .layers(|l| {
        l.lower(1).file("d/one", "1");
        l.lower(2).file("d", "file");
        l.lower(3).file("d/three", "3");
    })
    .steps(|s| {
        s.ls("d").is("one");
        s.stat("d/three").fails(Errno::NOENT);
    });
}

#[test]
fn t003_dir_whiteout_dir() {
    Scenario::new(
        "T003",
        "directory / whiteout / directory: only the top directory",
    )
    .lowers(3)
    .layers(|l| {
        l.lower(1).file("d/one", "1");
        l.lower(2).whiteout("d");
        l.lower(3).file("d/three", "3");
    })
    .steps(|s| {
        s.ls("d").is("one");
        s.stat("d/three").fails(Errno::NOENT);
    });
}

#[test]
fn t004_whiteout_over_file() {
    Scenario::new("T004", "a lower whiteout hides and is not listed")
        .lowers(2)
        .layers(|l| {
            l.lower(1).whiteout("gone").dir("d").whiteout("d/gone");
            l.lower(2)
                .file("gone", "x")
                .file("kept", "y")
                .file("d/gone", "x")
                .file("d/kept", "y");
        })
        .steps(|s| {
            s.stat("gone").fails(Errno::NOENT);
            s.stat("d/gone").fails(Errno::NOENT);
            s.ls(".").is("d/ kept");
            s.ls("d").is("kept");
        });
}

#[test]
fn t005_whiteout_in_bottom_layer() {
    Scenario::new("T005", "a whiteout in the bottom layer")
        .lowers(2)
        .layers(|l| {
            l.lower(1).file("top", "t");
            l.lower(2).whiteout("gone").file("kept", "k");
        })
        .steps(|s| {
            s.stat("gone").fails(Errno::NOENT);
            s.ls(".").is("kept top");
        });
}

#[test]
fn t006_whiteout_in_single_layer_subdir() {
    Scenario::new(
        "T006",
        "a whiteout in a directory of one layer is not listed",
    )
    .lowers(2)
    .layers(|l| {
        l.lower(2).dir("d").whiteout("d/gone").file("d/kept", "k");
        l.lower(2).dir("bare").whiteout("bare/gone");
    })
    .steps(|s| {
        s.stat("d/gone").fails(Errno::NOENT);
        s.ls("d").differs("3.7", "gone(ENOENT) kept", "kept");
        s.ls("bare").differs("3.7", "gone(ENOENT)", "");
    });
}

#[test]
fn t007_symlink_over_dir() {
    Scenario::new("T007", "a symlink hides a directory")
        .lowers(2)
        .layers(|l| {
            l.lower(1).symlink("d", "elsewhere");
            l.lower(2).file("d/below", "x").file("elsewhere/there", "y");
        })
        .steps(|s| {
            s.readlink("d").is("elsewhere");
            s.ls("elsewhere").is("there");
            s.read("d/there").is("\"y\"");
            s.stat("d/below").fails(Errno::NOENT);
        });
}

#[test]
fn t008_opaque_values() {
    Scenario::new("T008", "only the value y makes a directory opaque")
        .lowers(2)
        .layers(|l| {
            for (name, value) in [("y", "y"), ("n", "n"), ("yes", "yes"), ("empty", "")] {
                l.lower(1)
                    .opaque(name, value)
                    .file(&format!("{name}/top"), "1");
                l.lower(2).file(&format!("{name}/low"), "2");
                l.upper().opaque(&format!("u{name}"), value);
                l.lower(1).file(&format!("u{name}/low"), "2");
            }
        })
        .steps(|s| {
            s.ls("y").is("top");
            s.ls("uy").is("");
            s.stat("y/low").fails(Errno::NOENT);
            for open in ["n", "yes", "empty"] {
                s.ls(open).is("low top");
                s.ls(&format!("u{open}")).is("low");
                s.read(&format!("{open}/low")).is("\"2\"");
            }
        });
}

#[test]
fn t009_t010_xattr_whiteouts() {
    Scenario::new(
        "T009 T010",
        "xattr-whiteouts hide in a directory marked for them; on a non-empty file they do not",
    )
    .lowers(2)
    .layers(|l| {
        l.lower(1).opaque("d", "x").file("d/gone", "").xattr(
            "d/gone",
            "trusted.overlay.whiteout",
            "",
        );
        l.lower(1)
            .file("d/data", "not empty")
            .xattr("d/data", "trusted.overlay.whiteout", "")
            .file("d/top", "");
        l.lower(2)
            .file("d/gone", "2")
            .file("d/data", "2")
            .file("d/low", "2");
    })
    .steps(|s| {
        s.ls("d").is("data low top");
        s.stat("d/gone").fails(Errno::NOENT);
        s.read("d/data").is("\"not empty\"");
        s.create("d/gone", "back").ok();
        s.unlink("d/low").ok();
    });
}

#[test]
fn t025_garbage_origin() {
    Scenario::new("T025", "an object with a garbage origin is usable")
        .layers(|l| {
            l.lower(1).file("d/a", "1");
            l.upper()
                .file("g", "x")
                .xattr("g", "trusted.overlay.origin", "garbage");
            l.upper()
                .dir("d")
                .xattr("d", "trusted.overlay.origin", "garbage");
        })
        .steps(|s| {
            s.read("g").is("\"x\"");
            s.write("g", "y").ok();
            s.ls("d").is("a");
            s.rename("g", "d/h").ok();
        });
}

#[test]
fn t131_stale_marks() {
    Scenario::new(
        "T131",
        "a stale mark of another namespace beside a trusted one means nothing, and is hidden",
    )
    .lowers(2)
    .layers(|l| {
        l.lower(1).file("d/a", "1");
        l.lower(2).file("d/b", "2");
        l.upper().dir("d").xattr("d", "user.overlay.opaque", "y");
        l.upper().xattr("d", "trusted.overlay.origin", "garbage");
    })
    .steps(|s| {
        s.ls("d").is("a b");
        s.listx("d").differs("25.2", "user.overlay.opaque", "");
        // Leave the same tree behind.
        for name in ["d/a", "d/b"] {
            s.unlink(name).ok();
        }
        s.rmdir("d").ok();
    });
}

#[test]
fn t015_merged_directory_attributes() {
    Scenario::new(
        "T015",
        "a merged directory: attributes of the top layer only, no duplicates",
    )
    .lowers(3)
    .layers(|l| {
        l.lower(1)
            .file("d/a", "1")
            .mode("d", 0o751)
            .xattr("d", "user.top", "1")
            .owner("d", 3, 4);
        l.lower(2)
            .file("d/a", "2")
            .file("d/b", "2")
            .mode("d", 0o700)
            .xattr("d", "user.mid", "2");
        l.lower(3)
            .file("d/b", "3")
            .file("d/c", "3")
            .xattr("d", "user.low", "3");
    })
    .steps(|s| {
        s.stat("d").is("dir 0751 3:4");
        s.listx("d").is("user.top");
        s.nlink("d").is("1");
        s.ls("d").is("a b c");
        s.read("d/a").is("\"1\"");
        s.read("d/b").is("\"2\"");
    });
}

#[test]
fn t016_long_names() {
    Scenario::new("T016", "255 bytes are a name, 256 are not")
        .layers(|l| {
            l.lower(1).file(&"l".repeat(255), "long");
        })
        .steps(|s| {
            let (fits, long) = ("n".repeat(255), "n".repeat(256));
            s.stat(&long).fails(Errno::NAMETOOLONG);
            s.create(&long, "").fails(Errno::NAMETOOLONG);
            s.create(&fits, "x").ok();
            s.read(&fits).is("\"x\"");
            s.read(&"l".repeat(255)).is("\"long\"");
            s.unlink(&"l".repeat(255)).ok();
            s.mkdir(&"l".repeat(255)).ok();
        });
}
