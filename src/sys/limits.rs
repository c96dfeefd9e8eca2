//! Limits of this process.

use rustix::process::{Resource, getrlimit};

/// How many fds the process may have open (the soft RLIMIT_NOFILE).
pub fn open_files() -> usize {
    match getrlimit(Resource::Nofile).current {
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        None => usize::MAX,
    }
}
