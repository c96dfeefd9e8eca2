//! The mount as a whole: no upper, leftovers, syncs: T110, T112, T115.

use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Command;

use super::support::env;
use super::support::layers::Layers;
use super::support::mount::Mounted;
use super::support::scenario::Scenario;
use super::support::steps::{self, Errno, FileType};

#[test]
fn t110_fsync() {
    Scenario::new(
        "T110",
        "fsync and fdatasync succeed on lower and upper files and directories",
    )
    .layers(|l| {
        l.lower(1).file("d/f", "data").file("e/g", "data");
    })
    .steps(|s| {
        let lower = s.opened("d/f", "r");
        s.fsync(&lower).ok();
        s.fdatasync(&lower).ok();
        let dir = s.opened("d", "r,dir");
        s.fsync(&dir).ok();
        s.ls_upper(".").is("");
        let upper = s.opened("e/g", "rw");
        s.fwrite(&upper, 0, "DATA").ok();
        s.fsync(&upper).ok();
        s.fdatasync(&upper).ok();
        let dir = s.opened("e", "r,dir");
        s.fsync(&dir).ok();
        let synced = rustix::fs::syncfs(dir.fd()).map_err(Into::into);
        s.act("syncfs", synced).ok();
        s.fsync(&lower).ok();
    });
}

/// Sync calls of a traced daemon while a file is copied up, written, synced, and a new one made and synced. `None`
/// after having said why it cannot run here.
fn syncs_of_daemon(options: &str) -> Option<Vec<String>> {
    let missing = Command::new("strace")
        .arg("-V")
        .output()
        .is_err()
        .then(|| "needs strace".to_string());
    if let Some(why) = env::mounted_tests_impossible().or(missing) {
        env::cannot_run("T110", &why);
        return None;
    }
    env::isolated(|| {
        let scratch = env::Scratch::new();
        let layers = Layers::new(scratch.path(), 1, true);
        layers.lower(1).file("d/low", "data");
        layers.settle();
        let trace = scratch.path().join("trace");
        let mut command = Command::new("strace");
        command
            .args([
                "-f",
                "-qq",
                "-e",
                "trace=fsync,fdatasync,sync,syncfs,sync_file_range,msync,openat",
                "-o",
            ])
            .arg(&trace);
        let all = if options.is_empty() {
            layers.options()
        } else {
            format!("{},{options}", layers.options())
        };
        command
            .arg(env!("CARGO_BIN_EXE_plyfs"))
            .args(["mount", "-f", "-o", &all])
            .arg(&layers.merged);
        let mounted = Mounted::plyfs_by(command, &layers.merged).unwrap();
        for name in ["d/low", "d/new"] {
            let file = steps::open(&layers.merged.join(name), "rw,creat,sync").unwrap();
            file.write_all_at(b"written", 0).unwrap();
            file.sync_all().unwrap();
            file.sync_data().unwrap();
        }
        fs::File::open(layers.merged.join("d"))
            .unwrap()
            .sync_all()
            .unwrap();
        mounted.unmount().unwrap();
        let calls = fs::read_to_string(&trace).unwrap();
        Some(
            calls
                .lines()
                .filter(|l| l.to_lowercase().contains("sync"))
                .map(str::to_string)
                .collect(),
        )
    })
}

#[test]
fn t110_fsync_reaches_the_upper() {
    let Some(calls) = syncs_of_daemon("") else {
        return;
    };
    let data = calls.iter().filter(|l| l.contains("fdatasync(")).count();
    let all = calls.iter().filter(|l| l.contains(" fsync(")).count();
    // fsync and fdatasync of two files each, fsync of a directory, and the data of one copy-up (18.2).
    assert!(all >= 3, "fsync of two files and a directory: {calls:#?}");
    assert!(data >= 2, "fdatasync of two files: {calls:#?}");
    assert!(
        all + data >= 6,
        "the copy-up syncs its data (10.4): {calls:#?}"
    );
    assert!(calls.iter().any(|l| l.contains("O_SYNC")), "{calls:#?}");
}

#[test]
fn t110_volatile_never_syncs() {
    let Some(mut calls) = syncs_of_daemon("volatile") else {
        return;
    };
    // That asks whether something was lost, and has nothing written.
    calls.retain(|l| {
        !l.contains("sync_file_range(") || !l.contains(", SYNC_FILE_RANGE_WAIT_BEFORE)")
    });
    assert!(
        calls.is_empty(),
        "a volatile mount made sync calls: {calls:#?}"
    );
}

#[test]
fn t112_leftovers_in_work() {
    Scenario::new("T112", "what a crash left in work is removed at mount")
        .layers(|l| {
            l.lower(1).file("f", "data");
            let work = l.work.join("work");
            fs::create_dir_all(work.join("#1")).unwrap();
            fs::write(work.join("#1/child"), "x").unwrap();
            fs::write(work.join("#2"), "half a copy").unwrap();
            fs::create_dir(work.join("odd name")).unwrap();
        })
        .steps(|s| {
            s.work_residue().is("");
            s.write("f", "DATA").ok();
            s.mkdir("new").ok();
        });
}

#[test]
fn t112_deep_leftovers_in_work() {
    Scenario::new(
        "T112",
        "leftovers of any depth; the kernel gives up at two levels (18.5)",
    )
    .plyfs_only("18.5: the kernel mounts read-only then")
    .layers(|l| {
        l.lower(1).file("f", "data");
        let mut deep = l.work.join("work");
        for i in 0..60 {
            deep.push(format!("#{i}"));
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", l.work.join("work/#s")).unwrap();
    })
    .steps(|s| {
        s.work_residue().is("");
        s.write("f", "DATA").ok();
    });
}

#[test]
fn t115_no_upper() {
    Scenario::new(
        "T115",
        "without an upper every write fails with EROFS; statfs is that of lower 1",
    )
    .lowers(2)
    .read_only()
    .layers(|l| {
        l.lower(1)
            .file("f", "data")
            .dir("d")
            .symlink("s", "f")
            .xattr("f", "user.a", "1");
        l.lower(2).file("d/g", "2");
    })
    .steps(|s| {
        let rofs = Errno::ROFS;
        s.write("f", "x").fails(rofs);
        s.open("f", "r,trunc").fails(rofs);
        s.create("new", "x").fails(rofs);
        s.truncate("f", 0).fails(rofs);
        s.mkdir("new").fails(rofs);
        s.mknod("new", FileType::Fifo, (0, 0)).fails(rofs);
        s.symlink("new", "t").fails(rofs);
        s.link("f", "new").fails(rofs);
        s.unlink("f").fails(rofs);
        s.rmdir("d").fails(rofs);
        s.rename("f", "new").fails(rofs);
        s.chmod("f", 0o600).fails(rofs);
        s.chown("f", Some(1), None).fails(rofs);
        s.utimens("f", Some(1)).fails(rofs);
        s.setx("f", "user.b", "1").fails(rofs);
        s.delx("f", "user.a").fails(rofs);
        let access =
            rustix::fs::access(s.at("f"), rustix::fs::Access::WRITE_OK).map_err(Into::into);
        s.act("access W_OK", access).fails(rofs);
        s.read("f").is("\"data\"");
        s.ls("d").is("g");
        let here = rustix::fs::statvfs(s.at("."));
        let there = rustix::fs::statvfs(&s.layers.lowers[0]);
        let (here, there) = (here.unwrap(), there.unwrap());
        let same = (here.f_blocks, here.f_bsize, here.f_files)
            == (there.f_blocks, there.f_bsize, there.f_files);
        s.check("statfs shows lower 1", same).holds();
    });
}
