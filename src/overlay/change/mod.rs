//! Every change of the upper layer. Each is prepared in the work directory and becomes visible by one
//! rename or link, under the lock of the directory that gets or loses the name.
//!
//! What does not live here: what the tree looks like (`view`). Read [`workdir`] and [`temp`] (unpublished objects),
//! [`slot`] (the lock that publishing needs) and [`copyup`], then the verb you came for.

pub mod copyup;
pub mod create;
pub mod data;
pub mod flags;
mod flatten;
mod index;
pub mod link;
pub mod long;
mod maker;
mod metacopy;
pub(in crate::overlay) mod mode;
mod protect;
mod redirect;
pub mod remove;
pub mod rename;
pub mod setattr;
pub mod slot;
mod step;
pub mod temp;
pub mod tmpfile;
mod whiteout;
pub mod workdir;
pub mod xattr;
