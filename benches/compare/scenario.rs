//! What a scenario is: its rows, its lower layers, and a run in which the rows are timed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::servers::{Mounted, Server};

/// Rows that are measured together, on the same layers.
pub struct Scenario {
    pub name: &'static str,
    /// Its rows, in the order of the table.
    pub rows: &'static [&'static str],
    /// Programs it cannot do without.
    pub programs: &'static [&'static str],
    /// Makes the lower layers: `l1`, `l2`, ... below the site's root, the top-most first.
    pub build: fn(&Site),
    /// One run for one server.
    pub run: fn(&mut Run),
}

impl Scenario {
    /// The first program that is not there.
    pub fn missing_program(&self) -> Option<&'static str> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let has =
            |program: &&str| std::env::split_paths(&path).any(|dir| dir.join(program).exists());
        self.programs.iter().copied().find(|program| !has(program))
    }
}

/// All scenarios, in the order of the table.
pub fn all() -> Vec<Scenario> {
    [
        crate::walk::scenarios(),
        crate::listing::scenarios(),
        crate::small::scenarios(),
        crate::change::scenarios(),
        crate::copyup::scenarios(),
        crate::data::scenarios(),
        crate::random::scenarios(),
        crate::programs::scenarios(),
        crate::build::scenarios(),
        crate::deep::scenarios(),
        crate::memory::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The directories of a scenario.
#[derive(Clone, Debug)]
pub struct Site {
    pub root: PathBuf,
    /// Part of the full size, in percent.
    pub size: u64,
}

impl Site {
    /// Lower layer `n`; 1 is the top-most. Made when it is not there.
    pub fn lower(&self, n: usize) -> PathBuf {
        let at = self.root.join(format!("l{n}"));
        std::fs::create_dir_all(&at).unwrap();
        at
    }

    /// This many, for the size that is wanted.
    pub fn scaled(&self, full: usize) -> usize {
        (full * self.size as usize / 100).max(1)
    }
}

/// One run: a server, layers of its own, and what was measured so far.
pub struct Run {
    pub site: Site,
    pub server: Server,
    figures: Vec<(String, f64)>,
    mounted: Option<Mounted>,
}

impl Run {
    pub fn new(site: Site, server: Server) -> Run {
        Run {
            site,
            server,
            figures: Vec::new(),
            mounted: None,
        }
    }

    /// Where the merged view is.
    pub fn merged(&self) -> PathBuf {
        self.site.root.join("m")
    }

    /// Mounts so many lower layers and the upper.
    pub fn mount(&mut self, lowers: usize) -> PathBuf {
        self.mount_with(lowers, "")
    }

    /// As `mount`, with further options, which all servers know.
    pub fn mount_with(&mut self, lowers: usize, options: &str) -> PathBuf {
        self.unmount();
        self.mounted = Some(Mounted::new(self.server, &self.site.root, lowers, options));
        self.merged()
    }

    /// Unmounts, if something is mounted; the daemon has ended then.
    pub fn unmount(&mut self) {
        if let Some(mounted) = self.mounted.take() {
            mounted.unmount();
        }
    }

    /// The daemon's process, if there is one.
    pub fn daemon(&self) -> Option<u32> {
        self.mounted.as_ref().and_then(Mounted::daemon)
    }

    /// Times an action for a row, in seconds.
    pub fn time<T>(&mut self, row: &str, action: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let value = action();
        self.record(row, start.elapsed().as_secs_f64());
        value
    }

    /// A figure for a row: seconds, or bytes where the row's name says memory.
    pub fn record(&mut self, row: &str, figure: f64) {
        self.figures.push((row.into(), figure));
    }

    /// What was measured; nothing is mounted any more.
    pub fn end(mut self) -> Vec<(String, f64)> {
        self.unmount();
        self.figures
    }
}

/// Bytes that look like those of programs, always the same: half of them repeat.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut data = Vec::with_capacity(len + 16);
    while data.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend(state.to_le_bytes());
        data.extend(b"the same");
    }
    data.truncate(len);
    data
}

/// Is exactly this in the file?
#[track_caller]
pub fn must_hold(path: &Path, expected: &[u8]) {
    let found = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(
        found == expected,
        "{}: other bytes than written",
        path.display()
    );
}
