//! What is copied up, when, and how faithfully (sections 9, 10).

use std::fs;
use std::os::unix::fs::MetadataExt;

use plyfs::sys::at::SetTime;
use plyfs::sys::errno::Errno;
use plyfs::sys::stat::{FileType, Time};

use crate::inprocess::client::{KEEP, flags};
use crate::inprocess::rig::{code, is_root, over};
use crate::support::snapshot::xattrs;

#[test]
fn t057_reading_copies_nothing() {
    over(|l| {
        l.file("d/f", "data")
            .symlink("d/s", "f")
            .xattr("d/f", "user.a", "1")
            .fifo("d/p");
    })
    .test(|v| {
        v.close(v.open("d/f", flags::READ).unwrap());
        v.read("d/f").unwrap();
        v.readlink("d/s").unwrap();
        v.xattr("d/f", "user.a").unwrap();
        v.ls("d").unwrap();
        assert_eq!(
            code(v.open("d/p", flags::BOTH)),
            Errno::ENXIO,
            "the kernel opens fifos itself"
        );
        assert_eq!(v.upper_paths(), [""; 0]);
    });
}

#[test]
fn t058_opening_for_writing_copies_up() {
    over(|l| {
        l.file("w", "data")
            .file("rw", "data")
            .file("t", "data")
            .file("rt", "data");
    })
    .test(|v| {
        for (path, how, content) in [
            ("w", flags::WRITE, "data"),
            ("rw", flags::BOTH, "data"),
            ("t", flags::WRITE | flags::TRUNC, ""),
            ("rt", flags::READ | flags::TRUNC, ""),
        ] {
            v.close(v.open(path, how).unwrap());
            assert_eq!(fs::read_to_string(v.up(path)).unwrap(), content, "{path}");
            assert_eq!(v.read(path).unwrap(), content, "{path}");
        }
    });
}

#[test]
fn t060_t061_every_change_of_metadata_copies_up() {
    over(|l| {
        for name in ["chmod", "chown", "utimens", "truncate", "setxattr"] {
            l.file(&format!("d/{name}"), "data");
        }
        l.file("d/removexattr", "")
            .xattr("d/removexattr", "user.a", "1");
        l.file("d/nothing", "");
    })
    .test(|v| {
        v.chmod("d/chmod", 0o644).unwrap();
        v.setattr("d/chown", KEEP).unwrap();
        let atime = SetTime::At(Time { sec: 5, nsec: 6 });
        v.setattr(
            "d/utimens",
            plyfs::overlay::change::setattr::SetAttr { atime, ..KEEP },
        )
        .unwrap();
        v.truncate("d/truncate", 4).unwrap();
        v.set_xattr("d/setxattr", "user.a", "1").unwrap();
        v.remove_xattr("d/removexattr", "user.a").unwrap();
        assert_eq!(
            v.remove_xattr("d/nothing", "user.a"),
            Err(Errno::ENODATA),
            "T061"
        );
        for name in [
            "chmod",
            "chown",
            "utimens",
            "truncate",
            "setxattr",
            "removexattr",
        ] {
            assert!(v.up(&format!("d/{name}")).exists(), "{name}");
        }
        assert!(!v.up("d/nothing").exists());
        assert_eq!(
            v.stat("d/utimens").unwrap().stat.atime,
            Time { sec: 5, nsec: 6 }
        );
    });
}

#[test]
fn t062_cutting_a_file_copies_only_what_is_kept() {
    over(|l| {
        l.file("all", "x".repeat(1 << 20))
            .file("half", "y".repeat(1 << 20));
    })
    .test(|v| {
        v.close(v.open("all", flags::WRITE | flags::TRUNC).unwrap());
        v.truncate("half", 1 << 19).unwrap();
        assert_eq!(v.read("all").unwrap(), "");
        assert_eq!(v.read("half").unwrap(), "y".repeat(1 << 19), "24.9");
        v.truncate("half", (1 << 19) + 2).unwrap();
        assert!(v.read("half").unwrap().ends_with("y\0\0"));
    });
}

#[test]
fn t065_a_file_keeps_all_its_metadata() {
    over(|l| {
        l.file("d/f", "data").mode("d/f", 0o4751);
        l.xattr("d/f", "user.one", "1")
            .xattr("d/f", "user.empty", "");
        l.xattr("d/f", "user.overlay.overlay.kept", "escaped");
        l.xattr("d/f", "user.overlay.origin", "stays behind");
        if is_root() {
            l.owner("d/f", 1234, 4321).mode("d/f", 0o4751);
        }
        l.times("d/f", 1_234_567_890, 987_654_321);
    })
    .test(|v| {
        let before = v.stat("d/f").unwrap().stat;
        assert_eq!(before.perm, 0o4751);
        v.close(v.open("d/f", flags::WRITE).unwrap());
        let after = v.stat("d/f").unwrap().stat;
        assert_eq!(
            (
                after.perm,
                after.uid,
                after.gid,
                after.atime,
                after.mtime,
                after.size
            ),
            (
                before.perm,
                before.uid,
                before.gid,
                before.atime,
                before.mtime,
                before.size
            )
        );
        let disk = xattrs(&v.up("d/f")).unwrap();
        assert_eq!(disk["user.one"], b"1");
        assert_eq!(disk["user.empty"], b"");
        assert_eq!(disk["user.overlay.overlay.kept"], b"escaped");
        assert_ne!(
            disk.get("user.overlay.origin").map(Vec::as_slice),
            Some(&b"stays behind"[..])
        );
    });
}

