//! A container's network: bridges, addresses, names, published ports. No daemon; imports `sys` only.
//!
//! | file | what |
//! |---|---|
//! | [`host`] | the front door: every verb is a method of [`host::Host`] |
//! | [`network`], [`intent`], [`port`], [`name`], [`error`] | the words: what is asked, decided, and told |
//! | [`layout`], [`book`], [`claims`] | at rest: where each file is; reading and writing them; who owns what |
//! | [`subnet`], [`derived`] | addresses and names that are chosen, without I/O |
//! | [`holder`] | which process has a port, for those who are refused it |
//! | [`bridge`], [`endpoint`], [`firewall`], [`iptables`] | in the kernel: a network, an attachment, rules and elements |
//! | [`dns`] | names: who answers them, and what |
//! | `networks.rs`, `decide.rs`, `attach.rs`, `link.rs`, [`reconcile`] | the verbs |
//!
//! Invariants: an intent is on disk before the kernel is touched, every step can be repeated, and the names of all
//! objects derive from the intent, so whatever a crash leaves can be finished or taken back. Rules of the firewall are
//! constant; a container is an element of a set or map, never a rule. No process is started by attach or detach, except
//! the DNS responder where none runs. Front ends (the command line, CNI, netavark) build an [`intent::Intent`] and show
//! an [`intent::Report`]; they decide nothing.

mod attach;
pub mod book;
pub mod bridge;
pub mod claims;
pub mod decide;
pub mod derived;
pub mod dns;
pub mod endpoint;
pub mod error;
pub mod firewall;
mod flows;
pub mod frontend;
pub mod holder;
pub mod host;
pub mod intent;
pub mod iptables;
pub mod layout;
mod link;
pub mod name;
mod names;
pub mod network;
mod networks;
pub mod port;
pub mod reconcile;
pub mod subnet;
