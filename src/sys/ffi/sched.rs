//! Scheduling policies (sched(7)).

use rustix::thread::Pid;

use crate::sys::errno::{Errno, Result};

/// Makes a thread of this process one that runs when nothing else wants to, or one as all others.
///
/// # Errors
/// EPERM: the way back is not for everybody; ESRCH: it has ended.
pub fn set_idle(thread: Pid, idle: bool) -> Result<()> {
    let policy = match idle {
        true => libc::SCHED_IDLE,
        false => libc::SCHED_OTHER,
    };
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: `param` is a valid sched_param that outlives the call.
    match unsafe { libc::sched_setscheduler(thread.as_raw_nonzero().get(), policy, &param) } {
        0 => Ok(()),
        _ => Err(Errno::last()),
    }
}

/// Is the calling thread one as all others (SCHED_OTHER)?
pub fn is_usual() -> bool {
    // SAFETY: takes no pointer; 0 is the calling thread.
    unsafe { libc::sched_getscheduler(0) == libc::SCHED_OTHER }
}
