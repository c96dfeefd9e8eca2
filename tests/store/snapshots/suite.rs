//! Every property that containerd's suite for snapshotters asks for, as tests of our own through the verbs. A test has
//! the name that the suite has for the property.
//!
//! A plain user cannot give files away: where the suite changes owners, he changes modes.

use serde_json::Value;

use crate::rig::{Shop, each};

/// Two committed snapshots, one on the other, two active ones and two views, on the upper of these and on nothing.
fn several(shop: &Shop, prefix: &str) {
    let key = |name: &str| format!("{prefix}{name}");
    shop.snap(&["prepare", &key("c1-a")]);
    shop.snap(&["commit", &key("c1"), &key("c1-a")]);
    shop.snap(&["prepare", &key("c2-a"), &key("c1")]);
    shop.snap(&["commit", &key("c2"), &key("c2-a")]);
    shop.snap(&["prepare", &key("a1"), &key("c2")]);
    shop.snap(&["prepare", &key("a2")]);
    shop.snap(&["view", &key("v1"), &key("c2")]);
    shop.snap(&["view", &key("v2")]);
}

/// Kind and parent.
fn is(shop: &Shop, key: &str, kind: &str, parent: &str) {
    let stat = shop.stat(key);
    let found = (stat["name"].as_str(), stat["kind"].as_str());
    assert_eq!(found, (Some(key), Some(kind)));
    assert_eq!(stat["parent"].as_str().unwrap_or_default(), parent, "{key}");
}

#[test]
fn basic() {
    each("snapshots: basic", |shop| {
        let first = "echo foo > foo; chmod 777 foo; mkdir -p a/b/c";
        let second = "echo bar > bar; echo bar > foo; rm -r a/b";
        shop.snap(&["prepare", "/set/preparing"]);
        shop.within("/set/preparing", first);
        shop.snap(&["commit", "/set/committed", "/set/preparing"]);
        is(shop, "/set/committed", "committed", "");
        shop.refused(3, &["preparing"], &["snapshot", "stat", "/set/preparing"]);
        shop.snap(&["prepare", "/set/next", "/set/committed"]);
        let listed = shop.within("/set/next", "find . | sort | xargs; cat foo");
        assert_eq!(listed, ". ./a ./a/b ./a/b/c ./foo\nfoo\n");
        shop.within("/set/next", second);
        is(shop, "/set/next", "active", "/set/committed");
        shop.snap(&["commit", "/set/committed-next", "/set/next"]);
        is(shop, "/set/committed-next", "committed", "/set/committed");
        shop.refused(3, &["next"], &["snapshot", "stat", "/set/next"]);
        assert_eq!(shop.keys(&[]), ["/set/committed", "/set/committed-next"]);
        shop.snap(&["view", "/set/nextnext", "/set/committed-next"]);
        let listed = shop.within("/set/nextnext", "find . | sort | xargs; cat foo bar");
        assert_eq!(listed, ". ./a ./bar ./foo\nbar\nbar\n");
        shop.snap(&["rm", "/set/nextnext"]);
        shop.refused(
            5,
            &["remove", "committed-next"],
            &["snapshot", "rm", "/set/committed"],
        );
        shop.snap(&["rm", "/set/committed-next"]);
        shop.snap(&["rm", "/set/committed"]);
        assert!(shop.keys(&[]).is_empty());
        shop.is_clean();
    });
}

#[test]
fn stat_active() {
    each("snapshots: stat_active", |shop| {
        shop.snap(&["prepare", "preparing"]);
        let id = shop.stat("preparing")["id"].as_str().unwrap().to_string();
        // While it is mounted.
        let seen = shop.mount(&id, "auto");
        shop.sh(&format!("echo foo > {}/foo", seen.display()));
        is(shop, "preparing", "active", "");
        shop.unmount(&id);
    });
}

#[test]
fn stat_committed() {
    each("snapshots: stat_committed", |shop| {
        shop.snap(&["prepare", "preparing"]);
        shop.within("preparing", "echo foo > foo");
        shop.snap(&["commit", "committed", "preparing"]);
        is(shop, "committed", "committed", "");
        // The suite commits what is mounted by others, which nobody can see; writing goes on until they let go.
        if !shop.user {
            shop.snap(&["prepare", "next", "committed"]);
            let commit = "echo bar > bar; (cd ..; s snapshot commit committed-next next)";
            shop.within("next", commit);
            is(shop, "committed-next", "committed", "committed");
            shop.snap(&["view", "v", "committed-next"]);
            assert_eq!(shop.within("v", "cat foo bar"), "foo\nbar\n");
        }
    });
}

