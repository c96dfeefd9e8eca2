//! Private read-only mounts for lower layers: through them nothing can be written even by mistake, and nothing is
//! seen that somebody mounts over a layer or inside it.
//!
//! Layers that are on one mount share one clone of it, whose root is the deepest directory above them all: a clone
//! costs the kernel more at its beginning, and far more at its end, than all else that is done for a layer. Nothing
//! leads from one layer to another in there: names are single components, and paths are resolved beneath the root
//! of their layer.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::layer::Layer;
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};

/// Makes the layers private, as far as this process may. What is returned is to be kept as long as they are used.
pub fn make_private(lowers: &mut [Layer]) -> Vec<DirFd> {
    let mut mounts: HashMap<u64, Vec<&mut Layer>> = HashMap::new();
    for lower in lowers {
        mounts.entry(lower.stat.mount_id).or_default().push(lower);
    }
    let mut clones = Vec::new();
    for mut layers in mounts.into_values() {
        match share(&mut layers, as_named).or_else(|_| share(&mut layers, as_they_are)) {
            Ok(clone) => clones.push(clone),
            Err(errno) => {
                log::debug!("{} layers with a mount each: {errno}", layers.len());
                layers.into_iter().for_each(Layer::make_private);
            }
        }
    }
    clones
}

/// The path of a layer as it was given: to be had for nothing, and right unless there are links in it.
fn as_named(layer: &Layer) -> Result<Vec<u8>> {
    Ok(layer.path.as_os_str().as_bytes().to_vec())
}

/// The path of a layer as the kernel knows it.
fn as_they_are(layer: &Layer) -> Result<Vec<u8>> {
    layer.root.path_now()
}

/// One clone for layers that are on one mount. Their paths are hints: only the same directories will do.
fn share(layers: &mut [&mut Layer], path: impl Fn(&Layer) -> Result<Vec<u8>>) -> Result<DirFd> {
    let (first, mount) = match layers {
        [first, _, ..] => (first.root.clone(), first.stat.mount_id),
        // A clone for one layer has that one as its root.
        _ => return Err(Errno::EINVAL),
    };
    let paths = layers.iter().map(|layer| path(layer));
    let paths = paths.collect::<Result<Vec<_>>>()?;
    let above = length_in_common(&paths);
    let mut dir = first.open_parent()?;
    for _ in paths[0][above..].iter().filter(|byte| **byte == b'/') {
        dir = dir.open_parent()?;
    }
    if dir.stat()?.mount_id != mount {
        return Err(Errno::EXDEV);
    }
    let clone = dir.clone_read_only()?;
    let roots = layers.iter().zip(&paths).map(|(layer, path)| {
        let root = clone.open_beneath(&path[above..])?;
        let stat = root.stat()?;
        match (stat.dev, stat.ino) == (layer.stat.dev, layer.stat.ino) {
            true => Ok(Arc::new(root)),
            false => Err(Errno::ESTALE),
        }
    });
    let roots = roots.collect::<Result<Vec<_>>>()?;
    for (layer, root) in layers.iter_mut().zip(roots) {
        layer.root = root;
    }
    Ok(clone)
}

/// How long the path of the deepest directory above all of these is, with its slash.
fn length_in_common(paths: &[Vec<u8>]) -> usize {
    let Some((first, others)) = paths.split_first() else {
        return 0;
    };
    let same = |path: &Vec<u8>| first.iter().zip(path).take_while(|(a, b)| a == b).count();
    let length = others.iter().map(same).min().unwrap_or(first.len());
    let slash = first[..length].iter().rposition(|byte| *byte == b'/');
    slash.map_or(0, |slash| slash + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_directory_above_all() {
        let of = |paths: &[&str]| {
            let paths: Vec<Vec<u8>> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
            length_in_common(&paths)
        };
        assert_eq!(of(&["/a/l1", "/a/l10", "/a/l2"]), 3);
        assert_eq!(of(&["/a/l", "/a/l/x"]), 3);
        assert_eq!(of(&["/a/1/diff", "/a/2/diff"]), 3);
        assert_eq!(of(&["/a", "/b"]), 1);
        assert_eq!(of(&["/a/b", "/a/b"]), 3);
        assert_eq!(of(&["(unreachable)", "/b"]), 0);
        assert_eq!(of(&[]), 0);
    }
}
