//! Open files: reading, writing, holes, copies, sync (sections 15, 18).

use plyfs::overlay::node::handle::HandleId;
use plyfs::overlay::options::SyncMode;
use plyfs::overlay::view::io::Seek;
use plyfs::sys::errno::Errno;

use crate::inprocess::client::flags;
use crate::inprocess::rig::{code, mount, over};

#[test]
fn t088_t090_old_readers_see_new_data_and_the_lower_file_none() {
    over(|l| {
        l.file("f", "lower");
    })
    .test(|v| {
        let (a, b) = (
            v.open("f", flags::READ).unwrap(),
            v.open("f", flags::READ).unwrap(),
        );
        let writer = v.open("f", flags::BOTH).unwrap();
        v.overlay.write(writer.handle, b"UPPER", 0, false).unwrap();
        let after = v.open("f", flags::READ).unwrap();
        for opened in [&a, &b, &writer, &after] {
            assert_eq!(v.read_handle(opened.handle).unwrap(), b"UPPER");
        }
        for opened in [a, b, writer, after] {
            v.close(opened);
        }
    });
}

#[test]
fn handles_allow_what_they_were_opened_for() {
    over(|l| {
        l.file("f", "data").dir("d").symlink("s", "f");
    })
    .test(|v| {
        let reader = v.open("f", flags::READ).unwrap();
        assert_eq!(
            v.overlay.write(reader.handle, b"x", 0, false),
            Err(Errno::EBADF)
        );
        let writer = v.open("f", flags::WRITE).unwrap();
        assert_eq!(
            v.overlay.write(reader.handle, b"x", 0, false),
            Err(Errno::EBADF),
            "copied up"
        );
        assert_eq!(
            v.overlay.read(writer.handle, &mut [0; 4], 0),
            Err(Errno::EBADF)
        );
        v.close(reader);
        v.close(writer);
        assert_eq!(code(v.open("d", flags::READ)), Errno::EISDIR);
        assert!(v.open("s", flags::READ).is_err());
        let closed = HandleId(u64::MAX);
        assert_eq!(v.overlay.read(closed, &mut [0; 4], 0), Err(Errno::EBADF));
        v.overlay.release(closed);
    });
}

#[test]
fn reads_end_where_the_file_ends() {
    over(|l| {
        l.file("f", "0123456789");
    })
    .test(|v| {
        let opened = v.open("f", flags::BOTH).unwrap();
        let mut buf = [0; 8];
        assert_eq!(v.overlay.read(opened.handle, &mut buf, 4), Ok(6));
        assert_eq!(&buf[..6], b"456789");
        assert_eq!(v.overlay.read(opened.handle, &mut buf, 10), Ok(0));
        assert_eq!(v.overlay.write(opened.handle, b"end", 12, false), Ok(3));
        assert_eq!(v.read_handle(opened.handle).unwrap(), b"0123456789\0\0end");
        v.close(opened);
    });
}

#[test]
fn holes_are_found_before_and_after_copyup() {
    over(|l| {
        l.sparse("f", 1 << 20, &[(1 << 19, &[1; 4096])]);
    })
    .test(|v| {
        let reader = v.open("f", flags::READ).unwrap();
        for _ in ["lower", "upper"] {
            let seek = |at, whence| v.overlay.lseek(reader.handle, at, whence);
            assert_eq!(seek(0, Seek::Data), Ok(1 << 19));
            assert_eq!(seek(0, Seek::Hole), Ok(0));
            assert_eq!(seek(1 << 19, Seek::Hole), Ok((1 << 19) + 4096));
            assert_eq!(seek(1 << 20, Seek::Data), Err(Errno::ENXIO));
            v.close(v.open("f", flags::WRITE).unwrap());
        }
        v.close(reader);
    });
}

#[test]
fn t063_ranges_are_copied_without_copying_the_source_up() {
    over(|l| {
        l.file("from", "0123456789");
    })
    .test(|v| {
        let from = v.open("from", flags::READ).unwrap();
        let to = v.create("to", 0o644).unwrap();
        let copy = |a: HandleId, b: HandleId| v.overlay.copy_file_range((a, 2), (b, 1), 5, false);
        assert_eq!(copy(from.handle, to.handle), Ok(5));
        assert_eq!(v.read_handle(to.handle).unwrap(), b"\x0023456");
        assert_eq!(copy(to.handle, from.handle), Err(Errno::EBADF));
        v.close(from);
        v.close(to);
        assert_eq!(v.upper_paths(), ["to"]);
    });
}

#[test]
fn space_is_allocated_in_the_upper_file() {
    over(|l| {
        l.file("f", "x");
    })
    .test(|v| {
        let opened = v.open("f", flags::WRITE).unwrap();
        v.overlay
            .fallocate(opened.handle, 0, (0, 8192), false)
            .unwrap();
        assert_eq!(v.stat("f").unwrap().stat.size, 8192);
        v.close(opened);
        let reader = v.open("f", flags::READ).unwrap();
        assert_eq!(
            v.overlay.fallocate(reader.handle, 0, (0, 1), false),
            Err(Errno::EBADF)
        );
        v.close(reader);
    });
}

#[test]
fn t110_sync_works_on_everything_that_is_open() {
    for sync in [SyncMode::Auto, SyncMode::Strict] {
        over(|l| {
            l.file("d/lower", "").dir("other");
        })
        .options(move |o| o.sync = sync)
        .test(|v| {
            let (lower, upper) = (
                v.open("d/lower", flags::READ).unwrap(),
                v.create("d/upper", 0o644).unwrap(),
            );
            for opened in [&lower, &upper] {
                assert_eq!(v.overlay.fsync(opened.handle, false), Ok(()));
                assert_eq!(v.overlay.fsync(opened.handle, true), Ok(()));
            }
            v.close(lower);
            v.close(upper);
            v.mkdir("gone").unwrap();
            for path in ["d", "other", "gone"] {
                let dir = v.id(path).unwrap();
                if path == "gone" {
                    v.rmdir(path).unwrap();
                }
                assert_eq!(v.overlay.fsyncdir(dir, false), Ok(()), "{path}");
            }
        });
    }
}

#[test]
fn t111_a_volatile_mount_cannot_be_followed_by_another() {
    over(|l| {
        l.file("f", "");
    })
    .options(|o| o.sync = SyncMode::Volatile)
    .ends_here()
    .test(|v| {
        v.write("f", "x").unwrap();
        let opened = v.open("f", flags::WRITE).unwrap();
        assert_eq!(v.overlay.fsync(opened.handle, false), Ok(()));
        v.close(opened);
        let mut again = v.options.clone();
        v.forget_all();
        let error = mount(&again).err().unwrap().to_string();
        assert!(error.contains("in use"), "T114: {error}");
        again.read_only = true;
        assert_eq!(
            mount(&again).unwrap().read("f").unwrap(),
            "x",
            "a read-only view needs no work directory"
        );
    });
}

#[test]
fn statfs_is_that_of_the_upper() {
    over(|_| {}).test(|v| {
        let (shown, disk) = (
            v.overlay.statfs().unwrap(),
            rustix::fs::statvfs(v.up("")).unwrap(),
        );
        assert_eq!((shown.blocks, shown.namelen), (disk.f_blocks, 255));
        assert_eq!(shown.files, disk.f_files, "19.1");
    });
}
