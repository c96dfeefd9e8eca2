//! New objects, in place and over whiteouts (section 11).

use std::os::unix::fs::MetadataExt;

use plyfs::layer::idmap::ShownId;
use plyfs::overlay::change::create::Caller;
use plyfs::sys::errno::Errno;
use plyfs::sys::stat::FileType;

use crate::inprocess::client::me;
use crate::inprocess::rig::{code, is_root, over};
use plyfs::overlay::change::rename::Rename;
use plyfs::overlay::node::ROOT;

const FIFO: u32 = libc::S_IFIFO;

#[test]
fn t028_a_new_file_over_a_whiteout() {
    over(|l| {
        l.file("f", "old");
    })
    .test(|v| {
        v.unlink("f").unwrap();
        let opened = v.create("f", 0o640).unwrap();
        assert_eq!(v.overlay.write(opened.handle, b"new", 0, false), Ok(3));
        v.close(opened);
        assert_eq!(v.read("f").unwrap(), "new");
        let stat = v.stat("f").unwrap().stat;
        assert_eq!(
            (stat.perm, stat.uid, stat.gid),
            (0o640, me().uid.0, me().gid.0)
        );
        assert_eq!(v.upper_paths(), ["f"]);
    });
}

#[test]
fn t029_t030_a_new_directory_over_a_whiteout_shows_nothing_old() {
    over(|l| {
        l.file("d/old", "").file("sub/d/old", "");
    })
    .test(|v| {
        for path in ["d", "sub/d"] {
            v.unlink(&format!("{path}/old")).unwrap();
            v.rmdir(path).unwrap();
            v.mkdir(path).unwrap();
            assert_eq!(v.ls(path).unwrap(), [""; 0]);
            assert_eq!(
                v.upper_mark(path, "opaque").as_deref(),
                Some(&b"y"[..]),
                "4.1"
            );
        }
        v.remount();
        assert_eq!(v.ls("d").unwrap(), [""; 0]);
        assert_eq!(v.ls("sub/d").unwrap(), [""; 0]);
    });
}

#[test]
fn t031_everything_can_be_made_over_a_whiteout() {
    over(|l| {
        l.file("fifo", "")
            .file("link", "")
            .file("symlink", "")
            .file("target", "");
        l.dir("dir").dir("file");
    })
    .test(|v| {
        for path in ["fifo", "link", "symlink"] {
            v.unlink(path).unwrap();
        }
        v.rmdir("dir").unwrap();
        v.rmdir("file").unwrap();
        v.mknod("fifo", FIFO | 0o644, 0).unwrap();
        v.link("target", "link").unwrap();
        v.symlink("symlink", "target").unwrap();
        v.mkdir("dir").unwrap();
        v.write("file", "").unwrap();
        let kinds = ["dir", "fifo", "file", "link", "symlink"].map(|path| v.kind(path).unwrap());
        use FileType::{Dir, Fifo, File, Symlink};
        assert_eq!(kinds, [Dir, Fifo, File, File, Symlink]);
        let whiteouts: Vec<_> = v
            .upper_paths()
            .into_iter()
            .filter(|p| p.contains("whiteout"))
            .collect();
        assert_eq!(whiteouts, [""; 0]);
    });
}

#[test]
fn t032_a_new_name_in_a_merged_directory_gets_no_mark() {
    over(|l| {
        l.file("d/x", "");
    })
    .test(|v| {
        v.mkdir("d/new").unwrap();
        assert_eq!(v.upper_paths(), ["d", "d/new"], "4.5");
    });
}

#[test]
fn names_that_exist_are_not_made_again() {
    over(|l| {
        l.file("f", "").dir("d");
    })
    .test(|v| {
        for path in ["f", "d"] {
            assert_eq!(code(v.create(path, 0o644)), Errno::EEXIST);
            assert_eq!(code(v.mkdir(path)), Errno::EEXIST);
            assert_eq!(code(v.symlink(path, "x")), Errno::EEXIST);
            assert_eq!(code(v.mknod(path, FIFO | 0o600, 0)), Errno::EEXIST);
            assert_eq!(code(v.link("f", path)), Errno::EEXIST);
        }
        assert_eq!(code(v.create("missing/f", 0o644)), Errno::ENOENT);
        assert_eq!(code(v.create("f/x", 0o644)), Errno::ENOTDIR);
    });
}

