//! Words that people choose: names of networks, containers, aliases and interfaces. Checked once, where they come in;
//! they become file names and names in DNS later.

use super::error::{Error, Result};

/// Longest name of a network, container or alias in bytes: that of a label in DNS.
pub const NAME_BYTES_MAX: usize = 63;
/// Longest name of an interface in bytes (`IFNAMSIZ` with its NUL is 16).
pub const IFNAME_BYTES_MAX: usize = 15;
/// Longest id of a container in bytes: engines use 64 hexadecimal digits.
pub const ID_BYTES_MAX: usize = 128;

/// A name of a network, container or alias: letters, digits, `_`, `-`, `.`, not at the start.
///
/// # Errors
/// Usage.
pub fn check(what: &str, name: &str) -> Result<()> {
    check_word(what, name, NAME_BYTES_MAX)
}

/// An id by which an engine knows its container: as [`check`], but longer.
///
/// # Errors
/// Usage.
pub fn check_id(what: &str, id: &str) -> Result<()> {
    check_word(what, id, ID_BYTES_MAX)
}

fn check_word(what: &str, word: &str, most: usize) -> Result<()> {
    let shown = word.escape_debug();
    let bad = |why: &str| Err(Error::usage(format!("{what} \"{shown}\": {why}")));
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c));
    match word {
        "" => bad("is empty"),
        _ if word.len() > most => bad(&format!("is longer than {most} bytes")),
        _ if word.contains(odd) => bad("has other characters than letters, digits, _ - ."),
        _ if !word.starts_with(|c: char| c.is_ascii_alphanumeric()) => {
            bad("does not start with a letter or digit")
        }
        _ => Ok(()),
    }
}

/// A name of a network interface.
///
/// # Errors
/// Usage.
pub fn check_interface(what: &str, name: &str) -> Result<()> {
    let shown = name.escape_debug();
    let bad = |why: &str| Err(Error::usage(format!("{what} \"{shown}\": {why}")));
    match name {
        "" | "." | ".." => bad("is no name of an interface"),
        _ if name.len() > IFNAME_BYTES_MAX => {
            bad(&format!("is longer than {IFNAME_BYTES_MAX} bytes"))
        }
        _ if name.contains(|c: char| !c.is_ascii_graphic() || "/:@%\"'\\".contains(c)) => {
            bad("has characters that an interface cannot have")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_files_and_in_dns() {
        for good in ["a", "web-1", "A.b_c", &"x".repeat(63)] {
            assert_eq!(check("name", good), Ok(()));
        }
        for bad in [
            "",
            ".",
            "..",
            "-a",
            "a/b",
            "a\0b",
            "a b",
            "\u{e4}",
            "a@b",
            &"x".repeat(64),
        ] {
            assert!(check("name", bad).is_err(), "{bad}");
        }
        assert!(check_id("id", &"f".repeat(64)).is_ok());
    }

    #[test]
    fn interfaces_fit_the_kernel() {
        assert_eq!(check_interface("i", "eth0"), Ok(()));
        for bad in ["", ".", "..", "a/b", "a b", "sixteen-letters-"] {
            assert!(check_interface("i", bad).is_err(), "{bad}");
        }
    }
}
