//! netlink(7): messages with attributes, and a socket that sends many at once and waits for their answers.
//!
//! Invariant: what the kernel sends is parsed, never trusted; a message is complete when the next one begins.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::io::retry_on_intr;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use super::errno::{Errno, Result};

/// Flags of a message.
pub mod flag {
    /// A request.
    pub const REQUEST: u16 = 1;
    /// Answered also when all is well.
    pub const ACK: u16 = 4;
    /// Fails if the object is there.
    pub const EXCL: u16 = 0x200;
    /// Makes the object.
    pub const CREATE: u16 = 0x400;
    /// At the end of a list.
    pub const APPEND: u16 = 0x800;
    /// All objects.
    pub const DUMP: u16 = 0x300;
}

const HEADER_BYTES: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// An attribute that holds others.
const NESTED: u16 = 0x8000;
/// The kernel's answers fit, a dump comes in such pieces.
const RECEIVE_BYTES: usize = 64 << 10;
/// More than the default send buffer (`wmem_default`) holds, less its overhead.
const SEND_BYTES_USUAL: usize = 128 << 10;

/// Messages for the kernel, one after the other.
#[derive(Debug, Default)]
pub struct Messages {
    bytes: Vec<u8>,
    /// Where each message starts. Its sequence number is its place in this list, from 1 on.
    starts: Vec<usize>,
}

impl Messages {
    /// None yet.
    pub fn new() -> Messages {
        Messages::default()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// None yet?
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Begins a message of this type with the fixed header of its family.
    pub fn begin(&mut self, kind: u16, flags: u16, header: &[u8]) -> &mut Messages {
        self.starts.push(self.bytes.len());
        let sequence = u32::try_from(self.starts.len()).unwrap_or(u32::MAX);
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | flag::REQUEST).to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(header);
        self.close(self.starts.len() - 1)
    }

    /// Adds an attribute to the message begun last.
    pub fn put(&mut self, kind: u16, value: &[u8]) -> &mut Messages {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend(len.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.close(self.starts.len().saturating_sub(1))
    }

    /// A number in the machine's order.
    pub fn put_u32(&mut self, kind: u16, value: u32) -> &mut Messages {
        self.put(kind, &value.to_ne_bytes())
    }

    /// A number in the network's order.
    pub fn put_be32(&mut self, kind: u16, value: u32) -> &mut Messages {
        self.put(kind, &value.to_be_bytes())
    }

    /// A word, with its NUL.
    pub fn put_str(&mut self, kind: u16, value: &str) -> &mut Messages {
        self.put(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// An attribute that holds what `inner` adds.
    pub fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Messages)) -> &mut Messages {
        let start = self.bytes.len();
        self.put(kind | NESTED, &[]);
        inner(self);
        let len = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self
    }

    /// Bytes that are no attribute, inside of one.
    pub fn raw(&mut self, value: &[u8]) -> &mut Messages {
        self.bytes.extend(value);
        self.close(self.starts.len().saturating_sub(1))
    }

    /// Asks for an answer to the message begun last.
    pub fn ack_last(&mut self) {
        if let Some(start) = self.starts.last() {
            let at = start + 6;
            let flags = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]) | flag::ACK;
            self.bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
        }
    }

    /// Pads to four bytes and writes down the length of a message.
    fn close(&mut self, message: usize) -> &mut Messages {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        if let Some(start) = self.starts.get(message).copied() {
            let len = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
            self.bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
        }
        self
    }
}

/// A message of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its type.
    pub kind: u16,
    /// All after the common header.
    pub body: Vec<u8>,
}

impl Reply {
    /// The attributes after a fixed header of this size.
    pub fn attributes(&self, header: usize) -> Attributes<'_> {
        Attributes(
            self.body
                .get(header.next_multiple_of(4)..)
                .unwrap_or_default(),
        )
    }
}

/// Attributes one after the other: type and value.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let head = self.0.get(..4)?;
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

impl<'a> Attributes<'a> {
    /// The first attribute of this type.
    pub fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(k, _)| *k == kind).map(|(_, value)| value)
    }

    /// As a word, without its NUL.
    pub fn text(self, kind: u16) -> Option<String> {
        let value = self.get(kind)?;
        let value = value.split(|b| *b == 0).next().unwrap_or_default();
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// As a number in the machine's order.
    pub fn number(self, kind: u16) -> Option<u32> {
        Some(u32::from_ne_bytes(self.get(kind)?.try_into().ok()?))
    }
}

