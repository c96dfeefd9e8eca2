//! Datagrams in batches, so that what a datagram costs in the kernel is shared by many.
//!
//! An [`Inbox`] takes all that waits at a socket by one call. An [`Outbox`] sends all that is in it by one call, and
//! what goes to one peer as one packet, which the kernel cuts into its datagrams where they arrive (UDP_SEGMENT, see
//! udp(7)): they pass the firewall, the bridge and the links together.

use std::cmp::Reverse;
use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use super::errno::{Errno, Result};
use super::ffi::datagrams::{self as ffi, Parcel};

pub use ffi::MESSAGES_MAX;

/// Datagrams of one packet: what every kernel that can do it takes.
const SEGMENTS_MAX: usize = 64;
/// Bytes of one packet, whose length has two bytes, headers included.
const PACKET_MAX: usize = 65_000;

/// What came in.
#[derive(Debug)]
pub struct Inbox {
    bytes: Box<[u8]>,
    each: usize,
    arrived: Vec<(usize, SocketAddr)>,
}

impl Inbox {
    /// Room for [`MESSAGES_MAX`] datagrams of `each` bytes; longer ones are cut.
    pub fn new(each: usize) -> Inbox {
        Inbox {
            bytes: vec![0; MESSAGES_MAX * each].into(),
            each,
            arrived: Vec::with_capacity(MESSAGES_MAX),
        }
    }

    /// Takes what waits at a socket in place of what there was, and says how many datagrams that is.
    ///
    /// # Errors
    /// As recvmmsg(2) says; EAGAIN when nothing waits.
    pub fn take(&mut self, socket: &UdpSocket) -> Result<usize> {
        self.arrived.clear();
        ffi::recvmmsg(
            socket.as_fd(),
            &mut self.bytes,
            self.each,
            &mut self.arrived,
        )?;
        Ok(self.arrived.len())
    }

    /// The datagrams and who sent them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let rooms = self.bytes.chunks_exact(self.each).zip(&self.arrived);
        rooms.map(|(room, (length, peer))| (&room[..*length], *peer))
    }
}

/// What is to go out.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    letters: Vec<Letter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Letter {
    peer: SocketAddr,
    start: usize,
    length: usize,
}

impl Outbox {
    /// Adds a datagram.
    pub fn push(&mut self, peer: SocketAddr, bytes: &[u8]) {
        self.letters.push(Letter {
            peer,
            start: self.bytes.len(),
            length: bytes.len(),
        });
        self.bytes.extend_from_slice(bytes);
    }

    /// Sends all, in any order, and forgets it. What cannot be sent is lost, as datagrams are.
    pub fn send(&mut self, socket: &UdpSocket) {
        self.letters
            .sort_by_key(|letter| (letter.peer, Reverse(letter.length)));
        let piece = |letter: &Letter| IoSlice::new(&self.bytes[letter.start..][..letter.length]);
        let pieces: Vec<IoSlice<'_>> = self.letters.iter().map(piece).collect();
        let mut parcels = Vec::with_capacity(self.letters.len());
        let (mut letters, mut rest) = (&self.letters[..], &pieces[..]);
        while let Some(first) = letters.first() {
            let count = together(letters);
            let (own, others) = rest.split_at(count);
            parcels.push(Parcel {
                peer: first.peer,
                pieces: own,
                segment: u16::try_from(first.length).ok().filter(|_| count > 1),
            });
            (letters, rest) = (&letters[count..], others);
        }
        deliver(socket, &parcels);
        self.bytes.clear();
        self.letters.clear();
    }
}

/// How many of the first letters may be one packet: of one peer and one length; the last may be shorter.
fn together(letters: &[Letter]) -> usize {
    let Some(first) = letters.first().filter(|first| first.length > 0) else {
        return letters.len().min(1);
    };
    let most = SEGMENTS_MAX.min((PACKET_MAX / first.length).max(1));
    let theirs = letters.iter().take(most);
    let theirs = theirs.take_while(|letter| letter.peer == first.peer && letter.length > 0);
    let full = theirs
        .clone()
        .take_while(|letter| letter.length == first.length);
    let full = full.count();
    full + usize::from(theirs.count() > full)
}

