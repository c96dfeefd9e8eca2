//! The verbs as lines: what each says on stdout, and where the scenarios of each are. All are in `contract::VERBS`,
//! the list of record, which every verb of the program must be in.
//!
//! | verb | scenario |
//! |---|---|
//! | store init, info | `whole::a_store_is_made_once_and_describes_itself`, here |
//! | store check, gc | `whole::garbage_is_found_and_removed`, `whole::damage_is_told_and_repaired_without_loss` |
//! | store dedup | `dedup` |
//! | store du | here |
//! | layer create, ls, inspect, du | `layers::a_layer_is_made_of_a_directory_listed_and_removed` |
//! | layer apply, diff, changes | `archives::changes_travel_as_an_archive`, `drivers` |
//! | layer squash | `layers::squashing_shows_the_same_without_parents` |
//! | layer rm | `layers::layers_stand_on_each_other` |
//! | container create, mount, unmount, commit, inspect, rm | `containers::a_container_lives` |
//! | container diff, changes | `archives::changes_travel_as_an_archive` |
//! | container ls, du | here |
//! | image import, export | `images::an_image_travels_in_every_form_and_stays_what_it_is` |
//! | image tag, rm, inspect | `images::names_and_layers_go_with_the_last_that_needs_them` |
//! | image ls | here |
//! | snapshot, all verbs | `snapshots` |
//!
//! Every exit code is caused in `every_exit_code`; a full disk (1) in `bad_input`.

use std::fs;

use crate::rig::{Shop, each};

/// The rows of a table, without its heading, as words.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let words = |line| str::split_whitespace(line).collect();
    text.lines().skip(1).map(words).collect()
}

/// The code of a call that fails with words on stderr and nothing on stdout.
fn code(shop: &Shop, args: &[&str]) -> i32 {
    let said = shop.call(args);
    assert_eq!(said.out, "", "{args:?}");
    assert!(!said.err.trim().is_empty(), "{args:?}: {said:?}");
    said.code.unwrap()
}

#[test]
fn lists_and_sizes() {
    each("lists_and_sizes", |shop| {
        let (layer, container) = shop.container();
        let files = shop.place.at("files/base");
        let image = format!("dir:{}", files.display());
        let image = shop.ok(&["image", "import", &image, "--name", "it"]);
        shop.work(&container, "echo 12345 > six; rm b");

        let info = shop.ok(&["store", "info"]);
        for line in [
            format!("root: {}", shop.root().display()),
            format!("driver: {}", shop.driver),
            "layers: 2".into(),
            "containers: 1".into(),
            "images: 1".into(),
        ] {
            assert!(info.lines().any(|said| said == line), "{line}: {info}");
        }
        let list = shop.ok(&["container", "ls"]);
        let list = rows(&list);
        assert_eq!(list.len(), 1);
        assert_eq!(list[0][..3], [&container, &layer, shop.driver]);
        let list = shop.ok(&["image", "ls"]);
        let list = rows(&list);
        assert_eq!(list.len(), 1);
        assert_eq!((list[0][0], list[0][1]), (image.as_str(), "1"));
        assert_eq!(list[0].last(), Some(&"it"));

        // Three files of 4, 4 and 2 bytes in each layer; in a container what is its own: all of it, or the changes.
        let bytes: u64 = if shop.driver == "vfs" { 12 } else { 6 };
        let du = shop.ok(&["container", "du", &container]);
        assert_eq!(rows(&du)[0][..2], [&container, bytes.to_string().as_str()]);
        let du = shop.ok(&["store", "du"]);
        let du = rows(&du);
        assert_eq!(du[0][..2], ["layers", "20"]);
        assert_eq!(du[1][..2], ["containers", &bytes.to_string()]);
        assert_eq!(shop.ok(&["store", "check"]), "");
        assert_eq!(shop.ok(&["store", "gc"]), "");
        shop.ok(&["container", "rm", &container]);
        assert_eq!(rows(&shop.ok(&["container", "ls"])).len(), 0);
        assert_eq!(rows(&shop.ok(&["store", "du"]))[1][1], "0");
        shop.ok(&["image", "rm", "it"]);
        assert_eq!(rows(&shop.ok(&["image", "ls"])).len(), 0);
        assert_eq!(shop.ids("layer"), [layer]);
    });
}

#[test]
fn every_exit_code() {
    each("every_exit_code", |shop| {
        let (layer, container) = shop.container();
        let lie = shop.place.at("files/lie.tar");
        shop.sh("head -c 700 /dev/urandom > lie.tar; : > plain");
        let lie = lie.to_str().unwrap();
        let there = format!("dir:{}", shop.place.at("files/base").display());
        let plain = shop.place.at("files/plain/store");
        let plain = plain.to_str().unwrap();
        let id = layer.as_str();
        let cases: &[(i32, &[&str])] = &[
            (1, &["layer", "diff", id, "-o", plain]),
            (2, &["layer", "create", "--no-such-option"]),
            (3, &["layer", "inspect", "nothing"]),
            (3, &["image", "inspect", "nothing"]),
            (3, &["container", "inspect", "nothing"]),
            (3, &["snapshot", "stat", "nothing"]),
            (4, &["store", "init"]),
            (4, &["image", "import", &there, "--name", "base"]),
            (5, &["layer", "rm", id]),
            (6, &["container", "commit", &container, "--id", "../x"]),
            (6, &["image", "import", "docker://debian"]),
            (7, &["layer", "create", "--from-tar", lie]),
        ];
        let before = shop.json(&["store", "du"]);
        for (wanted, args) in cases {
            assert_eq!(code(shop, args), *wanted, "{args:?}");
        }
        if shop.driver == "overlay" {
            // A file that is open in the mount: busy, until it is closed. In a user's mount only he can open one.
            let seen = shop.mount(&container, "auto");
            if !shop.user {
                let open = fs::File::open(seen.join("a")).unwrap();
                assert_eq!(code(shop, &["container", "unmount", &container]), 8);
                drop(open);
            }
            shop.unmount(&container);
        } else {
            assert_eq!(code(shop, &["container", "create", "--read-only"]), 77);
        }
        if shop.user && shop.driver == "overlay" {
            let mount = ["container", "mount", &container, "--runtime", "kernel"];
            assert_eq!(code(shop, &mount), 77);
        }
        assert_eq!(shop.json(&["store", "du"]), before);
        shop.is_clean();
    });
}
