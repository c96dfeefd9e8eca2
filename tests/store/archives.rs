//! Layers from archives and to archives, against GNU tar; archives of enemies.

use std::fs;

use crate::rig::{Shop, each, names, one};

/// A tree with a bit of everything that its user can make.
const TREE: &str = "mkdir -p a/b; echo one > a/b/f; ln a/b/f a/h; ln -s ../a a/l; mkfifo p; echo s > s; chmod 4750 s; \
                    setfattr -n user.note -v hi a; touch -d 1969-12-31T23:00:00Z old; \
                    long=$(printf n%.0s $(seq 150)); mkdir -p $long/$long; echo deep > $long/$long/f";

/// GNU tar with what it keeps only on demand.
const TAR: &str = "tar --format=pax --xattrs --xattrs-include='user.*'";

/// Makes an archive by GNU tar; its path.
fn archive(shop: &Shop, name: &str, script: &str, flags: &str) -> String {
    let dir = shop.dir(name, script);
    shop.sh(&format!("{TAR} {flags} -C {dir} -cf {name}.tar ."));
    format!("{dir}.tar")
}

/// The bytes that `layer diff` writes.
fn diff(shop: &Shop, args: &[&str]) -> Vec<u8> {
    let out = shop.place.at("files/diff.tar");
    let path = out.to_str().unwrap();
    shop.ok(&[args, &["-o", path]].concat());
    fs::read(&out).unwrap()
}

#[test]
fn an_archive_comes_back_byte_for_byte() {
    each("an_archive_comes_back", |shop| {
        // Owners that a plain user cannot give, and records with fractions of seconds.
        let tar = archive(shop, "tree", TREE, "--owner=3000000 --group=1234");
        shop.sh("gzip -k tree.tar");
        let packed = format!("{tar}.gz");
        let plain = shop.call(&["layer", "create", "--from-tar", &tar]);
        assert_eq!(plain.code, Some(0), "{plain:?}");
        let layer = plain.out.trim_end();
        let other = shop.call(&["layer", "create", "--from-tar", &packed, "--name", "other"]);
        assert_eq!(other.code, Some(0), "{other:?}");
        let bytes = fs::read(&tar).unwrap();
        assert!(diff(shop, &["layer", "diff", layer]) == bytes);
        assert!(diff(shop, &["layer", "diff", "other"]) == bytes);
        let (a, b) = (
            shop.json(&["layer", "inspect", layer]),
            shop.json(&["layer", "inspect", "other"]),
        );
        assert_eq!(a["diff_id"], b["diff_id"]);
        assert_eq!(a["diff_id"], a["chain_id"]);
        // Both show the same.
        assert_eq!(shop.ok(&["layer", "changes", layer, "--base", "other"]), "");
        assert!(shop.ok(&["layer", "changes", layer]).contains("A /a/b/f\n"));
        shop.is_clean();
    });
}

/// Modes that keep their own user out, who is no root: from an archive, in a container, in a copy, until removal.
#[test]
fn modes_that_lock_their_user_out() {
    each("modes_that_lock_their_user_out", |shop| {
        shop.sh("mkdir -p t/d/e; echo x > t/d/e/f; echo s > t/secret; \
             add() { tar --format=pax --no-recursion -C t -rf locked.tar \"$@\"; }; \
             add --mode=555 d; add --mode=500 d/e; add d/e/f; add --mode=0 secret");
        let tar = shop.place.at("files/locked.tar");
        let tar = tar.to_str().unwrap();
        let layer = shop.ok(&["layer", "create", "--from-tar", tar, "--name", "locked"]);
        assert!(diff(shop, &["layer", "diff", &layer]) == fs::read(tar).unwrap());
        let changes = shop.ok(&["layer", "changes", &layer]);
        assert_eq!(changes, "A /d\nA /d/e\nA /d/e/f\nA /secret");
        let container = shop.ok(&["container", "create", "--layer", &layer]);
        assert_eq!(shop.ok(&["container", "changes", &container]), "");
        // Who is no root sees what is on disk, which he has to be able to work on.
        let modes = shop.work(&container, "stat -c %a d d/e secret");
        let expected = match shop.user {
            true => ["755", "700", "600"],
            false => ["555", "500", "0"],
        };
        assert_eq!(modes.split_whitespace().collect::<Vec<_>>(), expected);
        shop.work(&container, "chmod 700 d/e; echo g > d/e/g; chmod 500 d/e");
        let changes = shop.ok(&["container", "changes", &container]);
        assert_eq!(changes, "M /d\nM /d/e\nA /d/e/g");
        let committed = shop.ok(&["container", "commit", &container, "--name", "more"]);
        assert_eq!(shop.ok(&["layer", "changes", &committed]), changes);
        let whole = shop.ok(&["layer", "squash", "more"]);
        assert_eq!(shop.ok(&["layer", "changes", &whole, "--base", "more"]), "");
        shop.ok(&["container", "rm", &container]);
        shop.ok(&["layer", "rm", &whole, "more", "locked"]);
        shop.is_clean();
    });
}

