//! `index=on`: the names of one lower file stay one file. T080, T081, T122.

use rustix::fs::{FileType, RenameFlags};

use super::support::scenario::Scenario;
use super::support::steps::Steps;

const KERNEL: &str = "index=on,redirect_dir=off,metacopy=off,xino=off";

fn indexed<'a>(rows: &'static str, about: &'static str) -> Scenario<'a> {
    Scenario::new(rows, about).options("index=on", KERNEL)
}

/// What must hold of names of one file: number, link count, content.
fn one_file(s: &mut Steps, names: &[&str], links: &str, content: &str) {
    let first = s.identity(names[0]);
    for name in names {
        let same = s.identity(name) == first && first.1 != 0;
        s.check(&format!("{name} is that file"), same).holds();
        s.nlink(name).is(links);
        s.read(name).is(content);
    }
}

#[test]
fn t080_one_file_under_all_names() {
    indexed(
        "T080",
        "index=on: number and link count are constant over copy-up, and all names show the change",
    )
    .lowers(2)
    .layers(|l| {
        l.lower(1)
            .file("a", "data")
            .link("a", "b")
            .link("a", "d/c")
            .file("single", "1");
        l.lower(2).file("below/x", "2").link("below/x", "y");
    })
    .steps(|s| {
        let names = ["a", "b", "d/c"];
        let before = s.identity("a");
        one_file(s, &names, "3", "\"data\"");
        s.index().is("");
        s.write("a", "DATA").ok();
        s.index().is("file 2 U+1");
        one_file(s, &names, "3", "\"DATA\"");
        let after = s.identity("b");
        s.check("the number is that of the lower file", before == after)
            .holds();
        s.upper("a").is("file 0644 0:0 4");
        s.upper("b").is("absent");
        s.upper("d").is("absent");
        s.mark("a", "origin").is("handle");
        s.mark("a", "nlink").is("U+1");
        s.mark(".", "impure").is("y");
        // Each name gets its link in the upper when it is its turn.
        s.chmod("d/c", 0o600).ok();
        s.upper("d/c").is("file 0600 0:0 4");
        s.mark("d", "impure").is("y");
        s.stat("b").is("file 0600 0:0 4");
        s.index().is("file 3 U+0");
        s.truncate("b", 2).ok();
        s.upper("b").is("file 0600 0:0 2");
        s.index().is("file 4 U-1");
        one_file(s, &names, "3", "\"DA\"");
        s.write("y", "Y").ok();
        one_file(s, &["y", "below/x"], "2", "\"Y\"");
        s.chmod("single", 0o640).ok();
        s.index().is("file 2 U+0, file 4 U-1");
        s.entry_numbers(".").is("all equal st_ino");
        s.entry_numbers("d").is("all equal st_ino");
    });
}

#[test]
fn t080_links_of_every_type() {
    indexed(
        "T080",
        "index=on: symbolic links, fifos, sockets and devices with several names",
    )
    .layers(|l| {
        l.lower(1)
            .symlink("s1", "to")
            .link("s1", "s2")
            .fifo("f1")
            .link("f1", "f2")
            .node("c1", FileType::CharacterDevice, (1, 3))
            .link("c1", "c2")
            .node("b1", FileType::BlockDevice, (1, 3))
            .link("b1", "b2")
            .node("k1", FileType::Socket, (0, 0))
            .link("k1", "k2");
    })
    .steps(|s| {
        for kind in ["s", "f", "c", "b", "k"] {
            let (one, two) = (format!("{kind}1"), format!("{kind}2"));
            let before = s.identity(&two);
            s.chown(&one, Some(7), Some(8)).ok();
            s.stat(&two).noted();
            s.nlink(&two).is("2");
            let same = s.identity(&one) == before && s.identity(&two) == before;
            s.check("one number", same).holds();
            s.upper(&two).is("absent");
        }
        s.readlink("s2").is("to");
        s.index()
            .is("block 2 U+0, char 2 U+0, fifo 2 U+0, socket 2 U+0, symlink 2 U+0");
    });
}

#[test]
fn t080_open_files_see_the_change() {
    indexed(
        "T080",
        "index=on: a file open under one name shows what is written under another",
    )
    .layers(|l| {
        l.lower(1).file("a", "data").link("a", "b").link("a", "c");
    })
    .steps(|s| {
        let fd = s.opened("b", "r");
        s.fread(&fd).is("\"data\"");
        s.write("a", "DATA!").ok();
        s.fread(&fd).is("\"DATA!\"");
        s.fstat(&fd).is("file 0644 0:0 5");
        s.fnlink(&fd).is("3");
        s.unlink("b").ok();
        s.fread(&fd).is("\"DATA!\"");
        s.fnlink(&fd).is("2");
        let rw = s.opened("c", "rw");
        s.fwrite(&rw, 0, "again").ok();
        s.fread(&fd).is("\"again\"");
        s.unlink("a").ok();
        s.unlink("c").ok();
        s.fnlink(&rw).is("0");
        s.index().is("");
        s.fread(&fd).is("\"again\"");
        s.fwrite(&rw, 0, "still").ok();
        s.fread(&fd).is("\"still\"");
        s.fchmod(&rw, 0o600).ok();
        s.ls(".").is("");
    });
}

