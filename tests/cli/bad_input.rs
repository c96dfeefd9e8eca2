//! What cannot work is refused in one line, with nothing created and nothing mounted.

use std::fs;

use crate::tool::{Place, in_place, words};

/// Runs one row and insists that nothing changed.
fn refused(place: &Place, line: &str, code: i32, wanted: &[&str]) {
    let before = place.names();
    let line = line.replace("ROOT", place.root.to_str().unwrap());
    place.plyfs(&words(&line)).failed(code, wanted);
    assert_eq!(place.names(), before, "{line}");
    assert_eq!(place.mounts_at("m"), [""; 0], "{line}");
    assert_eq!(place.daemons(), [0; 0], "{line}");
}

const UW: &str = "upperdir=u,workdir=w";

// T113
#[test]
fn words_that_make_no_sense() {
    in_place("words_that_make_no_sense", |place| {
        let rows: &[(&str, i32, &[&str])] = &[
            ("mount -o upperdir=u,workdir=w m", 2, &["lowerdir"]),
            (
                "mount -o lowerdir=l1,upperdir=u m",
                2,
                &["upperdir=u", "workdir"],
            ),
            ("mount -o lowerdir=l1,bogus=1 m", 2, &["bogus=1", "unknown"]),
            (
                "mount -o lowerdir=l1:,upperdir=u,workdir=w m",
                2,
                &["lowerdir=l1:"],
            ),
            ("mount -o lowerdir=:l1 m", 2, &["lowerdir=:l1"]),
            ("mount -o lowerdir=l1:::l2 m", 2, &["lowerdir=l1:::l2"]),
            ("mount -o lowerdir=l1::l2:l3 m", 2, &["lowerdir=l1::l2:l3"]),
            ("mount -o lowerdir=::l1 m", 2, &["lowerdir=::l1"]),
            ("mount -o lowerdir=l1::none m", 1, &["datadir+=", "none"]),
            (
                "mount -o lowerdir=l1,datadir+=l2 m",
                2,
                &["datadir+=l2", "lowerdir="],
            ),
            (
                "mount -o lowerdir=l1,metacopy=on,redirect_dir=off m",
                2,
                &["metacopy=on", "redirect_dir=on"],
            ),
            (
                "mount -o lowerdir=l1,index=off,nfs_export=on m",
                2,
                &["nfs_export=on", "index=on"],
            ),
            (
                "mount -o lowerdir=l1,userxattr,metacopy=on m",
                2,
                &["userxattr"],
            ),
            ("mount -o lowerdir=l1,uidmapping=0:0 m", 2, &["uidmapping"]),
            (
                "mount -o lowerdir=l1,squash_to_uid=nobody m",
                2,
                &["squash_to_uid"],
            ),
            (
                "mount -o lowerdir=l1,xattr_permissions=3 m",
                2,
                &["xattr_permissions=3"],
            ),
            ("mount -o lowerdir=l1", 2, &["MERGED"]),
            ("mount --what m", 2, &["--what"]),
            ("mnt m", 2, &["mnt"]),
            ("umount", 2, &["MERGED"]),
            ("run -- true", 2, &["--lower"]),
        ];
        for (line, code, wanted) in rows {
            refused(place, line, *code, wanted);
        }
    });
}

// T113
#[test]
fn places_that_are_not_there() {
    in_place("places_that_are_not_there", |place| {
        fs::write(place.at("file"), "").unwrap();
        let rows: &[(&str, &[&str])] = &[
            (
                "mount -o lowerdir=l1:nope,UW m",
                &["lowerdir", "nope", "No such file"],
            ),
            (
                "mount -o lowerdir=l1:ROOT/file,UW m",
                &["lowerdir", "file", "Not a directory"],
            ),
            (
                "mount -o lowerdir=l1,upperdir=nope,workdir=w m",
                &["upperdir", "nope", "No such file"],
            ),
            (
                "mount -o lowerdir=l1,upperdir=file,workdir=w m",
                &["upperdir", "file", "Not a directory"],
            ),
            (
                "mount -o lowerdir=l1,upperdir=u,workdir=nope m",
                &["workdir", "nope", "No such file"],
            ),
            (
                "mount -o lowerdir=l1,upperdir=u,workdir=file m",
                &["workdir", "file", "Not a directory"],
            ),
            (
                "mount -o lowerdir=l1,UW nope",
                &["mount point", "nope", "No such file"],
            ),
            (
                "mount -o lowerdir=l1,UW file",
                &["mount point", "file", "Not a directory"],
            ),
            ("umount m", &["m", "not mounted"]),
            ("umount nope", &["nope", "not mounted"]),
            (
                "run --lower nope -- true",
                &["--lower", "nope", "No such file"],
            ),
            (
                "run --lower file -- true",
                &["--lower", "file", "Not a directory"],
            ),
            (
                "run --lower l1 --upper nope --work w -- true",
                &["--upper", "nope"],
            ),
        ];
        for (line, wanted) in rows {
            refused(place, &line.replace("UW", UW), 1, wanted);
        }
    });
}

