//! Verbs of layers.

use std::fs;

use crate::rig::{each, listed, mode, names, one, shown};

#[test]
fn a_layer_is_made_of_a_directory_listed_and_removed() {
    each("a_layer_is_made_of_a_directory", |shop| {
        let dir = shop.dir(
            "base",
            "echo one > a; mkdir d; ln a d/b; ln -s x l; chmod 750 d; chmod 751 .",
        );
        let id = shop.ok(&[
            "layer",
            "create",
            "--from-dir",
            &dir,
            "--name",
            "example/base:1",
        ]);
        assert_eq!(id.len(), 32);
        let tree = shop.root().join(shop.driver).join(&id).join("root");
        assert_eq!(shown(&tree), shown(dir.as_ref()));
        let (a, b) = (tree.join("a"), tree.join("d/b"));
        let ino = |path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        assert_eq!(ino(a), ino(b));
        let listed = shop.json(&["layer", "ls"]);
        assert_eq!(listed[0]["names"][0], "example/base:1");
        assert_eq!(
            (&listed[0]["size"]["bytes"], &listed[0]["size"]["entries"]),
            (&4.into(), &4.into())
        );
        for word in ["example/base:1", &id, &id[..8]] {
            assert_eq!(shop.json(&["layer", "inspect", word])["id"], id.as_str());
        }
        assert!(shop.ok(&["layer", "ls"]).contains("example/base:1"));
        assert_eq!(shop.json(&["layer", "du", &id])[0]["bytes"], 4);
        assert_eq!(shop.ok(&["layer", "rm", &id]), "");
        assert_eq!(shop.ids("layer").len(), 0);
        assert!(!shop.root().join("meta/names/example%2Fbase:1").exists());
        shop.is_clean();
    });
}

#[test]
fn layers_stand_on_each_other() {
    each("layers_stand_on_each_other", |shop| {
        let base = shop.dir(
            "base",
            "echo one > a; echo two > b; mkdir d e; echo x > d/x; echo y > e/y",
        );
        let base = shop.ok(&["layer", "create", "--from-dir", &base, "--name", "base"]);
        let change = "echo new > a; mkdir d; mknod b c 0 0; mkdir e; \
                      setfattr -n user.overlay.opaque -v y e; echo z > e/z";
        let change = match shop.user {
            true => shop.dir("change", change),
            false => shop.dir("change", &change.replace("user.overlay", "trusted.overlay")),
        };
        let top = shop.ok(&[
            "layer",
            "create",
            "--parent",
            "base",
            "--from-dir",
            &change,
            "--name",
            "top",
        ]);
        let empty = shop.ok(&["layer", "create", "--parent", "top"]);
        assert_eq!(
            shop.json(&["layer", "inspect", &empty])["parent"],
            top.as_str()
        );
        let container = shop.ok(&["container", "create", "--layer", &empty]);
        let seen = shop.seen(&container, "auto");
        assert_eq!(listed(&seen), "a d d/x e e/z");
        assert!(seen["a"].ends_with("\"new\\n\""), "{seen:?}");
        shop.refused(5, &["in use", &empty], &["layer", "rm", "top"]);
        shop.refused(5, &["in use", &container], &["layer", "rm", &empty]);
        shop.ok(&["container", "rm", &container]);
        shop.ok(&["layer", "rm", &empty, "top", &base]);
        assert!(shop.ids("layer").is_empty());
        shop.is_clean();
    });
}

#[test]
fn squashing_shows_the_same_without_parents() {
    each("squashing_shows_the_same", |shop| {
        let base = shop.dir(
            "base",
            "mkdir d gone; echo 1 > d/a; echo 2 > d/b; echo 3 > gone/c; ln d/a link; chmod 700 d",
        );
        let mut id = shop.ok(&["layer", "create", "--from-dir", &base]);
        for script in [
            "rm -r gone; echo new > d/b",
            "rm d/a; mkdir gone; chmod 711 d",
            "echo x > gone/x",
        ] {
            let container = shop.ok(&["container", "create", "--layer", &id]);
            shop.work(&container, script);
            id = shop.ok(&["container", "commit", &container, "--rm"]);
        }
        let flat = shop.ok(&["layer", "squash", &id, "--name", "flat"]);
        assert!(shop.json(&["layer", "inspect", "flat"])["parent"].is_null());
        let container = shop.ok(&["container", "create", "--layer", &id]);
        let seen = shop.seen(&container, "auto");
        let tree = shop.root().join(shop.driver).join(&flat).join("root");
        assert_eq!(shown(&tree), seen);
        assert_eq!(names(&tree), "d d/b gone gone/x link");
        assert_eq!(mode(&tree.join("d")), 0o711);
    });
}

