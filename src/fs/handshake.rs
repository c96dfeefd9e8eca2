//! FUSE_INIT: what this kernel offers, and what of it is taken.

use fuser::{InitFlags, KernelConfig};

use super::settings::Settings;
use crate::overlay::options::Rings;
use crate::sys::fuse_ring;

/// Largest write and read the kernel sends in one request (its own limit on a stock system).
pub const MAX_WRITE_BYTES: u32 = 1 << 20;
/// Requests the kernel may keep in flight in the background: readahead, releases, forgets.
const MAX_BACKGROUND: u16 = 64;

/// What was agreed on beside what every mount has.
#[derive(Clone, Copy, Debug)]
pub struct Agreed {
    /// The kernel may serve files by itself.
    pub passthrough: bool,
    /// Requests come by rings, except for those that nobody waits for.
    pub rings: bool,
}

/// Agrees with the kernel.
pub fn agree(wishes: &Settings, config: &mut KernelConfig) -> Agreed {
    let mut wanted = InitFlags::FUSE_ASYNC_READ
        | InitFlags::FUSE_BIG_WRITES
        | InitFlags::FUSE_DONT_MASK
        | InitFlags::FUSE_HAS_IOCTL_DIR
        | InitFlags::FUSE_DO_READDIRPLUS
        | InitFlags::FUSE_READDIRPLUS_AUTO
        | InitFlags::FUSE_ASYNC_DIO
        | InitFlags::FUSE_PARALLEL_DIROPS
        | InitFlags::FUSE_HANDLE_KILLPRIV_V2
        | InitFlags::FUSE_CACHE_SYMLINKS
        | InitFlags::FUSE_NO_EXPORT_SUPPORT;
    wanted.set(InitFlags::FUSE_POSIX_ACL, wishes.acl);
    // An open that is not told cannot cut: the kernel sends SETATTR then.
    wanted.set(InitFlags::FUSE_ATOMIC_O_TRUNC, !wishes.noopen);
    // What an older kernel lacks costs speed or exactness, not the mount.
    if let Err(missing) = config.add_capabilities(wanted & config.capabilities()) {
        log::warn!("the kernel refuses {missing:?}");
    }
    if let Err(nearest) = config.set_max_write(MAX_WRITE_BYTES) {
        log::debug!("largest write is {nearest} bytes");
    }
    if let Err(nearest) = config.set_max_background(MAX_BACKGROUND) {
        log::debug!("background requests limited to {nearest}");
    }
    Agreed {
        passthrough: wishes.passthrough && !wishes.noopen && agree_on_passthrough(config),
        rings: agree_on_rings(wishes.rings, config),
    }
}

fn agree_on_passthrough(config: &mut KernelConfig) -> bool {
    let passthrough = InitFlags::FUSE_PASSTHROUGH;
    // One level: another overlay may still be stacked on this mount.
    config.capabilities().contains(passthrough)
        && config.add_capabilities(passthrough).is_ok()
        && config.set_max_stack_depth(1).is_ok()
}

/// Once agreed on, the kernel sends nothing until there are rings. So one is tried before; whoever insists on rings was
/// refused before the mount where there are none.
fn agree_on_rings(wish: Rings, config: &mut KernelConfig) -> bool {
    let rings = InitFlags::FUSE_OVER_IO_URING;
    wish != Rings::Off
        && config.capabilities().contains(rings)
        && (wish == Rings::On || fuse_ring::is_offered())
        && config.add_capabilities(rings).is_ok()
}
