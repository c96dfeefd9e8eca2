//! Creation, above all over whiteouts: T028-T032, T040, T132, T137.

use super::support::scenario::Scenario;
use super::support::steps::{Errno, FileType, RenameFlags, Steps};

#[test]
fn t028_create_over_whiteout() {
    Scenario::new(
        "T028",
        "a file created over a whiteout belongs to the caller",
    )
    .layers(|l| {
        l.lower(1)
            .dir("d")
            .mode("d", 0o777)
            .file("d/f", "old")
            .file("g", "old")
            .xattr("g", "user.old", "1");
    })
    .steps(|s| {
        s.unlink("d/f").ok();
        s.unlink("g").ok();
        s.as_user(1000, 1001, |s| s.create("d/f", "new").ok());
        s.create("g", "root's").ok();
        s.stat("d/f").is("file 0644 1000:1001 3");
        s.upper("d/f").is("file 0644 1000:1001 3");
        s.read("d/f").is("\"new\"");
        s.listx("g").is("");
    });
}

#[test]
fn t028_create_as_another_user() {
    Scenario::new("T028", "whatever is created belongs to the caller")
        .layers(|l| {
            l.lower(1)
                .dir("d")
                .mode("d", 0o777)
                .dir("g")
                .mode("g", 0o2777)
                .owner("g", 7, 8);
        })
        .steps(|s| {
            s.as_user(1000, 1001, |s| {
                for dir in ["d", "g"] {
                    s.create(&format!("{dir}/file"), "x").ok();
                    s.mkdir_mode(&format!("{dir}/dir"), 0o755).ok();
                    s.symlink(&format!("{dir}/symlink"), "t").ok();
                    s.mknod(&format!("{dir}/fifo"), FileType::Fifo, (0, 0)).ok();
                    s.link(&format!("{dir}/file"), &format!("{dir}/link")).ok();
                }
                s.create("refused", "x").fails(Errno::ACCESS);
            });
            s.stat("d/dir").is("dir 0755 1000:1001");
            s.stat("g/dir").is("dir 2755 1000:8");
            s.stat("g/file").is("file 0644 1000:8 1");
            s.stat("d/symlink").is("symlink 0777 1000:1001");
        });
}

#[test]
fn t029_mkdir_over_whiteout() {
    Scenario::new("T029", "a directory made over a whiteout is opaque")
        .layers(|l| {
            l.lower(1).file("d/sub/old", "1").file("f", "1");
            l.upper().whiteout("gone");
        })
        .steps(|s| {
            s.unlink("d/sub/old").ok();
            s.rmdir("d/sub").ok();
            s.mkdir("d/sub").ok();
            s.upper("d/sub").is("dir 0755 0:0 opaque=y");
            s.ls("d/sub").is("");
            s.create("d/sub/new", "n").ok();
            s.unlink("f").ok();
            s.mkdir_mode("f", 0o1777).ok();
            s.upper("f").is("dir 1755 0:0 opaque=y");
            s.mkdir("gone").ok();
            s.work_residue().is("");
        });
}

/// rmdir of a lower directory, then mkdir, or a new directory renamed to its name.
fn come_back(s: &mut Steps, dir: &str) {
    let old = format!("{dir}old");
    s.unlink(&format!("{old}/content")).ok();
    s.rmdir(&old).ok();
    s.mkdir(&old).ok();
    s.upper(&old).is("dir 0755 0:0 opaque=y");
    s.ls(&old).is("");
    let moved = format!("{dir}moved");
    s.unlink(&format!("{moved}/content")).ok();
    s.rmdir(&moved).ok();
    s.mkdir(&format!("{dir}fresh")).ok();
    s.create(&format!("{dir}fresh/inside"), "i").ok();
    s.rename(&format!("{dir}fresh"), &moved).ok();
    s.upper(&moved).is("dir 0755 0:0 opaque=y");
    s.ls(&moved).is("inside");
}

#[test]
fn t030_opaque_in_the_root_and_below() {
    Scenario::new(
        "T030",
        "old content does not come back, in the root and in a subdirectory (23.2)",
    )
    .lowers(2)
    .layers(|l| {
        for dir in ["", "sub/"] {
            l.lower(1)
                .file(&format!("{dir}old/content"), "1")
                .dir(&format!("{dir}moved"));
            l.lower(2)
                .file(&format!("{dir}moved/content"), "2")
                .dir(&format!("{dir}old"));
        }
    })
    .steps(|s| {
        come_back(s, "");
        come_back(s, "sub/");
    });
}

