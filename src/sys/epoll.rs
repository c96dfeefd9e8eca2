//! epoll(7): one thread waits for many fds. Level triggered, so what was not dealt with is reported again.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// How many events one wait reports at most; the others come with the next.
const EVENTS_AT_ONCE: usize = 64;

/// The set of fds that are waited for. An fd leaves it when it is closed.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

/// What is waited for on an fd, besides its failure and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read.
    Read,
    /// Room to write.
    Write,
    /// Nothing else.
    Nothing,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Interest::Read => EventFlags::IN,
            Interest::Write => EventFlags::OUT,
            Interest::Nothing => EventFlags::empty(),
        }
    }
}

impl Epoll {
    /// An empty set.
    ///
    /// # Errors
    /// As epoll_create1(2) says.
    pub fn new() -> io::Result<Epoll> {
        Ok(Epoll(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Adds an fd; `token` names it in what [`Epoll::wait`] reports.
    ///
    /// # Errors
    /// As epoll_ctl(2) says.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(
            &self.0,
            fd,
            EventData::new_u64(token),
            interest.flags(),
        )?)
    }

    /// Waits for something else on an fd from now on.
    ///
    /// # Errors
    /// As epoll_ctl(2) says.
    pub fn change(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(
            &self.0,
            fd,
            EventData::new_u64(token),
            interest.flags(),
        )?)
    }

    /// Waits, for ever without a `timeout`, and puts the tokens of the fds that have something into `tokens`.
    ///
    /// # Errors
    /// As epoll_wait(2) says; an interruption by a signal is an empty report.
    pub fn wait(&self, tokens: &mut Vec<u64>, timeout: Option<Duration>) -> io::Result<()> {
        tokens.clear();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut events = [MaybeUninit::<Event>::uninit(); EVENTS_AT_ONCE];
        match epoll::wait(&self.0, &mut events, timeout.as_ref()) {
            Ok((events, _)) => tokens.extend(events.iter().map(|event| event.data.u64())),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn readiness_is_reported_by_token_until_dealt_with() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let set = Epoll::new().unwrap();
        set.add(&here, 7, Interest::Read).unwrap();
        let mut tokens = vec![1];
        set.wait(&mut tokens, Some(Duration::ZERO)).unwrap();
        assert!(tokens.is_empty());
        there.write_all(b"x").unwrap();
        for _ in 0..2 {
            set.wait(&mut tokens, None).unwrap();
            assert_eq!(tokens, [7]);
        }
        set.change(&here, 8, Interest::Nothing).unwrap();
        set.wait(&mut tokens, Some(Duration::ZERO)).unwrap();
        assert!(tokens.is_empty());
    }
}
