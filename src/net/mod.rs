//! A container's network: bridges, addresses, names, published ports. No daemon; imports `sys` only.
//!
//! | file | what |
//! |---|---|
//! | [`host`] | the front door: every verb is a method of [`host::Host`] |
//! | [`network`], [`intent`], [`port`], [`name`], [`error`] | the words: what is asked, decided, and told |
//! | [`layout`], [`book`] | at rest: where each file is; reading and writing them |
//!
//! Invariants: an intent is on disk before the kernel is touched, every step can be repeated, and the names of all
//! objects derive from the intent, so whatever a crash leaves can be finished or taken back. Rules of the firewall are
//! constant; a container is an element of a set or map, never a rule. No process is started by attach or detach, except
//! the DNS responder where none runs. Front ends (the command line, CNI, netavark) build an [`intent::Intent`] and show
//! an [`intent::Report`]; they decide nothing.

pub mod book;
pub mod dns;
pub mod error;
pub mod host;
pub mod intent;
pub mod layout;
pub mod name;
pub mod network;
pub mod port;