/// The part of the kernel that is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes.
    Route,
    /// Packet filters.
    Netfilter,
}

/// A socket. It belongs to the network namespace in which it was opened, wherever the thread goes later.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Socket {
    /// Opens one in this thread's network namespace.
    ///
    /// # Errors
    /// As socket(2) says; EPROTONOSUPPORT where the kernel lacks the family.
    pub fn open(family: Family) -> Result<Socket> {
        let protocol = match family {
            // NETLINK_ROUTE is number 0.
            Family::Route => None,
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let (domain, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let socket = socket_with(domain, SocketType::RAW, flags, protocol)?;
        Ok(Socket(socket))
    }

    /// Sends all messages in one call and returns the kernel's answer to each. Every message must ask for it
    /// ([`flag::ACK`]); the kernel goes on after one that failed.
    ///
    /// # Errors
    /// Those of the socket itself.
    pub fn exchange(&self, messages: &Messages) -> Result<Vec<Result<()>>> {
        self.send(messages)?;
        let mut answers = vec![None; messages.len()];
        let mut buffer = Vec::new();
        while answers.iter().any(Option::is_none) {
            self.receive(&mut buffer, |sequence, reply| {
                if let (NLMSG_ERROR, Some(answer)) = (reply.kind, place(&mut answers, sequence)) {
                    *answer = Some(status(reply.body));
                }
                Ok(())
            })?;
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Sends all messages in one call; the kernel takes all or none (a batch of netfilter). The last but one must ask
    /// for an answer, which comes last.
    ///
    /// # Errors
    /// That of the first message that failed, with its place.
    pub fn transact(&self, messages: &Messages) -> Result<(), (usize, Errno)> {
        let whole = |errno| (0, errno);
        self.send(messages).map_err(whole)?;
        let last = messages.len().saturating_sub(1);
        let mut failed = None;
        let mut ended = false;
        let mut buffer = Vec::new();
        while !ended {
            self.receive(&mut buffer, |sequence, reply| {
                let at = usize::try_from(sequence).unwrap_or_default();
                if reply.kind == NLMSG_ERROR {
                    // What is said of the first message, which only opens the batch, is said of the batch.
                    ended |= at == last || at <= 1;
                    if let (Err(errno), None) = (status(reply.body), failed) {
                        failed = Some((at.saturating_sub(1), errno));
                    }
                }
                Ok(())
            })
            .map_err(whole)?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Asks one question, and returns all that the kernel says.
    ///
    /// # Errors
    /// What the kernel says; EAGAIN when a dump was interrupted by a change, to be asked again.
    pub fn ask(&self, question: &Messages) -> Result<Vec<Reply>> {
        debug_assert_eq!(question.len(), 1);
        self.send(question)?;
        let mut replies = Vec::new();
        let mut ended = None;
        let mut buffer = Vec::new();
        while ended.is_none() {
            self.receive(&mut buffer, |_, reply| {
                match reply.kind {
                    NLMSG_ERROR => ended = Some(status(reply.body)),
                    NLMSG_DONE => ended = Some(status(reply.body)),
                    kind => replies.push(Reply {
                        kind,
                        body: reply.body.to_vec(),
                    }),
                }
                Ok(())
            })?;
        }
        ended.unwrap_or(Ok(())).map(|()| replies)
    }

    fn send(&self, messages: &Messages) -> Result<()> {
        if messages.bytes.len() > SEND_BYTES_USUAL {
            // The kernel doubles it for its overhead.
            let want = messages.bytes.len() * 2;
            rustix::net::sockopt::set_socket_send_buffer_size_force(&self.0, want)?;
        }
        let sent = retry_on_intr(|| send(&self.0, &messages.bytes, SendFlags::empty()))?;
        if sent == messages.bytes.len() {
            Ok(())
        } else {
            Err(Errno::EIO)
        }
    }

    /// Receives once into `buffer`, and shows each message with its sequence number.
    fn receive(
        &self,
        buffer: &mut Vec<u8>,
        mut each: impl FnMut(u32, Part<'_>) -> Result<()>,
    ) -> Result<()> {
        // Not filled with zeros: most answers take a page of it, and each page that is touched is one to be found.
        buffer.clear();
        buffer.reserve(RECEIVE_BYTES);
        let (_, whole) = retry_on_intr(|| recv(&self.0, spare_capacity(buffer), RecvFlags::TRUNC))?;
        if whole > buffer.len() {
            return Err(Errno::EOVERFLOW);
        }
        let mut rest = buffer.as_slice();
        while let Some((sequence, part, after)) = Part::split(rest) {
            each(sequence, part)?;
            rest = after;
        }
        Ok(())
    }
}

fn place<T>(list: &mut [T], sequence: u32) -> Option<&mut T> {
    list.get_mut(usize::try_from(sequence).ok()?.checked_sub(1)?)
}

/// The code that begins an answer: zero or a negative errno.
fn status(body: &[u8]) -> Result<()> {
    let code = body
        .get(..4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, i32::from_ne_bytes);
    match code {
        0.. => Ok(()),
        code => Err(Errno::from_raw(code.saturating_neg())),
    }
}

/// One message in a buffer.
struct Part<'a> {
    kind: u16,
    body: &'a [u8],
}

impl<'a> Part<'a> {
    fn split(bytes: &'a [u8]) -> Option<(u32, Part<'a>, &'a [u8])> {
        let head = bytes.get(..HEADER_BYTES)?;
        let len = u32::from_ne_bytes(head[..4].try_into().ok()?) as usize;
        let body = bytes.get(HEADER_BYTES..len)?;
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        let sequence = u32::from_ne_bytes(head[8..12].try_into().ok()?);
        let rest = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((sequence, Part { kind, body }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_the_kernel_wants_them() {
        let mut messages = Messages::new();
        messages
            .begin(16, flag::ACK, &[1, 2])
            .put_str(3, "lo")
            .nest(4, |m| {
                m.put_be32(5, 1);
            });
        messages.begin(17, 0, &[]);
        let bytes = &messages.bytes;
        assert_eq!(bytes[..4], 40u32.to_ne_bytes());
        assert_eq!(bytes[16..20], [1, 2, 0, 0]);
        let attributes = Attributes(&bytes[20..40]);
        assert_eq!(attributes.text(3).unwrap(), "lo");
        let inner = attributes.get(4).unwrap();
        assert_eq!(Attributes(inner).get(5).unwrap(), [0, 0, 0, 1]);
        assert_eq!(bytes[40..44], 16u32.to_ne_bytes());
        assert_eq!(bytes[48..52], 2u32.to_ne_bytes());
    }

    #[test]
    fn what_is_cut_off_is_not_read() {
        assert_eq!(Attributes(&[8, 0, 1, 0, 9]).next(), None);
        assert_eq!(Attributes(&[3, 0, 1, 0]).next(), None);
        assert!(Part::split(&[0; 16]).is_none());
        let long = [[0xff; 4], [0; 4], [0; 4], [0; 4]].concat();
        assert!(Part::split(&long).is_none());
        assert_eq!(status(&(-17i32).to_ne_bytes()), Err(Errno::EEXIST));
        assert_eq!(status(&[]), Ok(()));
    }

    #[test]
    fn the_kernel_answers() {
        let socket = Socket::open(Family::Route).unwrap();
        let mut question = Messages::new();
        // RTM_GETLINK of all links: there is a loopback everywhere.
        question.begin(18, flag::DUMP, &[0; 16]);
        let replies = socket.ask(&question).unwrap();
        let names: Vec<_> = replies
            .iter()
            .filter_map(|r| r.attributes(16).text(3))
            .collect();
        assert!(names.contains(&"lo".to_string()), "{names:?}");
        // RTM_NEWLINK without anything is refused, and an unknown link not found.
        let mut wrong = Messages::new();
        wrong
            .begin(16, flag::ACK, &[0; 16])
            .put_str(3, "no-such-link");
        wrong
            .begin(18, flag::ACK, &[0; 16])
            .put_str(3, "no-such-link");
        let answers = socket.exchange(&wrong).unwrap();
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
    }
}
