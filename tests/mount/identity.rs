//! Who is who: T076-T079.

use std::collections::HashMap;

use super::support::scenario::Scenario;
use super::support::steps::Steps;

/// Triggers the copy-up of every kind of object and insists that no number changes.
fn numbers_stay(s: &mut Steps, names: &[&str]) {
    let before: Vec<_> = names.iter().map(|n| s.identity(n)).collect();
    for name in names {
        s.chown(name, None, Some(77)).ok();
    }
    for (name, before) in names.iter().zip(before) {
        let after = s.identity(name);
        s.check(
            &format!("{name} keeps st_dev and st_ino"),
            after == before && after.1 != 0,
        )
        .holds();
    }
}

#[test]
fn t076_numbers_are_constant() {
    let names = ["f", "d/g", "symlink", "fifo", "d", "merged", "merged/h"];
    Scenario::new(
        "T076",
        "st_ino and st_dev are constant over copy-up and remount",
    )
    .lowers(2)
    .layers(|l| {
        l.lower(1)
            .file("f", "1")
            .file("d/g", "1")
            .symlink("symlink", "t")
            .fifo("fifo")
            .file("merged/h", "1");
        l.lower(2).file("merged/i", "2").file("d/low", "2");
    })
    .steps(move |s| {
        numbers_stay(s, &names);
        let (root, inner) = (s.identity("."), s.identity("d/low"));
        s.check(
            "one st_dev for all",
            root.0 == inner.0 && s.identity("f").0 == root.0,
        )
        .holds();
        s.create("new", "n").ok();
        let new = s.identity("new");
        s.rename("new", "d/moved").ok();
        s.rename("f", "d/f").ok();
        let moved = s.identity("d/moved");
        s.check("rename keeps the number", new == moved).holds();
        s.unlink("merged/h").ok();
        s.create("merged/h", "again").ok();
    });
}

/// One device has all numbers, so there is nothing that `xino` could change (7.3).
#[test]
fn t077_two_filesystems() {
    for xino in ["", "xino=off", "xino=auto", "xino=on"] {
        two_filesystems(xino);
    }
}

fn two_filesystems(xino: &str) {
    let kernel = "index=off,redirect_dir=off,metacopy=off,xino=on";
    Scenario::new(
        "T077",
        "layers on two filesystems: numbers are constant, and unique among all files",
    )
    .lowers(2)
    .on_two_filesystems()
    .options(xino, kernel)
    .layers(|l| {
        for i in 0..40 {
            l.lower(1)
                .file(&format!("one/{i}"), "1")
                .file(&format!("both/a{i}"), "1");
            l.lower(2)
                .file(&format!("two/{i}"), "2")
                .file(&format!("both/b{i}"), "2");
        }
    })
    .steps(|s| {
        numbers_stay(
            s,
            &["one/1", "two/1", "both/a1", "both/b1", "one", "two", "both"],
        );
        let mut seen = HashMap::new();
        let mut twice = Vec::new();
        for dir in ["one", "two", "both"] {
            for entry in std::fs::read_dir(s.at(dir)).unwrap() {
                let path = entry.unwrap().path();
                let m = path.symlink_metadata().unwrap();
                let id = (
                    std::os::unix::fs::MetadataExt::dev(&m),
                    std::os::unix::fs::MetadataExt::ino(&m),
                );
                twice.extend(seen.insert(id, path));
            }
        }
        s.check(
            "160 files, 160 numbers",
            seen.len() == 160 && twice.is_empty(),
        )
        .holds();
        for dir in [".", "one", "two", "both"] {
            s.entry_numbers(dir).is("all equal st_ino");
        }
    });
}

#[test]
fn t078_listed_numbers() {
    Scenario::new("T078", "d_ino equals st_ino for all entries, `.` and `..`")
        .lowers(2)
        .layers(|l| {
            l.lower(1)
                .file("d/a", "1")
                .dir("d/sub")
                .file("d/sub/x", "1")
                .symlink("d/s", "t")
                .dir("low/only");
            l.lower(2).file("d/b", "2").file("d/sub/y", "2");
            l.upper()
                .file("d/c", "3")
                .file("pure/p", "3")
                .dir("pure/sub");
        })
        .steps(|s| {
            let dirs = ["d", "d/sub", "low", "low/only", "pure", "pure/sub"];
            for dir in dirs {
                s.entry_numbers(dir).is("all equal st_ino");
            }
            for name in ["d/a", "d/b", "d/s", "d/sub/x", "low/only"] {
                s.chown(name, None, Some(5)).ok();
            }
            for dir in dirs {
                s.entry_numbers(dir).is("all equal st_ino");
            }
            s.rename("d/a", "pure/a").ok();
            s.rename("d/sub/y", "pure/sub/y").ok();
            s.mkdir("pure/new").ok();
            s.rename("d/s", "pure/new/s").ok();
            for dir in dirs.iter().chain(&["pure/new"]) {
                s.entry_numbers(dir).is("all equal st_ino");
            }
            s.entry_numbers(".").is("all equal st_ino");
        });
}