#[test]
fn t040_nobody_makes_a_whiteout() {
    over(|_| {}).test(|v| {
        assert_eq!(
            code(v.mknod("w", libc::S_IFCHR | 0o600, 0)),
            Errno::EPERM,
            "3.6"
        );
        assert_eq!(v.upper_paths(), [""; 0]);
    });
}

#[test]
fn devices_keep_their_numbers() {
    if !is_root() {
        return; // Devices are for root; `namespaces` said loudly that this is not root.
    }
    over(|_| {}).test(|v| {
        let rdev = plyfs::sys::stat::Rdev {
            major: 259,
            minor: 70_000,
        };
        v.mknod("dev", libc::S_IFBLK | 0o640, rdev.to_encoded())
            .unwrap();
        let stat = v.stat("dev").unwrap().stat;
        assert_eq!(
            (stat.kind, stat.perm, stat.rdev),
            (FileType::Block, 0o640, rdev)
        );
        assert_eq!(
            code(v.open("dev", crate::inprocess::client::flags::READ)),
            Errno::ENXIO
        );
    });
}

#[test]
fn t137_the_umask_is_applied_once_in_place_and_over_a_whiteout() {
    over(|l| {
        l.file("f", "").file("p", "").dir("d");
    })
    .test(|v| {
        v.unlink("f").unwrap();
        v.unlink("p").unwrap();
        v.rmdir("d").unwrap();
        let caller = Caller {
            umask: 0o027,
            ..me()
        };
        for suffix in ["", "-new"] {
            let perm = |path: &str| v.stat(path).unwrap().stat.perm;
            let (f, d, p) = (
                format!("f{suffix}"),
                format!("d{suffix}"),
                format!("p{suffix}"),
            );
            v.close(v.create_as(&f, 0o666, caller).unwrap());
            v.mkdir_as(&d, 0o777, caller).unwrap();
            let (parent, name) = v.slot(&p).unwrap();
            v.met(
                v.overlay
                    .mknod(parent, name, FIFO | 0o666, 0, caller)
                    .unwrap(),
            );
            assert_eq!([perm(&f), perm(&d), perm(&p)], [0o640, 0o750, 0o640]);
        }
    });
}

#[test]
fn t100_a_set_group_id_directory_passes_its_bit_on() {
    over(|l| {
        l.file("d/old", "").dir("d/olddir").mode("d", 0o2755);
    })
    .test(|v| {
        v.unlink("d/old").unwrap();
        v.rmdir("d/olddir").unwrap();
        for (dir, file) in [("d/olddir", "d/old"), ("d/newdir", "d/new")] {
            v.mkdir(dir).unwrap();
            v.write(file, "").unwrap();
            assert_eq!(v.stat(dir).unwrap().stat.perm, 0o2755, "{dir}");
            assert_eq!(v.stat(file).unwrap().stat.perm, 0o644, "{file}");
            assert_eq!(v.stat(dir).unwrap().stat.gid, v.stat("d").unwrap().stat.gid);
        }
    });
}

#[test]
fn new_objects_belong_to_the_caller() {
    if !is_root() {
        return; // Only root may act for others; `namespaces` said loudly that this is not root.
    }
    over(|l| {
        l.file("old", "");
    })
    .test(|v| {
        v.unlink("old").unwrap();
        let caller = Caller {
            uid: ShownId(1234),
            gid: ShownId(4321),
            umask: 0,
        };
        v.close(v.create_as("old", 0o666, caller).unwrap());
        v.mkdir_as("dir", 0o777, caller).unwrap();
        for path in ["old", "dir"] {
            let disk = v.up(path).symlink_metadata().unwrap();
            assert_eq!((disk.uid(), disk.gid()), (1234, 4321), "11.5: {path}");
        }
        let own = rustix::process::geteuid().as_raw();
        v.write("after", "").unwrap();
        assert_eq!(
            v.stat("after").unwrap().stat.uid,
            own,
            "the thread is itself again"
        );
    });
}

