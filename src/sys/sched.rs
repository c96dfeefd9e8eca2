//! How the scheduler treats threads of this process.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::thread::Pid;

use super::cpus;
use super::errno::{Errno, Result};
use super::ffi::sched as ffi;

/// A thread was given idle priority once.
static ANY_IDLE: AtomicBool = AtomicBool::new(false);

/// A thread of this process, as others look at it.
#[derive(Debug)]
pub struct Thread {
    id: Pid,
    /// schedstat: how long it has run, among others.
    times: File,
    stat: File,
}

impl Thread {
    /// The calling one.
    ///
    /// # Errors
    /// Where there is no /proc, or a kernel that keeps no times (CONFIG_SCHED_INFO).
    pub fn current() -> Result<Thread> {
        let id = rustix::thread::gettid();
        let file = |name| File::open(format!("/proc/thread-self/{name}"));
        let thread = Thread {
            id,
            times: file("schedstat")?,
            stat: file("stat")?,
        };
        thread.has_run()?;
        Ok(thread)
    }

    /// For how many nanoseconds it has run.
    ///
    /// # Errors
    /// ESRCH: it has ended.
    pub fn has_run(&self) -> Result<u64> {
        let mut text = [0; 64];
        let len = self.times.read_at(&mut text, 0)?;
        let first = text[..len].split(|byte| *byte == b' ').next();
        let number = first.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        number.ok_or(Errno::EIO)
    }

    /// Would it run now, if it were let?
    ///
    /// # Errors
    /// ESRCH: it has ended.
    pub fn wants_to_run(&self) -> Result<bool> {
        let mut text = [0; 64];
        let len = self.stat.read_at(&mut text, 0)?;
        // `12 (name) R ...`, and a name may have anything in it.
        let end = text[..len].iter().rposition(|byte| *byte == b')');
        let state = end.and_then(|end| text.get(end + 2));
        Ok(state.ok_or(Errno::EIO)? == &b'R')
    }

    /// Lets it run when nothing else wants to (SCHED_IDLE), or as all others.
    ///
    /// # Errors
    /// EPERM: the way back is not for everybody.
    pub fn set_idle(&self, idle: bool) -> Result<()> {
        ANY_IDLE.fetch_or(idle, Ordering::SeqCst);
        ffi::set_idle(self.id, idle)
    }
}

/// Makes the calling thread one as the process began with: on all processors, at the usual priority. Whoever starts a
/// thread hands down both.
///
/// # Errors
/// As sched_setaffinity(2) and sched_setscheduler(2) say.
pub fn be_usual() -> Result<()> {
    cpus::roam()?;
    match ANY_IDLE.load(Ordering::SeqCst) {
        true => ffi::set_idle(rustix::thread::gettid(), false),
        // Whatever the process was started with.
        false => Ok(()),
    }
}

/// Do threads of this process get their priority back once they were idle? It takes CAP_SYS_NICE, or 20 as RLIMIT_NICE.
/// A thread that has no other purpose tries.
pub fn may_return() -> bool {
    let there_and_back = || {
        let me = Thread::current()?;
        me.set_idle(true)?;
        me.set_idle(false)
    };
    // A process with a policy of its own was given that by somebody who knows why.
    ffi::is_usual() && matches!(std::thread::spawn(there_and_back).join(), Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// Of the calling thread: the 41st of proc_pid_stat(5).
    fn policy() -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit(") ").next().unwrap();
        after_name.split(' ').nth(38).unwrap().into()
    }

    #[test]
    fn who_is_started_by_an_idle_thread() {
        let starts = || {
            Thread::current().unwrap().set_idle(true).unwrap();
            std::thread::spawn(|| {
                let inherited = policy();
                be_usual().unwrap();
                (inherited, policy())
            })
        };
        // It ends at idle priority.
        let started = std::thread::spawn(starts).join().unwrap();
        // SCHED_IDLE may be left by who may take a better priority only.
        if may_return() {
            assert_eq!(started.join().unwrap(), ("5".into(), "0".into()));
        } else {
            assert!(started.join().is_err());
        }
        assert_eq!(policy(), "0");
    }

    #[test]
    fn a_thread_that_runs_and_one_that_waits() {
        let (tell, told) = channel();
        let (go, wait) = channel::<()>();
        let waits = std::thread::spawn(move || {
            tell.send(Thread::current().unwrap()).unwrap();
            wait.recv().unwrap();
        });
        let other = told.recv().unwrap();
        while other.wants_to_run().unwrap() {
            std::thread::yield_now();
        }
        let before = other.has_run().unwrap();
        assert!(before > 0);
        let me = Thread::current().unwrap();
        assert!(me.wants_to_run().unwrap());
        let start = me.has_run().unwrap();
        while me.has_run().unwrap() == start {
            std::thread::yield_now();
        }
        assert_eq!(other.has_run(), Ok(before));
        go.send(()).unwrap();
        waits.join().unwrap();
        assert_eq!(other.has_run(), Err(Errno::ESRCH));
    }
}
