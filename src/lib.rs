//! plyfs: the semantics of Linux overlayfs in userspace.
//!
//! The rooms, and who may import whom (guarded by `tests/tidy.rs`):
//!
//! | room | what lives there | imports |
//! |---|---|---|
//! | [`sys`] | the kernel, made safe: syscalls as verbs on owned fds | nothing |
//! | [`layer`] | one tree on disk and the marks in it | `sys` |
//! | [`overlay`] | the merged filesystem, a library that knows nothing of FUSE | `layer`, `sys` |
//! | [`fs`] | FUSE: decode, call one verb of the overlay, reply | `overlay`, `layer`, `sys` |
//! | [`store`] | layers, containers and images at rest | `layer`, `sys` |
//! | [`net`] | a container's network: bridges, addresses, names, ports | `sys` |
//! | [`cli`] | words on a terminal | all |
//!
//! Start reading at [`overlay`]; its module documentation has the lock order and the list of verbs.
//! Rules of the form "§12.4" refer to the specification of overlay semantics, see `docs/semantics.md`.

pub mod cli;
pub mod fs;
pub mod layer;
pub mod net;
pub mod overlay;
pub mod store;
pub mod sync;
pub mod sys;
