//! Driver vfs on btrfs: trees are subvolumes, copies are snapshots. As root and as a plain user, who may not do all
//! that root may.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::rig::{Shop, names, one_on};

/// The number of subvolumes in the filesystem, as its own tool has it.
fn subvolumes(shop: &Shop) -> usize {
    let disk = shop.place.at("disk");
    let args = ["subvolume", "list", disk.to_str().unwrap()];
    let said = shop.place.program("btrfs", &args);
    said.worked();
    said.out.lines().count()
}

fn on_btrfs(name: &'static str, options: &'static str, user: bool, test: impl Fn(&Shop) + Sync) {
    one_on(("btrfs", options), name, "vfs", user, test);
}

#[test]
fn copies_are_snapshots_and_leave_nothing_behind() {
    for (user, options) in [
        (false, "noatime"),
        (true, "noatime"),
        (true, "user_subvol_rm_allowed"),
    ] {
        on_btrfs("copies_are_snapshots", options, user, |shop| {
            let info = shop.json(&["store", "info"]);
            assert_eq!(info["copies"], "btrfs-snapshot");
            assert!(
                shop.ok(&["store", "info"])
                    .contains("copies: btrfs-snapshot")
            );
            assert_eq!(subvolumes(shop), 0);
            let dir = shop.dir(
                "base",
                "mkdir d; echo x > d/f; head -c 3000000 /dev/urandom > big",
            );
            let base = shop.ok(&["layer", "create", "--from-dir", &dir]);
            let above = shop.dir("above", "echo y > y");
            let above = shop.ok(&["layer", "create", "--parent", &base, "--from-dir", &above]);
            let container = shop.ok(&["container", "create", "--layer", &above]);
            shop.work(&container, "echo new > new; rm -r d; mkdir e; echo e > e/e");
            let copied = shop.ok(&["container", "commit", &container]);
            let squashed = shop.ok(&["layer", "squash", &copied]);
            let sealed = shop.ok(&["container", "commit", &container, "--rm"]);
            let layers = [&base, &above, &copied, &squashed, &sealed];
            for layer in layers {
                let seen = shop.json(&["layer", "inspect", layer]);
                assert_eq!(seen["subvolume"], true, "{seen}");
            }
            assert_eq!(subvolumes(shop), layers.len());
            for layer in [&copied, &squashed, &sealed] {
                let tree = shop.root().join("vfs").join(layer).join("root");
                assert_eq!(names(&tree), "big e e/e new y");
            }
            assert_eq!(
                shop.ok(&["layer", "changes", &copied]),
                "D /d\nA /e\nA /e/e\nA /new"
            );
            shop.is_clean();
            for layer in layers.iter().rev() {
                shop.ok(&["layer", "rm", layer]);
            }
            assert_eq!(subvolumes(shop), 0);
            shop.is_clean();
        });
    }
}

/// What a snapshot does not have: subvolumes that somebody made in a container.
#[test]
fn subvolumes_in_a_container_are_copied() {
    for user in [false, true] {
        on_btrfs("subvolumes_in_a_container", "noatime", user, |shop| {
            let container = shop.ok(&["container", "create"]);
            shop.work(
                &container,
                "btrfs -q subvolume create sub > /dev/null; echo in > sub/in",
            );
            let layer = shop.ok(&["container", "commit", &container]);
            let tree = shop.root().join("vfs").join(&layer).join("root");
            assert_eq!(fs::read_to_string(tree.join("sub/in")).unwrap(), "in\n");
            shop.ok(&["container", "rm", &container]);
            shop.ok(&["layer", "rm", &layer]);
            assert_eq!(subvolumes(shop), 0);
            shop.is_clean();
        });
    }
}

/// An archive that replaces its own files: what was replaced leaves the tree, which is a filesystem of its own.
#[test]
fn what_an_archive_replaces_is_kept() {
    on_btrfs("what_an_archive_replaces", "noatime", false, |shop| {
        shop.sh("echo one > f; tar -cf a.tar f; echo two > f; tar -rf a.tar f");
        let tar = shop.place.at("files/a.tar");
        let tar = tar.to_str().unwrap();
        let said = shop.call(&["layer", "create", "--from-tar", tar]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let layer = said.out.trim_end();
        let out = shop.place.at("files/out.tar");
        shop.ok(&["layer", "diff", layer, "-o", out.to_str().unwrap()]);
        assert!(fs::read(tar).unwrap() == fs::read(&out).unwrap());
        let tree = shop.root().join("vfs").join(layer).join("root");
        assert_eq!(fs::read_to_string(tree.join("f")).unwrap(), "two\n");
    });
}

/// A store that was made without looking for subvolumes, or before it was known of them.
#[test]
fn plain_directories_and_subvolumes_go_together() {
    on_btrfs(
        "plain_directories_and_subvolumes",
        "noatime",
        false,
        |shop| {
            let config = shop.root().join("config.json");
            let with = fs::read_to_string(&config).unwrap();
            let without = with.replace("\"subvolumes\": true", "\"subvolumes\": false");
            assert_ne!(with, without);
            fs::write(&config, without).unwrap();
            let dir = shop.dir("base", "echo x > f");
            let base = shop.ok(&["layer", "create", "--from-dir", &dir]);
            assert_eq!(subvolumes(shop), 0);
            fs::write(&config, with).unwrap();
            let container = shop.ok(&["container", "create", "--layer", &base]);
            let tree = shop.root().join("vfs").join(&container).join("root");
            assert_eq!(
                (subvolumes(shop), fs::metadata(&tree).unwrap().ino()),
                (1, 256)
            );
            assert_eq!(fs::read_to_string(tree.join("f")).unwrap(), "x\n");
            shop.ok(&["container", "rm", &container]);
            shop.ok(&["layer", "rm", &base]);
            assert_eq!(subvolumes(shop), 0);
        },
    );
}
