//! Uppers on filesystems that can do less than ext4, and whiteouts in other forms: T118. The kernel runs the same steps
//! on an upper that can do everything, and shows what the view has to be.
//!
//! | filesystem | lacks |
//! |---|---|
//! | ramfs | extended attributes, `RENAME_WHITEOUT` |
//! | kernel overlayfs, plyfs | devices 0/0, `RENAME_WHITEOUT` |
//! | fuse2fs | every flag of renameat2 |

use std::path::PathBuf;

use super::support::env::{self, Scratch};
use super::support::layers::Layers;
use super::support::mount::{KERNEL_DEFAULTS, Mounted, Server};
use super::support::scenario::Scenario;
use super::support::steps::{Errno, RenameFlags, Steps};

fn layers(l: &Layers) {
    let lower = l.lower(1);
    for name in ["file", "gone", "moved", "other", "a", "b"] {
        lower.file(name, name);
    }
    // fuse2fs tells whole seconds.
    lower.times("moved", 1_000_000_000, 0);
    lower.file("dir/in", "in").file("dir/sub/deep", "deep");
    l.lower(2).file("dir/below", "below").file("target/x", "x");
    lower.whiteout("target/x");
}

/// Files and links: removed, made again, renamed every way.
fn files(s: &mut Steps) {
    s.unlink("file").ok();
    s.stat("file").fails(Errno::NOENT);
    s.create("file", "new").ok();
    s.unlink("file").ok();
    s.symlink("file", "nowhere").ok();
    s.unlink("gone").ok();
    s.link("moved", "gone").ok();
    s.rename("moved", "away").ok();
    s.rename("away", "moved").ok();
    s.rename("moved", "other").ok();
    s.rename("a", "target/a").ok();
    s.unlink("target/a").ok();
    s.write("b", "B").ok();
    s.rename2("b", "a", RenameFlags::NOREPLACE).ok();
    s.rename2("a", "gone", RenameFlags::NOREPLACE)
        .fails(Errno::EXIST);
    s.ls(".").is("a dir/ file gone other target/");
    s.read("other").is("\"moved\"");
    s.read("a").is("\"B\"");
    s.unlink("dir/in").ok();
}

/// Lower directories emptied and removed.
fn removals(s: &mut Steps) {
    for path in ["dir/below", "dir/sub/deep"] {
        s.unlink(path).ok();
    }
    s.rmdir("dir").fails(Errno::NOTEMPTY);
    s.rmdir("dir/sub").ok();
    s.rmdir("dir").ok();
    s.stat("dir").fails(Errno::NOENT);
    s.rename("target", "dir").fails(Errno::XDEV);
}

/// New directories where others were.
fn directories(s: &mut Steps) {
    s.mkdir("dir").ok();
    s.ls("dir").is("");
    s.create("dir/in", "new").ok();
    s.rename("dir", "target").ok();
    s.ls("target").is("in");
    s.rename("target", "dir").ok();
    s.mkdir("target").ok();
    s.ls("target").is("");
    s.rename("dir", "fresh").ok();
    s.rename("fresh", "target").ok();
    s.mkdir("moved").ok();
    s.ls(".").is("a file gone moved/ other target/");
}

fn on(
    about: &'static str,
    options: &'static str,
    place: impl Fn(&mut Scratch) -> Result<PathBuf, String> + Send + Sync,
) {
    let scenario = Scenario::new("T118", about).lowers(2).layers(layers);
    let scenario = scenario.options(options, KERNEL_DEFAULTS).upper_on(place);
    scenario.steps(|s| {
        files(s);
        removals(s);
        directories(s);
    });
}

fn ramfs(scratch: &mut Scratch) -> Result<PathBuf, String> {
    scratch.mounted("below", &["mount", "-t", "ramfs", "none"])
}

/// An overlay of the kernel's, which takes no devices 0/0.
fn overlayfs(scratch: &mut Scratch) -> Result<PathBuf, String> {
    let under = Layers::new(&scratch.path().join("under"), 1, true);
    let options = under.options();
    scratch.mounted("below", &["mount", "-t", "overlay", "-o", &options, "none"])
}

fn plyfs(scratch: &mut Scratch) -> Result<PathBuf, String> {
    let under = Layers::new(&scratch.path().join("under"), 1, true);
    let options = under.options();
    let program = env!("CARGO_BIN_EXE_plyfs");
    scratch.mounted("below", &[program, "mount", "-o", &options])
}

fn fuse2fs(scratch: &mut Scratch) -> Result<PathBuf, String> {
    let image = scratch.image("fuse2fs.img", 64 << 20);
    let image = image.to_string_lossy();
    env::run("mkfs.ext4", &["-q", "-F", "-I", "256", &image])?;
    scratch.mounted("below", &["fuse2fs", "-o", "rw", &image])
}

