//! The responder: one thread for all networks of a host. It waits for everything at once and for nothing alone.
//!
//! A gateway's address has a socket for datagrams and one for connections, and the network it belongs to is the one
//! that is answered for: a container hears only of its own networks. Each readiness does a bounded piece of work, so no
//! client keeps another one waiting.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;

use super::catalog::Catalog;
use super::life::Deaf;
use super::message::{self, Request, Transport, Verdict};
use super::resolv::{PORT, Resolv};
use super::slots::{Slot, Slots};
use super::streams::Streams;
use super::upstream::{Client, Done, Upstream};
use crate::net::error::{OrAt, Result};
use crate::sys::datagrams::{Inbox, Outbox};
use crate::sys::epoll::{Epoll, Interest};

/// How often deadlines are looked at, while there are any.
const TICK: Duration = Duration::from_millis(200);
/// The longest request by UDP that is read whole.
const DATAGRAM_MAX: usize = 4096;

/// Whose a token of epoll is: the top byte. Below is the number of a place.
mod mark {
    pub const CATALOG: u64 = 0;
    pub const DATAGRAMS: u64 = 1 << 56;
    pub const LISTENER: u64 = 2 << 56;
    pub const STREAM: u64 = 3 << 56;
    pub const QUESTION: u64 = 4 << 56;
    pub const NUMBER: u64 = (1 << 56) - 1;
}

/// The responder.
#[derive(Debug)]
pub struct Server {
    epoll: Epoll,
    catalog: Catalog,
    seats: Slots<Seat>,
    streams: Streams,
    upstream: Upstream,
    resolv: Resolv,
    turn: usize,
    /// What could not be listened on and is to be tried again.
    deaf: Vec<Deaf>,
    ticked: Instant,
    inbox: Inbox,
    outbox: Outbox,
    out: Vec<u8>,
}

/// A gateway's address.
#[derive(Debug)]
struct Seat {
    address: IpAddr,
    network: String,
    datagrams: UdpSocket,
    listener: TcpListener,
}

impl Server {
    /// A responder for the networks of the catalog; other names are asked for where `resolv` says.
    ///
    /// # Errors
    /// When the kernel gives no epoll.
    pub fn new(catalog: Catalog, resolv: Resolv) -> Result<Server> {
        let epoll = Epoll::new().or_at("wait for", "epoll".as_ref())?;
        epoll
            .add(&catalog, mark::CATALOG, Interest::Read)
            .or_at("wait for", "inotify".as_ref())?;
        let mut server = Server {
            epoll,
            catalog,
            seats: Slots::default(),
            streams: Streams::new(mark::STREAM),
            upstream: Upstream::new(mark::QUESTION),
            resolv,
            turn: 0,
            deaf: Vec::new(),
            ticked: Instant::now(),
            inbox: Inbox::new(DATAGRAM_MAX),
            outbox: Outbox::default(),
            out: Vec::new(),
        };
        server.settle();
        Ok(server)
    }

    /// Serves until nobody uses a network with names, or what cannot be listened on is something else.
    ///
    /// # Errors
    /// When the kernel does not let it wait.
    pub fn run(&mut self) -> Result<()> {
        let mut tokens = Vec::new();
        let before = self.deaf.clone();
        while self.is_used() && self.deaf == before {
            let busy = !self.deaf.is_empty() || self.streams.len() + self.upstream.len() > 0;
            let waited = self.epoll.wait(&mut tokens, busy.then_some(TICK));
            waited.or_at("wait for", "epoll".as_ref())?;
            for token in &tokens {
                self.dispatch(*token)?;
            }
            let now = Instant::now();
            if busy && now.duration_since(self.ticked) >= TICK {
                self.ticked = now;
                self.tick(now);
            }
        }
        Ok(())
    }

    /// Reads everything again, for a last look before the end.
    ///
    /// # Errors
    /// As [`Catalog::reload`].
    pub fn refresh(&mut self) -> Result<()> {
        self.catalog.reload()?;
        self.settle();
        Ok(())
    }

    /// Where it should listen and cannot.
    pub fn deaf(&self) -> &[Deaf] {
        &self.deaf
    }

