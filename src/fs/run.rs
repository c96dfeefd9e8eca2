//! Running a verb.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sys::errno::{Errno, Result};

/// Runs a verb. A panic in it is a bug of ours and an I/O error for the caller. ENOSYS would make the kernel give the
/// operation up for good, which no verb ever means.
pub fn run<T>(verb: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(verb)) {
        Ok(Err(Errno::ENOSYS)) => Err(Errno::EOPNOTSUPP),
        Ok(result) => result,
        Err(_) => {
            log::error!("a request failed by a bug in plyfs; see the panic message above");
            Err(Errno::EIO)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_reaches_the_kernel() {
        assert_eq!(run(|| Ok(1)), Ok(1));
        assert_eq!(run::<()>(|| Err(Errno::EXDEV)), Err(Errno::EXDEV));
        assert_eq!(run::<()>(|| Err(Errno::ENOSYS)), Err(Errno::EOPNOTSUPP));
        assert_eq!(run::<()>(|| panic!("a bug")), Err(Errno::EIO));
    }
}