#[test]
fn t097_nothing_is_made_in_a_removed_directory() {
    over(|l| {
        l.dir("lower");
    })
    .test(|v| {
        v.mkdir("upper").unwrap();
        for path in ["lower", "upper"] {
            let dir = v.id(path).unwrap();
            v.rmdir(path).unwrap();
            let name = std::ffi::OsStr::new("x");
            assert_eq!(
                code(v.overlay.mkdir(dir, name, 0o755, me())),
                Errno::ENOENT,
                "{path}"
            );
            assert_eq!(code(v.overlay.lookup(dir, name)), Errno::ENOENT, "{path}");
            assert_eq!(v.list(dir).unwrap().len(), 0, "12.6: {path}");
            assert_eq!(v.overlay.getattr(dir, None).unwrap().nlink, 0, "{path}");
        }
    });
}

#[test]
fn t097_nothing_is_moved_into_a_removed_directory() {
    over(|l| {
        l.file("f", "").file("d/inside", "").dir("gone");
    })
    .test(|v| {
        let gone = v.id("gone").unwrap();
        v.rmdir("gone").unwrap();
        let x = std::ffi::OsStr::new("x");
        for name in ["f", "d"] {
            let name = std::ffi::OsStr::new(name);
            let renamed = v.overlay.rename(ROOT, name, gone, x, Rename::Replace);
            assert_eq!(renamed, Err(Errno::ENOENT), "{name:?}");
        }
        let linked = v.overlay.link(v.id("f").unwrap(), gone, x);
        assert_eq!(code(linked), Errno::ENOENT);
        assert!(!v.up("f").exists(), "nothing was copied up");
    });
}

#[test]
fn t031_a_file_without_a_name_gets_one() {
    over(|l| {
        l.file("d/old", "below").dir("other");
    })
    .test(|v| {
        let dir = v.id("d").unwrap();
        v.unlink("d/old").unwrap();
        let make = |linkable| {
            let flags = (libc::O_RDWR, linkable);
            let (entry, opened) = v.overlay.tmpfile(dir, 0o640, flags, me()).unwrap();
            (v.met(entry), opened)
        };
        let (entry, opened) = make(true);
        assert_eq!(entry.attr.nlink, 0);
        assert_eq!(entry.attr.stat.perm, 0o640);
        assert_eq!(v.overlay.write(opened.handle, b"data", 0, false), Ok(4));
        assert_eq!(v.upper_paths(), ["d", "d/old whiteout"], "no name yet");
        // Over a whiteout, then under a second name.
        for (n, path) in ["d/old", "other/new"].into_iter().enumerate() {
            let (parent, name) = v.slot(path).unwrap();
            let linked = v.met(v.overlay.link(entry.id, parent, name).unwrap());
            assert_eq!(linked.id, entry.id, "11.4: the same file");
            assert_eq!(linked.attr.nlink as usize, n + 1);
            assert_eq!(v.read(path).unwrap(), "data");
        }
        v.close(opened);
        v.unlink("d/old").unwrap();
        assert_eq!(v.read("other/new").unwrap(), "data");

        let (entry, opened) = make(false);
        let (parent, name) = v.slot("d/never").unwrap();
        let refused = v.overlay.link(entry.id, parent, name);
        assert_eq!(code(refused), Errno::ENOENT, "O_EXCL");
        v.close(opened);
        let read_only = v.overlay.tmpfile(dir, 0o600, (libc::O_RDONLY, true), me());
        assert_eq!(read_only.map(drop), Err(Errno::EINVAL));
    });
}
