//! Files and directories that lost their last name while somebody knows them (15.2, 15.3, 22.3).

use plyfs::overlay::change::setattr::SetAttr;
use plyfs::sys::errno::Errno;

use crate::inprocess::client::{KEEP, flags};
use crate::inprocess::rig::over;

#[test]
fn t092_an_open_lower_file_lives_on_and_can_even_be_changed() {
    over(|l| {
        l.file("f", "lower");
    })
    .test(|v| {
        let id = v.id("f").unwrap();
        let opened = v.open("f", flags::READ).unwrap();
        v.unlink("f").unwrap();
        assert_eq!(v.read_handle(opened.handle).unwrap(), b"lower");
        assert_eq!(
            v.overlay
                .getattr(id, Some(opened.handle.into()))
                .unwrap()
                .nlink,
            0
        );
        v.write("f", "another").unwrap();
        assert_ne!(v.id("f").unwrap(), id);
        let perm = Some(0o600);
        let attr = v
            .overlay
            .setattr(id, SetAttr { perm, ..KEEP }, Some(opened.handle.into()))
            .unwrap();
        assert_eq!(
            (attr.stat.perm, attr.nlink),
            (0o600, 0),
            "copied up without a name"
        );
        assert_eq!(v.read_handle(opened.handle).unwrap(), b"lower");
        let writer = v.overlay.open(id, flags::WRITE, false).unwrap();
        v.overlay.write(writer.handle, b"LOW", 0, false).unwrap();
        assert_eq!(v.read_handle(opened.handle).unwrap(), b"LOWer");
        assert_eq!(v.read("f").unwrap(), "another");
        v.close(writer);
        v.close(opened);
    });
}

#[test]
fn t093_an_unlinked_upper_file_works_in_full() {
    over(|_| {}).test(|v| {
        let opened = v.create("f", 0o644).unwrap();
        let id = v.id("f").unwrap();
        v.unlink("f").unwrap();
        v.overlay.write(opened.handle, b"data", 0, false).unwrap();
        let set = SetAttr {
            size: Some(2),
            perm: Some(0o640),
            ..KEEP
        };
        let attr = v.overlay.setattr(id, set, None).unwrap();
        assert_eq!((attr.nlink, attr.stat.size, attr.stat.perm), (0, 2, 0o640));
        assert_eq!(v.read_node(id).unwrap(), "da", "opened again by its node");
        v.overlay
            .setxattr(
                id,
                std::ffi::OsStr::new("user.a"),
                b"1",
                plyfs::sys::xattr::XattrMode::Any,
            )
            .unwrap();
        assert_eq!(v.xattr_of(id, "user.a").unwrap(), b"1");
        v.close(opened);
        assert_eq!(v.upper_paths(), [""; 0]);
    });
}

#[test]
fn a_number_that_comes_back_is_another_file() {
    over(|_| {}).test(|v| {
        v.write("a", "first").unwrap();
        let old = v.id("a").unwrap();
        v.unlink("a").unwrap();
        for n in 0..50 {
            let name = format!("n{n}");
            v.write(&name, &name).unwrap();
            assert_ne!(v.id(&name).unwrap(), old);
            assert_eq!(v.read(&name).unwrap(), name);
        }
        assert_eq!(v.read_node(old).unwrap(), "first");
    });
}

#[test]
fn symlinks_and_directories_answer_too() {
    over(|l| {
        l.symlink("ls", "lower target").dir("ld");
    })
    .test(|v| {
        v.symlink("us", "upper target").unwrap();
        v.mkdir("ud").unwrap();
        for (path, target) in [("ls", "lower target"), ("us", "upper target")] {
            let id = v.id(path).unwrap();
            v.unlink(path).unwrap();
            assert_eq!(v.overlay.readlink(id).unwrap(), target.as_bytes());
            assert_eq!(v.overlay.getattr(id, None).unwrap().nlink, 0);
        }
        for path in ["ld", "ud"] {
            let id = v.id(path).unwrap();
            v.rmdir(path).unwrap();
            let perm = Some(0o700);
            let changed = v.overlay.setattr(id, SetAttr { perm, ..KEEP }, None);
            assert!(
                matches!(changed, Ok(_) | Err(Errno::ENOENT)),
                "{path}: {changed:?}"
            );
            assert!(v.overlay.getattr(id, None).is_ok(), "{path}");
        }
    });
}
