//! Removal: T026, T027, T033-T039.

use std::os::unix::fs::MetadataExt;

use super::support::scenario::Scenario;
use super::support::steps::Errno;

#[test]
fn t026_unlink_lower_file() {
    Scenario::new(
        "T026",
        "unlink of lower files leaves one shared whiteout inode",
    )
    .layers(|l| {
        l.lower(1).file("a", "1").file("d/b", "2").file("kept", "3");
    })
    .steps(|s| {
        s.unlink("a").ok();
        s.unlink("d/b").ok();
        s.upper("a").is("whiteout 0000 0:0");
        s.upper("d/b").is("whiteout 0000 0:0");
        let inode =
            |path: &str| MetadataExt::ino(&s.layers.upper().at(path).symlink_metadata().unwrap());
        let shared = inode("a") == inode("d/b");
        s.check("both names are one inode", shared).holds();
        s.stat("a").fails(Errno::NOENT);
        s.unlink("a").fails(Errno::NOENT);
        s.ls(".").is("d/ kept");
        s.ls("d").is("");
    });
}

#[test]
fn t026_unlink_of_every_kind() {
    Scenario::new(
        "T026",
        "unlink of lower symlinks, fifos, devices and hard links",
    )
    .layers(|l| {
        let l = l
            .lower(1)
            .symlink("symlink", "nowhere")
            .fifo("fifo")
            .file("x", "x")
            .link("x", "y");
        l.node(
            "null",
            super::support::steps::FileType::CharacterDevice,
            (1, 3),
        );
    })
    .steps(|s| {
        for name in ["symlink", "fifo", "null", "y"] {
            s.unlink(name).ok();
            s.upper(name).is("whiteout 0000 0:0");
        }
        s.ls(".").is("x");
        s.read("x").is("\"x\"");
    });
}

#[test]
fn t027_unlink_pure_upper_file() {
    Scenario::new("T027", "unlink of a pure upper file leaves nothing")
        .layers(|l| {
            l.lower(1).file("d/low", "1");
            l.upper().file("old", "2").file("d/old", "2").dir("pure");
        })
        .steps(|s| {
            s.create("new", "n").ok();
            for name in ["old", "new", "d/old"] {
                s.unlink(name).ok();
                s.upper(name).is("absent");
            }
            s.rmdir("pure").ok();
            s.upper("pure").is("absent");
            s.ls_upper(".").is("d/");
        });
}

#[test]
fn t033_rmdir_non_empty() {
    Scenario::new(
        "T033",
        "rmdir of a non-empty lower directory copies nothing up",
    )
    .layers(|l| {
        l.lower(1).file("d/e/f", "1");
    })
    .steps(|s| {
        s.rmdir("d/e").fails(Errno::NOTEMPTY);
        s.rmdir("d").fails(Errno::NOTEMPTY);
        s.ls_upper(".").is("");
    });
}

#[test]
fn t034_empty_a_lower_directory() {
    Scenario::new(
        "T034",
        "a lower directory emptied and removed leaves one whiteout",
    )
    .lowers(2)
    .layers(|l| {
        l.lower(1).file("d/a", "1").file("d/sub/x", "1");
        l.lower(2)
            .file("d/b", "2")
            .file("d/a", "2")
            .file("d/sub/y", "2");
    })
    .steps(|s| {
        for name in ["d/a", "d/b", "d/sub/x", "d/sub/y"] {
            s.unlink(name).ok();
        }
        s.ls("d/sub").is("");
        s.rmdir("d/sub").ok();
        s.upper("d/sub").is("whiteout 0000 0:0");
        s.create("d/new", "n").ok();
        s.rmdir("d").fails(Errno::NOTEMPTY);
        s.unlink("d/new").ok();
        s.rmdir("d").ok();
        s.upper("d").is("whiteout 0000 0:0");
        s.stat("d").fails(Errno::NOENT);
        s.work_residue().is("");
    });
}

#[test]
fn t034_whiteouts_in_an_offline_upper() {
    Scenario::new(
        "T034",
        "an upper directory that holds only whiteouts counts as empty",
    )
    .layers(|l| {
        l.lower(1).file("d/a", "1").file("d/b", "1");
        l.upper()
            .dir("d")
            .mode("d", 0o750)
            .owner("d", 5, 6)
            .whiteout("d/a")
            .whiteout("d/b")
            .whiteout("d/stale");
    })
    .steps(|s| {
        s.ls("d").is("");
        s.rmdir("d").ok();
        s.upper("d").is("whiteout 0000 0:0");
    });
}

#[test]
fn t034_pure_upper_directory_of_whiteouts() {
    Scenario::new(
        "T034 3.5 3.7",
        "a pure upper directory that holds only whiteouts counts as empty",
    )
    .plyfs_only("3.5, 3.7: the kernel says ENOTEMPTY")
    .layers(|l| {
        l.upper().dir("pure").whiteout("pure/stale");
    })
    .steps(|s| {
        s.ls("pure").is("");
        s.rmdir("pure").ok();
        s.upper("pure").is("absent");
    });
}