// T113
#[test]
fn directories_that_get_in_each_others_way() {
    in_place("directories_that_get_in_each_others_way", |place| {
        fs::create_dir(place.at("u/in")).unwrap();
        fs::create_dir(place.at("w/in")).unwrap();
        fs::create_dir(place.at("l1/in")).unwrap();
        let rows: &[(&str, &[&str])] = &[
            (
                "mount -o lowerdir=l1,upperdir=u,workdir=u m",
                &["workdir", "/u"],
            ),
            (
                "mount -o lowerdir=l1,upperdir=u,workdir=u/in m",
                &["workdir", "/u/in"],
            ),
            ("mount -o lowerdir=l1,upperdir=w/in,workdir=w m", &["/w"]),
            ("mount -o lowerdir=l1:l2:l1,UW m", &["lowerdir", "/l1"]),
            ("mount -o lowerdir=l1:l1/in,UW m", &["lowerdir", "/l1"]),
            ("mount -o lowerdir=l1/in:l1,UW m", &["lowerdir", "/l1"]),
            ("mount -o lowerdir=u,UW m", &["lowerdir", "/u"]),
            ("mount -o lowerdir=w,UW m", &["lowerdir", "/w"]),
            ("mount -o lowerdir=u/in,UW m", &["lowerdir", "/u/in"]),
            ("mount -o lowerdir=w/in,UW m", &["lowerdir", "/w/in"]),
        ];
        for (line, wanted) in rows {
            refused(place, &line.replace("UW", UW), 1, wanted);
        }
        // A symlink changes nothing about where a directory is.
        std::os::unix::fs::symlink("l1", place.at("alias")).unwrap();
        refused(
            place,
            &format!("mount -o lowerdir=l1:alias,{UW} m"),
            1,
            &["lowerdir", "alias"],
        );
    });
}

// T113
#[test]
fn upper_and_work_on_different_filesystems() {
    in_place("upper_and_work_on_different_filesystems", |place| {
        place.tmpfs("other");
        fs::create_dir(place.at("other/w")).unwrap();
        let line = "mount -o lowerdir=l1,upperdir=u,workdir=other/w m";
        refused(place, line, 1, &["workdir", "other/w", "same mount"]);
    });
}

// T113
#[test]
fn an_upper_that_cannot_be_written() {
    in_place("an_upper_that_cannot_be_written", |place| {
        let other = place.tmpfs("other");
        for dir in ["u", "w"] {
            fs::create_dir(other.join(dir)).unwrap();
        }
        let read_only = rustix::mount::MountFlags::RDONLY;
        rustix::mount::mount_remount(&other, read_only, c"").unwrap();
        let line = "mount -o lowerdir=l1,upperdir=other/u,workdir=other/w m";
        refused(place, line, 1, &["other/", "Read-only file system"]);
        // As a user who may not write there.
        place.open_device();
        fs::create_dir(place.at("mine")).unwrap();
        let said = place.as_nobody("$P mount -o lowerdir=l1,upperdir=u,workdir=w m");
        said.failed(1, &["ermission"]);
        assert_eq!(place.mounts_at("m"), [""; 0]);
    });
}

#[test]
fn a_busy_mount_point() {
    in_place("a_busy_mount_point", |place| {
        place.mount();
        let line = format!("mount -o lowerdir={} m", place.at("l1").display());
        place
            .plyfs(&words(&line))
            .failed(1, &["mount point", "m", "busy"]);
        assert_eq!(place.mounts_at("m"), ["fuse.plyfs"]);
        place.unmount("m");
    });
}

#[test]
fn no_device() {
    in_place("no_device", |place| {
        // A /dev with hardly anything in it.
        let empty = place.tmpfs("dev");
        fs::write(empty.join("null"), "").unwrap();
        rustix::mount::mount_bind(&empty, "/dev").unwrap();
        let before = place.names();
        let said = place.plyfs(&["mount", "-f", "-o", &place.options(), "m"]);
        said.failed(1, &["/dev/fuse", "No such file", "modprobe fuse"]);
        assert_eq!(place.names(), before);
        rustix::mount::unmount("/dev", rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}

#[test]
fn a_forbidden_device() {
    in_place("a_forbidden_device", |place| {
        place.public_binary();
        place.give_to_nobody();
        place.replace_device(0o600);
        let before = place.names();
        let said = place.as_nobody("$P mount -o lowerdir=l1,upperdir=u,workdir=w m");
        said.failed(1, &["/dev/fuse", "Permission denied", "--device /dev/fuse"]);
        assert_eq!(place.names(), before);
    });
}
