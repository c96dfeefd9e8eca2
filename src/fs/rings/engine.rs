//! Threads that wait for requests, one on each processor, and the way of a request through them.
//!
//! A [`Job`] is a request and the duty to answer it, anywhere and at any time. Invariants: each job is answered once
//! (one that is dropped, EIO); a thread ends when the kernel has taken all of its entries back, so not before all of
//! its jobs are answered.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::calm::Calm;
use super::wire::Header;
use crate::sys::cpus;
use crate::sys::errno::{Errno, Result};
use crate::sys::fuse_ring::{ARGUMENT_BYTES, Entry, Event, FuseRing, Remote};

/// Memory that large requests took is kept for this long after the last request.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of struct fuse_out_header.
const OUT_HEADER_BYTES: usize = 16;

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one, or gives it to another thread, which does. Called on the thread of the caller's processor, where
    /// all other requests of that processor wait meanwhile.
    fn handle(&self, job: Job);
}

/// Answers that were given on the thread of the ring, and whose it is.
struct Answered {
    home: *const Remote,
    entries: Vec<Entry>,
}

thread_local! {
    static ANSWERED: RefCell<Answered> = const {
        RefCell::new(Answered { home: std::ptr::null(), entries: Vec::new() })
    };
}

/// A request, to be answered once.
pub struct Job {
    /// `None` once it is answered.
    entry: Option<Entry>,
    /// The way back to the thread of the ring.
    home: Arc<Remote>,
}

impl Job {
    /// What is asked, about which node, and by whom.
    pub fn header(&self) -> Header {
        self.entry
            .as_ref()
            .map_or_else(Header::default, |entry| Header::decode(entry.header()))
    }

    /// The first argument, where the operation has one of a fixed size.
    pub fn argument(&self) -> &[u8; ARGUMENT_BYTES] {
        let entry = self.entry.as_ref();
        entry.map_or(&[0; ARGUMENT_BYTES], Entry::argument)
    }

    /// The other arguments: names, data.
    pub fn payload(&self) -> &[u8] {
        self.entry.as_ref().map_or(&[], Entry::payload)
    }

    /// The room for the answer, as large as the largest; the payload is overwritten with it.
    pub fn room(&mut self) -> &mut [u8] {
        self.entry.as_mut().map_or(&mut [], Entry::room)
    }

    /// Answers with so many bytes of the room, or with an error.
    pub fn done(mut self, result: Result<usize>) {
        self.answer(result);
    }

    /// Answers with these bytes.
    pub fn done_with(mut self, bytes: &[u8]) {
        let place = self.room().get_mut(..bytes.len());
        let result = place.map(|place| place.copy_from_slice(bytes));
        self.answer(result.map(|()| bytes.len()).ok_or(Errno::EIO));
    }

    fn answer(&mut self, result: Result<usize>) {
        let Some(mut entry) = self.entry.take() else {
            return;
        };
        let unique = Header::decode(entry.header()).unique;
        let (len, error) = match result {
            Ok(len) => (len, 0),
            Err(errno) => (0, -errno.raw()),
        };
        let mut header = [0; OUT_HEADER_BYTES];
        header[..4].copy_from_slice(&((OUT_HEADER_BYTES + len) as u32).to_ne_bytes());
        header[4..8].copy_from_slice(&error.to_ne_bytes());
        header[8..].copy_from_slice(&unique.to_ne_bytes());
        entry.answer(&header, len);
        let elsewhere = ANSWERED.with_borrow_mut(|answered| {
            if answered.home == Arc::as_ptr(&self.home) {
                answered.entries.push(entry);
                return None;
            }
            Some(entry)
        });
        if let Some(Err(errno)) = elsewhere.map(|entry| self.home.give_back(entry)) {
            log::error!("a request stays without its answer: {errno}");
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.answer(Err(Errno::EIO));
    }
}

/// The threads of a mount.
pub struct Rings {
    threads: Vec<JoinHandle<()>>,
    calm: Calm,
}

impl Rings {
    /// Starts them, once FUSE_INIT was answered with the flag for rings. `depth`: requests of one processor that are
    /// worked on at the same time; `payload`: bytes of the largest request or answer, at least what was agreed on.
    ///
    /// # Errors
    /// Where the kernel has been asked for a ring and refused, it goes on sending requests to /dev/fuse. Where it could
    /// not be asked, it sends none, and the mount is of no use.
    pub fn start<H: Handler>(
        device: Arc<OwnedFd>,
        depth: u16,
        payload: usize,
        handler: Arc<H>,
    ) -> io::Result<Rings> {
        let calm = Calm::start()?;
        let (tell, told) = channel();
        let mut threads = Vec::new();
        for (cpu, queues) in shares(cpus::possible()?, &cpus::online()?) {
            let (device, handler, tell) = (device.clone(), handler.clone(), tell.clone());
            let looked_after = calm.rings();
            let work = move || {
                let seat = looked_after.enter();
                if let Err(errno) = cpus::stay_on(cpu) {
                    log::debug!("a ring's thread is not on processor {cpu}: {errno}");
                }
                run(
                    || FuseRing::new(device, queues, depth, payload),
                    &tell,
                    &|job| {
                        looked_after.request(&seat);
                        handler.handle(job);
                    },
                );
            };
            let thread = std::thread::Builder::new().name("plyfs-ring".into());
            threads.push(thread.spawn(work)?);
        }
        drop(tell);
        // A thread that says nothing died.
        for _ in &threads {
            told.recv().unwrap_or(Err(Errno::EIO))?;
        }
        Ok(Rings { threads, calm })
    }

