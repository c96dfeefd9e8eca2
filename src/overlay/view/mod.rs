//! What the merged tree looks like: reads layers, changes nothing.
//!
//! What does not live here: copy-up and every other change (`change`), which may import this room and
//! not the other way round. Read [`merge`] first: it is the meaning of an overlay in one page. Then
//! `ask`, [`lookup`] and [`list`].

pub(in crate::overlay) mod ask;
pub mod attr;
pub mod changes;
mod index;
pub mod io;
mod known;
pub mod list;
pub mod lookup;
pub mod merge;
pub(in crate::overlay) mod overrides;
mod owners;
pub(in crate::overlay) mod seen;
mod trail;
pub mod xattr;
