//! What a mount wants of FUSE.

use std::time::Duration;

use crate::overlay::options::Rings;

/// What the FUSE side of a mount may do.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long the kernel may keep names and attributes; `None` is for ever.
    pub timeout: Option<Duration>,
    /// POSIX ACLs are kept and enforced.
    pub acl: bool,
    /// Let the kernel read and write layer files by itself where it may and where it pays.
    pub passthrough: bool,
    /// Lower files as well, where they may be copied up while they are open.
    pub lower_passthrough: bool,
    /// The kernel opens and closes files without telling.
    pub noopen: bool,
    /// Requests come by rings (FUSE over io_uring).
    pub rings: Rings,
}
