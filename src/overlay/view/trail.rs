//! Which layers are asked, and where: under the name itself, until a redirect says otherwise (overlay-semantics 5.3).

use std::sync::Arc;

use super::overrides::LayerAt;
use crate::layer::redirect::Redirect;
use crate::overlay::node::names::Sought;
use crate::overlay::node::{LowerDir, Lowers};
use crate::sys::name::Name;

/// Which layer a probe asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Upper,
    /// A lower with more below it.
    Lower(usize),
    /// The last one, or one asked for itself alone: what it hides does not matter.
    Bottom(usize),
}

impl From {
    /// Is there nothing below that counts?
    pub fn is_bottom(self) -> bool {
        matches!(self, From::Bottom(_))
    }

    /// The layer.
    pub fn layer(self) -> LayerAt {
        match self {
            From::Upper => LayerAt::Upper,
            From::Lower(at) | From::Bottom(at) => LayerAt::Lower(at),
        }
    }
}

/// The directories of a stack that were not asked yet.
pub(super) struct Below<'a> {
    lowers: Option<&'a Lowers>,
    next: usize,
}

impl<'a> Below<'a> {
    /// All from this position on.
    pub fn from(lowers: Option<&'a Lowers>, next: usize) -> Below<'a> {
        Below { lowers, next }
    }

    /// The next one; of a name, the next that may have it.
    pub fn next(&mut self, sought: Option<Sought>) -> Option<&'a Arc<LowerDir>> {
        let lowers = self.lowers?;
        let at = match sought {
            Some(sought) => lowers.next_with(&sought, self.next)?,
            None => self.next,
        };
        self.next = at + 1;
        lowers.get(at)
    }
}

/// The way to the name in the layers that are asked next.
pub(super) enum Trail {
    /// This name in the directories of the parent's stack.
    Beside(Name),
    /// This path from the roots.
    FromRoot(Vec<Name>),
}

impl Trail {
    /// The name, as long as it is one in all of them.
    pub fn name(&self) -> Option<&Name> {
        match self {
            Trail::Beside(name) => Some(name),
            Trail::FromRoot(_) => None,
        }
    }

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