#[test]
fn transitivity_test() {
    each("snapshots: transitivity_test", |shop| {
        let keys = shop.chain_of(&["echo foo > foo", "echo foo bar > foo"]);
        is(shop, &keys[0], "committed", "");
        is(shop, &keys[1], "committed", &keys[0]);
        let parent = shop.stat(&keys[1])["parent"].as_str().unwrap().to_string();
        is(shop, &parent, "committed", "");
    });
}

#[test]
fn prepare_view_failing_test() {
    each("snapshots: prepare_view_failing_test", |shop| {
        shop.snap(&["prepare", "preparing"]);
        shop.snap(&["commit", "snapA", "preparing"]);
        for (first, second) in [
            ("prepare", "view"),
            ("prepare", "prepare"),
            ("view", "view"),
        ] {
            shop.snap(&[first, "new layer", "snapA"]);
            shop.refused(4, &["exists"], &["snapshot", second, "new layer", "snapA"]);
            shop.snap(&["rm", "new layer"]);
        }
    });
}

/// Labels as `name=value`.
fn labels(stat: &Value) -> String {
    let labels = stat["labels"].as_object().unwrap().iter();
    let all: Vec<String> = labels
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap()))
        .collect();
    all.join(" ")
}

#[test]
fn update() {
    each("snapshots: update", |shop| {
        let now = || {
            shop.script("date -u +%Y-%m-%dT%H:%M:%S.%N")
                .trim()
                .to_string()
        };
        let start = now();
        several(shop, "");
        let end = now();
        for (key, kind, parent) in [
            ("c1", "committed", ""),
            ("c2", "committed", "c1"),
            ("a1", "active", "c2"),
            ("a2", "active", ""),
            ("v1", "view", "c2"),
            ("v2", "view", ""),
        ] {
            is(shop, key, kind, parent);
            let made = shop.stat(key);
            let created = made["created"].as_str().unwrap();
            assert!(
                *start <= *created && *created <= *end,
                "{start} {created} {end}"
            );
            assert_eq!(made["updated"], created);
            let changed = |args: &[&str], wanted: &str| {
                let start = now();
                shop.snap(&[&["label", key], args].concat());
                let stat = shop.stat(key);
                assert_eq!(labels(&stat), wanted);
                let updated = stat["updated"].as_str().unwrap();
                assert!(*start <= *updated && *updated <= *now(), "{updated}");
                assert_eq!(stat["created"], created);
                is(shop, key, kind, parent);
            };
            let root = "containerd.io/gc.root=now";
            changed(
                &["--replace", "l1=v1", "l2=v2", "l3=v3", root],
                "containerd.io/gc.root=now l1=v1 l2=v2 l3=v3",
            );
            // Single fields: the others stay.
            changed(
                &["l1=updated", "l2-"],
                "containerd.io/gc.root=now l1=updated l3=v3",
            );
            changed(
                &["--replace", "l4=v4", root],
                "containerd.io/gc.root=now l4=v4",
            );
            changed(&["gone-", "l4=a=b"], "containerd.io/gc.root=now l4=a=b");
            changed(&["--replace"], "");
            // There are no words for what cannot be changed.
            let before = shop.stat(key);
            for field in ["--parent", "--kind", "--name", "--created"] {
                shop.refused(2, &["unexpected"], &["snapshot", "label", key, field, "x"]);
            }
            assert_eq!(shop.stat(key), before);
        }
        shop.is_clean();
    });
}

#[test]
fn remove() {
    each("snapshots: remove", |shop| {
        shop.snap(&["prepare", "committed-a"]);
        shop.snap(&["commit", "committed-1", "committed-a"]);
        shop.snap(&["prepare", "reuse-1", "committed-1"]);
        shop.snap(&["rm", "reuse-1"]);
        shop.snap(&["view", "reuse-1", "committed-1"]);
        shop.snap(&["rm", "reuse-1"]);
        shop.snap(&["prepare", "reuse-1", ""]);
        shop.snap(&["rm", "committed-1"]);
        shop.snap(&["commit", "committed-1", "reuse-1"]);
        assert_eq!(shop.keys(&[]), ["committed-1"]);
        shop.is_clean();
    });
}

