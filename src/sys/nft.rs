//! nf_tables: tables, chains, rules, sets and their elements, over netlink. What it says is what nft(8) would say.
//!
//! Invariant: a [`Batch`] is one transaction, of which the kernel takes all or nothing. All tables are of family
//! `inet`. Read [`expr`] for what rules are made of.

pub mod expr;
mod query;

use expr::Expr;

use super::errno::Result;
use super::netlink::{Family, Messages, Socket, flag};

pub use query::{Dropping, RuleSeen};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// `NFPROTO_INET`
const INET: u8 = 1;

const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const DELRULE: u16 = 8;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;

/// In every list.
const LIST_ELEM: u16 = 1;
/// The first attribute of everything that is in a table.
const IN_TABLE: u16 = 1;
/// A value in the network's order, in `NFTA_DATA`.
const DATA_VALUE: u16 = 1;

const NFT_SET_INTERVAL: u32 = 4;
const NFT_SET_MAP: u32 = 8;
const INTERVAL_END: u32 = 1;
/// A message's attributes have lengths of 16 bits, so that many elements of at most 64 bytes each, with their headers.
const ELEMENTS_PER_MESSAGE: usize = 400;

/// What a field of a set is, by nft(8)'s numbers, and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `ipv4_addr`
    Ipv4,
    /// `ipv6_addr`
    Ipv6,
    /// `inet_proto`
    Proto,
    /// `inet_service`
    Service,
    /// `ifname`
    Ifname,
}

impl Field {
    fn number(self) -> u32 {
        match self {
            Field::Ipv4 => 7,
            Field::Ipv6 => 8,
            Field::Proto => 12,
            Field::Service => 13,
            Field::Ifname => 41,
        }
    }

    /// Its size in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Field::Ipv4 => 4,
            Field::Ipv6 | Field::Ifname => 16,
            Field::Proto => 1,
            Field::Service => 2,
        }
    }
}

/// The number of a concatenation, by nft(8): six bits for each field.
fn kind(fields: &[Field]) -> u32 {
    fields
        .iter()
        .fold(0, |kind, field| kind << 6 | field.number())
}

/// In a concatenation each field fills whole words.
fn size(fields: &[Field]) -> u32 {
    let bytes = match fields {
        [one] => one.bytes(),
        many => many
            .iter()
            .map(|field| field.bytes().next_multiple_of(4))
            .sum(),
    };
    bytes as u32
}

/// A set or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// Its key.
    pub key: &'static [Field],
    /// What a map leads to; empty: a set.
    pub value: &'static [Field],
    /// Its elements are ranges, each from a key to just before another.
    pub ranges: bool,
}

/// Bytes of a key or value, each field padded to whole words if there are several.
pub type Bytes = Vec<u8>;

/// An element: of a set a key; of a map a key and a value; of a set of ranges its first key and the one after its last.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element {
    /// The key.
    pub key: Bytes,
    /// Of a map.
    pub value: Option<Bytes>,
    /// Of a set of ranges: the key after the last; empty: none, it goes on to the end.
    pub end: Option<Bytes>,
}

/// Where a chain is hung up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// Where packets pass.
    pub at: HookPoint,
    /// Lower ones come first.
    pub priority: i32,
}

/// Where packets pass, with the kernel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum HookPoint {
    /// Came in.
    Prerouting = 0,
    /// Passes through.
    Forward = 2,
    /// Made here.
    Output = 3,
    /// Goes out.
    Postrouting = 4,
}

/// Changes of one table, made together.
#[derive(Debug)]
pub struct Batch {
    table: &'static str,
    messages: Messages,
}

fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

impl Batch {
    /// Changes of this table.
    pub fn new(table: &'static str) -> Batch {
        let mut messages = Messages::new();
        messages.begin(BATCH_BEGIN, 0, &header(0, SUBSYSTEM));
        Batch { table, messages }
    }

    /// Nothing to do yet?
    pub fn is_empty(&self) -> bool {
        self.messages.len() == 1
    }

    fn begin(&mut self, kind: u16, flags: u16) -> &mut Messages {
        let table = self.table;
        let m = self
            .messages
            .begin(SUBSYSTEM << 8 | kind, flags, &header(INET, 0));
        m.put_str(IN_TABLE, table)
    }

    /// Makes the table, if it is not there.
    pub fn table(&mut self) {
        self.begin(NEWTABLE, flag::CREATE);
    }

    /// Removes the table with everything in it.
    pub fn remove_table(&mut self) {
        self.begin(DELTABLE, 0);
    }

