//! Lower layers that somebody changes under the mount: T127. What shows then is undefined, old, new or an error; but it
//! is one of these, of one type, and nothing breaks (19.7). A new mount shows the new layers.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::support::env::{self, Scratch};
use super::support::layers::Layers;
use super::support::mount::{Mounted, Server};
use super::support::snapshot::{Compare, Snapshot};
use super::support::words::{errno_name, list};

const NAMES: [&str; 9] = [
    "grown", "shrunk", "gone", "file", "dir", "link", "fifo", "dir/in", "again",
];

fn build(layers: &Layers) {
    let lower = layers.lower(1);
    for name in ["grown", "shrunk", "gone", "file", "again", "still"] {
        lower.file(name, format!("old {name}"));
    }
    lower
        .file("dir/in", "old in")
        .symlink("link", "file")
        .fifo("fifo");
    lower.file("full/a", "a").file("full/b", "b");
    layers
        .lower(2)
        .file("dir/below", "below")
        .file("gone2/f", "f");
}

/// Every name becomes something else.
fn change(layers: &Layers) {
    let at = |path: &str| layers.lowers[0].join(path);
    fs::write(at("grown"), "new and longer than before").unwrap();
    fs::write(at("shrunk"), "n").unwrap();
    for name in ["gone", "file", "link", "fifo", "again", "full/a"] {
        fs::remove_file(at(name)).unwrap();
    }
    fs::write(at("again"), "new again").unwrap();
    fs::create_dir(at("file")).unwrap();
    fs::write(at("file/in"), "in what was a file").unwrap();
    fs::remove_dir_all(at("dir")).unwrap();
    fs::write(at("dir"), "what was a directory").unwrap();
    fs::create_dir(at("link")).unwrap();
    fs::write(at("fifo"), "what was a fifo").unwrap();
    fs::write(at("full/c"), "c").unwrap();
    fs::write(at("added"), "added").unwrap();
}

/// One look in every way there is. An error is an answer; an object that is not of the type that it says is not.
fn look(path: &Path) -> Result<(), String> {
    let Ok(stat) = path.symlink_metadata() else {
        return Ok(());
    };
    let mut kind = stat.file_type();
    let open = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(path);
    if let Ok(mut file) = open {
        // An open may be what finds out that something else is there; all see that from then on.
        if let Ok(opened) = file.metadata().map(|m| m.file_type())
            && opened != kind
        {
            kind = match path.symlink_metadata() {
                Ok(now) if now.file_type() == opened => opened,
                _ => {
                    return Err(format!(
                        "{}: {opened:?} instead of {kind:?}",
                        path.display()
                    ));
                }
            };
        }
        let mut data = Vec::new();
        if file.read_to_end(&mut data).is_ok() && !(kind.is_file() || kind.is_fifo()) {
            return Err(format!("{}: read of {kind:?}", path.display()));
        }
        let text = String::from_utf8_lossy(&data);
        if !["", "old", "new", "what was", "n", "in "]
            .iter()
            .any(|start| text.starts_with(start))
        {
            return Err(format!("{}: nobody wrote {text:?}", path.display()));
        }
    }
    let wrong = |what: &str| Err(format!("{}: {what} of {kind:?}", path.display()));
    match (fs::read_dir(path), fs::read_link(path)) {
        (Ok(_), _) if !(kind.is_dir() || kind.is_symlink()) => wrong("a listing"),
        (_, Ok(_)) if !kind.is_symlink() => wrong("a link target"),
        _ => Ok(()),
    }
}

/// Copies up, in a way for each name, what is not what it was. What gets into the upper layer is of the type that
/// showed before.
fn alter(layers: &Layers) -> Result<(), String> {
    for (n, name) in NAMES.iter().enumerate() {
        let path = layers.merged.join(name);
        let before = path.symlink_metadata().map(|m| m.file_type());
        let done: io::Result<()> = match n % 3 {
            0 => fs::set_permissions(&path, fs::Permissions::from_mode(0o711)),
            1 => fs::OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
                .open(&path)
                .map(drop),
            _ => fs::rename(&path, path.with_extension("moved")),
        };
        eprintln!("{name}: {:?}", done.as_ref().map_err(errno_name));
        let place = if n % 3 == 2 {
            path.with_extension("moved")
        } else {
            path
        };
        let place = layers
            .upper
            .join(place.strip_prefix(&layers.merged).unwrap());
        let upper = place.symlink_metadata().map(|m| m.file_type());
        let whiteout = upper.as_ref().is_ok_and(|kind| kind.is_char_device());
        if let (Ok(()), Ok(before), Ok(upper)) = (done, before, upper)
            && before != upper
            && !whiteout
        {
            return Err(format!("{name} was {before:?}, its copy is {upper:?}"));
        }
    }
    Ok(())
}

/// Runs it on one server; the view of a new mount by each of the two is the same.
fn run(server: Server, writes: bool) {
    let scratch = Scratch::new();
    let layers = Layers::new(scratch.path(), 2, true);
    build(&layers);
    layers.settle();
    let mounted = Mounted::new(server, &layers, "").unwrap();
    let at = |path: &str| layers.merged.join(path);
    let open_file = fs::File::open(at("gone")).unwrap();
    let open_dir = fs::read_dir(at("full")).unwrap();
    for name in NAMES {
        look(&at(name)).unwrap();
    }
    assert!(!at("added").exists());
    change(&layers);
    for round in 0..3 {
        for name in NAMES
            .iter()
            .chain(&["added", "file/in", "full", "full/a", "full/c"])
        {
            look(&at(name)).unwrap();
        }
        list(&at(".")).unwrap();
        if round == 0 && writes {
            alter(&layers).unwrap();
        }
    }
    let text = io::read_to_string(&open_file);
    assert!(
        text.is_ok_and(|text| text == "old gone"),
        "19.7: an open file stays"
    );
    assert!(open_dir.count() <= 3);
    // What nobody touched is as it was, and the mount takes changes.
    assert_eq!(fs::read(at("still")).unwrap(), b"old still");
    fs::write(at("still"), "written").unwrap();
    fs::write(at("new"), "new").unwrap();
    fs::remove_file(at("full/b")).unwrap();
    assert_eq!(mounted.verdict(), None);
    drop(open_file);
    mounted.unmount().unwrap();

    let views = [Server::Plyfs, Server::Kernel].map(|server| {
        let mounted = Mounted::new(server, &layers, "").unwrap();
        let view = Snapshot::take(&layers.merged).unwrap();
        mounted.unmount().unwrap();
        view
    });
    let differences = views[0].differences(&views[1], Compare::View);
    assert!(
        differences.is_empty(),
        "after a new mount: {differences:#?}"
    );
    if !writes {
        let shown = |path: &str| views[0].entries[path].as_ref().unwrap().line(Compare::View);
        assert!(shown("grown").contains("size=26"), "{}", shown("grown"));
        assert!(shown("file").starts_with("dir"), "{}", shown("file"));
        assert!(shown("dir").starts_with("file"), "{}", shown("dir"));
        assert!(shown("added").starts_with("file"));
        assert!(!views[0].entries.contains_key("gone"));
    }
}

#[test]
fn t127_lower_layers_that_change() {
    if let Some(why) = env::mounted_tests_impossible().or_else(env::kernel_overlay_impossible) {
        return env::cannot_run("T127", &why);
    }
    env::isolated(|| {
        for server in [Server::Kernel, Server::Plyfs] {
            for writes in [false, true] {
                eprintln!("{server:?}, writing: {writes}");
                run(server, writes);
            }
        }
    });
}