#[test]
fn t080_links_made_and_renamed() {
    indexed(
        "T080",
        "index=on: link and rename of names that are in the lower layer only",
    )
    .layers(|l| {
        l.lower(1)
            .file("a", "data")
            .link("a", "b")
            .link("a", "d/c")
            .dir("e")
            .file("other", "o")
            .file("x", "xx")
            .link("x", "z");
    })
    .steps(|s| {
        s.link("b", "e/new").ok();
        s.nlink("a").is("4");
        s.index().is("file 3 U+1");
        one_file(s, &["a", "b", "d/c", "e/new"], "4", "\"data\"");
        s.rename("d/c", "e/moved").ok();
        s.upper("d/c").is("whiteout 0000 0:0");
        s.index().is("file 4 U+0");
        one_file(s, &["a", "b", "e/moved", "e/new"], "4", "\"data\"");
        // Two names of one file: nothing happens.
        s.rename("a", "b").ok();
        s.ls(".").is("a b d/ e/ other x z");
        s.nlink("a").is("4");
        // Covered, a name goes.
        s.rename("other", "a").ok();
        s.nlink("b").is("3");
        s.read("a").is("\"o\"");
        s.rename2("b", "z", RenameFlags::EXCHANGE).ok();
        s.nlink("b").is("2");
        s.nlink("z").is("3");
        one_file(s, &["b", "x"], "2", "\"xx\"");
        one_file(s, &["z", "e/new", "e/moved"], "3", "\"data\"");
        s.link("x", "e/x2").ok();
        s.nlink("b").is("3");
        s.index().is("file 4 U-1, file 4 U-1");
    });
}

#[test]
fn t081_all_names_gone() {
    indexed(
        "T081",
        "index=on: when the last name goes, so does the index entry",
    )
    .lowers(2)
    .layers(|l| {
        l.lower(1)
            .file("a", "data")
            .link("a", "b")
            .link("a", "d/c")
            .symlink("s1", "to")
            .link("s1", "s2")
            .file("over", "o");
        l.lower(2).file("p", "2").link("p", "q").file("hidden", "h");
    })
    .steps(|s| {
        // The name is not in the upper, and nothing of the file is.
        s.unlink("b").ok();
        s.upper("b").is("whiteout 0000 0:0");
        s.nlink("a").is("2");
        s.index().is("file 1 U+1");
        s.unlink("a").ok();
        s.nlink("d/c").is("1");
        s.read("d/c").is("\"data\"");
        s.index().is("file 1 U+0");
        s.unlink("d/c").ok();
        s.index().is("");
        s.unlink("s1").ok();
        s.rename("over", "s2").ok();
        s.index().is("");
        // With a name that only the upper has.
        s.link("p", "new").ok();
        s.unlink("p").ok();
        s.unlink("q").ok();
        s.nlink("new").is("1");
        s.index().is("file 2 U-1");
        s.unlink("new").ok();
        s.index().is("");
        s.create("a", "fresh").ok();
        s.nlink("a").is("1");
        s.ls(".").is("a d/ hidden s2");
        s.work_residue().is("");
    });
}

#[test]
fn t081_directories_with_names_of_one_file() {
    indexed(
        "T081",
        "index=on: rmdir and rename of directories with names of a file that lives on",
    )
    .layers(|l| {
        l.lower(1)
            .file("a", "data")
            .link("a", "d/c")
            .link("a", "d/e");
        l.upper().dir("pure");
    })
    .steps(|s| {
        s.unlink("d/c").ok();
        s.rename("d/e", "pure/e").ok();
        s.rmdir("d").ok();
        s.nlink("a").is("2");
        one_file(s, &["a", "pure/e"], "2", "\"data\"");
        s.rename("pure", "d").ok();
        one_file(s, &["a", "d/e"], "2", "\"data\"");
        s.write("a", "more!").ok();
        one_file(s, &["a", "d/e"], "2", "\"more!\"");
        s.unlink("a").ok();
        s.unlink("d/e").ok();
        s.index().is("");
    });
}

#[test]
fn t080_attributes_set_by_a_lower_name() {
    indexed(
        "T080",
        "index=on: an attribute is set on the file, whichever names the upper has",
    )
    .layers(|l| {
        l.lower(1).file("a", "data").link("a", "b").link("a", "c");
    })
    .steps(|s| {
        s.setx("a", "user.one", "1").ok();
        s.upper("a").is("file 0644 0:0 4");
        s.setx("b", "user.two", "2").ok();
        s.delx("c", "user.one").ok();
        s.upper("b").is("absent");
        s.upper("c").is("absent");
        s.listx("b").is("user.two");
        s.getx("c", "user.two").noted();
        s.utimens("c", Some(1_100_000_000)).ok();
        s.upper("c").is("file 0644 0:0 4");
        s.mtime("b").noted();
        s.index().is("file 3 U+0");
    });
}

#[test]
fn t080_more_names_below_than_in_the_layer() {
    indexed(
        "T080",
        "index=on: a lower file with names outside of its layer keeps their count",
    )
    .layers(|l| {
        l.lower(1).file("a", "data").link("a", "b");
        let outside = l.lowers[0].parent().unwrap().join("outside");
        std::fs::hard_link(l.lowers[0].join("a"), outside).unwrap();
    })
    .steps(|s| {
        s.write("a", "DATA").ok();
        one_file(s, &["a", "b"], "3", "\"DATA\"");
        s.unlink("a").ok();
        s.unlink("b").ok();
        s.index().is("file 1 U+0");
        s.ls(".").is("");
    });
}
