//! Open files, maps, locks and running programs: T088-T097.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::process::Command;

use rustix::fs::FlockOperation;

use super::support::dice::Dice;
use super::support::env;
use super::support::ffi::{Map, Mapping};
use super::support::scenario::Scenario;
use super::support::steps::{self, Errno, Steps};

/// Beyond the size from which files are passed through.
const LARGE: usize = 300_000;

/// Everything of T090 and T091, on any kind of I/O path.
pub fn writes_never_reach_the_lower(options: &'static str) {
    Scenario::new(
        "T088 T090 T091",
        "files opened for reading, then for writing: the lower layer is unchanged",
    )
    .options(options, super::support::mount::KERNEL_DEFAULTS)
    .layers(|l| {
        let l = l.lower(1);
        for name in ["plain", "two", "trunc", "reopened", "d/deep"] {
            l.file(name, "lower data");
        }
        l.program("program", "/bin/true");
        // Large enough for passthrough: a program and plain files.
        l.program("bash", "/bin/bash")
            .file("large", vec![b'l'; LARGE])
            .file("d/large", vec![b'l'; LARGE]);
    })
    .steps(|s| {
        for name in ["plain", "d/deep"] {
            let old = s.opened(name, "r");
            s.fread(&old).is("\"lower data\"");
            let new = s.opened(name, "rw");
            s.fwrite(&new, 0, "UPPER").ok();
            s.fread(&new).is("\"UPPER data\"");
            s.fread(&old).is("\"UPPER data\"");
            s.fstat(&old).is("file 0644 0:0 10");
            s.fwrite(&new, 10, " and more").ok();
            s.fread(&old).is("\"UPPER data and more\"");
        }
        let (one, two) = (s.opened("two", "r"), s.opened("two", "r"));
        let new = s.opened("two", "w");
        s.fwrite(&new, 6, "DATA").ok();
        s.fread(&one).is("\"lower DATA\"");
        s.fread(&two).is("\"lower DATA\"");
        let old = s.opened("trunc", "r");
        let new = s.opened("trunc", "rw,trunc");
        s.fread(&old).is("\"\"");
        s.fwrite(&new, 0, "new").ok();
        s.fread(&old).is("\"new\"");
        drop(s.opened("reopened", "r"));
        let kept = s.opened("reopened", "r");
        drop(s.opened("reopened", "r"));
        let new = s.opened("reopened", "rw");
        s.fwrite(&new, 0, "third").ok();
        drop(kept);
        s.read("reopened").is("\"third data\"");
        for name in ["large", "d/large"] {
            let old = s.opened(name, "r");
            let again = s.opened(name, "r");
            let new = s.opened(name, "rw");
            s.fwrite(&new, 0, "UPPER").ok();
            s.fwrite(&new, LARGE as u64 / 2, "UPPER").ok();
            for fd in [&old, &again, &new] {
                s.fread(fd).noted();
            }
        }
        for name in ["program", "bash"] {
            let image = s.opened(name, "r");
            let map = Map::new(image.fd(), 4096, Mapping::SharedExec).unwrap();
            let new = s.opened(name, "rw");
            s.fwrite(&new, 1, "elf").ok();
            s.check(
                "the map has an ELF header",
                map.bytes().starts_with(b"\x7f"),
            )
            .holds();
        }
        for name in ["plain", "two", "trunc", "reopened", "d/deep", "program"] {
            s.upper(name).noted();
            let mut lower = Vec::new();
            let on_disk = steps::open(&s.layers.lower(1).at(name), "r,noatime").unwrap();
            (&on_disk).read_to_end(&mut lower).unwrap();
            let as_it_was = lower == b"lower data" || lower.starts_with(b"\x7fELF");
            s.check(&format!("lower {name} is as it was"), as_it_was)
                .holds();
        }
    });
}

#[test]
fn t090_lower_files_are_never_written() {
    writes_never_reach_the_lower("");
}

/// T088 and T091 as well.
#[test]
fn t090_without_passthrough() {
    writes_never_reach_the_lower("passthrough=off");
}

/// T088 and T091 as well.
#[test]
fn t090_with_passthrough() {
    writes_never_reach_the_lower("passthrough=on");
}

