//! Which snapshots are meant, in containerd's words: `kind==active,labels."example.com/a"==b`.
//!
//! Conditions between commas must all hold. A condition is a field alone (it is there), or a field, `==` or `!=`, and a
//! value; what holds letters other than those of a plain word stands in double quotes, with `\` before `"` and `\`.
//! Fields: `name`, `parent`, `kind`, `labels.NAME`.

use std::str::FromStr;

use super::info::Snapshot;
use crate::store::error::{Error, Kind, Result};

/// Conditions that hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Vec<Condition>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    field: Field,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Parent,
    Kind,
    Label(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Present,
    Equal(String),
    Unequal(String),
}

impl Filter {
    /// Is this snapshot meant?
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        self.0.iter().all(|condition| condition.holds(snapshot))
    }
}

impl Condition {
    fn holds(&self, snapshot: &Snapshot) -> bool {
        let value = match &self.field {
            Field::Name => Some(snapshot.name.as_str()),
            Field::Parent => snapshot.parent.as_deref(),
            Field::Kind => Some(snapshot.kind.word()),
            Field::Label(name) => snapshot.labels.get(name).map(String::as_str),
        };
        match &self.test {
            Test::Present => value.is_some(),
            // What is not there is as good as empty.
            Test::Equal(wanted) => value.unwrap_or_default() == wanted,
            Test::Unequal(unwanted) => value.unwrap_or_default() != unwanted,
        }
    }
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Filter> {
        let mut rest = text;
        let mut conditions = Vec::new();
        loop {
            let condition = parse_condition(&mut rest).ok_or_else(|| wrong(text))?;
            conditions.push(condition);
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None if rest.is_empty() => return Ok(Filter(conditions)),
                None => return Err(wrong(text)),
            }
        }
    }
}

fn wrong(text: &str) -> Error {
    let text = text.escape_debug();
    let why = "name, parent, kind or labels.NAME is wanted, alone or with == or != and a value";
    Error::new(Kind::Invalid, format!("filter {text}: {why}"))
}

fn parse_condition(rest: &mut &str) -> Option<Condition> {
    let field = match parse_word(rest)?.as_str() {
        "name" => Field::Name,
        "parent" => Field::Parent,
        "kind" => Field::Kind,
        "labels" => {
            *rest = rest.strip_prefix('.')?;
            let mut name = parse_word(rest)?;
            // A plain name may have points.
            while let Some(more) = rest.strip_prefix('.') {
                *rest = more;
                name = format!("{name}.{}", parse_word(rest)?);
            }
            Field::Label(name)
        }
        _ => return None,
    };
    let test = if let Some(value) = rest.strip_prefix("==") {
        *rest = value;
        Test::Equal(parse_value(rest)?)
    } else if let Some(value) = rest.strip_prefix("!=") {
        *rest = value;
        Test::Unequal(parse_value(rest)?)
    } else {
        Test::Present
    };
    Some(Condition { field, test })
}

/// Letters, digits, `_` and `-`, or anything in quotes.
fn parse_word(rest: &mut &str) -> Option<String> {
    if rest.starts_with('"') {
        return parse_quoted(rest);
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/');
    let end = rest.find(|c| !is_plain(c)).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    (!word.is_empty()).then(|| word.to_string())
}

/// Anything up to a comma, or anything in quotes.
fn parse_value(rest: &mut &str) -> Option<String> {
    if rest.starts_with('"') {
        return parse_quoted(rest);
    }
    let (value, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
    *rest = after;
    (!value.is_empty() && !value.contains('"')).then(|| value.to_string())
}

fn parse_quoted(rest: &mut &str) -> Option<String> {
    let mut word = String::new();
    let mut inside = rest.strip_prefix('"')?.char_indices();
    let start = rest.len() - inside.as_str().len();
    while let Some((i, c)) = inside.next() {
        match c {
            '"' => {
                *rest = &rest[start + i + 1..];
                return Some(word);
            }
            '\\' => word.push(inside.next()?.1),
            c => word.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::info::SnapshotKind;
    use super::*;
    use crate::store::id::SnapshotKey;
    use crate::store::meta::DriverKind;

    fn snapshot(parent: Option<&str>, labels: &[(&str, &str)]) -> Snapshot {
        let name = SnapshotKey::parse("a b").unwrap();
        Snapshot {
            id: name.id(),
            name,
            kind: SnapshotKind::View,
            parent: parent.map(str::to_string),
            labels: labels
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
            created: String::new(),
            updated: String::new(),
            driver: DriverKind::Vfs,
        }
    }

    #[test]
    fn conditions_hold_together() {
        let labels = [("l", "1"), ("example.com/x", "a,\"b\\")];
        let (child, orphan) = (snapshot(Some("p"), &labels), snapshot(None, &[]));
        for (text, of_child, of_orphan) in [
            ("name", true, true),
            ("name==a b", true, true),
            ("name==\"a b\",kind==view", true, true),
            ("kind!=view", false, false),
            ("parent", true, false),
            ("parent==p", true, false),
            ("parent!=\"\"", true, false),
            ("parent==\"\"", false, true),
            ("labels.l", true, false),
            ("labels.l==1,parent==p", true, false),
            ("labels.l==1,parent==q", false, false),
            ("labels.l!=1", false, true),
            ("labels.\"example.com/x\"==\"a,\\\"b\\\\\"", true, false),
            ("labels.example.com/x", true, false),
        ] {
            let filter: Filter = text.parse().unwrap();
            let found = (filter.matches(&child), filter.matches(&orphan));
            assert_eq!(found, (of_child, of_orphan), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            ",",
            "name,",
            "name=a",
            "name==",
            "size==1",
            "labels",
            "labels.",
            "labels==x",
            "name==\"a",
            "name==\"a\"b",
            "name~=a",
            "name==a\"b\"",
            "labels.\"\\",
        ] {
            let error = bad.parse::<Filter>().unwrap_err();
            assert_eq!(error.kind, Kind::Invalid, "{bad}");
        }
    }
}
