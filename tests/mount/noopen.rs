//! Mounts whose kernel opens and closes files without telling (`noopen`, 22.20): what T088, T090 to T094, T096 and T133
//! ask of open files holds, and what an open for writing would say or do is said and done by the first write.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use super::flags::protect;
use super::openfiles::{mixed_opens, writes_never_reach_the_lower};
use super::support::env::{self, Scratch};
use super::support::ffi::{Map, Mapping};
use super::support::layers::Layers;
use super::support::mount::{KERNEL_DEFAULTS, Mounted};
use super::support::scenario::Scenario;
use super::support::steps::{self, Errno};

const WHY: &str = "22.20";
/// Files of a test that has more of them than fds.
const MANY: usize = 400;
const FEW_FDS: usize = 128;
/// One in so many of them loses its name.
const UNLINKED: usize = 10;

#[test]
fn t090_where_opens_are_not_told() {
    writes_never_reach_the_lower("noopen=on");
}

#[test]
fn t133_where_opens_are_not_told() {
    mixed_opens("noopen=on", KERNEL_DEFAULTS);
    mixed_opens("noopen=on,metacopy=on", "metacopy=on,index=off,xino=off");
}

#[test]
fn t058_the_first_write_copies_up() {
    Scenario::new("T058", "not the open, but what follows it, copies up")
        .options("noopen=on", KERNEL_DEFAULTS)
        .layers(|l| {
            let l = l.lower(1);
            for name in ["write", "cut", "allocate", "map", "mode", "append", "link"] {
                l.file(name, vec![b'l'; 8192]);
            }
        })
        .steps(|s| {
            let absent = "file 0644 0:0 8192";
            let file = s.opened("write", "rw");
            s.upper("write").differs(WHY, absent, "absent");
            s.fstat(&file).is("file 0644 0:0 8192");
            s.fwrite(&file, 0, "W").ok();
            s.upper("write").is("file 0644 0:0 8192");
            s.fsync(&file).ok();
            let file = s.opened("cut", "w");
            s.ftruncate(&file, 10).ok();
            s.upper("cut").is("file 0644 0:0 10");
            s.fwrite(&file, 5, "C").ok();
            s.read("cut").is("\"lllllCllll\"");
            s.allocate("allocate", true).ok();
            s.upper("allocate").is("file 0644 0:0 8192");
            let file = s.opened("mode", "w");
            s.fchmod(&file, 0o600).ok();
            s.upper("mode").is("file 0600 0:0 8192");
            s.fwrite(&file, 1, "M").ok();
            let file = s.opened("append", "w,append");
            s.fwrite(&file, 0, "A").ok();
            s.stat("append").is("file 0644 0:0 8193");
            let file = s.opened("map", "rw");
            let mut map = Map::new(file.fd(), 8192, Mapping::SharedWrite).unwrap();
            map.write(b"by map");
            s.act("msync", map.sync()).ok();
            s.upper("map").is("file 0644 0:0 8192");
            drop((map, file));
            let text = fs::read(s.at("map")).unwrap();
            s.check("the map's data", text.starts_with(b"by map"))
                .holds();
            let file = s.opened("link", "rw");
            s.unlink("link").ok();
            s.fread(&file).noted();
            s.fwrite(&file, 0, "gone").differs(WHY, "ok", "ok");
            s.create("link", "new").ok();
            s.read("link").is("\"new\"");
        });
}

#[test]
fn t071_no_space_shows_at_the_write() {
    Scenario::new("T071", "ENOSPC in a copy-up is that of the first write")
        .options("noopen=on", KERNEL_DEFAULTS)
        .on_tmpfs_of("12m")
        .layers(|l| {
            l.lower(1).file("d/big", vec![b'b'; 8 << 20]);
        })
        .steps(|s| {
            s.open("d/big", "w").differs(WHY, "ENOSPC", "ok");
            s.open("d/big", "w,trunc").ok();
            s.upper("d/big").is("file 0644 0:0 0");
        });
    Scenario::new("T071", "and leaves the file as it was")
        .options("noopen=on", KERNEL_DEFAULTS)
        .on_tmpfs_of("12m")
        .plyfs_only(WHY)
        .layers(|l| {
            l.lower(1).file("d/big", vec![b'b'; 8 << 20]);
        })
        .steps(|s| {
            let file = s.opened("d/big", "rw");
            s.fwrite(&file, 0, "x").fails(Errno::NOSPC);
            s.work_residue().is("");
            s.upper("d/big").is("absent");
            s.fread(&file).noted();
            s.ftruncate(&file, 0).ok();
            s.fwrite(&file, 0, "fits").ok();
            s.upper("d/big").is("file 0644 0:0 4");
        });
}

