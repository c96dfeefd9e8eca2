//! The user namespace that a person without privileges can make, with one user in it: T119, T121. Both servers run
//! inside with marks in `user.overlay.`, do the same steps, and mount what the other one wrote.

use std::path::{Path, PathBuf};

use super::support::env::{self, Scratch};
use super::support::layers::Layers;
use super::support::mount::{Mounted, Server};
use super::support::snapshot::{Compare, Snapshot};
use super::support::steps::Steps;
use super::support::userns::{self, User};

/// The process inside finds the layers here.
const PLACE: &str = "PLYFS_TEST_PLACE";
/// Who makes it.
const PERSON: u32 = 1000;
const BOTH: [Server; 2] = [Server::Kernel, Server::Plyfs];

fn build(root: &Path) {
    let layers = Layers::new(root, 2, true);
    layers
        .lower(1)
        .file("gone", "x")
        .file("dir/old", "old")
        .file("mode", "x")
        .file("moved", "moved")
        .symlink("link", "mode")
        .fifo("fifo");
    layers
        .lower(2)
        .file("dir/older", "older")
        .file("deep/er/f", "f");
    layers.settle();
}

fn steps(s: &mut Steps) {
    s.unlink("gone").ok();
    s.upper("gone").is("whiteout 0000 0:0");
    s.unlink("dir/old").ok();
    s.unlink("dir/older").ok();
    s.rmdir("dir").ok();
    s.mkdir("dir").ok();
    s.ls("dir").is("");
    s.create("dir/new", "new").ok();
    s.chmod("mode", 0o640).ok();
    s.rename("moved", "deep/er/moved").ok();
    s.upper("moved").is("whiteout 0000 0:0");
    s.rename("link", "deep/link").ok();
    s.rename("fifo", "deep/fifo").ok();
    s.mkdir("fresh").ok();
    s.create("fresh/f", "f").ok();
    s.rename("fresh", "deep/fresh").ok();
    s.setx("deep/er/f", "user.note", "1").ok();
    s.create("gone", "again").ok();
}

fn place(root: &Path, server: Server) -> PathBuf {
    root.join(format!("{server:?}"))
}

fn mount(server: Server, layers: &Layers) -> Mounted {
    let options = match server {
        Server::Kernel => "userxattr,index=off,xino=off",
        Server::Plyfs => "",
    };
    Mounted::new(server, layers, options).unwrap()
}

fn inside(root: &Path) {
    let mut transcripts = Vec::new();
    for server in BOTH {
        let layers = Layers::found(&place(root, server), 2, true);
        let mounted = mount(server, &layers);
        let mut s = Steps::new(server, &layers, mounted.pid());
        steps(&mut s);
        assert!(s.failures.is_empty(), "{server:?}: {:#?}", s.failures);
        transcripts.push(s.transcript);
        let view = Snapshot::take(&layers.merged).unwrap();
        mounted.unmount().unwrap();
        let upper = Snapshot::take(&layers.upper).unwrap();
        let marks = |path: &str| {
            let entry = upper.entries[path].as_ref().unwrap();
            let names: Vec<_> = entry.xattrs.keys().cloned().collect();
            names
        };
        assert!(marks("dir").contains(&"user.overlay.opaque".to_string()));
        assert!(marks("deep/er/moved").contains(&"user.overlay.origin".to_string()));
        for reader in BOTH {
            let mounted = mount(reader, &layers);
            let seen = Snapshot::take(&layers.merged).unwrap();
            mounted.unmount().unwrap();
            let differences = view.differences(&seen, Compare::View);
            assert!(
                differences.is_empty(),
                "the upper layer of {server:?} as {reader:?} shows it: {differences:#?}"
            );
        }
    }
    assert_eq!(transcripts[0], transcripts[1]);
}

#[test]
fn t119_t121_one_user_without_privileges() {
    if userns::is_inside() {
        let place = std::env::var_os(PLACE).unwrap();
        return env::isolated(|| inside(Path::new(&place)));
    }
    if let Some(why) = env::mounted_tests_impossible().or_else(env::kernel_overlay_impossible) {
        return env::cannot_run("T119, T121", &why);
    }
    env::isolated(|| {
        let mut scratch = Scratch::new();
        let places = BOTH.map(|server| place(scratch.path(), server));
        places.iter().for_each(|place| build(place));
        scratch.give(".", PERSON);
        let lowers = || places.each_ref().map(|at| [at.join("l1"), at.join("l2")]);
        let take = || lowers().map(|pair| pair.map(|lower| Snapshot::take(&lower).unwrap()));
        let before = take();
        let root = scratch.path().to_string_lossy();
        let test = "oneuser::t119_t121_one_user_without_privileges";
        let person = User::Plain {
            id: PERSON,
            programs: scratch.path(),
        };
        userns::run_inside(test, person, &[(PLACE, root.as_ref())]);
        for (before, after) in before.iter().flatten().zip(take().iter().flatten()) {
            let changed = before.differences(after, Compare::Untouched);
            assert!(changed.is_empty(), "a lower layer changed: {changed:#?}");
        }
    });
}
