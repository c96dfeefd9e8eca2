//! Equal files of different layers: which become one, which never do, what is written down, and what is checked.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::rig::{Shop, each, one};
use crate::support::snapshot::Snapshot;

impl Shop<'_> {
    /// A layer of the directory `files/NAME`, which a shell script fills. All its times are the same in every layer.
    pub fn layer_of(&self, name: &str, script: &str) -> String {
        let still = "find . -exec touch -h -d '2020-02-02 02:02:02.123456789' {} +";
        let dir = self.dir(name, &format!("{script}; {still}"));
        self.ok(&["layer", "create", "--from-dir", &dir])
    }

    /// Where the tree of a layer is.
    pub fn tree_of(&self, layer: &str) -> PathBuf {
        self.root().join(self.driver).join(layer).join("root")
    }

    /// What `store dedup` says.
    pub fn dedup(&self, args: &[&str]) -> Value {
        self.json(&[&["store", "dedup"], args].concat())
    }

    /// What `store dedup` says of links: files, bytes.
    fn linked(&self, args: &[&str]) -> (u64, u64) {
        let said = self.dedup(args);
        let linked = &said["linked"];
        (
            linked["files"].as_u64().unwrap(),
            linked["bytes"].as_u64().unwrap(),
        )
    }

    /// Is one path one file in two layers?
    fn same(&self, a: &str, b: &str, path: &str) -> bool {
        inode(&self.tree_of(a).join(path)) == inode(&self.tree_of(b).join(path))
    }

    /// All that a layer's tree shows, without what tells who shares its files.
    pub fn looks(&self, layer: &str) -> BTreeMap<String, String> {
        looks(&self.tree_of(layer))
    }
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

/// All that a tree shows, without what tells who shares its files.
pub fn looks(tree: &Path) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for (path, entry) in Snapshot::take(tree).unwrap().entries {
        let e = entry.unwrap();
        let mut xattrs = e.xattrs;
        xattrs.retain(|name, _| {
            !name.ends_with(".overlay.shared") && !name.ends_with(".overlay.names")
        });
        let text = format!(
            "{:?} {:o} {}:{} {} {:?} {:?} {} {xattrs:?}",
            e.kind, e.mode, e.uid, e.gid, e.size, e.rdev, e.mtime, e.content
        );
        shown.insert(path, text);
    }
    shown
}

#[test]
fn equal_files_become_one_and_nothing_else_changes() {
    each("equal_files_become_one", |shop| {
        let script = "mkdir -p d/e; echo same > d/e/f; echo same > top; echo b > d/b; ln -s x l; : > empty; \
                      chmod 640 d/b; setfattr -n user.k -v v d/b";
        let layers = [
            shop.layer_of("a", script),
            shop.layer_of("b", &format!("{script}; echo other > other")),
            shop.layer_of("c", script),
        ];
        let before = layers.each_ref().map(|layer| shop.looks(layer));
        let tar = |layer: &str| shop.ok(&["layer", "diff", layer]);
        let archives = layers.each_ref().map(|layer| tar(layer));
        let said = shop.dedup(&["--dry-run"]);
        assert_eq!(
            (&said["linked"]["files"], &said["dry_run"]),
            (&6.into(), &true.into())
        );
        assert!(!shop.same(&layers[0], &layers[1], "top"));
        assert_eq!(shop.linked(&[]), (6, 24));
        for path in ["d/e/f", "top", "d/b"] {
            assert!(shop.same(&layers[0], &layers[1], path), "{path}");
            assert!(shop.same(&layers[0], &layers[2], path), "{path}");
        }
        assert!(!shop.same(&layers[0], &layers[0], "d/e/f") || !layers[0].is_empty());
        assert_ne!(
            inode(&shop.tree_of(&layers[0]).join("d/e/f")),
            inode(&shop.tree_of(&layers[0]).join("top")),
            "never within a layer, never at another path"
        );
        assert!(!shop.same(&layers[0], &layers[1], "empty"));
        for layer in &layers {
            assert_eq!(
                shop.json(&["layer", "inspect", layer])["deduplicated"],
                true
            );
        }
        assert_eq!(layers.each_ref().map(|layer| shop.looks(layer)), before);
        assert_eq!(layers.each_ref().map(|layer| tar(layer)), archives);
        assert_eq!(shop.linked(&[]), (0, 0));
        assert_eq!(shop.ok(&["store", "check", "--deep"]), "");
        shop.is_clean();
        // A fourth joins, and the others can go.
        let fourth = shop.layer_of("d", script);
        assert_eq!(shop.linked(&[]).0, 3);
        assert!(shop.same(&layers[0], &fourth, "top"));
        shop.ok(&["layer", "rm", &layers[0], &layers[1], &layers[2]]);
        assert_eq!(shop.ok(&["store", "check", "--deep"]), "");
        assert_eq!(tar(&fourth), archives[0]);
        shop.is_clean();
    });
}