#[test]
fn t031_other_kinds_over_whiteout() {
    Scenario::new("T031", "symlink, fifo, device and link over whiteouts")
        .layers(|l| {
            let l = l.lower(1).file("source", "s");
            for name in ["symlink", "fifo", "block", "link"] {
                l.file(name, "old");
            }
        })
        .steps(|s| {
            for name in ["symlink", "fifo", "block", "link"] {
                s.unlink(name).ok();
            }
            s.symlink("symlink", "target").ok();
            s.mknod("fifo", FileType::Fifo, (0, 0)).ok();
            s.mknod("block", FileType::BlockDevice, (0, 0)).ok();
            s.link("source", "link").ok();
            s.readlink("symlink").is("target");
            s.stat("fifo").is("fifo 0644 0:0");
            s.stat("block").is("block 0644 0:0 0:0");
            s.nlink("link").is("2");
            s.read("link").is("\"s\"");
            s.work_residue().is("");
        });
}

#[test]
fn t031_tmpfile_over_whiteout() {
    Scenario::new("T031", "O_TMPFILE and linkat over a whiteout")
        .layers(|l| {
            l.lower(1).file("f", "old");
        })
        .steps(|s| {
            // The FUSE library has no FUSE_TMPFILE, so programs fall back to a named file.
            const WHY: &str = "11.4 and architecture 7";
            s.unlink("f").ok();
            s.open(".", "rw,tmpfile").differs(WHY, "ok", "EOPNOTSUPP");
            let linked = super::support::steps::open(&s.at("."), "rw,tmpfile").and_then(|file| {
                let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
                let (cwd, from) = (rustix::fs::CWD, format!("/proc/self/fd/{fd}"));
                Ok(rustix::fs::linkat(
                    cwd,
                    from,
                    cwd,
                    s.at("f"),
                    rustix::fs::AtFlags::SYMLINK_FOLLOW,
                )?)
            });
            s.act("tmpfile and linkat to f", linked)
                .differs(WHY, "ok", "EOPNOTSUPP");
            s.unlink("f").differs(WHY, "ok", "ENOENT");
            s.upper("f").is("whiteout 0000 0:0");
        });
}

#[test]
fn t032_new_directory_in_merged_parent() {
    Scenario::new(
        "T032",
        "a new name in a merged directory needs no opaque mark",
    )
    .layers(|l| {
        l.lower(1).file("d/low", "1");
        l.upper().file("d/up", "2");
    })
    .steps(|s| {
        s.mkdir("d/new").ok();
        s.mkdir("new").ok();
        s.upper("d/new").is("dir 0755 0:0");
        s.upper("new").is("dir 0755 0:0");
        s.mkdir("d").fails(Errno::EXIST);
        s.mkdir("d/low").fails(Errno::EXIST);
    });
}

#[test]
fn t040_whiteouts_cannot_be_made() {
    Scenario::new(
        "T040",
        "neither mknod 0/0 nor RENAME_WHITEOUT make a whiteout",
    )
    .layers(|l| {
        l.lower(1).file("f", "1").dir("d");
    })
    .steps(|s| {
        s.mknod("w", FileType::CharacterDevice, (0, 0))
            .fails(Errno::PERM);
        s.mknod("d/w", FileType::CharacterDevice, (0, 0))
            .fails(Errno::PERM);
        s.mknod("f", FileType::CharacterDevice, (0, 0))
            .fails(Errno::EXIST);
        s.mknod("null", FileType::CharacterDevice, (1, 3)).ok();
        s.mknod("block", FileType::BlockDevice, (0, 0)).ok();
        s.rename2("f", "g", RenameFlags::WHITEOUT)
            .fails(Errno::INVAL);
        s.ls_upper(".").is("block null");
    });
}

#[test]
fn t132_wh_names_are_ordinary_natively() {
    Scenario::new(
        "T132",
        "without oci=on a .wh. name is an ordinary file, as for the kernel (26.2b)",
    )
    .lowers(2)
    .layers(|l| {
        l.lower(1).file(".wh.low", "").file("d/.wh..wh..opq", "");
        l.lower(2).file("low", "1").file("d/low", "1");
    })
    .steps(|s| {
        s.create(".wh.x", "data").ok();
        s.create("x", "data").ok();
        s.ls(".").is(".wh.low .wh.x d/ low x");
        s.ls("d").is(".wh..wh..opq low");
    });
}

