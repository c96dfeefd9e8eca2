//! Mapped owners, T124, and owners kept in attributes, T125. The kernel's overlay has neither (but idmapped mounts), so
//! there is no judge.

use super::support::scenario::Scenario;
use super::support::snapshot::xattrs;
use super::support::steps::{Errno, FileType, Steps};

const WHY: &str = "the kernel's overlay has no such options (21)";
/// Users 0 to 99 are shown from 1000 on, groups from 2000 on.
const MAPS: &str = "uidmapping=:0:1000:100,gidmapping=0:2000:100";
/// user::rwx user:ID:rwx group::r-x group:ID:r-- mask::rwx other::--x
fn acl(user: u32, group: u32) -> Vec<u8> {
    let none = u32::MAX;
    let entries: [(u16, u16, u32); 6] = [
        (1, 7, none),
        (2, 7, user),
        (4, 5, none),
        (8, 4, group),
        (16, 7, none),
        (32, 1, none),
    ];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(perm.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[test]
fn t124_what_is_shown_and_what_is_stored() {
    Scenario::new(
        "T124",
        "mapped ids are shown; chown stores the inverse; an unmapped id is 65534, and refused",
    )
    .plyfs_only(WHY)
    .options(MAPS, "")
    .layers(|l| {
        for name in ["chown", "write", "refused", "dir/below"] {
            l.lower(1).file(name, "x").owner(name, 33, 44);
        }
        l.lower(1)
            .owner("dir", 5, 6)
            .file("stranger", "x")
            .owner("stranger", 5000, 100)
            .symlink("link", "chown")
            .owner("link", 1, 2);
        l.upper().file("up", "x").owner("up", 99, 0);
    })
    .steps(|s| {
        s.stat("").is("dir 0755 1000:2000");
        s.stat("chown").is("file 0644 1033:2044 1");
        s.stat("dir").is("dir 0755 1005:2006");
        s.stat("link").is("symlink 0777 1001:2002");
        s.stat("up").is("file 0644 1099:2000 1");
        s.stat("stranger").is("file 0644 65534:65534 1");
        let open = s.opened("chown", "r");
        s.fstat(&open).is("file 0644 1033:2044 1");

        s.chown("chown", Some(1005), None).ok();
        s.upper("chown").is("file 0644 5:44 1");
        s.chown("chown", None, Some(2007)).ok();
        s.upper("chown").is("file 0644 5:7 1");
        s.fstat(&open).is("file 0644 1005:2007 1");
        s.chown("up", Some(1000), Some(2099)).ok();
        s.upper("up").is("file 0644 0:99 1");
        s.chown("link", Some(1003), Some(2003)).ok();
        s.upper("link").is("symlink 0777 3:3");

        for (uid, gid) in [(Some(33), None), (None, Some(1044)), (Some(65534), None)] {
            s.chown("refused", uid, gid).fails(Errno::OVERFLOW);
        }
        s.upper("refused").is("absent");
        s.stat("refused").is("file 0644 1033:2044 1");

        // A copy-up changes no owner on disk, mapped or not.
        s.write("write", "X").ok();
        s.upper("write").is("file 0644 33:44 1");
        s.write("stranger", "X").ok();
        s.upper("stranger").is("file 0644 5000:100 1");
        s.stat("stranger").is("file 0644 65534:65534 1");
        s.chmod("dir/below", 0o600).ok();
        s.upper("dir").is("dir 0755 5:6");
        s.upper("dir/below").is("file 0600 33:44 1");
    });
}

#[test]
fn t124_what_callers_make() {
    Scenario::new(
        "T124",
        "new objects are stored under the inverse of the caller's ids; permissions go by what is shown",
    )
    .plyfs_only(WHY)
    .options(MAPS, "")
    .layers(|l| {
        l.lower(1)
            .file("d/file", "x")
            .file("d/dir/in", "x")
            .mode("d", 0o2777)
            .owner("d", 7, 8)
            .file("private", "x")
            .mode("private", 0o600)
            .owner("private", 50, 50);
    })
    .steps(|s| {
        s.create("d/by-root", "x").fails(Errno::OVERFLOW);
        s.mkdir("d/by-root").fails(Errno::OVERFLOW);
        s.upper("d").is("absent");
        s.as_user(1050, 2050, |s| {
            s.create("d/new", "x").ok();
            s.mkdir("d/newdir").ok();
            s.symlink("d/newlink", "t").ok();
            s.mknod("d/newfifo", FileType::Fifo, (0, 0)).ok();
            s.unlink("d/file").ok();
            s.create("d/file", "over a whiteout").ok();
            s.create("plain", "x").fails(Errno::ACCESS);
            s.write("private", "X").ok();
            s.chmod("private", 0o640).ok();
        });
        s.as_user(50, 50, |s| {
            s.read("private").fails(Errno::ACCESS);
            s.create("d/unmapped", "x").fails(Errno::OVERFLOW);
        });
        s.as_user(1000, 2000, |s| s.create("plain", "x").ok());
        s.stat("d/new").is("file 0644 1050:2008 1");
        s.stat("d/newdir").is("dir 2755 1050:2008");
        s.upper("d/new").is("file 0644 50:8 1");
        s.upper("d/newdir").is("dir 2755 50:8");
        s.upper("d/newlink").is("symlink 0777 50:8");
        s.upper("d/newfifo").is("fifo 0644 50:8");
        s.upper("d/file").is("file 0644 50:8 15");
        s.upper("private").is("file 0640 50:50 1");
        s.upper("plain").is("file 0644 0:0 1");
    });
}

#[test]
fn t124_acls() {
    Scenario::new("T124", "the ids in ACLs are mapped as owners are")
        .plyfs_only(WHY)
        .options(MAPS, "")
        .layers(|l| {
            for name in ["shown", "set"] {
                l.lower(1).file(name, "x").mode(name, 0o600);
            }
            l.lower(1).xattr("shown", ACL, acl(33, 44));
        })
        .steps(|s| {
            let at = s.at("shown");
            let seen = xattrs(&at).unwrap();
            s.check("the ACL is mapped", seen[ACL] == acl(1033, 2044))
                .holds();
            s.as_user(1033, 9, |s| s.write("shown", "X").ok());
            s.as_user(33, 9, |s| s.write("shown", "X").fails(Errno::ACCESS));
            s.setx_bytes("set", ACL, &acl(33, 2044)).fails(Errno::INVAL);
            s.upper("set").is("absent");
            s.setx_bytes("set", ACL, &acl(1001, 2002)).ok();
            for (name, wanted) in [("shown", acl(33, 44)), ("set", acl(1, 2))] {
                let stored = xattrs(&s.layers.upper().at(name)).unwrap();
                s.check("the ACL is stored", stored[ACL] == wanted).holds();
            }
            s.delx("set", ACL).ok();
            s.listx("set").is("");
        });
}

#[test]
fn t124_squashed_owners() {
    Scenario::new(
        "T124",
        "squashing is for show: uid and gid win over root, and what is stored is what callers gave",
    )
    .plyfs_only(WHY)
    .options("squash_to_root,squash_to_gid=77", "")
    .layers(|l| {
        l.lower(1)
            .file("f", "x")
            .owner("f", 33, 44)
            .dir("d")
            .mode("d", 0o1777)
            .owner("d", 3, 4);
    })
    .steps(|s| {
        s.stat("f").is("file 0644 0:77 1");
        s.stat("d").is("dir 1777 0:77");
        s.write("f", "X").ok();
        s.upper("f").is("file 0644 33:44 1");
        s.chown("f", Some(5), Some(6)).ok();
        s.upper("f").is("file 0644 5:6 1");
        s.stat("f").is("file 0644 0:77 1");
        s.as_user(1000, 1000, |s| {
            s.create("d/mine", "x").ok();
            s.write("f", "X").fails(Errno::ACCESS);
        });
        s.stat("d/mine").is("file 0644 0:77 1");
        s.upper("d/mine").is("file 0644 1000:1000 1");
    });
}

const KEPT: &str = "user.containers.override_stat";
const ACL: &str = "system.posix_acl_access";

/// An object of the upper layer is a harmless one of the mounter, and this is kept with it.
fn kept(s: &mut Steps, name: &str, wanted: &str) {
    let disk = s.layers.upper().at(name);
    let value = xattrs(&disk).unwrap().remove(KEPT).unwrap_or_default();
    let value = String::from_utf8(value).unwrap();
    let holds = value == wanted;
    s.check(&format!("{name} has {value:?} for {wanted:?}"), holds)
        .holds();
    let kind = if disk.is_dir() {
        "dir 0700 0:0"
    } else {
        "file 0600 0:0"
    };
    let text = super::support::words::on_disk(&disk).unwrap();
    let holds = text.starts_with(kind);
    s.check(&format!("{name} is {text:?} on disk"), holds)
        .holds();
}

#[test]
fn t125_copies_and_changes() {
    Scenario::new(
        "T125",
        "owner, mode and device go to an attribute; the file on disk is harmless",
    )
    .plyfs_only(WHY)
    .options("xattr_permissions=2", "")
    .layers(|l| {
        let char = FileType::CharacterDevice;
        l.lower(1)
            .file("set", "x")
            .owner("set", 33, 44)
            .mode("set", 0o6777)
            .node("null", char, (1, 3))
            .fifo("fifo")
            .symlink("link", "set")
            .owner("link", 5, 6)
            .file("dir/in", "x")
            .owner("dir", 7, 8)
            .mode("dir", 0o1777);
        l.lower(1).xattr("set", "user.mine", "1");
    })
    .steps(|s| {
        s.stat("set").is("file 6777 33:44 1");
        s.write("set", "X").ok();
        kept(s, "set", "33:44:6777:file");
        s.as_user(1000, 1000, |s| s.write("set", "Y").ok());
        kept(s, "set", "33:44:0777:file");
        s.chmod("set", 0o4755).ok();
        s.stat("set").is("file 4755 33:44 1");
        s.chown("set", Some(9), None).ok();
        kept(s, "set", "9:44:0755:file");
        s.stat("set").is("file 0755 9:44 1");
        let open = s.opened("set", "rw");
        s.fchmod(&open, 0o600).ok();
        s.fstat(&open).is("file 0600 9:44 1");
        s.as_user(1000, 1000, |s| s.read("set").fails(Errno::ACCESS));
        s.as_user(9, 9, |s| s.read("set").is("\"Y\""));

        s.chmod("null", 0o660).ok();
        kept(s, "null", "0:0:0660:char-1-3");
        s.stat("null").is("char 0660 0:0 1:3");
        s.chown("fifo", Some(3), Some(4)).ok();
        kept(s, "fifo", "3:4:0644:pipe");
        s.chmod("dir/in", 0o640).ok();
        kept(s, "dir", "7:8:1777:dir");
        kept(s, "dir/in", "0:0:0640:file");
        s.stat("dir").is("dir 1777 7:8");
        s.chown("link", Some(1), Some(2)).ok();
        s.stat("link").is("symlink 0777 1:2");

        s.listx("set").is("user.mine");
        s.getx("set", KEPT).fails(Errno::NODATA);
        s.delx("set", KEPT).fails(Errno::NODATA);
        s.setx("set", KEPT, "0:0:4755:file").fails(Errno::PERM);
        s.setx_bytes("set", ACL, &acl(1, 2)).fails(Errno::OPNOTSUPP);
        s.rename("null", "dir/null").ok();
        s.link("fifo", "dir/fifo").ok();
        s.stat("dir/null").is("char 0660 0:0 1:3");
    });
}

#[test]
fn t125_new_objects() {
    Scenario::new(
        "T125",
        "umask, owner, group and set-group-id of new objects are as without the option",
    )
    .plyfs_only(WHY)
    .options("xattr_permissions=2", "")
    .layers(|l| {
        l.lower(1)
            .file("dir/file", "x")
            .file("dir/sub/x", "x")
            .owner("dir", 7, 8)
            .mode("dir", 0o2777);
    })
    .steps(|s| {
        s.as_user(1000, 1001, |s| {
            s.create("dir/new", "new").ok();
            s.mkdir("dir/newdir").ok();
            s.symlink("dir/newlink", "t").ok();
            s.mknod("dir/newfifo", FileType::Fifo, (0, 0)).ok();
            s.unlink("dir/file").ok();
            s.create("dir/file", "over").ok();
            s.create("denied", "x").fails(Errno::ACCESS);
        });
        kept(s, "dir", "7:8:2777:dir");
        kept(s, "dir/new", "1000:8:0644:file");
        kept(s, "dir/file", "1000:8:0644:file");
        kept(s, "dir/newdir", "1000:8:2755:dir");
        kept(s, "dir/newfifo", "1000:8:0644:pipe");
        s.stat("dir/newlink").is("symlink 0777 1000:8");
        s.unlink("dir/sub/x").ok();
        s.rmdir("dir/sub").ok();
        s.mkdir("dir/sub").ok();
        kept(s, "dir/sub", "0:8:2755:dir");
        s.ls("dir/sub").is("");
        s.mknod("null", FileType::CharacterDevice, (1, 3)).ok();
        s.mknod("disk", FileType::BlockDevice, (259, 7)).ok();
        kept(s, "null", "0:0:0644:char-1-3");
        s.stat("null").is("char 0644 0:0 1:3");
        s.stat("disk").is("block 0644 0:0 259:7");
        s.mknod("whiteout", FileType::CharacterDevice, (0, 0))
            .fails(Errno::PERM);
        let root = xattrs(&s.layers.upper().at("")).unwrap();
        s.check("the root is marked", root[KEPT] == b"0:0:0755:dir")
            .holds();
    });
}

#[test]
fn t125_layers_of_other_writers() {
    Scenario::new(
        "T125",
        "layers whose root has the attribute are read by it, each in its own form",
    )
    .lowers(4)
    .plyfs_only(WHY)
    .options("xattr_permissions=2,uidmapping=0:1000:100", "")
    .layers(|l| {
        let forms = [
            KEPT,
            "user.fuseoverlayfs.override_stat",
            "security.fuseoverlayfs.override_stat",
        ];
        for (n, form) in (1..).zip(forms) {
            let (dir, root) = (format!("d{n}"), format!("{n}:{n}:0751:dir"));
            let at = |name: &str| format!("{dir}/{name}");
            let layer = || l.lower(n);
            layer()
                .file(&at("f"), "x")
                .file(&at("null"), "")
                .file(&at("bad"), "");
            layer().file(&at("plain"), "").mode(&at("plain"), 0o604);
            layer().xattr("", form, &root).xattr(&dir, form, &root);
            layer().xattr(&at("f"), form, "5:6:4711");
            layer().xattr(&at("null"), form, "0:0:0666:char-1-3");
            layer().xattr(&at("bad"), form, "0:0:0666:door");
        }
        l.lower(4)
            .file("own/f", "x")
            .xattr("own/f", KEPT, "5:6:4711");
    })
    .steps(|s| {
        for n in 1..=3 {
            let at = |name: &str| format!("d{n}/{name}");
            s.stat(&at("")).is(&format!("dir 0751 100{n}:{n}"));
            s.stat(&at("f")).is("file 4711 1005:6 1");
            s.stat(&at("null")).is("char 0666 1000:0 1:3");
            s.stat(&at("plain")).is("file 0604 1000:0 0");
            s.stat(&at("bad")).fails(Errno::IO);
            s.chown(&at("f"), Some(1007), None).ok();
            kept(s, &at("f"), "7:6:0711:file");
            s.chmod(&at("null"), 0o600).ok();
            kept(s, &at("null"), "0:0:0600:char-1-3");
            s.listx(&at("f")).is("");
        }
        // This layer does not say that it keeps anything so.
        s.stat("own/f").is("file 0644 1000:0 1");
        let root = xattrs(&s.layers.upper().at("")).unwrap();
        s.check(
            "the root is that of the top-most layer",
            root[KEPT] == b"1:1:0751:dir",
        )
        .holds();
    });
}
