//! What the test suites of known graph drivers ask of a driver (moby, containers-storage), asked through the verbs.
//!
//! | scenario there | here |
//! |---|---|
//! | create empty | `create_empty` |
//! | create base | `create_base` |
//! | create snapshot | `create_snapshot` |
//! | deep layer read, 128 layers | `containers::a_hundred_and_twenty_eight_layers` |
//! | diff and apply, 10 and 100 files | `diff_apply` |
//! | changes | `changes` |
//! | echo | `echo` |
//! | quota | `options::a_container_takes_no_more_than_it_may_on_xfs` and its like on ext4 |

use std::fs;

use crate::rig::{Shop, each, mode, names};

/// Every name, its type, mode and owner, and what the file `a file` holds.
const LOOK: &str = "find . -printf '%P %y %m %U:%G\\n' | sort; stat -c %s 'a file'";

impl Shop<'_> {
    /// Works in a new container on this layer by a shell script, and makes a layer of it.
    fn layer_by(&self, parent: Option<&str>, script: &str) -> String {
        let mut create = vec!["container", "create"];
        create.extend(parent.iter().flat_map(|parent| ["--layer", parent]));
        let container = self.ok(&create);
        self.work(&container, script);
        self.ok(&["container", "commit", &container, "--rm"])
    }

    /// What a shell script says in a new container on this layer.
    fn read(&self, layer: &str, script: &str) -> String {
        let container = self.ok(&["container", "create", "--layer", layer]);
        let out = self.work(&container, script);
        self.ok(&["container", "rm", &container]);
        out
    }

    /// A base: a sticky directory of another's (where there is a right to give it away), a set-uid file none
    /// may read. A plain user's may be read: he has no other way to copy it.
    fn base(&self) -> (String, String) {
        let (own, bits) = match self.user {
            true => ("", 4444),
            false => ("chown 1:2 'a dir';", 4222),
        };
        let script = format!(
            "mkdir 'a dir'; {own} chmod 1705 'a dir'; printf body > 'a file'; chmod {bits} 'a file'"
        );
        let layer = self.layer_by(None, &script);
        let (owner, of) = match self.user {
            true => ("65534:65534", "65534:65534"),
            false => ("0:0", "1:2"),
        };
        let wanted = format!(" d 755 {owner}\na dir d 1705 {of}\na file f {bits} {owner}\n4\n");
        (layer, wanted)
    }
}

#[test]
fn create_empty() {
    each("create_empty", |shop| {
        let layer = shop.ok(&["layer", "create"]);
        let tree = shop.root().join(shop.driver).join(&layer).join("root");
        assert_eq!((names(&tree).as_str(), mode(&tree)), ("", 0o755));
        assert_eq!(shop.read(&layer, "ls -A; stat -c %a ."), "755\n");
        shop.ok(&["layer", "rm", &layer]);
        assert!(!tree.exists());
        shop.refused(3, &["no layer"], &["layer", "inspect", &layer]);
        shop.is_clean();
    });
}

#[test]
fn create_base() {
    each("create_base", |shop| {
        let (base, wanted) = shop.base();
        assert_eq!(shop.read(&base, LOOK), wanted);
        shop.ok(&["layer", "rm", &base]);
        shop.is_clean();
    });
}

#[test]
fn create_snapshot() {
    each("create_snapshot", |shop| {
        let (base, wanted) = shop.base();
        let snapshot = shop.ok(&["layer", "create", "--parent", &base]);
        assert_eq!(shop.ok(&["layer", "changes", &snapshot]), "");
        assert_eq!(shop.read(&snapshot, LOOK), wanted);
        // What is done on it does not show below it.
        let other = shop.layer_by(Some(&snapshot), "rm -f 'a file'; rmdir 'a dir'; echo > new");
        assert_eq!(shop.read(&other, "ls"), "new\n");
        for layer in [&snapshot, &base] {
            assert_eq!(shop.read(layer, LOOK), wanted);
        }
        shop.refused(5, &["in use"], &["layer", "rm", &snapshot]);
        shop.ok(&["layer", "rm", &other, &snapshot, &base]);
        shop.is_clean();
    });
}

