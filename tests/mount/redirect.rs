//! Directories that have another name below, and files that have their data there: T017-T020, T022, T023,
//! T052-T054.

use super::support::scenario::Scenario;
use super::support::steps::Errno;
use rustix::fs::RenameFlags;

const FOLLOW: (&str, &str) = ("redirect_dir=follow", "redirect_dir=follow,index=off");
const CREATE: (&str, &str) = ("redirect_dir=on", "redirect_dir=on,index=off,metacopy=off");
const METACOPY: (&str, &str) = (
    "redirect_dir=follow",
    "redirect_dir=on,metacopy=on,index=off",
);
const REDIRECT: &str = "trusted.overlay.redirect";
const METACOPY_MARK: &str = "trusted.overlay.metacopy";

#[test]
fn t017_relative_and_absolute_redirects() {
    Scenario::new(
        "T017",
        "redirects are followed: relative, absolute, through three layers",
    )
    .options(FOLLOW.0, FOLLOW.1)
    .lowers(3)
    .layers(|l| {
        l.lower(3)
            .file("old/deep/a", "a")
            .file("elsewhere/c/x", "x")
            .dir("plain/sub");
        l.lower(3).file("first/two/last", "end");
        l.lower(2)
            .dir("mid")
            .xattr("mid", REDIRECT, "old")
            .file("mid/own", "2");
        l.lower(1).dir("new").xattr("new", REDIRECT, "mid");
        l.upper().dir("rel").xattr("rel", REDIRECT, "old");
        l.upper().dir("abs").xattr("abs", REDIRECT, "/elsewhere/c");
        l.upper()
            .dir("pure/in")
            .xattr("pure/in", REDIRECT, "/first/two");
        l.upper()
            .whiteout("old")
            .whiteout("elsewhere")
            .whiteout("first");
    })
    .steps(|s| {
        s.ls("rel").is("deep/");
        s.read("rel/deep/a").is("\"a\"");
        s.read("abs/x").is("\"x\"");
        s.ls("new").is("deep/ own");
        s.read("new/deep/a").is("\"a\"");
        s.stat("old").fails(Errno::NOENT);
        s.read("pure/in/last").is("\"end\"");
        s.write("abs/x", "changed").ok();
        s.unlink("rel/deep/a").ok();
        s.rmdir("rel/deep").ok();
        s.ls("rel").is("");
    });
}

#[test]
fn t017_redirects_on_the_way() {
    Scenario::new(
        "T017",
        "an absolute redirect meets another one on its way down",
    )
    .options(FOLLOW.0, FOLLOW.1)
    .lowers(3)
    .layers(|l| {
        l.lower(3).file("real/b/data", "3").file("a/b/wrong", "3");
        l.lower(2)
            .dir("a/b")
            .xattr("a", REDIRECT, "real")
            .file("a/b/two", "2");
        l.lower(1).file("x/one", "1").xattr("x", REDIRECT, "/a/b");
    })
    .steps(|s| {
        s.ls("x").is("data one two");
        s.read("x/data").is("\"3\"");
    });
}

#[test]
fn t018_malformed_redirects() {
    Scenario::new(
        "T018",
        "malformed redirects are refused, one to nowhere merges with nothing",
    )
    .options(FOLLOW.0, FOLLOW.1)
    .no_cross_mount()
    .layers(|l| {
        l.lower(1).file("a/b", "x");
        for (name, value) in [
            ("empty", ""),
            ("slash", "a/b"),
            ("double", "//a"),
            ("trailing", "/a/"),
            ("dots", "/a/../b"),
            ("gone", "/nowhere"),
        ] {
            l.upper().dir(name).xattr(name, REDIRECT, value);
        }
    })
    .steps(|s| {
        s.stat("empty").fails(Errno::INVAL);
        s.stat("slash").fails(Errno::INVAL);
        s.stat("double").fails(Errno::INVAL);
        s.stat("trailing").fails(Errno::INVAL);
        s.stat("dots").fails(Errno::ACCESS);
        s.ls("gone").is("");
    });
}

