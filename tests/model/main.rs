//! The reference model: random layers and random work, on the library in process and on a tree in memory at once
//! (`model.rs`). Every result must agree, and the whole tree, the numbers and the upper layer on disk afterwards; the
//! rig adds that lower layers are untouched, the work directory is clean, and a fresh overlay shows the same.
//!
//! A failure is made shorter for a bounded time and printed with its seed. A case that hangs is printed, too, and ends
//! the program (`watch.rs`). The variables are in `docs/testing.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Test code: a failure here is a failed test.

#[path = "../inprocess/mod.rs"]
mod inprocess;
#[path = "../support/mod.rs"]
mod support;

mod act;
mod check;
mod draw;
mod layer;
mod model;
mod watch;

use std::os::unix::fs::MetadataExt;

use plyfs::layer::keys::Namespace;
use plyfs::overlay::options::Options;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use act::Pair;
use draw::{Op, Story};
use inprocess::rig::{Build, namespaces, scratch, stack};
use layer::Which;
use model::DirRename;
use watch::Watch;

#[test]
fn the_overlay_is_the_model() {
    compare_in_all("plain", 96, DirRename::Refused, |_| {});
}

#[test]
fn the_overlay_is_the_model_where_directories_are_redirected() {
    // Redirects are followed in the trusted namespace alone (26.1).
    if namespaces().contains(&Namespace::Trusted) {
        compare(
            "redirect_dir",
            Namespace::Trusted,
            64,
            DirRename::Redirected,
            |o| o.redirect_dir = true,
        );
    }
}

#[test]
fn the_overlay_is_the_model_where_metadata_is_copied_up_alone() {
    if namespaces().contains(&Namespace::Trusted) {
        compare(
            "metacopy",
            Namespace::Trusted,
            64,
            DirRename::Redirected,
            |o| {
                o.redirect_dir = true;
                o.metacopy = true;
            },
        );
    }
}

#[test]
fn the_overlay_is_the_model_where_directories_are_copied_to_be_renamed() {
    compare_in_all("rename_dir=copy", 32, DirRename::Copied, |o| {
        o.rename_copy_limit = Some(1 << 20)
    });
}

fn compare_in_all(what: &str, cases: u32, dir_rename: DirRename, tweak: fn(&mut Options)) {
    for namespace in namespaces() {
        compare(what, namespace, cases, dir_rename, tweak);
    }
}

/// A number from the environment.
fn number(name: &str) -> Option<u32> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|e| panic!("{name}={text}: {e}")),
    )
}

fn compare(
    what: &str,
    namespace: Namespace,
    cases: u32,
    dir_rename: DirRename,
    tweak: fn(&mut Options),
) {
    let seed = number("PLYFS_MODEL_SEED").unwrap_or(1);
    let config = Config {
        cases: number("PLYFS_MODEL_CASES").unwrap_or(cases),
        max_shrink_time: 1000 * number("PLYFS_MODEL_SHRINK").unwrap_or(20),
        max_shrink_iters: u32::MAX,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let counts_dirs = counts_dirs();
    let watch = Watch::new();
    let result = TestRunner::new_with_rng(config, rng).run(&draw::story(), |story| {
        watch
            .quietly(&story, || {
                tell(&story, namespace, dir_rename, tweak, counts_dirs, &watch)
            })
            .map_err(TestCaseError::fail)
    });
    match result {
        Ok(()) => {}
        Err(TestError::Abort(why)) => panic!("no more cases: {why}"),
        Err(TestError::Fail(why, story)) => panic!(
            "\nin mode {what}, marks in {namespace:?}, PLYFS_MODEL_SEED={seed}:\n{}{}\n",
            watch::layers(&story),
            why.message(),
        ),
    }
}

/// Builds the layers of a story and does its work.
fn tell(
    story: &Story,
    namespace: Namespace,
    dir_rename: DirRename,
    tweak: fn(&mut Options),
    counts_dirs: bool,
    watch: &Watch,
) -> Result<(), String> {
    let count = story.lowers.len();
    let layers = story.clone();
    let build = move |build: &Build| {
        for (at, dir) in layers.lowers.iter().enumerate() {
            let which = if at + 1 == count {
                Which::Bottom
            } else {
                Which::Lower
            };
            layer::build(build, build.lower(at + 1), which, dir);
        }
        layer::build(build, build.upper(), Which::Upper, &layers.upper);
    };
    stack(count, build)
        .options(tweak)
        .try_in(namespace, |view| {
            let mut model = layer::merged(&view.layers, &story.lowers, &story.upper, dir_rename);
            model.metacopy = view.options.metacopy;
            let mut pair = Pair {
                model,
                view,
                counts_dirs,
                files: Default::default(),
                dirs: Default::default(),
                known: Default::default(),
            };
            let ends = || std::iter::once(Op::Compare);
            for spots in ends().chain(story.ops.clone()).chain(ends()) {
                let op = spots.at(|spot| pair.path(&spot));
                watch.step(&op);
                pair.step(&op).map_err(|wrong| format!("{op:?}: {wrong}"))?;
                pair.note_names();
            }
            pair.let_go();
            Ok(())
        })
}

/// Do directories have a link for each subdirectory here? Not so on btrfs and some others.
fn counts_dirs() -> bool {
    let dir = scratch();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    dir.path().metadata().unwrap().nlink() == 3
}
