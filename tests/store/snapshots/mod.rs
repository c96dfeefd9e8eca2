//! Snapshots. [`suite`] has every property that containerd's suite asks of a snapshotter, under its names; here is what
//! is asked of this one beyond that, and the rig of both.

use std::fs;

use serde_json::Value;

use crate::rig::{Shop, each, one};

mod suite;

/// What a tree shows, in words; times are left out, and links of directories, which mean nothing in a merged view.
const LISTING: &str = r"find . -type d -printf '%P/ %m %U:%G\n' | sort; \
                        find . ! -type d -printf '%P %y %m %U:%G %n %s %l\n' | sort; \
                        find . -type f | sort | xargs -r md5sum";

impl Shop<'_> {
    /// A call about snapshots that works.
    fn snap(&self, args: &[&str]) -> String {
        self.ok(&[&["--sync", "none", "snapshot"], args].concat())
    }

    /// What a snapshot is.
    fn stat(&self, key: &str) -> Value {
        self.json(&["snapshot", "stat", key])
    }

    /// Runs a shell script as who may mount what the store says: root; a plain user where plyfs mounts for him, and in
    /// a user namespace of his own where the kernel does. `s` calls the store, `mounted KEY WORDS` runs words in a
    /// mounted snapshot.
    fn script(&self, script: &str) -> String {
        let (root, place) = (self.root(), self.place.root.display());
        let head = format!(
            "set -e; umask 022; PATH={place}:$PATH; cd {place}/files; mkdir -p mnt
             s() {{ plyfs --root {} --run {place}/run --sync none \"$@\"; }}
             mounted() {{
                 eval \"$(s snapshot mounts \"$1\") $PWD/mnt\"; cd mnt
                 rc=0; eval \"$2\" || rc=$?
                 cd ..; plyfs umount mnt 2> umount-said || umount mnt; return $rc
             }}\n",
            root.display()
        );
        fs::write(self.place.at("files/script"), head + script).unwrap();
        match self.user && self.driver == "vfs" {
            true => self.sh("unshare --user --map-root-user --mount sh script"),
            false => self.sh("sh script"),
        }
    }

    /// Runs a shell script in a mounted snapshot.
    fn within(&self, key: &str, script: &str) -> String {
        let script = script.replace('\'', "'\\''");
        self.script(&format!("mounted '{key}' '{script}'"))
    }

    /// Makes a chain of snapshots, one by each script. Each must show what one directory shows that all scripts worked
    /// in. Gives their keys.
    fn chain_of(&self, scripts: &[&str]) -> Vec<String> {
        let mut keys = vec![String::new()];
        self.script("rm -rf flat; mkdir flat");
        for script in scripts {
            let key = format!("{}/{}", self.snap(&["ls"]).lines().count(), keys.len());
            let (prepare, view) = (format!("{key} prepare"), format!("{key} view"));
            self.snap(&["prepare", &prepare, keys.last().unwrap()]);
            self.within(&prepare, script);
            self.snap(&["commit", &key, &prepare]);
            self.script(&format!("cd flat\n{script}"));
            self.snap(&["view", &view, &key]);
            let flat = self.script(&format!("cd flat\n{LISTING}"));
            assert_eq!(self.within(&view, LISTING), flat, "{script}");
            self.snap(&["rm", &view]);
            keys.push(key);
        }
        keys.split_off(1)
    }

    /// The keys that a listing has.
    fn keys(&self, filters: &[&str]) -> Vec<String> {
        let list = self.json(&[&["snapshot", "ls"], filters].concat());
        let name = |value: &Value| value["name"].as_str().unwrap().to_string();
        list.as_array().unwrap().iter().map(name).collect()
    }
}

#[test]
fn a_key_is_any_text() {
    each("a_key_is_any_text", |shop| {
        let long = "k".repeat(4096);
        let keys = [
            "default/12/extract-1 sha256:0",
            "../../../etc/passwd",
            "-",
            ".",
            "a\nb",
            "\u{e4}\u{1f600}\"\\",
            &"f".repeat(64),
            &long,
        ];
        for key in keys {
            let all: Vec<String> = shop.keys(&[]);
            assert!(all.is_empty(), "{all:?}");
            shop.snap(&["prepare", "--", key]);
            assert_eq!(shop.stat(key)["name"], key);
            shop.refused(4, &["exists"], &["snapshot", "prepare", "--", key]);
            shop.snap(&["commit", "--", "committed", key]);
            shop.snap(&["view", "--", key, "committed"]);
            assert_eq!(shop.snap(&["ls"]).lines().count(), 3, "one line each");
            shop.snap(&["rm", "--", key, "committed"]);
        }
        shop.refused(6, &["key"], &["snapshot", "prepare", ""]);
        shop.refused(
            6,
            &["too long"],
            &["snapshot", "prepare", &format!("{long}k")],
        );
        shop.refused(6, &["too long"], &["snapshot", "stat", &format!("{long}k")]);
        shop.is_clean();
    });
}

#[test]
fn what_cannot_be_is_refused() {
    each("snapshots: what_cannot_be_is_refused", |shop| {
        shop.snap(&["prepare", "active"]);
        shop.snap(&["view", "view"]);
        shop.snap(&["prepare", "next"]);
        shop.snap(&["commit", "committed", "next"]);
        let other = match shop.driver {
            "vfs" => "overlay",
            _ => "vfs",
        };
        for (code, words, call) in [
            (3, "no snapshot x", "mounts x"),
            (3, "no snapshot x", "stat x"),
            (3, "no snapshot x", "usage x"),
            (3, "no snapshot x", "label x a=b"),
            (3, "no snapshot x", "rm x"),
            (3, "no snapshot x", "rm --dry-run x"),
            (3, "no snapshot x", "commit new x"),
            (3, "no snapshot x", "prepare new x"),
            (3, "no snapshot x", "view new x"),
            (4, "committed exists", "commit committed active"),
            (4, "view exists", "commit view active"),
            (4, "active exists", "commit active active"),
            (4, "active exists", "prepare active committed"),
            (4, "committed exists", "view committed committed"),
            (5, "it is view", "commit new view"),
            (5, "it is committed", "commit new committed"),
            (5, "committed", "mounts committed"),
            (
                5,
                "belong to driver",
                &format!("prepare new --driver {other}"),
            ),
            (6, "not committed", "prepare new active"),
            (6, "not committed", "view new view"),
            (6, "no name", "prepare new --label =x"),
            (6, "filter", "ls size==1"),
            (2, "NAME=VALUE", "label active x"),
            (2, "NAME=VALUE", "prepare new --label x"),
            (2, "required", "commit new"),
        ] {
            let call: Vec<&str> = ["snapshot"].into_iter().chain(call.split(' ')).collect();
            // clap itself refuses a label without a name.
            let code = if call.contains(&"=x") { 2 } else { code };
            let words = if code == 2 && words == "no name" {
                "NAME=VALUE"
            } else {
                words
            };
            let said = shop.call(&call);
            assert_eq!(
                (said.code, said.out.as_str()),
                (Some(code), ""),
                "{call:?}: {said:?}"
            );
            assert!(said.err.contains(words), "{call:?}: {said:?}");
        }
        let long = format!("a={}", "b".repeat(4096));
        shop.refused(6, &["label a"], &["snapshot", "label", "active", &long]);
        assert_eq!(shop.keys(&[]), ["active", "committed", "view"]);
        shop.is_clean();
    });
}

#[test]
fn a_snapshot_is_a_container_or_a_layer() {
    each("a_snapshot_is_a_container_or_a_layer", |shop| {
        shop.snap(&["prepare", "a"]);
        shop.within("a", "echo one > file");
        shop.snap(&["commit", "one", "a", "--label", "l=1"]);
        shop.snap(&["prepare", "b", "one"]);
        let id = |key: &str| shop.stat(key)["id"].as_str().unwrap().to_string();
        let (layer, container) = (id("one"), id("b"));
        assert_eq!(shop.ids("layer").concat(), layer);
        assert_eq!(shop.ids("container").concat(), container);
        let about = shop.json(&["layer", "inspect", &layer]);
        assert_eq!(about["snapshot"]["key"], "one");
        assert_eq!(about["users"]["containers"][0], container.as_str());
        // What has a key is removed by its key.
        shop.refused(5, &["snapshot one"], &["layer", "rm", &layer]);
        shop.refused(5, &["snapshot one"], &["layer", "rm", "--dry-run", &layer]);
        shop.refused(5, &["snapshot b"], &["container", "rm", &container]);
        shop.refused(
            5,
            &["snapshot b"],
            &["container", "rm", "--dry-run", &container],
        );
        shop.refused(
            5,
            &["snapshot b"],
            &["container", "commit", "--rm", &container],
        );
        shop.refused(5, &["in use by snapshot b"], &["snapshot", "rm", "one"]);
        shop.refused(
            5,
            &["in use by snapshot b"],
            &["snapshot", "rm", "--dry-run", "one"],
        );
        assert_eq!(shop.snap(&["rm", "--dry-run", "b", "one"]), "b\none");
        // Any layer can be begun from, and anything can stand on a snapshot.
        let other = shop.ok(&["layer", "create", "--parent", &layer, "--name", "other"]);
        shop.snap(&["view", "v", "other"]);
        assert_eq!(shop.stat("v")["parent"], other.as_str());
        shop.snap(&["prepare", "w", &other]);
        shop.refused(
            3,
            &["no snapshot"],
            &["snapshot", "prepare", "x", &other[..8]],
        );
        shop.refused(5, &["in use by", &other], &["snapshot", "rm", "one"]);
        shop.refused(5, &["in use"], &["layer", "rm", "other"]);
        let copy = shop.ok(&["container", "commit", &container]);
        assert!(shop.json(&["layer", "inspect", &copy])["snapshot"].is_null());
        assert_eq!(shop.ok(&["store", "gc"]), "");
        assert_eq!(shop.within("v", "cat file"), "one\n");
        shop.snap(&["rm", "v", "w", "b"]);
        shop.ok(&["layer", "rm", "other", &copy]);
        shop.snap(&["rm", "one"]);
        assert_eq!([shop.ids("layer"), shop.ids("container")].concat(), [""; 0]);
        shop.is_clean();
    });
}

#[test]
fn mounts_are_told_as_a_command_and_as_json() {
    each("mounts_are_told", |shop| {
        let said = shop.snap(&["prepare", "a"]);
        assert_eq!(shop.snap(&["mounts", "a"]), said);
        let told = shop.json(&["snapshot", "mounts", "a"]);
        let content = shop
            .root()
            .join(shop.driver)
            .join(shop.stat("a")["id"].as_str().unwrap());
        let content = content.display();
        let fuse =
            format!("lowerdir={content}/empty,upperdir={content}/upper,workdir={content}/work");
        let (fstype, command) = match (shop.driver, shop.user) {
            ("vfs", _) => ("bind", format!("mount -o bind,rw {content}/root")),
            (_, true) => ("fuse3.plyfs", format!("plyfs mount -o {fuse},userxattr")),
            (_, false) => {
                let more = "index=off,redirect_dir=off,metacopy=off";
                (
                    "overlay",
                    format!("mount -t overlay -o {fuse},{more} overlay"),
                )
            }
        };
        assert_eq!((told[0]["type"].as_str(), said), (Some(fstype), command));
        assert_eq!(told.as_array().unwrap().len(), 1);
        if shop.driver == "overlay" {
            for (runtime, wanted) in [("fuse", "fuse3.plyfs"), ("kernel", "overlay")] {
                let told = shop.json(&["snapshot", "mounts", "a", "--runtime", runtime]);
                assert_eq!(told[0]["type"], wanted);
            }
        }
    });
}

#[test]
fn the_store_mounts_snapshots_too() {
    each("the_store_mounts_snapshots_too", |shop| {
        shop.snap(&["prepare", "a"]);
        let id = shop.stat("a")["id"].as_str().unwrap().to_string();
        let seen = shop.mount(&id, "auto");
        shop.sh(&format!("echo x > {}/file", seen.display()));
        if shop.driver == "overlay" {
            shop.refused(5, &["mounted"], &["snapshot", "commit", "c", "a"]);
            shop.refused(5, &["mounted"], &["snapshot", "rm", "a"]);
            shop.refused(5, &["mounted"], &["snapshot", "rm", "--dry-run", "a"]);
            shop.unmount(&id);
        }
        shop.snap(&["commit", "c", "a"]);
        shop.snap(&["view", "v", "c"]);
        let id = shop.stat("v")["id"].as_str().unwrap().to_string();
        if shop.driver == "vfs" {
            shop.refused(77, &["snapshot mounts"], &["container", "mount", &id]);
        } else {
            assert_eq!(
                shop.work(&id, "cat file; ! echo y > file 2> /dev/null"),
                "x\n"
            );
        }
        assert_eq!(shop.within("v", "cat file"), "x\n");
    });
}

#[test]
fn usage_counts_what_is_its_own() {
    each("usage_counts_what_is_its_own", |shop| {
        let usage = |key: &str| {
            let told = shop.json(&["snapshot", "usage", key])[0].clone();
            assert_eq!(told["name"], key);
            (
                told["size"].as_u64().unwrap(),
                told["inodes"].as_u64().unwrap(),
            )
        };
        shop.snap(&["prepare", "a"]);
        assert_eq!(usage("a").1, 1, "its root");
        shop.within(
            "a",
            "head -c 1000000 /dev/urandom > big; ln big link; mkdir d",
        );
        let (size, inodes) = usage("a");
        assert!((1_000_000..1_100_000).contains(&size), "{size}");
        assert_eq!(inodes, 3);
        shop.snap(&["commit", "c", "a"]);
        assert_eq!(usage("c"), (size, inodes));
        shop.snap(&["prepare", "b", "c"]);
        shop.snap(&["view", "v", "c"]);
        match shop.driver {
            "vfs" => assert_eq!(usage("b").1, 3, "a copy"),
            _ => assert_eq!(usage("b").1, 1),
        }
        assert_eq!(usage("v").1, 1, "what is only read is not copied");
        assert_eq!(shop.snap(&["usage"]).lines().count(), 4);
    });
}

#[test]
fn hard_links_stay_links() {
    each("hard_links_stay_links", |shop| {
        shop.chain_of(&[
            "echo one > a; ln a b; mkdir d; ln a d/c; ln -s a s",
            "echo other > x; ln x d/y",
            // A removed name of a lower file still counts in its links, as the kernel has it.
            "rm s; echo z > d/z; ln d/z z",
        ]);
    });
}

#[test]
fn of_many_commits_to_one_name_one_wins() {
    each("of_many_commits_to_one_name", |shop| {
        for round in 0..3 {
            let name = format!("sha256:{round}");
            let keys: Vec<String> = (0..5).map(|i| format!("{round} {i}")).collect();
            for key in &keys {
                shop.snap(&["prepare", key]);
                let changes = match shop.driver {
                    "overlay" => "upper",
                    _ => "root",
                };
                let id = shop.stat(key)["id"].as_str().unwrap().to_string();
                let at = shop.root().join(shop.driver).join(id).join(changes);
                fs::write(at.join("who"), key).unwrap();
            }
            let commit = |key: &String| shop.call(&["snapshot", "commit", &name, key]).code;
            let codes: Vec<(Option<i32>, &String)> = std::thread::scope(|scope| {
                let all: Vec<_> = keys
                    .iter()
                    .map(|key| scope.spawn(move || (commit(key), key)))
                    .collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            let won: Vec<&String> = codes
                .iter()
                .filter(|(code, _)| *code == Some(0))
                .map(|(_, key)| *key)
                .collect();
            assert_eq!(won.len(), 1, "{codes:?}");
            assert!(
                codes.iter().all(|(code, _)| matches!(code, Some(0 | 4))),
                "{codes:?}"
            );
            let view = format!("{round} view");
            shop.snap(&["view", &view, &name]);
            assert_eq!(&shop.within(&view, "cat who"), won[0]);
            for (code, key) in &codes {
                assert_eq!(shop.keys(&[]).contains(key), *code != Some(0));
            }
        }
        shop.is_clean();
    });
}

#[test]
fn of_many_preparations_of_one_key_one_wins() {
    each("of_many_preparations_of_one_key", |shop| {
        let codes: Vec<Option<i32>> = std::thread::scope(|scope| {
            let prepare = |i: usize| {
                let verb = if i.is_multiple_of(2) {
                    "prepare"
                } else {
                    "view"
                };
                shop.call(&["snapshot", verb, "key"]).code
            };
            let all: Vec<_> = (0..6).map(|i| scope.spawn(move || prepare(i))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(
            codes.iter().filter(|code| **code == Some(0)).count(),
            1,
            "{codes:?}"
        );
        assert!(
            codes.iter().all(|code| matches!(code, Some(0 | 4))),
            "{codes:?}"
        );
        assert_eq!(shop.keys(&[]), ["key"]);
        shop.is_clean();
    });
}

#[test]
fn labels_change_together_or_not_at_all() {
    each("labels_change_together", |shop| {
        shop.snap(&["prepare", "a"]);
        shop.snap(&["prepare", "b"]);
        shop.snap(&["commit", "c", "b"]);
        for key in ["a", "c"] {
            std::thread::scope(|scope| {
                for i in 0..6 {
                    scope.spawn(move || shop.snap(&["label", key, &format!("l{i}={i}")]));
                }
            });
            assert_eq!(
                shop.stat(key)["labels"].as_object().unwrap().len(),
                6,
                "none is lost"
            );
        }
        shop.is_clean();
    });
}

#[test]
fn a_snapshot_with_anothers_id_is_damage() {
    one("a_snapshot_with_anothers_id", "vfs", false, |shop| {
        shop.snap(&["prepare", "a"]);
        let id = shop.stat("a")["id"].as_str().unwrap().to_string();
        let meta = shop
            .root()
            .join("meta/containers")
            .join(format!("{id}.json"));
        let text = fs::read_to_string(&meta).unwrap();
        fs::write(&meta, text.replace("\"key\": \"a\"", "\"key\": \"b\"")).unwrap();
        let said = shop.call(&["store", "check"]);
        assert_eq!(said.code, Some(7), "{said:?}");
        assert!(said.out.contains("snapshot b"), "{said:?}");
    });
}
