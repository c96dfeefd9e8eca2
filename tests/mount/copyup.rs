//! What copies up, and what a copy keeps: T057-T068, T075, T136.

use std::io::Write;
use std::process::Command;

use rustix::fs::{IFlags, XattrFlags};

use super::support::env;
use super::support::ffi::{Map, Mapping};
use super::support::scenario::Scenario;
use super::support::steps::{self, Errno, FileType, Steps};

#[test]
fn t057_opens_that_do_not_copy_up() {
    Scenario::new(
        "T057",
        "opening for reading does not copy up, whatever else is asked",
    )
    .layers(|l| {
        l.lower(1).file("d/f", "data").symlink("s", "d/f");
    })
    .steps(|s| {
        let flags = [
            "r",
            "r,append",
            "r,creat",
            "r,direct",
            "r,sync",
            "r,noatime",
            "path",
            "r,append,sync,creat",
        ];
        for flags in flags {
            s.open("d/f", flags).ok();
            s.ls_upper(".").is("");
        }
        s.open("d", "r,dir").ok();
        s.open("s", "r").ok();
        s.open("d/f", "w,creat,excl").fails(Errno::EXIST);
        s.open("d", "w").fails(Errno::ISDIR);
        s.open("d", "rw").fails(Errno::ISDIR);
        s.ls("d").is("f");
        let dir = s.opened("d", "r,dir");
        s.fsync(&dir).ok();
        s.ls_upper(".").is("");
    });
}

#[test]
fn t058_opens_that_copy_up() {
    Scenario::new("T058", "opening for writing or truncating copies up")
        .layers(|l| {
            let l = l.lower(1);
            for name in ["w", "rw", "append", "trunc", "rdonly-trunc", "creat"] {
                l.file(&format!("d/{name}"), "data");
            }
        })
        .steps(|s| {
            let rows = [
                ("w", "w", "4"),
                ("rw", "rw", "4"),
                ("append", "w,append", "4"),
                ("creat", "w,creat", "4"),
                ("trunc", "w,trunc", "0"),
                ("rdonly-trunc", "r,trunc", "0"),
            ];
            for (name, flags, size) in rows {
                s.open(&format!("d/{name}"), flags).ok();
                s.upper(&format!("d/{name}"))
                    .is(&format!("file 0644 0:0 {size}"));
                s.mark(&format!("d/{name}"), "origin").is("handle");
            }
        });
}

#[test]
fn t059_special_files_are_not_copied_up() {
    Scenario::new(
        "T059",
        "opening a fifo or a device for writing does not copy up",
    )
    .layers(|l| {
        l.lower(1)
            .fifo("fifo")
            .node("null", FileType::CharacterDevice, (1, 3));
    })
    .steps(|s| {
        s.open("fifo", "rw,nonblock").ok();
        s.open("null", "rw").ok();
        s.open("null", "w").ok();
        let null = s.opened("null", "rw");
        s.fwrite(&null, 0, "into the void").ok();
        s.ls_upper(".").is("");
    });
}

#[test]
fn t060_attribute_changes_copy_up() {
    Scenario::new(
        "T060",
        "chmod, chown, utimens and chattr copy up; UTIME_OMIT twice does not",
    )
    .layers(|l| {
        let l = l.lower(1);
        for name in [
            "chmod", "fchmod", "chown", "utimens", "omit", "chattr", "getflags", "access",
        ] {
            l.file(name, "data");
        }
        l.dir("dir").symlink("symlink", "t");
    })
    .steps(|s| {
        s.chmod("chmod", 0o644).ok();
        let fd = s.opened("fchmod", "r");
        s.fchmod(&fd, 0o644).ok();
        s.chown("chown", None, None).ok();
        s.utimens("utimens", Some(5)).ok();
        s.utimens("omit", None).ok();
        let flags = |s: &mut Steps, name: &str| steps::open(&s.at(name), "r").unwrap();
        let file = flags(s, "chattr");
        let before = rustix::fs::ioctl_getflags(&file).map_err(Into::into);
        s.act(
            "getflags chattr",
            before.map(|f| format!("{:?}", f & IFlags::NODUMP)),
        )
        .noted();
        s.upper("chattr").is("absent");
        let set = rustix::fs::ioctl_setflags(&file, IFlags::NODUMP).map_err(Into::into);
        s.act("chattr +d chattr", set).ok();
        s.upper("chattr").is("file 0644 0:0 4");
        drop(file);
        let access =
            rustix::fs::access(s.at("access"), rustix::fs::Access::WRITE_OK).map_err(Into::into);
        s.act("access W_OK", access).ok();
        s.chown("dir", Some(0), None).ok();
        s.chown("symlink", None, Some(0)).ok();
        s.ls_upper(".")
            .is("chattr chmod chown dir/ fchmod symlink utimens");
    });
}

