//! Files copied up without their data (`metacopy=on`): T022, T053, T060, T079, T122.

use super::support::scenario::Scenario;
use super::support::steps::Errno;
use rustix::fs::RenameFlags;

const WRITE: (&str, &str) = ("metacopy=on", "metacopy=on,index=off,xino=off");

#[test]
fn t060_metadata_alone() {
    Scenario::new(
        "T060",
        "with metacopy=on a change of metadata copies no data: chmod, chown, utimens, setxattr, chattr",
    )
    .options(WRITE.0, WRITE.1)
    .lowers(2)
    .layers(|l| {
        for name in ["mode", "owner", "times", "xattr", "nothing", "empty"] {
            l.lower(2).file(name, "x".repeat(10_000));
        }
        l.lower(2).file("empty", "").file("d/e/deep", "deep");
        l.lower(1).sparse("holes", 1 << 20, &[(1 << 19, b"data")]);
        l.lower(1).symlink("link", "mode").fifo("fifo");
    })
    .steps(|s| {
        s.blocks("mode").is("24");
        s.chmod("mode", 0o4711).ok();
        s.chown("owner", Some(7), Some(8)).ok();
        s.chown("nothing", None, None).ok();
        s.utimens("times", Some(77)).ok();
        s.setx("xattr", "user.a", "b").ok();
        s.chmod("empty", 0o600).ok();
        s.chmod("holes", 0o600).ok();
        s.chmod("d/e/deep", 0o640).ok();
        s.setx("link", "trusted.a", "b").ok();
        s.chmod("fifo", 0o600).ok();
        for name in ["mode", "owner", "times", "xattr", "nothing"] {
            s.upper(name).noted();
            s.mark(name, "metacopy").is("");
            s.mark(name, "redirect").is("absent");
            s.mark(name, "origin").is("handle");
            s.read(name).noted();
            s.stat(name).noted();
            s.mtime(name).noted();
            s.blocks(name).is("24");
        }
        s.mark("empty", "metacopy").is("");
        s.mark("d/e/deep", "metacopy").is("");
        s.mark("link", "metacopy").is("absent");
        s.mark("fifo", "metacopy").is("absent");
        s.read("holes").noted();
        s.blocks("holes").noted();
        s.listx("xattr").is("user.a");
        s.listx("mode").is("");
        s.chmod("mode", 0o600).ok();
        s.mark("mode", "metacopy").is("");
    });
}

#[test]
fn t060_chattr_and_immutable() {
    Scenario::new("T060", "flags are set on a metacopy, and protect it")
        .options(WRITE.0, WRITE.1)
        .on_ext4()
        .layers(|l| {
            l.lower(1).file("f", "data");
        })
        .steps(|s| {
            let f = s.opened("f", "r");
            let flags = rustix::fs::IFlags::APPEND | rustix::fs::IFlags::NOATIME;
            let set = rustix::fs::ioctl_setflags(f.fd(), flags);
            s.act("chattr +aA", set.map_err(Into::into)).ok();
            s.mark("f", "metacopy").is("");
            s.mark("f", "protattr").is("a");
            s.open("f", "w").fails(Errno::PERM);
            s.mark("f", "metacopy").is("");
            let appender = s.opened("f", "w,append");
            s.fwrite(&appender, 4, "more").ok();
            s.mark("f", "metacopy").is("absent");
            s.read("f").is("\"datamore\"");
        });
}

