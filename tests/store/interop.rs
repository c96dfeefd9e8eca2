//! Images of difficult trees, to umoci, skopeo and buildah and back: whiteouts, directories that begin anew, hard
//! links, devices, capabilities, ACLs, long names, large ids. What one made the others show alike, and what only passes
//! through keeps its digests.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::rig::{Shop, one};
use crate::support::env::cannot_run;

/// A tree with everything that an image can have.
const TREE: &str = "
    mkdir -p usr/bin anew gone deep/er; echo tool > usr/bin/tool; chmod 4755 usr/bin/tool
    setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 usr/bin/tool
    echo one > one; ln one two; ln one deep/er/three; ln -s ../one deep/sym; ln -s /nowhere dangling
    echo old > anew/old; echo old > anew/kept-name; echo gone > gone/gone; echo removed > removed
    mknod null c 1 3; mknod disk b 7 9; mkfifo pipe; chown 12:34 pipe null
    echo acl > acl; setfacl -m u:1234:rw,g:99:r acl; setfacl -d -m u:77:rwx deep
    echo noted > noted; setfattr -n user.note -v hello noted
    long=$(printf n%.0s $(seq 150)); mkdir -p $long/$long; echo long > $long/$long/$long
    echo big > big; chown 3000000:4294967290 big; chmod 1777 deep; : > empty
    printf 'sp ace\\n' > 'a name with spaces'; echo u > \"$(printf '\\303\\274')\"
    find . -print0 | xargs -0 touch -hd '2020-02-02 02:02:02Z'";

/// What is changed above it.
const CHANGES: &str = "
    rm -r anew gone removed; mkdir anew; echo new > anew/kept-name; echo more >> noted; rm two; chmod 600 usr/bin
    rm null; mkdir null; echo in > null/in; ln acl deep/acl-too; touch -d '2021-01-01 00:00:00Z' noted anew/kept-name";

/// Everything about a tree, in words; but no times of directories, and no numbers of links, which a merged view does
/// not know.
fn described(shop: &Shop, dir: &str) -> String {
    shop.sh(&format!(
        "cd '{dir}'
         find . ! -path . -printf '%y %m %U:%G [%l] %p' \\( -type d -printf '\\n' -o -printf ' %Ts\\n' \\) | sort
         find . \\( -type c -o -type b \\) -exec stat -c '%n %t:%T' {{}} + | sort
         find . -type f -exec sha256sum {{}} + | sort -k 2
         [ one -ef deep/er/three ] && echo linked
         getfattr -R -h -d -m '^(user|security[.]capability)' -e hex . 2> /dev/null | grep -v '^$' || true
         echo ACLs; find . ! -path . ! -type l -print0 | sort -z | xargs -0 getfacl -n -p | grep -v '^$'"
    ))
}

/// `buildah` with a storage of its own.
fn buildah(shop: &Shop, args: &str) -> String {
    let policy = shop.place.at("files/policy.json");
    if !policy.exists() {
        fs::write(
            &policy,
            r#"{"default": [{"type": "insecureAcceptAnything"}]}"#,
        )
        .unwrap();
    }
    let (command, rest) = args.split_once(' ').unwrap();
    let policy = match command {
        "from" | "commit" => "--signature-policy policy.json",
        _ => "",
    };
    let storage = "--storage-driver vfs --root $PWD/b/root --runroot $PWD/b/run";
    let call =
        format!("buildah {storage} {command} {policy} {rest} 2> b.log || (cat b.log >&2; false)");
    shop.sh(&call).trim_end().to_string()
}

/// What the whole image shows, in our store.
fn ours(shop: &Shop, image: &str) -> String {
    let container = shop.ok(&["container", "create", "--image", image]);
    let seen = shop.mount(&container, "fuse");
    let text = described(shop, seen.to_str().unwrap());
    shop.unmount_if_mounted(&container);
    shop.ok(&["container", "rm", &container]);
    text
}

fn place(shop: &Shop, kind: &str, name: &str) -> String {
    format!("{kind}:{}", shop.place.at("files").join(name).display())
}

/// The manifest of the only image in a layout, and its digest.
fn manifest(layout: &Path) -> (String, Value) {
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let index = read(&layout.join("index.json"));
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let blob = layout
        .join("blobs/sha256")
        .join(digest.trim_start_matches("sha256:"));
    (digest.to_string(), read(&blob))
}

/// An image of two layers in the store, by the name `ours`.
fn make(shop: &Shop) {
    let dir = shop.dir("tree", TREE);
    shop.ok(&["image", "import", &format!("dir:{dir}"), "--name", "base"]);
    let container = shop.ok(&["container", "create", "--image", "base"]);
    shop.work(&container, CHANGES);
    let layer = shop.ok(&["container", "commit", &container, "--rm"]);
    shop.ok(&["image", "export", &layer, &place(shop, "oci", "ours:x")]);
    shop.ok(&[
        "image",
        "import",
        &place(shop, "oci", "ours:x"),
        "--name",
        "ours",
    ]);
}

