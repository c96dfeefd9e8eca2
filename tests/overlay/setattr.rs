//! chmod, chown, truncate, utimens in one verb (section 16).

use plyfs::layer::idmap::ShownId;
use plyfs::overlay::change::setattr::SetAttr;
use plyfs::sys::at::SetTime;
use plyfs::sys::errno::Errno;
use plyfs::sys::stat::Time;

use crate::inprocess::client::{KEEP, flags};
use crate::inprocess::rig::{code, is_root, over};

#[test]
fn all_at_once() {
    over(|l| {
        l.file("f", "0123456789");
    })
    .test(|v| {
        let time = |sec| {
            SetTime::At(Time {
                sec,
                nsec: 999_999_999,
            })
        };
        let set = SetAttr {
            perm: Some(0o1604),
            size: Some(4),
            atime: time(1),
            mtime: time(-2),
            ..KEEP
        };
        let attr = v.setattr("f", set).unwrap().stat;
        assert_eq!((attr.perm, attr.size), (0o1604, 4));
        assert_eq!((attr.atime.sec, attr.mtime.sec), (1, -2));
        assert_eq!(attr.mtime.nsec, 999_999_999);
        assert_eq!(v.read("f").unwrap(), "0123");
    });
}

#[test]
fn a_cut_through_an_open_file() {
    over(|l| {
        l.file("f", "0123456789");
    })
    .test(|v| {
        let opened = v.open("f", flags::BOTH).unwrap();
        let size = Some(3);
        let set = SetAttr { size, ..KEEP };
        let id = v.id("f").unwrap();
        v.overlay
            .setattr(id, set, Some(opened.handle.into()))
            .unwrap();
        assert_eq!(v.read_handle(opened.handle).unwrap(), b"012");
        let reader = v.open("f", flags::READ).unwrap();
        v.overlay
            .setattr(
                id,
                SetAttr {
                    size: Some(1),
                    ..KEEP
                },
                Some(reader.handle.into()),
            )
            .unwrap();
        assert_eq!(v.read("f").unwrap(), "0");
        v.close(opened);
        v.close(reader);
        assert_eq!(code(v.setattr("", SetAttr { size, ..KEEP })), Errno::EISDIR);
    });
}

#[test]
fn what_has_no_size_is_not_copied_up_to_be_cut() {
    over(|l| {
        l.dir("d").fifo("fifo");
    })
    .test(|v| {
        let size = Some(0);
        assert_eq!(
            code(v.setattr("d", SetAttr { size, ..KEEP })),
            Errno::EISDIR
        );
        assert_eq!(
            code(v.setattr("fifo", SetAttr { size, ..KEEP })),
            Errno::ENXIO
        );
        assert_eq!(v.upper_paths(), [""; 0]);
    });
}

#[test]
fn t098_set_id_bits_go_when_a_stranger_writes() {
    over(|l| {
        for name in ["write", "cut", "open", "kept", "locking"] {
            l.file(name, "data").mode(name, 0o6755);
        }
        l.mode("locking", 0o2745);
    })
    .test(|v| {
        let perm = |path: &str| v.stat(path).unwrap().stat.perm;
        let opened = v.open("write", flags::WRITE).unwrap();
        assert_eq!(perm("write"), 0o6755, "opening alone keeps them");
        v.overlay.write(opened.handle, b"x", 0, true).unwrap();
        v.close(opened);
        let set = SetAttr {
            size: Some(1),
            kill_set_id: true,
            ..KEEP
        };
        v.setattr("cut", set).unwrap();
        v.setattr("locking", set).unwrap();
        let opened = v
            .overlay
            .open(v.id("open").unwrap(), flags::WRITE | flags::TRUNC, true)
            .unwrap();
        v.close(opened);
        assert_eq!(
            [perm("write"), perm("cut"), perm("open"), perm("locking")],
            [0o755, 0o755, 0o755, 0o2745]
        );
        if is_root() {
            v.write("kept", "x").unwrap();
            assert_eq!(perm("kept"), 0o6755, "16.2: root keeps suid");
        }
    });
}

#[test]
fn owners_change_and_set_id_bits_go() {
    if !is_root() {
        return; // Only root gives files away; `namespaces` said loudly that this is not root.
    }
    over(|l| {
        l.file("f", "").mode("f", 0o4755).symlink("s", "f");
    })
    .test(|v| {
        let set = SetAttr {
            uid: Some(ShownId(77)),
            ..KEEP
        };
        let stat = v.setattr("f", set).unwrap().stat;
        assert_eq!((stat.uid, stat.gid, stat.perm), (77, 0, 0o755), "T099");
        let set = SetAttr {
            gid: Some(ShownId(88)),
            perm: Some(0o4755),
            ..KEEP
        };
        let stat = v.setattr("f", set).unwrap().stat;
        assert_eq!((stat.uid, stat.gid, stat.perm), (77, 88, 0o4755));
        let set = SetAttr {
            uid: Some(ShownId(5)),
            gid: Some(ShownId(6)),
            ..KEEP
        };
        let stat = v.setattr("s", set).unwrap().stat;
        assert_eq!((stat.uid, stat.gid), (5, 6), "the link itself");
        assert_eq!(v.stat("f").unwrap().stat.uid, 77);
    });
}
