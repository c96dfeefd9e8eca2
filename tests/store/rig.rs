//! A store to test with: which driver, whose it is, and what is asked of every call.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::tool::{Place, Said, in_place};

/// A store in a place of its own.
pub struct Shop<'p> {
    pub place: &'p Place,
    pub driver: &'static str,
    /// It belongs to a user without privileges, who makes all calls.
    pub user: bool,
    root: PathBuf,
}

/// Runs a test on a fresh store of each driver, as root and as a plain user.
pub fn each(name: &str, test: impl Fn(&Shop) + Sync) {
    for driver in ["overlay", "vfs"] {
        for user in [false, true] {
            one(name, driver, user, &test);
        }
    }
}

/// Runs a test on a fresh store.
pub fn one(name: &str, driver: &'static str, user: bool, test: impl Fn(&Shop) + Sync) {
    started(name, driver, user, None, test);
}

/// Runs a test on a fresh store on a filesystem of its own, of this type and mounted with these options.
pub fn one_on(
    disk: (&'static str, &'static str),
    name: &str,
    driver: &'static str,
    user: bool,
    test: impl Fn(&Shop) + Sync,
) {
    started(name, driver, user, Some(disk), test);
}

/// Makes a filesystem in a file and mounts it at `disk`.
fn make_disk(place: &Place, (kind, options): (&str, &str)) {
    let image = place.at("disk.img");
    let file = fs::File::create(&image).unwrap();
    file.set_len(if kind == "xfs" { 400 << 20 } else { 256 << 20 })
        .unwrap();
    let (image, disk) = (image.to_str().unwrap(), place.at("disk"));
    fs::create_dir(&disk).unwrap();
    let features: &[&str] = match kind {
        "ext4" => &["-q", "-O", "quota,project", image],
        _ => &["-q", image],
    };
    place.program(format!("mkfs.{kind}"), features).worked();
    let disk = disk.to_str().unwrap();
    let mount = ["-t", kind, "-o", &format!("loop,{options}"), image, disk];
    place.program("mount", &mount).worked();
}

fn started(
    name: &str,
    driver: &'static str,
    user: bool,
    disk: Option<(&'static str, &'static str)>,
    test: impl Fn(&Shop) + Sync,
) {
    in_place(name, |place| {
        let mut root = place.at("store");
        if let Some(disk) = disk {
            make_disk(place, disk);
            root = place.at("disk/store");
        }
        place.open_device();
        place.public_binary();
        fs::create_dir(place.at("files")).unwrap();
        if user {
            // The device in the place stays root's; chown of everything else.
            place.give_to_nobody();
        }
        let shop = Shop {
            place,
            driver,
            user,
            root,
        };
        shop.ok(&["--driver", driver, "store", "init"]);
        test(&shop);
    });
}