#[test]
fn t019_nofollow() {
    Scenario::new("T019", "a redirect that is not to be followed is refused")
        .options(
            "redirect_dir=nofollow",
            "redirect_dir=nofollow,index=off,metacopy=off",
        )
        .no_cross_mount()
        .layers(|l| {
            l.lower(1).file("old/a", "x");
            l.upper().dir("new").xattr("new", REDIRECT, "old");
        })
        .steps(|s| {
            s.stat("new").fails(Errno::PERM);
            s.ls("old").is("a");
        });
}

#[test]
fn t020_redirect_below_opaque() {
    Scenario::new(
        "T020",
        "an absolute redirect below an opaque ancestor is still followed",
    )
    .options(FOLLOW.0, FOLLOW.1)
    .layers(|l| {
        l.lower(1).file("old/a", "x").file("top/hidden", "x");
        l.upper()
            .whiteout("old")
            .dir("top/new")
            .opaque("top", "y")
            .xattr("top/new", REDIRECT, "/old");
    })
    .steps(|s| {
        s.ls("top").is("new/");
        s.read("top/new/a").is("\"x\"");
    });
}

#[test]
fn t022_metacopy_shows_the_data_below() {
    Scenario::new(
        "T022",
        "a metacopy has its own metadata and the data of the layer below",
    )
    .options(METACOPY.0, METACOPY.1)
    .inodes_may_change()
    .lowers(3)
    .layers(|l| {
        l.lower(3)
            .file("f", "data below")
            .file("g", "g data")
            .file("dir/h", "h data");
        l.lower(2)
            .sparse("f", 10, &[])
            .xattr("f", METACOPY_MARK, "")
            .mode("f", 0o600);
        l.lower(2)
            .sparse("moved", 6, &[])
            .xattr("moved", METACOPY_MARK, "");
        l.lower(2).xattr("moved", REDIRECT, "/dir/h");
        l.upper()
            .sparse("g", 6, &[])
            .xattr("g", METACOPY_MARK, "")
            .mode("g", 0o640);
    })
    .steps(|s| {
        s.stat("f").noted();
        s.read("f").is("\"data below\"");
        s.read("g").is("\"g data\"");
        s.read("moved").is("\"h data\"");
        s.stat("g").is("file 0640 0:0 6");
        for name in ["f", "g", "moved"] {
            // Those of the data: none of the three has any itself (6.2).
            s.blocks(name).is("8");
        }
        s.chmod("g", 0o444).ok();
        s.read("g").is("\"g data\"");
        s.write("g", "G").ok();
        s.read("g").noted();
        s.write("f", "F").ok();
        s.read("f").noted();
        s.truncate("moved", 3).ok();
        s.read("moved").is("\"h d\"");
    });
}

#[test]
fn t022_an_open_metacopy_sees_its_data_arrive() {
    Scenario::new(
        "T022",
        "a descriptor opened before the data is copied up reads what is written then",
    )
    .options(METACOPY.0, METACOPY.1)
    .inodes_may_change()
    .layers(|l| {
        l.lower(1).file("f", "old data");
        l.upper().sparse("f", 8, &[]).xattr("f", METACOPY_MARK, "");
    })
    .steps(|s| {
        let reader = s.opened("f", "r");
        s.fread(&reader).is("\"old data\"");
        let writer = s.opened("f", "rw");
        s.fwrite(&writer, 0, "new").ok();
        s.fread(&writer).is("\"new data\"");
    });
}

#[test]
fn t023_metacopy_without_data() {
    Scenario::new(
        "T023",
        "a metacopy without data, or with a bad mark, is an I/O error",
    )
    .options(METACOPY.0, METACOPY.1)
    .inodes_may_change()
    .no_cross_mount()
    .lowers(2)
    .layers(|l| {
        l.lower(2).file("whole", "data").dir("dir");
        l.lower(1)
            .sparse("alone", 6, &[])
            .xattr("alone", METACOPY_MARK, "");
        l.lower(1)
            .sparse("whole", 4, &[])
            .xattr("whole", METACOPY_MARK, "bad");
        l.lower(1)
            .sparse("dir", 4, &[])
            .xattr("dir", METACOPY_MARK, "");
    })
    .steps(|s| {
        s.stat("alone").fails(Errno::IO);
        s.stat("whole").fails(Errno::IO);
        s.stat("dir").fails(Errno::IO);
    });
}

