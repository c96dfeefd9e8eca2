//! What is in a table now: elements and rules.

use super::super::errno::{Errno, Result};
use super::super::netlink::{Attributes, Messages, Reply, flag};
use super::{DATA_VALUE, Element, HookPoint, IN_TABLE, INET, INTERVAL_END, Nft, SUBSYSTEM, header};

const GETCHAIN: u16 = 4;
const GETRULE: u16 = 7;
const GETSETELEM: u16 = 13;
/// `NFTNL_UDATA_RULE_COMMENT`, with one byte of length and a NUL.
const COMMENT: u8 = 0;
/// A change came between; so often it is tried anew.
const DUMP_TRIES: usize = 16;

/// A rule, as far as it is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleSeen {
    /// Its chain.
    pub chain: String,
    /// Its comment; empty if it has none.
    pub remark: String,
}

/// A chain that drops what no rule of it decides on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropping {
    /// `inet`, `ip` or `ip6`.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
}

/// A remark as user data of a rule.
pub(super) fn comment(remark: &str) -> Vec<u8> {
    let len = u8::try_from(remark.len() + 1).unwrap_or(u8::MAX);
    let mut bytes = vec![COMMENT, len];
    bytes.extend(remark.bytes().take(usize::from(len) - 1));
    bytes.push(0);
    bytes
}

impl Nft {
    /// The elements of a set or map.
    ///
    /// # Errors
    /// ENOENT if the table or set is not there.
    pub fn elements(&self, table: &str, set: &str) -> Result<Vec<Element>> {
        const ELEMENTS: u16 = 3;
        let mut question = Messages::new();
        let m = question.begin(SUBSYSTEM << 8 | GETSETELEM, flag::DUMP, &header(INET, 0));
        m.put_str(IN_TABLE, table).put_str(2, set);
        let mut found = Vec::new();
        for reply in self.dump(&question)? {
            let list = reply.attributes(4).get(ELEMENTS).unwrap_or_default();
            for (_, element) in Attributes(list) {
                push_element(&mut found, Attributes(element));
            }
        }
        Ok(pair_up(found))
    }

    /// The rules of a table, chain by chain, in order.
    ///
    /// # Errors
    /// ENOENT if the table is not there.
    pub fn rules(&self, table: &str) -> Result<Vec<RuleSeen>> {
        let mut question = Messages::new();
        let m = question.begin(SUBSYSTEM << 8 | GETRULE, flag::DUMP, &header(INET, 0));
        m.put_str(IN_TABLE, table);
        let replies = self.dump(&question)?;
        let rules = replies.iter().filter_map(|reply| {
            let attributes = reply.attributes(4);
            // Older kernels answer with the rules of all tables.
            let ours = attributes.text(IN_TABLE)? == table;
            let remark = attributes.get(7).and_then(remark).unwrap_or_default();
            ours.then_some(RuleSeen {
                chain: attributes.text(2)?,
                remark,
            })
        });
        Ok(rules.collect())
    }

    /// The chains of all tables, also of others' and of iptables-nft's, that drop by policy where packets pass.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn dropping(&self, at: HookPoint) -> Result<Vec<Dropping>> {
        let mut question = Messages::new();
        question.begin(SUBSYSTEM << 8 | GETCHAIN, flag::DUMP, &header(0, 0));
        let replies = self.dump(&question)?;
        Ok(replies
            .iter()
            .filter_map(|reply| dropping(reply, at))
            .collect())
    }

    fn dump(&self, question: &Messages) -> Result<Vec<Reply>> {
        for _ in 1..DUMP_TRIES {
            match self.0.ask(question) {
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                other => return other,
            }
        }
        self.0.ask(question)
    }
}

fn dropping(reply: &Reply, at: HookPoint) -> Option<Dropping> {
    const NAME: u16 = 3;
    const HOOK: u16 = 4;
    const POLICY: u16 = 5;
    const DROP: u32 = 0;
    let number = |value: &[u8]| Some(u32::from_be_bytes(value.try_into().ok()?));
    // NFPROTO_*; bridges and devices have hooks of their own.
    let family = match reply.body.first()? {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => return None,
    };
    let attributes = reply.attributes(4);
    let hook = number(Attributes(attributes.get(HOOK)?).get(1)?)?;
    let policy = number(attributes.get(POLICY)?)?;
    (hook == at as u32 && policy == DROP).then_some(Dropping {
        family,
        table: attributes.text(IN_TABLE)?,
        chain: attributes.text(NAME)?,
    })
}

/// Adds an element, and whether it is the end of a range.
fn push_element(found: &mut Vec<(Element, bool)>, element: Attributes<'_>) {
    const KEY: u16 = 1;
    const DATA: u16 = 2;
    const FLAGS: u16 = 3;
    let value = |kind| {
        Attributes(element.get(kind)?)
            .get(DATA_VALUE)
            .map(<[u8]>::to_vec)
    };
    let Some(key) = value(KEY) else { return };
    let flags = element
        .get(FLAGS)
        .and_then(|f| f.try_into().ok())
        .map_or(0, u32::from_be_bytes);
    let element = Element {
        key,
        value: value(DATA),
        end: None,
    };
    found.push((element, flags & INTERVAL_END != 0));
}

/// Ends of ranges are elements of their own, in no order.
fn pair_up(mut found: Vec<(Element, bool)>) -> Vec<Element> {
    found.sort_by(|(a, a_ends), (b, b_ends)| (&a.key, !a_ends).cmp(&(&b.key, !b_ends)));
    let mut whole: Vec<Element> = Vec::with_capacity(found.len());
    for (element, ends) in found {
        match whole.last_mut() {
            Some(before) if ends => before.end = Some(element.key),
            // The kernel begins with the end of nothing.
            None if ends => {}
            _ => whole.push(element),
        }
    }
    whole
}

fn remark(data: &[u8]) -> Option<String> {
    match data {
        [COMMENT, len, text @ ..] => {
            let text = text.get(..usize::from(*len).checked_sub(1)?)?;
            Some(String::from_utf8_lossy(text).into_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_come_back() {
        assert_eq!(comment("ab"), [0, 3, b'a', b'b', 0]);
        assert_eq!(remark(&comment("hairpin")).unwrap(), "hairpin");
        assert_eq!(remark(&[0, 9, b'a']), None);
        assert_eq!(comment(&"x".repeat(300)).len(), 257);
    }
}