impl Shop<'_> {
    /// Another store of the same user.
    pub fn at(&self, root: PathBuf) -> Shop<'_> {
        Shop {
            place: self.place,
            root,
            ..*self
        }
    }

    /// The store.
    pub fn root(&self) -> PathBuf {
        self.root.clone()
    }

    /// Calls the program with the words of the store before these.
    pub fn call(&self, args: &[&str]) -> Said {
        let (root, run) = (self.root(), self.place.at("run"));
        let mut all = vec![
            "--root",
            root.to_str().unwrap(),
            "--run",
            run.to_str().unwrap(),
        ];
        // A loaded machine may take long enough for a line.
        if !args.contains(&"--progress") {
            all.extend(["--progress", "none"]);
        }
        all.extend(args);
        if self.user {
            let quoted: Vec<String> = all.iter().map(|arg| format!("'{arg}'")).collect();
            return self
                .place
                .as_nobody(&format!("exec $P {}", quoted.join(" ")));
        }
        self.place.plyfs(&all)
    }

    /// A call that works; its stdout without the last newline.
    pub fn ok(&self, args: &[&str]) -> String {
        let said = self.call(args);
        assert_eq!(
            (said.code, said.err.as_str()),
            (Some(0), ""),
            "{args:?}: {said:?}"
        );
        said.out.trim_end().to_string()
    }

    /// A call that is refused with this code and in these words.
    pub fn refused(&self, code: i32, words: &[&str], args: &[&str]) {
        let said = self.call(args);
        assert_eq!(said.out, "", "{args:?}: {said:?}");
        said.failed(code, words);
    }

    /// A call whose answer is JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(&[&["--json"], args].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
    }

    /// Runs a shell script in `files`, as who the store belongs to.
    pub fn sh(&self, script: &str) -> String {
        let script = format!(
            "set -e; umask 022; cd {}; {script}",
            self.place.at("files").display()
        );
        let said = match self.user {
            true => self.place.as_nobody(&script),
            false => self.place.program("sh", &["-c", &script]),
        };
        assert_eq!(said.code, Some(0), "{script}: {said:?}");
        said.out
    }

    /// A directory for a layer, filled by a shell script that works in it.
    pub fn dir(&self, name: &str, script: &str) -> String {
        self.sh(&format!("mkdir {name}; cd {name}; {script}"));
        self.place
            .at("files")
            .join(name)
            .to_str()
            .unwrap()
            .to_string()
    }

    /// Mounts a container; where it is seen.
    pub fn mount(&self, container: &str, runtime: &str) -> PathBuf {
        self.ok(&["container", "mount", container, "--runtime", runtime])
            .into()
    }

    /// What a container shows. Nobody but a plain user himself looks into his mounts, so he makes a copy.
    pub fn seen(&self, container: &str, runtime: &str) -> BTreeMap<String, String> {
        let seen = self.mount(container, runtime);
        let found = match self.user {
            true => {
                self.sh(&format!("rm -rf seen; cp -a {} seen", seen.display()));
                shown(&self.place.at("files/seen"))
            }
            false => shown(&seen),
        };
        self.unmount(container);
        found
    }

    /// Works in a container by a shell script.
    pub fn work(&self, container: &str, script: &str) -> String {
        let seen = self.mount(container, "auto");
        let out = self.sh(&format!("cd {}; {script}", seen.display()));
        self.unmount(container);
        out
    }

    /// Unmounts it, as often as it takes: see `Place::unmount`.
    pub fn unmount(&self, container: &str) {
        crate::tool::wait_until("container unmount", || {
            let said = self.call(&["container", "unmount", container]);
            assert!(matches!(said.code, Some(0 | 8)), "{said:?}");
            said.code == Some(0)
        });
    }

    /// The ids that a listing has.
    pub fn ids(&self, noun: &str) -> Vec<String> {
        let list = self.json(&[noun, "ls"]);
        let list = list.as_array().unwrap();
        list.iter()
            .map(|value| value["id"].as_str().unwrap().to_string())
            .collect()
    }

    /// Nothing is wrong with the store, and no garbage is in it.
    pub fn is_clean(&self) {
        let report = self.json(&["store", "check"]);
        let clean = serde_json::json!({"damage": [], "garbage": {"paths": [], "settled": []}});
        assert_eq!(report, clean);
    }
}

/// What a tree shows, by path: type, mode, owner, content.
pub fn shown(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let mut text = format!(
            "{:o} {}:{} {}.{}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        if kind.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if kind.is_file() {
            text.push_str(&format!(
                " {:?}",
                String::from_utf8_lossy(&fs::read(&path).unwrap())
            ));
        } else if kind.is_symlink() {
            text.push_str(&format!(" -> {:?}", fs::read_link(&path).unwrap()));
        } else if kind.is_char_device() {
            text.push_str(&format!(" {}", meta.rdev()));
        }
        let inside = path.strip_prefix(root).unwrap();
        found.insert(inside.display().to_string(), text);
    }
    found
}

/// The names in it, without the root.
pub fn names(root: &Path) -> String {
    listed(&shown(root))
}

/// The names of what is shown, without the root.
pub fn listed(shown: &BTreeMap<String, String>) -> String {
    let names: Vec<&str> = shown
        .keys()
        .map(String::as_str)
        .filter(|name| !name.is_empty())
        .collect();
    names.join(" ")
}

/// The mode of a path.
pub fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}
