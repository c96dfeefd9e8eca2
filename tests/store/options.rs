//! What a container can be told: limits, other owners, when to compute digests, to be committed while it is in use.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use crate::rig::{each, one, one_on};
use crate::support::uml::under_uml;

#[test]
fn a_container_is_committed_while_it_is_in_use() {
    for user in [false, true] {
        one("a_container_is_committed_while", "overlay", user, |shop| {
            let (_, container) = shop.container();
            let runtimes: &[&str] = if user { &["fuse"] } else { &["kernel", "fuse"] };
            for runtime in runtimes {
                let seen = shop.mount(&container, runtime);
                // A writer that does not end, and what it wrote is only in memory.
                let script = format!(
                    "cd {}; (while :; do echo x > t; mv t u; rm u; done) > /dev/null 2>&1 & echo $! > ../../pid; \
                     echo {runtime} > new; dd if=/dev/zero of=big bs=64k count=16 2> /dev/null",
                    seen.display()
                );
                shop.sh(&script.replace(
                    "../../pid",
                    &shop.place.at("files/pid").display().to_string(),
                ));
                shop.refused(5, &["mounted"], &["container", "commit", &container]);
                shop.refused(
                    2,
                    &["--live"],
                    &["container", "commit", &container, "--live", "--rm"],
                );
                let layer = shop.ok(&["container", "commit", &container, "--live"]);
                let changes = shop.ok(&["layer", "changes", &layer]);
                assert!(
                    changes.contains("A /new") && changes.contains("A /big"),
                    "{changes}"
                );
                let tree = shop.root().join("overlay").join(&layer).join("root");
                assert_eq!(fs::metadata(tree.join("big")).unwrap().len(), 1 << 20);
                assert_eq!(
                    fs::read_to_string(tree.join("new")).unwrap(),
                    format!("{runtime}\n")
                );
                shop.sh("kill $(cat pid); sleep 0.1");
                shop.unmount(&container);
            }
            shop.is_clean();
        });
    }
}

#[test]
fn digests_now_or_later() {
    each("digests_now_or_later", |shop| {
        let (_, container) = shop.container();
        shop.work(&container, "echo new > new");
        let later = shop.ok(&["container", "commit", &container]);
        assert!(shop.json(&["layer", "inspect", &later])["diff_id"].is_null());
        let now = shop.ok(&["container", "commit", &container, "--digest", "now", "--rm"]);
        let digest = shop.json(&["layer", "inspect", &now])["diff_id"].clone();
        let tar = shop.place.at("files/out.tar");
        let said = shop.json(&["layer", "diff", &later, "-o", tar.to_str().unwrap()]);
        assert_eq!(said["diff_id"], digest);
        let sum = shop.sh("sha256sum out.tar");
        assert_eq!(digest, format!("sha256:{}", sum.split(' ').next().unwrap()));
        // Whoever needs it first has it noted.
        let layout = format!("oci:{}", shop.place.at("files/layout").display());
        shop.ok(&["image", "export", &later, &layout]);
        assert_eq!(shop.json(&["layer", "inspect", &later])["diff_id"], digest);
        shop.is_clean();
    });
}

#[test]
fn owners_are_shown_under_other_numbers() {
    one("owners_are_shown_under", "overlay", false, |shop| {
        let dir = shop.dir("base", "echo x > f; chown 5:6 f");
        let layer = shop.ok(&["layer", "create", "--from-dir", &dir]);
        let create = ["container", "create", "--layer", &layer, "--idmap"];
        let mapped = |map| shop.ok(&[&create[..], &[map]].concat());
        let container = mapped("0:100000:65536");
        shop.refused(
            77,
            &["--runtime fuse"],
            &["container", "mount", &container, "--runtime", "kernel"],
        );
        let seen = shop.mount(&container, "auto");
        let owners = shop.sh(&format!(
            "cd {}; chown 100007:100008 f; stat -c %u:%g f .",
            seen.display()
        ));
        assert_eq!(owners, "100007:100008\n100000:100000\n");
        shop.unmount(&container);
        let upper = shop.root().join("overlay").join(&container).join("upper/f");
        let owner = |path: &std::path::Path| {
            let meta = fs::metadata(path).unwrap();
            (meta.uid(), meta.gid())
        };
        assert_eq!(owner(&upper), (7, 8));
        let two = mapped("uids=0:1000:10,gids=0:2000:10");
        assert_eq!(owner(&shop.mount(&two, "fuse").join("f")), (1005, 2006));
        shop.unmount(&two);
        assert_eq!(
            shop.json(&["container", "inspect", &two])["idmap"]["gids"],
            "0:2000:10"
        );
        shop.refused(
            6,
            &["DISK:SHOWN:COUNT"],
            &[&create[..], &["0:1:2,3"]].concat(),
        );
        let vfs = ["--driver", "vfs", "container", "create", "--idmap", "0:1:2"];
        shop.refused(77, &["vfs"], &vfs);
    });
}

