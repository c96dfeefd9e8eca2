//! Style as a test: the layering rule of the rooms, words that belong to one room, sizes, and small habits.
//!
//! The rules are in `tidy/rules.rs`. Each one is shown bad snippets here as well, so that a rule that went blind
//! fails too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

#[path = "tidy/conformance.rs"]
mod conformance;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;
use rules::*;
use source::Source;

/// Rows of the specification's test matrix that the tests must name.
const ROWS: &[(u32, u32)] = &[
    (1, 8),
    (26, 51),
    (57, 68),
    (76, 78),
    (84, 88),
    (90, 97),
    (110, 116),
];

#[test]
fn rooms_import_only_what_they_may() {
    complain(sources("src"), layering);
    bad(layering, "src/sys/a.rs", "use crate::overlay::Overlay;");
    bad(
        layering,
        "src/layer/a.rs",
        "use crate::{sys::errno, fs::adapter};",
    );
    bad(
        layering,
        "src/overlay/view/a.rs",
        "fn f() { super::super::change::copyup::go() }",
    );
    bad(
        layering,
        "src/overlay/view/a.rs",
        "use crate::overlay::{node, change::x};",
    );
    bad(layering, "src/store/a.rs", "use crate::overlay::options;");
    bad(layering, "src/net/a.rs", "use crate::store::meta;");
    bad(layering, "src/sys/a.rs", "use crate::net::host::Host;");
    good(
        layering,
        "src/overlay/a.rs",
        "use crate::sys::errno;\n#[cfg(test)]\nmod tests { use crate::fs::x; }",
    );
}

#[test]
fn words_stay_in_their_room() {
    complain(sources("src"), words);
    bad(words, "src/overlay/a.rs", "use libc::c_int;");
    bad(words, "src/overlay/a.rs", "use std::{ffi, fs::File};");
    bad(words, "src/layer/a.rs", "fn f() { unsafe { g() } }");
    bad(words, "src/fs/a.rs", "fn f() { println!(\"x\") }");
    bad(words, "src/sys/a.rs", "fn f() { std::process::exit(1) }");
    good(
        words,
        "src/overlay/a.rs",
        "// libc::x, unsafe\nconst A: &str = \"unsafe todo!()\";",
    );
    good(words, "src/fs/a.rs", "use fuser::Filesystem;");
}

#[test]
fn pure_files_do_no_io() {
    complain(sources("src"), pure);
    bad(
        pure,
        "src/overlay/view/merge.rs",
        "use crate::sys::dir::DirFd;",
    );
}

#[test]
fn files_and_functions_are_short() {
    complain(sources("src"), sizes);
    complain(sources("tests"), sizes);
    bad(
        sizes,
        "src/sys/a.rs",
        &"//! x\n".repeat(FILE_LINES_USUAL + 1),
    );
    bad(
        sizes,
        "src/sys/a.rs",
        &format!("fn f() {{\n{}}}", "g();\n".repeat(FUNCTION_LINES_MAX)),
    );
    good(
        sizes,
        "src/sys/a.rs",
        &format!(
            "#[cfg(test)]\nmod tests {{\n{}}}\n",
            "//\n".repeat(FILE_LINES_MAX)
        ),
    );
    for (path, _) in LONG_FILES {
        let source = sources(path)
            .pop()
            .unwrap_or_else(|| panic!("LONG_FILES names {path}, which is not there"));
        assert!(
            source.lines_without_tests() > FILE_LINES_USUAL,
            "{path} fits again: take it out of LONG_FILES"
        );
    }
}

#[test]
fn text_is_plain() {
    complain(sources("src"), text);
    complain(sources("tests"), text);
    complain(files("", &["md", "toml", "sh"]), plain);
    bad(text, "src/sys/a.rs", "fn no_doc() {}");
    bad(text, "src/sys/a.rs", "//! x\nlet a = \"\u{e9}\";");
    bad(
        text,
        "src/sys/a.rs",
        &format!("//! x\n// {}", "y".repeat(COLUMNS_MAX)),
    );
    bad(
        text,
        "src/sys/a.rs",
        concat!("//! x\n// see ", "/wo", "rk/x"),
    );
    bad(text, "tests/a.rs", concat!("//! x\n#[igno", "re]"));
    good(
        text,
        "src/sys/a.rs",
        "//! x\n// \u{a7}12.4: in workdir/work/incompat",
    );
}

#[test]
fn dropped_results_have_a_reason() {
    complain(sources("src"), dropped);
    bad(dropped, "src/sys/a.rs", "fn f() {\n    let _ = g();\n}");
    bad(
        dropped,
        "src/sys/a.rs",
        "fn f() {\n    // The socket may be gone.\n    h();\n    let _ = g();\n}",
    );
    good(
        dropped,
        "src/sys/a.rs",
        "fn f() {\n    // The socket may be gone.\n    let _ = g();\n}",
    );
    good(
        dropped,
        "src/sys/a.rs",
        "fn f() {\n    let _ = g(); // best effort\n}",
    );
}

