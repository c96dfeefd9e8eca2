//! How the store speaks: an id or path on a line of its own, tables, or JSON.

use std::io::{ErrorKind, Write};

use serde::Serialize;

use super::args::Globals;
use crate::cli::failure::{Failure, reason};
use crate::cli::remark::warn;
use crate::store::error::Error;
use crate::store::treecopy::Copied;

/// Says one value: as JSON if that was asked for, else in these words.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn say(
    globals: &Globals,
    value: &impl Serialize,
    words: impl FnOnce() -> String,
) -> Result<u8, Failure> {
    if globals.json {
        let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
        print(&text)
    } else {
        let text = words();
        match text.is_empty() {
            true => Ok(0),
            false => print(text.trim_end_matches('\n')),
        }
    }
}

/// Writes to standard output. Who reads no more, as `head`, has what he wants.
fn print(text: &str) -> Result<u8, Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::failed(format!(
            "standard output: {}",
            reason(&error)
        ))),
        _ => Ok(0),
    }
}

/// Says a value that has no shorter form than JSON.
///
/// # Errors
/// As [`say`].
pub fn done(value: &impl Serialize) -> Result<u8, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
    print(&text)
}

/// Says that an object is left out because it is damaged.
pub fn damaged(error: Error) {
    warn(&error.to_string());
}

/// Says what a copy could not keep.
pub fn remark_lost(globals: &Globals, copied: &Copied) {
    if globals.quiet {
        return;
    }
    let (owners, attributes) = (copied.owners_lost, copied.attributes_lost);
    if owners > 0 {
        warn(&format!(
            "{owners} objects belong to you now: only root may give them to their owners"
        ));
    }
    if attributes > 0 {
        warn(&format!(
            "{attributes} extended attributes could not be kept"
        ));
    }
}

/// Lines of columns, the first line in capitals; the last column is not filled up.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|word| word.to_uppercase()).collect();
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| {
        all()
            .filter_map(|row| row.get(column))
            .map(String::len)
            .max()
    };
    let mut text = String::new();
    for row in all() {
        for (i, cell) in row.iter().enumerate() {
            let width = if i + 1 < row.len() {
                width(i).unwrap_or_default() + 2
            } else {
                0
            };
            text.push_str(&format!("{cell:width$}"));
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// Bytes as people read them.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut scaled = bytes;
    let mut rest = 0;
    while scaled >= 1024 && unit + 1 < UNITS.len() {
        rest = scaled % 1024;
        scaled /= 1024;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{scaled}.{} {}", rest * 10 / 1024, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_straight() {
        let rows = [
            vec!["a".into(), "bc".into()],
            vec!["long".into(), "".into()],
        ];
        assert_eq!(
            table(&["id", "name"], &rows),
            "ID    NAME\na     bc\nlong\n"
        );
    }

    #[test]
    fn bytes_are_short() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(200 << 20), "200.0 MiB");
    }
}
