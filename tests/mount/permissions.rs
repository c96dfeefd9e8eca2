//! Who may do what, and what is taken away on the way: T098-T104.

use super::support::scenario::Scenario;
use super::support::steps::{Errno, Steps};

/// cap_net_raw+ep, version 2.
const CAPABILITY: &[u8] =
    b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
/// user::rwx user:1000:rwx group::r-x mask::rwx other::--x
const ACL: &[u8] = b"\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x07\x00\xe8\x03\x00\x00\
    \x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x01\x00\xff\xff\xff\xff";

#[test]
fn t098_privileges_go_with_a_write() {
    Scenario::new(
        "T098",
        "suid, sgid and capabilities go with a write by another user, stay on open and for root",
    )
    .layers(|l| {
        for (layer, side) in [(l.lower(1), "low"), (l.upper(), "up")] {
            for what in [
                "write", "open", "root", "truncate", "chown", "nobody", "punch", "range",
            ] {
                let name = format!("{side}-{what}");
                layer.file(&name, "program").mode(&name, 0o6777);
            }
            for what in ["capwrite", "capopen"] {
                let name = format!("{side}-{what}");
                layer.file(&name, "program").mode(&name, 0o777).xattr(
                    &name,
                    "security.capability",
                    CAPABILITY,
                );
            }
        }
    })
    .steps(|s| {
        for side in ["low", "up"] {
            let name = |what: &str| format!("{side}-{what}");
            s.as_user(1000, 1000, |s| {
                s.write(&name("write"), "P").ok();
                s.open(&name("open"), "rw").ok();
                s.truncate(&name("truncate"), 3).ok();
                s.allocate(&name("punch"), true).ok();
                s.copy_range(&name("open"), &name("range")).is("3");
                s.write(&name("capwrite"), "P").ok();
                s.open(&name("capopen"), "rw").ok();
            });
            s.write(&name("root"), "P").ok();
            s.chown(&name("chown"), Some(5), None).ok();
            // EPERM on the kernel; FUSE does not tell it from the first step of a write.
            s.as_user(1000, 1000, |s| {
                let nobody = rustix::fs::chown(s.at(&name("nobody")), None, None);
                s.check(
                    "refused or ignored",
                    nobody.is_ok() || nobody == Err(Errno::PERM),
                )
                .holds();
            });
            s.stat(&name("nobody")).is("file 6777 0:0 7");
            s.chown(&name("nobody"), None, None).ok();
            s.stat(&name("write")).is("file 0777 0:0 7");
            s.stat(&name("nobody")).is("file 0777 0:0 7");
            s.stat(&name("punch")).is("file 0777 0:0 7");
            s.stat(&name("range")).is("file 0777 0:0 7");
            s.stat(&name("open")).is("file 6777 0:0 7");
            s.stat(&name("root")).is("file 6777 0:0 7");
            s.stat(&name("truncate")).is("file 0777 0:0 3");
            s.stat(&name("chown")).is("file 0777 5:0 7");
            s.getx(&name("capwrite"), "security.capability")
                .fails(Errno::NODATA);
            s.getx(&name("capopen"), "security.capability").noted();
        }
    });
}

#[test]
fn t098_privileges_go_with_an_attempt() {
    Scenario::new(
        "T098",
        "set-id bits go with a fallocate that then fails, and that shows at once",
    )
    .on_tmpfs_of("4m")
    .layers(|l| {
        l.lower(1).file("f", "data").mode("f", 0o6777);
    })
    .steps(|s| {
        let open = s.opened("f", "rw");
        s.stat("f").is("file 6777 0:0 4");
        s.as_user(1000, 1000, |s| {
            let file = open.get().expect("opened above");
            let much = rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, 1 << 23);
            s.check("no space", much == Err(Errno::NOSPC)).holds();
        });
        s.stat("f").is("file 0777 0:0 4");
    });
}

#[test]
fn t098_privileges_given_to_an_open_file() {
    Scenario::new(
        "T098",
        "set-id bits that a file gets while it is open go with the next write through that descriptor",
    )
    .layers(|l| {
        l.upper().file("up", "data").mode("up", 0o666);
        l.lower(1).file("low", "data").mode("low", 0o666);
    })
    .steps(|s| {
        for name in ["up", "low"] {
            let mut open = None;
            s.as_user(1000, 1000, |s| open = Some(s.opened(name, "rw")));
            let open = open.expect("opened above");
            s.chmod(name, 0o6777).ok();
            s.as_user(1000, 1000, |s| s.fwrite(&open, 0, "evil").ok());
            s.stat(name).is("file 0777 0:0 4");
            s.fstat(&open).is("file 0777 0:0 4");
        }
    });
}

