//! What is in use, as somebody may ask a mount that runs. Requests count nothing for it: most of it are sizes of
//! tables.

use std::sync::atomic::Ordering;

use super::Overlay;

/// What is in use now, and what was done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Nodes that the kernel knows, the root not counted.
    pub known: usize,
    /// Files that are open, as far as opening is told.
    pub open: usize,
    /// Files that were opened since the start.
    pub opened: u64,
    /// Lower objects that were copied up since the start.
    pub copied_up: u64,
    /// Fds that are kept, to be used again.
    pub kept_fds: usize,
}

impl Overlay {
    /// What is in use.
    pub fn stats(&self) -> Stats {
        Stats {
            known: self.table.known(),
            open: self.handles.open(),
            opened: self.handles.opened(),
            copied_up: self.copied_up.load(Ordering::Relaxed),
            kept_fds: self.table.fds.kept() + self.table.files.kept(),
        }
    }
}