#[test]
fn t022_data_follows_a_writer() {
    Scenario::new(
        "T022",
        "the data of a metacopy comes with the first open for write, O_TRUNC or truncate",
    )
    .options(WRITE.0, WRITE.1)
    .layers(|l| {
        for name in ["w", "rw", "trunc", "otrunc", "ro-trunc", "append", "same"] {
            l.lower(1).file(name, "old data");
        }
        l.lower(1).file("empty", "").file("unopened", "x");
    })
    .steps(|s| {
        let all = [
            "w", "rw", "trunc", "otrunc", "ro-trunc", "append", "same", "empty",
        ];
        for name in all {
            s.chmod(name, 0o600).ok();
            s.mark(name, "metacopy").is("");
        }
        s.chmod("unopened", 0o600).ok();
        let identity = all.map(|name| s.identity(name));
        s.write("w", "new").ok();
        s.open("rw", "rw").ok();
        s.truncate("trunc", 3).ok();
        s.open("otrunc", "w,trunc").ok();
        s.open("ro-trunc", "r,trunc").ok();
        let appender = s.opened("append", "w,append");
        s.fwrite(&appender, 8, " and new").ok();
        s.truncate("same", 8).ok();
        s.open("empty", "w").ok();
        for name in all {
            s.mark(name, "metacopy").is("absent");
            s.mark(name, "origin").is("handle");
            s.read(name).noted();
            s.stat(name).noted();
            s.mtime(name).noted();
        }
        s.mark("unopened", "metacopy").is("");
        s.check(
            "the same inodes",
            all.map(|name| s.identity(name)) == identity,
        )
        .holds();
    });
}

#[test]
fn t022_open_descriptors_and_maps_follow() {
    Scenario::new(
        "T022",
        "descriptors opened before see first the metadata, then the data arrive",
    )
    .options(WRITE.0, WRITE.1)
    .layers(|l| {
        l.lower(1).file("f", "old data").file("gone", "gone data");
    })
    .steps(|s| {
        let reader = s.opened("f", "r");
        s.fread(&reader).is("\"old data\"");
        s.fchmod(&reader, 0o600).ok();
        s.mark("f", "metacopy").is("");
        s.fstat(&reader).noted();
        s.fread(&reader).is("\"old data\"");
        let late = s.opened("f", "r");
        let writer = s.opened("f", "rw");
        s.mark("f", "metacopy").is("absent");
        s.fread(&late).is("\"old data\"");
        s.fwrite(&writer, 0, "new").ok();
        s.fread(&reader).is("\"new data\"");
        s.fread(&late).is("\"new data\"");
        s.chmod("gone", 0o600).ok();
        let gone = s.opened("gone", "r");
        s.unlink("gone").ok();
        s.fread(&gone).is("\"gone data\"");
        s.fstat(&gone).noted();
    });
}

#[test]
fn t022_capabilities_stay() {
    Scenario::new(
        "T022",
        "a file capability survives the arrival of the data, not a write",
    )
    .options(WRITE.0, WRITE.1)
    .layers(|l| {
        let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for name in ["opened", "written"] {
            l.lower(1)
                .file(name, "program")
                .xattr(name, "security.capability", capability)
                .mode(name, 0o755);
        }
    })
    .steps(|s| {
        for name in ["opened", "written"] {
            s.setx(name, "user.a", "b").ok();
            s.listx(name).is("security.capability user.a");
        }
        s.open("opened", "rw").ok();
        s.getx("opened", "security.capability").noted();
        s.listx("opened").is("security.capability user.a");
        s.write("written", "x").ok();
        s.listx("written").is("user.a");
    });
}

