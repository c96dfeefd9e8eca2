//! The kernel, made safe: syscalls as verbs on owned file descriptors. No policy, no overlay nouns.
//!
//! What does not live here: anything that knows what a layer is. Read [`name`] and [`at`] first, then
//! [`dir`] and [`mod@file`]; the rest is one family of system calls per file. `unsafe` is in `ffi.rs` only.

pub mod at;
pub mod backing;
pub mod btrfs;
pub mod conntrack;
mod copy;
pub mod cpus;
pub mod creds;
pub mod datagrams;
mod dedupe;
pub mod dir;
pub mod epoll;
pub mod errno;
mod ffi;
pub mod file;
pub mod flock;
pub mod fuse_ring;
pub mod fusermount;
pub mod getdents;
pub mod inotify;
pub mod limits;
pub mod mount;
pub mod mountinfo;
pub mod name;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod overlayfs;
pub mod ping;
pub mod proc_fd;
pub mod process;
pub mod quota;
pub mod remove;
pub mod resolve;
pub mod rtnl;
pub mod sched;
pub mod serving;
pub mod sockets;
pub mod stat;
pub mod sysctl;
pub mod tree;
pub mod xattr;