#[test]
fn t061_xattr_changes_copy_up() {
    Scenario::new(
        "T061",
        "setxattr copies up, removexattr of a missing name does not",
    )
    .layers(|l| {
        let l = l.lower(1);
        for name in ["set", "create", "replace", "remove", "missing", "get"] {
            l.file(name, "data").xattr(name, "user.there", "1");
        }
        l.dir("dir").xattr("dir", "user.there", "1");
    })
    .steps(|s| {
        s.setx("set", "user.new", "2").ok();
        s.setx("dir", "user.new", "2").ok();
        s.setx_flags("create", "user.there", "2", XattrFlags::CREATE)
            .fails(Errno::EXIST);
        s.setx_flags("replace", "user.none", "2", XattrFlags::REPLACE)
            .fails(Errno::NODATA);
        s.delx("missing", "user.none").fails(Errno::NODATA);
        s.delx("remove", "user.there").ok();
        s.getx("get", "user.there").is("1");
        s.getx("get", "user.none").fails(Errno::NODATA);
        s.listx("get").is("user.there");
        s.listx("set").is("user.new user.there");
        s.upper("missing").is("absent");
        s.upper("get").is("absent");
        s.upper("set").is("file 0644 0:0 4");
    });
}

#[test]
fn t062_truncating_open_copies_no_data() {
    const SIZE: usize = 50 << 20;
    Scenario::new("T062", "O_TRUNC of a 50 MB lower file copies no data")
        .layers(|l| {
            l.lower(1)
                .file("big", vec![b'x'; SIZE])
                .file("cut", vec![b'x'; SIZE]);
        })
        .steps(|s| {
            let before = s.written_by_daemon();
            s.open("big", "w,trunc").ok();
            s.truncate("cut", 0).ok();
            s.upper("big").is("file 0644 0:0 0");
            s.upper("cut").is("file 0644 0:0 0");
            let written = s.written_by_daemon() - before;
            s.check("the daemon wrote no file data", written < SIZE as u64 / 8)
                .holds();
        });
}

#[test]
fn t063_reads_of_every_kind() {
    Scenario::new(
        "T063",
        "mmap, flock, exec and copy_file_range as source do not copy up",
    )
    .layers(|l| {
        l.lower(1)
            .file("f", vec![b'a'; 8192])
            .program("true", "/bin/true");
    })
    .steps(|s| {
        let file = s.opened("f", "r");
        let shared = Map::new(file.fd(), 4096, Mapping::SharedRead).unwrap();
        let mut private = Map::new(file.fd(), 4096, Mapping::PrivateWrite).unwrap();
        private.write(b"mine");
        s.check("shared map shows the file", shared.bytes() == [b'a'; 4096])
            .holds();
        s.check(
            "private map shows the change",
            private.bytes().starts_with(b"minea"),
        )
        .holds();
        let locked = rustix::fs::flock(file.fd(), rustix::fs::FlockOperation::LockExclusive);
        s.act("flock", locked.map_err(Into::into)).ok();
        let ran =
            env::spawn_fresh(&mut Command::new(s.at("true"))).and_then(|mut child| child.wait());
        s.act("exec", ran.map(|status| status.to_string()))
            .is("exit status: 0");
        s.ls_upper(".").is("");
        let copy = std::fs::File::create(s.at("copy")).unwrap();
        let copied = rustix::fs::copy_file_range(file.fd(), None, &copy, None, 8192);
        s.act(
            "copy_file_range",
            copied.map(|n| n.to_string()).map_err(Into::into),
        )
        .is("8192");
        s.ls_upper(".").is("copy");
    });
}