#[test]
fn unsafe_blocks_say_why() {
    complain(sources("src"), safety);
    bad(safety, "src/sys/ffi.rs", "fn f() {\n    unsafe { g() }\n}");
    good(
        safety,
        "src/sys/ffi.rs",
        "fn f() {\n    // SAFETY: g takes no pointer.\n    unsafe { g() }\n}",
    );
}

#[test]
fn every_row_of_the_specification_has_a_test() {
    let tests: String = sources("tests").iter().map(|s| s.text.as_str()).collect();
    let named = |n: u32| {
        ["T", "t"]
            .iter()
            .any(|t| tests.contains(&format!("{t}{n:03}")))
    };
    let missing: Vec<String> = ROWS
        .iter()
        .flat_map(|(first, last)| *first..=*last)
        .filter(|n| !named(*n))
        .map(|n| format!("T{n:03}"))
        .collect();
    assert!(
        missing.is_empty(),
        "no test names these rows of the test matrix: {}",
        missing.join(" ")
    );
}

#[test]
fn the_table_of_conformance_is_true() {
    let mut tested = sources("tests");
    tested.retain(|s| !s.path.starts_with("tests/tidy") && !s.path.starts_with("tests/support/"));
    tested.extend(sources("src"));
    let tests = conformance::tests(&tested);
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(conformance::DOCUMENT);
    let mut document = fs::read_to_string(&place).unwrap();
    if std::env::var_os("PLYFS_WRITE_CONFORMANCE").is_some() {
        document = conformance::rewritten(&document, &tests);
        fs::write(&place, &document).unwrap();
    }
    let complaints = conformance::check(&document, &tests);
    assert!(
        complaints.is_empty(),
        "{}: PLYFS_WRITE_CONFORMANCE=1 cargo test --test tidy writes it anew:\n{}\n",
        conformance::DOCUMENT,
        complaints.join("\n")
    );

    let text = "//! x\n/// T001 and more\n#[test]\nfn t002_a() {}\n// xT004 T0055\n#[test]\nfn b() { \"T003\" }\n";
    let tests = conformance::tests(&[Source::new("tests/m/a.rs", text)]);
    assert_eq!(Vec::from_iter(tests.keys().copied()), [1, 2, 3]);
    assert!(tests[&1].contains("m/a.rs::t002_a") && tests[&3].contains("m/a.rs::b"));
    let good = conformance::rewritten("# x\n\n| T001 | |\n\nend\n", &tests);
    assert!(conformance::check(&good, &tests).is_empty(), "{good}");
    assert!(good.starts_with("# x\n\n") && good.ends_with("\nend\n"));
    for (true_words, false_words) in [
        ("m/a.rs::t002_a", "m/a.rs::gone"),
        ("m/a.rs::b", "m/a.rs::t002_a"),
        ("`m/a.rs::b`", "not yet: soon"),
        ("| T009 | not yet: no test names it |\n", ""),
        ("| T009 | not yet: no test names it", "| T009 | not yet: "),
        ("| T009 | not yet: no test names it", "| T009 | `m/a.rs::b`"),
    ] {
        let bad = good.replacen(true_words, false_words, 1);
        assert!(
            bad != good && !conformance::check(&bad, &tests).is_empty(),
            "{bad}"
        );
    }
}

fn complain(sources: Vec<Source>, rule: fn(&Source) -> Complaints) {
    let complaints: Complaints = sources.iter().flat_map(rule).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn bad(rule: fn(&Source) -> Complaints, path: &str, text: &str) {
    assert!(
        !rule(&Source::new(path, text)).is_empty(),
        "the rule does not see what is wrong with:\n{text}"
    );
}

fn good(rule: fn(&Source) -> Complaints, path: &str, text: &str) {
    let complaints = rule(&Source::new(path, text));
    assert!(
        complaints.is_empty(),
        "the rule complains about good code:\n{text}\n{complaints:?}"
    );
}

fn sources(below: &str) -> Vec<Source> {
    files(below, &["rs"])
}

/// All files of the package below a path (or that file) with one of these extensions.
fn files(below: &str, extensions: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut todo = vec![root.join(below)];
    while let Some(path) = todo.pop() {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let hidden = path != root && name.starts_with('.');
        if path.is_dir() && !hidden && name != "target" {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path
            .extension()
            .is_some_and(|e| extensions.iter().any(|x| e == *x))
        {
            let text = fs::read_to_string(&path).unwrap();
            let inside = path
                .strip_prefix(root)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            found.push(Source::new(&inside, &text));
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
