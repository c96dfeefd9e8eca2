//! Becoming a daemon.
//!
//! Invariant: a daemon is forked before any thread exists, and keeps none of the fds that its command inherited, so
//! nobody who waits for the end of a pipe waits for the daemon.
//!
//! There are two ways. [`fork_daemon`] comes first, and all that may fail is done by the daemon: the command returns
//! only when it hears over a pipe that the daemon serves, or why it does not. [`detach`] comes last, when nothing is
//! left to do but to serve: the command did the rest, knows what became of it, and waits for nobody.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, WaitOptions};

use super::clear_umask;
use crate::sys::errno::Result;
use crate::sys::ffi::{self, Fork};
use crate::sys::proc_fd;

/// Which side of [`detach`] this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The command. All that it has is the daemon's now, so it ends by [`end_now`].
    Command,
    /// The daemon, with all that the command had open.
    Daemon,
}

/// Which side of [`fork_daemon`] this is.
pub enum Daemon {
    /// The command, which waits for news.
    Parent(Waiter),
    /// The daemon to be.
    Child(Reporter),
}

/// The command's end: what became of the daemon?
pub struct Waiter {
    pid: Pid,
    pipe: OwnedFd,
}

/// What became of the daemon.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It serves.
    Ready,
    /// It gave up: its exit code and its words.
    Failed(u8, String),
    /// It ended without a word, by an exit code or a signal.
    Died(String),
}

/// The daemon's end. Dropped without a word (a panic), the command sees [`Outcome::Died`].
pub struct Reporter {
    pipe: OwnedFd,
}

const READY: u8 = b'+';
const FAILED: u8 = b'-';

/// Forks. The child is a session of its own at `/`, with umask 0, stdio on `/dev/null` and no inherited fd.
pub fn fork_daemon() -> Result<Daemon> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match ffi::fork()? {
        Fork::Parent(pid) => Ok(Daemon::Parent(Waiter { pid, pipe: ours })),
        Fork::Child => {
            drop(ours);
            let reporter = Reporter { pipe: theirs };
            match settle(&reporter.pipe) {
                Ok(()) => Ok(Daemon::Child(reporter)),
                Err(errno) => {
                    reporter.failed(1, &format!("cannot become a daemon: {errno}"));
                    Err(errno)
                }
            }
        }
    }
}

fn settle(keep: &OwnedFd) -> Result<()> {
    ffi::close_inherited(Some(keep))?;
    rustix::process::chdir(c"/")?;
    clear_umask();
    leave_terminal(&null_device()?)
}

/// Closes what this process inherited besides its stdio. To be called before it opens anything.
pub fn close_inherited() -> Result<()> {
    ffi::close_inherited(None)
}

/// Forks, after [`close_inherited`]. The child keeps all that is open, and is a session of its own at `/`, with umask 0
/// and stdio on `/dev/null`. All that is likely to fail does so before the fork, in the command.
pub fn detach() -> Result<Side> {
    let null = null_device()?;
    rustix::process::chdir(c"/")?;
    clear_umask();
    match ffi::fork()? {
        Fork::Parent(_) => Ok(Side::Command),
        Fork::Child => {
            leave_terminal(&null)?;
            // Makes room for the one fd that is opened next.
            drop(null);
            proc_fd::renew()?;
            Ok(Side::Daemon)
        }
    }
}

/// Ends this process without letting go of anything piece by piece.
pub fn end_now(code: u8) -> ! {
    ffi::exit_now(code.into())
}

fn null_device() -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(c"/dev/null", flags, Mode::empty())?)
}

fn leave_terminal(null: &OwnedFd) -> Result<()> {
    rustix::process::setsid()?;
    rustix::stdio::dup2_stdin(null)?;
    rustix::stdio::dup2_stdout(null)?;
    rustix::stdio::dup2_stderr(null)?;
    Ok(())
}

impl Reporter {
    /// Tells the command that all is well.
    pub fn ready(self) {
        self.say(&[READY]);
    }

    /// Tells the command why there will be no daemon, and the exit code it should pass on.
    pub fn failed(self, code: u8, text: &str) {
        let mut message = vec![FAILED, code];
        message.extend_from_slice(text.as_bytes());
        self.say(&message);
    }

    fn say(&self, mut message: &[u8]) {
        while !message.is_empty() {
            match retry_on_intr(|| rustix::io::write(&self.pipe, message)) {
                Ok(n) => message = &message[n.min(message.len())..],
                // The command is gone; there is nobody left to tell.
                Err(_) => return,
            }
        }
    }
}

impl Waiter {
    /// Waits until the daemon has spoken or died.
    pub fn wait(self) -> Outcome {
        let mut message = Vec::new();
        let mut buffer = [0u8; 4096];
        while let Ok(n @ 1..) = retry_on_intr(|| rustix::io::read(&self.pipe, &mut buffer)) {
            message.extend_from_slice(&buffer[..n]);
        }
        match message.split_first() {
            Some((&READY, _)) => Outcome::Ready,
            Some((_, [code, text @ ..])) => {
                // It has let go of everything only when it has ended.
                self.died();
                Outcome::Failed(*code, String::from_utf8_lossy(text).into_owned())
            }
            _ => self.died(),
        }
    }

    fn died(&self) -> Outcome {
        let waited =
            retry_on_intr(|| rustix::process::waitpid(Some(self.pid), WaitOptions::empty()));
        let how = match waited {
            Ok(Some((_, status))) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("with exit code {code}"),
                (_, Some(signal)) => format!("by signal {signal}"),
                _ => "without a status".to_string(),
            },
            _ => "without a trace".to_string(),
        };
        Outcome::Died(how)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Waiter, Reporter) {
        let (ours, theirs) = rustix::pipe::pipe().unwrap();
        let waiter = Waiter {
            pid: rustix::process::getpid(),
            pipe: ours,
        };
        (waiter, Reporter { pipe: theirs })
    }

    #[test]
    fn news_arrive() {
        let (waiter, reporter) = pair();
        reporter.ready();
        assert_eq!(waiter.wait(), Outcome::Ready);
        let (waiter, reporter) = pair();
        reporter.failed(2, "no such layer");
        let failed = Outcome::Failed(2, "no such layer".to_string());
        assert_eq!(waiter.wait(), failed);
    }

    #[test]
    fn silence_is_death() {
        let (waiter, reporter) = pair();
        drop(reporter);
        assert!(matches!(waiter.wait(), Outcome::Died(_)));
    }
}
