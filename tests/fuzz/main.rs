//! Differential fuzz: random layers and random work, on plyfs and on kernel overlayfs at once, compared step by step.
//!
//! docs/testing.md tells how to run it for hours and how to replay a seed. Read in this order: `op` (the words of a
//! trace), `draw` (from a seed to a trace), `run` (both sides in lockstep), `known` (the wanted differences), `act`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failure here is a failed test.

#[path = "../support/mod.rs"]
mod support;

mod act;
mod build;
mod draw;
mod known;
mod mode;
mod op;
mod run;
mod shrink;
mod side;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use mode::{MODES, Mode};
use support::env::{self, Scratch};
use support::userns::{self, User};

#[test]
fn root() {
    fuzz("root");
}

#[test]
fn cached() {
    fuzz("cached");
}

#[test]
fn noopen() {
    fuzz("noopen");
}

#[test]
fn rings() {
    let offered = support::rings::Offered::new();
    if let (Err(why), None) = (&offered, impossible()) {
        return env::cannot_run("fuzz rings", why);
    }
    fuzz("rings");
}

#[test]
fn redirect() {
    fuzz("redirect");
}

#[test]
fn metacopy() {
    fuzz("metacopy");
}

#[test]
fn index() {
    fuzz("index");
}

#[test]
fn all() {
    fuzz("all");
}

#[test]
fn user() {
    if userns::is_inside() {
        return fuzz("user");
    }
    if let Some(why) = impossible() {
        return env::cannot_run("fuzz user", &why);
    }
    userns::run_inside("user", User::Root("0 0 65536"), &[]);
}

fn impossible() -> Option<String> {
    env::mounted_tests_impossible().or_else(env::kernel_overlay_impossible)
}

/// A number from the environment.
fn asked(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

fn fuzz(name: &str) {
    let mode = MODES.iter().find(|m| m.name == name).expect("a mode");
    if std::env::var("PLYFS_FUZZ_MODE").is_ok_and(|only| !only.split(',').any(|m| m == name)) {
        env::cannot_run(&format!("fuzz {name}"), "PLYFS_FUZZ_MODE names others");
        return;
    }
    if let Some(why) = impossible() {
        return env::cannot_run(&format!("fuzz {name}"), &why);
    }
    env::isolated(|| {
        let scratch = Scratch::new();
        let first = asked("PLYFS_FUZZ_SEED").unwrap_or(1);
        let one = if std::env::var_os("PLYFS_FUZZ_SEED").is_some() {
            1
        } else {
            mode.quick.0
        };
        let count = asked("PLYFS_FUZZ_SEEDS").unwrap_or(one);
        let ops = asked("PLYFS_FUZZ_OPS").map_or(mode.quick.1, |n| n as usize);
        campaign(mode, first, count, ops, scratch.path());
    });
}

/// All seeds; panics with what failed. `PLYFS_FUZZ_KEEP_GOING` counts failures instead of stopping at the first.
fn campaign(mode: &Mode, first: u64, count: u64, ops: usize, scratch: &Path) {
    let start = Instant::now();
    let most = asked("PLYFS_FUZZ_KEEP_GOING").unwrap_or(1) as usize;
    let (mut failures, mut met) = (Vec::new(), BTreeMap::<String, usize>::new());
    for (done, seed) in (first..first + count).enumerate() {
        match run::run(mode, &draw::trace(mode, seed, ops), scratch) {
            Ok(rows) => rows.iter().for_each(|row| {
                *met.entry(format!("{}: {}", row.section, row.what))
                    .or_default() += 1
            }),
            Err(failure) => {
                let text = explain(mode, seed, ops, failure, scratch);
                eprintln!("{text}");
                failures.push(text);
            }
        }
        if done % 100 == 99 {
            eprintln!(
                "fuzz {}: {} seeds in {:?}",
                mode.name,
                done + 1,
                start.elapsed()
            );
        }
        if failures.len() >= most {
            break;
        }
    }
    eprintln!(
        "fuzz {}: {count} seeds of {ops} steps in {:?}; known differences {met:?}",
        mode.name,
        start.elapsed()
    );
    assert!(
        failures.is_empty(),
        "{} seeds failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// A failure with the shortest trace that shows it.
fn explain(mode: &Mode, seed: u64, ops: usize, failure: run::Failure, scratch: &Path) -> String {
    let trace = draw::trace(mode, seed, ops);
    let patience = Duration::from_secs(asked("PLYFS_FUZZ_SHRINK").unwrap_or(60));
    let fails = |trace: &draw::Trace| run::run(mode, trace, scratch).err();
    let (trace, failure) = shrink::shrink(trace, failure, patience, &fails);
    let mut text = format!(
        "\nDIVERGENCE in mode {name}: replay with PLYFS_FUZZ_MODE={name} PLYFS_FUZZ_SEED={seed} PLYFS_FUZZ_OPS={ops}\n\
         {} lower layers, umask {:03o}\n",
        trace.lowers,
        trace.umask,
        name = mode.name
    );
    for item in &trace.items {
        text += &format!("  in layer {}: {item:?}\n", item.layer);
    }
    for (n, step) in trace.steps.iter().enumerate() {
        let look = if step.look { ", look" } else { "" };
        text += &format!("  {n}: as {}{look}: {:?}\n", step.uid, step.op);
    }
    text + &format!(
        "  at step {}: [{}] {}\n",
        failure.at, failure.kind, failure.text
    )
}
