//! [`Failure`]: what ends the program early, as one line and an exit code.

use std::fmt;
use std::path::Path;

/// One line for stderr and the exit code: 1 failed, 2 wrong usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    text: String,
}

impl Failure {
    /// It was asked for properly and did not work.
    pub fn failed(text: impl fmt::Display) -> Failure {
        Failure::new(1, text)
    }

    /// It was not asked for properly.
    pub fn usage(text: impl fmt::Display) -> Failure {
        Failure::new(2, text)
    }

    /// With a code of its own.
    pub fn new(code: u8, text: impl fmt::Display) -> Failure {
        // One line, whatever a path or a helper program may contain.
        let text = text.to_string().trim().replace(['\n', '\r'], " ");
        Failure { code, text }
    }

    /// Something about a path: `what PATH: why`.
    pub fn at(what: &str, path: &Path, why: impl fmt::Display) -> Failure {
        Failure::failed(format!("{what} {}: {why}", shown(path)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A path on one line.
pub fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// What an I/O error says, without the number.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_always() {
        let failure = Failure::at("lower layer", Path::new("a\nb"), "No\nsuch");
        assert_eq!(failure.to_string(), "lower layer a\\nb: No such");
        assert_eq!((failure.code, Failure::usage("x").code), (1, 2));
    }

    #[test]
    fn errors_lose_their_number() {
        let error = std::io::Error::from_raw_os_error(2);
        assert_eq!(reason(&error), "No such file or directory");
    }
}
