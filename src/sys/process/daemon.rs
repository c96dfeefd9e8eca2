//! Becoming a daemon.
//!
//! Invariant: a daemon is forked before any thread exists, and the command that started it returns only when the
//! daemon says over a pipe that it serves, or why it does not. The daemon keeps none of the fds it inherited, so
//! nobody who waits for the end of a pipe waits for the daemon.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, WaitOptions};

use super::clear_umask;
use crate::sys::errno::Result;
use crate::sys::ffi::{self, Fork};

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
    ffi::close_inherited(keep)?;
    rustix::process::setsid()?;
    rustix::process::chdir(c"/")?;
    clear_umask();
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
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