// user::rwx user:1000:rwx group::r-x mask::rwx other::--x
const DEFAULT_ACL: &[u8] = b"\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x07\x00\xe8\x03\x00\x00\
    \x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x01\x00\xff\xff\xff\xff";

#[test]
fn t101_default_acl_and_umask_plain_and_over_whiteouts() {
    const UMASKS: [u32; 3] = [0o000, 0o027, 0o077];
    Scenario::new(
        "T101",
        "a default ACL takes the place of the umask, and what is made is the same plain and over a whiteout",
    )
    .layers(|l| {
        let l = l.lower(1).dir("acl").xattr("acl", "system.posix_acl_default", DEFAULT_ACL);
        for umask in UMASKS {
            for kind in ["file", "dir", "fifo"] {
                l.file(&format!("acl/over-{umask:o}-{kind}"), "old");
            }
        }
    })
    .steps(|s| {
        let mut made = std::collections::BTreeMap::<&str, Vec<String>>::new();
        for umask in UMASKS {
            for kind in ["file", "dir", "fifo"] {
                s.unlink(&format!("acl/over-{umask:o}-{kind}")).ok();
            }
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
            for how in ["new", "over"] {
                let name = |kind: &str| format!("acl/{how}-{umask:o}-{kind}");
                s.create(&name("file"), "x").ok();
                s.mkdir_mode(&name("dir"), 0o775).ok();
                s.mknod(&name("fifo"), FileType::Fifo, (0, 0)).ok();
                for kind in ["file", "dir", "fifo"] {
                    let (path, name) = (s.at(&name(kind)), name(kind));
                    let mode = std::os::unix::fs::MetadataExt::mode(&path.symlink_metadata().unwrap());
                    let xattrs = super::support::snapshot::xattrs(&path).unwrap();
                    made.entry(kind).or_default().push(format!("{mode:o} {xattrs:?}"));
                    s.listx(&name).noted();
                    s.stat(&name).noted();
                }
            }
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        }
        for (kind, made) in &made {
            let same = made.len() == 6 && made.iter().all(|one| *one == made[0]);
            s.check(&format!("{kind}: one result, whatever the umask and the way"), same).holds();
            s.check(&format!("{kind} has an ACL"), made[0].contains("posix_acl_access")).holds();
        }
        s.stat("acl/over-77-file").is("file 0640 0:0 1");
        s.stat("acl/over-77-dir").is("dir 0771 0:0");
        s.listx("acl/over-77-dir").is("system.posix_acl_access system.posix_acl_default");
    });
}

/// umask 027 and every kind of creation, plain and over a whiteout, in a plain directory and one with a default ACL.
#[test]
fn t137_umask_and_default_acl() {
    const KINDS: [&str; 4] = ["file", "dir", "fifo", "symlink"];
    Scenario::new(
        "T137",
        "umask and default ACL apply once, plain and over whiteouts",
    )
    .layers(|l| {
        let l = l.lower(1).dir("plain").dir("acl").xattr(
            "acl",
            "system.posix_acl_default",
            DEFAULT_ACL,
        );
        for dir in ["plain", "acl"] {
            for kind in KINDS {
                l.file(&format!("{dir}/over-{kind}"), "old");
            }
        }
    })
    .steps(|s| {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
        for dir in ["plain", "acl"] {
            for kind in KINDS {
                s.unlink(&format!("{dir}/over-{kind}")).ok();
            }
            for how in ["new", "over"] {
                let name = |kind| format!("{dir}/{how}-{kind}");
                s.create(&name("file"), "x").ok();
                s.mkdir_mode(&name("dir"), 0o777).ok();
                s.mknod(&name("fifo"), FileType::Fifo, (0, 0)).ok();
                s.symlink(&name("symlink"), "t").ok();
                for kind in KINDS {
                    s.stat(&name(kind)).noted();
                    s.listx(&name(kind)).noted();
                }
            }
        }
        // The daemon has a umask of its own, which must not matter.
        rustix::process::umask(rustix::fs::Mode::empty());
        s.mkdir_mode("plain/open-dir", 0o777).ok();
        s.mknod("plain/open-fifo", FileType::Fifo, (0, 0)).ok();
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        s.stat("plain/open-dir").is("dir 0777 0:0");
        s.stat("plain/open-fifo").noted();
        s.stat("plain/over-file").is("file 0640 0:0 1");
        s.stat("plain/over-dir").is("dir 0750 0:0");
        s.stat("acl/over-file").is("file 0640 0:0 1");
        s.stat("acl/new-dir").is("dir 0771 0:0");
    });
}
