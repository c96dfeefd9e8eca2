//! Acting as somebody else for the length of one system call: a new object then belongs to the
//! caller from its first moment, and the daemon keeps its own capabilities for the permission
//! checks (overlay-semantics 11.5, 22.12).

use rustix::thread::{CapabilitySet, CapabilitySets};

use super::errno::{Errno, Result};
use super::ffi;

/// Whose file a new object shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The daemon's own identity and capabilities, read once.
#[derive(Clone, Copy, Debug)]
pub struct Creds {
    uid: u32,
    gid: u32,
    caps: Option<CapabilitySets>,
}

impl Creds {
    /// Of the calling thread.
    pub fn current() -> Creds {
        Creds {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            caps: rustix::thread::capabilities(None).ok(),
        }
    }

    /// May this process read `trusted.*` attributes and the like (CAP_SYS_ADMIN, which must be that
    /// of the first user namespace to count for attributes)?
    pub fn is_admin(&self) -> bool {
        self.caps
            .as_ref()
            .is_some_and(|caps| caps.effective.contains(CapabilitySet::SYS_ADMIN))
    }

    /// Runs `create` so that what it makes belongs to `owner`.
    ///
    /// # Errors
    /// EPERM when this process may not create for `owner`, else what `create` returns.
    pub fn acting_as<T>(&self, owner: Owner, create: impl FnOnce() -> Result<T>) -> Result<T> {
        if owner.uid == self.uid && owner.gid == self.gid {
            return create();
        }
        let _guard = Acting::start(self, owner)?;
        create()
    }

    /// Runs `call` without CAP_FSETID: what keeps these credentials writes like any user, so that set-id bits go.
    ///
    /// # Errors
    /// Those of capset(2), else what `call` returns.
    pub fn without_fsetid<T>(&self, call: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(caps) = self.caps else {
            return call();
        };
        let mut fewer = caps;
        fewer.effective.remove(CapabilitySet::FSETID);
        rustix::thread::set_capabilities(None, fewer)?;
        let result = call();
        rustix::thread::set_capabilities(None, caps)?;
        result
    }
}

/// The changed identity; dropping it changes back.
struct Acting<'a>(&'a Creds);

impl<'a> Acting<'a> {
    fn start(creds: &'a Creds, owner: Owner) -> Result<Acting<'a>> {
        let acting = Acting(creds);
        // The calls report no errors; asking once more (an id of -1 never fits) tells.
        ffi::set_fsgid(owner.gid);
        ffi::set_fsuid(owner.uid);
        if ffi::set_fsuid(u32::MAX) != owner.uid || ffi::set_fsgid(u32::MAX) != owner.gid {
            return Err(Errno::EPERM);
        }
        // Leaving uid 0 took the capabilities for files away: raise them again, as the kernel's
        // overlayfs does for the mounter.
        if let (Some(caps), 0) = (creds.caps, creds.uid) {
            rustix::thread::set_capabilities(None, caps)?;
        }
        Ok(acting)
    }
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        ffi::set_fsuid(self.0.uid);
        ffi::set_fsgid(self.0.gid);
    }
}
