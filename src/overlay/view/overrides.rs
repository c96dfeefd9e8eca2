//! What an object of a layer stands for, where that is not what it is on disk: layers that keep owner, mode and type
//! in an attribute (overlay-semantics 21, `xattr_permissions`; on other mounts there is no [`Overrides`]), and layers
//! that share files with others, whose link counts mean nothing.

use std::sync::Arc;

use super::merge::Probe;
use crate::layer::shared;
use crate::layer::stat_override::Form;
use crate::overlay::Overlay;
use crate::overlay::node::{Lower, Node, Upper};
use crate::sys::at::At;
use crate::sys::errno::Result;
use crate::sys::stat::Stat;

/// The form of each layer; `None` for those that do not.
#[derive(Clone, Debug)]
pub(in crate::overlay) struct Overrides {
    /// Of the upper layer, if there is one: the one that is written.
    pub upper: Option<Form>,
    /// Of the lower layers.
    pub lowers: Box<[Option<Form>]>,
}

/// A layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::overlay) enum LayerAt {
    /// The upper one.
    Upper,
    /// A lower one, by its index.
    Lower(usize),
}

impl Overlay {
    /// The form of a layer.
    pub(in crate::overlay) fn form(&self, layer: LayerAt) -> Option<Form> {
        let overrides = self.overrides.as_ref()?;
        match layer {
            LayerAt::Upper => overrides.upper,
            LayerAt::Lower(at) => overrides.lowers.get(at).copied().flatten(),
        }
    }

    /// Is every object what it is on disk?
    pub(in crate::overlay) fn is_plain(&self) -> bool {
        self.overrides.is_none() && !self.shares_files
    }

    /// May files of the layer be links to those of other layers?
    pub(in crate::overlay) fn shares_files(&self, layer: usize) -> bool {
        let lower = self.stack.lowers.get(layer);
        lower.is_some_and(|lower| lower.shares_files)
    }

    /// What an object of a layer stands for.
    pub(in crate::overlay) fn meant(&self, layer: LayerAt, at: At<'_>, disk: Stat) -> Result<Stat> {
        let stat = match self.form(layer) {
            Some(form) => form.apply(at, disk)?,
            None => disk,
        };
        match layer {
            LayerAt::Lower(lower) if self.shares_files(lower) => shared::within_layer(at, stat),
            _ => Ok(stat),
        }
    }

    /// Makes what a layer says of an object that of what it stands for.
    pub(in crate::overlay) fn mean(
        &self,
        layer: LayerAt,
        at: At<'_>,
        probe: &mut Probe,
    ) -> Result<()> {
        match probe {
            Probe::NonDir { stat, .. } | Probe::Dir { stat, .. } if !self.is_plain() => {
                *stat = self.meant(layer, at, *stat)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// As [`Overlay::meant`], for the object of a node, upper or lower.
    pub(in crate::overlay) fn meant_by(
        &self,
        node: &Arc<Node>,
        at: At<'_>,
        disk: Stat,
    ) -> Result<Stat> {
        if self.is_plain() {
            return Ok(disk);
        }
        let is_upper = |upper: Upper| (upper.dev, upper.ino) == (disk.dev, disk.ino);
        let layer = match &node.lower {
            _ if node.upper().is_some_and(is_upper) => LayerAt::Upper,
            Lower::Data { data, .. } => data
                .known()
                .map_or(LayerAt::Upper, |object| LayerAt::Lower(object.dir.layer)),
            lower => lower.layer().map_or(LayerAt::Upper, LayerAt::Lower),
        };
        self.meant(layer, at, disk)
    }
}
