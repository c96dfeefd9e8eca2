//! The store as a whole: made, described, checked, cleaned.

use std::fs;

use crate::rig::{each, one};

#[test]
fn a_store_is_made_once_and_describes_itself() {
    each("a_store_is_made_once", |shop| {
        shop.refused(4, &["already"], &["store", "init"]);
        let info = shop.json(&["store", "info"]);
        assert_eq!(info["config"]["driver"], shop.driver);
        let marks = if shop.user { "user" } else { "trusted" };
        assert_eq!(info["config"]["features"]["xattr"], marks);
        assert!(
            shop.ok(&["store", "info"])
                .contains(&format!("driver: {}", shop.driver))
        );
        assert_eq!(shop.ok(&["store", "du"]).lines().count(), 3);
        assert_eq!(crate::rig::mode(&shop.root()), 0o700);
        let files = shop.place.at("files");
        fs::write(files.join("file"), "").unwrap();
        // The last --root counts.
        shop.refused(
            3,
            &["no store", "store init"],
            &["layer", "ls", "--root", files.to_str().unwrap()],
        );
        shop.refused(
            5,
            &["not empty"],
            &["store", "init", "--root", files.to_str().unwrap()],
        );
        fs::write(shop.root().join("VERSION"), "7\n").unwrap();
        shop.refused(77, &["format 7"], &["layer", "ls"]);
    });
}

#[test]
fn garbage_is_found_and_removed() {
    each("garbage_is_found_and_removed", |shop| {
        let layer = shop.ok(&["layer", "create", "--name", "kept"]);
        let root = shop.root();
        let junk = "f".repeat(32);
        shop.sh(&format!(
            "cd {}; mkdir -p tmp/1-2/content/root tmp/3-4 trash/x/y overlay/{junk}/root vfs/odd; touch tmp/1-2/lock; \
             mkdir trash/closed; touch trash/closed/f; chmod 0 trash/closed; ln -s ../layers/{junk} meta/names/gone",
            root.display()
        ));
        let said = shop.call(&["store", "check"]);
        assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{said:?}");
        assert!(said.err.contains("store gc"), "{said:?}");
        let wanted =
            format!("trash/closed trash/x tmp/1-2 tmp/3-4 overlay/{junk} vfs/odd meta/names/gone");
        for _ in 0..2 {
            let lines = shop.ok(&["store", "gc", "--dry-run"]).replace('\n', " ");
            assert_eq!(lines, wanted);
        }
        assert_eq!(shop.ok(&["store", "gc"]).replace('\n', " "), wanted);
        assert_eq!(shop.ok(&["store", "gc"]), "");
        shop.is_clean();
        assert_eq!(shop.ids("layer"), [layer]);
    });
}

#[test]
fn damage_is_told_and_repaired_without_loss() {
    each("damage_is_told", |shop| {
        let base = shop.ok(&["layer", "create", "--name", "base"]);
        let child = shop.ok(&["layer", "create", "--parent", "base", "--name", "child"]);
        let container = shop.ok(&["container", "create", "--layer", "child"]);
        let root = shop.root();
        let content = |id: &str| root.join(shop.driver).join(id);
        let aside = |id: &str| root.join(format!("aside-{id}"));
        for id in [&base, &container] {
            fs::rename(content(id), aside(id)).unwrap();
        }
        let said = shop.call(&["store", "check"]);
        assert_eq!(said.code, Some(7), "{said:?}");
        assert!(
            said.out
                .contains(&format!("layer {base}: its tree is missing")),
            "{said:?}"
        );
        assert!(
            said.out
                .contains(&format!("container {container}: its content is missing"))
        );
        assert_eq!(shop.call(&["container", "mount", &container]).code, Some(7));
        assert_eq!(
            shop.call(&["layer", "create", "--parent", "base"]).code,
            Some(7)
        );
        // What others stand on is not forgotten; it may come back.
        let said = shop.call(&["store", "check", "--repair"]);
        assert_eq!(said.code, Some(7), "{said:?}");
        assert!(said.out.contains("(repaired)"), "{said:?}");
        assert_eq!(shop.ids("layer").len(), 2);
        assert!(shop.ids("container").is_empty());
        fs::rename(aside(&base), content(&base)).unwrap();
        shop.is_clean();
        // Damaged JSON is damage of that object alone.
        fs::write(
            root.join("meta/layers").join(&child).join("layer.json"),
            "{",
        )
        .unwrap();
        let said = shop.call(&["store", "check"]);
        assert_eq!(
            (said.code, said.out.lines().count()),
            (Some(7), 1),
            "{said:?}"
        );
        shop.refused(7, &["damaged", "layer.json"], &["layer", "inspect", &child]);
        assert_eq!(shop.json(&["layer", "inspect", &base])["id"], base.as_str());
    });
}