#[test]
fn walk() {
    each("snapshots: walk", |shop| {
        let root = ["--label", "containerd.io/gc.root=check-walk"];
        let snap = |args: &[&str], label: &str| {
            let label = format!("l={label}");
            let label = ["--label", &label];
            let all: &[&[&str]] = match label[1] {
                "l=" => &[args, &root],
                _ => &[args, &root, &label],
            };
            shop.snap(&all.concat());
        };
        snap(&["prepare", "a-np"], "");
        shop.snap(&["prepare", "p-tmp"]);
        snap(&["commit", "p", "p-tmp"], "");
        snap(&["prepare", "a", "p"], "");
        snap(&["view", "v", "p"], "");
        shop.snap(&["prepare", "p-wl-tmp", "--label", "l=9"]);
        snap(&["commit", "p-wl", "p-wl-tmp"], "1");
        snap(&["prepare", "a-wl", "p-wl"], "2");
        snap(&["view", "v-wl", "p-wl"], "3");
        snap(&["prepare", "a-np-wl"], "2");
        const ROOT: &str = "labels.\"containerd.io/gc.root\"==check-walk";
        let with = |condition: &str| format!("{condition},{ROOT}");
        for (filters, wanted) in [
            (vec![], "a a-np a-np-wl a-wl p p-wl v v-wl"),
            (vec![ROOT.to_string()], "a a-np a-np-wl a-wl p p-wl v v-wl"),
            (vec![with("kind==active")], "a a-np a-np-wl a-wl"),
            (vec![with("kind==view")], "v v-wl"),
            (vec![with("kind==committed")], "p p-wl"),
            (vec!["name==p".into(), "name==a-np-wl".into()], "a-np-wl p"),
            (vec!["name==a-wl,labels.l".into()], "a-wl"),
            (vec!["parent==p".into()], "a v"),
            (vec![with("parent!=\"\"")], "a a-wl v v-wl"),
            (vec!["labels.l".into()], "a-np-wl a-wl p-wl v-wl"),
            (vec!["labels.l==2".into()], "a-np-wl a-wl"),
            (vec!["name==nothing".into()], ""),
        ] {
            let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
            assert_eq!(shop.keys(&filters).join(" "), wanted, "{filters:?}");
        }
    });
}

#[test]
fn layer_fileupdate() {
    each("snapshots: layer_fileupdate", |shop| {
        for _ in 0..3 {
            shop.chain_of(&[
                "mkdir -m 700 etc; echo mydomain 10.0.0.1 > etc/hosts; echo PATH=/usr/bin > etc/profile",
                "echo mydomain 10.0.0.2 > etc/hosts; echo PATH=/usr/bin > etc/profile; chmod 666 etc/profile; \
                 mkdir -m 700 root; echo PATH=/usr/sbin:/usr/bin > root/.bashrc",
            ]);
        }
    });
}

#[test]
fn remove_directory_in_lower_layer() {
    each("snapshots: remove_directory_in_lower_layer", |shop| {
        shop.chain_of(&[
            "mkdir -m 700 lib; touch lib/hidden",
            "rm -r lib; mkdir -m 700 lib; touch lib/not-hidden",
            "touch lib/newfile",
        ]);
    });
}

/// Gives files away, as far as that can be.
fn give(shop: &Shop, to: &str, files: &str) -> String {
    match (shop.user, to) {
        (false, _) => format!("chown {to}:{to} {files}"),
        (true, "0") => format!("chmod 700 {files}"),
        (true, _) => format!("chmod 750 {files}"),
    }
}

#[test]
fn chown() {
    each("snapshots: chown", |shop| {
        shop.chain_of(&[
            "mkdir -m 700 opt opt/a opt/a/b; echo hello > opt/a/b/file.txt",
            &give(shop, "1", "opt opt/a opt/a/b opt/a/b/file.txt"),
        ]);
    });
}

#[test]
fn directory_permission_on_commit() {
    each("snapshots: directory_permission_on_commit", |shop| {
        let dirs = "mkdir -m 700 dir1 dir2 dir3 dir4 dir5; echo ... > dir4/f1; echo ... > dir5/f1";
        shop.chain_of(&[
            &format!("{dirs}; {}", give(shop, "1", "dir1 dir2 dir3 dir5 dir5/f1")),
            &format!(
                "{}; rm -r dir3; {}",
                give(shop, "0", "dir2"),
                give(shop, "1", "dir4 dir4/f1")
            ),
            &format!(
                "mkdir -m 700 dir3; rm -r dir5; mkdir -m 700 dir5; {}",
                give(shop, "1", "dir3 dir5")
            ),
        ]);
    });
}

