//! What takes long is shown on standard error while it is done: bars on a terminal, else a line now and then, in JSON
//! if answers are. The work counts ([`Progress`]); a thread of its own looks at the counts, so showing costs the work
//! nothing. It is over, and off the screen, before the verb says anything.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::{Condvar, Mutex};
use serde_json::json;

use super::args::{Globals, ProgressWord};
use super::output::bytes;
use crate::cli::remark;
use crate::store::Store;
use crate::store::watch::{Phase, Progress, Stand};

/// Between two looks for a bar. What ends before the first is not shown at all.
const LOOK: Duration = Duration::from_millis(150);
/// Between two lines.
const LINE: Duration = Duration::from_secs(2);

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Bars,
    Lines,
    Json,
}

/// Does `work` on the store and shows how far it is.
pub fn during<T>(globals: &Globals, store: &Store, work: impl FnOnce() -> T) -> T {
    let _shown = form(globals).map(|form| Shown::start(form, globals.progress, store.progress()));
    work()
}

fn form(globals: &Globals) -> Option<Form> {
    let terminal = || std::io::stderr().is_terminal();
    match globals.progress {
        ProgressWord::None => None,
        ProgressWord::Auto if globals.quiet => None,
        _ if globals.json => Some(Form::Json),
        ProgressWord::Auto if terminal() => Some(Form::Bars),
        _ => Some(Form::Lines),
    }
}

/// The thread that shows; gone when this is dropped.
struct Shown {
    over: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Shown {
    fn start(form: Form, word: ProgressWord, progress: &Arc<Progress>) -> Shown {
        let over: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let (told, progress) = (Arc::clone(&over), Arc::clone(progress));
        let wait = move |time| {
            let (over, news) = &*told;
            let mut over = over.lock();
            if !*over {
                news.wait_for(&mut over, time);
            }
            !*over
        };
        let thread = std::thread::spawn(move || match form {
            Form::Bars => bars(&progress, wait),
            Form::Lines | Form::Json => lines(form, word, &progress, wait),
        });
        Shown {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        *self.over.0.lock() = true;
        self.over.1.notify_all();
        // That a thread could not draw is no failure of the work.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A bar of the part that is being done; `wait` says whether to go on.
fn bars(progress: &Progress, wait: impl Fn(Duration) -> bool) {
    let mut shown: Option<(Phase, ProgressBar)> = None;
    while wait(LOOK) {
        let Some(stand) = progress.stand() else {
            continue;
        };
        let bar = match shown.take() {
            Some((phase, bar)) if phase == stand.phase => bar,
            other => {
                other.inspect(|(_, bar)| bar.finish_and_clear());
                new_bar(&stand)
            }
        };
        let by_entries = counts_entries(&stand);
        bar.set_position(if by_entries {
            stand.done.entries
        } else {
            stand.done.bytes
        });
        if !by_entries {
            bar.set_message(format!("{} entries", stand.done.entries));
        }
        bar.tick();
        shown = Some((stand.phase, bar));
    }
    shown.inspect(|(_, bar)| bar.finish_and_clear());
}

/// Some parts are counted in objects only.
fn counts_entries(stand: &Stand) -> bool {
    stand.total.is_some_and(|total| total.bytes == 0)
}

fn new_bar(stand: &Stand) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let by_entries = counts_entries(stand);
    let template = match (stand.total, by_entries) {
        (Some(total), true) => {
            bar.set_length(total.entries);
            "{prefix:8} [{bar:30}] {pos}/{len} {elapsed}"
        }
        (Some(total), false) => {
            bar.set_length(total.bytes);
            "{prefix:8} [{bar:30}] {binary_bytes}/{binary_total_bytes}, {msg}, {binary_bytes_per_sec}, {eta} left"
        }
        (None, _) if stand.phase == Phase::Sync => "{prefix:8} {spinner} {elapsed}",
        (None, _) => "{prefix:8} {spinner} {binary_bytes}, {msg}, {binary_bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
    bar.set_style(style.progress_chars("=> "));
    bar.set_prefix(stand.phase.word());
    bar
}

/// Lines: of every part and of its end if they were asked for, else only of what takes long.
fn lines(form: Form, word: ProgressWord, progress: &Progress, wait: impl Fn(Duration) -> bool) {
    let start = Instant::now();
    let mut last: Option<Stand> = None;
    let mut say = |stand: Option<Stand>| {
        if let Some(stand) = stand.filter(|stand| last != Some(*stand)) {
            last = Some(stand);
            // Nobody listens, and there is no better place to say so.
            let _ = writeln!(std::io::stderr(), "{}", line(form, &stand, start.elapsed()));
        }
    };
    while wait(LINE) {
        say(progress.stand());
    }
    if word == ProgressWord::Plain {
        say(progress.stand());
    }
}

fn line(form: Form, stand: &Stand, since: Duration) -> String {
    let (done, total) = (stand.done, stand.total);
    if form == Form::Json {
        let value = json!({
            "phase": stand.phase.word(), "bytes": done.bytes, "entries": done.entries,
            "total_bytes": total.map(|total| total.bytes), "total_entries": total.map(|total| total.entries),
            "seconds": since.as_secs_f64(),
        });
        return json!({ "progress": value }).to_string();
    }
    let of = |done: String, total: Option<String>| match total {
        Some(total) => format!("{done} of {total}"),
        None => done,
    };
    let mut words = Vec::new();
    if !counts_entries(stand) && stand.phase != Phase::Sync {
        words.push(of(bytes(done.bytes), total.map(|total| bytes(total.bytes))));
    }
    if stand.phase != Phase::Sync {
        let entries = of(
            done.entries.to_string(),
            total.map(|total| total.entries.to_string()),
        );
        words.push(format!("{entries} entries"));
    }
    words.push(format!("{} s", since.as_secs()));
    format!(
        "{}: {}: {}",
        remark::program(),
        stand.phase.word(),
        words.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::meta::Size;

    #[test]
    fn lines_say_what_is_known() {
        let size = |bytes, entries| Size { bytes, entries };
        let stand = |phase, total| Stand {
            phase,
            done: size(1536, 3),
            total,
        };
        let line = |stand| line(Form::Lines, &stand, Duration::from_secs(5));
        let copy = line(stand(Phase::Copy, None));
        assert!(copy.ends_with(": copy: 1.5 KiB, 3 entries, 5 s"), "{copy}");
        let copy = line(stand(Phase::Copy, Some(size(3072, 7))));
        let wanted = ": copy: 1.5 KiB of 3.0 KiB, 3 of 7 entries, 5 s";
        assert!(copy.ends_with(wanted), "{copy}");
        let check = line(stand(Phase::Check, Some(size(0, 7))));
        assert!(check.ends_with(": check: 3 of 7 entries, 5 s"), "{check}");
        let sync = line(stand(Phase::Sync, None));
        assert_eq!(sync, format!("{}: sync: 5 s", remark::program()));
    }
}
