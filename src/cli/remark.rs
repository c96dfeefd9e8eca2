//! What is said beside what was asked for: lines on standard error that begin with the name that the program was
//! called by, as its log lines do.

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::failure::Failure;

/// The name that this program was called by, without its directory.
pub fn program() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let called = std::env::args_os().next().map(PathBuf::from);
        let name = called.as_ref().and_then(|path| path.file_name());
        name.map_or_else(|| "plyfs".into(), |name| name.to_string_lossy().into())
    })
}

/// What ended the program.
pub fn complain(failure: &Failure) {
    note(failure);
}

/// What stops nothing, and is not as it should be.
pub fn warn(text: &str) {
    note(format_args!("warning: {text}"));
}

/// One line.
pub fn note(text: impl Display) {
    let line = format!("{}: {text}\n", program());
    // Nobody listens, and there is no better place to say so.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
