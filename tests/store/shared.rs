//! The proof that shared files are safe: whatever is written through a mount, by plyfs or by the kernel, with an index
//! or without, no sealed layer changes and no other container sees it. And what a mount shows of such files.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use crate::rig::{Shop, each, one};
use crate::support::env::Scratch;
use crate::support::ffi::{Map, Mapping};
use crate::tool::in_place;

/// Changes the file at a path.
type Change = fn(&Path);

/// One file for each sort of change, alone and as one of three names.
const CHANGES: [(&str, Change); 15] = [
    ("write", |path| open(path).write_all_at(b"W", 0).unwrap()),
    ("append", |path| {
        let mut file = fs::File::options().append(true).open(path).unwrap();
        file.write_all(b"appended").unwrap();
    }),
    ("truncate", |path| open(path).set_len(3).unwrap()),
    ("create", |path| drop(fs::File::create(path).unwrap())),
    ("extend", |path| {
        let mut file = open(path);
        file.seek(SeekFrom::Start(100_000)).unwrap();
        file.write_all(b"far").unwrap();
    }),
    ("mmap", map),
    ("fallocate", |path| {
        rustix::fs::fallocate(open(path), FallocateFlags::empty(), 0, 70_000).unwrap();
    }),
    ("punch", |path| {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(open(path), flags, 0, 4096).unwrap();
    }),
    ("chmod", |path| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4711);
        fs::set_permissions(path, mode).unwrap();
    }),
    ("chown", |path| {
        std::os::unix::fs::chown(path, Some(12), Some(13)).unwrap()
    }),
    ("xattr", |path| {
        rustix::fs::setxattr(path, "user.key", b"new", rustix::fs::XattrFlags::empty()).unwrap();
    }),
    ("utimes", |path| {
        let file = open(path);
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }),
    ("link", |path| {
        let other = path.with_extension("more");
        fs::hard_link(path, &other).unwrap();
        open(&other).write_all_at(b"through the link", 0).unwrap();
    }),
    ("rename", |path| {
        let other = path.with_extension("moved");
        fs::rename(path, &other).unwrap();
        open(&other).write_all_at(b"after the rename", 0).unwrap();
    }),
    ("unlink", |path| {
        let file = open(path);
        fs::remove_file(path).unwrap();
        file.write_all_at(b"gone, and written", 0).unwrap();
    }),
];

fn open(path: &Path) -> fs::File {
    fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

fn map(path: &Path) {
    let file = open(path);
    let mut map = Map::new(&file, 4096, Mapping::SharedWrite).unwrap();
    map.write(b"mapped");
    map.sync().unwrap();
}

/// The same in every layer that is made of it.
fn fill() -> String {
    let mut script = String::from("mkdir -p d/e;");
    for (name, _) in CHANGES {
        script.push_str(&format!(
            "yes {name} | head -c 9000 > {name}; cp {name} d/{name}; cp {name} d/e/{name}-a; \
             ln d/e/{name}-a d/e/{name}-b; ln d/e/{name}-a {name}-c; "
        ));
    }
    script + "true"
}

/// Who mounts: by the store's verbs, or by hand with an index.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Fuse,
    Kernel,
    KernelWithIndex,
}

fn write_everything(merged: &Path) {
    for (name, change) in CHANGES {
        for path in [
            name.to_string(),
            format!("d/{name}"),
            format!("d/e/{name}-a"),
            format!("{name}-c"),
        ] {
            change(&merged.join(path));
        }
    }
    fs::rename(merged.join("d/e"), merged.join("d/f")).unwrap_or_else(|error| {
        // Without redirects a directory of a lower layer is not renamed.
        assert_eq!(error.kind(), std::io::ErrorKind::CrossesDevices, "{error}");
    });
}