#[test]
fn t099_chown_and_chmod() {
    Scenario::new(
        "T099",
        "chown takes set-id bits; chmod g+s by a non-member drops it; strangers may change nothing",
    )
    .layers(|l| {
        for (layer, side) in [(l.lower(1), "low"), (l.upper(), "up")] {
            for who in ["root", "owner"] {
                let name = format!("{side}-{who}");
                layer.file(&name, "x").owner(&name, 1000, 2000);
                layer.mode(&name, 0o6755);
            }
            // Not to be run by its group: the bit means something else.
            let name = format!("{side}-locking");
            layer.file(&name, "x").mode(&name, 0o2745);
        }
        l.lower(1)
            .file("mine", "x")
            .owner("mine", 1000, 2000)
            .file("theirs", "x")
            .owner("theirs", 3, 3);
    })
    .steps(|s| {
        s.as_user(1000, 1000, |s| {
            s.chmod("mine", 0o2755).ok();
            s.chmod("theirs", 0o777).fails(Errno::PERM);
            s.chown("theirs", Some(1000), None).fails(Errno::PERM);
            s.chown("mine", Some(5), None).fails(Errno::PERM);
            s.chown("mine", None, Some(1000)).ok();
            s.utimens("theirs", Some(5)).fails(Errno::PERM);
            s.setx("theirs", "user.a", "1").fails(Errno::ACCESS);
            s.setx("mine", "trusted.a", "1").fails(Errno::PERM);
        });
        s.stat("mine").is("file 0755 1000:1000 1");
        s.upper("theirs").is("absent");
        for side in ["low", "up"] {
            let name = |who: &str| format!("{side}-{who}");
            s.chown(&name("root"), Some(0), None).ok();
            s.stat(&name("root")).is("file 0755 0:2000 1");
            s.as_user(1000, 1000, |s| {
                s.chown(&name("owner"), None, Some(1000)).ok();
            });
            s.stat(&name("owner")).is("file 0755 1000:1000 1");
            s.chown(&name("locking"), Some(7), None).ok();
            s.stat(&name("locking")).noted();
        }
    });
}

#[test]
fn t100_sgid_directories() {
    Scenario::new(
        "T100",
        "what is made in a sgid directory has its group, over whiteouts too",
    )
    .layers(|l| {
        l.lower(1)
            .file("d/file", "x")
            .file("d/dir", "x")
            .mode("d", 0o2777)
            .owner("d", 7, 8);
    })
    .steps(|s| {
        s.as_user(1000, 1001, |s| {
            s.unlink("d/file").ok();
            s.unlink("d/dir").ok();
            s.create("d/file", "new").ok();
            s.mkdir("d/dir").ok();
            s.mkdir("d/dir/inner").ok();
            s.create("d/dir/inner/f", "x").ok();
        });
        s.stat("d/file").is("file 0644 1000:8 3");
        s.stat("d/dir").is("dir 2755 1000:8");
        s.stat("d/dir/inner/f").is("file 0644 1000:8 1");
    });
}

/// The same questions for a lower and an upper tree.
fn t102_steps(s: &mut Steps, side: &str) {
    let at = |name: &str| format!("{side}/{name}");
    s.as_user(1000, 1000, |s| {
        s.stat(&at("private/f")).fails(Errno::ACCESS);
        s.ls(&at("private")).fails(Errno::ACCESS);
        s.create(&at("private/new"), "x").fails(Errno::ACCESS);
        s.write(&at("drop"), "D").ok();
        s.read(&at("drop")).fails(Errno::ACCESS);
        s.read(&at("secret")).fails(Errno::ACCESS);
        s.write(&at("readable"), "x").fails(Errno::ACCESS);
        s.unlink(&at("readable")).fails(Errno::ACCESS);
        s.read(&at("acl")).is("\"x\"");
        s.write(&at("acl"), "y").ok();
    });
    s.read(&at("drop")).is("\"Drop\"");
}

