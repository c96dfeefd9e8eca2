//! `plyfs store|layer|container|image|snapshot ...`: the verbs of the store as words on a terminal.
//!
//! Invariant: stdout carries what was asked for and nothing else (an id, a path, a table, JSON); remarks go to stderr;
//! the exit code is that of [`crate::store::error::Kind`]. Read [`args`] first, then one file per noun.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::failure::Failure;
use super::logging::{self, Sink};
use crate::store::Store;
use crate::store::error::Error;
use crate::sys::process::{self, SignalSet, signal};

pub mod admin;
pub mod args;
pub mod container;
pub mod image;
pub mod layer;
pub mod mounts;
pub mod output;
pub mod progress;
pub mod snapshot;
pub mod transfer;
pub mod view;

use args::{DedupWord, Globals, Noun, StoreOrder};

/// Does what was asked for.
///
/// # Errors
/// One line and the code of its kind.
pub fn run(order: StoreOrder) -> Result<u8, Failure> {
    logging::start(Sink::Stderr, false);
    // Deep trees need many open directories.
    process::raise_file_limit().unwrap_or_else(|errno| log::warn!("file limit: {errno}"));
    let globals = order.globals;
    match order.noun {
        Noun::Store(verb) => admin::run(&globals, verb),
        Noun::Layer(verb) => layer::run(&globals, &interruptible(globals.open()?)?, verb),
        Noun::Container(verb) => container::run(&globals, &interruptible(globals.open()?)?, verb),
        Noun::Image(verb) => image::run(&globals, &interruptible(globals.open()?)?, verb),
        Noun::Snapshot(verb) => snapshot::run(&globals, &interruptible(globals.open()?)?, verb),
    }
}

/// From now on a signal that asks for the end makes the store clean up after itself first; a second one ends at once.
pub fn interruptible(store: Store) -> Result<Store, Failure> {
    let asked = [signal::SIGINT, signal::SIGTERM, signal::SIGHUP];
    let signals =
        SignalSet::block(&asked).map_err(|errno| Failure::failed(format!("signals: {errno}")))?;
    let progress = Arc::clone(store.progress());
    std::thread::spawn(move || {
        while let Ok(caught) = signals.wait() {
            if progress.stop() {
                std::process::exit(128 + caught.signal);
            }
        }
    });
    Ok(store)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::new(error.kind.code(), error)
    }
}

impl Globals {
    /// Opens the store that is meant.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open(&self) -> Result<Store, Failure> {
        let mut store = Store::open(&self.root_dir()?, &self.run_dir()?)?;
        store.sync = self.sync.policy();
        if let Some(word) = self.dedup {
            store.dedup_new = word == DedupWord::On;
        }
        Ok(store)
    }

    /// The store that was named, or the user's own.
    ///
    /// # Errors
    /// When there is neither a name nor a home.
    pub fn root_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(root) = &self.root {
            return Ok(root.clone());
        }
        if process::effective_ids().0 == 0 {
            return Ok("/var/lib/plyfs".into());
        }
        let data = env_dir("XDG_DATA_HOME");
        let data = data.or_else(|| Some(env_dir("HOME")?.join(".local/share")));
        let none = "where is the store? Neither --root nor XDG_DATA_HOME nor HOME is set";
        Ok(data.ok_or_else(|| Failure::usage(none))?.join("plyfs"))
    }

    /// For what does not outlive a boot.
    ///
    /// # Errors
    /// As [`Globals::root_dir`].
    pub fn run_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(run) = &self.run {
            return Ok(run.clone());
        }
        if process::effective_ids().0 == 0 {
            return Ok("/run/plyfs".into());
        }
        match env_dir("XDG_RUNTIME_DIR") {
            Some(dir) => Ok(dir.join("plyfs")),
            None => Ok(self.root_dir()?.join("run")),
        }
    }
}

/// A directory that the environment names; relative ones do not count, as the XDG specification has it.
fn env_dir(variable: &str) -> Option<PathBuf> {
    let dir = PathBuf::from(std::env::var_os(variable)?);
    Path::is_absolute(&dir).then_some(dir)
}