#[test]
fn t022_renaming_and_linking_metacopies() {
    Scenario::new(
        "T022",
        "a metacopy that moves has a redirect: relative in its directory, absolute elsewhere and for links",
    )
    .options(WRITE.0, WRITE.1)
    .lowers(2)
    .layers(|l| {
        for name in ["near", "far", "linked", "first", "chain", "d/sub/in", "x1", "x2"] {
            l.lower(2).file(name, format!("data of {name}"));
        }
        l.lower(2).link("first", "second").link("first", "third");
        l.lower(1).dir("other");
    })
    .steps(|s| {
        s.rename("near", "nearer").ok();
        s.mark("nearer", "redirect").is("near");
        s.rename("nearer", "nearest").ok();
        s.mark("nearest", "redirect").is("near");
        s.rename("far", "other/far").ok();
        s.mark("other/far", "redirect").is("/far");
        s.rename("chain", "chained").ok();
        s.rename("chained", "other/chain").ok();
        s.mark("other/chain", "redirect").is("/chain");
        s.rename("other/chain", "other/again").ok();
        s.mark("other/again", "redirect").is("/chain");
        s.link("linked", "other/link").ok();
        s.mark("linked", "redirect").is("/linked");
        s.link("other/link", "link2").ok();
        s.rename("linked", "linked2").ok();
        s.rename("first", "first2").ok();
        s.mark("first2", "redirect").is("/first");
        s.link("second", "second2").ok();
        s.chmod("third", 0o600).ok();
        s.rename("d/sub", "sub2").ok();
        s.rename("sub2/in", "in").ok();
        s.mark("in", "redirect").is("/d/sub/in");
        s.rename2("x1", "other/../x2", RenameFlags::EXCHANGE).ok();
        s.mark("x1", "redirect").is("x2");
        s.mark("x2", "redirect").is("x1");
        for name in [
            "nearest", "other/far", "other/again", "linked2", "other/link", "link2", "first2",
            "second", "second2", "third", "in", "x1", "x2",
        ] {
            s.mark(name, "metacopy").is("");
            s.read(name).noted();
            s.nlink(name).noted();
        }
        s.write("other/link", "DATA").ok();
        s.read("linked2").is("\"DATA of linked\"");
        s.read("link2").is("\"DATA of linked\"");
        s.mark("linked2", "metacopy").is("absent");
        s.mark("linked2", "redirect").is("/linked");
        s.create("near", "a new file of the old name").ok();
        s.read("nearest").is("\"data of near\"");
        s.write("first2", "DATA").ok();
        s.read("second").is("\"data of first\"");
        s.rename("nearest", "near").ok();
        s.read("near").is("\"data of near\"");
    });
}

#[test]
fn t053_a_metacopy_whose_path_is_too_long() {
    let long = "x".repeat(200);
    let deep = format!("{long}/{long}");
    Scenario::new(
        "T053",
        "a metacopy with a path over 256 bytes neither leaves its directory nor gets a second name",
    )
    .options(WRITE.0, WRITE.1)
    .layers(|l| {
        l.lower(1).file(&deep, "x");
    })
    .steps(|s| {
        s.rename(&deep, "short").fails(Errno::XDEV);
        s.link(&deep, "short").fails(Errno::XDEV);
        s.rename(&deep, &format!("{long}/short")).ok();
        s.read(&format!("{long}/short")).is("\"x\"");
        s.write(&format!("{long}/short"), "y").ok();
        s.rename(&format!("{long}/short"), "short").ok();
    });
}

#[test]
fn t022_metacopies_of_metacopies() {
    Scenario::new(
        "T022",
        "lower metacopies are copied up without data as well, and find it through every layer",
    )
    .options(WRITE.0, WRITE.1)
    .lowers(3)
    .layers(|l| {
        l.lower(3)
            .file("data/f", "the data")
            .file("plain", "plain data");
        l.lower(2).metacopy("middle", 8, Some("/data/f"));
        l.lower(1)
            .metacopy("top", 8, Some("middle"))
            .mode("top", 0o640);
        l.lower(1).metacopy("plain", 10, None);
    })
    .steps(|s| {
        s.read("top").is("\"the data\"");
        s.chmod("top", 0o444).ok();
        s.mark("top", "metacopy").is("");
        s.mark("top", "redirect").is("absent");
        s.read("top").is("\"the data\"");
        s.rename("top", "renamed").ok();
        s.mark("renamed", "redirect").is("top");
        s.link("plain", "data/plain").ok();
        s.read("data/plain").is("\"plain data\"");
        s.write("renamed", "THE").ok();
        s.read("renamed").is("\"THE data\"");
        s.read("middle").is("\"the data\"");
        s.rename("middle", "data/middle").ok();
        s.read("data/middle").is("\"the data\"");
    });
}

