//! Questions that other servers are asked. Each has a socket of its own, so its port cannot be guessed, and a number of
//! its own; it tries one server after the other, and never waits.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use hickory_proto::op::Message;

use super::frame::{Incoming, Outgoing, Progress};
use super::message::{Request, TCP_MAX, Transport, is_failure, set_id};
use super::slots::{Slot, Slots};
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::sockets;

/// How long a server has to reply.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// A single server is asked so often; of several, each is asked once.
const ATTEMPTS_MIN: usize = 2;
/// Questions under way, of all clients.
pub const QUESTIONS_MAX: usize = 512;
/// Questions under way of one client, so that it leaves room for others.
pub const QUESTIONS_PER_CLIENT_MAX: usize = 128;

/// Who waits for the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// A peer of the socket of a gateway.
    Datagram(Slot, SocketAddr),
    /// A connection, from this address.
    Stream(Slot, IpAddr),
}

impl Client {
    fn ip(self) -> IpAddr {
        match self {
            Client::Datagram(_, peer) => peer.ip(),
            Client::Stream(_, ip) => ip,
        }
    }
}

/// A question that is under way.
#[derive(Debug)]
pub struct Question {
    /// The request that asked it.
    pub request: Request,
    /// Who waits.
    pub client: Client,
    bytes: Vec<u8>,
    id: u16,
    servers: Vec<SocketAddr>,
    attempt: usize,
    deadline: Instant,
    link: Option<Link>,
    /// What a server said that could not help.
    failure: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Link {
    Datagram(UdpSocket),
    Writing(TcpStream, Outgoing),
    Reading(TcpStream, Incoming),
}

/// The end of a question: with the reply, or without.
#[derive(Debug)]
pub struct Done {
    /// The question.
    pub question: Question,
    /// What a server replied.
    pub reply: Option<Vec<u8>>,
}

/// All questions under way.
#[derive(Debug)]
pub struct Upstream {
    questions: Slots<Question>,
    /// Marks the tokens of questions.
    mark: u64,
}

impl Upstream {
    /// None yet. Tokens of their sockets are [`Slot::number`] with `mark` added.
    pub fn new(mark: u64) -> Upstream {
        Upstream {
            questions: Slots::default(),
            mark,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.questions.len()
    }

    /// Is there room for one more of this client?
    pub fn has_room(&self, client: Client) -> bool {
        let all = self.questions.len();
        // Nobody is counted as long as one client alone cannot have too many.
        let his = || {
            self.questions
                .iter()
                .filter(|(_, q)| q.client.ip() == client.ip())
                .count()
        };
        all < QUESTIONS_MAX && (all < QUESTIONS_PER_CLIENT_MAX || his() < QUESTIONS_PER_CLIENT_MAX)
    }

    /// Asks the servers; what ends at once is returned.
    pub fn ask(
        &mut self,
        epoll: &Epoll,
        request: Request,
        bytes: &[u8],
        client: Client,
        servers: Vec<SocketAddr>,
    ) -> Option<Done> {
        let question = Question {
            request,
            client,
            bytes: bytes.to_vec(),
            id: 0,
            servers,
            attempt: 0,
            deadline: Instant::now(),
            link: None,
            failure: None,
        };
        let slot = self.questions.insert(question);
        self.next_server(epoll, slot)
    }

    /// Something happened on the socket of a question.
    pub fn ready(&mut self, epoll: &Epoll, number: u64) -> Option<Done> {
        let slot = self.questions.at(number)?;
        let question = self.questions.get_mut(slot)?;
        match question.proceed(epoll, self.mark + number) {
            Ok(None) => None,
            Ok(Some(reply)) if is_failure(&reply) => {
                question.failure = Some(reply);
                self.next_server(epoll, slot)
            }
            Ok(Some(reply)) => self.end(slot, Some(reply)),
            Err(_) => self.next_server(epoll, slot),
        }
    }

    /// Goes on with what has waited long enough.
    pub fn expire(&mut self, epoll: &Epoll, now: Instant) -> Vec<Done> {
        let late = self
            .questions
            .iter()
            .filter(|(_, question)| question.deadline <= now);
        let late: Vec<Slot> = late.map(|(slot, _)| slot).collect();
        late.into_iter()
            .filter_map(|slot| self.next_server(epoll, slot))
            .collect()
    }

    fn next_server(&mut self, epoll: &Epoll, slot: Slot) -> Option<Done> {
        let token = self.mark + slot.number();
        let question = self.questions.get_mut(slot)?;
        let most = question.servers.len().max(ATTEMPTS_MIN);
        while question.attempt < most && !question.servers.is_empty() {
            let server = question.servers[question.attempt % question.servers.len()];
            question.attempt += 1;
            match question.open(epoll, token, server) {
                Ok(()) => return None,
                Err(error) => log::debug!("asking {server}: {error}"),
            }
        }
        let failure = question.failure.take();
        self.end(slot, failure)
    }

    fn end(&mut self, slot: Slot, reply: Option<Vec<u8>>) -> Option<Done> {
        let mut question = self.questions.remove(slot)?;
        question.link = None;
        Some(Done { question, reply })
    }
}

impl Question {
    fn open(&mut self, epoll: &Epoll, token: u64, server: SocketAddr) -> io::Result<()> {
        // Nobody else can know the number: it is random.
        self.id = Message::query().id;
        set_id(&mut self.bytes, self.id);
        self.deadline = Instant::now() + PATIENCE;
        self.link = None;
        self.link = Some(match self.request.transport() {
            Transport::Udp => {
                let socket = sockets::udp_client(server)?;
                socket.send(&self.bytes)?;
                epoll.add(&socket, token, Interest::Read)?;
                Link::Datagram(socket)
            }
            Transport::Tcp => {
                let stream = sockets::tcp_client(server)?;
                epoll.add(&stream, token, Interest::Write)?;
                Link::Writing(stream, Outgoing::new(&self.bytes))
            }
        });
        Ok(())
    }

    /// The reply, if it is there now. An error is the server's: the next one is to be asked.
    fn proceed(&mut self, epoll: &Epoll, token: u64) -> io::Result<Option<Vec<u8>>> {
        let gone = || io::Error::from(ErrorKind::UnexpectedEof);
        match self.link.take().ok_or_else(gone)? {
            Link::Datagram(socket) => {
                let mut buffer = vec![0; TCP_MAX];
                match socket.recv(&mut buffer) {
                    Ok(length) => buffer.truncate(length),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => buffer.clear(),
                    Err(error) => return Err(error),
                }
                if self.request.is_answered_by(&buffer, self.id) {
                    return Ok(Some(buffer));
                }
                // Somebody else's idea of a reply; the true one may come yet.
                self.link = Some(Link::Datagram(socket));
            }
            Link::Writing(mut stream, mut message) => {
                if message.write_to(&mut stream)? {
                    epoll.change(&stream, token, Interest::Read)?;
                    self.link = Some(Link::Reading(stream, Incoming::new(TCP_MAX)));
                } else {
                    self.link = Some(Link::Writing(stream, message));
                }
            }
            Link::Reading(mut stream, mut message) => match message.read_from(&mut stream) {
                Progress::Message(reply) if self.request.is_answered_by(&reply, self.id) => {
                    return Ok(Some(reply));
                }
                Progress::Pending => self.link = Some(Link::Reading(stream, message)),
                Progress::Message(_) | Progress::End => return Err(gone()),
            },
        }
        Ok(None)
    }
}
