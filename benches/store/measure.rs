//! What a command costs.
#![allow(unsafe_code)] // getrusage(2) has no safe wrapper.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Time on the clock, and time of the processor.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub wall: f64,
    pub cpu: f64,
}

impl Cost {
    /// Which of them is compared.
    pub fn of(self, kind: Kind) -> f64 {
        match kind {
            Kind::Wall => self.wall,
            Kind::Cpu => self.cpu,
        }
    }

    /// One after the other.
    pub fn plus(self, other: Cost) -> Cost {
        Cost {
            wall: self.wall + other.wall,
            cpu: self.cpu + other.cpu,
        }
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Wall,
    Cpu,
}

/// How often something is repeated.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    repeats: usize,
}

impl Patience {
    pub fn new(repeats: usize) -> Patience {
        Patience {
            repeats: repeats.max(1),
        }
    }

    /// All runs of both sides, by turns; who is first changes, too.
    pub fn pair(
        self,
        mut ours: impl FnMut() -> Cost,
        mut theirs: impl FnMut() -> Cost,
    ) -> (Costs, Costs) {
        let rounds = (0..self.repeats).map(|round| {
            if round % 2 == 0 {
                let first = ours();
                return (first, theirs());
            }
            let first = theirs();
            (ours(), first)
        });
        let (ours, theirs) = rounds.unzip();
        (Costs(ours), Costs(theirs))
    }

    /// All runs of one side.
    pub fn alone(self, mut run: impl FnMut() -> Cost) -> Costs {
        Costs((0..self.repeats).map(|_| run()).collect())
    }
}

/// What the runs of one side cost.
#[derive(Clone, Debug)]
pub struct Costs(Vec<Cost>);

impl Costs {
    /// Half of the runs cost no more, in seconds.
    pub fn median(&self, kind: Kind) -> f64 {
        let mut all: Vec<f64> = self.0.iter().map(|cost| cost.of(kind)).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    }
}

/// Runs a command that must succeed; what it prints is dropped.
pub fn run(command: &mut Command) -> Cost {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    costs(|| {
        let status = command
            .status()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        assert!(status.success(), "{command:?}: {status}");
    })
}

/// What an action costs, in which only other processes work.
pub fn costs(action: impl FnOnce()) -> Cost {
    let (before, start) = (children(), Instant::now());
    action();
    let wall = start.elapsed().as_secs_f64();
    Cost {
        wall,
        cpu: (children() - before).as_secs_f64(),
    }
}

/// Time of the processor that ended children took.
fn children() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the buffer is as large as the kernel writes, and zeroes are a valid value of it.
    let usage = unsafe {
        assert_eq!(
            libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()),
            0
        );
        usage.assume_init()
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Says so when something else is running.
pub fn warn_if_busy() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let busy = load.split(' ').next().and_then(|load| load.parse().ok());
    if busy.is_some_and(|load: f64| load > 0.5) {
        let load = load.trim();
        eprintln!("the load is {load}: figures are only worth something on an idle machine");
    }
}
