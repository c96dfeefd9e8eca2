//! [`LayerStack`]: the layers of one mount, checked against each other (overlay-semantics 20).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::layer::{Layer, LayerError, Problem, UpperLayer};
use super::origin::Uuid;
use super::private::make_private;
use crate::sys::dir::DirFd;
use crate::sys::errno::Result;

/// The layers of one mount.
#[derive(Debug)]
pub struct LayerStack {
    /// The writable layer, if there is one.
    pub upper: Option<UpperLayer>,
    /// The read-only layers, top-most first; the data-only ones are the last.
    pub lowers: Vec<Layer>,
    data_only: usize,
    /// What the lowers are reached through.
    _mounts: Vec<DirFd>,
}

/// What a directory is to the mount.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Upper,
    Work,
    Lower,
}

impl LayerStack {
    /// Checks the layers against each other and makes the lower ones private. The last `data_only` lowers are
    /// never merged (6.3).
    ///
    /// # Errors
    /// Two layers that are the same directory, and layers inside each other except an upper or work
    /// directory below a lower, which is found at lookup (2.7).
    pub fn new(
        upper: Option<UpperLayer>,
        lowers: Vec<Layer>,
        data_only: usize,
    ) -> Result<LayerStack, LayerError> {
        let mut stack = LayerStack {
            upper,
            lowers,
            data_only,
            _mounts: Vec::new(),
        };
        stack.check_overlap()?;
        stack._mounts = make_private(&mut stack.lowers);
        Ok(stack)
    }

    /// How many of the lowers are merged: the first ones.
    pub fn merged(&self) -> usize {
        self.lowers.len().saturating_sub(self.data_only)
    }

    /// `uuid=off`: file handles say nothing of the filesystem, which must be one for all layers.
    pub fn forget_uuids(&mut self) {
        let one = |stack: &LayerStack| {
            let mut devices = stack.layers().map(|(_, layer)| layer.stat.dev);
            let first = devices.next();
            devices.all(|dev| Some(dev) == first)
        };
        if !one(self) {
            log::warn!("uuid=off needs all layers on one filesystem; going on as with uuid=null");
            return;
        }
        let upper = self.upper.iter_mut().map(|upper| &mut upper.layer);
        for layer in upper.chain(&mut self.lowers) {
            layer.uuid = Some(Uuid::default());
        }
    }

    /// Upper first, then the lowers from the top.
    fn layers(&self) -> impl Iterator<Item = (Role, &Layer)> {
        let upper = self
            .upper
            .iter()
            .flat_map(|u| [(Role::Upper, &u.layer), (Role::Work, &u.work)]);
        upper.chain(self.lowers.iter().map(|lower| (Role::Lower, lower)))
    }

    /// Is the directory with this identity the root of a layer or of the work directory?
    pub fn is_layer_root(&self, dev: u64, ino: u64) -> bool {
        self.layers()
            .any(|(_, layer)| (layer.stat.dev, layer.stat.ino) == (dev, ino))
    }

    fn check_overlap(&self) -> Result<(), LayerError> {
        let mut roots: HashMap<(u64, u64), (Role, &Layer)> = HashMap::new();
        for (role, layer) in self.layers() {
            if let Some((_, other)) = roots.insert((layer.stat.dev, layer.stat.ino), (role, layer))
            {
                return Err(layer.error(Problem::SameAs(other.option, other.path.clone())));
            }
        }
        // Layers lie side by side: what is above one of them was looked at for another. Lowers look for more.
        let mut passed = HashSet::new();
        let mut layers: Vec<_> = self.layers().collect();
        layers.sort_by_key(|(role, _)| *role != Role::Lower);
        for (role, layer) in layers {
            let above = first_ancestor(layer, &mut passed, |id| {
                let (other_role, other) = roots.get(&id)?;
                (role == Role::Lower || *other_role != Role::Lower).then_some(*other)
            });
            if let Some(other) = above.map_err(|errno| layer.error(Problem::Errno(errno)))? {
                return Err(layer.error(Problem::Inside(other.option, other.path.clone())));
            }
        }
        Ok(())
    }
}

/// Device, inode and mount of a directory.
type Place = (u64, u64, u64);

/// Walks up from a layer's root until `found` says something of a directory above it, or one was passed before.
fn first_ancestor<T>(
    layer: &Layer,
    passed: &mut HashSet<Place>,
    found: impl Fn((u64, u64)) -> Option<T>,
) -> Result<Option<T>> {
    let mut dir = layer.root.clone();
    let mut below = (layer.stat.dev, layer.stat.ino, layer.stat.mount_id);
    loop {
        let stat = dir.stat_parent()?;
        let place = (stat.dev, stat.ino, stat.mount_id);
        if place == below || passed.contains(&place) {
            return Ok(None);
        }
        if let Some(answer) = found((stat.dev, stat.ino)) {
            return Ok(Some(answer));
        }
        passed.insert(place);
        below = place;
        dir = Arc::new(dir.open_parent()?);
    }
}
