//! Images in and out of the store, against umoci and skopeo where there are such.

use std::fs;

use crate::rig::{Shop, each, one};
use crate::support::env::cannot_run;

/// An image of two layers, the upper one with whiteouts, with a configuration of its own; its name is `top`.
fn image(shop: &Shop) {
    let script = "mkdir d; echo one > d/one; echo two > d/two; echo f > f; chmod 751 .";
    let dir = shop.dir("tree", script);
    shop.ok(&["image", "import", &format!("dir:{dir}"), "--name", "base"]);
    let container = shop.ok(&["container", "create", "--image", "base"]);
    shop.work(&container, "rm f; rm -r d; mkdir d; echo three > d/three");
    let args = ["container", "commit", &container, "--rm", "--name", "layer"];
    let config = [
        "--author",
        "me",
        "--config",
        "Cmd=[\"sh\"]",
        "--config",
        "StopSignal=INT",
    ];
    shop.ok(&[&args[..], &config].concat());
    shop.ok(&["image", "export", "layer", &place(shop, "oci", "first:v1")]);
    shop.ok(&[
        "image",
        "import",
        &place(shop, "oci", "first:v1"),
        "--name",
        "top",
    ]);
}

fn place(shop: &Shop, kind: &str, name: &str) -> String {
    format!("{kind}:{}", shop.place.at("files").join(name).display())
}

fn read(shop: &Shop, name: &str) -> Vec<u8> {
    fs::read(shop.place.at("files").join(name)).unwrap()
}

/// What the whole image shows.
fn shows(shop: &Shop, image: &str) -> String {
    let container = shop.ok(&["container", "create", "--image", image]);
    let seen = shop.work(&container, "find . -printf '%p %m\\n' | sort; cat d/*");
    shop.ok(&["container", "rm", &container]);
    seen
}

/// An empty store beside the other one; the last `--root` counts.
fn other_store(shop: &Shop, name: &str) -> String {
    let root = shop.place.at("files").join(name);
    let root = root.to_str().unwrap().to_string();
    shop.ok(&["store", "init", "--driver", shop.driver, "--root", &root]);
    root
}

const SEEN: &str = ". 751\n./d 755\n./d/three 644\nthree\n";

#[test]
fn an_image_travels_in_every_form_and_stays_what_it_is() {
    each("an_image_travels", |shop| {
        image(shop);
        assert_eq!(shows(shop, "top"), SEEN);
        let known = shop.json(&["image", "inspect", "top"]);
        let config = &known["config"]["config"];
        assert_eq!(
            (&config["Cmd"][0], &config["StopSignal"]),
            (&"sh".into(), &"INT".into())
        );
        assert_eq!(known["config"]["history"][1]["author"], "me");
        assert_eq!(known["layers"].as_array().unwrap().len(), 2);
        for (i, (kind, name)) in [
            ("oci", "a:x"),
            ("oci-archive", "b.tar:x"),
            ("docker-archive", "c.tar:x:1"),
        ]
        .into_iter()
        .enumerate()
        {
            shop.ok(&["image", "export", "top", &place(shop, kind, name)]);
            let root = other_store(shop, &format!("store{i}"));
            let id = shop.ok(&["image", "import", &place(shop, kind, name), "--root", &root]);
            assert_eq!(known["id"], id.as_str(), "{kind}");
            let there = shop.json(&["image", "inspect", &id, "--root", &root]);
            assert_eq!(there["config"], known["config"]);
            let tag = name.split_once(':').unwrap().1;
            assert_eq!(there["names"][0], tag, "{kind}");
            // From there in the same form: the same bytes.
            let again = name.replacen(['a', 'b', 'c'], "again", 1);
            shop.ok(&[
                "image",
                "export",
                &id,
                &place(shop, kind, &again),
                "--root",
                &root,
            ]);
            shop.sh(&format!(
                "diff -r {} {}",
                name.split(':').next().unwrap(),
                again.split(':').next().unwrap()
            ));
        }
        assert_eq!(shop.ids("image").len(), 2);
        shop.is_clean();
    });
}