#[test]
fn t064_link_of_a_lower_file() {
    Scenario::new(
        "T064",
        "link of a lower file: both names upper, one inode, the number of the origin",
    )
    .layers(|l| {
        l.lower(1)
            .file("f", "data")
            .dir("d")
            .file("g", "data")
            .symlink("s", "t");
    })
    .steps(|s| {
        let before = s.identity("f");
        s.link("f", "d/f2").ok();
        let (a, b) = (s.identity("f"), s.identity("d/f2"));
        s.check("f keeps its number", a == before).holds();
        s.check("both names have one number", a == b).holds();
        s.nlink("f").is("2");
        s.upper("f").is("file 0644 0:0 4");
        s.upper("d/f2").is("file 0644 0:0 4");
        s.write("f", "DATA").ok();
        s.read("d/f2").is("\"DATA\"");
        s.link("g", "f").fails(Errno::EXIST);
        s.upper("g").is("absent");
        s.link("s", "s2").ok();
        s.readlink("s2").is("t");
        s.link("d", "d2").fails(Errno::PERM);
    });
}

/// user::rw- user:1000:rw- group::r-- mask::rw- other::r--
const ACL: &[u8] = b"\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x06\x00\xe8\x03\x00\x00\
    \x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x06\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff";
/// cap_net_raw+ep, version 2.
const CAPABILITY: &[u8] =
    b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";

#[test]
fn t065_copy_up_of_a_file_keeps_everything() {
    Scenario::new(
        "T065",
        "copy-up keeps mode, owner, times, xattrs, ACL and capability",
    )
    .layers(|l| {
        let l = l
            .lower(1)
            .file("suid", "x")
            .owner("suid", 12, 34)
            .mode("suid", 0o6755);
        l.xattr("suid", "user.a", "1")
            .xattr("suid", "trusted.b", "2")
            .times("suid", 1_111_111_111, 987_654_321);
        l.file("acl", "x")
            .mode("acl", 0o640)
            .owner("acl", 12, 34)
            .xattr("acl", "system.posix_acl_access", ACL);
        l.times("acl", -5, 999_999_999);
        l.file("cap", "x")
            .mode("cap", 0o755)
            .xattr("cap", "security.capability", CAPABILITY);
        l.times("cap", 0, 1);
        l.file("hidden", "x")
            .mode("hidden", 0)
            .owner("hidden", 65_534, 65_533);
    })
    .steps(|s| {
        for name in ["suid", "acl", "cap", "hidden"] {
            let times = s.times(name);
            // Opening for writing is the copy-up that changes nothing by itself.
            s.open(name, "w").ok();
            s.stat(name).noted();
            s.mode_and_times_kept(name, &times);
            for xattr in [
                "user.a",
                "trusted.b",
                "system.posix_acl_access",
                "security.capability",
            ] {
                s.getx(name, xattr).noted();
            }
            s.mark(name, "origin").is("handle");
        }
        s.stat("suid").is("file 6755 12:34 1");
        s.stat("hidden").is("file 0000 65534:65533 1");
        s.getx("suid", "trusted.b").is("2");
    });
}

