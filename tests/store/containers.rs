//! Verbs of containers.

use std::fs;

use crate::rig::{Shop, each, names, one, shown};

impl Shop<'_> {
    /// A layer with a few files, and a container on it.
    pub fn container(&self) -> (String, String) {
        let dir = self.dir(
            "base",
            "echo one > a; echo two > b; mkdir d; echo x > d/x; chmod 1777 .",
        );
        let layer = self.ok(&["layer", "create", "--from-dir", &dir, "--name", "base"]);
        let container = self.ok(&["container", "create", "--layer", "base"]);
        (layer, container)
    }
}

#[test]
fn a_container_lives() {
    each("a_container_lives", |shop| {
        let (layer, container) = shop.container();
        let content = shop.root().join(shop.driver).join(&container);
        let parts = if shop.driver == "vfs" {
            "root"
        } else {
            "empty lower-id merged upper work"
        };
        let mut found: Vec<String> = fs::read_dir(&content)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(found.join(" "), parts);
        if shop.driver == "overlay" {
            assert_eq!(
                fs::read_to_string(content.join("lower-id")).unwrap(),
                format!("{layer}\n")
            );
        }
        let out = shop.work(
            &container,
            "cat a d/x; rm b; echo new > c; echo more >> d/x; stat -c %a .",
        );
        assert_eq!(out, "one\nx\n1777\n");
        let base = shop.root().join(shop.driver).join(&layer).join("root");
        assert_eq!(names(&base), "a b d d/x");
        let about = shop.json(&["container", "inspect", &container[..6]]);
        assert_eq!(
            (&about["layer"], &about["mounted"]),
            (&layer.as_str().into(), &().into())
        );
        let two = shop.ok(&[
            "container",
            "commit",
            &container,
            "--name",
            "two",
            "--message",
            "why",
            "--config",
            "a=b",
        ]);
        let about = shop.json(&["layer", "inspect", "two"]);
        assert_eq!(about["id"], two.as_str());
        assert_eq!(
            (&about["message"], &about["config"]["a"]),
            (&"why".into(), &"b".into())
        );
        assert_eq!(about["parent"], layer.as_str());
        // The container goes on, and the layer does not see it.
        shop.work(&container, "rm a; cat c");
        let other = shop.ok(&["container", "create", "--layer", "two"]);
        assert_eq!(
            shop.work(&other, "ls; cat c d/x"),
            "a\nc\nd\nnew\nx\nmore\n"
        );
        let three = shop.ok(&["container", "commit", &container, "--rm"]);
        assert_eq!(shop.ids("container").join(" "), other);
        shop.ok(&["container", "rm", &other]);
        let last = shop.ok(&["container", "create", "--layer", &three]);
        assert_eq!(shop.work(&last, "ls; stat -c %a ."), "c\nd\n1777\n");
        assert_eq!(shop.ok(&["container", "rm", &last]), "");
        shop.refused(3, &["no container"], &["container", "rm", &last]);
        shop.is_clean();
    });
}

#[test]
fn a_container_can_stand_on_nothing() {
    each("a_container_can_stand_on_nothing", |shop| {
        let container = shop.ok(&["container", "create"]);
        shop.work(&container, "echo first > file");
        let layer = shop.ok(&["container", "commit", &container, "--rm"]);
        let tree = shop.root().join(shop.driver).join(&layer).join("root");
        assert_eq!(names(&tree), "file");
        assert_eq!(crate::rig::mode(&tree), 0o755);
    });
}

#[test]
fn a_mount_that_fails_is_told_in_one_line() {
    let name = "a_mount_that_fails_is_told_in_one_line";
    one(name, "overlay", false, |shop| {
        let (_, container) = shop.container();
        rustix::mount::mount_bind("/dev/null", "/dev/fuse").unwrap();
        let said = shop.call(&["container", "mount", &container, "--runtime", "fuse"]);
        rustix::mount::unmount("/dev/fuse", rustix::mount::UnmountFlags::empty()).unwrap();
        // The word of the process that was to mount, and no name before it but ours.
        said.failed(1, &[]);
        assert!(said.err.starts_with("plyfs: mount point /"), "{said:?}");
        shop.mount(&container, "fuse");
        shop.unmount(&container);
        shop.is_clean();
    });
}

#[test]
fn what_is_mounted_is_left_alone() {
    for user in [false, true] {
        one("what_is_mounted_is_left_alone", "overlay", user, |shop| {
            let (_, container) = shop.container();
            shop.refused(5, &["not mounted"], &["container", "unmount", &container]);
            let seen = shop.mount(&container, "auto");
            shop.refused(5, &["is mounted"], &["container", "mount", &container]);
            shop.refused(5, &["is mounted"], &["container", "commit", &container]);
            shop.refused(
                5,
                &["is mounted"],
                &["container", "commit", &container, "--rm"],
            );
            shop.refused(5, &["is mounted"], &["container", "rm", &container]);
            let mounted = shop.json(&["container", "ls"])[0]["mounted"].clone();
            assert_eq!(mounted, if user { "fuse.plyfs" } else { "overlay" });
            assert_eq!(shop.sh(&format!("ls {}", seen.display())), "a\nb\nd\n");
            shop.ok(&["container", "rm", "--force", &container]);
            assert!(!seen.exists());
            shop.is_clean();
        });
    }
}

