//! An overlay whose layer lies on another one: T108. Each of the two is plyfs or the kernel's.

use std::fs;
use std::path::Path;

use super::support::env::{self, Scratch};
use super::support::layers::Layers;
use super::support::mount::{Mounted, Server};
use super::support::snapshot::xattrs;
use super::support::words;

const SERVERS: [Server; 2] = [Server::Plyfs, Server::Kernel];

/// Whoever writes a layer on an overlay cannot make a device 0/0 there: an empty file and two marks say the same, which
/// the overlay escapes on disk.
fn write_whiteout(inner: &Path) {
    let set = |path: &Path, name: &str, value: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(path, name, value, flags).unwrap();
    };
    let device = rustix::fs::mknodat(
        rustix::fs::CWD,
        inner.join("device"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::empty(),
        0,
    );
    assert_eq!(device, Err(rustix::io::Errno::PERM), "3.6");
    fs::create_dir(inner.join("d")).unwrap();
    set(&inner.join("d"), "trusted.overlay.opaque", b"x");
    fs::write(inner.join("d/gone"), "").unwrap();
    set(&inner.join("d/gone"), "trusted.overlay.whiteout", b"");
    fs::write(inner.join("d/here"), "inner").unwrap();
    fs::create_dir(inner.join("opaque")).unwrap();
    set(&inner.join("opaque"), "trusted.overlay.opaque", b"y");
}

/// What the inner mount itself shows of them: ordinary objects.
fn check_inner(inner: &Layers) {
    let marks = |path: &str| xattrs(&inner.merged.join(path)).unwrap();
    assert_eq!(words::list(&inner.merged.join("d")).unwrap(), "gone here");
    assert_eq!(marks("d")["trusted.overlay.opaque"], b"x");
    assert!(marks("d/gone").contains_key("trusted.overlay.whiteout"));
    let on_disk = xattrs(&inner.upper.join("d/gone")).unwrap();
    assert!(
        on_disk.contains_key("trusted.overlay.overlay.whiteout"),
        "17.2: {on_disk:?}"
    );
}

/// What the outer mount makes of them: the whiteout hides, and can be written over.
fn check_outer(outer: &Layers, here: &str) {
    let at = |path: &str| outer.merged.join(path);
    assert_eq!(words::list(&at("d")).unwrap(), "here other");
    assert!(!at("d/gone").exists());
    assert_eq!(fs::read_to_string(at("d/here")).unwrap(), here);
    assert_eq!(words::list(&at("opaque")).unwrap(), "");
    assert!(xattrs(&at("d")).unwrap().is_empty(), "17.1");
    fs::write(at("d/gone"), "made again").unwrap();
    fs::remove_file(at("d/gone")).unwrap();
    assert!(!at("d/gone").exists(), "does not come back");
    fs::write(at("d/here"), "outer").unwrap();
    assert_eq!(words::list(&at("d")).unwrap(), "here other");
}

#[test]
fn t108_a_whiteout_in_a_layer_on_an_overlay() {
    if let Some(why) = env::mounted_tests_impossible().or_else(env::kernel_overlay_impossible) {
        return env::cannot_run("T108", &why);
    }
    env::isolated(|| {
        for (inner_by, outer_by) in SERVERS.iter().flat_map(|i| SERVERS.map(|o| (*i, o))) {
            eprintln!("{outer_by:?} on {inner_by:?}");
            let scratch = Scratch::new();
            let inner = Layers::new(&scratch.path().join("inner"), 1, true);
            let mut outer = Layers::new(&scratch.path().join("outer"), 2, true);
            let bottom = outer.lower(2);
            bottom.file("d/gone", "bottom").file("d/other", "bottom");
            bottom.file("opaque/f", "bottom");
            outer.settle();
            let inner_mount = Mounted::new(inner_by, &inner, "").unwrap();
            write_whiteout(&inner.merged);
            check_inner(&inner);
            outer.lowers[0] = inner.merged.clone();
            for here in ["inner", "outer"] {
                let outer_mount = Mounted::new(outer_by, &outer, "").unwrap();
                check_outer(&outer, here);
                outer_mount.unmount().unwrap();
            }
            check_inner(&inner);
            inner_mount.unmount().unwrap();
        }
    });
}
