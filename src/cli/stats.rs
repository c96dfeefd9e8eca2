//! What a mount that runs says of itself when it is asked (SIGUSR1): one line of its log.

use std::ffi::OsStr;
use std::path::Path;

use super::failure::shown;
use super::logging;
use super::store::output::bytes;
use crate::overlay::Overlay;
use crate::overlay::stats::Stats;
use crate::sys::process;

/// Says what is in use at the mount point `place`.
pub fn tell(place: &OsStr, overlay: &Overlay) {
    let words = words(&overlay.stats(), process::resident());
    logging::answer(&format!("{}: {words}", shown(Path::new(place))));
}

fn words(stats: &Stats, resident: Option<u64>) -> String {
    let memory = resident.map_or_else(|| "unknown".into(), bytes);
    format!(
        "nodes known: {}, files open: {} (opened so far: {}), copied up: {}, fds kept: {}, memory: {memory}",
        stats.known, stats.open, stats.opened, stats.copied_up, stats.kept_fds
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_names() {
        let stats = Stats {
            known: 1,
            open: 2,
            opened: 3,
            copied_up: 4,
            kept_fds: 5,
        };
        let wanted = "nodes known: 1, files open: 2 (opened so far: 3), copied up: 4, fds kept: 5, memory: 1.5 KiB";
        assert_eq!(words(&stats, Some(1536)), wanted);
        assert!(words(&stats, process::resident()).ends_with(" MiB"));
    }
}