    /// Whether anybody uses a network with names.
    pub fn is_used(&self) -> bool {
        self.catalog.gateways().next().is_some()
    }

    fn dispatch(&mut self, token: u64) -> Result<()> {
        let number = token & mark::NUMBER;
        match token & !mark::NUMBER {
            mark::CATALOG => self.follow()?,
            mark::DATAGRAMS => self.answer_datagrams(number)?,
            mark::LISTENER => self.accept(number),
            mark::STREAM => {
                if let Some((slot, request)) = self.streams.ready(&self.epoll, number) {
                    self.answer_stream(slot, &request)?;
                }
            }
            _ => {
                let done = self.upstream.ready(&self.epoll, number);
                done.into_iter().for_each(|done| self.finish(done));
            }
        }
        Ok(())
    }

    /// Looks at what has changed. Done for each request, as it costs next to nothing: an answer knows all that happened
    /// before its question was asked.
    fn follow(&mut self) -> Result<()> {
        if self.catalog.update()? {
            self.settle();
        }
        Ok(())
    }

    fn tick(&mut self, now: Instant) {
        self.streams.expire(now);
        for done in self.upstream.expire(&self.epoll, now) {
            self.finish(done);
        }
        if !self.deaf.is_empty() {
            self.settle();
        }
    }

    // --- gateways ----------------------------------------------------------------------------------------------------

    /// Listens on the gateways that are there now, and no longer on those that are gone.
    fn settle(&mut self) {
        let wanted: Vec<(IpAddr, String)> = self
            .catalog
            .gateways()
            .map(|(address, name)| (address, name.to_string()))
            .collect();
        let is = |seat: &Seat, (address, name): &(IpAddr, String)| {
            seat.address == *address && seat.network == *name
        };
        let gone = self
            .seats
            .iter()
            .filter(|(_, seat)| !wanted.iter().any(|w| is(seat, w)));
        let gone: Vec<Slot> = gone.map(|(slot, _)| slot).collect();
        for slot in gone {
            self.seats.remove(slot);
            self.streams.leave(slot);
        }
        let before = std::mem::take(&mut self.deaf);
        for want in wanted {
            if self.seats.iter().any(|(_, seat)| is(seat, &want)) {
                continue;
            }
            let (address, network) = want;
            if let Err(error) = self.listen(address, network) {
                let deaf = Deaf {
                    address,
                    errno: error.into(),
                };
                // Said once, not at every try.
                if !before.contains(&deaf) {
                    log::warn!("{deaf}");
                }
                self.deaf.push(deaf);
            }
        }
    }

    fn listen(&mut self, address: IpAddr, network: String) -> std::io::Result<()> {
        let number = self.seats.next().number();
        let place = SocketAddr::new(address, PORT);
        let datagrams = crate::sys::sockets::udp_server(place)?;
        let listener = crate::sys::sockets::tcp_server(place)?;
        self.epoll
            .add(&datagrams, mark::DATAGRAMS + number, Interest::Read)?;
        self.epoll
            .add(&listener, mark::LISTENER + number, Interest::Read)?;
        self.seats.insert(Seat {
            address,
            network,
            datagrams,
            listener,
        });
        Ok(())
    }

    // --- requests ----------------------------------------------------------------------------------------------------

    fn answer_datagrams(&mut self, number: u64) -> Result<()> {
        let Some(slot) = self.seats.at(number) else {
            return Ok(());
        };
        let taken = self
            .seats
            .get_mut(slot)
            .map(|seat| self.inbox.take(&seat.datagrams));
        let Some(Ok(_)) = taken else {
            // Nothing more, or nothing to be done about it.
            return Ok(());
        };
        self.follow()?;
        for (request, bytes, peer) in self.answer_inbox(slot) {
            self.forward(slot, *request, &bytes, Client::Datagram(slot, peer));
        }
        Ok(())
    }

