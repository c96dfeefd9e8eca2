//! Workers for requests that may take long: readers of the device who all copied gigabytes up, or waited for a disk,
//! would keep everybody else waiting.
//!
//! The reply moves with the request, so order is kept where it means something: who waits for an answer has not sent
//! the next request. Workers never wait for each other, only for locks that somebody at work will let go.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::sync::Mutex;
use crate::sys::sched;

/// Threads at most: they wait for disks rather than compute.
const WORKERS_MAX: usize = 8;
/// Requests that may wait for one of them. Further ones are answered by who read them.
const QUEUE: usize = 64;
/// Nothing else is locked by who sends a request here.
const RANK: u8 = 1;

type Job = Box<dyn FnOnce() + Send>;

/// The workers. They are started when they are needed, and wait then without waking up.
pub struct Pool {
    jobs: Receiver<Job>,
    /// Jobs that wait or are worked on.
    unfinished: Arc<AtomicUsize>,
    workers: Mutex<Workers, RANK>,
    /// Readers that may wait for a disk at the same time: all but one.
    may_wait: AtomicUsize,
}

struct Workers {
    /// `None` once nothing comes any more.
    queue: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Default for Pool {
    fn default() -> Pool {
        let (queue, jobs) = bounded(QUEUE);
        let (queue, threads) = (Some(queue), Vec::new());
        Pool {
            jobs,
            unfinished: Arc::default(),
            workers: Mutex::new(Workers { queue, threads }),
            may_wait: AtomicUsize::new(0),
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({:?} unfinished)", self.unfinished)
    }
}

impl Pool {
    /// How many read requests.
    pub fn set_readers(&self, readers: usize) {
        let may_wait = readers.saturating_sub(1);
        self.may_wait.store(may_wait, Ordering::SeqCst);
    }

    /// Runs a job that takes a moment: here, which is over sooner than a worker would wake up, as long as another
    /// reader is left for everybody else.
    pub fn run_moment(&self, job: impl FnOnce() + Send + 'static) {
        let (take, ordering) = (|left: usize| left.checked_sub(1), Ordering::SeqCst);
        match self.may_wait.fetch_update(ordering, ordering, take) {
            Ok(_) => {
                job();
                self.may_wait.fetch_add(1, ordering);
            }
            Err(_) => self.run(job),
        }
    }

    /// Runs `job` soon on a worker, or here and now where too many wait. A job does not panic.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let unfinished = self.unfinished.clone();
        unfinished.fetch_add(1, Ordering::SeqCst);
        let job: Job = Box::new(move || {
            job();
            unfinished.fetch_sub(1, Ordering::SeqCst);
        });
        let refused = match self.queue() {
            Some(queue) => queue.try_send(job).map_err(|refused| refused.into_inner()),
            None => Err(job),
        };
        if let Err(job) = refused {
            job();
        }
    }

    /// Starts one more worker if all may be at work. `None` when there is none.
    fn queue(&self) -> Option<Sender<Job>> {
        let mut workers = self.workers.lock();
        let queue = workers.queue.clone()?;
        let enough = self.unfinished.load(Ordering::SeqCst).min(WORKERS_MAX);
        if workers.threads.len() < enough {
            let jobs = self.jobs.clone();
            let work = move || {
                if let Err(errno) = sched::be_usual() {
                    log::debug!("a worker stays as it was started: {errno}");
                }
                jobs.iter().for_each(|job| job());
            };
            let thread = std::thread::Builder::new().name("plyfs-worker".into());
            match thread.spawn(work) {
                Ok(worker) => workers.threads.push(worker),
                Err(error) => log::warn!("no thread for long requests: {error}"),
            }
        }
        (!workers.threads.is_empty()).then_some(queue)
    }

    /// Waits for all that was sent. What comes after it is done by who sends it.
    pub fn drain(&self) {
        let workers = {
            let mut workers = self.workers.lock();
            workers.queue = None;
            std::mem::take(&mut workers.threads)
        };
        for worker in workers {
            if worker.join().is_err() {
                log::error!("a worker panicked");
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.drain();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::channel;
    use std::thread::ThreadId;

    use crossbeam::channel::unbounded;

    use super::*;

    #[test]
    fn all_is_done_before_the_pool_is_gone() {
        let done = Arc::new(AtomicUsize::new(0));
        let pool = Pool::default();
        for _ in 0..500 {
            let done = done.clone();
            pool.run(move || {
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        pool.drain();
        assert_eq!(done.load(Ordering::SeqCst), 500);
        assert_eq!(pool.unfinished.load(Ordering::SeqCst), 0);
    }

    /// Takes a moment, and within it another, and so on, until somebody else does it: on which threads?
    fn moments(pool: &'static Pool, reader: ThreadId, ran: Sender<ThreadId>) {
        pool.run_moment(move || {
            let here = std::thread::current().id();
            ran.send(here).unwrap();
            if here == reader {
                moments(pool, reader, ran);
            }
        });
    }

    #[test]
    fn one_reader_is_left_for_everybody_else() {
        for readers in [0, 1, 2, 4] {
            let pool = Box::leak(Box::<Pool>::default());
            pool.set_readers(readers);
            for _ in 0..3 {
                let (tell, told) = unbounded();
                let reader = std::thread::current().id();
                moments(pool, reader, tell);
                let by_reader = told.iter().filter(|id| *id == reader).count();
                assert_eq!(by_reader, readers.saturating_sub(1), "{readers} readers");
            }
        }
    }

    #[test]
    fn as_many_at_once_as_there_are_workers() {
        let pool = Pool::default();
        let all = Arc::new(Barrier::new(WORKERS_MAX));
        for _ in 0..WORKERS_MAX {
            let all = all.clone();
            // Each waits for all the others.
            pool.run(move || {
                all.wait();
            });
        }
        pool.drain();
    }

    #[test]
    fn what_finds_no_place_is_done_at_once() {
        let pool = Pool::default();
        let (go, wait) = channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        for _ in 0..QUEUE {
            let wait = wait.clone();
            pool.run(move || wait.lock().unwrap().recv().unwrap());
        }
        // The workers take some of these.
        let here = std::thread::current().id();
        let (tell, told) = channel();
        for _ in 0..=WORKERS_MAX {
            let (wait, tell) = (wait.clone(), tell.clone());
            pool.run(move || {
                if std::thread::current().id() == here {
                    tell.send(()).unwrap();
                } else {
                    wait.lock().unwrap().recv().unwrap();
                }
            });
        }
        assert!(told.try_recv().is_ok());
        for _ in 0..=WORKERS_MAX + QUEUE {
            go.send(()).unwrap();
        }
        pool.drain();
    }
}
