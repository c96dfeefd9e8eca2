//! Data-only layers, which hold the data of metacopies and nothing else: T023, T024, T090.

use super::support::layers::Tree;
use super::support::scenario::Scenario;
use super::support::snapshot;
use super::support::steps::Errno;

/// Both ways in which the kernel mounts them: with leave to follow metacopies anywhere, and without.
const WITH: (&str, &str) = ("metacopy=on", "metacopy=on,index=off,xino=off");
const WITHOUT: (&str, &str) = ("", "metacopy=off,index=off,redirect_dir=off,xino=off");

fn t024(about: &'static str, options: (&'static str, &'static str)) -> Scenario<'static> {
    Scenario::new("T024", about)
        .options(options.0, options.1)
        .opaque_by_effect()
        .lowers(3)
        .data_only(2)
        .layers(|l| {
            l.lower(3)
                .file("ab/two", "data two")
                .file("ab/both", "lower both")
                .file("ab/instead", "instead")
                .file("ab/white", "white");
            l.lower(2)
                .file("ab/one", "data one")
                .file("ab/both", "upper both");
            l.lower(2)
                .dir("ab/instead")
                .whiteout("ab/white")
                .symlink("ab/link", "one")
                .symlink("link", "ab");
            l.lower(2).dir("moved");
            l.lower(2).xattr("moved", "trusted.overlay.redirect", "ab");
            let top = l.lower(1);
            top.metacopy("one", 8, Some("/ab/one"))
                .metacopy("two", 8, Some("/ab/two"))
                .metacopy("both", 10, Some("/ab/both"))
                .metacopy("d/deep", 8, Some("/ab/one"))
                .metacopy("instead", 7, Some("/ab/instead"))
                .metacopy("white", 5, Some("/ab/white"))
                .metacopy("missing", 8, Some("/ab/none"))
                .metacopy("through", 8, Some("/link/one"))
                .metacopy("final", 8, Some("/ab/link"))
                .metacopy("beyond", 8, Some("/ab/one/more"))
                .metacopy("marks", 8, Some("/moved/one"));
            top.mode("one", 0o640).owner("one", 7, 8);
            for name in ["chmod", "rename", "link", "write", "cut", "o-trunc", "gone"] {
                top.metacopy(name, 8, Some("/ab/one"));
            }
        })
}

fn reading(about: &'static str, options: (&'static str, &'static str)) {
    t024(about, options).steps(|s| {
        s.ls(".").noted();
        s.stat("ab").fails(Errno::NOENT);
        s.blocks("one").is("8");
        for name in ["one", "two", "both", "d/deep", "instead", "white"] {
            s.stat(name).noted();
            s.read(name).noted();
            s.blocks(name).is("8");
        }
        for name in ["missing", "final", "marks"] {
            s.stat(name).is("file 0644 0:0 8");
            s.read(name).fails(Errno::NOENT);
            s.open(name, "w").fails(Errno::NOENT);
            s.chmod(name, 0o600).fails(Errno::NOENT);
        }
        s.stat("through").is("file 0644 0:0 8");
        // The second layer has no such name, and has the last word.
        s.read("through").fails(Errno::NOENT);
        s.read("beyond").fails(Errno::NOENT);
        s.rename("missing", "moved").fails(Errno::NOENT);
        s.link("missing", "linked").fails(Errno::NOENT);
        s.unlink("missing").ok();
        s.stat("missing").fails(Errno::NOENT);
        s.mkdir("ab").ok();
        s.create("ab/one", "mine").ok();
        s.read("one").is("\"data one\"");
    });
}

fn writing(about: &'static str, options: (&'static str, &'static str)) {
    t024(about, options).steps(|s| {
        let reader = s.opened("write", "r");
        s.fread(&reader).is("\"data one\"");
        s.chmod("chmod", 0o600).ok();
        s.read("chmod").is("\"data one\"");
        s.rename("rename", "d/renamed").ok();
        s.read("d/renamed").is("\"data one\"");
        s.link("link", "d/linked").ok();
        s.read("d/linked").is("\"data one\"");
        s.write("write", "DATA").ok();
        s.fread(&reader).is("\"DATA one\"");
        s.truncate("cut", 4).ok();
        s.read("cut").is("\"data\"");
        s.open("o-trunc", "w,trunc").ok();
        s.read("o-trunc").is("\"\"");
        s.write("d/renamed", "D").ok();
        s.read("d/renamed").is("\"Data one\"");
        s.unlink("gone").ok();
        s.stat("gone").fails(Errno::NOENT);
        s.read("one").is("\"data one\"");
    });
}

#[test]
fn t024_reading() {
    reading("data-only layers are reached by absolute redirects", WITH);
}

#[test]
fn t024_reading_without_metacopy() {
    reading("data-only layers need no metacopy=on", WITHOUT);
}

#[test]
fn t024_writing() {
    writing(
        "metacopies of data-only layers are changed like others",
        WITH,
    );
}

#[test]
fn t024_writing_without_metacopy() {
    writing("without metacopy=on they are copied up whole", WITHOUT);
}

#[test]
fn t024_relative_or_no_redirect() {
    Scenario::new(
        "T024",
        "a relative redirect or none does not lead to data-only layers, nor does one in the upper",
    )
    .options(WITH.0, WITH.1)
    .no_cross_mount()
    .lowers(4)
    .data_only(1)
    .layers(|l| {
        l.lower(4).file("f", "data").file("dir/f", "data");
        l.lower(3).file("low", "low data").dir("dir");
        l.lower(3)
            .metacopy("last", 4, Some("/f"))
            .metacopy("last2", 4, Some("/f"))
            .metacopy("relative", 4, Some("f"));
        l.lower(2)
            .metacopy("f", 4, None)
            .metacopy("chain", 4, Some("last"))
            .metacopy("chain2", 4, Some("/last"))
            .metacopy("merged", 8, Some("/low"))
            .metacopy("nothing", 4, Some("/relative"))
            .metacopy("passed", 4, Some("/dir/f"))
            .metacopy("over", 4, None);
        l.lower(3).metacopy("over", 4, Some("/f"));
        l.upper()
            .metacopy("up", 4, Some("/f"))
            .metacopy("up2", 4, Some("/last2"))
            .whiteout("last2");
    })
    .steps(|s| {
        s.stat("relative").fails(Errno::IO);
        s.stat("f").fails(Errno::IO);
        s.stat("up").fails(Errno::IO);
        s.stat("nothing").fails(Errno::IO);
        s.stat("passed").fails(Errno::IO);
        for name in ["last", "chain", "chain2", "over", "up2"] {
            s.read(name).is("\"data\"");
        }
        s.read("merged").is("\"low data\"");
    });
}

#[test]
fn t024_only_from_the_last_layer_without_leave() {
    Scenario::new(
        "T024",
        "with metacopy=off only a metacopy in the last merged layer leads to data",
    )
    .options(
        "metacopy=off",
        "metacopy=off,index=off,redirect_dir=follow,xino=off",
    )
    .no_cross_mount()
    .lowers(3)
    .data_only(1)
    .layers(|l| {
        l.lower(3).file("f", "data");
        l.lower(2)
            .metacopy("last", 4, Some("/f"))
            .metacopy("relative", 4, Some("f"))
            .metacopy("none", 4, None);
        l.lower(1).metacopy("first", 4, Some("/f"));
        l.upper().metacopy("up", 4, Some("/last"));
    })
    .steps(|s| {
        s.read("last").is("\"data\"");
        for name in ["relative", "none", "first", "up"] {
            s.stat(name).fails(Errno::PERM);
        }
    });
}

#[test]
fn t024_one_layer_and_no_upper() {
    Scenario::new("T024", "one layer over data, read-only")
        .options(WITHOUT.0, WITHOUT.1)
        .read_only()
        .lowers(2)
        .data_only(1)
        .layers(|l| {
            l.lower(2)
                .file("o/big", "x".repeat(300_000))
                .symlink("l", "o");
            l.lower(1)
                .metacopy("big", 300_000, Some("/o/big"))
                .metacopy("loop", 4, Some("/l/big"))
                .metacopy("file", 4, Some("/o/big/x"));
        })
        .steps(|s| {
            s.read("big").noted();
            s.blocks("big").noted();
            s.read("loop").fails(Errno::LOOP);
            s.read("file").fails(Errno::NOTDIR);
            s.open("big", "rw").fails(Errno::ROFS);
        });
}

#[test]
fn t018_malformed_redirects_to_data() {
    Scenario::new(
        "T018",
        "malformed redirects do not lead to data-only layers",
    )
    .options(WITH.0, WITH.1)
    .no_cross_mount()
    .lowers(2)
    .data_only(1)
    .layers(|l| {
        l.lower(2).file("ab/one", "data");
        l.lower(1)
            .metacopy("empty", 4, Some(""))
            .metacopy("double", 4, Some("//ab/one"))
            .metacopy("trailing", 4, Some("/ab/one/"))
            .metacopy("inner", 4, Some("ab/one"));
    })
    .steps(|s| {
        for name in ["empty", "double", "trailing", "inner"] {
            s.stat(name).fails(Errno::INVAL);
        }
    });
}

#[test]
fn t018_dots_on_the_way_to_data() {
    Scenario::new(
        "T018",
        "a redirect with `.` or `..` does not lead to data-only layers",
    )
    .plyfs_only("6.3: no `..`; the kernel refuses it only where a merged layer has the way there")
    .lowers(2)
    .data_only(1)
    .layers(|l| {
        l.lower(2).file("ab/one", "data");
        l.lower(1)
            .metacopy("dots", 4, Some("/ab/../ab/one"))
            .metacopy("dot", 4, Some("/./ab/one"));
    })
    .steps(|s| {
        s.stat("dots").fails(Errno::ACCESS);
        s.stat("dot").fails(Errno::ACCESS);
    });
}

/// With `userxattr`, and marks in `user.`
fn by_users(about: &'static str) -> Scenario<'static> {
    Scenario::new("T024", about)
        .options("userxattr", "userxattr,index=off,xino=off")
        .no_cross_mount()
        .lowers(3)
        .data_only(1)
}

fn users_metacopy(layer: Tree<'_>, name: &str, to: &str) {
    layer
        .sparse(name, 8, &[])
        .xattr(name, "user.overlay.metacopy", "")
        .xattr(name, "user.overlay.redirect", to);
}

#[test]
fn t024_marks_of_users() {
    by_users("with userxattr marks in `user.` lead to data-only layers")
        .layers(|l| {
            l.lower(3).file("ab/one", "data one");
            for name in ["good", "moved"] {
                users_metacopy(l.lower(2), name, "/ab/one");
            }
        })
        .steps(|s| {
            s.read("good").is("\"data one\"");
            s.chmod("good", 0o600).ok();
            s.rename("moved", "elsewhere").ok();
            s.write("elsewhere", "DATA").ok();
            s.read("elsewhere").is("\"DATA one\"");
            s.listx("good").is("");
            for name in ["good", "elsewhere"] {
                let all = snapshot::xattrs(&s.layers.upper.join(name)).unwrap();
                let marked = |mark| all.contains_key(&format!("user.overlay.{mark}"));
                let whole = !marked("metacopy") && !marked("redirect");
                s.check(&format!("{name} was copied up whole"), whole)
                    .holds();
            }
        });
}

#[test]
fn t024_marks_of_users_lead_nowhere_else() {
    by_users("with userxattr marks in `user.` do not lead to layers that are merged")
        .layers(|l| {
            l.lower(3).file("ab/one", "data one");
            users_metacopy(l.lower(2), "good", "/ab/one");
            users_metacopy(l.lower(2), "relative", "one");
            users_metacopy(l.lower(1), "first", "/ab/one");
            users_metacopy(l.upper(), "up", "/good");
            l.upper()
                .dir("dir")
                .xattr("dir", "user.overlay.redirect", "/ab");
        })
        .steps(|s| {
            for name in ["relative", "first", "up", "dir"] {
                s.stat(name).fails(Errno::PERM);
            }
            s.read("good").is("\"data one\"");
        });
}

/// Filesystems count blocks in ways of their own: those of attributes, or those that a file without holes would have.
fn on(kind: &'static str) {
    Scenario::new("T022 T024 T117", kind)
        .options(WITH.0, WITH.1)
        .lower_on(kind)
        .lowers(3)
        .data_only(1)
        .layers(|l| {
            l.lower(3).file("ab/large", "l".repeat(300_000));
            l.lower(3).file("ab/small", "small");
            l.lower(2).file("merged", "m".repeat(200_000));
            let top = l.lower(1);
            top.metacopy("large", 300_000, Some("/ab/large"))
                .metacopy("merged", 200_000, None)
                .metacopy("small", 5, Some("/ab/small"));
        })
        .steps(|s| {
            for name in ["large", "merged", "small"] {
                s.read(name).noted();
                s.chmod(name, 0o600).ok();
                s.mark(name, "metacopy").is("");
                s.read(name).noted();
            }
            s.write("large", "L").ok();
            s.read("large").noted();
        });
}

#[test]
fn t024_metacopies_on_erofs() {
    on("erofs");
}

#[test]
fn t024_metacopies_on_squashfs() {
    on("squashfs");
}

#[test]
fn t024_metacopies_on_xfs() {
    on("xfs");
}

#[test]
fn t024_metacopies_on_btrfs() {
    on("btrfs");
}

#[test]
fn t022_attributes_that_take_many_blocks() {
    Scenario::new(
        "T022",
        "attributes of a metacopy take more blocks than its data",
    )
    .options(WITH.0, WITH.1)
    .on_filesystem("xfs")
    .layers(|l| {
        l.lower(1).file("f", "data");
    })
    .steps(|s| {
        for n in 0..4 {
            s.setx("f", &format!("user.large{n}"), &"x".repeat(9000))
                .ok();
        }
        s.mark("f", "metacopy").is("");
        s.read("f").is("\"data\"");
        s.chmod("f", 0o600).ok();
        s.read("f").is("\"data\"");
    });
}
