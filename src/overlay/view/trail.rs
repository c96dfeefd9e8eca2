//! Where the layers below are asked: under the name itself, until a redirect says otherwise (overlay-semantics 5.3).

use crate::layer::redirect::Redirect;
use crate::sys::name::Name;

/// The way to the name in the layers that are asked next.
pub(super) enum Trail {
    /// This name in the directories of the parent's stack.
    Beside(Name),
    /// This path from the roots.
    FromRoot(Vec<Name>),
}

impl Trail {
    /// The next layers are asked where a redirect says.
    pub fn follow(&mut self, redirect: Redirect) {
        match (redirect, &mut *self) {
            (Redirect::FromRoot(path), _) => *self = Trail::FromRoot(path),
            (Redirect::Beside(name), Trail::Beside(now)) => *now = name,
            (Redirect::Beside(name), Trail::FromRoot(path)) => {
                path.pop();
                path.push(name);
            }
        }
    }
}
