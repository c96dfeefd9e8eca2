//! PURE: bytes of a request in, bytes of a reply out.
//!
//! Whatever the bytes are: no panic, no reply that is longer than allowed, none to a reply (two servers would talk for
//! ever), and only the header, the one question and the EDNS record of a request are ever decoded.

use hickory_proto::op::{
    Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode,
};
use hickory_proto::rr::{DNSClass, Record};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};

use super::zone::{Answer, Zone};

/// The shortest reply every client of UDP takes, RFC 1035 §4.2.1.
const UDP_MIN: usize = 512;
/// The longest reply by UDP: fits into one frame of any network (DNS flag day 2020).
pub const UDP_MAX: usize = 1232;
/// The longest reply by TCP: its length has two bytes.
pub const TCP_MAX: usize = u16::MAX as usize;
/// Bytes of a header.
const HEADER: usize = 12;

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// In a stream, after its length.
    Tcp,
}

/// A request that makes sense.
#[derive(Clone, Debug)]
pub struct Request {
    metadata: Metadata,
    query: Query,
    edns: Option<Edns>,
    transport: Transport,
}

/// What is to be done with a request.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing: it deserves no reply.
    Silence,
    /// The reply is written.
    Reply,
    /// Somebody else has to be asked.
    Forward(Box<Request>),
}

/// Answers a request from what a zone knows; the reply goes into `out`. `turn` orders the addresses of a service.
pub fn respond(
    bytes: &[u8],
    transport: Transport,
    zone: &Zone,
    turn: usize,
    out: &mut Vec<u8>,
) -> Verdict {
    out.clear();
    let mut decoder = BinDecoder::new(bytes);
    let Ok(header) = Header::read(&mut decoder) else {
        return Verdict::Silence;
    };
    if header.message_type == MessageType::Response {
        return Verdict::Silence;
    }
    let request = match Request::decode(&header, transport, &mut decoder) {
        Ok(request) => request,
        Err(code) => {
            let refusal = Message::error_msg(header.id, header.op_code, code);
            return written(encode(&refusal, UDP_MIN, out));
        }
    };
    match request.edns.as_ref().map(Edns::version) {
        None | Some(0) => {}
        Some(_) => return written(request.reply(ResponseCode::BADVERS, Vec::new(), out)),
    }
    let reply = match zone.answer(&request.query, turn) {
        _ if request.query.query_class() != DNSClass::IN => {
            request.reply(ResponseCode::Refused, Vec::new(), out)
        }
        Answer::Records(records) => request.reply(ResponseCode::NoError, records, out),
        Answer::NoData => request.reply(ResponseCode::NoError, Vec::new(), out),
        Answer::NoName => request.reply(ResponseCode::NXDomain, Vec::new(), out),
        Answer::Elsewhere => return Verdict::Forward(Box::new(request)),
    };
    written(reply)
}

fn written(reply: bool) -> Verdict {
    if reply {
        Verdict::Reply
    } else {
        Verdict::Silence
    }
}

impl Request {
    fn decode(
        header: &Header,
        transport: Transport,
        decoder: &mut BinDecoder<'_>,
    ) -> Result<Request, ResponseCode> {
        if header.op_code != OpCode::Query {
            return Err(ResponseCode::NotImp);
        }
        let counts = header.counts;
        if (counts.queries, counts.answers, counts.authorities) != (1, 0, 0) {
            return Err(ResponseCode::FormErr);
        }
        let query = Query::read(decoder).map_err(|_| ResponseCode::FormErr)?;
        let additionals = usize::from(counts.additionals);
        let (_, edns, _) = Message::read_records(decoder, additionals, true, OpCode::Query)
            .map_err(|_| ResponseCode::FormErr)?;
        Ok(Request {
            metadata: header.metadata,
            query,
            edns,
            transport,
        })
    }

    /// The number that the client gave it.
    pub fn id(&self) -> u16 {
        self.metadata.id
    }