/// A container with limits, on a filesystem that keeps project quotas.
fn limited(kind: &'static str) {
    for driver in ["overlay", "vfs"] {
        one_on((kind, "prjquota"), "limits", driver, false, |shop| {
            let (layer, _) = shop.container();
            let create = ["container", "create", "--layer", &layer];
            let container = shop.ok(&[&create[..], &["--size", "2M", "--inodes", "40"]].concat());
            let quota = shop.json(&["container", "inspect", &container])["quota"].clone();
            let wanted = (&Value::from(2 << 20), &Value::from(40));
            assert_eq!((&quota["size"], &quota["inodes"]), wanted);
            // Where the container is a directory, root on ext4 is above quotas.
            let user = "setpriv --reuid 1 --clear-groups --inh-caps=-all";
            shop.sh(&format!(
                "chmod 711 {0} {0}/{driver} {0}/{driver}/{container}",
                shop.root().display()
            ));
            // That kernel is too old for mounts by the kernel.
            let runtime = if driver == "vfs" { "auto" } else { "fuse" };
            let seen = shop.mount(&container, runtime);
            let said = shop.sh(&format!(
                "chmod 777 {0}; cd {0}
                 {user} dd if=/dev/zero of=big bs=64k count=64 2> /dev/null && echo written
                 stat -c %s big; rm big
                 {user} touch $(seq 60) 2> /dev/null && echo made
                 ls | wc -l; rm -f [0-9]*",
                seen.display()
            ));
            let numbers: Vec<u64> = said
                .lines()
                .map(|line| line.parse().expect(&said))
                .collect();
            assert!(numbers[0] <= 2 << 20 && numbers[1] <= 40, "{kind}: {said}");
            if driver == "overlay" {
                shop.unmount(&container);
            }
            // Sealed, it has no limit any more, and neither has what is on it.
            let sealed = shop.ok(&["container", "commit", &container, "--rm"]);
            let above = shop.ok(&["container", "create", "--layer", &sealed]);
            shop.work(&above, "dd if=/dev/zero of=big bs=1M count=4 2> /dev/null");
            let other = shop.ok(&[&create[..], &["--inodes", "30"]].concat());
            shop.ok(&["container", "commit", &other]);
            shop.ok(&["container", "rm", &other, &above]);
            shop.is_clean();
        });
    }
}

#[test]
fn a_container_takes_no_more_than_it_may_on_xfs() {
    let test = "options::a_container_takes_no_more_than_it_may_on_xfs";
    under_uml(test, || {
        limited("xfs");
        let limits = ["container", "create", "--size", "1M"];
        one_on(
            ("xfs", "prjquota"),
            "limits_are_for_root",
            "vfs",
            true,
            |shop| {
                shop.refused(77, &["--size", "root"], &limits);
            },
        );
    });
}

#[test]
fn a_container_takes_no_more_than_it_may_on_ext4() {
    let test = "options::a_container_takes_no_more_than_it_may_on_ext4";
    under_uml(test, || limited("ext4"));
}

#[test]
fn limits_that_nobody_keeps_are_refused() {
    let limits = ["container", "create", "--size", "1M"];
    one("limits_that_nobody_keeps", "overlay", false, |shop| {
        shop.refused(77, &["--size", "prjquota"], &limits);
        shop.is_clean();
    });
    one_on(
        ("btrfs", "noatime"),
        "limits_that_nobody_keeps",
        "vfs",
        false,
        |shop| {
            shop.refused(77, &["--size", "xfs"], &limits);
        },
    );
}