#[test]
fn t118_whiteouts_by_name() {
    Scenario::new("T118", "whiteouts as .wh. files")
        .lowers(2)
        .layers(layers)
        .options("whiteout=wh", KERNEL_DEFAULTS)
        .upper_differs()
        .steps(|s| {
            files(s);
            removals(s);
            directories(s);
        });
}

#[test]
fn t118_whiteouts_by_attribute() {
    Scenario::new("T118", "whiteouts as marked files")
        .lowers(2)
        .layers(layers)
        .options("whiteout=xattr", KERNEL_DEFAULTS)
        .upper_differs()
        .steps(|s| {
            files(s);
            removals(s);
            directories(s);
        });
}

#[test]
fn t118_ramfs_with_names() {
    on("no attributes, whiteouts by name", "whiteout=wh", ramfs);
}

#[test]
fn t118_overlayfs_below() {
    on("upper on kernel overlayfs", "", overlayfs);
}

#[test]
fn t118_overlayfs_below_with_attributes() {
    on(
        "upper on kernel overlayfs, whiteouts by attribute",
        "whiteout=xattr",
        overlayfs,
    );
}

#[test]
fn t118_plyfs_below() {
    on("upper on plyfs", "", plyfs);
}

#[test]
fn t118_fuse2fs_below() {
    on("upper without renameat2", "", fuse2fs);
}

/// Without attributes and with devices a directory cannot hide what was below it: errors of the kernel's own (19.4).
#[test]
fn t118_ramfs_with_devices() {
    let judge = |server| -> Result<Vec<String>, String> {
        let mut scratch = Scratch::new();
        let mut l = Layers::new(&scratch.path().join("layers"), 2, true);
        layers(&l);
        l.settle();
        let place = ramfs(&mut scratch)?;
        (l.upper, l.work) = (place.join("u"), place.join("w"));
        std::fs::create_dir(&l.upper).unwrap();
        std::fs::create_dir(&l.work).unwrap();
        let mounted = Mounted::new(server, &l, "")?;
        let mut s = Steps::new(server, &l, mounted.pid());
        s.unlink("file").ok();
        s.unlink("file").fails(Errno::NOENT);
        s.create("file", "new").ok();
        s.unlink("gone").ok();
        s.mkdir("gone").fails(Errno::IO);
        s.stat("gone").fails(Errno::NOENT);
        s.mkdir("fresh").ok();
        s.rename("fresh", "fresher").fails(Errno::XDEV);
        s.write("b", "B").ok();
        s.unlink("dir/in").ok();
        s.ls(".").is("a b dir/ file fresh/ moved other target/");
        if server == Server::Plyfs {
            // The kernel needs an opaque twin to remove a directory that holds whiteouts, and a rename that leaves one.
            removals(&mut s);
            s.rename("a", "b").ok();
            s.rename("moved", "free").ok();
            s.rename("other", "a").ok();
            s.ls(".").is("a b file free fresh/ target/");
        }
        let failures = std::mem::take(&mut s.failures);
        mounted.unmount()?;
        Ok(failures)
    };
    if let Some(why) = env::mounted_tests_impossible().or_else(env::kernel_overlay_impossible) {
        return env::cannot_run("T118 ramfs", &why);
    }
    for server in [Server::Kernel, Server::Plyfs] {
        let failures = env::isolated(|| judge(server)).unwrap();
        assert!(failures.is_empty(), "{server:?}: {failures:#?}");
    }
}

#[test]
fn t118_a_form_that_cannot_be_had_is_refused() {
    if let Some(why) = env::mounted_tests_impossible().or_else(env::kernel_overlay_impossible) {
        return env::cannot_run("T118", &why);
    }
    let refused = |place: &dyn Fn(&mut Scratch) -> Result<PathBuf, String>, option: &str| {
        let mut scratch = Scratch::new();
        let mut l = Layers::new(&scratch.path().join("layers"), 1, true);
        let place = place(&mut scratch).unwrap();
        (l.upper, l.work) = (place.join("u"), place.join("w"));
        std::fs::create_dir(&l.upper).unwrap();
        std::fs::create_dir(&l.work).unwrap();
        let said = Mounted::new(Server::Plyfs, &l, option).err().unwrap();
        assert!(
            said.contains(option) && said.contains("whiteout=wh"),
            "{said}"
        );
    };
    env::isolated(|| {
        refused(&overlayfs, "whiteout=char");
        refused(&ramfs, "whiteout=xattr");
    });
}