impl Shop<'_> {
    fn unmount_if_mounted(&self, container: &str) {
        if self.driver == "overlay" {
            self.unmount(container);
        }
    }

    fn has(&self, test: &str, programs: &[&str]) -> bool {
        let missing = programs.iter().find(|program| {
            let look = format!("command -v {program}");
            self.place.program("sh", &["-c", &look]).code != Some(0)
        });
        if let Some(program) = missing {
            cannot_run(test, &format!("{program} is not installed"));
        }
        missing.is_none()
    }
}

#[test]
fn others_show_what_we_write() {
    for driver in ["overlay", "vfs"] {
        one("others_show_what_we_write", driver, false, |shop| {
            if !shop.has("others_show_what_we_write", &["umoci", "skopeo", "buildah"]) {
                return;
            }
            make(shop);
            let wanted = ours(shop, "ours");
            assert!(
                wanted.contains("4294967290") && wanted.contains("security.capability"),
                "{wanted}"
            );
            shop.sh(
                "umoci unpack --image ours:x bundle > umoci.log 2>&1 || (cat umoci.log >&2; false)",
            );
            let files = shop.place.at("files");
            let files = files.to_str().unwrap();
            assert_eq!(
                described(shop, &format!("{files}/bundle/rootfs")),
                wanted,
                "umoci"
            );
            for (kind, name) in [
                ("oci", "ours:x"),
                ("oci-archive", "ours.oci:x"),
                ("docker-archive", "ours.tar:x:1"),
            ] {
                if kind != "oci" {
                    shop.ok(&["image", "export", "ours", &place(shop, kind, name)]);
                }
                let container = buildah(shop, &format!("from {}", place(shop, kind, name)));
                let seen = buildah(shop, &format!("mount {container}"));
                // It drops ACLs; their masks are in the modes.
                let seen = described(shop, &seen);
                let without = |text: &str| text.split("ACLs").next().unwrap().to_string();
                assert_eq!(without(&seen), without(&wanted), "buildah, {kind}");
                // skopeo verifies every digest while it copies.
                let from = place(shop, kind, name);
                shop.sh(&format!(
                    "rm -rf copy; skopeo --insecure-policy copy -q {from} dir:copy"
                ));
            }
        });
    }
}

#[test]
fn we_show_what_others_write_and_pass_it_on_as_it_came() {
    for driver in ["overlay", "vfs"] {
        one("we_show_what_others_write", driver, false, |shop| {
            if !shop.has("we_show_what_others_write", &["umoci", "skopeo", "buildah"]) {
                return;
            }
            let dir = shop.dir("tree", TREE);
            let container = buildah(shop, "from scratch");
            let seen = buildah(shop, &format!("mount {container}"));
            shop.sh(&format!("cp -a {dir}/. {seen}"));
            buildah(shop, &format!("commit -q {container} base"));
            let container = buildah(shop, "from base");
            let seen = buildah(shop, &format!("mount {container}"));
            shop.sh(&format!("cd {seen}; {CHANGES}"));
            let wanted = described(shop, &seen);
            for (kind, name) in [
                ("oci", "theirs:x"),
                ("oci-archive", "theirs.oci:x"),
                ("docker-archive", "theirs.tar:them/it:1"),
            ] {
                let to = place(shop, kind, name);
                buildah(
                    shop,
                    &format!("commit -q --disable-compression {container} {to}"),
                );
                shop.ok(&["image", "import", &to, "--name", "theirs"]);
                assert_eq!(ours(shop, "theirs"), wanted, "{kind}");
                let again = format!("again-{kind}:x");
                shop.ok(&["image", "export", "theirs", &place(shop, "oci", &again)]);
            }
            // Not packed by anybody: the manifest is the same, and with it all digests.
            let files = shop.place.at("files");
            let (came, left) = (
                manifest(&files.join("theirs")),
                manifest(&files.join("again-oci")),
            );
            assert_eq!(came, left);
            // umoci changes it and skopeo carries it, as another form. umoci rounds times to seconds.
            shop.sh("umoci unpack --image theirs:x bundle > umoci.log 2>&1 || (cat umoci.log >&2; false)
                     cd bundle/rootfs; rm one; echo umoci > umoci; rm -r null; mknod null c 1 3
                     touch -d @1700000000 umoci null; cd ../..
                     umoci repack --image theirs:y bundle > umoci.log 2>&1 || (cat umoci.log >&2; false)
                     skopeo --insecure-policy copy -q oci:theirs:y docker-archive:umoci.tar:it:1
                     skopeo --insecure-policy copy -q oci:theirs:y oci-archive:umoci.oci:y");
            let wanted = described(shop, files.join("bundle/rootfs").to_str().unwrap());
            for (kind, name) in [
                ("oci", "theirs:y"),
                ("oci-archive", "umoci.oci:y"),
                ("docker-archive", "umoci.tar"),
            ] {
                shop.ok(&[
                    "image",
                    "import",
                    &place(shop, kind, name),
                    "--name",
                    "umoci",
                ]);
                assert_eq!(ours(shop, "umoci"), wanted, "{kind}");
            }
            shop.is_clean();
        });
    }
}
