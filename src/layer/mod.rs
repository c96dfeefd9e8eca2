//! One tree on disk and the marks in it: reads and writes formats, never merges.
//!
//! What does not live here: anything that looks at two layers to say what a name means (that is
//! [`crate::overlay`]). Read [`layer`] and [`stack`] for the directories, [`mark`] for what is written
//! on them, [`keys`], [`origin`], [`redirect`] and [`acl`] for the bytes, [`index`] and [`nlink`] for
//! files with several names, [`shared`] for files that several layers have, [`idmap`] and
//! [`stat_override`] for whose they are, [`filesystem`] and [`private`] for what lies below a layer.

pub mod acl;
pub mod filesystem;
pub mod idmap;
pub mod index;
pub mod keys;
#[allow(clippy::module_inception)]
pub mod layer;
pub mod mark;
pub mod nlink;
pub mod origin;
pub mod private;
pub mod protattr;
pub mod redirect;
pub mod shared;
pub mod stack;
pub mod stat_override;
