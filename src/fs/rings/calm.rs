//! Rings run at idle priority while nothing else wants their processors.
//!
//! Whoever is woken by an answer is woken by the thread that gives it, on a processor that is busy with that thread, so
//! the scheduler sends him to another one: an interrupt to wake that, cold caches, and the next request comes from
//! there. A thread at idle priority (SCHED_IDLE) does not count: he stays, and a change of three requests takes half
//! the time. But next to a program that computes, such a thread may wait for half a second. So somebody looks, all
//! few milliseconds as long as requests come: a ring that would run and did not gets its usual priority back, for a
//! time that doubles with each time. When no requests come, all have it, and nobody looks.

use std::io;
use std::ops::RangeInclusive;
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
const PAUSE: RangeInclusive<u32> = 25..=16_000;
/// Nothing else is locked meanwhile.
const RANK: u8 = 1;

/// Looks after the rings of a mount.
#[derive(Debug)]
pub struct Calm {
    rings: Arc<Rings>,
    /// `None` where all keep their priority.
    looks: Option<JoinHandle<()>>,
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
    pace: Pace,
}

/// How often a ring is tried at idle priority. Times are in looks.
#[derive(Debug)]
struct Pace {
    /// Until it is tried again,
    pause: u32,
    /// and after it is kept waiting next time.
    next_pause: u32,
    /// Since it was kept waiting, or since that had been so long as it would pause.
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
        if !sched::may_return() {
            log::debug!("rings keep their priority: it could not be given back to them");
            return Ok(Calm { rings, looks: None });
        }
        let shared = rings.clone();
        let thread = std::thread::Builder::new().name("plyfs-calm".into());
        let looks = thread.spawn(move || shared.look_after())?;
        rings.looks.get_or_init(|| looks.thread().clone());
        let looks = Some(looks);
        Ok(Calm { rings, looks })
    }

    /// To be told of rings and requests.
    pub fn rings(&self) -> Arc<Rings> {
        self.rings.clone()
    }

    /// No requests come any more.
    pub fn end(self) {
        let Some(looks) = self.looks else { return };
        self.rings.ended.store(true, Ordering::SeqCst);
        looks.thread().unpark();
        if looks.join().is_err() {
            log::error!("the thread that looks after rings panicked");
        }
    }
}

impl Rings {
    /// The calling thread is one.
    pub fn enter(&self) -> Seat {
        let seat = Seat::default();
        if self.looks.get().is_none() {
            return seat;
        }
        let ring = sched::Thread::current().and_then(|thread| {
            Ok(Ring {
                ran: thread.has_run()?,
                thread,
                asked: seat.0.clone(),
                idle: false,
                pace: Pace::default(),
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
            self.pace.pass();
            return false;
        }
        let Ok(now) = self.thread.has_run() else {
            return false;
        };
        let ran = now != std::mem::replace(&mut self.ran, now);
        let waited = self.idle && !ran && self.thread.wants_to_run() == Ok(true);
        if waited {
            self.pace.waited();
            self.set_idle(false);
        } else if self.idle {
            self.pace.went_well();
        } else if self.pace.pass() && ran {
            self.set_idle(true);
        }
        ran || waited
    }

    fn set_idle(&mut self, idle: bool) {
        if self.idle != idle && self.thread.set_idle(idle).is_ok() {
            self.idle = idle;
        }
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            pause: 0,
            next_pause: *PAUSE.start(),
            well: 0,
        }
    }
}

impl Pace {
    /// It was kept waiting.
    fn waited(&mut self) {
        self.pause = self.next_pause;
        self.next_pause = (self.next_pause * 2).min(*PAUSE.end());
        self.well = 0;
    }

    /// It was not, though at idle priority.
    fn went_well(&mut self) {
        self.well += 1;
        if self.well >= self.next_pause {
            self.next_pause = (self.next_pause / 2).max(*PAUSE.start());
            self.well = 0;
        }
    }

    /// A look at its usual priority. Was it the last one?
    fn pass(&mut self) -> bool {
        self.pause = self.pause.saturating_sub(1);
        self.pause == 0
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
            rings.looks.get_or_init(std::thread::current);
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

    /// Who is no superuser could not give a ring its priority back.
    fn none_is_looked_after() {
        let calm = Calm::start().unwrap();
        let rings = calm.rings();
        rings.request(&rings.enter());
        assert!(rings.all.lock().is_empty() && calm.looks.is_none());
        calm.end();
    }

    #[test]
    fn a_ring_that_is_kept_waiting_gets_its_priority_back() {
        if !sched::may_return() {
            return none_is_looked_after();
        }
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
        assert!(ring.pace.pause > 0);
        OTHER.store(false, Ordering::SeqCst);
        computes.join().unwrap();
        RING.store(false, Ordering::SeqCst);
        thread.join().unwrap();
        // Whoever has ended is no trouble.
        assert!(!ring.look());
    }

    #[test]
    fn a_ring_pauses_longer_each_time_until_all_goes_well() {
        let mut pace = Pace::default();
        assert!(pace.pass());
        let mut pauses = Vec::new();
        for _ in 0..12 {
            pace.waited();
            pauses.push(1 + (0..).take_while(|_| !pace.pass()).count());
        }
        assert_eq!(pauses[..4], [25, 50, 100, 200]);
        assert_eq!(pauses[10..], [16_000, 16_000]);
        (0..16_000).for_each(|_| pace.went_well());
        assert_eq!(pace.next_pause, 8000);
        (0..16_000).for_each(|_| pace.went_well());
        pace.waited();
        assert_eq!(pace.pause, *PAUSE.start());
    }

    #[test]
    fn who_looks_sleeps_until_there_is_a_request() {
        if !sched::may_return() {
            return none_is_looked_after();
        }
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
