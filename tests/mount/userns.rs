//! A user namespace that does not map all owners: T072. The layers are made outside; both servers run inside, with
//! marks in `user.overlay.`, and do the same steps.

use std::path::{Path, PathBuf};

use super::support::env::{self, Scratch};
use super::support::layers::Layers;
use super::support::mount::{Mounted, Server};
use super::support::snapshot::{Compare, Snapshot};
use super::support::steps::{Errno, Steps};
use super::support::userns::{self, User};

/// The process inside finds the layers here.
const PLACE: &str = "PLYFS_TEST_PLACE";
/// Nobody in the namespace has this id.
const FOREIGN: u32 = 5000;
/// Ids below 1000 are what they are outside.
const MAP: &str = "0 0 1000";

fn build(root: &Path) {
    let layers = Layers::new(root, 1, true);
    let lower = layers.lower(1);
    lower
        .file("own/f", "own")
        .file("foreign/f", "in")
        .file("foreign/g", "in");
    lower
        .file("file", "foreign")
        .mode("file", 0o666)
        .mode("foreign", 0o777);
    for path in ["foreign", "foreign/f", "file"] {
        lower.owner(path, FOREIGN, FOREIGN);
    }
    layers.settle();
}

/// FUSE tells the kernel above which owner a file has, and that one refuses by itself what it has no number for, in
/// some calls with an errno of its own.
const BY_FUSE: &str = "22.12";

fn steps(s: &mut Steps) {
    let overflow = Errno::OVERFLOW;
    s.stat("foreign").is("dir 0777 65534:65534");
    s.stat("file").is("file 0666 65534:65534 7");
    s.read("file").is("\"foreign\"");
    let names = std::fs::read_dir(s.at("foreign")).map(Iterator::count);
    s.check("two names in it", names.is_ok_and(|n| n == 2))
        .holds();
    // What would copy up an owner that cannot be written down.
    s.write("file", "x").differs(BY_FUSE, "EOVERFLOW", "EACCES");
    s.truncate("file", 0)
        .differs(BY_FUSE, "EOVERFLOW", "EACCES");
    s.rename("file", "own/file").fails(overflow);
    s.rename("foreign/f", "own/moved").fails(overflow);
    // The directory has to be copied up, whosever the victim is.
    s.unlink("foreign/f").fails(overflow);
    s.unlink("foreign/g")
        .differs(BY_FUSE, "EOVERFLOW", "EACCES");
    s.create("foreign/new", "x")
        .differs(BY_FUSE, "EOVERFLOW", "EACCES");
    s.mkdir("foreign/new")
        .differs(BY_FUSE, "EOVERFLOW", "EACCES");
    s.rename("own/f", "foreign/f2")
        .differs(BY_FUSE, "EOVERFLOW", "EACCES");
    s.upper("foreign").is("absent");
    s.upper("file").is("absent");
    // A mapped owner in a mapped directory.
    s.write("own/f", "OWN").ok();
    s.unlink("own/f").ok();
    // The victim is not copied up, so the overlay could; but FUSE refuses.
    s.unlink("file").differs(BY_FUSE, "ok", "EOVERFLOW");
}

fn place(root: &Path, server: Server) -> PathBuf {
    root.join(format!("{server:?}"))
}

fn inside(root: &Path) {
    let runs = [Server::Kernel, Server::Plyfs].map(|server| {
        let layers = Layers::found(&place(root, server), 1, true);
        let options = match server {
            Server::Kernel => "userxattr,index=off,xino=off",
            Server::Plyfs => "userxattr",
        };
        let mounted = Mounted::new(server, &layers, options).unwrap();
        let mut s = Steps::new(server, &layers, mounted.pid());
        steps(&mut s);
        let (transcript, failures) = (s.transcript, s.failures);
        mounted.unmount().unwrap();
        (transcript, failures)
    });
    let [(kernel, kernel_wrong), (plyfs, plyfs_wrong)] = runs;
    assert!(kernel_wrong.is_empty(), "kernel: {kernel_wrong:#?}");
    assert!(plyfs_wrong.is_empty(), "plyfs: {plyfs_wrong:#?}");
    assert_eq!(kernel, plyfs);
}

#[test]
fn t072_owners_that_the_user_namespace_does_not_map() {
    if userns::is_inside() {
        let place = std::env::var_os(PLACE).unwrap();
        return env::isolated(|| inside(Path::new(&place)));
    }
    if let Some(why) = env::mounted_tests_impossible().or_else(env::kernel_overlay_impossible) {
        return env::cannot_run("T072", &why);
    }
    env::isolated(|| {
        let scratch = Scratch::new();
        let places = [Server::Kernel, Server::Plyfs].map(|server| place(scratch.path(), server));
        places.iter().for_each(|place| build(place));
        let lower = |place: &PathBuf| Snapshot::take(&place.join("l1")).unwrap();
        let before = places.each_ref().map(lower);
        let root = scratch.path().to_string_lossy();
        let test = "userns::t072_owners_that_the_user_namespace_does_not_map";
        userns::run_inside(test, User::Root(MAP), &[(PLACE, root.as_ref())]);
        for (before, after) in before.iter().zip(places.each_ref().map(lower)) {
            let changed = before.differences(&after, Compare::Untouched);
            assert!(changed.is_empty(), "a lower layer changed: {changed:#?}");
        }
    });
}