#[test]
fn a_mount_in_use_is_busy() {
    one("a_mount_in_use_is_busy", "overlay", false, |shop| {
        let (_, container) = shop.container();
        for runtime in ["kernel", "fuse"] {
            let seen = shop.mount(&container, runtime);
            let open = fs::File::open(seen.join("a")).unwrap();
            shop.refused(8, &[], &["container", "unmount", &container]);
            drop(open);
            shop.unmount(&container);
        }
    });
}

#[test]
fn plyfs_and_the_kernel_find_the_same() {
    one(
        "plyfs_and_the_kernel_find_the_same",
        "overlay",
        false,
        |shop| {
            let (_, container) = shop.container();
            let script = "rm b; mv a z; rm -r d; mkdir d; echo y > d/y; ln z link; chown 7:8 z; mkfifo pipe; \
                          ln -s z sym";
            let seen = shop.mount(&container, "kernel");
            shop.sh(&format!("cd {}; {script}", seen.display()));
            let by_kernel = shown(&seen);
            shop.unmount(&container);
            assert_eq!(shop.mount(&container, "fuse"), seen);
            let by_plyfs = shown(&seen);
            shop.sh(&format!(
                "cd {}; rm z; mkdir b; echo w > b/w",
                seen.display()
            ));
            let changed = shown(&seen);
            shop.unmount(&container);
            assert_eq!(by_plyfs, by_kernel);
            for commit in [
                vec!["container", "commit", &container],
                vec!["container", "commit", &container, "--rm"],
            ] {
                let layer = shop.ok(&commit);
                for runtime in ["fuse", "kernel"] {
                    let on = shop.ok(&["container", "create", "--layer", &layer, "--read-only"]);
                    let seen = shop.mount(&on, runtime);
                    assert_eq!(shown(&seen), changed, "{runtime}");
                    assert!(fs::write(seen.join("file"), "").is_err());
                    shop.unmount(&on);
                    shop.ok(&["container", "rm", &on]);
                }
            }
        },
    );
}

#[test]
fn a_hundred_and_twenty_eight_layers() {
    each("a_hundred_and_twenty_eight_layers", |shop| {
        let mut layer = shop.ok(&["layer", "create"]);
        let change = shop.dir("change", "mkdir d");
        for i in 1..128 {
            shop.sh(&format!(
                "cd change; echo {i} > d/last; rm -f d/f*; echo {i} > d/f{i}"
            ));
            layer = shop.ok(&[
                "--sync",
                "none",
                "layer",
                "create",
                "--parent",
                &layer,
                "--from-dir",
                &change,
            ]);
        }
        let mut runtimes = vec!["auto"];
        if shop.driver == "overlay" && !shop.user {
            runtimes = vec!["kernel", "fuse"];
        }
        let container = shop.ok(&["container", "create", "--layer", &layer]);
        for runtime in runtimes {
            let seen = shop.mount(&container, runtime);
            let out = shop.sh(&format!(
                "cd {}/d; cat last f1 f77 f127; ls | wc -l",
                seen.display()
            ));
            assert_eq!(out, "127\n1\n77\n127\n128\n");
            shop.unmount(&container);
        }
        shop.work(&container, "rm d/f77");
        let top = shop.ok(&["container", "commit", &container, "--rm"]);
        assert_eq!(shop.ids("layer").len(), 129);
        shop.ok(&["layer", "rm", &top]);
    });
}

#[test]
fn what_cannot_be_is_refused() {
    each("containers: what_cannot_be_is_refused", |shop| {
        let (layer, container) = shop.container();
        shop.refused(
            3,
            &["no layer"],
            &["container", "create", "--layer", "nothing"],
        );
        shop.refused(3, &["no container"], &["container", "mount", "nothing"]);
        shop.refused(
            4,
            &["taken"],
            &["container", "commit", &container, "--name", "base"],
        );
        shop.refused(
            4,
            &["exists"],
            &["container", "commit", &container, "--id", &layer],
        );
        shop.refused(
            4,
            &["exists"],
            &["container", "commit", &container, "--rm", "--id", &layer],
        );
        shop.refused(
            6,
            &["no id"],
            &["container", "commit", &container, "--id", "../x"],
        );
        shop.refused(
            2,
            &["KEY=VALUE"],
            &["container", "commit", &container, "--config", "x"],
        );
        if shop.driver == "vfs" {
            shop.refused(77, &["read-only"], &["container", "create", "--read-only"]);
        }
        if shop.user && shop.driver == "overlay" {
            let mount = ["container", "mount", &container, "--runtime", "kernel"];
            shop.refused(77, &["kernel"], &mount);
        }
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(
            shop.ok(&["container", "commit", &container, "--id", &id]),
            id
        );
        shop.refused(
            4,
            &["exists"],
            &["container", "commit", &container, "--id", &id],
        );
        shop.is_clean();
    });
}