#[test]
fn t079_hard_links_part() {
    Scenario::new(
        "T079",
        "names of a lower hard link part when one becomes a metacopy",
    )
    .options(WRITE.0, WRITE.1)
    .layers(|l| {
        l.lower(1)
            .file("a", "shared")
            .link("a", "b")
            .link("a", "d/c");
    })
    .steps(|s| {
        s.chmod("a", 0o600).ok();
        s.mark("a", "metacopy").is("");
        s.mark("a", "origin").is("absent");
        s.nlink("a").is("1");
        s.stat("b").noted();
        s.rename("b", "d/b").ok();
        s.mark("d/b", "redirect").is("/b");
        s.write("a", "A").ok();
        s.read("d/b").is("\"shared\"");
        s.read("d/c").is("\"shared\"");
    });
}

#[test]
fn t022_by_other_users() {
    Scenario::new("T022", "an owner without privileges makes metacopies too")
        .options(WRITE.0, WRITE.1)
        .layers(|l| {
            l.lower(1)
                .file("d/mine", "mine")
                .owner("d/mine", 1000, 1000);
            l.lower(1).owner("d", 1000, 1000);
            l.lower(1).file("d/suid", "suid").mode("d/suid", 0o4777);
        })
        .steps(|s| {
            s.chown("d/suid", Some(0), Some(0)).ok();
            s.chmod("d/suid", 0o4777).ok();
            s.as_user(1000, 1000, |s| {
                s.chmod("d/mine", 0o600).ok();
                s.rename("d/mine", "d/moved").ok();
                s.link("d/moved", "d/link").ok();
                s.write("d/suid", "S").ok();
            });
            s.stat("d/suid").noted();
            s.mark("d/moved", "metacopy").is("");
            s.read("d/link").is("\"mine\"");
        });
}

#[test]
fn t122_redirects_and_metacopies_change_hands() {
    Scenario::new(
        "T122",
        "an upper full of redirects and metacopies is the same to who did not write it",
    )
    .options(WRITE.0, WRITE.1)
    .lowers(3)
    .layers(|l| {
        for n in 0..6 {
            l.lower(3)
                .file(&format!("d{n}/sub/f"), format!("data {n}"))
                .file(&format!("d{n}/g"), "x".repeat(5000 * n));
        }
        l.lower(2)
            .file("d1/sub/two", "two")
            .link("d1/sub/two", "d2/two");
        l.lower(1)
            .metacopy("d3/sub/f", 6, None)
            .mode("d3/sub/f", 0o600);
    })
    .steps(|s| {
        s.rename("d0", "e0").ok();
        s.chmod("e0/sub/f", 0o604).ok();
        s.rename("e0/sub/f", "e0/f").ok();
        s.rename("d1/sub", "e0/sub1").ok();
        s.rename("e0/sub1/two", "two").ok();
        s.link("d2/two", "e0/two").ok();
        s.chmod("d3/sub/f", 0o644).ok();
        s.rename("d3", "d4/d3").ok();
        s.rename("d4/d3/sub/f", "d4/f").ok();
        s.link("d4/f", "f").ok();
        s.rename2("d4/sub", "d5/sub", RenameFlags::EXCHANGE).ok();
        s.rename2("d4/sub/f", "d5/sub/f", RenameFlags::EXCHANGE)
            .ok();
        s.chown("d5/g", Some(5), Some(6)).ok();
        s.rename("d5/g", "d2/g").ok();
        s.write("d4/g", "written").ok();
        s.rename("d4/g", "g").ok();
        s.unlink("d2/sub/f").ok();
        s.rename("d2", "d5/d2").ok();
        s.mkdir("d2").ok();
        s.rename("d5/d2/g", "d2/g").ok();
        for name in [
            "e0/f", "two", "e0/two", "d4/f", "f", "d4/sub/f", "d5/sub/f", "d2/g", "g",
        ] {
            s.read(name).noted();
        }
    });
}
