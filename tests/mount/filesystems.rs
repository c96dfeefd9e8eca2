//! Layers on filesystems other than ext4 and tmpfs: T070, T117.

use std::process::Command;

use super::support::layers::Layers;
use super::support::scenario::Scenario;
use super::support::steps::{Errno, FileType, Steps};

fn layers(l: &Layers) {
    l.lower(1)
        .file("f", "data")
        .file("d/g", "g")
        .file("d/gone", "gone")
        .file("moved", "moved")
        .symlink("link", "f")
        .fifo("fifo")
        .node("null", FileType::CharacterDevice, (1, 3))
        .mode("f", 0o4750)
        .owner("f", 1000, 1001)
        .xattr("f", "user.note", "kept")
        .sparse("sparse", 4 << 20, &[(2 << 20, b"middle")]);
    for i in 0..300 {
        l.lower(1).file(&format!("many/{i}"), "x");
    }
    l.lower(2).file("d/below", "below").file("hidden", "hidden");
    l.lower(1).whiteout("hidden");
    l.lower(2).file("many/other", "x");
}

fn steps(s: &mut Steps) {
    s.ls(".").noted();
    s.read("f").is("\"data\"");
    s.getx("f", "user.note").is("kept");
    s.ls("d").is("below g gone");
    let before = s.identity("f");
    s.chmod("f", 0o755).ok();
    s.write("f", "more").ok();
    let same = s.identity("f") == before;
    s.check("the number stays", same).holds();
    s.getx("f", "user.note").is("kept");
    s.stat("f").noted();
    let file = s.opened("sparse", "rw");
    s.fwrite(&file, 0, "start").ok();
    drop(file);
    s.unlink("d/gone").ok();
    s.unlink("d/below").ok();
    s.rename("moved", "d/moved").ok();
    s.link("d/g", "g2").ok();
    s.rename("d/g", "hidden").ok();
    s.chown("link", Some(1), Some(2)).ok();
    s.utimens("fifo", Some(77)).ok();
    s.chmod("null", 0o600).ok();
    for i in 0..300 {
        s.unlink(&format!("many/{i}")).ok();
    }
    s.unlink("many/other").ok();
    s.rmdir("many").ok();
    s.mkdir("many").ok();
    s.create("many/new", "new").ok();
    s.ls("many").is("new");
    s.setx("many", "user.note", "new").ok();
    s.ls(".").noted();
}

fn lower(kind: &'static str) {
    let scenario = Scenario::new("T117", kind).lowers(2).layers(layers);
    scenario.lower_on(kind).steps(steps);
}

fn everything(kind: &'static str) {
    let scenario = Scenario::new("T117", kind).lowers(2).layers(layers);
    scenario.on_filesystem(kind).steps(|s| {
        steps(s);
        s.entry_numbers("d").is("all equal st_ino");
    });
}

#[test]
fn t117_lower_on_squashfs() {
    lower("squashfs");
}

#[test]
fn t117_lower_on_erofs() {
    lower("erofs");
}

#[test]
fn t117_lower_on_overlay() {
    lower("overlay");
}

#[test]
fn t117_lower_on_xfs() {
    lower("xfs");
}

#[test]
fn t117_lower_on_btrfs() {
    lower("btrfs");
}

#[test]
fn t117_all_on_xfs() {
    everything("xfs");
}

#[test]
fn t117_all_on_btrfs() {
    everything("btrfs");
}

#[test]
fn t117_all_on_tmpfs() {
    let scenario = Scenario::new("T117", "tmpfs").lowers(2).layers(layers);
    scenario.on_tmpfs_of("256m").steps(steps);
}

/// Names in another case are found as long as the layer finds them: also when the names of the directory are known.
#[test]
fn t117_lower_that_ignores_case() {
    let scenario = Scenario::new("T117", "a lower layer that ignores case").lower_on("ntfs");
    let scenario = scenario.layers(|l| {
        l.lower(1).file("listed/Name", "a").file("missed/Name", "b");
    });
    scenario.steps(|s| {
        s.ls("listed").is("name");
        for i in 0..100 {
            s.stat(&format!("missed/{i}")).fails(Errno::NOENT);
        }
        s.read("listed/nAME").is("\"a\"");
        s.read("missed/nAME").is("\"b\"");
        s.stat("missed/nAMES").fails(Errno::NOENT);
    });
}

/// A copied-up file has the blocks of the lower one until they are written.
fn shares_blocks(kind: &'static str) {
    const SIZE: usize = 4 << 20;
    let data: String = (0..SIZE)
        .map(|i| char::from(b'a' + (i % 23) as u8))
        .collect();
    let scenario = Scenario::new("T070", kind).on_filesystem(kind);
    let scenario = scenario.layers(|l| drop(l.lower(1).file("f", &data).at("f")));
    scenario.steps(|s| {
        s.chmod("f", 0o600).ok();
        let upper = s.layers.upper.join("f");
        let said = Command::new("filefrag").arg("-v").arg(upper).output();
        let said = said.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
        let said = said.unwrap_or_else(|e| e.to_string());
        let shared = said.contains("shared");
        s.check("the copy shares blocks", shared).holds();
        let file = s.opened("f", "rw");
        s.fwrite(&file, 0, "own").ok();
    });
}

#[test]
fn t070_copy_up_shares_blocks_on_xfs() {
    shares_blocks("xfs");
}

#[test]
fn t070_copy_up_shares_blocks_on_btrfs() {
    shares_blocks("btrfs");
}
