//! The kernel, made safe: syscalls as verbs on owned file descriptors. No policy, no overlay nouns.

pub mod errno;
