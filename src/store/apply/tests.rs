//! Archives of friends and enemies, on directories alone.

use std::io::Cursor;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::*;
use crate::store::changes::{between, of_top};
use crate::store::export::TarExport;
use crate::store::merged::{Marked, Stack};
use crate::store::recipe;
use crate::store::tar::EntryKind;
use crate::store::tar::write::TarWriter;
use crate::store::watch::Nobody;
use crate::sys::stat::Rdev;

fn entry(path: &str, kind: EntryKind) -> Entry {
    let (uid, gid) = effective_ids();
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        perm: if kind == EntryKind::Dir { 0o755 } else { 0o644 },
        uid,
        gid,
        mtime: Time {
            sec: 1_000_000_000,
            nsec: 0,
        },
        size: 0,
        link: Vec::new(),
        rdev: Rdev::default(),
        xattrs: Vec::new(),
    }
}

fn file(path: &str, text: &str) -> (Entry, Vec<u8>) {
    let data = text.as_bytes().to_vec();
    let size = data.len() as u64;
    (
        Entry {
            size,
            ..entry(path, EntryKind::File)
        },
        data,
    )
}

fn dir(path: &str) -> (Entry, Vec<u8>) {
    (entry(path, EntryKind::Dir), Vec::new())
}

fn link(path: &str, target: &str, kind: EntryKind) -> (Entry, Vec<u8>) {
    let link = target.as_bytes().to_vec();
    (
        Entry {
            link,
            ..entry(path, kind)
        },
        Vec::new(),
    )
}

fn symlink(path: &str, target: &str) -> (Entry, Vec<u8>) {
    link(path, target, EntryKind::Symlink)
}

fn hard(path: &str, target: &str) -> (Entry, Vec<u8>) {
    link(path, target, EntryKind::HardLink)
}

fn archive(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (entry, data) in entries {
        writer.entry(entry).unwrap();
        if !data.is_empty() {
            writer.data(data).unwrap();
        }
    }
    writer.finish().unwrap()
}

/// A tree to unpack to, with something beside it that nobody may touch.
struct Ground {
    temp: tempfile::TempDir,
}

impl Ground {
    fn new() -> Ground {
        let temp = tempfile::tempdir().unwrap();
        for dir in ["tree", "meta", "outside"] {
            std::fs::create_dir(temp.path().join(dir)).unwrap();
        }
        std::fs::write(temp.path().join("outside/file"), "safe").unwrap();
        Ground { temp }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.temp.path().join("tree").join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn root(&self) -> DirFd {
        DirFd::open(&self.path("")).unwrap()
    }

    fn apply(&self, form: TreeForm, bytes: &[u8]) -> Result<Applied> {
        let meta = self.temp.path().join("meta");
        let options = ApplyOptions {
            limits: Limits {
                bytes: 1 << 20,
                entries: 100,
            },
            devices: Devices::Record,
            strict_xattrs: false,
            expected: Expected::default(),
            recipe: Some(&meta),
            hashes: false,
            watch: &Nobody,
        };
        let applied = apply(
            &self.root(),
            form,
            Box::new(Cursor::new(bytes.to_vec())),
            &options,
        );
        let outside = self.temp.path().join("outside");
        assert_eq!(
            std::fs::read_to_string(outside.join("file")).unwrap(),
            "safe"
        );
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(self.temp.path()).unwrap().count(), 3);
        applied
    }

    /// On nothing, as a difference.
    fn base(&self, entries: &[(Entry, Vec<u8>)]) -> Result<Applied> {
        let bytes = archive(entries);
        let applied = self.apply(difference(None), &bytes)?;
        let mut again = Vec::new();
        recipe::replay(
            &self.temp.path().join("meta"),
            &self.root(),
            &mut again,
            &Nobody,
        )
        .unwrap();
        assert!(again == bytes, "the recipe gives other bytes");
        Ok(applied)
    }
}

fn difference(below: Option<MergedDir>) -> TreeForm {
    TreeForm::Difference {
        marks: Namespace::User,
        below,
    }
}

fn merged(grounds: &[&Ground]) -> MergedDir {
    let roots = grounds.iter().map(|ground| ground.root()).collect();
    Stack::merge(roots, Marked::Yes).unwrap().unwrap()
}