fn deliver(socket: &UdpSocket, mut parcels: &[Parcel<'_>]) {
    while let Some(first) = parcels.first() {
        let sent = match ffi::sendmmsg(socket.as_fd(), parcels) {
            Ok(sent) => sent.max(1),
            Err(Errno::EINTR) => 0,
            // The way there does not take packets that are to be cut, or its MTU is too small for the pieces.
            Err(errno) if first.segment.is_some() && errno != Errno::EAGAIN => {
                let single = |pieces| Parcel {
                    peer: first.peer,
                    pieces,
                    segment: None,
                };
                let singles: Vec<_> = first.pieces.chunks(1).map(single).collect();
                deliver(socket, &singles);
                1
            }
            Err(_) => 1,
        };
        parcels = &parcels[sent..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UdpSocket, UdpSocket, SocketAddr) {
        let [a, b] = ["127.0.0.1:0"; 2].map(|address| UdpSocket::bind(address).unwrap());
        let to = b.local_addr().unwrap();
        (a, b, to)
    }

    fn received(socket: &UdpSocket, each: usize) -> Vec<Vec<u8>> {
        let mut inbox = Inbox::new(each);
        let mut all = Vec::new();
        while let Ok(count) = inbox.take(socket) {
            assert_eq!(inbox.iter().count(), count);
            all.extend(inbox.iter().map(|(bytes, _)| bytes.to_vec()));
        }
        all.sort();
        all
    }

    #[test]
    fn every_datagram_arrives_as_it_was_whoever_it_is_for() {
        let (here, there, to) = pair();
        let (_, other, elsewhere) = pair();
        let mut outbox = Outbox::default();
        let mut wanted = Vec::new();
        for n in 0..200u8 {
            let bytes = vec![n; usize::from(n % 7) * 5];
            outbox.push(to, &bytes);
            wanted.push(bytes);
            if n % 10 == 0 {
                outbox.push(elsewhere, &[n]);
            }
        }
        outbox.send(&here);
        wanted.sort();
        assert_eq!(received(&there, 100), wanted);
        let few: Vec<_> = (0..200).step_by(10).map(|n| vec![n]).collect();
        assert_eq!(received(&other, 100), few);
        outbox.send(&here);
        assert!(received(&there, 100).is_empty());
    }

    #[test]
    fn the_sender_is_told_and_what_is_too_long_is_cut() {
        let (here, there, to) = pair();
        here.send_to(b"longer", to).unwrap();
        let mut inbox = Inbox::new(4);
        assert_eq!(inbox.take(&there), Ok(1));
        let all: Vec<_> = inbox.iter().collect();
        assert_eq!(all, [(&b"long"[..], here.local_addr().unwrap())]);
        assert_eq!(inbox.take(&there), Err(Errno::EAGAIN));
        assert_eq!(inbox.iter().count(), 0);
    }

    #[test]
    fn one_that_cannot_be_sent_stops_no_other() {
        let (here, there, to) = pair();
        let mut outbox = Outbox::default();
        // An address of documentation's as the source of nothing: the kernel refuses port 0.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        for byte in 0..4 {
            outbox.push(nowhere, &[byte]);
            outbox.push(to, &[byte]);
        }
        outbox.send(&here);
        assert_eq!(received(&there, 8), [[0], [1], [2], [3]]);
    }

    #[test]
    fn a_packet_is_of_one_peer_and_one_length_but_for_its_end() {
        let letter = |port, length| Letter {
            peer: SocketAddr::from(([127, 0, 0, 1], port)),
            start: 0,
            length,
        };
        let count = |letters: &[(u16, usize)]| {
            let letters = letters.iter().map(|(port, length)| letter(*port, *length));
            together(&letters.collect::<Vec<_>>())
        };
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[(1, 9), (2, 9)]), 1);
        assert_eq!(count(&[(1, 9), (1, 9), (2, 9)]), 2);
        assert_eq!(count(&[(1, 9), (1, 9), (1, 8), (1, 8)]), 3);
        assert_eq!(count(&[(1, 9), (1, 0)]), 1);
        assert_eq!(count(&[(1, 0), (1, 0)]), 1);
        assert_eq!(count(&vec![(1, 9); 100]), SEGMENTS_MAX);
        assert_eq!(count(&vec![(1, 1232); 64]), PACKET_MAX / 1232);
    }
}