    /// Makes a chain, if it is not there.
    pub fn chain(&mut self, name: &str, hook: Option<Hook>) {
        const NAME: u16 = 3;
        const HOOK: u16 = 4;
        const KIND: u16 = 7;
        let m = self.begin(NEWCHAIN, flag::CREATE).put_str(NAME, name);
        if let Some(hook) = hook {
            m.nest(HOOK, |m| {
                m.put_be32(1, hook.at as u32)
                    .put(2, &hook.priority.to_be_bytes());
            });
            m.put_str(KIND, hook.kind);
        }
    }

    /// Removes all rules of a chain.
    pub fn flush(&mut self, chain: &str) {
        self.begin(DELRULE, 0).put_str(2, chain);
    }

    /// Adds a rule at a chain's end. The remark is what `nft list ruleset` shows as its comment.
    pub fn rule(&mut self, chain: &str, expressions: &[Expr], remark: &str) {
        const EXPRESSIONS: u16 = 4;
        const USERDATA: u16 = 7;
        let m = self
            .begin(NEWRULE, flag::CREATE | flag::APPEND)
            .put_str(2, chain);
        m.nest(EXPRESSIONS, |m| {
            for expression in expressions {
                m.nest(LIST_ELEM, |m| expression.put(m));
            }
        });
        m.put(USERDATA, &query::comment(remark));
    }

    /// Makes a set or map, if it is not there.
    pub fn set(&mut self, set: &Set) {
        // Unique in the batch; nothing else refers to it.
        let id = self.messages.len() as u32;
        let mut flags = 0;
        if set.ranges {
            flags |= NFT_SET_INTERVAL;
        }
        if !set.value.is_empty() {
            flags |= NFT_SET_MAP;
        }
        let m = self.begin(NEWSET, flag::CREATE).put_str(2, set.name);
        m.put_be32(3, flags)
            .put_be32(4, kind(set.key))
            .put_be32(5, size(set.key));
        if !set.value.is_empty() {
            m.put_be32(6, kind(set.value)).put_be32(7, size(set.value));
        }
        m.put_be32(10, id);
        if set.key[0] == Field::Ifname {
            // nft(8) shows names only where it is told that the key has the machine's order.
            m.put(13, &[0, 4, 1, 0, 0, 0]);
        }
    }

    /// Adds elements; one that is there already with the same value is no failure, with another it is EBUSY or EEXIST.
    pub fn add(&mut self, set: &str, elements: &[Element]) {
        self.elements(NEWSETELEM, flag::CREATE, set, elements, true);
    }

    /// Removes elements by their keys; one that is not there is ENOENT.
    pub fn remove(&mut self, set: &str, elements: &[Element]) {
        self.elements(DELSETELEM, 0, set, elements, false);
    }

    fn elements(&mut self, kind: u16, flags: u16, set: &str, elements: &[Element], values: bool) {
        const ELEMENTS: u16 = 3;
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            let m = self.begin(kind, flags).put_str(2, set);
            m.nest(ELEMENTS, |m| {
                for element in chunk {
                    let value = element.value.as_deref().filter(|_| values);
                    put_element(m, &element.key, value, 0);
                    if let Some(end) = element.end.as_deref().filter(|end| !end.is_empty()) {
                        put_element(m, end, None, INTERVAL_END);
                    }
                }
            });
        }
    }
}

fn put_element(m: &mut Messages, key: &[u8], value: Option<&[u8]>, flags: u32) {
    const KEY: u16 = 1;
    const DATA: u16 = 2;
    const FLAGS: u16 = 3;
    m.nest(LIST_ELEM, |m| {
        for (kind, bytes) in [(KEY, Some(key)), (DATA, value)] {
            if let Some(bytes) = bytes {
                m.nest(kind, |m| {
                    m.put(DATA_VALUE, bytes);
                });
            }
        }
        if flags != 0 {
            m.put_be32(FLAGS, flags);
        }
    });
}

/// A socket for the packet filter of the namespace in which it was opened.
#[derive(Debug)]
pub struct Nft(Socket);

impl Nft {
    /// Opens it in this thread's namespace.
    ///
    /// # Errors
    /// As socket(2) says.
    pub fn open() -> Result<Nft> {
        Ok(Nft(Socket::open(Family::Netfilter)?))
    }

    /// Makes all changes of the batch or none.
    ///
    /// # Errors
    /// What the kernel says of the first that failed: ENOENT where a table, chain or set is missing.
    pub fn commit(&self, mut batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        batch.messages.ack_last();
        batch.messages.begin(BATCH_END, 0, &header(0, SUBSYSTEM));
        self.0.transact(&batch.messages).map_err(|(_, errno)| errno)
    }
}