#[test]
fn a_damaged_container_can_be_removed() {
    each("a_damaged_container_can_be_removed", |shop| {
        let container = shop.ok(&["container", "create"]);
        fs::remove_dir_all(shop.root().join(shop.driver).join(&container)).unwrap();
        shop.ok(&["container", "rm", &container]);
        shop.is_clean();
    });
}

#[test]
fn what_is_mounted_in_a_container_is_nobodys_to_copy_or_remove() {
    one("what_is_mounted_in_a_container", "vfs", false, |shop| {
        let dir = shop.dir("base", "mkdir d; echo own > d/own");
        let layer = shop.ok(&["layer", "create", "--from-dir", &dir]);
        let container = shop.ok(&["container", "create", "--layer", &layer]);
        let theirs = shop.place.tmpfs("theirs");
        fs::write(theirs.join("file"), "theirs").unwrap();
        let inside = shop.root().join("vfs").join(&container).join("root/d");
        rustix::mount::mount_bind(&theirs, &inside).unwrap();
        let committed = shop.ok(&["container", "commit", &container]);
        let tree = shop.root().join("vfs").join(&committed).join("root");
        assert_eq!(crate::rig::names(&tree), "d");
        let said = shop.call(&["container", "rm", &container]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.err.contains("busy"), "{said:?}");
        assert_eq!(fs::read_to_string(theirs.join("file")).unwrap(), "theirs");
        assert_eq!(shop.call(&["store", "gc"]).code, Some(1));
        assert_eq!(fs::read_to_string(theirs.join("file")).unwrap(), "theirs");
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let moved = table
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .find(|at| at.contains("/trash/"));
        rustix::mount::unmount(moved.unwrap(), rustix::mount::UnmountFlags::empty()).unwrap();
        shop.ok(&["store", "gc"]);
        shop.is_clean();
    });
}

#[test]
fn without_attributes_there_is_driver_vfs() {
    one("without_attributes", "vfs", false, |shop| {
        // ramfs has no attributes.
        let at = shop.place.at("ramfs");
        fs::create_dir(&at).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("ramfs", &at, "ramfs", flags, c"mode=0755").unwrap();
        let root = at.join("store");
        let root = root.to_str().unwrap();
        shop.refused(
            77,
            &["driver overlay", "vfs"],
            &["--driver", "overlay", "store", "init", "--root", root],
        );
        shop.ok(&["--driver", "vfs", "store", "init", "--root", root]);
        let dir = shop.dir("base", "echo one > a; ln a b");
        let layer = shop.ok(&["layer", "create", "--root", root, "--from-dir", &dir]);
        let container = shop.ok(&["container", "create", "--root", root, "--layer", &layer]);
        let seen = shop.ok(&["container", "mount", "--root", root, &container]);
        assert_eq!(fs::read_to_string(format!("{seen}/b")).unwrap(), "one\n");
        shop.refused(
            77,
            &["attributes"],
            &["--driver", "overlay", "layer", "create", "--root", root],
        );
    });
}