#[test]
fn a_whole_tree_leaves_as_an_archive_and_as_a_directory() {
    each("a_whole_tree_leaves", |shop| {
        image(shop);
        shop.ok(&["image", "export", "top", &place(shop, "dir", "out")]);
        shop.ok(&["image", "export", "top", &place(shop, "tar", "out.tar")]);
        assert_eq!(
            shop.sh("cd out; find . -printf '%p %m\\n' | sort; cat d/*"),
            SEEN
        );
        assert_eq!(shop.sh("tar -tf out.tar"), "./\nd/\nd/three\n");
        shop.refused(
            4,
            &["not empty"],
            &["image", "export", "top", &place(shop, "dir", "out")],
        );
        shop.refused(
            4,
            &["no image layout"],
            &["image", "export", "top", &place(shop, "oci", "out")],
        );
        // The same tree is the same image, however it comes.
        let first = shop.ok(&[
            "image",
            "import",
            &place(shop, "tar", "out.tar"),
            "--name",
            "flat",
        ]);
        let second = shop.ok(&["image", "import", &place(shop, "dir", "out")]);
        assert_eq!(first, second);
        assert_eq!(shows(shop, "flat"), SEEN);
    });
}

#[test]
fn names_and_layers_go_with_the_last_that_needs_them() {
    each("names_and_layers_go", |shop| {
        image(shop);
        shop.ok(&["image", "tag", "top", "again:1"]);
        assert_eq!(
            shop.json(&["image", "inspect", "again:1"])["names"],
            serde_json::json!(["again:1", "top"])
        );
        shop.refused(4, &["taken by a layer"], &["image", "tag", "top", "layer"]);
        shop.refused(3, &["no image"], &["image", "tag", "nothing", "x"]);
        let container = shop.ok(&["container", "create", "--image", "top"]);
        shop.ok(&["image", "rm", "again:1"]);
        shop.refused(5, &["in use by container"], &["image", "rm", "top"]);
        shop.ok(&["container", "rm", &container]);
        shop.ok(&["image", "rm", "top"]);
        // `base` has one of its layers, and the other is what was committed, which has a name.
        assert_eq!(shop.ids("image").len(), 1);
        shop.ok(&["image", "rm", "base"]);
        assert_eq!(shop.ids("image").len(), 0);
        shop.ok(&["layer", "rm", "layer"]);
        let left = shop.ids("layer");
        for layer in &left {
            shop.ok(&["layer", "rm", layer]);
        }
        shop.is_clean();
    });
}

#[test]
fn damaged_and_hostile_images_leave_nothing() {
    each("damaged_and_hostile_images", |shop| {
        image(shop);
        shop.ok(&[
            "image",
            "export",
            "top",
            &place(shop, "oci", "good:x"),
            "--compress",
            "none",
        ]);
        let root = other_store(shop, "empty");
        let refused = |code: i32, words: &[&str], name: &str| {
            shop.refused(
                code,
                words,
                &[
                    "image",
                    "import",
                    &place(shop, "oci", name),
                    "--root",
                    &root,
                ],
            );
        };
        // One bit of each blob in turn; a layer comes after one that was good.
        let blobs = shop.sh("ls good/blobs/sha256");
        for (i, blob) in blobs.lines().enumerate() {
            let copy = format!("bad{i}");
            shop.sh(&format!("cp -r good {copy}"));
            let path = shop
                .place
                .at("files")
                .join(&copy)
                .join("blobs/sha256")
                .join(blob);
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
            refused(7, &[""], &copy);
            shop.sh(&format!("rm {copy}/blobs/sha256/{blob}"));
            refused(7, &[blob], &copy);
        }
        let index = String::from_utf8(read(shop, "good/index.json")).unwrap();
        let digest = index.split("sha256:").nth(1).unwrap()[..64].to_string();
        for (from, to) in [
            (
                digest.as_str(),
                "../../../../../../../../../../../etc/passwd",
            ),
            ("{", "[[["),
            ("sha256", "sha1"),
        ] {
            fs::write(
                shop.place.at("files/good/index.json"),
                index.replace(from, to),
            )
            .unwrap();
            refused(7, &["index.json"], "good");
        }
        fs::write(shop.place.at("files/good/index.json"), &index).unwrap();
        refused(3, &["no image y"], "good:y");
        refused(3, &["no image"], "nowhere");
        shop.refused(6, &["is wanted"], &["image", "import", "docker://debian"]);
        for noun in ["image", "layer"] {
            assert_eq!(shop.ok(&["--json", noun, "ls", "--root", &root]), "[]");
        }
        let good = place(shop, "oci", "good");
        shop.ok(&["image", "import", &good, "--root", &root]);
        assert_eq!(shop.ok(&["store", "check", "--root", &root]), "");
    });
}