    /// How it came.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The longest reply that may be sent.
    pub fn limit(&self) -> usize {
        match (self.transport, &self.edns) {
            (Transport::Tcp, _) => TCP_MAX,
            (Transport::Udp, None) => UDP_MIN,
            (Transport::Udp, Some(edns)) => usize::from(edns.max_payload()).clamp(UDP_MIN, UDP_MAX),
        }
    }

    /// Writes a reply into `out`; false when there can be none.
    ///
    /// A negative one has no SOA record on purpose: then nobody may remember it (RFC 2308 §5), and a container may
    /// come up under the name at any moment.
    pub fn reply(&self, code: ResponseCode, answers: Vec<Record>, out: &mut Vec<u8>) -> bool {
        let mut reply = Message::response(self.metadata.id, OpCode::Query);
        reply.metadata = Metadata::response_from_request(&self.metadata);
        reply.metadata.recursion_available = true;
        reply.metadata.response_code = code;
        reply.metadata.authoritative =
            matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
        reply.queries.push(self.query.clone());
        reply.answers = answers;
        reply.edns = self.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(u16::try_from(UDP_MAX).unwrap_or(u16::MAX));
            edns.set_dnssec_ok(asked.flags().dnssec_ok);
            edns
        });
        encode(&reply, self.limit(), out)
    }

    /// Passes on the reply of another server; false when there can be none. One that is too long is cut to its
    /// question, so that the client asks again by TCP.
    pub fn pass_on(&self, reply: &[u8], out: &mut Vec<u8>) -> bool {
        out.clear();
        if reply.len() <= self.limit() {
            out.extend_from_slice(reply);
            set_id(out, self.id());
            return true;
        }
        let mut short = Message::response(self.metadata.id, OpCode::Query);
        short.metadata = Metadata::response_from_request(&self.metadata);
        short.metadata.truncation = true;
        short.metadata.recursion_available = true;
        short.queries.push(self.query.clone());
        encode(&short, self.limit(), out)
    }

    /// Does this reply to the request, sent on under the number `id`, have its question?
    pub fn is_answered_by(&self, reply: &[u8], id: u16) -> bool {
        let mut decoder = BinDecoder::new(reply);
        let Ok(header) = Header::read(&mut decoder) else {
            return false;
        };
        let mut same_question = || {
            Query::read(&mut decoder).is_ok_and(|query| {
                query.name() == self.query.name()
                    && query.query_type() == self.query.query_type()
                    && query.query_class() == self.query.query_class()
            })
        };
        header.id == id
            && header.message_type == MessageType::Response
            && header.counts.queries == 1
            && same_question()
    }
}

/// Whether a reply of another server is worth asking the next one.
pub fn is_failure(reply: &[u8]) -> bool {
    let code = reply
        .get(3)
        .map(|flags| ResponseCode::from_low(flags & 0xf));
    matches!(
        code,
        None | Some(ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp)
    )
}

/// Gives a message another number.
pub fn set_id(message: &mut [u8], id: u16) {
    if let Some(place) = message.first_chunk_mut() {
        *place = id.to_be_bytes();
    }
}

/// Writes a message of at most `limit` bytes; what does not fit is left out, and the message says so.
fn encode(message: &Message, limit: usize, out: &mut Vec<u8>) -> bool {
    if encode_whole(message, limit, out) && !is_truncated(out) {
        return true;
    }
    encode_whole(&message.truncate(), limit, out)
}

fn encode_whole(message: &Message, limit: usize, out: &mut Vec<u8>) -> bool {
    out.clear();
    let mut encoder = BinEncoder::new(out);
    encoder.set_max_size(u16::try_from(limit).unwrap_or(u16::MAX));
    message.emit(&mut encoder).is_ok() && out.len() >= HEADER && out.len() <= limit
}

