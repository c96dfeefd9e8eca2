//! A story that does not end is printed, and ends the program: a hang must not be silent.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use crate::draw::{Op, Story};
use crate::layer;

/// A story takes milliseconds; one that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the watchdog looks.
const ROUND: Duration = Duration::from_secs(1);

thread_local! {
    /// What the last panic of a watched story said; `None` where panics are printed as always.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

struct Now {
    since: Instant,
    story: Story,
    /// What was done, and last what is being done.
    steps: Vec<Op>,
}

/// Watches the stories of one test, one after the other.
pub struct Watch {
    now: Arc<Mutex<Option<Now>>>,
    /// Its end ends the watchdog.
    _alive: Sender<()>,
}

impl Watch {
    pub fn new() -> Watch {
        hush();
        let (alive, ended) = channel();
        let now: Arc<Mutex<Option<Now>>> = Arc::default();
        let watched = now.clone();
        std::thread::spawn(move || {
            while ended.recv_timeout(ROUND) == Err(RecvTimeoutError::Timeout) {
                let now = watched.lock().unwrap();
                if let Some(now) = now.as_ref().filter(|now| now.since.elapsed() > PATIENCE) {
                    eprintln!(
                        "HANGS in the last of\n{}{}",
                        layers(&now.story),
                        steps(&now.steps)
                    );
                    std::process::abort();
                }
            }
        });
        Watch { now, _alive: alive }
    }

    /// Notes what is done next.
    pub fn step(&self, op: &Op) {
        if let Some(now) = self.now.lock().unwrap().as_mut() {
            now.steps.push(op.clone());
        }
    }

    /// Runs a story. A panic is its result, and is not printed each time while a failure is made shorter.
    pub fn quietly(
        &self,
        story: &Story,
        run: impl FnOnce() -> Result<(), String>,
    ) -> Result<(), String> {
        *self.now.lock().unwrap() = Some(Now {
            since: Instant::now(),
            story: story.clone(),
            steps: Vec::new(),
        });
        SAID.set(Some(String::new()));
        let result = std::panic::catch_unwind(AssertUnwindSafe(run));
        let said = SAID.take().unwrap_or_default();
        let now = self.now.lock().unwrap().take();
        let steps = now.map_or_else(String::new, |now| steps(&now.steps));
        let result = result.unwrap_or_else(|_| Err(format!("panic: {said}")));
        result.map_err(|wrong| steps + &wrong)
    }
}

/// Panics in a watched story are kept, all others are printed.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let watched =
                SAID.with_borrow_mut(|said| said.as_mut().map(|said| *said = info.to_string()));
            if watched.is_none() {
                print(info);
            }
        }));
    });
}

/// The layers of a story, a line for each object.
pub fn layers(story: &Story) -> String {
    let mut text = format!("{} lower layers\n", story.lowers.len());
    for (at, dir) in story.lowers.iter().enumerate() {
        text += &layer::text(&format!("  lower{}", at + 1), dir);
    }
    text + &layer::text("  upper", &story.upper)
}

fn steps(steps: &[Op]) -> String {
    let lines = steps.iter().enumerate();
    lines.map(|(at, op)| format!("{at:3}: {op:?}\n")).collect()
}