    /// Answers what came in at a seat, and returns what somebody else has to be asked.
    fn answer_inbox(&mut self, slot: Slot) -> Vec<(Box<Request>, Vec<u8>, SocketAddr)> {
        let mut others = Vec::new();
        let Some(seat) = self.seats.get_mut(slot) else {
            return others;
        };
        let Some(zone) = self.catalog.zone(&seat.network) else {
            return others;
        };
        for (bytes, peer) in self.inbox.iter() {
            self.turn = self.turn.wrapping_add(1);
            match message::respond(bytes, Transport::Udp, zone, self.turn, &mut self.out) {
                Verdict::Silence => {}
                Verdict::Reply => self.outbox.push(peer, &self.out),
                Verdict::Forward(request) => others.push((request, bytes.to_vec(), peer)),
            }
        }
        // A reply that cannot be sent is one that is lost: the client asks again.
        self.outbox.send(&seat.datagrams);
        others
    }

    fn accept(&mut self, number: u64) {
        let Some(slot) = self.seats.at(number) else {
            return;
        };
        let accepted = self.seats.get_mut(slot).map(|seat| seat.listener.accept());
        if let Some(Ok((socket, peer))) = accepted {
            self.streams.accept(&self.epoll, slot, socket, peer);
        }
    }

    fn answer_stream(&mut self, slot: Slot, bytes: &[u8]) -> Result<()> {
        self.follow()?;
        let Some(stream) = self.streams.get(slot) else {
            return Ok(());
        };
        let (seat, client) = (stream.seat, Client::Stream(slot, stream.peer));
        let network = self.seats.get_mut(seat).map(|seat| seat.network.as_str());
        let Some(zone) = network.and_then(|network| self.catalog.zone(network)) else {
            self.streams.reply(&self.epoll, slot, &[]);
            return Ok(());
        };
        self.turn = self.turn.wrapping_add(1);
        match message::respond(bytes, Transport::Tcp, zone, self.turn, &mut self.out) {
            Verdict::Silence => self.streams.reply(&self.epoll, slot, &[]),
            Verdict::Reply => self.streams.reply(&self.epoll, slot, &self.out),
            Verdict::Forward(request) => self.forward(seat, *request, bytes, client),
        }
        Ok(())
    }

    // --- other servers -----------------------------------------------------------------------------------------------

    fn forward(&mut self, seat: Slot, request: Request, bytes: &[u8], client: Client) {
        if !self.upstream.has_room(client) {
            if request.reply(ResponseCode::Refused, Vec::new(), &mut self.out) {
                self.send(client);
            }
            return;
        }
        let servers = self.servers(seat);
        let done = self
            .upstream
            .ask(&self.epoll, request, bytes, client, servers);
        done.into_iter().for_each(|done| self.finish(done));
    }

    /// The network's servers, or the host's; never ourselves.
    fn servers(&mut self, seat: Slot) -> Vec<SocketAddr> {
        let network = self.seats.get_mut(seat).map(|seat| seat.network.as_str());
        let own = network.map_or(&[][..], |network| self.catalog.servers(network));
        let mut servers: Vec<_> = own.iter().map(|ip| SocketAddr::new(*ip, PORT)).collect();
        if servers.is_empty() {
            servers = self.resolv.servers(Instant::now()).to_vec();
        }
        servers.retain(|server| {
            !self
                .seats
                .iter()
                .any(|(_, seat)| seat.address == server.ip())
        });
        servers
    }

    fn finish(&mut self, done: Done) {
        let request = &done.question.request;
        let written = match done.reply {
            Some(reply) => request.pass_on(&reply, &mut self.out),
            None => request.reply(ResponseCode::ServFail, Vec::new(), &mut self.out),
        };
        if written {
            self.send(done.question.client);
        }
    }

    /// Sends what is written; who has gone meanwhile is not looked for.
    fn send(&mut self, client: Client) {
        match client {
            Client::Stream(slot, _) => self.streams.reply(&self.epoll, slot, &self.out),
            Client::Datagram(seat, peer) => {
                if let Some(seat) = self.seats.get_mut(seat) {
                    // As above: a lost reply is asked for again.
                    drop(seat.datagrams.send_to(&self.out, peer));
                }
            }
        }
    }
}
