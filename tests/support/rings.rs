//! A kernel that offers FUSE over io_uring, which an administrator has to allow.

use std::fs;
use std::sync::{Mutex, PoisonError};

pub use plyfs::sys::fuse_ring::PARAMETER;

/// How many want it, and what the parameter was before.
static WANTED: Mutex<(usize, String)> = Mutex::new((0, String::new()));

/// The kernel offers rings while this lives.
pub struct Offered(());

impl Offered {
    /// The error is why there can be none.
    pub fn new() -> Result<Offered, String> {
        let mut wanted = WANTED.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.0 == 0 {
            let before = fs::read_to_string(PARAMETER)
                .map_err(|_| "this kernel has no FUSE over io_uring (Linux 6.14)".to_string())?;
            if before.trim() != "Y" && fs::write(PARAMETER, "Y").is_err() {
                return Err(format!("{PARAMETER} is not Y and cannot be set"));
            }
            wanted.1 = before;
        }
        wanted.0 += 1;
        Ok(Offered(()))
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        let mut wanted = WANTED.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.0 -= 1;
        if wanted.0 == 0 && wanted.1.trim() != "Y" {
            fs::write(PARAMETER, wanted.1.trim()).expect("restore the parameter");
        }
    }
}
