//! The short list at the end of `plyfs run`: what did the command change?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::failure::shown;

/// Lines shown before the rest is only counted.
const LINES_MAX: usize = 20;

/// What happened to a path. The letters are those of every version control program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Added,
    Modified,
    Deleted,
}

/// One change, relative to the root of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: Kind,
    /// To whom.
    pub path: PathBuf,
    /// It is a directory now.
    pub directory: bool,
}

/// The lines to print. What is inside an added directory goes without saying, and so does a directory that changed
/// only because something in it did.
pub fn lines(mut changes: Vec<Change>) -> Vec<String> {
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    let added: BTreeSet<PathBuf> = changes
        .iter()
        .filter(|c| c.kind == Kind::Added && c.directory)
        .map(|c| c.path.clone())
        .collect();
    let parents: BTreeSet<PathBuf> = changes.iter().flat_map(|c| above(&c.path)).collect();
    changes.retain(|c| {
        let inside_added = above(&c.path).any(|dir| added.contains(&dir));
        let only_a_parent = c.kind == Kind::Modified && c.directory && parents.contains(&c.path);
        !inside_added && !only_a_parent
    });
    let more = changes.len().saturating_sub(LINES_MAX);
    let mut lines: Vec<String> = changes.iter().take(LINES_MAX).map(line).collect();
    if more > 0 {
        lines.push(format!("... and {more} more"));
    }
    lines
}

fn above(path: &Path) -> impl Iterator<Item = PathBuf> + '_ {
    path.ancestors().skip(1).map(Path::to_path_buf)
}

fn line(change: &Change) -> String {
    let letter = match change.kind {
        Kind::Added => 'A',
        Kind::Modified => 'M',
        Kind::Deleted => 'D',
    };
    let slash = if change.directory { "/" } else { "" };
    format!("{letter} {}{slash}", shown(&change.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: Kind, path: &str) -> Change {
        Change {
            kind,
            path: path.trim_end_matches('/').into(),
            directory: path.ends_with('/'),
        }
    }

    #[test]
    fn sorted_and_without_the_obvious() {
        let changes = vec![
            change(Kind::Modified, "etc/"),
            change(Kind::Modified, "etc/passwd"),
            change(Kind::Added, "new/"),
            change(Kind::Added, "new/deep/"),
            change(Kind::Added, "new/deep/file"),
            change(Kind::Added, "new-file"),
            change(Kind::Deleted, "gone"),
            change(Kind::Modified, "var/"),
        ];
        assert_eq!(
            lines(changes),
            ["M etc/passwd", "D gone", "A new/", "A new-file", "M var/"]
        );
    }

    #[test]
    fn long_lists_are_cut() {
        let many = (0..25).map(|i| change(Kind::Added, &format!("f{i:02}")));
        let lines = lines(many.collect());
        assert_eq!(lines.len(), LINES_MAX + 1);
        assert_eq!(lines.last().unwrap(), "... and 5 more");
    }

    #[test]
    fn odd_names_stay_on_one_line() {
        assert_eq!(lines(vec![change(Kind::Added, "a\nb")]), ["A a\\nb"]);
        assert!(lines(Vec::new()).is_empty());
    }
}