#[test]
fn t035_unlink_in_opaque_directory() {
    Scenario::new("T035", "unlink in an opaque directory leaves no whiteout")
        .layers(|l| {
            l.lower(1).file("d/x", "1").file("d/y", "1");
            l.upper().opaque("d", "y").file("d/x", "2");
        })
        .steps(|s| {
            s.unlink("d/x").ok();
            s.upper("d/x").is("absent");
            s.unlink("d/y").fails(Errno::NOENT);
            s.mkdir("d/sub").ok();
            s.rmdir("d/sub").ok();
            s.ls_upper("d").is("");
        });
}

#[test]
fn t036_unlink_of_a_huge_file() {
    Scenario::new("T036", "unlink of a 1 GiB lower file copies no data")
        .layers(|l| {
            let data = vec![b'x'; 8 << 20];
            l.lower(1)
                .sparse("huge", 1 << 30, &[(0, &data), (512 << 20, &data)])
                .sparse("over", 1 << 30, &[(7, &data)]);
        })
        .steps(|s| {
            let before = s.written_by_daemon();
            s.unlink("huge").ok();
            s.create("small", "s").ok();
            s.rename("small", "over").ok();
            let (objects, sectors) = s.upper_usage();
            s.check(
                "two objects, one block of data",
                objects == 2 && sectors <= 8,
            )
            .holds();
            let written = s.written_by_daemon() - before;
            s.check("the daemon wrote no file data", written < 1 << 20)
                .holds();
        });
}

#[test]
fn t037_wrong_type() {
    Scenario::new(
        "T037",
        "unlink and rmdir of the wrong type, and of hidden names",
    )
    .layers(|l| {
        l.lower(1)
            .file("f", "1")
            .dir("d")
            .file("hidden", "1")
            .file("dhidden/x", "1");
        l.upper()
            .dir("ud")
            .file("uf", "2")
            .whiteout("hidden")
            .whiteout("dhidden");
    })
    .steps(|s| {
        s.unlink("d").fails(Errno::ISDIR);
        s.unlink("ud").fails(Errno::ISDIR);
        s.rmdir("f").fails(Errno::NOTDIR);
        s.rmdir("uf").fails(Errno::NOTDIR);
        s.unlink("hidden").fails(Errno::NOENT);
        s.rmdir("dhidden").fails(Errno::NOENT);
        s.rmdir("f/x").fails(Errno::NOTDIR);
        s.ls_upper(".").is("dhidden hidden ud/ uf");
    });
}

#[test]
fn t038_remove_and_create_in_a_loop() {
    Scenario::new("T038", "remove and create 1000 times: at most one entry")
        .layers(|l| {
            l.lower(1).file("f", "low").dir("d").file("d/x", "low");
        })
        .steps(|s| {
            let path = s.at("f");
            let mut failed = 0;
            for i in 0..1000 {
                failed += usize::from(std::fs::remove_file(&path).is_err());
                failed += usize::from(std::fs::write(&path, format!("{i}")).is_err());
            }
            s.check("each of 2000 calls succeeds", failed == 0).holds();
            s.read("f").is("\"999\"");
            s.ls_upper(".").is("f");
            s.unlink("f").ok();
            s.upper("f").is("whiteout 0000 0:0");
            s.unlink("d/x").ok();
            for _ in 0..20 {
                s.rmdir("d").ok();
                s.mkdir("d").ok();
            }
            s.ls_upper(".").is("d/ f");
        });
}

/// The links beyond the few unlinks are made from outside, in a directory of no layer: the shared whiteout's link count
/// is what 65,010 unlinks would make it, in a second instead of minutes.
#[test]
fn t039_more_whiteouts_than_links() {
    const NAMES: usize = 40;
    const EXT4_LINK_MAX: u64 = 65_000;
    Scenario::new(
        "T039",
        "the whiteout inode runs out of links at 65,000 on ext4",
    )
    .on_ext4()
    .layers(|l| {
        for i in 0..NAMES {
            l.lower(1).file(&format!("many/{i}"), "x");
        }
    })
    .steps(|s| {
        s.unlink("many/0").ok();
        s.unlink("many/1").ok();
        let shared = s.layers.upper().at("many/0");
        let links = || shared.symlink_metadata().unwrap().nlink();
        s.check("the whiteout is shared", links() >= 2).holds();
        let spare = s.layers.merged.with_file_name("spare");
        std::fs::create_dir(&spare).unwrap();
        while links() < EXT4_LINK_MAX - 20 {
            for _ in 0..20 {
                std::fs::hard_link(&shared, spare.join(format!("{}", links()))).unwrap();
            }
        }
        for i in 2..NAMES {
            s.unlink(&format!("many/{i}")).ok();
        }
        s.check("the inode is full", links() > EXT4_LINK_MAX - 2)
            .holds();
        let other = s
            .layers
            .upper()
            .at(&format!("many/{}", NAMES - 1))
            .symlink_metadata()
            .unwrap();
        s.check(
            "a second inode is shared",
            other.ino() != shared.symlink_metadata().unwrap().ino() && other.nlink() > 2,
        )
        .holds();
        s.ls("many").is("");
    });
}