#[test]
fn diff_apply() {
    each("diff_apply", |shop| {
        for count in [10, 100] {
            let add = |from: u32, to: u32| {
                format!("for i in $(seq {from} {to}); do echo $i > file-$i; done; ")
            };
            let base = shop.layer_by(None, &add(1, count));
            let change = format!(
                "{} rm file-3; echo other > file-5",
                add(count + 1, 2 * count)
            );
            let changed = shop.layer_by(Some(&base), &change);
            let tar = shop.place.at("files").join(format!("{count}.tar"));
            let tar = tar.to_str().unwrap();
            shop.ok(&["layer", "diff", &changed, "-o", tar]);
            // Nothing but the changes: the root directory, new files, one changed, one removed.
            let entries = shop.sh(&format!("tar -tf {tar} | grep -c file-"));
            assert_eq!(entries, format!("{}\n", count + 2));
            let applied = shop.ok(&["layer", "apply", &base, tar]);
            let all = "for f in $(ls | sort); do echo $f $(cat $f); done";
            let seen = shop.read(&applied, all);
            assert_eq!(seen, shop.read(&changed, all));
            assert_eq!(seen.lines().count() as u32, 2 * count - 1);
            assert!(
                seen.contains("file-5 other\n") && !seen.contains("file-3 "),
                "{seen}"
            );
            assert_eq!(
                shop.ok(&["layer", "changes", &applied, "--base", &changed]),
                ""
            );
            let again = format!("{tar}.again");
            shop.ok(&["layer", "diff", &applied, "-o", &again]);
            assert!(fs::read(tar).unwrap() == fs::read(again).unwrap());
        }
        shop.is_clean();
    });
}

#[test]
fn changes() {
    each("changes", |shop| {
        let base = shop.layer_by(None, "for i in $(seq 10 29); do echo $i > f$i; done");
        let change = "for i in $(seq 10 14); do rm f$i; done; for i in $(seq 15 19); do echo new > f$i; done; \
                      for i in $(seq 30 34); do echo $i > f$i; done";
        let layer = shop.layer_by(Some(&base), change);
        let line = |i: u32| match i {
            10..15 => Some(format!("D /f{i}")),
            15..20 => Some(format!("M /f{i}")),
            30..35 => Some(format!("A /f{i}")),
            _ => None,
        };
        let wanted: Vec<String> = (10..35).filter_map(line).collect();
        let said = shop.ok(&["layer", "changes", &layer]);
        let said: Vec<&str> = said.lines().filter(|line| *line != "M /").collect();
        assert_eq!(said, wanted);
        assert_eq!(shop.ok(&["layer", "changes", &layer, "--base", &layer]), "");
    });
}

#[test]
fn echo() {
    each("echo", |shop| {
        // Each layer changes a file's type, or takes away and brings back what the one below has.
        let steps = [
            ("mkdir d; echo 1 > d/a; echo f > f", "d d/a f"),
            (
                "rm -r d; echo file > d; rm f; mkdir f; echo in > f/in",
                "d f f/in",
            ),
            ("rm d; mkdir d; echo 2 > d/b; rm -r f", "d d/b"),
            ("echo back > f; echo back > d/a; rm d/b", "d d/a f"),
            ("rm -r d f; mkdir d; ln -s d f", "d f"),
        ];
        let look = "find . -mindepth 1 -printf '%P\\n' | sort | tr '\\n' ' '";
        let (mut layers, mut parent): (Vec<String>, Option<String>) = (Vec::new(), None);
        for (script, _) in steps {
            let made = shop.layer_by(parent.as_deref(), script);
            layers.push(made.clone());
            parent = Some(made);
        }
        for (layer, (_, wanted)) in layers.iter().zip(steps) {
            assert_eq!(shop.read(layer, look).trim_end(), wanted);
        }
        // The same layers, made of their differences.
        let mut below = shop.ok(&["layer", "create"]);
        for (layer, (_, wanted)) in layers.iter().zip(steps) {
            let tar = shop.place.at("files/step.tar");
            let tar = tar.to_str().unwrap();
            shop.ok(&["layer", "diff", layer, "-o", tar]);
            below = shop.ok(&["layer", "apply", &below, tar]);
            assert_eq!(shop.read(&below, look).trim_end(), wanted);
            assert_eq!(shop.ok(&["layer", "changes", &below, "--base", layer]), "");
        }
        shop.is_clean();
    });
}