/// Any order of opens, reads, writes and closes of a few files, large enough for passthrough, by several descriptors.
pub fn mixed_opens(options: &'static str, kernel: &'static str) {
    mixed_opens_of(LARGE, options, kernel);
}

/// As above, of files of this size.
fn mixed_opens_of(size: usize, options: &'static str, kernel: &'static str) {
    let names = ["low", "up", "small", "suid"];
    Scenario::new(
        "T133 T090",
        "whatever the order of opens and closes: never EIO, always the same bytes",
    )
    .options(options, kernel)
    .layers(|l| {
        l.lower(1)
            .file("low", vec![b'l'; size])
            .file("small", "small")
            .file("suid", vec![b's'; size]);
        l.lower(1).mode("suid", 0o4755);
        l.upper().file("up", vec![b'u'; size]);
    })
    .steps(move |s| {
        let mut dice = Dice::new(90);
        // Where that makes one, the file is a metacopy first.
        let early = s.opened("low", "r");
        s.chmod("low", 0o600).ok();
        drop(early);
        let mut slots: [Option<fs::File>; 6] = Default::default();
        for step in 0..600 {
            let (slot, name) = (dice.roll(slots.len()), names[dice.roll(names.len())]);
            let offset = dice.roll(size) as u64;
            let said = match (dice.roll(7), slots[slot].take()) {
                (0 | 1, _) | (_, None) => {
                    let flags = ["r", "r", "r", "rw", "rw", "rw,append", "r,sync", "rw,trunc"]
                        [dice.roll(8)];
                    slots[slot] = steps::open(&s.at(name), flags).ok();
                    format!("open {name} {flags}: {}", slots[slot].is_some())
                }
                (2, Some(closed)) => {
                    drop(closed);
                    "close".into()
                }
                (3 | 4, Some(file)) => {
                    let mut data = [0; 16];
                    let n = file
                        .read_at(&mut data, offset)
                        .map_err(|e| steps::errno_name(&e));
                    slots[slot] = Some(file);
                    format!("read at {offset}: {n:?} {}", data.escape_ascii())
                }
                (5, Some(file)) => {
                    let wrote = file.write_at(format!("<{step}>").as_bytes(), offset);
                    slots[slot] = Some(file);
                    format!(
                        "write at {offset}: {:?}",
                        wrote.map_err(|e| steps::errno_name(&e))
                    )
                }
                (_, Some(file)) => {
                    let size = file.metadata().map(|m| m.len());
                    slots[slot] = Some(file);
                    format!("size {:?}", size.map_err(|e| steps::errno_name(&e)))
                }
            };
            s.check(
                &format!("step {step}, slot {slot}: {said}"),
                !said.contains("EIO"),
            )
            .holds();
        }
        for name in names {
            s.read(name).noted();
        }
    });
}

#[test]
fn t133_any_order_of_opens() {
    mixed_opens("", super::support::mount::KERNEL_DEFAULTS);
}

/// The kernel reads these by itself once after they were written, then from its cache.
#[test]
fn t133_any_order_of_opens_of_small_files() {
    mixed_opens_of(
        5000,
        "passthrough=on",
        super::support::mount::KERNEL_DEFAULTS,
    );
}

#[test]
fn t133_any_order_of_opens_without_passthrough() {
    mixed_opens("passthrough=off", super::support::mount::KERNEL_DEFAULTS);
}

#[test]
fn t133_any_order_of_opens_of_a_metacopy() {
    let kernel = "metacopy=on,index=off,xino=off";
    mixed_opens("metacopy=on,passthrough=on", kernel);
    mixed_opens("metacopy=on,passthrough=off", kernel);
}