#[test]
fn what_cannot_be_is_refused() {
    each("what_cannot_be_is_refused", |shop| {
        let dir = shop.dir("base", "echo one > a");
        let id = shop.ok(&["layer", "create", "--from-dir", &dir, "--name", "base"]);
        shop.refused(
            4,
            &["base", "taken"],
            &["layer", "create", "--name", "base"],
        );
        for bad in ["", "a b", "../x", "-x", "a//b", &"f".repeat(32)] {
            shop.refused(
                6,
                &["no name"],
                &["layer", "create", &format!("--name={bad}")],
            );
        }
        shop.refused(
            3,
            &["no layer nothing"],
            &["layer", "create", "--parent", "nothing"],
        );
        shop.refused(3, &["no layer"], &["layer", "rm", "nothing"]);
        shop.refused(3, &["no layer"], &["layer", "inspect", "..."]);
        shop.refused(
            1,
            &["nowhere", "No such file"],
            &["layer", "create", "--from-dir", "nowhere"],
        );
        shop.refused(
            1,
            &["Not a directory"],
            &["layer", "create", "--from-dir", &format!("{dir}/a")],
        );
        shop.refused(2, &["unexpected argument"], &["layer", "create", "--bogus"]);
        let other = if shop.driver == "vfs" {
            "overlay"
        } else {
            "vfs"
        };
        shop.refused(
            5,
            &["belongs to driver"],
            &["--driver", other, "layer", "create", "--parent", &id],
        );
        // A tree cannot be copied into itself.
        shop.refused(
            1,
            &["cannot copy"],
            &[
                "layer",
                "create",
                "--from-dir",
                shop.root().to_str().unwrap(),
            ],
        );
        assert_eq!(shop.ids("layer"), [id]);
        shop.is_clean();
    });
}

#[test]
fn marks_that_lead_elsewhere_are_not_flattened() {
    one("marks_that_lead_elsewhere", "overlay", false, |shop| {
        let base = shop.dir("base", "mkdir d");
        let base = shop.ok(&["layer", "create", "--from-dir", &base]);
        let moved = shop.dir(
            "moved",
            "mkdir e; setfattr -n trusted.overlay.redirect -v d e",
        );
        let moved = shop.ok(&["layer", "create", "--parent", &base, "--from-dir", &moved]);
        shop.refused(77, &["redirect"], &["layer", "squash", &moved]);
        shop.is_clean();
    });
}

#[test]
fn a_plain_user_is_told_whose_files_he_cannot_keep() {
    one("a_plain_user_is_told", "vfs", true, |shop| {
        let dir = shop.dir("base", "echo x > mine");
        let theirs = shop.place.at("files/base/theirs");
        fs::write(&theirs, "x").unwrap();
        std::os::unix::fs::chown(&theirs, Some(0), Some(0)).unwrap();
        std::os::unix::fs::PermissionsExt::set_mode(
            &mut fs::metadata(&theirs).unwrap().permissions(),
            0o644,
        );
        fs::set_permissions(
            &theirs,
            std::os::unix::fs::PermissionsExt::from_mode(0o4755),
        )
        .unwrap();
        let said = shop.call(&["layer", "create", "--from-dir", &dir]);
        said.worked();
        assert_eq!(
            said.err,
            "plyfs: warning: 1 objects belong to you now: only root may give them to their owners\n"
        );
        let tree = shop.root().join("vfs").join(said.out.trim()).join("root");
        assert_eq!(
            mode(&tree.join("theirs")),
            0o755,
            "set-id bits are not for another owner"
        );
        let said = shop.call(&["-q", "layer", "create", "--from-dir", &dir]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    });
}

/// A default ACL of a directory in a layer below is for what people make there, not for what layers bring.
#[test]
fn layers_on_each_other_inherit_nothing() {
    each("layers_on_each_other_inherit", |shop| {
        let base = shop.dir("base", "mkdir d; setfacl -d -m u:77:rwx d");
        let above = shop.dir(
            "above",
            "mkdir -p d/sub; echo x > d/f; mkfifo d/p; setfacl -m u:5:r d/f; touch d/own",
        );
        let base = shop.ok(&["layer", "create", "--from-dir", &base]);
        let above = shop.ok(&["layer", "create", "--parent", &base, "--from-dir", &above]);
        let squashed = shop.ok(&["layer", "squash", &above]);
        let mut trees = vec![&squashed];
        trees.extend((shop.driver == "vfs").then_some(&above));
        for tree in trees {
            let tree = shop.root().join(shop.driver).join(tree).join("root/d");
            let acls = shop.sh(&format!("cd {}; getfacl -n sub f p own", tree.display()));
            assert!(
                !acls.contains("user:77") && acls.contains("user:5:r"),
                "{acls}"
            );
        }
    });
}
