//! The rules: each takes a source file and returns complaints, `FILE:LINE: what is wrong`.
//!
//! The tables at the top are the rules; the functions below only read them.

use super::source::Source;

/// What a rule found wrong.
pub type Complaints = Vec<String>;

/// Room, and the rooms it may import besides itself, `sync` and `sys::errno`, which are open to all.
const ROOMS: &[(&str, &[&str])] = &[
    ("sync", &[]),
    ("sys", &[]),
    ("layer", &["sys"]),
    ("overlay", &["layer", "sys"]),
    ("fs", &["overlay", "layer", "sys"]),
    ("store", &["layer", "sys"]),
    ("net", &["sys"]),
    ("cli", &["fs", "overlay", "layer", "sys", "store", "net"]),
    ("bin", &["cli"]),
];

/// Parts of a room that may not import another part: from, to.
const PARTS: &[(&str, &str)] = &[
    ("overlay/view", "overlay/change"),
    ("overlay/node", "overlay/change"),
];

/// A path (its first segments) and where alone it may be named.
const PATHS_ONLY_IN: &[(&str, &[&str])] = &[
    ("libc", &["sys/"]),
    ("rustix", &["sys/"]),
    ("std::os::fd::RawFd", &["sys/"]),
    ("std::os::fd::AsRawFd", &["sys/"]),
    ("std::os::fd::FromRawFd", &["sys/"]),
    ("fuser", &["fs/"]),
    ("anyhow", &["cli/", "bin/"]),
    ("clap", &["cli/", "bin/"]),
    ("indicatif", &["cli/", "bin/"]),
    ("std::process::exit", &["cli/", "bin/"]),
    ("process::exit", &["cli/", "bin/"]),
    ("std::path", PATH_ROOMS),
    ("std::fs", FILE_ROOMS),
];

/// Where a path is turned into a root to work from, or shown to somebody. Run time code is fd based.
const PATH_ROOMS: &[&str] = &[
    "sys/",
    "layer/layer.rs",
    "layer/stack.rs",
    "overlay/mount.rs",
    "overlay/options",
    "fs/session",
    // fuser passes the target of a symlink so.
    "fs/adapter.rs",
    "store/",
    "net/",
    "cli/",
];

/// As `PATH_ROOMS`, but these open files by path.
const FILE_ROOMS: &[&str] = &[
    "sys/",
    "layer/layer.rs",
    "overlay/mount.rs",
    "store/",
    "net/",
    "cli/",
];

/// A word in code and where alone it may stand. Empty: nowhere.
const WORDS_ONLY_IN: &[(&str, &[&str])] = &[
    ("unsafe", &["sys/ffi.rs", "sys/ffi/"]),
    ("extern", &["sys/ffi/memory.rs"]),
    ("println!", &["cli/", "bin/"]),
    ("eprintln!", &["cli/", "bin/"]),
    ("print!", &["cli/", "bin/"]),
    ("eprint!", &["cli/", "bin/"]),
    ("todo!", &[]),
    ("unimplemented!", &[]),
    ("dbg!", &[]),
];

/// No file is longer, tests not counted.
pub const FILE_LINES_MAX: usize = 800;
/// Longer files need a row in `LONG_FILES`.
pub const FILE_LINES_USUAL: usize = 400;
/// From `fn` to its closing brace.
pub const FUNCTION_LINES_MAX: usize = 70;
/// Columns of a line of Rust.
pub const COLUMNS_MAX: usize = 120;

/// Files that may be longer than usual, and how long. It only shrinks: a file that fits again must leave the list.
pub const LONG_FILES: &[(&str, usize)] = &[
    // One short method per request of FUSE.
    ("src/fs/adapter.rs", 600),
    // Short system calls in the order of what they are about.
    ("src/sys/ffi.rs", 660),
];

