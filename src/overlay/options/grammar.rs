//! The `-o` grammar of mount(8), the kernel's overlayfs and fuse-overlayfs, on plain bytes.
//!
//! `item,item,...` with `item` = `word` or `word=value`. A backslash keeps `:` `,` `\` and `"` from their meaning
//! and stays literal before anything else. A value in double quotes may contain commas. Empty items mean nothing
//! (engines join lists without looking). Values keep their escapes here: only the option knows whether colons
//! separate, see [`layers`] and [`plain`].

/// One `word` or `word=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<'a> {
    /// What stands before the first `=`.
    pub word: &'a [u8],
    /// What stands after it, without the quotes around it.
    pub value: Option<&'a [u8]>,
}

/// An item whose quote never closes, or is followed by something else than a comma.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadQuote<'a>(pub &'a [u8]);

/// Splits a `-o` string. Empty items are left out.
pub fn items(mut text: &[u8]) -> Result<Vec<Item<'_>>, BadQuote<'_>> {
    let mut found = Vec::new();
    while !text.is_empty() {
        let (item, rest) = next_item(text)?;
        text = rest;
        if !item.word.is_empty() || item.value.is_some() {
            found.push(item);
        }
    }
    Ok(found)
}

fn next_item(text: &[u8]) -> Result<(Item<'_>, &[u8]), BadQuote<'_>> {
    let end = find(text, b',').unwrap_or(text.len());
    let Some(equals) = text[..end].iter().position(|b| *b == b'=') else {
        let item = Item {
            word: &text[..end],
            value: None,
        };
        return Ok((item, after(text, end)));
    };
    let (word, value) = (&text[..equals], &text[equals + 1..]);
    let (value, rest) = match value.strip_prefix(b"\"") {
        None => (&text[equals + 1..end], after(text, end)),
        Some(inside) => {
            let close = find(inside, b'"').ok_or(BadQuote(&text[..end]))?;
            let rest = &inside[close + 1..];
            if !rest.is_empty() && rest[0] != b',' {
                return Err(BadQuote(&text[..end]));
            }
            (&inside[..close], after(rest, 0))
        }
    };
    let item = Item {
        word,
        value: Some(value),
    };
    Ok((item, rest))
}

/// What follows the separator at `end`.
fn after(text: &[u8], end: usize) -> &[u8] {
    text.get(end + 1..).unwrap_or_default()
}

/// Where `wanted` stands without a backslash before it.
fn find(text: &[u8], wanted: u8) -> Option<usize> {
    let mut at = 0;
    while at < text.len() {
        if is_escape(&text[at..]) {
            at += 2;
        } else if text[at] == wanted {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}

fn is_escape(text: &[u8]) -> bool {
    matches!(text, [b'\\', b':' | b',' | b'\\' | b'"', ..])
}

/// The value as one path or word: escapes resolved.
pub fn plain(value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        if is_escape(rest) {
            bytes.push(tail[0]);
            rest = &tail[1..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    bytes
}

/// The value as a list of layers: split at colons, escapes resolved, empty elements kept.
pub fn layers(mut value: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(colon) = find(value, b':') {
        found.push(plain(&value[..colon]));
        value = &value[colon + 1..];
    }
    found.push(plain(value));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<(String, Option<String>)> {
        let text_of = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        items(text.as_bytes())
            .unwrap()
            .iter()
            .map(|i| (text_of(i.word), i.value.map(text_of)))
            .collect()
    }

    fn pair(word: &str, value: &str) -> (String, Option<String>) {
        (word.into(), Some(value.into()))
    }

    #[test]
    fn items_split_at_commas() {
        assert_eq!(
            split("ro,lowerdir=/a:/b"),
            [("ro".into(), None), pair("lowerdir", "/a:/b")]
        );
        assert_eq!(split(""), []);
        assert_eq!(split(",,ro,,"), [("ro".into(), None)]);
        assert_eq!(split("a="), [pair("a", "")]);
        assert_eq!(split("a=b=c"), [pair("a", "b=c")]);
        assert_eq!(split("lowerdir+=/a:b"), [pair("lowerdir+", "/a:b")]);
    }

    #[test]
    fn a_backslash_protects_a_comma() {
        assert_eq!(
            split(r"upperdir=/a\,b,ro"),
            [pair("upperdir", r"/a\,b"), ("ro".into(), None)]
        );
        // An escaped backslash does not protect what follows it.
        assert_eq!(
            split(r"upperdir=/a\\,ro"),
            [pair("upperdir", r"/a\\"), ("ro".into(), None)]
        );
        assert_eq!(split(r"a=x\"), [pair("a", r"x\")]);
    }

    #[test]
    fn quotes_protect_commas() {
        assert_eq!(
            split(r#"context="u:r:t:s0:c1,c2",ro"#),
            [pair("context", "u:r:t:s0:c1,c2"), ("ro".into(), None)]
        );
        assert_eq!(split(r#"a="",b="#), [pair("a", ""), pair("b", "")]);
        assert_eq!(split(r#"a="x\"y""#), [pair("a", r#"x\"y"#)]);
        // A quote inside a value is a character like others.
        assert_eq!(
            split(r#"a=x"y,z"#),
            [pair("a", r#"x"y"#), ("z".into(), None)]
        );
        assert_eq!(split(r#"a=\"x"#), [pair("a", r#"\"x"#)]);
    }

    #[test]
    fn bad_quotes_are_refused() {
        assert_eq!(items(br#"a="x,b"#), Err(BadQuote(br#"a="x"#)));
        assert_eq!(items(br#"a="x"y,b"#), Err(BadQuote(br#"a="x"y"#)));
    }

    #[test]
    fn escapes_resolve() {
        assert_eq!(plain(br"/a\:b\,c\\d\x\"), br"/a:b,c\d\x\");
        assert_eq!(plain(br#"\"q"#), br#""q"#);
    }

    #[test]
    fn layers_split_at_colons() {
        let of = |text: &str| -> Vec<String> {
            layers(text.as_bytes())
                .into_iter()
                .map(|b| String::from_utf8(b).unwrap())
                .collect()
        };
        assert_eq!(of("/a:/b"), ["/a", "/b"]);
        assert_eq!(of(r"/a\:x:/b\\:/c"), ["/a:x", r"/b\", "/c"]);
        assert_eq!(of(":a::b:"), ["", "a", "", "b", ""]);
        assert_eq!(of(""), [""]);
    }

    #[test]
    fn bytes_need_not_be_text() {
        let list = items(b"lowerdir=/\xff\xfe:/b").unwrap();
        assert_eq!(
            layers(list[0].value.unwrap()),
            [b"/\xff\xfe".to_vec(), b"/b".to_vec()]
        );
    }
}
