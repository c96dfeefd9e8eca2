//! The layers: real packages, and between them changes made through kernel overlayfs itself, so that the whiteouts and
//! opaque directories below us are real ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, makedev};

use super::packages::{COMPILER, KEEPERS, LIBRARIES, PYTHON, Packages, TOOLS};
use crate::support::env::run;
use crate::support::layers::Layers;
use crate::support::mount::{Mounted, Server};

/// What runs inside, and what it reads.
const INSIDE: &[(&str, &str)] = &[
    ("work.sh", include_str!("inside/work.sh")),
    ("imports.py", include_str!("inside/imports.py")),
    (
        "sqlite_threads.py",
        include_str!("inside/sqlite_threads.py"),
    ),
    ("transactions.sql", include_str!("inside/transactions.sql")),
    ("hello.c", include_str!("inside/hello.c")),
];

/// Builds all layers below `root`; the result is ordered for `lowerdir=`, top-most first.
pub fn build(root: &Path, packages: &Packages) -> Vec<PathBuf> {
    let mut layers = Vec::new();
    let mut add = |name: &str, names: &[&str]| {
        let layer = root.join(name);
        fs::create_dir(&layer).expect("create a layer");
        packages.unpack(names, &layer);
        layers.insert(0, layer.clone());
        layer
    };
    add("1-libraries", LIBRARIES);
    let own = add("2-own", &[]);
    add("3-tools", TOOLS);
    add("4-python", PYTHON);
    ours(&own);
    change(root, &mut layers, "5-smaller", |merged| {
        remove(merged, "usr/lib/python3.11/distutils");
        remove(merged, "usr/share/doc/perl-base");
        remove(merged, "usr/share/bug");
        write(merged, "usr/share/bug/opaque", "this directory is new\n");
        remove(merged, "usr/share/common-licenses");
        write(merged, "usr/share/common-licenses", "a file now\n");
    });
    for (name, names) in [("6-compiler", COMPILER), ("7-keepers", KEEPERS)] {
        let layer = root.join(name);
        fs::create_dir(&layer).expect("create a layer");
        packages.unpack(names, &layer);
        layers.insert(0, layer);
    }
    change(root, &mut layers, "8-smaller-still", |merged| {
        remove(merged, "usr/share/doc/git");
        remove(merged, "usr/share/man");
        write(merged, "etc/motd-of-layers", "eight layers\n");
        // A database in a lower layer, made by the image's own program.
        let root = merged.to_string_lossy();
        let make = "sqlite3 /real/lower.db < /real/transactions.sql";
        run("chroot", &[&root, "/bin/sh", "-c", make]).expect("make a database");
    });
    layers
}

/// What no package brings: a shell by its usual name, devices, and what runs inside.
fn ours(layer: &Path) {
    for dir in ["bin", "dev", "real", "srv"] {
        fs::create_dir(layer.join(dir)).expect("create a directory");
    }
    symlink("dash", layer.join("bin/sh")).expect("symlink");
    for (name, minor) in [("null", 3), ("zero", 5), ("urandom", 9)] {
        let mode = Mode::from_raw_mode(0o666);
        let path = layer.join("dev").join(name);
        rustix::fs::mknodat(
            CWD,
            &path,
            FileType::CharacterDevice,
            mode,
            makedev(1, minor),
        )
        .expect("mknod");
        rustix::fs::chmod(&path, mode).expect("chmod");
    }
    for (name, text) in INSIDE {
        fs::write(layer.join("real").join(name), text).expect("write a file");
    }
}

/// Puts a layer on top that holds what `edit` changed, as kernel overlayfs records it.
fn change(root: &Path, layers: &mut Vec<PathBuf>, name: &str, edit: impl FnOnce(&Path)) {
    let mut stack = Layers::new(&root.join(format!("{name}.build")), 0, true);
    stack.lowers.clone_from(layers);
    stack.upper = root.join(name);
    fs::create_dir(&stack.upper).expect("create a layer");
    let mounted = Mounted::new(Server::Kernel, &stack, "").expect("mount kernel overlayfs");
    edit(mounted.path());
    mounted.unmount().expect("unmount kernel overlayfs");
    layers.insert(0, stack.upper);
}

fn remove(merged: &Path, path: &str) {
    run("rm", &["-r", &merged.join(path).to_string_lossy()])
        .expect("the package no longer has this path");
}

fn write(merged: &Path, path: &str, text: &str) {
    let path = merged.join(path);
    fs::create_dir_all(path.parent().expect("a path has a parent")).expect("create a directory");
    fs::write(path, text).expect("write a file");
}