#[test]
fn gnu_tar_reads_what_is_written_and_it_is_always_the_same() {
    each("gnu_tar_reads_what_is_written", |shop| {
        let dir = shop.dir("tree", TREE);
        let layer = shop.ok(&["layer", "create", "--from-dir", &dir]);
        let bytes = diff(shop, &["layer", "diff", &layer]);
        assert!(diff(shop, &["layer", "diff", &layer]) == bytes);
        shop.sh(&format!("mkdir out; {TAR} -C out -xpf diff.tar"));
        let seen = crate::rig::shown(&shop.place.at("files/out"));
        for (path, text) in crate::rig::shown(dir.as_ref()) {
            // Whole seconds only.
            let whole = |text: &str| text.split('.').next().unwrap().to_string();
            assert!(
                path.is_empty() || whole(&seen[&path]) == whole(&text),
                "{path}: {text}"
            );
        }
        assert_eq!(shop.sh("getfattr --only-values -n user.note out/a"), "hi");
        let again = shop.ok(&[
            "layer",
            "create",
            "--from-tar",
            shop.place.at("files/diff.tar").to_str().unwrap(),
        ]);
        assert!(diff(shop, &["layer", "diff", &again]) == bytes);
    });
}

#[test]
fn changes_travel_as_an_archive() {
    each("changes_travel_as_an_archive", |shop| {
        let base = shop.dir(
            "base",
            "mkdir d e; echo 1 > d/one; echo 2 > d/two; echo 3 > e/three; echo f > f; echo g > g",
        );
        let base = shop.ok(&["layer", "create", "--from-dir", &base, "--name", "base"]);
        let container = shop.ok(&["container", "create", "--layer", &base]);
        shop.work(&container, "rm -r d; mkdir d; echo new > d/new; rm f; chmod 600 g; mkdir n; ln g n/g; echo x > e/x");
        let changes = shop.ok(&["container", "changes", &container]);
        let wanted = "M /d\nA /d/new\nD /d/one\nD /d/two\nM /e\nA /e/x\nD /f\nM /g\nA /n\nA /n/g";
        assert_eq!(changes, wanted);
        let bytes = diff(shop, &["container", "diff", &container]);
        let tar = shop.place.at("files/changes.tar");
        fs::write(&tar, &bytes).unwrap();
        let applied = shop.ok(&["layer", "apply", "base", tar.to_str().unwrap()]);
        assert_eq!(shop.ok(&["layer", "changes", &applied]), wanted);
        assert_eq!(
            shop.ok(&["layer", "changes", &applied, "--base", &container]),
            ""
        );
        let committed = shop.ok(&["container", "commit", &container]);
        assert_eq!(shop.ok(&["layer", "changes", &committed]), wanted);
        assert!(diff(shop, &["layer", "diff", &committed]) == bytes);
        // Backwards, what was removed is added.
        let back = shop.ok(&["layer", "changes", "base", "--base", &applied]);
        assert!(back.contains("A /f\n") && back.ends_with("D /n"), "{back}");
        let seen = shop.ok(&["container", "create", "--layer", &applied]);
        let seen = shop.work(&seen, "find . | sort | tr '\\n' ' '");
        assert_eq!(seen, ". ./d ./d/new ./e ./e/three ./e/x ./g ./n ./n/g ");
    });
}

#[test]
fn archives_of_enemies_leave_nothing() {
    each("archives_of_enemies", |shop| {
        shop.sh(
            "echo victim > victim; echo f > f
             tar -cPf climbs.tar --transform 's,^f,../../f,' f
             ln -s .. link; tar -cf through.tar link; rm link
             mkdir link; echo x > link/victim; tar -rf through.tar link/victim; rm -r link
             ln f h; tar -cPf hard.tar --transform 's,^f,../victim,' f h; rm h
             touch .wh.; tar -cf nameless.tar .wh.; touch .wh...; tar -cf dots.tar .wh...
             tar -cf good.tar f f; head -c 700 good.tar > cut.tar; gzip -k good.tar; head -c 60 good.tar.gz > cut.tar.gz
             head -c 3000 /dev/urandom > noise.tar
             long=$(printf n%.0s $(seq 300)); tar -cPf long.tar --transform s,f,$long, f
             head -c 2000000 /dev/zero > zeros; tar -czf bomb.tar.gz zeros
             tar -cf many.tar f f f f",
        );
        let refused = |file: &str, words: &[&str], more: &[&str]| {
            let path = shop.place.at("files").join(file);
            let args = ["layer", "create", "--from-tar", path.to_str().unwrap()];
            shop.refused(7, words, &[&args, more].concat());
        };
        refused("climbs.tar", &["../../f", "leaves the layer"], &[]);
        refused("hard.tar", &["victim"], &[]);
        refused("nameless.tar", &[".wh.", "no proper name"], &[]);
        refused("dots.tar", &[".wh...", "no proper name"], &[]);
        refused("cut.tar", &["ends within"], &[]);
        refused("cut.tar.gz", &["archive"], &[]);
        refused("noise.tar", &["checksum"], &[]);
        refused("long.tar", &["nnn", "File name too long"], &[]);
        refused(
            "bomb.tar.gz",
            &["--max-unpacked"],
            &["--max-unpacked", "1M"],
        );
        refused("many.tar", &["--max-entries"], &["--max-entries", "3"]);
        shop.refused(
            3,
            &["no file"],
            &["layer", "create", "--from-tar", "/nowhere"],
        );
        shop.refused(
            2,
            &["max-unpacked"],
            &["layer", "create", "--from-tar", "x", "--max-unpacked", "1X"],
        );
        assert_eq!(shop.ids("layer").len(), 0);
        // In the layer a link to above its root leads to the root.
        let through = shop.place.at("files/through.tar");
        let layer = shop.ok(&["layer", "create", "--from-tar", through.to_str().unwrap()]);
        assert_eq!(
            names(&shop.root().join(shop.driver).join(&layer).join("root")),
            "link victim"
        );
        assert_eq!(shop.sh("cat victim"), "victim\n");
        shop.is_clean();
    });
}