#[test]
fn t066_directories_symlinks_and_fifos_too() {
    over(|l| {
        l.dir("dir")
            .mode("dir", 0o3771)
            .times("dir", 1_111_111_111, 1);
        l.symlink("link", "to nowhere")
            .times("link", 1_222_222_222, 2);
        l.fifo("fifo")
            .mode("fifo", 0o640)
            .times("fifo", 1_333_333_333, 3);
    })
    .test(|v| {
        for (path, kind, perm) in [
            ("dir", FileType::Dir, 0o3771),
            ("link", FileType::Symlink, 0o777),
            ("fifo", FileType::Fifo, 0o640),
        ] {
            let before = v.stat(path).unwrap().stat;
            v.setattr(path, KEEP).unwrap();
            let after = v.stat(path).unwrap().stat;
            assert!(v.up(path).symlink_metadata().is_ok(), "{path}");
            assert_eq!((after.kind, after.perm), (kind, perm), "{path}");
            assert_eq!(
                (after.mtime, after.uid),
                (before.mtime, before.uid),
                "{path}"
            );
            // Reading a link counts as an access of it, even by a copy.
            if kind != FileType::Symlink {
                assert_eq!(after.atime, before.atime, "{path}");
            }
        }
        assert_eq!(v.readlink("link").unwrap(), "to nowhere");
    });
}

#[test]
fn t067_parents_keep_their_times_at_all_levels() {
    over(|l| {
        l.file("a/b/c/f", "");
        for (n, path) in ["a/b/c", "a/b", "a"].into_iter().enumerate() {
            l.times(path, 1_111_111_111 + n as i64, 5);
        }
    })
    .test(|v| {
        let paths = ["", "a", "a/b", "a/b/c"];
        let times = || paths.map(|path| v.stat(path).unwrap().stat.mtime);
        let before = times();
        v.chmod("a/b/c/f", 0o600).unwrap();
        assert_eq!(times(), before);
        assert!(v.up("a/b/c/f").exists());
    });
}

#[test]
fn t136_a_parent_is_copied_up_with_its_own_mode() {
    let modes = [0o700, 0o1777, 0o2755, 0o711];
    over(move |l| {
        for mode in modes {
            let dir = format!("d{mode:o}");
            l.dir(&dir).mode(&dir, mode);
        }
    })
    .test(move |v| {
        for mode in modes {
            v.write(&format!("d{mode:o}/new"), "").unwrap();
            let disk = v.up(&format!("d{mode:o}")).metadata().unwrap();
            assert_eq!(disk.mode() & 0o7777, mode, "{mode:o}");
        }
    });
}

#[test]
fn t068_holes_stay_holes() {
    const GIB: u64 = 1 << 30;
    over(|l| {
        l.sparse("s", GIB, &[(GIB / 2, &[7; 4096])]);
    })
    .test(|v| {
        v.close(v.open("s", flags::WRITE).unwrap());
        let disk = v.up("s").metadata().unwrap();
        assert_eq!(disk.len(), GIB);
        assert!(disk.blocks() * 512 < 1 << 20, "{} blocks", disk.blocks());
        let opened = v.open("s", flags::READ).unwrap();
        let mut data = [0; 4096];
        assert_eq!(v.overlay.read(opened.handle, &mut data, GIB / 2), Ok(4096));
        assert_eq!(data, [7; 4096]);
        v.close(opened);
    });
}

#[test]
fn t075_marks_of_a_lower_directory_stay_there() {
    crate::inprocess::rig::stack(2, |b| {
        b.lower(1).file("d/f", "");
        b.opaque(b.lower(1), "d");
        b.lower(2).file("d/below", "");
    })
    .test(|v| {
        v.chmod("d", 0o700).unwrap();
        assert_eq!(v.upper_mark("d", "opaque"), None, "4.7");
        assert_eq!(v.ls("d").unwrap(), ["f"]);
    });
}

#[test]
fn files_hidden_by_a_copy_are_read_from_the_copy_at_once() {
    over(|l| {
        l.file("f", "old");
    })
    .test(|v| {
        let before = v.open("f", flags::READ).unwrap();
        v.write("f", "new data").unwrap();
        assert_eq!(v.read_handle(before.handle).unwrap(), b"new data", "T088");
        let attr = v
            .overlay
            .getattr(v.id("f").unwrap(), Some(before.handle.into()))
            .unwrap();
        assert_eq!(attr.stat.size, 8);
        v.close(before);
    });
}
