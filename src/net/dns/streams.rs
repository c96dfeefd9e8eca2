//! Clients that ask by TCP. One message at a time each, a deadline for each that no trickle of bytes moves, and few
//! connections for each client: whoever is slow or says nonsense costs a socket for a while, and nobody else's time.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::frame::{Incoming, Outgoing, Progress};
use super::slots::{Slot, Slots};
use crate::sys::epoll::{Epoll, Interest};

/// How long a client has for a request, and to take its reply.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Connections of all clients.
pub const STREAMS_MAX: usize = 256;
/// Connections of one client.
pub const STREAMS_PER_CLIENT_MAX: usize = 16;
/// The longest request: a name has 255 bytes, and the options of EDNS are few.
const REQUEST_MAX: usize = 4096;

/// One connection.
#[derive(Debug)]
pub struct Stream {
    /// The gateway it came to.
    pub seat: Slot,
    /// Where it came from.
    pub peer: IpAddr,
    socket: TcpStream,
    state: State,
    /// None while it waits for us.
    deadline: Option<Instant>,
}

#[derive(Debug)]
enum State {
    Reading(Incoming),
    Waiting,
    Writing(Outgoing),
}

/// All connections.
#[derive(Debug)]
pub struct Streams {
    streams: Slots<Stream>,
    /// Marks the tokens of connections.
    mark: u64,
}

impl Streams {
    /// None yet. Tokens are [`Slot::number`] with `mark` added.
    pub fn new(mark: u64) -> Streams {
        Streams {
            streams: Slots::default(),
            mark,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// A new connection to the gateway `seat`. Too many are closed at once.
    pub fn accept(&mut self, epoll: &Epoll, seat: Slot, socket: TcpStream, peer: SocketAddr) {
        let peer = peer.ip();
        let his = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.peer == peer)
            .count();
        if self.streams.len() >= STREAMS_MAX || his >= STREAMS_PER_CLIENT_MAX {
            return;
        }
        let token = self.mark + self.streams.next().number();
        let ready = socket.set_nonblocking(true);
        if ready
            .and_then(|()| epoll.add(&socket, token, Interest::Read))
            .is_ok()
        {
            let state = State::Reading(Incoming::new(REQUEST_MAX));
            let deadline = Some(Instant::now() + PATIENCE);
            self.streams.insert(Stream {
                seat,
                peer,
                socket,
                state,
                deadline,
            });
        }
    }

    /// Something happened on a connection: a request that is whole is returned, and waits for [`Streams::reply`].
    pub fn ready(&mut self, epoll: &Epoll, number: u64) -> Option<(Slot, Vec<u8>)> {
        let slot = self.streams.at(number)?;
        let token = self.mark + number;
        let stream = self.streams.get_mut(slot)?;
        let going_on = match &mut stream.state {
            // It has hung up, or worse.
            State::Waiting => false,
            State::Writing(_) => stream.write(epoll, token),
            State::Reading(message) => match message.read_from(&mut stream.socket) {
                Progress::Pending => true,
                Progress::End => false,
                Progress::Message(request) => {
                    stream.state = State::Waiting;
                    stream.deadline = None;
                    // A failure is seen again when the reply is written.
                    return epoll
                        .change(&stream.socket, token, Interest::Nothing)
                        .ok()
                        .map(|()| (slot, request));
                }
            },
        };
        if !going_on {
            self.streams.remove(slot);
        }
        None
    }

    /// The gateway and the client of a connection.
    pub fn get(&mut self, slot: Slot) -> Option<&Stream> {
        self.streams.get_mut(slot).map(|stream| &*stream)
    }

    /// Writes the reply to the request that a connection waits for; an empty one ends it.
    pub fn reply(&mut self, epoll: &Epoll, slot: Slot, reply: &[u8]) {
        let token = self.mark + slot.number();
        let Some(stream) = self.streams.get_mut(slot) else {
            return;
        };
        stream.state = State::Writing(Outgoing::new(reply));
        stream.deadline = Some(Instant::now() + PATIENCE);
        if reply.is_empty() || !stream.write(epoll, token) {
            self.streams.remove(slot);
        }
    }

    /// Ends those whose client is too slow.
    pub fn expire(&mut self, now: Instant) {
        self.end(|stream| stream.deadline.is_some_and(|deadline| deadline <= now));
    }

    /// Ends those of a gateway that is gone.
    pub fn leave(&mut self, seat: Slot) {
        self.end(|stream| stream.seat == seat);
    }

    fn end(&mut self, which: impl Fn(&Stream) -> bool) {
        let ended = self.streams.iter().filter(|(_, stream)| which(stream));
        let ended: Vec<Slot> = ended.map(|(slot, _)| slot).collect();
        for slot in ended {
            self.streams.remove(slot);
        }
    }
}

impl Stream {
    /// Writes on; false when there is nobody to write to.
    fn write(&mut self, epoll: &Epoll, token: u64) -> bool {
        let State::Writing(message) = &mut self.state else {
            return true;
        };
        let interest = match message.write_to(&mut self.socket) {
            Err(_) => return false,
            Ok(false) => Interest::Write,
            Ok(true) => {
                self.state = State::Reading(Incoming::new(REQUEST_MAX));
                self.deadline = Some(Instant::now() + PATIENCE);
                Interest::Read
            }
        };
        epoll.change(&self.socket, token, interest).is_ok()
    }
}