/// `A path`, `M path`, `D path`, in the order of telling.
fn told(
    walk: impl FnOnce(&mut (dyn crate::store::changes::Visit + Send)) -> Result<()>,
) -> Vec<String> {
    let mut lines = Vec::new();
    walk(&mut |change: &crate::store::changes::Change<'_>| {
        let letter = format!("{:?}", change.kind);
        let opaque = if change.opaque { " anew" } else { "" };
        lines.push(format!("{} {}{opaque}", &letter[..1], shown(change.path)));
        Ok(())
    })
    .unwrap();
    lines
}

#[test]
fn a_tree_with_everything_that_needs_no_device() {
    let ground = Ground::new();
    let (mut set_id, _) = file("set-id", "x");
    set_id.perm = 0o4711;
    let (mut noted, _) = dir("d");
    noted.xattrs = vec![(b"user.note".to_vec(), b"hi".to_vec())];
    noted.perm = 0o500;
    let long = "n".repeat(200);
    let applied = ground
        .base(&[
            (noted, Vec::new()),
            file("d/f", "data"),
            (set_id, b"x".to_vec()),
            hard("d/h", "d/f"),
            symlink("s", "../outside/file"),
            hard("hs", "s"),
            (entry("p", EntryKind::Fifo), Vec::new()),
            file(&format!("deep/{long}/{long}/f"), "deep"),
        ])
        .unwrap();
    assert_eq!(applied.remarks.lines(), Vec::<String>::new());
    assert_eq!((applied.entries, applied.bytes), (8, 9));
    assert_eq!(ground.text("d/h"), "data");
    assert_eq!(ground.path("d/h").metadata().unwrap().nlink(), 2);
    assert_eq!(ground.path("hs").symlink_metadata().unwrap().nlink(), 2);
    assert_eq!(
        ground.path("set-id").metadata().unwrap().mode() & 0o7777,
        0o4711
    );
    let tree = merged(&[&ground]);
    let shown = tree.find(b"d").unwrap().unwrap().stat.perm;
    assert_eq!(shown, 0o500, "to whoever looks through the store");
    let disk = ground.path("d").metadata().unwrap().mode() & 0o7777;
    let is_root = effective_ids().0 == 0;
    assert_eq!(disk, if is_root { 0o500 } else { 0o700 });
    assert_eq!(ground.path("d").metadata().unwrap().mtime(), 1_000_000_000);
    assert!(
        ground
            .path("p")
            .symlink_metadata()
            .unwrap()
            .file_type()
            .is_fifo()
    );
    assert_eq!(ground.text(&format!("deep/{long}/{long}/f")), "deep");
}

#[test]
fn names_that_climb_or_lead_out_stay_in() {
    for bad in ["../x", "a/../../x", "/../x"] {
        let error = Ground::new().base(&[file(bad, "")]).unwrap_err();
        assert_eq!(error.kind, Kind::Corrupt, "{bad}");
    }
    let ground = Ground::new();
    ground
        .base(&[
            file("/abs", "1"),
            file("./a/../b", "2"),
            dir("./"),
            dir("a//.//c/"),
        ])
        .unwrap();
    assert_eq!(
        (ground.text("abs"), ground.text("b")),
        ("1".into(), "2".into())
    );
    assert!(ground.path("a/c").is_dir());
}

#[test]
fn links_lead_around_in_the_layer_only() {
    let ground = Ground::new();
    let out = ground.temp.path().join("outside");
    let absolute = out.to_str().unwrap();
    for target in [absolute, "../outside", "../../../../../../../../../.."] {
        let ground = Ground::new();
        let through = ground.base(&[
            symlink("l", target),
            file("l/new", "x"),
            file("l/file", "y"),
        ]);
        if target.ends_with("..") {
            // Above the root is the root.
            through.unwrap();
            assert_eq!(ground.text("new"), "x");
        } else {
            assert_eq!(through.unwrap_err().kind, Kind::Corrupt, "{target}");
        }
        let over = Ground::new();
        over.base(&[symlink("l", &format!("{target}/file")), file("l", "mine")])
            .unwrap();
        assert_eq!(over.text("l"), "mine");
        Ground::new()
            .base(&[symlink("l", target), file("l/.wh.file", "")])
            .unwrap();
        // Refused or not, nothing outside changes.
        drop(Ground::new().base(&[symlink("m", target), file("m/.wh..wh..opq", "")]));
    }
    let ground = Ground::new();
    ground
        .base(&[
            dir("real"),
            symlink("l", "/real"),
            file("l/f", "in"),
            file("real/f", "again"),
        ])
        .unwrap();
    assert_eq!(ground.text("real/f"), "again");
    let loops = Ground::new().base(&[symlink("a", "b"), symlink("b", "a"), file("a/f", "")]);
    assert_eq!(loops.unwrap_err().kind, Kind::Corrupt);
}