#[test]
fn what_differs_in_anything_stays_two_files() {
    each("what_differs_stays_two", |shop| {
        let make = "for f in mode mtime data xattr xname path size acl; do echo same > $f; done";
        let a = shop.layer_of("a", &format!("{make}; setfattr -n user.k -v v xattr"));
        let still = "2020-02-02 02:02:02.123456789";
        let b = shop.dir(
            "b",
            &format!(
                "{make}; chmod 600 mode; echo sane > data; setfattr -n user.k -v w xattr; \
                 setfattr -n user.x -v '' xname; \
                 mv path path2; echo more >> size; setfacl -m u:1:r acl; find . -exec touch -d '{still}' {{}} +; \
                 touch -d '2020-02-02 02:02:02.123456788' mtime"
            ),
        );
        let b = shop.ok(&["layer", "create", "--from-dir", &b]);
        assert_eq!(shop.linked(&[]), (0, 0));
        for path in ["mode", "mtime", "data", "xattr", "xname", "size", "acl"] {
            assert!(!shop.same(&a, &b, path), "{path}");
        }
        if !shop.user {
            let one = shop.layer_of("c", "echo mine > f; chown 3:4 f");
            let two = shop.layer_of("d", "echo mine > f; chown 3:5 f");
            let three = shop.layer_of("e", "echo mine > f; chown 3:4 f; setcap cap_net_raw+ep f");
            assert_eq!(shop.linked(&[]), (0, 0));
            assert!(!shop.same(&one, &two, "f") && !shop.same(&one, &three, "f"));
        }
        assert_eq!(shop.linked(&["--min-size", "6"]), (0, 0));
    });
}

#[test]
fn names_of_one_file_are_one_unit() {
    each("names_of_one_file", |shop| {
        let pair = "mkdir d; echo one > a; ln a d/b; ln a c; echo x > single";
        let a = shop.layer_of("a", pair);
        let b = shop.layer_of("b", pair);
        // The same files, but not the same names of one file.
        let split = shop.layer_of("c", "mkdir d; echo one > a; echo one > d/b; ln a c");
        let fewer = shop.layer_of("d", "mkdir d; echo one > a; ln a d/b");
        let before = [&a, &b, &split, &fewer].map(|layer| shop.ok(&["layer", "diff", layer]));
        assert_eq!(shop.linked(&[]).0, 2);
        for path in ["a", "d/b", "c"] {
            assert!(shop.same(&a, &b, path), "{path}");
            assert_eq!(
                fs::metadata(shop.tree_of(&a).join(path)).unwrap().nlink(),
                6
            );
        }
        assert!(!shop.same(&a, &split, "a") && !shop.same(&a, &fewer, "a"));
        assert!(!shop.same(&split, &fewer, "d/b"));
        let after = [&a, &b, &split, &fewer].map(|layer| shop.ok(&["layer", "diff", layer]));
        assert_eq!(before, after);
        // Nor does a layer on one take links for names.
        let on = shop.ok(&["container", "create", "--layer", &b]);
        shop.work(&on, "echo two > new; ln new new2; echo x >> single");
        let changes = shop.ok(&["container", "changes", &on]);
        assert_eq!(
            changes.lines().filter(|line| !line.ends_with(" /")).count(),
            3,
            "{changes}"
        );
        assert_eq!(shop.ok(&["store", "check", "--deep"]), "");
    });
}