#[test]
fn t102_access() {
    Scenario::new(
        "T102",
        "mode and ACL decide, on lower and upper objects alike",
    )
    .layers(|l| {
        for (layer, side) in [(l.lower(1), "low"), (l.upper(), "up")] {
            let at = |name: &str| format!("{side}/{name}");
            layer
                .file(&at("private/f"), "x")
                .mode(&at("private"), 0o700);
            layer.file(&at("drop"), "drop").mode(&at("drop"), 0o222);
            layer
                .file(&at("secret"), "x")
                .mode(&at("secret"), 0o600)
                .file(&at("readable"), "x");
            layer.file(&at("acl"), "x").mode(&at("acl"), 0o700);
            layer.xattr(&at("acl"), "system.posix_acl_access", ACL);
        }
    })
    .steps(|s| {
        t102_steps(s, "low");
        t102_steps(s, "up");
    });
}

#[test]
fn t103_sticky_directories() {
    Scenario::new(
        "T103",
        "in a sticky directory others' names cannot be removed or renamed",
    )
    .layers(|l| {
        for (layer, dir) in [(l.lower(1), "low"), (l.upper(), "up")] {
            let (theirs, mine) = (format!("{dir}/theirs"), format!("{dir}/mine"));
            layer
                .file(&theirs, "x")
                .owner(&theirs, 5, 5)
                .file(&mine, "x")
                .owner(&mine, 1000, 1000);
            layer.mode(dir, 0o1777);
        }
    })
    .steps(|s| {
        s.as_user(1000, 1000, |s| {
            for dir in ["low", "up"] {
                let (theirs, mine) = (format!("{dir}/theirs"), format!("{dir}/mine"));
                s.unlink(&theirs).fails(Errno::PERM);
                s.rename(&theirs, &format!("{dir}/x")).fails(Errno::PERM);
                s.rename(&mine, &theirs).fails(Errno::PERM);
                s.unlink(&mine).ok();
                s.create(&mine, "again").ok();
            }
        });
    });
}

#[test]
fn t104_acls_and_the_set_group_id_bit() {
    Scenario::new(
        "T104",
        "an ACL set by an owner who is not in the group takes the set-group-id bit",
    )
    .layers(|l| {
        for name in ["low", "member", "root"] {
            l.lower(1)
                .file(name, "x")
                .owner(name, 1001, 1000)
                .mode(name, 0o2755);
        }
        l.upper()
            .dir("up")
            .owner("up", 1001, 1000)
            .mode("up", 0o2755);
    })
    .steps(|s| {
        let acl = "system.posix_acl_access";
        s.as_user(1001, 1001, |s| {
            s.setx_bytes("low", acl, ACL).ok();
            s.setx_bytes("up", acl, ACL).ok();
        });
        s.as_user(1001, 1000, |s| s.setx_bytes("member", acl, ACL).ok());
        s.setx_bytes("root", acl, ACL).ok();
        s.stat("low").is("file 0771 1001:1000 1");
        s.stat("up").is("dir 0771 1001:1000");
        s.stat("member").is("file 2771 1001:1000 1");
        s.stat("root").is("file 2771 1001:1000 1");
    });
}

#[test]
fn t104_acls() {
    Scenario::new(
        "T104",
        "setfacl copies up; a default ACL on a file is refused; removing a missing one is ENODATA",
    )
    .layers(|l| {
        l.lower(1)
            .file("f", "x")
            .file("untouched", "x")
            .dir("d")
            .file("chmod", "x");
        l.lower(1).xattr("chmod", "system.posix_acl_access", ACL);
    })
    .steps(|s| {
        s.setx_bytes("untouched", "system.posix_acl_default", ACL)
            .fails(Errno::ACCESS);
        s.setx_bytes("f", "system.posix_acl_access", ACL).ok();
        s.stat("f").is("file 0771 0:0 1");
        s.upper("f").is("file 0771 0:0 1");
        s.setx_bytes("d", "system.posix_acl_default", ACL).ok();
        s.getx("d", "system.posix_acl_default").noted();
        s.getx("untouched", "system.posix_acl_access")
            .fails(Errno::NODATA);
        s.delx("untouched", "system.posix_acl_access")
            .fails(Errno::NODATA);
        s.delx("d", "system.posix_acl_access").noted();
        s.upper("untouched").is("absent");
        s.chmod("chmod", 0o600).ok();
        s.getx("chmod", "system.posix_acl_access").noted();
        s.delx("f", "system.posix_acl_access").ok();
        s.listx("f").is("");
        s.create("d/inherits", "x").ok();
        s.stat("d/inherits").noted();
        s.getx("d/inherits", "system.posix_acl_access").noted();
    });
}
