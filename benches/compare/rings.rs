//! FUSE over io_uring: the kernel offers it while this program runs, whatever was set before.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use plyfs::sys::fuse_ring::PARAMETER;

/// Waits for the end of whoever holds its standard input, then writes its first argument into its second.
const KEEPER: &str = r#"trap '' HUP INT TERM; cat >/dev/null; echo "$1" >"$2""#;

/// The kernel offers rings for as long as this lives.
pub struct Offer {
    /// Sets again what was set before. A process of its own, so that it does so after a panic and a signal, too.
    keeper: Child,
}

impl Offer {
    /// Has the kernel offer rings.
    ///
    /// # Errors
    /// Why not: the kernel is too old for them.
    pub fn new() -> Result<Offer, String> {
        let wrong = |error| format!("{PARAMETER}: {error}");
        let before = fs::read_to_string(PARAMETER).map_err(wrong)?;
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh", before.trim(), PARAMETER]);
        // Ctrl-C on a terminal is not for it.
        keeper.stdin(Stdio::piped()).process_group(0);
        let keeper = keeper.spawn().map_err(|error| format!("sh: {error}"))?;
        let offer = Offer { keeper };
        fs::write(PARAMETER, "Y").map_err(wrong)?;
        Ok(offer)
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ended = self.keeper.wait();
    }
}
