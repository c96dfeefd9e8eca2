//! Both ends of a measurement of a DNS server: a client that is fast enough to saturate it, and a server that knows
//! nothing, to see what of an answer's price is the kernel's. `benches/net.sh` uses them.
//!
//! ```sh
//! cargo bench --bench dns -- ask 10.90.0.1:53 questions     # lines of NAME TYPE, as dnsperf has them
//! cargo bench --bench dns -- echo 10.90.0.1:5300            # sends each question back as its answer, for ever
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // What goes wrong here is told by the panic.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::Name;
use plyfs::sys::datagrams::{Inbox, Outbox};
use plyfs::sys::epoll::{Epoll, Interest};

/// Longer than any answer by UDP.
const DATAGRAM: usize = 4096;
/// A question without an answer for so long is lost.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug, Parser)]
enum Options {
    /// Ask as fast as answers come, and print: answers a second, questions lost
    Ask {
        /// Address and port
        server: SocketAddr,
        /// Lines of NAME TYPE, asked for in a circle
        questions: PathBuf,
        /// How long
        #[arg(long, default_value_t = 4.0)]
        seconds: f64,
        /// Clients, each with a port of its own
        #[arg(long, default_value_t = 4)]
        clients: usize,
        /// Questions that a client has under way
        #[arg(long, default_value_t = 25)]
        window: usize,
        #[arg(long, hide = true)]
        bench: bool,
    },
    /// Answer each question with itself
    Echo {
        /// Address and port
        address: SocketAddr,
        /// By recvfrom and sendto, one at a time
        #[arg(long)]
        single: bool,
        #[arg(long, hide = true)]
        bench: bool,
    },
}

fn main() {
    match Options::parse() {
        Options::Ask {
            server,
            questions,
            seconds,
            clients,
            window,
            ..
        } => {
            let questions = read(&questions);
            let counted = ask(server, &questions, seconds, clients, window);
            println!("{:.0} {}", counted.answers as f64 / seconds, counted.lost);
        }
        Options::Echo {
            address, single, ..
        } => echo(address, single),
    }
}

/// The questions of a file as they are sent, with number 0.
fn read(path: &Path) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(path).expect("the file of questions");
    let encoded = |line: &str| {
        let (name, kind) = line.split_once(' ').expect("NAME TYPE");
        let mut name = Name::from_ascii(name).expect("a name");
        name.set_fqdn(true);
        let mut question = Message::query();
        question.metadata.id = 0;
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(name, kind.parse().expect("a type")));
        question.to_vec().expect("a question")
    };
    text.lines().map(encoded).collect()
}

#[derive(Default)]
struct Counted {
    answers: u64,
    lost: u64,
}

/// One client: its questions under way, each with the time it was asked; the place is the number of the message.
struct Client {
    socket: UdpSocket,
    asked: Vec<Option<(usize, Instant)>>,
}

fn ask(
    server: SocketAddr,
    questions: &[Vec<u8>],
    seconds: f64,
    clients: usize,
    window: usize,
) -> Counted {
    let epoll = Epoll::new().unwrap();
    let any = SocketAddr::new(server.ip(), 0);
    let open = |number: usize| {
        let socket = UdpSocket::bind(match any {
            SocketAddr::V4(_) => "0.0.0.0:0",
            SocketAddr::V6(_) => "[::]:0",
        });
        let socket = socket.unwrap();
        socket.connect(server).unwrap();
        epoll.add(&socket, number as u64, Interest::Read).unwrap();
        let asked = vec![None; window];
        Client { socket, asked }
    };
    let mut clients: Vec<Client> = (0..clients).map(open).collect();
    let (mut inbox, mut outbox) = (Inbox::new(DATAGRAM), Outbox::default());
    let mut counted = Counted::default();
    let mut next = (0..questions.len()).cycle();
    let (mut ready, start) = (Vec::new(), Instant::now());
    let mut looked = start - PATIENCE;
    while start.elapsed().as_secs_f64() < seconds {
        let now = Instant::now();
        if now.duration_since(looked) >= PATIENCE {
            // At the first look all places are free.
            looked = now;
            for client in &mut clients {
                counted.lost += client.give_up(now);
                client.refill(questions, &mut next, &mut outbox, now);
            }
        }
        epoll.wait(&mut ready, Some(PATIENCE)).unwrap();
        for number in &ready {
            let client = &mut clients[*number as usize];
            counted.answers += client.take(questions, &mut inbox);
            client.refill(questions, &mut next, &mut outbox, now);
        }
    }
    counted
}

impl Client {
    /// Forgets what was asked too long ago.
    fn give_up(&mut self, now: Instant) -> u64 {
        let late = |(_, when): &(usize, Instant)| now.duration_since(*when) >= PATIENCE;
        let late = self
            .asked
            .iter_mut()
            .filter(|asked| asked.is_some_and(|one| late(&one)));
        late.map(|asked| *asked = None).count() as u64
    }

    /// Takes what has come, and says how many true answers that is.
    fn take(&mut self, questions: &[Vec<u8>], inbox: &mut Inbox) -> u64 {
        let mut answers = 0;
        if inbox.take(&self.socket).is_err() {
            return 0;
        }
        for (reply, _) in inbox.iter() {
            let number = usize::from(u16::from_be_bytes([reply[0], reply[1]]));
            let asked = self.asked.get_mut(number).and_then(Option::take);
            let question = asked.map(|(question, _)| &questions[question][12..]);
            let good = reply[2] & 0x80 != 0 && reply[3] & 0xf == 0;
            let same = question.is_some_and(|question| reply[12..].starts_with(question));
            answers += u64::from(good && same);
        }
        answers
    }

    fn refill(
        &mut self,
        questions: &[Vec<u8>],
        next: &mut impl Iterator<Item = usize>,
        outbox: &mut Outbox,
        now: Instant,
    ) {
        let peer = self.socket.peer_addr().unwrap();
        for (number, place) in self
            .asked
            .iter_mut()
            .enumerate()
            .filter(|one| one.1.is_none())
        {
            let question = next.next().unwrap();
            *place = Some((question, now));
            let mut bytes = questions[question].clone();
            bytes[..2].copy_from_slice(&(number as u16).to_be_bytes());
            outbox.push(peer, &bytes);
        }
        outbox.send(&self.socket);
    }
}

/// The least that a server has to do.
fn echo(address: SocketAddr, single: bool) {
    let socket = UdpSocket::bind(address).expect("the address");
    let answered = |bytes: &mut [u8]| bytes[2] |= 0x80;
    if single {
        let mut bytes = [0; DATAGRAM];
        loop {
            let (length, peer) = socket.recv_from(&mut bytes).unwrap();
            answered(&mut bytes[..length]);
            socket.send_to(&bytes[..length], peer).unwrap();
        }
    }
    let epoll = Epoll::new().unwrap();
    epoll.add(&socket, 0, Interest::Read).unwrap();
    let (mut inbox, mut outbox) = (Inbox::new(DATAGRAM), Outbox::default());
    let mut ready = Vec::new();
    loop {
        epoll.wait(&mut ready, None).unwrap();
        if inbox.take(&socket).is_err() {
            continue;
        }
        for (bytes, peer) in inbox.iter() {
            let mut bytes = bytes.to_vec();
            answered(&mut bytes);
            outbox.push(peer, &bytes);
        }
        outbox.send(&socket);
    }
}
