//! Older kernels: the system calls of a release and of all later ones are unknown, and nothing else changes. T117.

use rustix::fs::{FileType, RenameFlags};

use super::support::layers::Layers;
use super::support::scenario::Scenario;
use super::support::steps::{Errno, Steps};

/// What Linux 6.13 brought, numbered alike on all machines: setxattrat, getxattrat, listxattrat, removexattrat.
const SINCE_6_13: &[i64] = &[463, 464, 465, 466];
/// And what the releases from 5.2 to then brought, of what might be used: open_tree, move_mount, fsopen, fsconfig,
/// fsmount, openat2, faccessat2, mount_setattr, fchmodat2, statmount, listmount.
const SINCE_5_2: &[i64] = &[
    463, 464, 465, 466, 428, 429, 430, 431, 432, 437, 439, 442, 452, 457, 458,
];

fn layers(l: &Layers) {
    let long = "v".repeat(2000);
    l.lower(1)
        .file("d/e/f", "f")
        .file("d/gone", "gone")
        .symlink("d/link", "f")
        .fifo("d/fifo")
        .node("d/null", FileType::CharacterDevice, (1, 3))
        .file("marked", "m")
        .xattr("marked", "user.long", &long)
        .xattr("marked", "user.empty", "")
        .xattr("d/fifo", "trusted.note", "fifo")
        .xattr("d/link", "trusted.note", "link")
        .xattr("d", "user.note", "d")
        .file("first", "linked")
        .link("first", "second")
        .mode("marked", 0o4750)
        .owner("marked", 1000, 1001);
    for i in 0..10 {
        l.lower(1)
            .xattr("d/e/f", &format!("user.{i:>0100}"), "many names");
    }
    l.lower(2).file("d/below", "below").file("hidden", "hidden");
    l.lower(1).whiteout("hidden").opaque("d/e", "y");
    l.lower(2).file("d/e/covered", "covered");
}

fn steps(s: &mut Steps) {
    s.ls("d/e").is("f");
    for path in ["marked", "d", "d/fifo", "d/link", "d/e/f"] {
        s.listx(path).noted();
    }
    s.getx("marked", "user.long").noted();
    s.getx("marked", "user.empty").is("");
    s.getx("marked", "user.none").fails(Errno::NODATA);
    s.getx("d/link", "trusted.note").is("link");
    s.chmod("d/e/f", 0o640).ok();
    s.listx("d/e/f").noted();
    s.chmod("d/null", 0o600).ok();
    s.chown("d/link", Some(1), Some(2)).ok();
    s.utimens("d/fifo", Some(77)).ok();
    s.getx("d/fifo", "trusted.note").is("fifo");
    s.delx("d/fifo", "trusted.note").ok();
    s.setx("d/link", "trusted.note", "new").ok();
    s.delx("marked", "user.none").fails(Errno::NODATA);
    s.setx("marked", "user.new", "n").ok();
    s.delx("marked", "user.long").ok();
    s.listx("marked").noted();
    s.write("marked", "more").ok();
    s.stat("marked").noted();
    s.unlink("d/gone").ok();
    s.rename("d/e/f", "moved").ok();
    s.rename2("moved", "marked", RenameFlags::EXCHANGE).ok();
    s.link("first", "third").ok();
    s.write("third", "linked!").ok();
    s.rename("d", "elsewhere").noted();
    s.mkdir("fresh").ok();
    s.chmod("fresh", 0o1777).ok();
    s.setx("fresh", "user.note", "fresh").ok();
    s.create("hidden", "again").ok();
    s.ls(".").noted();
}

fn older(syscalls: &'static [i64], about: &'static str) {
    let plain = || Scenario::new("T117", about).lowers(2).layers(layers);
    plain().without_syscalls(syscalls).steps(steps);
    let options = "index=on,redirect_dir=on,metacopy=on";
    let kernel = "index=on,redirect_dir=on,metacopy=on,xino=off";
    let marked = plain().options(options, kernel).opaque_by_effect();
    marked.without_syscalls(syscalls).steps(steps);
}

#[test]
fn t117_linux_6_12() {
    older(SINCE_6_13, "Linux 6.12");
}

#[test]
fn t117_linux_5_1() {
    older(SINCE_5_2, "Linux 5.1");
}
