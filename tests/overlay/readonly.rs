//! Mounts without an upper, or that refuse to use it (19.2, T115).

use plyfs::overlay::change::rename::Rename;
use plyfs::sys::errno::Errno;

use crate::inprocess::client::{Client, KEEP, flags};
use crate::inprocess::rig::{code, over, stack};

fn refuses_everything(v: &Client) {
    assert!(v.overlay.is_read_only());
    let all = [
        code(v.create("new", 0o644)),
        code(v.mkdir("new")),
        code(v.symlink("new", "x")),
        code(v.mknod("new", libc::S_IFIFO, 0)),
        code(v.link("f", "new")),
        code(v.unlink("f")),
        code(v.rmdir("d")),
        code(v.mv("f", "new")),
        code(v.rename("f", "g", Rename::Exchange)),
        code(v.setattr("f", KEEP)),
        code(v.open("f", flags::WRITE)),
        code(v.open("f", flags::READ | flags::TRUNC)),
        code(v.set_xattr("f", "user.x", "1")),
        code(v.remove_xattr("f", "user.has")),
    ];
    assert_eq!(all, [Errno::EROFS; 14]);
    assert_eq!(v.read("f").unwrap(), "data");
    assert_eq!(v.ls("").unwrap(), ["d", "f", "g"]);
}

#[test]
fn t115_no_upper_no_changes() {
    stack(2, |b| {
        b.lower(1)
            .file("f", "data")
            .xattr("f", "user.has", "1")
            .dir("d");
        b.lower(2).file("g", "");
    })
    .read_only()
    .test(|v| refuses_everything(v));
}

#[test]
fn ro_shows_the_upper_and_leaves_it_alone() {
    over(|l| {
        l.file("f", "data")
            .xattr("f", "user.has", "1")
            .dir("d")
            .file("gone", "");
    })
    .options(|o| o.read_only = false)
    .test(|v| {
        v.write("g", "").unwrap();
        v.unlink("gone").unwrap();
        v.options.read_only = true;
        v.remount();
        refuses_everything(v);
    });
}

#[test]
fn an_open_on_lower_files_needs_no_upper() {
    over(|l| {
        l.file("f", "data");
    })
    .read_only()
    .test(|v| {
        let opened = v.open("f", flags::READ).unwrap();
        assert!(opened.backing.lower);
        assert_eq!(v.overlay.fsync(opened.handle, false), Ok(()), "18.1");
        v.close(opened);
        assert_eq!(
            code(
                v.overlay
                    .statfs()
                    .map(|s| s.namelen)
                    .and_then(|_| v.stat("x"))
            ),
            Errno::ENOENT
        );
    });
}
