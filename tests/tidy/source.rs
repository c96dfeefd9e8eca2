//! One Rust source file, prepared for rules that look at text: comments and literals blanked, test code marked,
//! every path (`a::b::{c, d}`) expanded.
//!
//! Invariant: `code` has exactly the lines of `text`, so that a position in one is a position in the other.
//! A real parser would be a dependency, and these rules need no more than this.

/// A source file and what the rules want to know of it.
pub struct Source {
    /// Path below the root of the package, with `/`.
    pub path: String,
    /// The file as it is.
    pub text: String,
    /// The file with comments and the insides of literals replaced by spaces.
    pub code: String,
    /// Per line: is it inside a `#[cfg(test)]` item?
    pub is_test: Vec<bool>,
}

/// A path named in the code, all groups expanded.
pub struct Named {
    /// Line number, from 1.
    pub line: usize,
    /// The segments: `["crate", "sys", "errno", "Errno"]`.
    pub segments: Vec<String>,
}

impl Source {
    /// Prepares `text`.
    pub fn new(path: &str, text: &str) -> Source {
        let code = blank(text);
        // A module of tests in a file of its own is declared `#[cfg(test)]` elsewhere.
        let is_test = match path.starts_with("src/") && path.ends_with("/tests.rs") {
            true => vec![true; code.lines().count()],
            false => mark_tests(&code),
        };
        Source {
            path: path.to_string(),
            text: text.to_string(),
            code,
            is_test,
        }
    }

    /// Lines of `code` outside tests, with their numbers.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code
            .lines()
            .enumerate()
            .filter(|(i, _)| !self.is_test[*i])
            .map(|(i, line)| (i + 1, line))
    }

    /// How many lines there are outside tests.
    pub fn lines_without_tests(&self) -> usize {
        self.code_lines().count()
    }

    /// Every path named outside tests.
    pub fn paths(&self) -> Vec<Named> {
        let bytes = self.code.as_bytes();
        let mut found = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            if !is_ident(bytes[at]) || (at > 0 && is_ident(bytes[at - 1])) {
                at += 1;
                continue;
            }
            let line = 1 + bytes[..at].iter().filter(|b| **b == b'\n').count();
            let mut leaves = Vec::new();
            let end = expand(&self.code, at, &mut Vec::new(), &mut leaves);
            if !self.is_test[line - 1] {
                found.extend(leaves.into_iter().map(|segments| Named { line, segments }));
            }
            at = end.max(at + 1);
        }
        found
    }

    /// Functions outside tests: line of `fn`, name, lines from there to the closing brace.
    pub fn functions(&self) -> Vec<(usize, String, usize)> {
        let mut found = Vec::new();
        for (start, _) in self.code.match_indices("fn ") {
            if start > 0 && is_ident(self.code.as_bytes()[start - 1]) {
                continue;
            }
            let line = 1 + self.code[..start].matches('\n').count();
            let rest = &self.code[start..];
            let Some(open) = rest.find(['{', ';']) else {
                continue;
            };
            if self.is_test[line - 1] || rest.as_bytes()[open] == b';' {
                continue;
            }
            let name: String = rest[3..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let lines = 1 + rest[..closing(rest, open)].matches('\n').count();
            found.push((line, name, lines));
        }
        found
    }
}

fn is_ident(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Parses a path at `at`, pushes its leaves, returns where it ends.
fn expand(code: &str, at: usize, prefix: &mut Vec<String>, leaves: &mut Vec<Vec<String>>) -> usize {
    let bytes = code.as_bytes();
    let skip = |mut i: usize| {
        while i < bytes.len() && bytes[i].is_ascii_whitespace() {
            i += 1;
        }
        i
    };
    let mut at = skip(at);
    if bytes.get(at) == Some(&b'{') {
        at += 1;
        while at < bytes.len() && bytes[at] != b'}' {
            let end = expand(code, at, prefix, leaves);
            // Past what is not part of a path: `as name`, commas.
            at = end.max(at + 1);
            while at < bytes.len() && bytes[at] != b',' && bytes[at] != b'}' {
                at += 1;
            }
            at += usize::from(bytes.get(at) == Some(&b','));
            at = skip(at);
        }
        return at + 1;
    }
    let start = at;
    while at < bytes.len() && is_ident(bytes[at]) {
        at += 1;
    }
    if start == at {
        return at;
    }
    prefix.push(code[start..at].to_string());
    let end = if bytes[at..].starts_with(b"::")
        && bytes
            .get(at + 2)
            .is_some_and(|b| is_ident(*b) || *b == b'{')
    {
        expand(code, at + 2, prefix, leaves)
    } else {
        leaves.push(prefix.clone());
        at
    };
    prefix.pop();
    end
}

/// Position of the brace that closes the one at `open`, or the end.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (i, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return i,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn mark_tests(code: &str) -> Vec<bool> {
    let mut marks = vec![false; code.lines().count()];
    for (start, _) in code.match_indices("#[cfg(test)]") {
        let rest = &code[start..];
        let end = match rest.find(['{', ';']) {
            Some(at) if rest.as_bytes()[at] == b'{' => closing(rest, at),
            Some(at) => at,
            None => rest.len(),
        };
        let first = code[..start].matches('\n').count();
        let last = first + rest[..end].matches('\n').count();
        marks[first..=last.min(code.lines().count() - 1)].fill(true);
    }
    marks
}

/// Replaces comments and the insides of literals by spaces; newlines stay.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => find(bytes, at, b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => find(bytes, at + 2, b"*/"),
            b'"' => end_of_string(bytes, at + 1),
            b'r' if (at == 0 || !is_ident(bytes[at - 1]) || bytes[at - 1] == b'b') => {
                match raw_string(bytes, at) {
                    Some(end) => end,
                    None => at,
                }
            }
            b'\'' if bytes.get(at + 1) == Some(&b'\\') => find(bytes, at + 3, b"'"),
            b'\'' => char_literal(text, at).unwrap_or(at),
            _ => at,
        };
        for byte in &mut out[(at + 1).min(end)..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        if end > at && bytes[at] == b'/' {
            out[at] = b' ';
        }
        at = end.max(at) + 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    let from = from.min(bytes.len());
    bytes[from..]
        .windows(what.len())
        .position(|w| w == what)
        .map_or(bytes.len(), |i| from + i)
}

fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b'"' {
        at += 1 + usize::from(bytes[at] == b'\\');
    }
    at.min(bytes.len())
}

fn raw_string(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    let open = at + 1 + hashes;
    (bytes.get(open) == Some(&b'"')).then(|| {
        let close = [b"\"", "#".repeat(hashes).as_bytes()].concat();
        (find(bytes, open + 1, &close) + hashes).min(bytes.len())
    })
}

/// End of a character literal at `at`, or nothing if this is a lifetime.
fn char_literal(text: &str, at: usize) -> Option<usize> {
    let mut chars = text[at + 1..].char_indices();
    chars.next()?;
    let (length, next) = chars.next()?;
    (next == '\'').then_some(at + 1 + length)
}
