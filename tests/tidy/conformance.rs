//! The table of rows in `docs/conformance.md` cannot rot: what it calls tested is a test that names the row, and a row
//! that a test names is called tested.
//!
//! `PLYFS_WRITE_CONFORMANCE=1 cargo test --test tidy` writes the table anew; the reasons of untested rows are kept.

use std::collections::{BTreeMap, BTreeSet};

use super::rules::Complaints;
use super::source::Source;

/// The table of the document.
pub const DOCUMENT: &str = "docs/conformance.md";
/// The rows of the specification's test matrix: T001 to this.
pub const LAST_ROW: u32 = 139;
/// A row without a test says one of these, and why.
const REASONS: [&str; 2] = ["cannot run here: ", "not yet: "];
/// So many tests are named in a row; there may be more.
const NAMED: usize = 3;

/// Row to the tests (`mount/merge.rs::t001_x`) that name it in their name, body, or the comment above.
pub type Tests = BTreeMap<u32, BTreeSet<String>>;

/// What the tests of these files say they test.
pub fn tests(sources: &[Source]) -> Tests {
    let mut found = Tests::new();
    for source in sources {
        let file = source.path.strip_prefix("tests/").unwrap_or(&source.path);
        let lines: Vec<&str> = source.text.lines().collect();
        // Where the comment above each test begins.
        let starts: Vec<usize> = (0..lines.len())
            .filter(|n| lines[*n].trim() == "#[test]")
            .map(|n| {
                let above = lines[..n].iter().rev();
                n - above
                    .take_while(|l| l.trim_start().starts_with("//"))
                    .count()
            })
            .collect();
        for (i, start) in starts.iter().enumerate() {
            let end = starts.get(i + 1).copied().unwrap_or(lines.len());
            let body = &lines[*start..end];
            let name = body.iter().find_map(|l| l.trim().strip_prefix("fn "));
            let name = name.and_then(|n| n.split('(').next()).unwrap_or_default();
            for row in body.iter().flat_map(|line| rows_in(line)) {
                found
                    .entry(row)
                    .or_default()
                    .insert(format!("{file}::{name}"));
            }
        }
    }
    found
}

/// `T012`, `t012_`: the numbers.
fn rows_in(line: &str) -> Vec<u32> {
    let bytes = line.as_bytes();
    let number = |i: usize| {
        let digits = line.get(i + 1..i + 4)?;
        let ends = !bytes.get(i + 4).is_some_and(u8::is_ascii_alphanumeric);
        let starts = i == 0 || !bytes[i - 1].is_ascii_alphanumeric();
        let all = digits.bytes().all(|b| b.is_ascii_digit());
        (starts && ends && all).then(|| digits.parse().ok())?
    };
    (0..bytes.len())
        .filter(|i| matches!(bytes[*i], b'T' | b't'))
        .filter_map(number)
        .collect()
}

/// Row to what the document says of it.
fn said(document: &str) -> Vec<(u32, &str)> {
    let row = |line: &'_ str| -> Option<u32> {
        let number = line.strip_prefix("| T")?.get(..3)?.parse().ok()?;
        line.get(6..)?.starts_with(" | ").then_some(number)
    };
    document
        .lines()
        .filter_map(|line| Some((row(line)?, line.get(9..)?.trim_end_matches(" |"))))
        .collect()
}

/// Complaints about the document.
pub fn check(document: &str, tests: &Tests) -> Complaints {
    let said = said(document);
    let mut complaints = Complaints::new();
    let numbers: Vec<u32> = said.iter().map(|(number, _)| *number).collect();
    if numbers != (1..=LAST_ROW).collect::<Vec<_>>() {
        complaints.push(format!(
            "not one row for each of T001 to T{LAST_ROW}, in order"
        ));
    }
    let none = BTreeSet::new();
    for (number, words) in said {
        let real = tests.get(&number).unwrap_or(&none);
        let mut wrong = |why: String| complaints.push(format!("T{number:03}: {why}"));
        match REASONS.iter().find_map(|r| words.strip_prefix(r)) {
            Some("") => wrong("no reason given".into()),
            Some(_) if !real.is_empty() => wrong(format!("is tested by {real:?}")),
            Some(_) => {}
            None => {
                for name in words.split(' ').map(|w| w.trim_matches(['`', ','])) {
                    if !real.contains(name) {
                        wrong(format!("`{name}` is no test that names this row"));
                    }
                }
            }
        }
    }
    complaints
}

/// The document with its rows brought up to date.
pub fn rewritten(document: &str, tests: &Tests) -> String {
    let old: BTreeMap<u32, &str> = said(document).into_iter().collect();
    let row = |number: u32| {
        let words = match tests.get(&number) {
            Some(real) => {
                let names = real.iter().take(NAMED).map(|name| format!("`{name}`"));
                names.collect::<Vec<_>>().join(", ")
            }
            None => match old.get(&number) {
                Some(words) if REASONS.iter().any(|r| words.starts_with(r)) => (*words).to_string(),
                _ => "not yet: no test names it".to_string(),
            },
        };
        format!("| T{number:03} | {words} |\n")
    };
    let is_row = |line: &&str| line.starts_with("| T") && said(line).len() == 1;
    let before = document.lines().take_while(|line| !is_row(line));
    let after = document.lines().rev().take_while(|line| !is_row(line));
    let after: Vec<&str> = after.collect();
    let lines = |text: Vec<&str>| {
        text.iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    lines(before.collect())
        + &(1..=LAST_ROW).map(row).collect::<String>()
        + &lines(after.into_iter().rev().collect())
}
