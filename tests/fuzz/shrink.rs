//! The shortest trace that still fails in the same way: steps and layer objects are dropped as long as it does.

use std::time::{Duration, Instant};

use super::draw::Trace;
use super::run::Failure;

/// Shrinks a failing trace. `fails` runs one and tells how it fails, if it does; after `patience` the best so far is
/// returned.
pub fn shrink(
    mut trace: Trace,
    mut failure: Failure,
    patience: Duration,
    fails: &dyn Fn(&Trace) -> Option<Failure>,
) -> (Trace, Failure) {
    let deadline = Instant::now() + patience;
    // Nothing after the failing step matters.
    trace.steps.truncate(failure.at + 1);
    let mut attempt = |candidate: &Trace| match fails(candidate) {
        Some(found) if found.kind == failure.kind => {
            failure = found;
            true
        }
        _ => false,
    };
    loop {
        let size = trace.steps.len() + trace.items.len();
        drop_parts(&mut trace, |t| &mut t.steps, deadline, &mut attempt);
        drop_parts(&mut trace, |t| &mut t.items, deadline, &mut attempt);
        while trace.lowers > 1 {
            let mut fewer = trace.clone();
            fewer.lowers -= 1;
            if !attempt(&fewer) {
                break;
            }
            trace = fewer;
        }
        simplify(&mut trace, deadline, &mut attempt);
        if Instant::now() > deadline || trace.steps.len() + trace.items.len() == size {
            return (trace, failure);
        }
    }
}

/// Drops runs of elements, half of all at first, single ones in the end.
fn drop_parts<T: Clone>(
    trace: &mut Trace,
    part: fn(&mut Trace) -> &mut Vec<T>,
    deadline: Instant,
    attempt: &mut dyn FnMut(&Trace) -> bool,
) {
    let mut length = part(trace).len().div_ceil(2);
    while length > 0 {
        let mut end = part(trace).len();
        while end > 0 && Instant::now() < deadline {
            let start = end.saturating_sub(length);
            let mut candidate = trace.clone();
            part(&mut candidate).drain(start..end);
            if attempt(&candidate) {
                *trace = candidate;
            }
            end = start;
        }
        length = if length == 1 { 0 } else { length.div_ceil(2) };
    }
}

/// Plain root, plain modes, where it makes no difference.
fn simplify(trace: &mut Trace, deadline: Instant, attempt: &mut dyn FnMut(&Trace) -> bool) {
    let mut attempt_with = |change: &dyn Fn(&mut Trace)| {
        let mut candidate = trace.clone();
        change(&mut candidate);
        if Instant::now() < deadline && attempt(&candidate) {
            *trace = candidate;
        }
    };
    attempt_with(&|t| t.steps.iter_mut().for_each(|s| s.uid = 0));
    attempt_with(&|t| t.steps.iter_mut().for_each(|s| s.look = false));
    attempt_with(&|t| t.items.iter_mut().for_each(|i| i.owner = (0, 0)));
    attempt_with(&|t| t.items.iter_mut().for_each(|i| i.mode = 0o755));
    attempt_with(&|t| t.items.iter_mut().for_each(|i| i.xattrs.clear()));
    attempt_with(&|t| t.umask = 0o022);
}