#[test]
fn t023_metacopy_off() {
    Scenario::new("T023", "with metacopy=off a metacopy is refused")
        .options("metacopy=off", "metacopy=off,redirect_dir=follow,index=off")
        .no_cross_mount()
        .lowers(2)
        .layers(|l| {
            l.lower(2).file("f", "data");
            l.lower(1).sparse("f", 4, &[]).xattr("f", METACOPY_MARK, "");
        })
        .steps(|s| {
            s.stat("f").fails(Errno::PERM);
        });
}

#[test]
fn t052_renaming_lower_directories() {
    Scenario::new(
        "T052",
        "a lower directory is renamed by a redirect: relative, then absolute",
    )
    .options(CREATE.0, CREATE.1)
    .lowers(2)
    .layers(|l| {
        l.lower(1).file("d/one", "1").file("other/x", "x");
        l.lower(2).file("d/two", "2").file("d/sub/deep", "3");
    })
    .steps(|s| {
        s.rename("d", "e").ok();
        s.ls("e").is("one sub/ two");
        s.stat("d").fails(Errno::NOENT);
        s.rename("e", "f").ok();
        s.rename("f/sub", "f/bus").ok();
        s.rename("f", "other/g").ok();
        s.read("other/g/bus/deep").is("\"3\"");
        s.rename("other/g/bus", "top").ok();
        s.read("top/deep").is("\"3\"");
        s.write("top/deep", "4").ok();
        s.mkdir("d").ok();
        s.ls("d").is("");
        s.rename("d", "other/g/new").ok();
        s.ls("other/g").noted();
    });
}

#[test]
fn t052_renaming_back() {
    Scenario::new(
        "T052",
        "a directory renamed away and back has all its entries",
    )
    .options(CREATE.0, CREATE.1)
    .layers(|l| {
        l.lower(1).file("d/a", "a").file("p/q/r", "r");
    })
    .steps(|s| {
        s.rename("d", "e").ok();
        s.rename("e", "d").ok();
        s.ls("d").is("a");
        s.rename("p/q", "q").ok();
        s.rename("q", "p/q").ok();
        s.read("p/q/r").is("\"r\"");
    });
}

#[test]
fn t053_long_redirects() {
    let long = "x".repeat(200);
    let deep = format!("{long}/{long}");
    let renamed = format!("{long}/short");
    Scenario::new(
        "T053",
        "an absolute path over 256 bytes is EXDEV; a long relative one is fine",
    )
    .options(CREATE.0, CREATE.1)
    .layers(|l| {
        l.lower(1).file(&format!("{deep}/f"), "x");
    })
    .steps(|s| {
        s.rename(&deep, "short").fails(Errno::XDEV);
        s.rename(&deep, &renamed).ok();
        s.read(&format!("{renamed}/f")).is("\"x\"");
    });
}

#[test]
fn t054_exchange_with_redirects() {
    Scenario::new(
        "T054",
        "a merged directory changes places with a new one, and with another merged one",
    )
    .options(CREATE.0, CREATE.1)
    .layers(|l| {
        l.lower(1)
            .file("d/low", "x")
            .file("m/n/low", "y")
            .file("k/l/low", "z");
    })
    .steps(|s| {
        s.mkdir("new").ok();
        s.create("new/own", "n").ok();
        s.rename2("d", "new", RenameFlags::EXCHANGE).ok();
        s.ls("d").is("own");
        s.ls("new").is("low");
        s.rename2("m/n", "k/l", RenameFlags::EXCHANGE).ok();
        s.read("m/n/low").is("\"z\"");
        s.read("k/l/low").is("\"y\"");
    });
}
