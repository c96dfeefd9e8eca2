//! What need not be asked: who is known, or whose neighbours are, has its marks from then.

use std::sync::Arc;

use super::lookup::upper_of;
use super::overrides::LayerAt;
use crate::layer::mark::{self, DirMarks, FileMarks};
use crate::overlay::Overlay;
use crate::overlay::node::names::Sought;
use crate::overlay::node::{Lowers, Node};
use crate::sys::at::At;
use crate::sys::errno::Result;
use crate::sys::name::Name;
use crate::sys::stat::Stat;

impl Overlay {
    /// The node of an upper object. It is no whiteout then.
    fn known(&self, stat: &Stat) -> Option<Arc<Node>> {
        let node = self.table.find(&self.real_key(stat))?;
        (node.kind == stat.kind && node.upper() == Some(upper_of(stat))).then_some(node)
    }

    /// The marks of a file of a layer, as far as they count. An upper one that is known to have its own data has none.
    pub(super) fn file_marks(&self, layer: LayerAt, at: At<'_>, stat: &Stat) -> Result<FileMarks> {
        match layer {
            LayerAt::Upper if self.known(stat).is_some_and(|n| n.has_upper_data()) => {
                Ok(FileMarks::default())
            }
            _ => self.rules.of_file(at, stat),
        }
    }

    /// The marks of a directory of a layer, as far as they count. They need not be read of an upper one to which it is
    /// known that no layer below contributes.
    pub(super) fn dir_marks(&self, layer: LayerAt, at: At<'_>, stat: &Stat) -> Result<DirMarks> {
        let pure = |node: &Arc<Node>| node.lower_dirs().is_empty() && node.redirect().is_none();
        let known = match layer {
            LayerAt::Upper => self.known(stat).filter(pure),
            LayerAt::Lower(_) => None,
        };
        match known {
            Some(node) => Ok(DirMarks {
                opaque: true,
                impure: node.is_impure(),
                ..DirMarks::default()
            }),
            None => self.rules.of_dir(at),
        }
    }

    /// May a directory have a `.wh.` file beside a name? `lacks`: it is known to lack a name of these pieces.
    pub(super) fn may_be_marked(&self, name: &Name, lacks: impl Fn(&[&[u8]]) -> bool) -> bool {
        self.rules.oci && !lacks(&[mark::OCI_PREFIX, name.as_bytes()])
    }

    /// Is it known that the layers below have nothing of the name, and the upper no `.wh.` file beside it?
    pub(in crate::overlay) fn is_only_upper(&self, parent: &Node, name: &Name) -> bool {
        let names = parent.upper_names();
        let may_have = |lowers: &Lowers| lowers.next_with(&Sought::new(name), 0).is_some();
        !self.may_be_marked(name, |marker| names.lack(marker))
            && !parent.lowers().is_some_and(may_have)
    }
}
