//! Copies are compared with their originals object by object.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::layer::keys;
use crate::store::error::Kind;
use crate::store::watch::{Nobody, Progress};
use crate::sys::at::{At, SetTime};
use crate::sys::stat::{Rdev, Time};
use crate::sys::xattr::XattrMode;

fn rules(way: Way) -> Rules<'static> {
    Rules {
        way,
        attributes: keys::is_lasting,
        watch: &Nobody,
        live: false,
    }
}

fn dir(path: &Path) -> DirFd {
    DirFd::open(path).unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

fn is_root() -> bool {
    process::effective_ids().0 == 0
}

/// Everything a copy must keep, by path; names of one file share their first one.
fn seen(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut first_names: HashMap<u64, String> = HashMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let inside = path.strip_prefix(root).unwrap().display().to_string();
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let mut text = format!(
            "{:o} {}:{} rdev {} mtime {}.{}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.rdev(),
            meta.mtime(),
            meta.mtime_nsec(),
        );
        if kind.is_dir() || (kind.is_file() && meta.nlink() == 1) {
            // Looking at other objects changes it, also here, by their other names.
            text.push_str(&format!(" atime {}.{}", meta.atime(), meta.atime_nsec()));
        }
        let parent = dir(path.parent().unwrap());
        let own = Name::from_os(path.file_name().unwrap()).unwrap();
        let at = At::child(&parent, &own);
        let names = at.list_xattrs().unwrap();
        let mut attributes: Vec<String> = names
            .iter()
            .map(|name| format!(" {name:?}={:?}", at.get_xattr(name).unwrap().unwrap()))
            .collect();
        attributes.sort();
        text.push_str(&attributes.concat());
        if kind.is_dir() {
            let mut inner: Vec<_> = fs::read_dir(&path)
                .unwrap()
                .map(|e| e.unwrap().path())
                .collect();
            inner.sort();
            todo.extend(inner);
        } else {
            let first = first_names
                .entry(meta.ino())
                .or_insert_with(|| inside.clone());
            text.push_str(&format!(" nlink {} as {first}", meta.nlink()));
        }
        if kind.is_file() {
            text.push_str(&format!(
                " size {} {:?}",
                meta.size(),
                sum(&fs::read(&path).unwrap())
            ));
        } else if kind.is_symlink() {
            text.push_str(&format!(" -> {:?}", fs::read_link(&path).unwrap()));
        }
        found.insert(inside, text);
    }
    found
}

fn sum(data: &[u8]) -> u64 {
    data.iter().fold(7, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    })
}