#[test]
fn hard_links_lead_to_what_the_layer_has() {
    for bad in [
        vec![hard("h", "missing")],
        vec![hard("h", "../outside/file")],
        vec![hard("h", "/etc/passwd")],
        vec![symlink("l", "../outside"), hard("h", "l/file")],
        vec![dir("d"), hard("h", "d")],
        vec![hard("h", "")],
        vec![file("f/x", ""), hard("f", "f/x")],
    ] {
        let error = Ground::new().base(&bad).unwrap_err();
        assert_eq!(
            error.kind,
            Kind::Corrupt,
            "{:?}: {error}",
            bad.last().map(|e| &e.0.link)
        );
    }
    let ground = Ground::new();
    ground.base(&[file("f", "x"), hard("f", "./f")]).unwrap();
    assert_eq!(ground.text("f"), "x");
}

#[test]
fn names_that_are_none_are_refused() {
    let long = "x".repeat(256);
    for bad in [
        ".wh.",
        "a/.wh..",
        ".wh...",
        ".wh.a/b",
        &long,
        &format!("{long}/f"),
        &format!(".wh.{long}"),
    ] {
        let error = Ground::new().base(&[file(bad, "")]).unwrap_err();
        assert_eq!(error.kind, Kind::Corrupt, "{bad}");
        assert!(error.to_string().len() > 4);
    }
    let root = Ground::new().base(&[file(".", "")]).unwrap_err();
    assert_eq!(root.kind, Kind::Corrupt);
    let over_a_file = Ground::new()
        .base(&[file("f", ""), file("f/x", "")])
        .unwrap_err();
    assert_eq!(over_a_file.kind, Kind::Corrupt);
}

#[test]
fn the_last_of_two_counts_and_the_recipe_knows_both() {
    let ground = Ground::new();
    let applied = ground
        .base(&[
            file("f", "one"),
            file("f", "three"),
            hard("g", "f"),
            symlink("f", "g"),
            file("d/x/y", "deep"),
            file("d!", "beside"),
            file("d/x", "flat"),
            file("d", "gone"),
        ])
        .unwrap();
    assert_eq!(ground.text("g"), "three");
    assert_eq!(
        (ground.text("f"), ground.text("d"), ground.text("d!")),
        ("three".into(), "gone".into(), "beside".into())
    );
    assert_eq!(
        applied
            .remarks
            .count("more than one entry, the last one counts"),
        4
    );
}

#[test]
fn marks_cannot_be_smuggled() {
    let ground = Ground::new();
    let (mut marked, _) = dir("d");
    for name in [
        "user.overlay.opaque",
        "trusted.overlay.opaque",
        "user.fuseoverlayfs.opaque",
        "user.containers.override_stat",
        "user.fine",
    ] {
        marked
            .xattrs
            .push((name.as_bytes().to_vec(), b"y".to_vec()));
    }
    let applied = ground
        .base(&[
            (marked, Vec::new()),
            (entry("c", EntryKind::Char), Vec::new()),
            file("z", ""),
        ])
        .unwrap();
    assert!(!ground.path("c").exists());
    assert_eq!(
        applied
            .remarks
            .count("device 0:0 skipped, it would act as a whiteout"),
        1
    );
    assert_eq!(
        applied
            .remarks
            .count("attribute skipped, it would act as a mark"),
        1
    );
    assert_eq!(
        applied
            .remarks
            .count("attribute of another unpacker skipped"),
        1
    );
    let root = ground.root();
    let inner = root.open_beneath(b"d").unwrap();
    let names = inner.at().list_xattrs().unwrap();
    assert!(!names.iter().any(crate::layer::keys::is_private));
    assert!(
        names
            .iter()
            .any(|name| name == c"user.overlay.overlay.opaque")
    );
    let whiteout = Ground::new();
    let below = Ground::new();
    below.base(&[file("gone", "")]).unwrap();
    let bytes = archive(&[file(".wh.gone", ""), hard("h", "gone")]);
    let error = whiteout
        .apply(difference(Some(merged(&[&below]))), &bytes)
        .unwrap_err();
    assert_eq!(error.kind, Kind::Corrupt);
}