#[test]
fn layers_below_containers_are_left_alone() {
    for user in [false, true] {
        one("layers_below_containers", "overlay", user, |shop| {
            let script = "echo same > f; echo pair > p; ln p q";
            let (a, b) = (shop.layer_of("a", script), shop.layer_of("b", script));
            let child = shop.ok(&["layer", "create", "--parent", &a]);
            let container = shop.ok(&["container", "create", "--layer", &child]);
            let said = shop.dedup(&[]);
            assert_eq!(said["linked"]["files"], 0, "{said}");
            let alone = said["left_alone"].as_array().unwrap();
            assert_eq!(alone.len(), 2, "{said}");
            assert!(
                alone
                    .iter()
                    .all(|left| left["why"].as_str().unwrap().contains("containers"))
            );
            assert!(alone.iter().any(|left| left["layer"] == a.as_str()));
            // Mounted, nothing forces it.
            shop.mount(&container, "fuse");
            let said = shop.dedup(&["--force-offline"]);
            assert_eq!(said["linked"]["files"], 0, "{said}");
            shop.unmount(&container);
            // Nor if there is an index.
            let index = shop
                .root()
                .join("overlay")
                .join(&container)
                .join("work/index");
            fs::create_dir_all(index.join("00")).unwrap();
            assert_eq!(shop.linked(&["--force-offline"]).0, 0);
            fs::remove_dir_all(&index).unwrap();
            assert_eq!(
                shop.linked(&["--force-offline"]).0,
                1,
                "and no file with several names"
            );
            assert!(shop.same(&a, &b, "f") && !shop.same(&a, &b, "p"));
            shop.ok(&["container", "rm", &container]);
            assert_eq!(shop.linked(&[]).0, 1);
            assert!(shop.same(&a, &b, "p"));
            assert_eq!(shop.ok(&["store", "check", "--deep"]), "");
        });
    }
    one("a_mount_by_hand", "overlay", false, |shop| {
        let (a, b) = (
            shop.layer_of("a", "echo same > f"),
            shop.layer_of("b", "echo same > f"),
        );
        let (at, tree) = (shop.place.at("m"), shop.tree_of(&a));
        let options = format!(
            "lowerdir={}:{}",
            tree.display(),
            shop.place.at("l1").display()
        );
        shop.sh(&format!(
            "mount -t overlay none -o {options} {}",
            at.display()
        ));
        assert_eq!(shop.linked(&[]).0, 0);
        shop.sh(&format!("umount {}", at.display()));
        assert_eq!(shop.linked(&[]).0, 1);
        assert!(shop.same(&a, &b, "f"));
    });
}

#[test]
fn layers_with_renamed_directories_are_left_alone() {
    one(
        "layers_with_renamed_directories",
        "overlay",
        false,
        |shop| {
            let (a, b) = (
                shop.layer_of("a", "mkdir d; echo same > d/f"),
                shop.layer_of("b", "mkdir d; echo same > d/f"),
            );
            let moved = shop.dir(
                "moved",
                "mkdir e; setfattr -n trusted.overlay.redirect -v d e; mknod d c 0 0",
            );
            let moved = shop.ok(&["layer", "create", "--parent", &a, "--from-dir", &moved]);
            let again = shop.place.at("files/a");
            let on = shop.ok(&[
                "layer",
                "create",
                "--parent",
                &moved,
                "--from-dir",
                again.to_str().unwrap(),
            ]);
            let said = shop.dedup(&[]);
            // The one that is seen at two paths together with the first stays itself.
            assert!(
                shop.same(&a, &b, "d/f") && !shop.same(&a, &on, "d/f"),
                "{said}"
            );
            let why = said["left_alone"][0]["why"].as_str().unwrap();
            assert!(why.contains("another name"), "{said}");
        },
    );
}

