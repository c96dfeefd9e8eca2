//! Rings run at idle priority while nothing else wants their processors.
//!
//! Whoever is woken by an answer is woken by the thread that gives it, on a processor that is busy with that thread, so
//! the scheduler sends him to another one: an interrupt to wake that, cold caches, and the next request comes from
//! there. A thread at idle priority (SCHED_IDLE) does not count: he stays, and a change of three requests takes half
//! the time. But next to a program that computes, such a thread may wait for half a second. So somebody looks, all
//! few milliseconds as long as requests come: a ring that would run and did not gets its usual priority back, for a
//! time that doubles with each time. When no requests come, all have it, and nobody looks.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use crate::sync::Mutex;
use crate::sys::sched;

/// How long a ring may be kept waiting.
const LOOK: Duration = Duration::from_millis(4);
/// So many looks without a request are the end of looking.
const QUIET: u32 = 25;
/// For so many looks a ring has its usual priority after it was kept waiting: at first, and at most.
const BACK_OFF: std::ops::RangeInclusive<u32> = 25..=16_000;
/// Nothing else is locked meanwhile.
const RANK: u8 = 1;

/// Looks after the rings of a mount.
#[derive(Debug)]
pub struct Calm {
    rings: Arc<Rings>,
    looks: JoinHandle<()>,
}

/// Those that are looked after.
#[derive(Debug, Default)]
pub struct Rings {
    all: Mutex<Vec<Ring>, RANK>,
    /// Nobody looks: the next request wakes him who does.
    asleep: AtomicBool,
    looks: OnceLock<Thread>,
    ended: AtomicBool,
}

/// What a ring says of itself.
#[derive(Debug, Default)]
pub struct Seat(Arc<AtomicBool>);

/// A ring's thread.
#[derive(Debug)]
struct Ring {
    thread: sched::Thread,
    /// It was asked since somebody looked.
    asked: Arc<AtomicBool>,
    ran: u64,
    idle: bool,
    /// Looks until it is tried at idle priority again,
    pause: u32,
    /// and next time.
    back_off: u32,
    /// Looks at idle priority since it was kept waiting, or since that had been so many as it would pause.
    well: u32,
}

impl Calm {
    /// Begins to look, once there is a request.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start() -> io::Result<Calm> {
        let rings = Arc::new(Rings {
            asleep: AtomicBool::new(true),
            ..Rings::default()
        });
        let shared = rings.clone();
        let thread = std::thread::Builder::new().name("plyfs-calm".into());
        let looks = thread.spawn(move || shared.look_after())?;
        rings.looks.get_or_init(|| looks.thread().clone());
        Ok(Calm { rings, looks })
    }

    /// To be told of rings and requests.
    pub fn rings(&self) -> Arc<Rings> {
        self.rings.clone()
    }

    /// No requests come any more.
    pub fn end(self) {
        self.rings.ended.store(true, Ordering::SeqCst);
        self.looks.thread().unpark();
        if self.looks.join().is_err() {
            log::error!("the thread that looks after rings panicked");
        }
    }
}

impl Rings {
    /// The calling thread is one. Not where it could not be given its priority back.
    pub fn enter(&self) -> Seat {
        let seat = Seat::default();
        let ring = sched::Thread::current().and_then(|thread| {
            thread.set_idle(true)?;
            thread.set_idle(false)?;
            Ok(Ring {
                ran: thread.has_run()?,
                thread,
                asked: seat.0.clone(),
                idle: false,
                pause: 0,
                back_off: *BACK_OFF.start(),
                well: 0,
            })
        });
        match ring {
            Ok(ring) => self.all.lock().push(ring),
            Err(errno) => log::debug!("a ring keeps its priority: {errno}"),
        }
        seat
    }

    /// There is a request for who has this seat.
    pub fn request(&self, seat: &Seat) {
        seat.0.store(true, Ordering::Relaxed);
        if self.asleep.load(Ordering::Relaxed)
            && self.asleep.swap(false, Ordering::SeqCst)
            && let Some(looks) = self.looks.get()
        {
            looks.unpark();
        }
    }

    fn look_after(&self) {
        let ended = || self.ended.load(Ordering::SeqCst);
        while !ended() {
            if self.asleep.load(Ordering::SeqCst) {
                std::thread::park();
                continue;
            }
            let mut quiet = 0;
            while quiet < QUIET && !ended() {
                std::thread::park_timeout(LOOK);
                quiet = match self.look() {
                    true => 0,
                    false => quiet + 1,
                };
            }
            for ring in &mut *self.all.lock() {
                ring.set_idle(false);
            }
            self.asleep.store(true, Ordering::SeqCst);
        }
    }

