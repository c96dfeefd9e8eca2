//! Asking a responder, as `plynet dns query` does. This is a client's side, so it may wait.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::message::{TCP_MAX, UDP_MAX};
use super::resolv::PORT;
use crate::net::error::{Error, Kind, Result};
use crate::sys::errno::Errno;

/// How long one try waits: longer than the responder needs to ask two servers of the host's.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a new address may take to be served.
const START: Duration = Duration::from_secs(2);
/// How long one look at it waits for an answer.
const LOOK: Duration = Duration::from_millis(50);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// One record of an answer, in words.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// The name it is of.
    pub name: String,
    /// How many seconds it may be remembered.
    pub ttl: u32,
    /// Its type.
    pub kind: String,
    /// What it says.
    pub data: String,
}

/// The records of type `kind` that the responder at `server` has for a name; for an address instead of a name, the
/// names it belongs to. A name that exists without such records has none.
///
/// # Errors
/// Not found when there is no such name; usage when it cannot be a name; what kept the responder from answering.
pub fn ask(server: IpAddr, name: &str, kind: &str) -> Result<Vec<Found>> {
    let query = match name.parse::<IpAddr>() {
        Ok(address) => Query::query(Name::from(address), RecordType::PTR),
        Err(_) => Query::query(absolute(name)?, parsed_kind(kind)?),
    };
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(query);
    let failed =
        |why: String| Error::new(Kind::Other, format!("asking {server} for {name}: {why}"));
    let reply = exchange(SocketAddr::new(server, PORT), &question);
    let reply = reply.map_err(|error| failed(reason(&error)))?;
    match reply.response_code {
        ResponseCode::NoError => Ok(reply.answers.iter().map(found).collect()),
        ResponseCode::NXDomain => Err(Error::not_found(format!("{name}: no such name"))),
        code => Err(failed(code.to_string())),
    }
}

/// Waits until the responder answers at `server`, which may be somebody else's, or `gives_up`.
///
/// # Errors
/// When that takes too long.
pub fn wait_for(
    server: IpAddr,
    name: &str,
    mut gives_up: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let failed = |error: io::Error| {
        let why = reason(&error);
        Error::new(
            Kind::Other,
            format!("the DNS responder does not answer on {server}: {why}"),
        )
    };
    let mut question = Message::query();
    question.add_query(Query::query(absolute(name)?, RecordType::SOA));
    let deadline = Instant::now() + START;
    loop {
        let others = || io::Error::other("somebody else does");
        let why = match by_udp(SocketAddr::new(server, PORT), &question, LOOK) {
            Ok(reply) if reply.authoritative => return Ok(()),
            Ok(_) => others(),
            Err(error) => error,
        };
        if gives_up()? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(failed(why));
        }
        std::thread::sleep(PAUSE);
    }
}

fn found(record: &hickory_proto::rr::Record) -> Found {
    Found {
        name: record.name.to_ascii(),
        ttl: record.ttl,
        kind: record.record_type().to_string(),
        data: record.data.to_string(),
    }
}

fn absolute(name: &str) -> Result<Name> {
    let bad =
        |why: &dyn std::fmt::Display| Error::usage(format!("name {}: {why}", name.escape_debug()));
    let mut parsed = Name::from_str_relaxed(name).map_err(|error| bad(&error))?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

fn parsed_kind(kind: &str) -> Result<RecordType> {
    let upper = kind.to_ascii_uppercase();
    upper
        .parse()
        .map_err(|_| Error::usage(format!("{}: no type of records", kind.escape_debug())))
}

fn exchange(server: SocketAddr, question: &Message) -> io::Result<Message> {
    let reply = match by_udp(server, question, PATIENCE) {
        Err(error) if is_timeout(&error) => by_udp(server, question, PATIENCE)?,
        other => other?,
    };
    if reply.truncation {
        by_tcp(server, question)
    } else {
        Ok(reply)
    }
}

fn by_udp(server: SocketAddr, question: &Message, patience: Duration) -> io::Result<Message> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => IpAddr::from([0; 4]),
        SocketAddr::V6(_) => IpAddr::from([0; 16]),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(&encoded(question)?)?;
    let mut buffer = [0; UDP_MAX];
    loop {
        let length = socket.recv(&mut buffer)?;
        // Anything else is a late reply to another question.
        if let Ok(reply) = Message::from_vec(&buffer[..length])
            && reply.id == question.id
        {
            return Ok(reply);
        }
    }
}

fn by_tcp(server: SocketAddr, question: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let bytes = encoded(question)?;
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    stream.write_all(&[&length[..], &bytes].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length)).min(TCP_MAX)];
    stream.read_exact(&mut reply)?;
    Message::from_vec(&reply).map_err(io::Error::other)
}

fn encoded(question: &Message) -> io::Result<Vec<u8>> {
    question.to_vec().map_err(io::Error::other)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn reason(error: &io::Error) -> String {
    if is_timeout(error) {
        return "no answer in time".into();
    }
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).to_string(),
        None => error.to_string(),
    }
}