#[test]
fn whatever_is_cut_or_changed_is_refused() {
    let bytes = archive(&[file("a", &"data".repeat(300)), dir("d"), file("d/b", "x")]);
    for cut in [1, 511, 600, 1536, 2000, bytes.len() - 1024] {
        let error = Ground::new()
            .apply(difference(None), &bytes[..cut])
            .unwrap_err();
        assert_eq!(error.kind, Kind::Corrupt, "cut at {cut}");
    }
    let huge = Ground::new()
        .base(&[file("big", &"x".repeat(1 << 21))])
        .unwrap_err();
    assert!(huge.to_string().contains("--max-unpacked"), "{huge}");
    let many: Vec<_> = (0..101).map(|i| file(&format!("f{i}"), "")).collect();
    assert!(
        Ground::new()
            .base(&many)
            .unwrap_err()
            .to_string()
            .contains("--max-entries")
    );
    let expected = Expected {
        diff_id: Some(Digest::of(b"")),
        ..Expected::default()
    };
    let options = ApplyOptions {
        limits: Limits::default(),
        devices: Devices::Record,
        strict_xattrs: true,
        expected,
        recipe: None,
        hashes: false,
        watch: &Nobody,
    };
    let ground = Ground::new();
    let error = apply(
        &ground.root(),
        TreeForm::Whole,
        Box::new(Cursor::new(bytes)),
        &options,
    )
    .unwrap_err();
    assert!(
        error.kind == Kind::Corrupt && error.to_string().contains("diffID"),
        "{error}"
    );
}

/// The layer below in all tests of marks.
fn below() -> Ground {
    let ground = Ground::new();
    ground
        .base(&[
            dir("dir"),
            file("dir/one", "1"),
            file("dir/two", "2"),
            dir("gone"),
            file("gone/deep/f", "x"),
            file("file", "old"),
            file("kept", "k"),
        ])
        .unwrap();
    ground
}

fn marks() -> Vec<(Entry, Vec<u8>)> {
    vec![
        file("dir/three", "3"),
        file("dir/.wh..wh..opq", ""),
        file(".wh.gone", ""),
        file("gone/new", "n"),
        file("file", "new"),
        file(".wh.file", ""),
        file(".wh.never-there", ""),
        file("fresh/.wh.nothing", ""),
    ]
}

#[test]
fn both_forms_mean_the_same_in_any_order() {
    let mut shown = Vec::new();
    for reversed in [false, true] {
        let mut entries = marks();
        if reversed {
            entries.reverse();
        }
        let (lower, top) = (below(), Ground::new());
        top.apply(difference(Some(merged(&[&lower]))), &archive(&entries))
            .unwrap();
        let tree = merged(&[&top, &lower]);
        shown.push(told(|visit| between(None, &tree, visit)));
        assert_eq!(
            told(|visit| of_top(&tree, visit)),
            [
                "M dir anew",
                "D dir/one",
                "D dir/two",
                "A dir/three",
                "M file",
                "M gone anew",
                "D gone/deep",
                "A gone/new"
            ]
        );
        let whole = below();
        std::fs::remove_dir_all(whole.temp.path().join("meta")).unwrap();
        std::fs::create_dir(whole.temp.path().join("meta")).unwrap();
        whole.apply(TreeForm::Whole, &archive(&entries)).unwrap();
        let alone = Stack::merge(vec![whole.root()], Marked::No)
            .unwrap()
            .unwrap();
        shown.push(told(|visit| between(None, &alone, visit)));
        assert_eq!(
            told(|visit| between(Some(&merged(&[&lower])), &alone, visit)),
            [
                "M dir",
                "D dir/one",
                "D dir/two",
                "A dir/three",
                "M file",
                "M gone",
                "D gone/deep",
                "A gone/new"
            ]
        );
    }
    assert_eq!(
        shown[0],
        [
            "A dir",
            "A dir/three",
            "A file",
            "A gone",
            "A gone/new",
            "A kept"
        ]
    );
    assert!(shown.iter().all(|lines| *lines == shown[0]), "{shown:?}");
}

