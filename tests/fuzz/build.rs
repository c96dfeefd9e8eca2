//! Items on disk. Missing parents are made, so any item can be dropped from a trace.

use std::path::{Path, PathBuf};

use super::op::{Item, Kind};
use super::support::layers::Layers;

/// Puts all items into fresh layers below `root`.
pub fn build(root: &Path, lowers: usize, items: &[Item]) -> Layers {
    let layers = Layers::new(root, lowers, true);
    for item in items {
        put(&layers, item);
    }
    layers.settle();
    layers
}

fn put(layers: &Layers, item: &Item) {
    let tree = match item.layer {
        0 => layers.upper(),
        n if n <= layers.lowers.len() => layers.lower(n),
        // A layer that was dropped.
        _ => return,
    };
    let path = item.path.as_str();
    if let Some(parent) = PathBuf::from(path).parent() {
        tree.dir(&parent.to_string_lossy());
    }
    let fifo = rustix::fs::FileType::Fifo;
    match &item.kind {
        Kind::Dir => tree.dir(path),
        Kind::File { len } => tree.file(path, content(item, *len)),
        Kind::Sparse { size, data } => {
            let pieces: Vec<_> = data
                .iter()
                .filter(|at| *at + 5 <= *size)
                .map(|at| (*at, &b"piece"[..]))
                .collect();
            tree.sparse(path, *size, &pieces)
        }
        Kind::Symlink { to } => tree.symlink(path, to),
        Kind::Link { to } => {
            if tree.at(to).symlink_metadata().is_ok() {
                tree.link(to, path);
            }
            return;
        }
        Kind::Fifo => tree.node(path, fifo, (0, 0)),
        Kind::Device { block, number } => {
            let kind = if *block {
                rustix::fs::FileType::BlockDevice
            } else {
                rustix::fs::FileType::CharacterDevice
            };
            tree.node(path, kind, *number)
        }
        Kind::Whiteout => {
            tree.whiteout(path);
            return;
        }
        Kind::XattrWhiteout => tree.file(path, ""),
    };
    tree.owner(path, item.owner.0, item.owner.1);
    if !matches!(item.kind, Kind::Symlink { .. }) {
        tree.mode(path, item.mode);
    }
    for (name, value) in &item.xattrs {
        tree.xattr(path, name, &value.0);
    }
}

/// Content that tells where it is from.
fn content(item: &Item, len: usize) -> Vec<u8> {
    format!("{}@{} ", item.path, item.layer)
        .bytes()
        .cycle()
        .take(len)
        .collect()
}