/// The rooms import each other in one direction only.
pub fn layering(source: &Source) -> Complaints {
    let Some(module) = module_of(&source.path) else {
        return Vec::new();
    };
    let Some((room, may)) = ROOMS
        .iter()
        .find(|(room, _)| module.first().is_some_and(|m| m == room))
    else {
        return Vec::new();
    };
    let mut complaints = Vec::new();
    for named in source.paths() {
        let Some(target) = absolute(&module, &named.segments) else {
            continue;
        };
        let open = target.first().is_some_and(|t| t == "sync")
            || target.starts_with(&["sys".into(), "errno".into()]);
        let is_room = ROOMS
            .iter()
            .any(|(r, _)| Some(*r) == target.first().map(String::as_str));
        let first = target.first().map_or("", String::as_str);
        if is_room && !open && first != *room && !may.contains(&first) {
            complaints.push(at(
                source,
                named.line,
                &format!("`{room}` may not import `{first}` (layering rule)"),
            ));
        }
        for (from, to) in PARTS {
            if module.join("/").starts_with(from) && target.join("/").starts_with(to) {
                complaints.push(at(
                    source,
                    named.line,
                    &format!("`{from}` may not import `{to}` (layering rule)"),
                ));
            }
        }
    }
    complaints
}

/// `src/overlay/view/lookup.rs` is module `overlay::view::lookup`; the crate root has none.
fn module_of(path: &str) -> Option<Vec<String>> {
    let inner = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let mut segments: Vec<String> = inner.split('/').map(str::to_string).collect();
    if segments.last().is_some_and(|s| s == "mod") {
        segments.pop();
    }
    (segments != ["lib"]).then_some(segments)
}

/// A path as seen from the crate root, if it starts with `crate`, `plyfs` or `super`.
fn absolute(module: &[String], segments: &[String]) -> Option<Vec<String>> {
    match segments.first()?.as_str() {
        "crate" | "plyfs" => Some(segments[1..].to_vec()),
        "super" => {
            let ups = segments.iter().take_while(|s| *s == "super").count();
            let base = module.len().checked_sub(ups)?;
            Some([&module[..base], &segments[ups..]].concat())
        }
        _ => None,
    }
}

/// Some crates, modules and words belong to one room.
pub fn words(source: &Source) -> Complaints {
    let place = source.path.trim_start_matches("src/");
    let allowed = |rooms: &[&str]| rooms.iter().any(|room| place.starts_with(room));
    let mut complaints = Vec::new();
    for named in source.paths() {
        let path = named.segments.join("::");
        for (banned, rooms) in PATHS_ONLY_IN {
            let hit = path == *banned
                || path
                    .strip_prefix(banned)
                    .is_some_and(|rest| rest.starts_with("::"));
            // A lone word may be anybody's variable; it is the crate only at the start of a longer path.
            if hit && (named.segments.len() > 1) && !allowed(rooms) {
                complaints.push(at(
                    source,
                    named.line,
                    &format!("`{banned}` belongs to {rooms:?} only"),
                ));
            }
        }
    }
    for (line, code) in source.code_lines() {
        for (banned, rooms) in WORDS_ONLY_IN {
            if has_word(code, banned) && !allowed(rooms) {
                complaints.push(at(
                    source,
                    line,
                    &format!("`{banned}` belongs to {rooms:?} only"),
                ));
            }
        }
    }
    complaints
}

fn has_word(line: &str, word: &str) -> bool {
    let is_ident = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(i, _)| {
        let after = line[i + word.len()..].chars().next();
        !line[..i].ends_with(is_ident) && (word.ends_with('!') || !after.is_some_and(is_ident))
    })
}

/// Deciding what layers mean together is done without I/O.
pub fn pure(source: &Source) -> Complaints {
    if source.path != "src/overlay/view/merge.rs" {
        return Vec::new();
    }
    let io = |line: &str| {
        ["DirFd", "FileFd", "Layer"]
            .iter()
            .any(|word| has_word(line, word))
    };
    source
        .code_lines()
        .filter(|(_, l)| io(l))
        .map(|(n, _)| at(source, n, "merge is pure: types only"))
        .collect()
}