    /// One look. Has any ring run since the last one?
    fn look(&self) -> bool {
        let mut all = self.all.lock();
        let ran = all.iter_mut().map(Ring::look);
        ran.fold(false, |any, ran| any | ran)
    }
}

impl Ring {
    fn look(&mut self) -> bool {
        if !self.asked.swap(false, Ordering::Relaxed) && !self.idle {
            self.pause = self.pause.saturating_sub(1);
            return false;
        }
        let Ok(now) = self.thread.has_run() else {
            return false;
        };
        let ran = now != std::mem::replace(&mut self.ran, now);
        if self.idle && !ran && self.thread.wants_to_run() == Ok(true) {
            self.set_idle(false);
            self.pause = self.back_off;
            self.back_off = (self.back_off * 2).min(*BACK_OFF.end());
            self.well = 0;
            return true;
        }
        self.well += u32::from(self.idle);
        if self.well >= self.back_off {
            self.well = 0;
            self.back_off = (self.back_off / 2).max(*BACK_OFF.start());
        }
        self.pause = self.pause.saturating_sub(1);
        if ran && self.pause == 0 {
            self.set_idle(true);
        }
        ran
    }

    fn set_idle(&mut self, idle: bool) {
        if self.idle != idle && self.thread.set_idle(idle).is_ok() {
            self.idle = idle;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::sys::cpus;

    /// A ring whose thread is on the first processor, and works as long as it is told.
    fn ring(works: &'static AtomicBool) -> (Ring, JoinHandle<()>) {
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            cpus::stay_on(cpus::online().unwrap()[0]).unwrap();
            let rings = Rings::default();
            let seat = rings.enter();
            tell.send(rings.all.lock().pop()).unwrap();
            while works.load(Ordering::SeqCst) {
                rings.request(&seat);
            }
        });
        let ring = told.recv().unwrap();
        (ring.expect("priorities cannot be set here"), thread)
    }

    fn look_until(ring: &mut Ring, what: &str, reached: impl Fn(&Ring) -> bool) {
        for _ in 0..5000 {
            std::thread::sleep(LOOK);
            ring.look();
            if reached(ring) {
                return;
            }
        }
        panic!("a ring is never {what}: {ring:?}");
    }

    #[test]
    fn a_ring_that_is_kept_waiting_gets_its_priority_back() {
        static RING: AtomicBool = AtomicBool::new(true);
        static OTHER: AtomicBool = AtomicBool::new(true);
        let (mut ring, thread) = ring(&RING);
        look_until(&mut ring, "idle", |ring| ring.idle);
        let computes = std::thread::spawn(|| {
            cpus::stay_on(cpus::online().unwrap()[0]).unwrap();
            while OTHER.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
        });
        look_until(&mut ring, "kept waiting", |ring| !ring.idle);
        assert_eq!(ring.pause, *BACK_OFF.start());
        let longer = ring.back_off;
        assert_eq!(longer, 2 * BACK_OFF.start());
        // It runs again beside the other, and is tried again.
        look_until(&mut ring, "idle again", |ring| ring.idle);
        OTHER.store(false, Ordering::SeqCst);
        computes.join().unwrap();
        look_until(&mut ring, "well", |ring| {
            ring.idle && ring.back_off < longer
        });
        RING.store(false, Ordering::SeqCst);
        thread.join().unwrap();
        // Whoever has ended is no trouble.
        assert!(!ring.look());
    }

    #[test]
    fn who_looks_sleeps_until_there_is_a_request() {
        let calm = Calm::start().unwrap();
        let rings = calm.rings();
        let (ask, asked) = channel::<()>();
        let ring = std::thread::spawn({
            let rings = calm.rings();
            move || {
                let seat = rings.enter();
                asked.iter().for_each(|()| rings.request(&seat));
            }
        });
        let wait = |until: &dyn Fn() -> bool| {
            while !until() {
                std::thread::sleep(LOOK);
            }
        };
        wait(&|| !rings.all.lock().is_empty());
        for _ in 0..2 {
            wait(&|| rings.asleep.load(Ordering::SeqCst));
            assert!(!rings.all.lock()[0].idle);
            ask.send(()).unwrap();
            wait(&|| rings.all.lock()[0].idle);
        }
        drop(ask);
        ring.join().unwrap();
        calm.end();
    }
}
