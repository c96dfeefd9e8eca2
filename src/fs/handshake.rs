//! FUSE_INIT: what this kernel offers, and what of it is taken.

use fuser::{InitFlags, KernelConfig};

use super::settings::Settings;

/// Largest write and read the kernel sends in one request (its own limit on a stock system).
const MAX_WRITE_BYTES: u32 = 1 << 20;
/// Requests the kernel may keep in flight in the background: readahead, releases, forgets.
const MAX_BACKGROUND: u16 = 64;

/// Agrees with the kernel. True if it may serve files by itself.
pub fn agree(wishes: &Settings, config: &mut KernelConfig) -> bool {
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
    // One level: another overlay may still be stacked on this mount.
    let passthrough = InitFlags::FUSE_PASSTHROUGH;
    wishes.passthrough
        && !wishes.noopen
        && config.capabilities().contains(passthrough)
        && config.add_capabilities(passthrough).is_ok()
        && config.set_max_stack_depth(1).is_ok()
}