fn is_truncated(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 2 != 0)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use hickory_proto::rr::{Name, RecordType};
    use proptest::prelude::*;

    use super::super::zone::Member;
    use super::*;

    fn zone() -> Zone {
        let mut zone = Zone::new("net", vec!["10.0.0.0/8".parse().unwrap()], false);
        for i in 0..60u8 {
            zone.add(&Member {
                name: format!("c{i}"),
                aliases: vec!["all".into()],
                addresses: vec![
                    IpAddr::from([10, 0, 0, i]),
                    format!("fd00::{i:x}").parse().unwrap(),
                ],
            });
        }
        zone
    }

    fn request(name: &str, kind: RecordType, payload: Option<u16>) -> Vec<u8> {
        let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        message.to_vec().unwrap()
    }

    fn reply(bytes: &[u8], transport: Transport) -> Message {
        let mut out = Vec::new();
        let verdict = respond(bytes, transport, &zone(), 0, &mut out);
        assert!(matches!(verdict, Verdict::Reply), "{verdict:?}");
        Message::from_vec(&out).unwrap()
    }

    fn forwarded(bytes: &[u8]) -> Request {
        match respond(bytes, Transport::Udp, &zone(), 0, &mut Vec::new()) {
            Verdict::Forward(request) => *request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_echoes_the_question_as_it_was_written() {
        let reply = reply(&request("C7.net.", RecordType::A, None), Transport::Udp);
        assert_eq!(reply.id, 0x1234);
        assert!(reply.authoritative && reply.recursion_available && reply.recursion_desired);
        assert_eq!(reply.queries[0].name().to_ascii(), "C7.net.");
        assert_eq!(reply.answers[0].name.to_ascii(), "C7.net.");
        assert_eq!(reply.answers[0].data.to_string(), "10.0.0.7");
        assert!(reply.edns.is_none());
    }

    #[test]
    fn codes() {
        let code = |name, kind| {
            let reply = reply(&request(name, kind, None), Transport::Udp);
            (reply.response_code, reply.answers.len())
        };
        assert_eq!(
            code("nobody.net.plynet.", RecordType::A),
            (ResponseCode::NXDomain, 0)
        );
        assert_eq!(code("c1.net.", RecordType::TXT), (ResponseCode::NoError, 0));
        let mut other_class = request("c1.", RecordType::A, None);
        let last = other_class.len() - 1;
        other_class[last] = 3;
        assert_eq!(
            reply(&other_class, Transport::Udp).response_code,
            ResponseCode::Refused
        );
        let mut update = request("c1.", RecordType::A, None);
        update[2] = 5 << 3;
        assert_eq!(
            reply(&update, Transport::Udp).response_code,
            ResponseCode::NotImp
        );
        let mut two = request("c1.", RecordType::A, None);
        two[5] = 2;
        assert_eq!(
            reply(&two, Transport::Udp).response_code,
            ResponseCode::FormErr
        );
    }

    #[test]
    fn a_reply_gets_no_reply() {
        let mut bytes = request("c1.", RecordType::A, None);
        bytes[2] |= 0x80;
        let mut out = Vec::new();
        let verdict = respond(&bytes, Transport::Udp, &zone(), 0, &mut out);
        assert!(matches!(verdict, Verdict::Silence) && out.is_empty());
    }

    #[test]
    fn edns_is_answered_and_its_version_checked() {
        let bytes = request("c1.", RecordType::A, Some(4096));
        let good = reply(&bytes, Transport::Udp);
        assert_eq!(usize::from(good.max_payload()), UDP_MAX);
        // Version 9: the second byte of the TTL of the OPT record at the end.
        let mut newer = bytes;
        let version = newer.len() - 5;
        newer[version] = 9;
        let bad = reply(&newer, Transport::Udp);
        // 16 has two names.
        assert_eq!(
            u16::from(bad.response_code),
            u16::from(ResponseCode::BADVERS)
        );
        assert!(bad.answers.is_empty() && bad.edns.is_some());
    }

    #[test]
    fn what_does_not_fit_is_asked_for_again_by_tcp() {
        let ask = |payload, transport| reply(&request("all.", RecordType::A, payload), transport);
        let short = ask(None, Transport::Udp);
        assert!(short.truncation && short.answers.is_empty());
        assert_eq!(ask(Some(1232), Transport::Udp).answers.len(), 60);
        assert!(ask(Some(700), Transport::Udp).truncation);
        let whole = ask(None, Transport::Tcp);
        assert!(!whole.truncation);
        assert_eq!(whole.answers.len(), 60);
    }

    #[test]
    fn the_reply_of_another_server_must_fit_the_question() {
        let bytes = request("example.org.", RecordType::A, None);
        let request = forwarded(&bytes);
        let mut answer = Message::response(9, OpCode::Query);
        answer.add_query(Query::query(
            Name::from_ascii("EXAMPLE.org.").unwrap(),
            RecordType::A,
        ));
        let good = answer.to_vec().unwrap();
        assert!(request.is_answered_by(&good, 9));
        assert!(!request.is_answered_by(&good, 8));
        assert!(!request.is_answered_by(&bytes, 0x1234));
        assert!(!request.is_answered_by(&good[..20], 9));
        answer.queries[0].set_query_type(RecordType::AAAA);
        assert!(!request.is_answered_by(&answer.to_vec().unwrap(), 9));
        let mut out = Vec::new();
        assert!(request.pass_on(&good, &mut out));
        assert_eq!(Message::from_vec(&out).unwrap().id, 0x1234);
        let mut long = good;
        long.resize(600, 0);
        assert!(request.pass_on(&long, &mut out));
        let short = Message::from_vec(&out).unwrap();
        assert!(short.truncation && short.id == 0x1234);
    }

    fn checked(bytes: &[u8], transport: Transport, zone: &Zone) {
        let mut out = Vec::new();
        let limit = match respond(bytes, transport, zone, 1, &mut out) {
            Verdict::Silence => 0,
            Verdict::Forward(request) => {
                assert!(request.reply(ResponseCode::ServFail, Vec::new(), &mut out));
                request.limit()
            }
            Verdict::Reply if transport == Transport::Tcp => TCP_MAX,
            Verdict::Reply => UDP_MAX,
        };
        assert!(out.len() <= limit);
        if !out.is_empty() {
            assert!(out.len() >= HEADER && out[..2] == bytes[..2] && out[2] & 0x80 != 0);
        }
    }

    fn transports() -> impl Strategy<Value = Transport> {
        prop_oneof![Just(Transport::Udp), Just(Transport::Tcp)]
    }

    proptest! {
        #[test]
        fn random_bytes_do_no_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            transport in transports(),
        ) {
            checked(&bytes, transport, &zone());
        }

        #[test]
        fn mutated_requests_do_no_harm(
            name in prop_oneof![Just("all.net."), Just("c1."), Just("x.example."), Just("1.0.0.10.in-addr.arpa.")],
            kind in any::<u16>(),
            payload in proptest::option::of(any::<u16>()),
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<proptest::sample::Index>(),
            keep in any::<bool>(),
            transport in transports(),
        ) {
            let mut bytes = request(name, RecordType::from(kind), payload);
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if !keep {
                bytes.truncate(cut.index(bytes.len()));
            }
            checked(&bytes, transport, &zone());
        }

        #[test]
        fn mutated_replies_do_no_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..1400),
            id in any::<u16>(),
        ) {
            let request = forwarded(&request("example.org.", RecordType::A, Some(1000)));
            request.is_answered_by(&bytes, id);
            is_failure(&bytes);
            let mut out = Vec::new();
            prop_assert!(request.pass_on(&bytes, &mut out));
            prop_assert!(out.len() <= 1000);
        }
    }
}