    /// Waits until the mount is gone, and all requests are answered.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                log::error!("a ring's thread panicked");
            }
        }
        self.calm.end();
    }
}

/// Which thread serves which queues: each processor its own, the first also those of processors that are switched off.
fn shares(possible: u16, online: &[u16]) -> Vec<(u16, Vec<u16>)> {
    let is_online = |cpu: &u16| online.contains(cpu);
    let (on, off): (Vec<u16>, Vec<u16>) = (0..possible).partition(is_online);
    let mut shares: Vec<_> = on.iter().map(|cpu| (*cpu, vec![*cpu])).collect();
    match shares.first_mut() {
        Some((_, queues)) => queues.extend(off),
        None => shares.push((0, off)),
    }
    shares
}

/// The life of one thread.
fn run(make: impl FnOnce() -> Result<FuseRing>, tell: &Sender<Result<()>>, handle: &dyn Fn(Job)) {
    let prepare = || {
        let mut ring = make()?;
        let home = Arc::new(ring.remote()?);
        // What the kernel refuses, it tells at once.
        let mut refused = Ok(());
        ring.register()?;
        let mut first = Vec::new();
        while let Some(event) = ring.event() {
            match event {
                Event::Ended(errno) => refused = Err(errno),
                Event::Request(entry) | Event::Returned(entry) => first.push(entry),
            }
        }
        refused.map(|()| (ring, home, first))
    };
    match prepare() {
        Ok((mut ring, home, first)) => {
            tell_once(tell, Ok(()));
            let home_here = Arc::as_ptr(&home);
            ANSWERED.with_borrow_mut(|answered| answered.home = home_here);
            if let Err(errno) = serve(&mut ring, &home, first, handle) {
                log::error!("a ring broke: {errno}");
            }
        }
        // The mount is gone already.
        Err(Errno::ENOTCONN | Errno::ECONNABORTED) => tell_once(tell, Ok(())),
        Err(errno) => tell_once(tell, Err(errno)),
    }
}

fn tell_once(tell: &Sender<Result<()>>, result: Result<()>) {
    if tell.send(result).is_err() {
        log::debug!("nobody waits for the rings any more");
    }
}

fn serve(
    ring: &mut FuseRing,
    home: &Arc<Remote>,
    first: Vec<Entry>,
    handle: &dyn Fn(Job),
) -> Result<()> {
    let mut left = ring.entries();
    let answer = |ring: &mut FuseRing, entry: Entry| {
        let job = Job {
            entry: Some(entry),
            home: home.clone(),
        };
        // The job was dropped with the panic, so it is answered.
        if catch_unwind(AssertUnwindSafe(|| handle(job))).is_err() {
            log::error!("a request panicked");
        }
        ANSWERED.with_borrow_mut(|answered| {
            let mut entries = answered.entries.drain(..);
            entries.try_for_each(|entry| ring.commit(entry))
        })
    };
    for entry in first {
        answer(ring, entry)?;
    }
    while left > 0 {
        ring.wait(PATIENCE)?;
        while let Some(event) = ring.event() {
            match event {
                Event::Request(entry) => {
                    // An answer does not wait until the next request is dealt with, too.
                    ring.submit()?;
                    answer(ring, entry)?;
                }
                Event::Returned(entry) => ring.commit(entry)?,
                Event::Ended(errno) => {
                    left -= 1;
                    if errno != Errno::ENOTCONN {
                        log::debug!("an entry of a ring ended: {errno}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_has_one_thread() {
        assert_eq!(shares(2, &[0, 1]), [(0, vec![0]), (1, vec![1])]);
        assert_eq!(shares(4, &[1, 3]), [(1, vec![1, 0, 2]), (3, vec![3])]);
        assert_eq!(shares(2, &[]), [(0, vec![0, 1])]);
        // A processor that the kernel sends nothing from.
        assert_eq!(shares(1, &[0, 5]), [(0, vec![0])]);
    }
}