#[test]
fn a_full_file_gets_a_second_one_beside_it() {
    one("a_full_file", "vfs", false, |shop| {
        let layers = ["a", "b", "c", "d"].map(|name| shop.layer_of(name, "echo same > f"));
        // The first by its id is the first to be shared.
        let mut layers = layers.to_vec();
        layers.sort();
        let full = shop.tree_of(&layers[0]).join("f");
        let names = shop.place.at("files/names");
        for number in 0..59_999 {
            if number % 1000 == 0 {
                fs::create_dir_all(names.join((number / 1000).to_string())).unwrap();
            }
            fs::hard_link(&full, names.join(format!("{}/{number}", number / 1000))).unwrap();
        }
        let said = shop.dedup(&["--method", "hardlink"]);
        assert_eq!(said["linked"]["files"], 2, "{said}");
        assert_eq!(fs::metadata(&full).unwrap().nlink(), 60_000);
        assert!(shop.same(&layers[1], &layers[2], "f") && shop.same(&layers[1], &layers[3], "f"));
        assert_eq!(said["skipped"]["too many names"], 3, "{said}");
    });
}

#[test]
fn what_is_not_permitted_is_counted() {
    each("what_is_not_permitted", |shop| {
        let (a, b) = (
            shop.layer_of("a", "mkdir d; echo same > f; echo same > d/g"),
            shop.layer_of("b", "mkdir d; echo same > f; echo same > d/g"),
        );
        let at = |layer: &str, path: &str| shop.tree_of(layer).join(path).display().to_string();
        if shop.user {
            // Neither read nor changed.
            let (f, dirs) = (at(&a, "f"), [at(&a, "d"), at(&b, "d")]);
            shop.sh(&format!("chmod 0 {f}; chmod 555 {} {}", dirs[0], dirs[1]));
            let said = shop.dedup(&[]);
            assert_eq!(
                (&said["linked"]["files"], &said["skipped"]["not permitted"]),
                (&0.into(), &1.into())
            );
            shop.sh(&format!("chmod 644 {f}; chmod 755 {} {}", dirs[0], dirs[1]));
        } else if shop
            .sh(&format!("chattr +i {} 2>&1 || echo no", at(&a, "f")))
            .is_empty()
        {
            let said = shop.dedup(&[]);
            assert_eq!(said["linked"]["files"], 1, "{said}");
            shop.sh(&format!("chattr -i {}", at(&a, "f")));
        }
        assert!(shop.linked(&[]).0 >= 1);
        assert!(shop.same(&a, &b, "d/g"));
    });
}