#[test]
fn t089_map_from_before_the_copy_up() {
    Scenario::new(
        "T089",
        "a shared map made before the copy-up sees new data (22.9); the kernel's does not (15.1)",
    )
    .layers(|l| {
        l.lower(1)
            .file("f", vec![b'o'; 4096])
            .file("untouched", vec![b'o'; 4096]);
    })
    .steps(|s| {
        let old = s.opened("f", "r");
        let map = Map::new(old.fd(), 4096, Mapping::SharedRead).unwrap();
        s.check("the map shows the lower file", map.bytes() == [b'o'; 4096])
            .holds();
        let new = s.opened("f", "rw");
        s.fwrite(&new, 0, "new").ok();
        let sees = map.bytes().starts_with(b"new");
        s.check("the old map shows new data", sees)
            .differs("15.1 22.9", "false", "true");
        let later = Map::new(old.fd(), 4096, Mapping::SharedRead).unwrap();
        let sees = later.bytes().starts_with(b"new");
        s.check("a new map of the old descriptor", sees)
            .differs("15.1 22.9", "false", "true");
        let mut shared = Map::new(new.fd(), 4096, Mapping::SharedWrite).unwrap();
        shared.write(b"by map");
        s.act("msync", shared.sync()).ok();
        let all = fs::read(s.at("f")).unwrap();
        s.check("read sees what the map wrote", all.starts_with(b"by map"))
            .holds();
    });
}

#[test]
fn t092_unlinked_lower_file() {
    Scenario::new(
        "T092",
        "an unlinked lower file stays usable; the kernel does not copy it up any more (15.2)",
    )
    .layers(|l| {
        l.lower(1).file("f", "lower data").file("d/g", "lower data");
    })
    .steps(|s| {
        for name in ["f", "d/g"] {
            let old = s.opened(name, "r");
            s.unlink(name).ok();
            s.fread(&old).is("\"lower data\"");
            s.fnlink(&old).differs("15.2", "1", "0");
            s.fchmod(&old, 0o600).differs("15.2", "EEXIST", "ok");
            s.fread(&old).is("\"lower data\"");
            s.create(name, "another").ok();
            let new = s.opened(name, "rw");
            s.fread(&new).is("\"another\"");
            s.fread(&old).is("\"lower data\"");
            s.fwrite(&new, 0, "changed").ok();
            s.fread(&old).is("\"lower data\"");
            s.stat(name).is("file 0644 0:0 7");
        }
    });
}

#[test]
fn t093_unlinked_upper_file() {
    Scenario::new("T093", "an unlinked upper file is fully usable")
        .layers(|l| {
            l.lower(1).file("copied", "data");
            l.upper().file("up", "data");
        })
        .steps(|s| {
            s.create("new", "data").ok();
            for name in ["up", "new", "copied"] {
                let fd = s.opened(name, "rw");
                s.unlink(name).ok();
                s.fwrite(&fd, 4, " more").ok();
                s.fread(&fd).is("\"data more\"");
                s.ftruncate(&fd, 2).ok();
                s.fstat(&fd).is("file 0644 0:0 2");
                s.fnlink(&fd).is("0");
                s.fchmod(&fd, 0o600).ok();
                s.fsync(&fd).ok();
                s.fstat(&fd).is("file 0600 0:0 2");
                s.stat(name).fails(Errno::NOENT);
            }
        });
}

#[test]
fn t094_renamed_over() {
    Scenario::new(
        "T094",
        "an open file keeps its data when another is renamed over it",
    )
    .layers(|l| {
        l.lower(1)
            .file("low", "lower")
            .file("source", "source")
            .file("low2", "lower2");
        l.upper().file("up", "upper");
    })
    .steps(|s| {
        for (victim, content) in [
            ("low", "\"lower\""),
            ("up", "\"upper\""),
            ("low2", "\"lower2\""),
        ] {
            let fd = s.opened(victim, "r");
            s.create("tmp", "replacement").ok();
            s.rename("tmp", victim).ok();
            s.fread(&fd).is(content);
            s.read(victim).is("\"replacement\"");
            let bytes = content.len() as u64 - 2;
            s.fstat(&fd).is(&format!("file 0644 0:0 {bytes}"));
        }
        let moved = s.opened("source", "r");
        s.rename("source", "target").ok();
        s.fread(&moved).is("\"source\"");
        s.write("target", "SOURCE").ok();
        s.fread(&moved).is("\"SOURCE\"");
    });
}