#[test]
fn no_write_through_any_mount_reaches_a_shared_file() {
    one("no_write_reaches_a_shared_file", "overlay", false, |shop| {
        let (a, b) = (shop.layer_of("a", &fill()), shop.layer_of("b", &fill()));
        // On top of each other, too: the same file at the same path of two layers of one mount.
        let from = shop.place.at("files/a");
        let on = shop.ok(&[
            "layer",
            "create",
            "--parent",
            &a,
            "--from-dir",
            from.to_str().unwrap(),
        ]);
        let said = shop.dedup(&[]);
        let each = 3 * CHANGES.len();
        assert_eq!(
            said["linked"]["files"].as_u64().unwrap() as usize,
            2 * each,
            "{said}"
        );
        let layers = [&a, &b, &on];
        let before = layers.map(|layer| (shop.looks(layer), numbers(&shop.tree_of(layer))));
        let sibling = shop.ok(&["container", "create", "--layer", &b]);
        let shown = super::dedup::looks(&shop.mount(&sibling, "kernel"));
        for layer in [&a, &on] {
            for by in [By::Fuse, By::Kernel, By::KernelWithIndex] {
                let container = shop.ok(&["container", "create", "--layer", layer]);
                let merged = shop.mount_by(&container, by);
                write_everything(&merged);
                match by {
                    By::KernelWithIndex => shop.sh(&format!("umount {}", merged.display())),
                    _ => {
                        shop.unmount(&container);
                        String::new()
                    }
                };
                let after = layers.map(|layer| (shop.looks(layer), numbers(&shop.tree_of(layer))));
                assert_eq!(after, before, "{by:?}");
                let seen =
                    super::dedup::looks(&shop.root().join("overlay").join(&sibling).join("merged"));
                assert_eq!(seen, shown, "{by:?}");
                shop.ok(&["container", "rm", &container]);
            }
        }
        shop.unmount(&sibling);
        assert_eq!(shop.ok(&["store", "check", "--deep"]), "");
    });
    each("a_vfs_container_is_its_own", |shop| {
        if shop.driver == "overlay" {
            return;
        }
        let (a, b) = (
            shop.layer_of("a", "echo same > f"),
            shop.layer_of("b", "echo same > f"),
        );
        assert_eq!(shop.dedup(&[])["linked"]["files"], 1);
        let before = [&a, &b].map(|layer| shop.looks(layer));
        let container = shop.ok(&["container", "create", "--layer", &a]);
        shop.work(&container, "echo more >> f; chmod 600 f");
        let layer = shop.ok(&["container", "commit", &container, "--rm"]);
        assert_eq!([&a, &b].map(|layer| shop.looks(layer)), before);
        assert_ne!(shop.looks(&layer), before[0]);
    });
}

/// Inode and link numbers of all files.
fn numbers(tree: &Path) -> Vec<(PathBuf, u64, u64)> {
    let mut found = Vec::new();
    let mut todo = vec![tree.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            match meta.is_dir() {
                true => todo.push(entry.path()),
                false => found.push((entry.path(), meta.ino(), meta.nlink())),
            }
        }
    }
    found.sort();
    found
}

impl Shop<'_> {
    fn mount_by(&self, container: &str, by: By) -> PathBuf {
        let content = self.root().join("overlay").join(container);
        match by {
            By::Fuse => self.mount(container, "fuse"),
            By::Kernel => self.mount(container, "kernel"),
            By::KernelWithIndex => {
                let layer = self.json(&["container", "inspect", container])["layer"].clone();
                let lowers = self.lowers(layer.as_str().unwrap());
                let (at, merged) = (content.display(), content.join("merged"));
                self.sh(&format!(
                    "mount -t overlay none -o index=on,lowerdir={lowers},upperdir={at}/upper,workdir={at}/work {}",
                    merged.display()
                ));
                merged
            }
        }
    }

    /// The trees of a layer and all below it, as a mount option has them.
    fn lowers(&self, layer: &str) -> String {
        let mut trees = Vec::new();
        let mut next = Some(layer.to_string());
        while let Some(layer) = next {
            trees.push(self.tree_of(&layer).display().to_string());
            let meta = self.json(&["layer", "inspect", &layer]);
            next = meta["parent"].as_str().map(str::to_string);
        }
        trees.join(":")
    }
}

#[test]
fn a_mount_shows_the_names_within_it_and_refuses_an_index() {
    for user in [false, true] {
        one("a_mount_shows_the_names", "overlay", user, |shop| {
            let script = "echo one > single; mkdir d; echo two > a; ln a d/b; echo three > plain";
            let (a, b) = (shop.layer_of("a", script), shop.layer_of("b", script));
            shop.dedup(&[]);
            let links = |path: &str| fs::metadata(shop.tree_of(&a).join(path)).unwrap().nlink();
            assert_eq!((links("single"), links("a")), (2, 4));
            for layer in [&a, &b] {
                let container = shop.ok(&["container", "create", "--layer", layer]);
                let seen = shop.mount(&container, "fuse");
                let stat = |what: &str| {
                    shop.sh(&format!(
                        "cd {}; stat -c '{what}' single a d/b plain",
                        seen.display()
                    ))
                };
                assert_eq!(stat("%h"), "1\n2\n2\n1\n");
                let before = stat("%i");
                shop.sh(&format!(
                    "cd {}; echo more >> single; echo more >> plain",
                    seen.display()
                ));
                assert_eq!(stat("%h"), "1\n2\n2\n1\n");
                assert_eq!(
                    stat("%i"),
                    before,
                    "a file keeps its number when it is copied up"
                );
                shop.unmount(&container);
            }
            let tree = shop.tree_of(&a);
            let refused = |lower: &str| {
                let r = shop.place.root.display();
                let options =
                    format!("lowerdir={lower}:{r}/l2,upperdir={r}/u,workdir={r}/w,index=on");
                shop.sh(&format!(
                    "{}/plyfs -o {options} {r}/m 2>&1 && {{ echo mounted; {}/plyfs unmount {r}/m; }} || true",
                    r, r
                ))
            };
            let said = refused(tree.to_str().unwrap());
            assert!(
                said.contains("index=on")
                    && said.contains("store dedup")
                    && !said.contains("mounted\n"),
                "{said}"
            );
            let fresh = shop.layer_of("c", "echo fresh > f");
            let said = refused(shop.tree_of(&fresh).to_str().unwrap());
            assert!(said.contains("mounted"), "{said}");
        });
    }
}