#[test]
fn contents_are_compared_with_what_they_were() {
    each("contents_are_compared", |shop| {
        let script = "mkdir d; echo one > d/a; echo two > b; ln b c; echo three > e; ln -s x l";
        let (a, b) = (shop.layer_of("a", script), shop.layer_of("b", script));
        assert_eq!(shop.ok(&["store", "check", "--deep"]), "");
        let tree = shop.tree_of(&a);
        let time = fs::metadata(tree.join("d/a")).unwrap().modified().unwrap();
        fs::write(tree.join("d/a"), "onE\n").unwrap();
        fs::File::options()
            .write(true)
            .open(tree.join("d/a"))
            .unwrap()
            .set_modified(time)
            .unwrap();
        fs::set_permissions(tree.join("e"), fs::Permissions::from_mode(0o600)).unwrap();
        shop.sh(&format!(
            "cd {}; rm l; touch new; setfattr -n user.k -v v b; touch -r d/a .",
            tree.display()
        ));
        assert_eq!(shop.ok(&["store", "check"]), "");
        for args in [
            ["store", "check", "--deep"].as_slice(),
            &["store", "check", "--deep", "--repair"],
        ] {
            let said = shop.call(args);
            assert_eq!(said.code, Some(7), "{said:?}");
            let wanted = [
                "b: its attributes have changed",
                "c: its attributes have changed",
                "d/a: its content has changed",
                "e: its mode is 600, not 644",
                "l: it is missing",
                "new: it was not in the layer",
            ];
            let wanted: Vec<String> = wanted
                .iter()
                .map(|what| format!("layer {a}: {what}"))
                .collect();
            assert_eq!(said.out.lines().collect::<Vec<_>>(), wanted, "{said:?}");
        }
        // What the index says is not believed.
        let said = shop.dedup(&[]);
        assert_eq!(said["linked"]["files"], 0, "{said}");
        assert_eq!(
            said["skipped"]["not equal to what its index says"], 3,
            "{said}"
        );
        assert!(!shop.same(&a, &b, "d/a"));
        let damaged = shop.root().join("meta/layers").join(&b).join("index");
        fs::write(&damaged, "x").unwrap();
        let said = shop.call(&["store", "check", "--deep", "--json"]);
        assert!(said.out.contains("its index is damaged"), "{said:?}");
        assert_eq!(shop.call(&["layer", "rm", &a]).code, Some(0));
        let said = shop.call(&["store", "check", "--deep", "--repair"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.out.contains("(repaired)"), "{said:?}");
        assert_eq!(shop.ok(&["store", "check", "--deep"]), "");
        fs::remove_file(&damaged).unwrap();
        shop.ok(&["store", "dedup"]);
        assert!(damaged.exists());
    });
}

#[test]
fn an_archive_tells_what_its_layer_was() {
    each("an_archive_tells", |shop| {
        shop.dir("a", "echo one > f; echo two > g");
        shop.sh("tar -C a -cf a.tar .");
        let tar = shop.place.at("files/a.tar");
        let layer = shop.ok(&["layer", "create", "--from-tar", tar.to_str().unwrap()]);
        let index = shop.root().join("meta/layers").join(&layer).join("index");
        assert!(index.exists(), "made while it was unpacked");
        assert_eq!(shop.ok(&["store", "check", "--deep"]), "");
        fs::write(&index, "x").unwrap();
        fs::write(shop.tree_of(&layer).join("f"), "onE\n").unwrap();
        let said = shop.call(&["store", "check", "--deep", "--repair"]);
        assert_eq!(said.code, Some(7), "{said:?}");
        assert!(said.out.contains("its archive has digest"), "{said:?}");
        assert!(said.out.contains("its index is damaged\n"), "{said:?}");
        fs::write(shop.tree_of(&layer).join("f"), "one\n").unwrap();
        assert_eq!(
            shop.call(&["store", "check", "--deep", "--repair"]).code,
            Some(0)
        );
    });
}

#[test]
fn new_layers_share_from_the_first_moment() {
    each("new_layers_share", |shop| {
        let fill = "mkdir d; for i in $(seq 40); do head -c 5000 /dev/urandom > d/f$i; done; echo x > p; ln p q";
        shop.dir("a", fill);
        let dir = shop.place.at("files/a");
        let dir = dir.to_str().unwrap();
        shop.sh("tar -C a -cf a.tar .");
        let tar = shop.place.at("files/a.tar");
        let tar = tar.to_str().unwrap();
        let new =
            |from: &str, what: &str| shop.ok(&["--dedup", "on", "layer", "create", from, what]);
        let first = new("--from-dir", dir);
        let before = shop.looks(&first);
        let second = new("--from-dir", dir);
        assert!(shop.same(&first, &second, "d/f1") && shop.same(&first, &second, "q"));
        assert_eq!(
            (shop.looks(&first), shop.looks(&second)),
            (before.clone(), before)
        );
        for layer in [&first, &second] {
            assert_eq!(
                shop.json(&["layer", "inspect", layer])["deduplicated"],
                true
            );
        }
        // The archive's times are in whole seconds, so these share among themselves.
        let (third, fourth) = (new("--from-tar", tar), new("--from-tar", tar));
        assert!(shop.same(&third, &fourth, "d/f40") && !shop.same(&first, &third, "d/f40"));
        let exported = shop.place.at("files/out.tar");
        shop.ok(&["layer", "diff", &fourth, "-o", exported.to_str().unwrap()]);
        assert_eq!(fs::read(exported).unwrap(), fs::read(tar).unwrap());
        assert_eq!(shop.linked(&[]), (0, 0));
        let without = shop.ok(&["layer", "create", "--from-dir", dir]);
        assert!(!shop.same(&first, &without, "d/f1"));
        let container = shop.ok(&["container", "create", "--layer", &second]);
        shop.work(&container, "head -c 6000 /dev/zero > new");
        let commits =
            [0, 1].map(|_| shop.ok(&["--dedup", "on", "container", "commit", &container]));
        assert!(shop.same(&commits[0], &commits[1], "new"));
        assert_eq!(shop.ok(&["store", "check", "--deep"]), "");
        shop.is_clean();
        // A store may be made for it.
        let other = shop.place.at("files/other");
        let other = other.to_str().unwrap();
        shop.ok(&[
            "--dedup",
            "on",
            "--driver",
            shop.driver,
            "store",
            "init",
            "--root",
            other,
        ]);
        let config = shop.json(&["store", "info", "--root", other])["config"].clone();
        assert_eq!(config["dedup"], true);
        let pair =
            [0, 1].map(|_| shop.ok(&["layer", "create", "--root", other, "--from-dir", dir]));
        let of = |layer: &str| {
            Path::new(other)
                .join(shop.driver)
                .join(layer)
                .join("root/d/f1")
        };
        assert_eq!(inode(&of(&pair[0])), inode(&of(&pair[1])));
        let off = [
            "--dedup",
            "off",
            "layer",
            "create",
            "--root",
            other,
            "--from-dir",
            dir,
        ];
        assert_ne!(inode(&of(&shop.ok(&off))), inode(&of(&pair[0])));
    });
}

#[test]
fn a_second_equal_layer_takes_next_to_nothing() {
    each("a_second_equal_layer", |shop| {
        let fill = "for d in $(seq 10); do mkdir d$d; \
                    for i in $(seq 20); do head -c 9000 /dev/urandom > d$d/f$i; done; done";
        let first = shop.layer_of("a", fill);
        let disk = || {
            let text = shop.sh(&format!(
                "du -s --block-size=1 {}",
                shop.root().join(shop.driver).display()
            ));
            text.split_whitespace()
                .next()
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        let one = disk();
        let dir = shop.place.at("files/a");
        shop.ok(&["layer", "create", "--from-dir", dir.to_str().unwrap()]);
        shop.ok(&["store", "dedup"]);
        let both = disk();
        assert!((both - one) * 100 <= one * 3, "{one} {both} {first}");
    });
}

#[test]
fn reflink_wants_a_filesystem_that_can() {
    one("reflink_wants", "vfs", false, |shop| {
        let reflink = shop.json(&["store", "info"])["config"]["features"]["reflink"] == true;
        if !reflink {
            shop.refused(
                77,
                &["share blocks", "hardlink"],
                &["store", "dedup", "--method", "reflink"],
            );
        }
        shop.refused(2, &["method"], &["store", "dedup", "--method", "magic"]);
        shop.refused(2, &["min-size"], &["store", "dedup", "--min-size", "x"]);
    });
}