#[test]
fn t095_locks_across_copy_up() {
    Scenario::new(
        "T095",
        "flock conflicts between a descriptor from before the copy-up and one for writing",
    )
    .layers(|l| {
        l.lower(1).file("f", "data");
    })
    .steps(|s| {
        let lock = |fd: &steps::Fd, how| rustix::fs::flock(fd.fd(), how).map_err(io::Error::from);
        let old = s.opened("f", "r");
        s.act(
            "lock by the old one",
            lock(&old, FlockOperation::NonBlockingLockExclusive),
        )
        .ok();
        let new = s.opened("f", "rw");
        s.act(
            "lock by the new one",
            lock(&new, FlockOperation::NonBlockingLockExclusive),
        )
        .fails(Errno::AGAIN);
        s.fwrite(&new, 0, "DATA").ok();
        s.act("again", lock(&new, FlockOperation::NonBlockingLockShared))
            .fails(Errno::AGAIN);
        s.act("unlock", lock(&old, FlockOperation::Unlock)).ok();
        s.act("now", lock(&new, FlockOperation::NonBlockingLockExclusive))
            .ok();
        s.act(
            "other way",
            lock(&old, FlockOperation::NonBlockingLockShared),
        )
        .fails(Errno::AGAIN);
    });
}

#[test]
fn t096_text_file_busy() {
    Scenario::new(
        "T096",
        "a running program cannot be opened for writing, from the lower or the upper layer",
    )
    .layers(|l| {
        l.lower(1).program("low", "/bin/sleep");
        l.upper().program("up", "/bin/sleep");
    })
    .steps(|s| {
        for name in ["low", "up"] {
            let mut running = env::spawn_fresh(Command::new(s.at(name)).arg("1000")).unwrap();
            s.open(name, "w").fails(Errno::TXTBSY);
            s.open(name, "rw").fails(Errno::TXTBSY);
            s.truncate(name, 0).fails(Errno::TXTBSY);
            // Nor cut by an open for reading, of which the kernel's overlayfs copies up an empty file.
            if name == "up" {
                s.open(name, "r,trunc").fails(Errno::TXTBSY);
                s.read(name).noted();
            }
            s.open(name, "r").ok();
            s.chmod(name, 0o700).ok();
            running.kill().unwrap();
            running.wait().unwrap();
            s.open(name, "rw").ok();
        }
    });
}

fn stand_in(s: &mut Steps, dir: &str) {
    let moved = std::env::set_current_dir(s.at(dir));
    s.act(format!("cd {dir}"), moved).ok();
}

#[test]
fn t097_removed_working_directory() {
    Scenario::new(
        "T097",
        "a removed working directory: nothing can be created; a failed rmdir leaves it usable",
    )
    .layers(|l| {
        l.lower(1).dir("low").file("full/f", "x");
        l.upper().dir("up");
    })
    .steps(|s| {
        for dir in ["low", "up"] {
            stand_in(s, dir);
            s.rmdir(dir).ok();
            s.act("getcwd", std::env::current_dir().map(drop))
                .fails(Errno::NOENT);
            s.act("create here", fs::write("x", "x"))
                .fails(Errno::NOENT);
            s.act("mkdir here", fs::create_dir("x")).fails(Errno::NOENT);
            let listed = fs::read_dir(".").map(|d| d.count().to_string());
            s.act("readdir here", listed).is("0");
            s.mkdir(dir).ok();
            s.act("create here", fs::write("x", "x"))
                .fails(Errno::NOENT);
        }
        stand_in(s, "full");
        s.rmdir("full").fails(Errno::NOTEMPTY);
        let here =
            std::env::current_dir().map(|d| d.file_name().unwrap().to_string_lossy().into_owned());
        s.act("getcwd", here).is("full");
        s.act("create here", fs::write("new", "x")).ok();
        std::env::set_current_dir("/").unwrap();
        s.ls("full").is("f new");
    });
}

#[test]
fn files_are_always_ready() {
    Scenario::new(
        "T095",
        "poll on a file says ready and no error: Go programs ask it of every file they open",
    )
    .layers(|l| {
        l.lower(1).file("f", "x");
    })
    .steps(|s| {
        let fd = s.opened("f", "r");
        for _ in 0..2 {
            let file = fd.fd();
            let mut asked = [PollFd::new(&file, PollFlags::IN | PollFlags::OUT)];
            let count = poll(&mut asked, Some(&Timespec::default())).map_err(io::Error::from);
            let answer = count.map(|count| format!("{count}: {:?}", asked[0].revents()));
            s.act("poll f", answer).is("1: PollFlags(IN | OUT)");
        }
    });
}