#[test]
fn t079_lower_hard_links_part() {
    Scenario::new(
        "T079",
        "index=off: the copied-up name of a hard link gets its own number, the others stay",
    )
    .layers(|l| {
        l.lower(1).file("a", "data").link("a", "b").link("a", "d/c");
    })
    .steps(|s| {
        let (a, b, c) = (s.identity("a"), s.identity("b"), s.identity("d/c"));
        s.check("one number below", a == b && b == c).holds();
        s.nlink("a").is("3");
        s.write("a", "DATA").ok();
        let changed = s.identity("a");
        s.check("a has a new number", changed != a).holds();
        s.nlink("a").is("1");
        s.mark("a", "origin").is("absent");
        let (still_b, still_c) = (s.identity("b"), s.identity("d/c"));
        s.check("the others keep theirs", still_b == b && still_c == c)
            .holds();
        s.nlink("b").is("3");
        s.read("a").is("\"DATA\"");
        s.read("b").is("\"data\"");
        s.unlink("b").ok();
        s.nlink("d/c").is("3");
        s.chmod("d/c", 0o600).ok();
        s.stat("a").is("file 0644 0:0 4");
    });
}

#[test]
fn t134_two_processes_change_two_names_of_one_lower_file() {
    const PAIRS: usize = 25;
    Scenario::new(
        "T134",
        "chmod by two names of a lower hard link from two processes: each name keeps its own change",
    )
    .layers(|l| {
        for n in 0..PAIRS {
            let (a, b) = (format!("a/{n}"), format!("b/{n}"));
            l.lower(1).file(&a, "data").link(&a, &b);
        }
    })
    .steps(|s| {
        // Each process changes one name of every pair; they run at once, in opposite order.
        let process = |dir: &str, mode: &str, names: String| {
            let script = format!("for n in {names}; do chmod {mode} {dir}/$n; echo {mode} >> {dir}/$n; done");
            let mut command = std::process::Command::new("sh");
            command.args(["-ec", &script]).current_dir(s.at("."));
            command.spawn().unwrap()
        };
        let names = |order: &mut dyn Iterator<Item = usize>| {
            order.map(|n| n.to_string()).collect::<Vec<_>>().join(" ")
        };
        let both = [
            process("a", "600", names(&mut (0..PAIRS))),
            process("b", "751", names(&mut (0..PAIRS).rev())),
        ];
        let done = both.map(|mut process| process.wait().unwrap().success());
        s.check("both processes succeed", done == [true; 2]).holds();
        for n in 0..PAIRS {
            let (a, b) = (format!("a/{n}"), format!("b/{n}"));
            s.stat(&a).is("file 0600 0:0 8");
            s.stat(&b).is("file 0751 0:0 8");
            s.read(&a).is("\"data600\\n\"");
            s.read(&b).is("\"data751\\n\"");
            s.nlink(&a).is("1");
            let (one, other) = (s.identity(&a), s.identity(&b));
            s.check("two files now", one != other).holds();
        }
    });
}

#[test]
fn t083_link_counts_in_the_upper() {
    Scenario::new(
        "T083",
        "st_nlink follows links added and removed in the upper layer",
    )
    .layers(|l| {
        l.lower(1).file("low", "x").dir("d");
        l.upper().file("up", "x").link("up", "up2");
    })
    .steps(|s| {
        s.nlink("up").is("2");
        s.link("up", "d/up3").ok();
        s.nlink("up").is("3");
        s.unlink("up2").ok();
        s.nlink("d/up3").is("2");
        s.rename("d/up3", "up").ok();
        s.ls("d").is("up3");
        s.link("low", "low2").ok();
        s.nlink("low").is("2");
        s.unlink("low").ok();
        s.nlink("low2").is("1");
        s.create("other", "y").ok();
        s.rename("other", "up").ok();
        s.nlink("d/up3").is("1");
        s.mkdir("pure").ok();
        s.mkdir("pure/sub").ok();
        s.nlink("pure").is("3");
    });
}