#[test]
fn one_file_at_two_paths_of_a_mount_stays_two() {
    one("one_file_at_two_paths", "overlay", false, |shop| {
        let (a, b) = (
            shop.layer_of("a", "mkdir d; echo same > d/f"),
            shop.layer_of("b", "mkdir d; echo same > d/f"),
        );
        assert_eq!(shop.dedup(&[])["linked"]["files"], 1);
        // Put together by hand: the directory of the lower one is seen under another name.
        shop.dir(
            "moved",
            "mkdir e; setfattr -n trusted.overlay.redirect -v d e; mknod d c 0 0",
        );
        let moved = shop.place.at("files/moved");
        let r = shop.place.root.display();
        let (b, a) = (shop.tree_of(&b), shop.tree_of(&a));
        let lowers = format!("{}:{}:{}", b.display(), moved.display(), a.display());
        shop.sh(&format!(
            "{r}/plyfs -o lowerdir={lowers},upperdir={r}/u,workdir={r}/w,redirect_dir=on {r}/m; cd {r}/m; \
             test -e d/f; test -e e/f; echo more >> d/f; test \"$(cat e/f)\" = same; test \"$(cat d/f)\" != same; \
             cd /; {r}/plyfs unmount {r}/m"
        ));
    });
}

#[test]
fn blocks_are_shared_where_files_cannot_be() {
    in_place("blocks_are_shared", |place| {
        place.public_binary();
        for (kind, driver, links) in [
            ("xfs", "overlay", 1),
            ("btrfs", "overlay", 1),
            // Each layer is a subvolume, and no link leads from one to another.
            ("btrfs", "vfs", 0),
        ] {
            let mut scratch = Scratch::new();
            let at = scratch
                .filesystem("disk", kind)
                .unwrap_or_else(|why| panic!("{kind}: {why}"));
            let root = at.join("store");
            let plyfs = |args: &[&str]| {
                let all = [&["--root", root.to_str().unwrap(), "--run", "run"], args].concat();
                let said = place.plyfs(&all);
                assert_eq!(said.code, Some(0), "{kind}: {all:?}: {said:?}");
                said.out.trim_end().to_string()
            };
            plyfs(&["--driver", driver, "store", "init"]);
            let script = "set -e; mkdir a b; head -c 3000000 /dev/urandom > a/one; cp a/one a/two; cp -a a/one b/one; \
                          cp a/one b/other; chmod 600 b/other";
            assert_eq!(place.program("sh", &["-c", script]).code, Some(0));
            let layers = ["a", "b"].map(|dir| plyfs(&["layer", "create", "--from-dir", dir]));
            let tree = |layer: &str| root.join(driver).join(layer).join("root");
            let before = layers
                .each_ref()
                .map(|layer| super::dedup::looks(&tree(layer)));
            let said: serde_json::Value =
                serde_json::from_str(&plyfs(&["--json", "store", "dedup"])).unwrap();
            let counts = (
                said["linked"]["files"].as_u64(),
                said["shared"]["files"].as_u64(),
            );
            assert_eq!(counts, (Some(links), Some(3 - links)), "{kind}: {said}");
            let skipped = said["skipped"].as_object().unwrap();
            assert_eq!(skipped.is_empty(), links == 1, "{kind}: {said}");
            assert_eq!(
                layers
                    .each_ref()
                    .map(|layer| super::dedup::looks(&tree(layer))),
                before
            );
            let again: serde_json::Value =
                serde_json::from_str(&plyfs(&["--json", "store", "dedup"])).unwrap();
            assert_eq!(again["shared"]["files"], 0, "{kind}: {again}");
            // Below a container as well: nothing that is seen has changed.
            let third = plyfs(&["layer", "create", "--from-dir", "b"]);
            plyfs(&["container", "create", "--layer", &third]);
            let json = |args: &[&str]| -> serde_json::Value {
                serde_json::from_str(&plyfs(&[&["--json", "store", "dedup"], args].concat()))
                    .unwrap()
            };
            let said = json(&["--method", "reflink"]);
            assert!(
                said["shared"]["files"].as_u64().unwrap() >= 2,
                "{kind}: {said}"
            );
            assert_eq!(json(&[])["shared"]["files"], 0, "{kind}");
            let nlink = fs::metadata(tree(&third).join("one")).unwrap().nlink();
            assert!(driver == "vfs" || nlink == 1, "{kind}: {nlink}");
            assert_eq!(plyfs(&["store", "check", "--deep"]), "");
            for dir in ["a", "b"] {
                fs::remove_dir_all(place.at(dir)).unwrap();
            }
        }
    });
}
