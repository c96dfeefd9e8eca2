//! Immutable and append-only: T105, T106.

use rustix::fs::IFlags;

use super::support::env::run;
use super::support::layers::Tree;
use super::support::scenario::Scenario;
use super::support::steps::{Errno, Steps};

fn chattr(s: &mut Steps, how: &str, path: &str) {
    let ran = run("chattr", &[how, &s.at(path).to_string_lossy()]);
    s.act(
        format!("chattr {how} {path}"),
        ran.map_err(std::io::Error::other),
    )
    .ok();
}

/// In a layer, behind the mount's back.
pub fn protect(tree: Tree<'_>, how: &str, path: &str) {
    run("chattr", &[how, &tree.at(path).to_string_lossy()]).expect("chattr on a layer");
}

#[test]
fn t105_immutable_lower_file() {
    Scenario::new(
        "T105",
        "an immutable lower file is immutable through the mount; chattr -i frees it",
    )
    .on_ext4()
    .layers(|l| {
        protect(
            l.lower(1).file("f", "x").times("f", 1_000_000_000, 0),
            "+i",
            "f",
        );
    })
    .steps(|s| {
        s.chmod("f", 0o600).fails(Errno::PERM);
        s.chown("f", Some(1), None).fails(Errno::PERM);
        s.utimens("f", Some(1)).fails(Errno::PERM);
        s.truncate("f", 0).fails(Errno::PERM);
        s.setx("f", "user.a", "b").fails(Errno::PERM);
        s.unlink("f").fails(Errno::PERM);
        s.link("f", "g").fails(Errno::PERM);
        s.rename("f", "g").fails(Errno::PERM);
        s.open("f", "w").fails(Errno::PERM);
        s.read("f").is("\"x\"");
        s.ls_upper(".").is("");
        chattr(s, "-i", "f");
        s.chmod("f", 0o600).ok();
        s.unlink("f").ok();
    });
}

#[test]
fn t105_append_only_lower_file_and_directory() {
    Scenario::new(
        "T105",
        "append-only lower objects only grow, and stay so after copy-up",
    )
    .on_ext4()
    .layers(|l| {
        l.lower(1).file("log", "a").file("d/old", "x");
        l.lower(1)
            .times("log", 1_000_000_000, 0)
            .times("d", 1_000_000_000, 0);
        protect(l.lower(1), "+a", "log");
        protect(l.lower(1), "+a", "d");
    })
    .steps(|s| {
        s.open("log", "w").fails(Errno::PERM);
        s.truncate("log", 0).fails(Errno::PERM);
        s.unlink("d/old").fails(Errno::PERM);
        s.rename("d/old", "out").fails(Errno::PERM);
        s.create("d/new", "n").ok();
        s.unlink("d/new").fails(Errno::PERM);
        let log = s.opened("log", "rw,append");
        s.fwrite(&log, 1, "b").ok();
        s.read("log").is("\"ab\"");
        s.open("log", "w").fails(Errno::PERM);
        chattr(s, "-a", "log");
        s.write("log", "c").ok();
        chattr(s, "-a", "d");
        s.unlink("d/new").ok();
    });
}

/// Those of the two flags that the upper object itself has.
fn flags_on_disk(s: &Steps, path: &str) -> std::io::Result<String> {
    let file = std::fs::File::open(s.layers.upper().at(path))?;
    let flags = rustix::fs::ioctl_getflags(&file)?;
    let both = [(IFlags::IMMUTABLE, "i"), (IFlags::APPEND, "a")];
    let set = both.iter().filter(|(flag, _)| flags.contains(*flag));
    Ok(set.map(|(_, letter)| *letter).collect())
}

/// What an earlier mount has left.
#[test]
fn t106_flags_count_after_a_remount() {
    const MARK: &str = "trusted.overlay.protattr";
    Scenario::new("T106", "flags that are only in a mark count in a new mount")
        .on_ext4()
        .layers(|l| {
            let upper = l.upper();
            for (name, flags) in [("i", "i"), ("a", "a"), ("both", "ia"), ("junk", "x")] {
                upper.file(name, "x").xattr(name, MARK, flags);
            }
            upper.file("d/f", "x").xattr("d", MARK, "i");
        })
        .steps(|s| {
            for name in ["i", "both"] {
                s.open(name, "w").fails(Errno::PERM);
                s.open(name, "w,append").fails(Errno::PERM);
                s.chmod(name, 0o600).fails(Errno::PERM);
                s.unlink(name).fails(Errno::PERM);
                s.link(name, "other").fails(Errno::PERM);
                s.rename(name, "other").fails(Errno::PERM);
            }
            s.open("a", "w").fails(Errno::PERM);
            s.unlink("a").fails(Errno::PERM);
            s.open("a", "w,append").ok();
            s.create("d/new", "x").fails(Errno::PERM);
            s.unlink("d/f").fails(Errno::PERM);
            s.write("junk", "y").ok();
            chattr(s, "-i", "i");
            s.mark("i", "protattr").is("absent");
            s.write("i", "y").ok();
        });
}

#[test]
fn t106_flags_set_through_the_mount() {
    Scenario::new(
        "T106",
        "chattr +i and +a are kept in a mark, not on the upper inode",
    )
    .on_ext4()
    .layers(|l| {
        l.lower(1).file("low", "x").file("d/e", "y");
        l.upper().file("up", "z");
    })
    .steps(|s| {
        for path in ["low", "up", "d"] {
            chattr(s, "+i", path);
        }
        s.write("low", "no").fails(Errno::PERM);
        s.chmod("up", 0o600).fails(Errno::PERM);
        s.create("d/new", "no").fails(Errno::PERM);
        s.unlink("d/e").fails(Errno::PERM);
        s.rename("up", "moved").fails(Errno::PERM);
        for path in ["low", "up", "d"] {
            s.mark(path, "protattr").is("i");
            let flags = flags_on_disk(s, path);
            s.act(format!("flags of {path} on disk"), flags).is("");
        }
        chattr(s, "+a", "up");
        s.mark("up", "protattr").noted();
        chattr(s, "-i", "up");
        s.open("up", "w").fails(Errno::PERM);
        s.open("up", "w,append").ok();
    });
}
