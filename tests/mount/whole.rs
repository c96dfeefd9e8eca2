//! The mount as a whole: no upper, leftovers, syncs, layers taken elsewhere: T110, T112, T115, T135.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use super::support::env;
use super::support::layers::Layers;
use super::support::mount::{Mounted, Server};
use super::support::scenario::{Scenario, snapshots};
use super::support::snapshot::{Compare, Snapshot};
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

/// Copies layers as people do.
fn copied(from: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    env::run(
        "cp",
        &["-a", &from.to_string_lossy(), &to.to_string_lossy()],
    )
    .unwrap();
}

/// Changes of every kind, so that the upper layer has every mark.
fn change_everything(root: &Path) {
    let at = |path: &str| root.join(path);
    fs::write(at("f"), "changed").unwrap();
    fs::set_permissions(at("d/in"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(at("d/moved"), at("pure")).unwrap();
    fs::hard_link(at("f"), at("d/link")).unwrap();
    fs::remove_file(at("d/gone")).unwrap();
    fs::remove_file(at("gone")).unwrap();
    fs::remove_dir_all(at("emptied")).unwrap();
    fs::create_dir(at("emptied")).unwrap();
    fs::write(at("emptied/new"), "new").unwrap();
    std::os::unix::fs::lchown(at("link"), Some(1), Some(2)).unwrap();
}

/// Takes an upper and a work directory elsewhere; with `all`, the lower layers as well.
fn moved_elsewhere(server: Server, all: bool) -> Snapshot {
    let mut scratch = env::Scratch::new();
    let here = Layers::new(&scratch.path().join("here"), 2, true);
    let lower = here.lower(1);
    lower
        .file("f", "old")
        .file("d/in", "in")
        .file("d/moved", "moved")
        .file("d/gone", "");
    lower
        .file("gone", "")
        .symlink("link", "f")
        .xattr("d", "user.a", "1");
    here.lower(2)
        .file("d/below", "below")
        .file("emptied/old", "old");
    here.settle();
    let mounted = Mounted::new(server, &here, "").unwrap();
    change_everything(&here.merged);
    let before = Snapshot::take(&here.merged).unwrap();
    mounted.unmount().unwrap();

    let mut there = Layers::new(&scratch.tmpfs("there", "64m"), 2, true);
    copied(&here.upper, &there.upper);
    copied(&here.work, &there.work);
    if all {
        here.lowers
            .iter()
            .zip(&there.lowers)
            .for_each(|(from, to)| copied(from, to));
    } else {
        there.lowers = here.lowers.clone();
    }
    let lowers = snapshots(&there);
    for again in [false, true] {
        let mounted = Mounted::new(server, &there, "").unwrap();
        let now = Snapshot::take(&there.merged).unwrap();
        let differences = before.differences(&now, Compare::View);
        if !again {
            assert!(
                differences.is_empty(),
                "{server:?}, all {all}: {differences:#?}"
            );
            let numbers: BTreeSet<_> = now
                .entries
                .values()
                .flatten()
                .map(|e| (e.ino, e.nlink > 1))
                .collect();
            // Two names of one file are one number; a number is no two objects.
            assert!(
                server == Server::Kernel || numbers.len() + 1 == now.entries.len(),
                "{numbers:?}"
            );
        }
        // It goes on: what was copied up there is changed and removed here, and more is copied up.
        let at = |path: &str| there.merged.join(path);
        fs::write(at("f"), "again").unwrap();
        fs::write(at("d/below"), "up").unwrap();
        fs::rename(at("pure"), at("d/back")).unwrap();
        fs::rename(at("d/back"), at("pure")).unwrap();
        fs::write(at("gone"), "made").unwrap();
        fs::remove_file(at("gone")).unwrap();
        mounted.unmount().unwrap();
    }
    for (n, (before, now)) in lowers.iter().zip(snapshots(&there)).enumerate() {
        let changed = before.differences(&now, Compare::Untouched);
        assert!(
            changed.is_empty(),
            "{server:?}: lower {n} changed: {changed:#?}"
        );
    }
    let mounted = Mounted::new(server, &there, "").unwrap();
    let end = Snapshot::take(&there.merged).unwrap();
    mounted.unmount().unwrap();
    end
}

#[test]
fn t135_layers_copied_to_another_filesystem() {
    if let Some(why) = env::mounted_tests_impossible().or_else(env::kernel_overlay_impossible) {
        return env::cannot_run("T135", &why);
    }
    env::isolated(|| {
        for all in [false, true] {
            let [kernel, plyfs] =
                [Server::Kernel, Server::Plyfs].map(|by| moved_elsewhere(by, all));
            let differences = kernel.differences(&plyfs, Compare::View);
            assert!(
                differences.is_empty(),
                "kernel -, plyfs +: {differences:#?}"
            );
        }
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