#[test]
fn t105_immutable_files_show_at_the_write() {
    Scenario::new("T105", "EPERM of an immutable file is that of the write")
        .options("noopen=on", KERNEL_DEFAULTS)
        .on_ext4()
        .plyfs_only(WHY)
        .layers(|l| {
            for (name, how) in [("fixed", "+i"), ("log", "+a")] {
                let layer = l.lower(1).file(name, "l");
                protect(layer.times(name, 1_000_000_000, 0), how, name);
            }
        })
        .steps(|s| {
            let file = s.opened("fixed", "rw");
            s.fwrite(&file, 0, "x").fails(Errno::PERM);
            s.ftruncate(&file, 0).fails(Errno::PERM);
            s.open("fixed", "w,trunc").fails(Errno::PERM);
            let file = s.opened("log", "w");
            s.fwrite(&file, 0, "x").fails(Errno::PERM);
            let file = s.opened("log", "w,append");
            s.fwrite(&file, 0, "x").ok();
            s.read("log").is("\"lx\"");
            s.upper("fixed").is("absent");
        });
}

#[test]
fn t096_programs_that_run_are_busy() {
    Scenario::new("T096", "ETXTBSY is the kernel's own, also for a cut")
        .options("noopen=on", KERNEL_DEFAULTS)
        .layers(|l| {
            l.lower(1).program("sleep", "/bin/sleep");
        })
        .steps(|s| {
            let mut child = std::process::Command::new(s.at("sleep"))
                .arg("100")
                .spawn()
                .unwrap();
            for flags in ["w", "rw", "w,append", "w,trunc"] {
                s.open("sleep", flags).fails(Errno::TXTBSY);
            }
            child.kill().unwrap();
            child.wait().unwrap();
            s.upper("sleep").is("absent");
            s.write("sleep", "not running").ok();
        });
}

/// More open files than fds: each can be closed and opened again, unlinked or not.
#[test]
fn t092_open_files_outlive_their_fds() {
    if let Some(why) = env::mounted_tests_impossible() {
        return env::cannot_run("T092", &why);
    }
    env::isolated(|| {
        let scratch = Scratch::new();
        let layers = Layers::new(scratch.path(), 1, true);
        for n in 0..MANY {
            layers.lower(1).file(&format!("{n}"), format!("lower {n}"));
        }
        layers.settle();
        let options = format!("{},noopen=on", layers.options());
        let mut command = std::process::Command::new("prlimit");
        command
            .arg(format!("--nofile={FEW_FDS}:{FEW_FDS}"))
            .arg(super::support::userns::program())
            .args(["mount", "-f", "-o", &options])
            .arg(&layers.merged);
        let mounted = Mounted::plyfs_by(command, &layers.merged).unwrap();
        let at = |n: usize| layers.merged.join(n.to_string());
        let files: Vec<File> = (0..MANY)
            .map(|n| steps::open(&at(n), "rw").unwrap())
            .collect();
        let content = |n: usize| format!("{} {n}", ["lower", "UPPER", "UPPER"][n % 3]);
        for (n, file) in files.iter().enumerate() {
            if n % 3 > 0 {
                file.write_all_at(b"UPPER", 0).unwrap();
            }
            // An upper file without a name keeps one fd to be found by.
            if n % UNLINKED == 0 {
                fs::remove_file(at(n)).unwrap();
                fs::write(at(n), "another").unwrap();
            }
        }
        for (n, file) in files.iter().enumerate() {
            let mut text = vec![0; 64];
            let len = file.read_at(&mut text, 0).unwrap();
            assert_eq!(text[..len].escape_ascii().to_string(), content(n), "{n}");
            assert_eq!(
                file.metadata().unwrap().nlink(),
                u64::from(n % UNLINKED > 0)
            );
            file.write_all_at(b"again", 0).unwrap();
            file.sync_data().unwrap();
        }
        for (n, file) in files.iter().enumerate() {
            let mut text = [0; 5];
            file.read_exact_at(&mut text, 0).unwrap();
            assert_eq!(&text, b"again", "{n}");
            if n % UNLINKED == 0 {
                assert_eq!(fs::read(at(n)).unwrap(), b"another");
            }
        }
        drop(files);
        let open = fs::read_dir(format!(
            "/proc/{}/fd",
            mounted.pid().unwrap().as_raw_nonzero()
        ));
        let open = open.unwrap().count();
        assert!(open < FEW_FDS, "{open} fds are open");
        mounted.unmount().unwrap();
    });
}
