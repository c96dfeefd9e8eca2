//! PAX records: `LENGTH KEY=VALUE\n`, for what a header block has no room for.

use super::header::{LARGE_MAX, NAME_BYTES_MAX, SMALL_MAX, corrupt};
use super::sparse::Records;
use super::{Entry, EntryKind, XATTR_PREFIX};
use crate::store::error::Result;
use crate::sys::stat::Time;

/// Of records about holes.
const SPARSE_PREFIX: &[u8] = b"GNU.sparse.";

/// Takes records over into the object they describe. Gives those about holes, if there are any.
///
/// # Errors
/// [`crate::store::error::Kind::Corrupt`] for malformed ones.
pub fn apply(mut records: &[u8], entry: &mut Entry) -> Result<Option<Records>> {
    let mut sparse = None;
    while !records.is_empty() {
        let (key, value, rest) = split(records).ok_or_else(|| corrupt("a malformed PAX record"))?;
        records = rest;
        match key.strip_prefix(SPARSE_PREFIX) {
            Some(key) => sparse
                .get_or_insert_with(Records::default)
                .take(key, value)?,
            None => take(key, value, entry)?,
        }
    }
    Ok(sparse)
}

/// The first record, and what follows it.
fn split(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().position(|&b| b == b' ')?;
    let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
    let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&b| b == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &records[length..]))
}

fn take(key: &[u8], value: &[u8], entry: &mut Entry) -> Result<()> {
    let has_nul = value.contains(&0);
    match key {
        b"path" | b"linkpath" if has_nul => return Err(corrupt("a name with a NUL byte")),
        // An empty value takes the record back.
        b"path" if !value.is_empty() => entry.path = value.to_vec(),
        b"linkpath" if !value.is_empty() => entry.link = value.to_vec(),
        // Only a file has data; what others claim is ignored, as their size field is.
        b"size" if entry.kind == EntryKind::File => entry.size = number(value, "size")?,
        b"uid" => entry.uid = id(value, "owner")?,
        b"gid" => entry.gid = id(value, "group")?,
        b"mtime" => {
            entry.mtime = time(value).ok_or_else(|| corrupt("time is no number"))?;
        }
        _ => {
            if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                if name.is_empty() || name.contains(&0) {
                    return Err(corrupt("an attribute without a proper name"));
                }
                entry.xattrs.retain(|(known, _)| known != name);
                entry.xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    Ok(())
}

fn number(value: &[u8], what: &str) -> Result<u64> {
    let text = std::str::from_utf8(value).ok();
    let parsed = text.and_then(|text| text.parse::<i64>().ok());
    parsed
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| corrupt(format!("{what} is no number, or out of range")))
}

fn id(value: &[u8], what: &str) -> Result<u32> {
    let wide = number(value, what)?;
    u32::try_from(wide).map_err(|_| corrupt(format!("{what} {wide} is out of range")))
}

/// Seconds with any number of decimals, also before 1970.
fn time(value: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let sec: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nine: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nsec: u32 = nine.parse().ok()?;
    Some(match (whole.starts_with('-'), nsec) {
        (_, 0) | (false, _) => Time { sec, nsec },
        (true, _) => Time {
            sec: sec.checked_sub(1)?,
            nsec: 1_000_000_000 - nsec,
        },
    })
}

/// The records that an object needs beside its header block, in the order of their keys; empty for most.
pub fn encode(entry: &Entry) -> Vec<u8> {
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut push = |key: &[u8], value: Vec<u8>| records.push((key.to_vec(), value));
    if entry.path.len() > NAME_BYTES_MAX {
        push(b"path", entry.path.clone());
    }
    if entry.link.len() > NAME_BYTES_MAX {
        push(b"linkpath", entry.link.clone());
    }
    if entry.uid > SMALL_MAX {
        push(b"uid", entry.uid.to_string().into_bytes());
    }
    if entry.gid > SMALL_MAX {
        push(b"gid", entry.gid.to_string().into_bytes());
    }
    if entry.size > LARGE_MAX {
        push(b"size", entry.size.to_string().into_bytes());
    }
    if u64::try_from(entry.mtime.sec).map_or(true, |sec| sec > LARGE_MAX) {
        push(b"mtime", entry.mtime.sec.to_string().into_bytes());
    }
    for (name, value) in &entry.xattrs {
        push(&[XATTR_PREFIX, name].concat(), value.clone());
    }
    records.sort();
    records
        .iter()
        .flat_map(|(key, value)| record(key, value))
        .collect()
}

/// The length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_kinds() {
        let time = |text: &str| time(text.as_bytes()).map(|t| (t.sec, t.nsec));
        assert_eq!(time("1"), Some((1, 0)));
        assert_eq!(time("1.5"), Some((1, 500_000_000)));
        assert_eq!(time("1.0000000019"), Some((1, 1)));
        assert_eq!(time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time("-0.25"), Some((-1, 750_000_000)));
        for bad in ["", "x", "1.x", "1.-5", ".5"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    #[test]
    fn lengths_count_themselves() {
        assert_eq!(record(b"path", b"a"), b"9 path=a\n");
        for size in 80..110 {
            let bytes = record(b"k", &vec![b'v'; size]);
            let (key, value, rest) = split(&bytes).unwrap();
            assert_eq!((key, value.len(), rest.len()), (&b"k"[..], size, 0));
        }
    }
}