#[test]
fn t066_copy_up_of_other_kinds_keeps_everything() {
    Scenario::new(
        "T066",
        "copy-up of directories, symlinks, fifos and devices keeps what they are",
    )
    .layers(|l| {
        let l = l
            .lower(1)
            .file("dir/f", "x")
            .owner("dir", 5, 6)
            .mode("dir", 0o3775);
        l.xattr("dir", "system.posix_acl_default", ACL)
            .xattr("dir", "user.a", "1")
            .times("dir", 1_000_000_001, 2);
        l.symlink("symlink", "to/nowhere")
            .owner("symlink", 7, 8)
            .times("symlink", 1_000_000_003, 4);
        l.fifo("fifo")
            .mode("fifo", 0o622)
            .owner("fifo", 1, 2)
            .times("fifo", 1_000_000_005, 6);
        l.node("block", FileType::BlockDevice, (7, 200))
            .mode("block", 0o660)
            .times("block", 1_000_000_007, 8);
        l.node("char", FileType::CharacterDevice, (1, 7))
            .mode("char", 0o666)
            .times("char", 1_000_000_009, 10);
        l.node("socket", FileType::Socket, (0, 0))
            .times("socket", 1_000_000_011, 12);
    })
    .steps(|s| {
        // A new name is the copy-up that keeps a non-directory's times; a child's that of a directory.
        for name in ["symlink", "fifo", "block", "char", "socket"] {
            let times = s.times(name);
            s.link(name, &format!("{name}2")).ok();
            s.stat(name).noted();
            s.mode_and_times_kept(name, &times);
        }
        let times = s.times("dir");
        s.open("dir/f", "w").ok();
        s.mode_and_times_kept("dir", &times);
        s.stat("dir").is("dir 3775 5:6");
        s.upper("dir").is("dir 3775 5:6");
        s.getx("dir", "user.a").is("1");
        s.getx("dir", "system.posix_acl_default").noted();
        s.stat("symlink").is("symlink 0777 7:8");
        s.readlink("symlink2").is("to/nowhere");
        s.upper("block").is("block 0660 0:0 7:200");
    });
}

#[test]
fn t067_copy_up_leaves_the_parents_times() {
    Scenario::new(
        "T067",
        "copy-up of a child does not change its parents' times, at any level",
    )
    .layers(|l| {
        l.lower(1)
            .file("a/b/c/f", "x")
            .file("a/b/g", "x")
            .symlink("a/b/s", "t");
        l.upper().dir("a");
    })
    .steps(|s| {
        let dirs = [".", "a", "a/b", "a/b/c"];
        let before: Vec<_> = dirs.iter().map(|d| s.times(d)).collect();
        s.chmod("a/b/c/f", 0o600).ok();
        s.open("a/b/g", "w").ok();
        s.chown("a/b/s", Some(3), None).ok();
        for (dir, before) in dirs.iter().zip(before) {
            s.mode_and_times_kept(dir, &before);
        }
        let before = s.times("a");
        s.create("a/b/new", "").ok();
        s.mtime("a/b").is("now");
        s.mode_and_times_kept("a", &before);
    });
}

#[test]
fn t068_copy_up_keeps_holes() {
    const SIZE: u64 = 1 << 30;
    Scenario::new(
        "T068",
        "a 1 GiB file with 4 KiB of data stays sparse, its trailing hole too",
    )
    .layers(|l| {
        let data = [b'd'; 4096];
        l.lower(1).sparse("front", SIZE, &[(0, &data)]).sparse(
            "middle",
            SIZE,
            &[(SIZE / 2, &data)],
        );
        l.lower(1)
            .sparse("end", SIZE, &[(SIZE - 4096, &data)])
            .sparse("nothing", SIZE + 1, &[]);
    })
    .steps(|s| {
        for name in ["front", "middle", "end", "nothing"] {
            s.open(name, "rw").ok();
            let size = s.at(name).symlink_metadata().unwrap().len();
            s.check(
                "the size is kept",
                size == SIZE + u64::from(name == "nothing"),
            )
            .holds();
        }
        let (_, sectors) = s.upper_usage();
        // The kernel skips holes by chunks of 1 MiB: at most one for each file.
        s.check(
            "at most 1 MiB is allocated for each",
            sectors <= 3 * 2048 + 64,
        )
        .holds();
        let mut file = steps::open(&s.at("end"), "rw,append").unwrap();
        let written = file.write_all(b"tail");
        s.act("append", written).ok();
    });
}

