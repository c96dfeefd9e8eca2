//! Redirects: how an upper directory or metacopy that moves takes its lower part along (overlay-semantics
//! 5.4). The mark is on disk before the new name is, so a crash in between leaves one that changes nothing.

use std::sync::Arc;

use super::slot::Slot;
use crate::layer::keys::Key as Mark;
use crate::layer::redirect::{REDIRECT_MAX_BYTES, Redirect};
use crate::overlay::Overlay;
use crate::overlay::node::Node;
use crate::sys::at::At;
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;
use crate::sys::xattr::XattrMode;

impl Overlay {
    /// Notes on a directory or metacopy that moves away from its lower part where that part stays (5.4): its
    /// name, if it stays in its parent, else the path from the root. Other names of the lower file may be
    /// elsewhere, so that needs the path as well. An older mark that still says so is kept.
    pub(super) fn set_redirect(
        &self,
        slot: &Slot<'_>,
        node: &Arc<Node>,
        new_parent: &Arc<Node>,
    ) -> Result<()> {
        let beside = Arc::ptr_eq(slot.parent, new_parent) && !node.is_shared();
        let redirect = match node.redirect() {
            Some(Redirect::FromRoot(_)) => return Ok(()),
            Some(Redirect::Beside(_)) if beside => return Ok(()),
            None if beside => Redirect::Beside(slot.name.clone()),
            _ => self.path_redirect(node)?,
        };
        self.write_redirect(At::child(slot.dir, slot.name), node, redirect)
    }

    /// The redirect to where the lower layers have a node, from the root.
    ///
    /// # Errors
    /// EXDEV for a path that is too long.
    pub(super) fn path_redirect(&self, node: &Arc<Node>) -> Result<Redirect> {
        let redirect = Redirect::FromRoot(lower_path(node));
        if redirect.to_value().len() > REDIRECT_MAX_BYTES {
            return Err(Errno::EXDEV);
        }
        Ok(redirect)
    }

    /// Writes a redirect on an upper object. To be called with the topology held still.
    ///
    /// # Errors
    /// EXDEV where it cannot be written.
    pub(super) fn write_redirect(
        &self,
        at: At<'_>,
        node: &Arc<Node>,
        redirect: Redirect,
    ) -> Result<()> {
        let marks = self.marks.ok_or(Errno::EXDEV)?;
        at.set_xattr(
            marks.name(Mark::Redirect),
            &redirect.to_value(),
            XattrMode::Any,
        )
        .map_err(|_| Errno::EXDEV)?;
        node.set_redirect(redirect);
        Ok(())
    }

    /// A metacopy that gets a second name is found by the path of its first one from both (5.4). To be called
    /// with empty hands.
    ///
    /// # Errors
    /// EXDEV for a path that is too long, or an upper without attributes.
    pub(super) fn redirect_link(&self, node: &Arc<Node>) -> Result<()> {
        if !node.is_upper_metacopy() {
            return Ok(());
        }
        // No rename writes another redirect meanwhile, or moves what the path is made of.
        let _topology = self.topology.write();
        if matches!(node.redirect(), Some(Redirect::FromRoot(_))) || node.is_orphan() {
            return Ok(());
        }
        let redirect = self.path_redirect(node)?;
        self.on_upper(node, |at, _| {
            self.write_redirect(at, node, redirect.clone())
        })
    }
}

/// Under which path the lower layers know a directory or metacopy: its names from the root down, each by its
/// redirect if it has one.
fn lower_path(node: &Arc<Node>) -> Vec<Name> {
    let mut path = Vec::new();
    let mut at = node.clone();
    while let Some((parent, name)) = at.name() {
        match at.redirect() {
            Some(Redirect::FromRoot(above)) => {
                path.extend(above.into_iter().rev());
                break;
            }
            Some(Redirect::Beside(name)) => path.push(name),
            None => path.push(name),
        }
        at = parent;
    }
    path.reverse();
    path
}