/// Is there such a program? Says so if not.
fn has(shop: &Shop, test: &str, program: &str) -> bool {
    let there = shop
        .place
        .program("sh", &["-c", &format!("command -v {program}")]);
    if there.code != Some(0) {
        cannot_run(test, &format!("{program} is not installed"));
    }
    there.code == Some(0)
}

#[test]
fn umoci_and_skopeo_read_what_we_write_and_we_what_they_write() {
    for driver in ["overlay", "vfs"] {
        one("umoci_and_skopeo", driver, false, |shop| {
            if !has(shop, "umoci_and_skopeo", "umoci") || !has(shop, "umoci_and_skopeo", "skopeo") {
                return;
            }
            image(shop);
            for (i, packing) in ["none", "gzip"].into_iter().enumerate() {
                let to = place(shop, "oci", &format!("ours{i}:x"));
                shop.ok(&["image", "export", "top", &to, "--compress", packing]);
                let unpack = format!("umoci unpack --image ours{i}:x bundle{i} > umoci.log 2>&1");
                shop.sh(&format!("{unpack} || (cat umoci.log; false)"));
                assert_eq!(
                    shop.sh(&format!(
                        "cd bundle{i}/rootfs; find . -printf '%p %m\\n' | sort; cat d/*"
                    )),
                    SEEN
                );
            }
            // What umoci makes of it, through skopeo in another form.
            shop.sh(
                "cd bundle0/rootfs; echo four > d/four; rm d/three; ln d/four h; cd ../..
                 umoci repack --image ours0:y bundle0 > umoci.log 2>&1
                 skopeo --insecure-policy copy -q oci:ours0:y docker-archive:theirs.tar:them/it:1
                 skopeo --insecure-policy copy -q oci:ours0:y oci-archive:theirs.oci:y",
            );
            let first = shop.ok(&[
                "image",
                "import",
                &place(shop, "oci", "ours0:y"),
                "--name",
                "first",
            ]);
            let second = shop.ok(&[
                "image",
                "import",
                &place(shop, "docker-archive", "theirs.tar"),
            ]);
            let third = shop.ok(&["image", "import", &place(shop, "oci-archive", "theirs.oci")]);
            assert!(
                first == second && second == third,
                "{first} {second} {third}"
            );
            assert_eq!(
                shows(shop, "first"),
                ". 751\n./d 755\n./d/four 644\n./h 644\nfour\n"
            );
            // And back: skopeo verifies every digest while it copies.
            shop.ok(&[
                "image",
                "export",
                "first",
                &place(shop, "docker-archive", "back.tar:b:1"),
            ]);
            shop.ok(&[
                "image",
                "export",
                "first",
                &place(shop, "oci-archive", "back.oci:b"),
                "--compress",
                "zstd",
            ]);
            shop.sh(
                "skopeo --insecure-policy copy -q docker-archive:back.tar oci:checked:x
                 skopeo --insecure-policy copy -q oci-archive:back.oci:b dir:checked-dir",
            );
        });
    }
}