#[test]
fn changes_become_an_archive_that_makes_the_same_tree() {
    let (lower, top) = (below(), Ground::new());
    top.apply(difference(Some(merged(&[&lower]))), &archive(&marks()))
        .unwrap();
    let tree = merged(&[&top, &lower]);
    let export = |tree: &MergedDir| {
        let mut export = TarExport::new(Vec::new(), &Nobody);
        of_top(tree, &mut export).unwrap();
        export.finish().unwrap().0
    };
    let bytes = export(&tree);
    assert_eq!(export(&tree), bytes);
    let again = Ground::new();
    again
        .apply(difference(Some(merged(&[&lower]))), &bytes)
        .unwrap();
    assert_eq!(export(&merged(&[&again, &lower])), bytes);
    let whole = below();
    std::fs::remove_dir_all(whole.temp.path().join("meta")).unwrap();
    std::fs::create_dir(whole.temp.path().join("meta")).unwrap();
    whole.apply(TreeForm::Whole, &bytes).unwrap();
    let alone = Stack::merge(vec![whole.root()], Marked::No)
        .unwrap()
        .unwrap();
    assert_eq!(
        told(|visit| between(Some(&tree), &alone, visit)),
        Vec::<String>::new()
    );
}

#[test]
fn a_whole_root_can_begin_anew() {
    let (lower, top) = (below(), Ground::new());
    let bytes = archive(&[
        file(".wh..wh..opq", ""),
        file("only", ""),
        dir("dir"),
        file("dir/x", ""),
    ]);
    top.apply(difference(Some(merged(&[&lower]))), &bytes)
        .unwrap();
    let tree = merged(&[&top, &lower]);
    assert_eq!(
        told(|visit| between(None, &tree, visit)),
        ["A dir", "A dir/x", "A only"]
    );
}

#[test]
fn many_directories_in_each_other() {
    crate::sys::process::raise_file_limit().unwrap();
    let ground = Ground::new();
    let deep = "d/".repeat(900);
    ground.base(&[file(&format!("{deep}f"), "deep")]).unwrap();
    let tree = merged(&[&ground]);
    let lines = told(|visit| of_top(&tree, visit));
    assert_eq!(lines.len(), 901);
    assert_eq!(told(|visit| between(None, &tree, visit)), lines);
    let deeper = Ground::new().base(&[file(&"d/".repeat(5000), "")]);
    assert_eq!(deeper.unwrap_err().kind, Kind::Corrupt);
}

/// A directory with a default ACL gives none to what an archive puts into it without one.
#[test]
fn nothing_is_inherited() {
    let ground = Ground::new();
    let acl = |entries: &[(u16, u16, u32)]| {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, perm, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(perm.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    };
    let none = u32::MAX;
    let value = acl(&[
        (1, 7, none),
        (2, 7, 77),
        (4, 5, none),
        (16, 7, none),
        (32, 5, none),
    ]);
    let default = b"system.posix_acl_default".to_vec();
    let (mut parent, _) = dir("d");
    parent.xattrs = vec![(default, value.clone())];
    let (mut own, _) = file("d/own", "x");
    own.xattrs = vec![(b"system.posix_acl_access".to_vec(), value)];
    ground
        .base(&[
            (parent, Vec::new()),
            file("d/f", "x"),
            (own, b"x".to_vec()),
            hard("d/linked", "d/own"),
            dir("d/sub"),
            file("d/implied/f", "x"),
            (entry("d/p", EntryKind::Fifo), Vec::new()),
        ])
        .unwrap();
    let acls = |name: &str| {
        let at = |name: &std::ffi::CStr, path: &str| {
            let dir = ground.root().open_beneath(b"d").unwrap();
            let child = crate::sys::name::Name::new(path.as_bytes()).unwrap();
            crate::sys::at::At::child(&dir, &child)
                .get_xattr(name)
                .unwrap()
                .is_some()
        };
        [c"system.posix_acl_access", c"system.posix_acl_default"].map(|acl| at(acl, name))
    };
    for name in ["f", "sub", "implied", "p"] {
        assert_eq!(acls(name), [false, false], "{name}");
    }
    assert_eq!(
        (acls("own"), acls("linked")),
        ([true, false], [true, false])
    );
}