#[test]
fn remove_intermediate_snapshot() {
    each("snapshots: remove_intermediate_snapshot", |shop| {
        shop.snap(&["prepare", "base"]);
        shop.snap(&["commit", "committed-base", "base"]);
        shop.snap(&["prepare", "intermediate", "committed-base"]);
        shop.snap(&["commit", "committed-inter", "intermediate"]);
        shop.snap(&["prepare", "toplayer", "committed-inter"]);
        for key in ["committed-inter", "committed-base"] {
            shop.refused(5, &["cannot remove", key], &["snapshot", "rm", key]);
        }
        for key in ["toplayer", "committed-inter", "committed-base"] {
            shop.snap(&["rm", key]);
        }
        shop.is_clean();
    });
}

#[test]
fn deleted_files_in_child_snapshot() {
    each("snapshots: deleted_files_in_child_snapshot", |shop| {
        shop.chain_of(&["echo foo > foo; echo foobar > foobar", "rm foobar", "true"]);
    });
}

#[test]
fn move_file_from_lower_layer() {
    each("snapshots: move_file_from_lower_layer", |shop| {
        shop.chain_of(&[
            "mkdir -m 700 dir1 dir2; echo Hello > dir1/f1; echo ... > dir2/f2",
            "mkdir -m 700 dir3; echo Hello > dir3/f1; rm -r dir1; ln dir2/f2 dir3/f2; rm dir2/f2",
        ]);
    });
}

#[test]
fn view_readonly() {
    each("snapshots: view_readonly", |shop| {
        shop.snap(&["prepare", "preparing"]);
        shop.snap(&["commit", "committed", "preparing"]);
        shop.snap(&["view", "view", "committed"]);
        let said = shop.within("view", "! LC_ALL=C touch testfile 2>&1");
        assert!(said.contains("Read-only file system"), "{said}");
        shop.snap(&["rm", "view"]);
        shop.snap(&["rm", "committed"]);
    });
}

#[test]
fn stat_in_walk() {
    each("snapshots: stat_in_walk", |shop| {
        several(shop, "stats-in-walk-");
        for walked in shop.json(&["snapshot", "ls"]).as_array().unwrap() {
            assert_eq!(*walked, shop.stat(walked["name"].as_str().unwrap()));
        }
    });
}

/// Nothing is open after a call, so there is nothing to close, once or twice.
#[test]
fn close_twice() {
    each("snapshots: close_twice", |shop| {
        shop.snap(&["prepare", "n-prepare"]);
        shop.snap(&["commit", "n", "n-prepare"]);
        shop.snap(&["rm", "n"]);
        for _ in 0..2 {
            // It wants the store for itself.
            assert_eq!(shop.ok(&["store", "gc"]), "");
        }
        shop.is_clean();
    });
}

#[test]
fn root_permission() {
    each("snapshots: root_permission", |shop| {
        shop.snap(&["prepare", "preparing"]);
        assert_eq!(shop.within("preparing", "stat -c %a ."), "755\n");
    });
}

#[test]
fn rename() {
    each("snapshots: rename", |shop| {
        shop.chain_of(&[
            "mkdir -m 700 dir1 somefiles; echo was here first > somefiles/f1; echo nothing > somefiles/f2",
            "mv dir1 dir2; echo new content 1 > somefiles/f1-overwrite; \
             mv somefiles/f1-overwrite somefiles/f1; mv somefiles/f2 somefiles/f3",
        ]);
    });
}

#[test]
fn mount_of_128_layers() {
    each("snapshots: mount_of_128_layers", |shop| {
        let listing = super::LISTING;
        let said = shop.script(&format!(
            "lowest() {{
                 echo way at the bottom > bottom; echo FIRST > overwriteme
                 mkdir addhere onlyme; echo bye > onlyme/bottom
             }}
             next() {{
                 echo $i WAS HERE > overwriteme; echo same > addhere/file-$i
                 rm -r onlyme; mkdir onlyme; echo only me > onlyme/file-$i
             }}
             mkdir flat; parent=; change=lowest
             for i in $(seq 0 127); do
                 s snapshot prepare preparing-$i \"$parent\" > said
                 (cd flat; $change)
                 mounted preparing-$i $change
                 parent=committed-$i; change=next
                 s snapshot commit $parent preparing-$i
             done
             s snapshot view fullview $parent > said
             (cd flat; {listing}) > flat-listing
             mounted fullview '{}' > view-listing
             cmp flat-listing view-listing; wc -l < view-listing",
            listing.replace('\'', "'\\''")
        ));
        // 3 directories, 4 files in the root, and 127 and 1 below; the files once more by their digests.
        assert_eq!(said.trim(), (3 + 2 * (2 + 127 + 1)).to_string());
    });
}