/// Files and functions are short. Tests may be tables, so only the hard limit of a file holds for them.
pub fn sizes(source: &Source) -> Complaints {
    let is_test = source.path.starts_with("tests/");
    let listed = LONG_FILES.iter().find(|(path, _)| *path == source.path);
    let budget = match listed {
        _ if is_test => FILE_LINES_MAX,
        Some((_, budget)) => (*budget).min(FILE_LINES_MAX),
        None => FILE_LINES_USUAL,
    };
    let lines = source.lines_without_tests();
    let mut complaints = Vec::new();
    if lines > budget {
        let rule = format!("{lines} lines without tests, {budget} allowed: split it");
        complaints.push(at(source, lines, &rule));
    }
    for (line, name, length) in source.functions() {
        if length > FUNCTION_LINES_MAX && !is_test {
            let rule = format!("`{name}` has {length} lines, {FUNCTION_LINES_MAX} are allowed");
            complaints.push(at(source, line, &rule));
        }
    }
    complaints
}

/// What holds for the text of every Rust file.
pub fn text(source: &Source) -> Complaints {
    let mut complaints = plain(source);
    if !source.text.starts_with("//!") {
        complaints.push(at(source, 1, "a file starts with its module doc (`//!`)"));
    }
    for (i, line) in source.text.lines().enumerate() {
        // The row of a table cannot be broken.
        let is_row = line.trim_start().starts_with("//! |");
        if line.chars().count() > COLUMNS_MAX && !is_row {
            complaints.push(at(source, i + 1, &format!("over {COLUMNS_MAX} columns")));
        }
    }
    for (i, line) in source.code.lines().enumerate() {
        if line.contains("#[ignore") {
            complaints.push(at(source, i + 1, "no test is skipped silently"));
        }
    }
    complaints
}

/// For every kind of text: ASCII and the section sign, nothing of the machine it was written on.
pub fn plain(source: &Source) -> Complaints {
    let places = [
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("/tmp/", "hub"),
    ];
    let mut complaints = Vec::new();
    for (i, line) in source.text.lines().enumerate() {
        if let Some(odd) = line.chars().find(|c| !c.is_ascii() && *c != '\u{a7}') {
            complaints.push(at(source, i + 1, &format!("{odd:?} is not ASCII")));
        }
        for place in places {
            let own = |i: usize| {
                !line[..i].ends_with(|c: char| c.is_alphanumeric() || "_-}.>".contains(c))
            };
            if line.match_indices(place).any(|(i, _)| own(i)) {
                complaints.push(at(
                    source,
                    i + 1,
                    &format!("`{place}` is a path of somebody's machine"),
                ));
            }
        }
    }
    complaints
}

/// A dropped result says why.
pub fn dropped(source: &Source) -> Complaints {
    commented(
        source,
        "let _ =",
        "//",
        "`let _ =` needs a comment that gives the reason",
    )
}

/// An unsafe block says why it is sound.
pub fn safety(source: &Source) -> Complaints {
    commented(
        source,
        "unsafe {",
        "// SAFETY:",
        "an unsafe block needs a SAFETY line",
    )
}

/// Code that has `what` must have `mark` on its line or on a comment line right above.
fn commented(source: &Source, what: &str, mark: &str, rule: &str) -> Complaints {
    let lines: Vec<&str> = source.text.lines().collect();
    let explained = |n: usize| {
        let above = lines[..n - 1]
            .iter()
            .rev()
            .take_while(|l| l.trim_start().starts_with("//"));
        lines[n - 1].contains(mark) || above.into_iter().any(|l| l.contains(mark))
    };
    source
        .code_lines()
        .filter(|(n, l)| l.contains(what) && !explained(*n))
        .map(|(n, _)| at(source, n, rule))
        .collect()
}

fn at(source: &Source, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", source.path)
}