#[test]
fn devices_and_capabilities_of_root_survive() {
    for driver in ["overlay", "vfs"] {
        one("devices_and_capabilities", driver, false, |shop| {
            let script = "mknod null c 1 3; mknod disk b 259 70000; echo x > prog; chown 1:2 prog; \
                          setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 prog; \
                          setfacl -m u:1234:r prog";
            let tar = archive(shop, "tree", script, "--xattrs-include=*");
            let layer = shop.ok(&["layer", "create", "--from-tar", &tar]);
            let tree = shop.root().join(driver).join(&layer).join("root");
            let said = shop.sh(&format!(
                "cd {}; stat -c '%n %F %t:%T %u:%g' *; getfattr -m- prog",
                tree.display()
            ));
            for word in [
                "null character special file 1:3",
                "disk block special file 103:11170",
                "prog regular file 0:0 1:2",
                "security.capability",
            ] {
                assert!(said.contains(word), "{word}: {said}");
            }
            let committed = shop.ok(&["layer", "squash", &layer]);
            assert_eq!(
                shop.ok(&["layer", "changes", &committed, "--base", &layer]),
                ""
            );
        });
    }
}

/// `tar -S`, in all of its forms: holes stay holes, and the archive comes back byte for byte.
#[test]
fn files_with_holes_in_every_form_of_gnu_tar() {
    each("files_with_holes", |shop| {
        let script = "truncate -s 40M all-hole; truncate -s 8M end; \
             echo x | dd of=end bs=1 seek=8388600 conv=notrunc 2> log
                      echo start > start; truncate -s 6M start; : > empty; echo plain > plain; mkdir d
                      for i in $(seq 0 60); do echo $i | dd of=d/many bs=64k seek=$i conv=notrunc 2> log; done; rm log";
        let dir = shop.dir("tree", script);
        let forms = [
            "--format=gnu",
            "--format=oldgnu",
            "--format=pax --sparse-version=0.0",
            "--format=pax --sparse-version=0.1",
            "--format=pax --sparse-version=1.0",
        ];
        for (i, form) in forms.iter().enumerate() {
            shop.sh(&format!("tar {form} -S -C {dir} -cf s{i}.tar ."));
            let tar = shop.place.at(&format!("files/s{i}.tar"));
            let bytes = fs::read(&tar).unwrap();
            assert!(bytes.len() < 1 << 20, "{form}: GNU tar found no holes");
            let tar = tar.to_str().unwrap();
            let layer = shop.ok(&["layer", "create", "--from-tar", tar]);
            let tree = shop.root().join(shop.driver).join(&layer).join("root");
            let compared = shop.sh(&format!(
                "diff -r {dir} {} && du -sk {0} | cut -f1",
                tree.display()
            ));
            let disk: u64 = compared.trim().parse().unwrap();
            assert!(disk < 5 << 10, "{form}: {disk} KiB on disk");
            assert!(diff(shop, &["layer", "diff", &layer]) == bytes, "{form}");
            let apparent = [
                "layer",
                "create",
                "--from-tar",
                tar,
                "--max-unpacked",
                "30M",
            ];
            shop.refused(7, &["--max-unpacked"], &apparent);
            // Cut anywhere in it, also in the map.
            for cut in [600, 1100, 1600, 2100, bytes.len() / 2] {
                let half = shop.place.at("files/half.tar");
                fs::write(&half, &bytes[..cut]).unwrap();
                let half = half.to_str().unwrap();
                shop.refused(7, &["archive"], &["layer", "create", "--from-tar", half]);
            }
        }
        shop.is_clean();
    });
}