#[test]
fn t069_beyond_4_gib() {
    const FIVE_GIB: u64 = 5 << 30;
    Scenario::new(
        "T069",
        "a file with data after a hole at 5 GiB is copied up whole",
    )
    .layers(|l| {
        l.lower(1).sparse(
            "huge",
            FIVE_GIB + (1 << 20),
            &[(3, b"front"), (FIVE_GIB, b"behind")],
        );
    })
    .steps(|s| {
        let fd = s.opened("huge", "rw");
        s.fwrite(&fd, FIVE_GIB + 6, " the hole").ok();
        let mut data = [0; 15];
        let read = rustix::io::pread(fd.fd(), &mut data, FIVE_GIB).map_err(Into::into);
        s.act(
            "read at 5 GiB",
            read.map(|n| data[..n].escape_ascii().to_string()),
        )
        .is("behind the hole");
        s.stat("huge")
            .is(&format!("file 0644 0:0 {}", FIVE_GIB + (1 << 20)));
    });
}

#[test]
fn t071_no_space_for_a_copy() {
    Scenario::new(
        "T071",
        "ENOSPC in a copy-up: reported, no residue, the old data still there",
    )
    .on_tmpfs_of("12m")
    .layers(|l| {
        l.lower(1)
            .file("d/big", vec![b'b'; 8 << 20])
            .file("d/small", "s");
    })
    .steps(|s| {
        s.open("d/big", "w").fails(Errno::NOSPC);
        s.chmod("d/big", 0o600).fails(Errno::NOSPC);
        s.work_residue().is("");
        s.upper("d/big").is("absent");
        s.read("d/big").noted();
        s.write("d/small", "S").ok();
        s.open("d/big", "w,trunc").ok();
        s.upper("d/big").is("file 0644 0:0 0");
    });
}

#[test]
fn t075_marks_are_not_copied_up() {
    Scenario::new(
        "T075",
        "overlay marks of lower objects are not copied up (10.5)",
    )
    .lowers(2)
    .layers(|l| {
        l.lower(1)
            .opaque("d", "y")
            .file("d/f", "x")
            .xattr("d", "user.mine", "1");
        l.lower(1)
            .xattr("d/f", "trusted.overlay.origin", "junk")
            .xattr("d/f", "trusted.overlayx", "plain");
        l.lower(2).file("d/below", "x");
    })
    .steps(|s| {
        s.chmod("d/f", 0o600).ok();
        s.upper("d").is("dir 0755 0:0");
        s.mark("d", "opaque").is("absent");
        s.getx("d", "user.mine").is("1");
        s.getx("d/f", "trusted.overlayx").is("plain");
        s.listx("d").is("user.mine");
        s.ls("d").is("f");
        s.stat("d/below").fails(Errno::NOENT);
    });
}

#[test]
fn t136_copied_up_parents_are_as_they_were() {
    const MODES: [u32; 6] = [0o600, 0o700, 0o000, 0o1777, 0o2755, 0o4711];
    Scenario::new(
        "T136",
        "creating below a lower directory of any mode leaves that mode (23.11)",
    )
    .layers(|l| {
        for mode in MODES {
            let name = format!("{mode:04o}");
            l.lower(1)
                .dir(&format!("{name}/inner"))
                .owner(&name, 1000, 1001)
                .mode(&name, mode);
        }
        l.lower(1)
            .dir("acl")
            .xattr("acl", "system.posix_acl_access", ACL)
            .mode("acl", 0o700);
    })
    .steps(|s| {
        for mode in MODES {
            let name = format!("{mode:04o}");
            let times = s.times(&name);
            s.create(&format!("{name}/inner/new"), "x").ok();
            s.mode_and_times_kept(&name, &times);
            s.stat(&name).is(&format!("dir {name} 1000:1001"));
            s.as_user(2000, 2000, |s| {
                s.ls(&name).noted();
                s.create(&format!("{name}/theirs"), "x").noted();
            });
        }
        s.create("acl/new", "x").ok();
        s.stat("acl").is("dir 0700 0:0");
        s.getx("acl", "system.posix_acl_access").noted();
    });
}
