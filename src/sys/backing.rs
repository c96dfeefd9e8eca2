//! FUSE passthrough: files that the kernel reads and writes by itself.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::errno::Result;
use super::ffi::fuse_ring as ffi;

/// A file that the kernel knows by a number, until this is dropped.
#[derive(Debug)]
pub struct Backing {
    device: Arc<OwnedFd>,
    id: u32,
}

impl Backing {
    /// Tells the kernel of a file. It acts on it with the credentials of this moment.
    ///
    /// # Errors
    /// EPERM: not the superuser of the first user namespace; ELOOP: stacked too deep.
    pub fn new(device: Arc<OwnedFd>, file: impl AsFd) -> Result<Backing> {
        let id = ffi::backing_open(&device, file)?;
        Ok(Backing { device, id })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        if let Err(errno) = ffi::backing_close(&self.device, self.id) {
            log::debug!("backing file {}: {errno}", self.id);
        }
    }
}