/// Something of everything that this user may make.
fn fill(root: &Path) {
    let top = dir(root);
    fs::create_dir_all(root.join("d/e")).unwrap();
    fs::write(root.join("small"), "text").unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("d/big"), vec![5; 300 << 10]).unwrap();
    let sparse = fs::File::create(root.join("d/sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"end", (8 << 20) - 3).unwrap();
    fs::hard_link(root.join("small"), root.join("d/e/linked")).unwrap();
    symlink("nowhere/at all", root.join("d/link")).unwrap();
    top.mknod(&name("fifo"), FileType::Fifo, 0o640, Rdev::default())
        .unwrap();
    top.mknod(&name("socket"), FileType::Socket, 0o600, Rdev::default())
        .unwrap();
    let whiteout = dir(&root.join("d"));
    whiteout
        .mknod(&name("gone"), FileType::Char, 0, Rdev::default())
        .unwrap();
    At::child(&whiteout, &name("gone"))
        .link(&top, &name("gone too"))
        .unwrap();
    fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(root.join("d/e"), fs::Permissions::from_mode(0o2750)).unwrap();
    let small = name("small");
    let small = At::child(&top, &small);
    small
        .set_xattr(c"user.note", b"\0\xff", XattrMode::Any)
        .unwrap();
    small
        .set_xattr(c"user.overlay.origin", b"", XattrMode::Any)
        .unwrap();
    top.at()
        .set_xattr(c"user.overlay.opaque", b"y", XattrMode::Any)
        .unwrap();
    if is_root() {
        let device = Rdev {
            major: 7,
            minor: 300,
        };
        top.mknod(&name("device"), FileType::Block, 0o660, device)
            .unwrap();
        for (path, uid) in [
            ("d/big", 1234),
            ("d/link", 5),
            ("device", 6),
            ("d/e", 70_000),
        ] {
            std::os::unix::fs::lchown(root.join(path), Some(uid), Some(uid + 1)).unwrap();
        }
        // Changing the owner took these away.
        fs::set_permissions(root.join("d/big"), fs::Permissions::from_mode(0o6711)).unwrap();
        let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        At::child(&whiteout, &name("big"))
            .set_xattr(c"security.capability", capability, XattrMode::Any)
            .unwrap();
        At::child(&whiteout, &name("link"))
            .set_xattr(c"trusted.note", b"x", XattrMode::Any)
            .unwrap();
    }
    let time = |sec, nsec| SetTime::At(Time { sec, nsec });
    for (i, path) in ["small", "d/big", "d/link", "fifo", "gone too", "d/e", "d"]
        .iter()
        .enumerate()
    {
        let path = root.join(path);
        let parent = dir(path.parent().unwrap());
        let own = Name::from_os(path.file_name().unwrap()).unwrap();
        let stamp = i64::try_from(i).unwrap();
        At::child(&parent, &own)
            .set_times(time(-5 - stamp, 1), time(1_000_000 * stamp, 999_999_999))
            .unwrap();
    }
}

#[test]
fn a_copy_has_everything() {
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    fill(&from);
    fs::set_permissions(&from, fs::Permissions::from_mode(0o751)).unwrap();
    let copied = copy_tree(&dir(&from), &dir(&to), rules(Way::Fresh)).unwrap();
    let mut wanted = seen(&from);
    // The mark of one mount stays behind.
    for text in wanted.values_mut() {
        *text = text.replace(" \"user.overlay.origin\"=[]", "");
    }
    let got = seen(&to);
    for (path, text) in &wanted {
        assert_eq!(&got[path], text, "{path}");
    }
    assert_eq!(got.len(), wanted.len());
    assert_eq!(copied.size.entries, wanted.len() as u64 - 1);
    assert_eq!(copied.size.bytes, (300 << 10) + (8 << 20) + 4);
    assert_eq!((copied.owners_lost, copied.attributes_lost), (0, 0));
    let blocks = fs::metadata(to.join("d/sparse")).unwrap().blocks();
    assert!(blocks * 512 < 1 << 20, "{blocks} blocks");
}

#[test]
fn wide_and_deep_trees_are_copied() {
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    let wide = from.join("wide");
    fs::create_dir_all(&wide).unwrap();
    fs::create_dir(&to).unwrap();
    for i in 0..3 * BATCH_ENTRIES + 1 {
        fs::write(wide.join(format!("f{i}")), i.to_string()).unwrap();
        fs::hard_link(wide.join(format!("f{i}")), wide.join(format!("g{i}"))).unwrap();
    }
    let mut deep = dir(&from);
    for _ in 0..2500 {
        deep.mkdir(&name("d"), 0o755).unwrap();
        deep = deep.open_dir(&name("d")).unwrap();
    }
    deep.symlink(&name("bottom"), b"x").unwrap();
    let copied = copy_tree(&dir(&from), &dir(&to), rules(Way::Fresh)).unwrap();
    assert_eq!(
        copied.size.entries,
        2 * (3 * BATCH_ENTRIES as u64 + 1) + 1 + 2501
    );
    for i in [0, 7, 3 * BATCH_ENTRIES] {
        let (f, g) = (to.join(format!("wide/f{i}")), to.join(format!("wide/g{i}")));
        assert_eq!(fs::read_to_string(&f).unwrap(), i.to_string());
        assert_eq!(
            fs::metadata(f).unwrap().ino(),
            fs::metadata(g).unwrap().ino()
        );
    }
    let mut at = dir(&to);
    for _ in 0..2500 {
        at = at.open_dir(&name("d")).unwrap();
    }
    assert_eq!(At::child(&at, &name("bottom")).read_link().unwrap(), b"x");
    remove_tree(&dir(temp.path()), &name("from")).unwrap();
    remove_tree(&dir(temp.path()), &name("to")).unwrap();
}

#[test]
fn a_layer_is_put_onto_the_ones_below() {
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    for path in ["opaque/new", "merged", "was-file", "plain"] {
        fs::create_dir_all(from.join(path)).unwrap();
    }
    for path in ["opaque/old", "merged/old", "was-dir/x", "gone/deep"] {
        fs::create_dir_all(to.join(path)).unwrap();
    }
    fs::write(to.join("was-file"), "file").unwrap();
    fs::write(to.join("kept"), "kept").unwrap();
    fs::write(to.join("changed"), "old").unwrap();
    fs::write(from.join("was-dir"), "file now").unwrap();
    fs::write(from.join("changed"), "new").unwrap();
    fs::write(from.join("gone-by-attribute"), "").unwrap();
    fs::write(to.join("gone-by-attribute"), "x").unwrap();
    let top = dir(&from);
    top.mknod(&name("gone"), FileType::Char, 0, Rdev::default())
        .unwrap();
    top.mknod(&name("never was"), FileType::Char, 0, Rdev::default())
        .unwrap();
    let at = |path: &'static str| dir(&from.join(path));
    let mark = |dir: &DirFd| {
        dir.at()
            .set_xattr(c"user.overlay.opaque", b"y", XattrMode::Any)
            .unwrap()
    };
    mark(&at("opaque"));
    mark(&at("plain"));
    At::child(&top, &name("gone-by-attribute"))
        .set_xattr(c"user.overlay.whiteout", b"", XattrMode::Any)
        .unwrap();
    dir(&to.join("merged"))
        .at()
        .set_xattr(c"user.old", b"1", XattrMode::Any)
        .unwrap();
    at("merged")
        .at()
        .set_xattr(c"user.new", b"2", XattrMode::Any)
        .unwrap();
    let onto = Rules {
        attributes: |name| !keys::is_private(name),
        ..rules(Way::Onto)
    };
    copy_tree(&top, &dir(&to), onto).unwrap();
    let seen = seen(&to);
    let names: Vec<&str> = seen.keys().map(String::as_str).collect();
    let wanted = "|changed|kept|merged|merged/old|opaque|opaque/new|plain|was-dir|was-file";
    assert_eq!(names.join("|"), wanted);
    assert_eq!(fs::read_to_string(to.join("changed")).unwrap(), "new");
    assert!(seen["merged"].contains("user.new") && !seen["merged"].contains("user.old"));
    assert!(!seen["plain"].contains("overlay"));
    at("merged")
        .at()
        .set_xattr(c"user.overlay.redirect", b"other", XattrMode::Any)
        .unwrap();
    let error = copy_tree(&top, &dir(&to), onto).unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported);
    assert!(error.to_string().contains("merged"), "{error}");
}

#[test]
fn failures_name_the_path_and_end_the_copy() {
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("from"), temp.path().join("from/a/to"));
    fs::create_dir_all(&to).unwrap();
    let error = copy_tree(&dir(&from), &dir(&to), rules(Way::Fresh)).unwrap_err();
    assert_eq!(error.to_string(), "cannot copy a/to: Invalid argument");
    let stop = Progress::default();
    stop.stop();
    let cancelled = Rules {
        watch: &stop,
        ..rules(Way::Fresh)
    };
    let error = copy_tree(&dir(&from), &dir(&to), cancelled).unwrap_err();
    assert_eq!(error.to_string(), "interrupted");
}
