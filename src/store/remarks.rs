//! [`Remarks`]: what could not be carried over as it was and did not stop the work. Of each sort the first case and a
//! count: an archive may have a million of them.

use std::collections::BTreeMap;

/// Remarks by sort.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks(BTreeMap<&'static str, (u64, String)>);

impl Remarks {
    /// One more case of `sort`, which reads on after a colon.
    pub fn note(&mut self, sort: &'static str, path: &[u8]) {
        let case = self
            .0
            .entry(sort)
            .or_insert_with(|| (0, path.escape_ascii().to_string()));
        case.0 += 1;
    }

    /// How many cases of a sort there were.
    pub fn count(&self, sort: &str) -> u64 {
        self.0.get(sort).map_or(0, |(count, _)| *count)
    }

    /// One line for each sort.
    pub fn lines(&self) -> Vec<String> {
        let line = |(sort, (count, first)): (&&str, &(u64, String))| match count {
            1 => format!("{sort}: {first}"),
            _ => format!("{sort}: {first} and {} more", count - 1),
        };
        self.0.iter().map(line).collect()
    }

    /// All of another work's remarks as well.
    pub fn add(&mut self, other: Remarks) {
        for (sort, (count, first)) in other.0 {
            self.0.entry(sort).or_insert((0, first)).0 += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_by_sort() {
        let mut remarks = Remarks::default();
        remarks.note("socket skipped", b"a\n");
        let mut more = remarks.clone();
        more.note("socket skipped", b"b");
        assert_eq!(remarks.lines(), ["socket skipped: a\\n"]);
        remarks.add(more);
        assert_eq!(remarks.lines(), ["socket skipped: a\\n and 2 more"]);
    }
}
