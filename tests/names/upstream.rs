//! Names that are not ours are asked for where the host asks.

use std::net::{TcpListener, UdpSocket};
use std::time::Instant;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType::A;
use hickory_proto::rr::rdata;
use hickory_proto::rr::{RData, Record};

use crate::rig::*;

/// What a server of the outside does with a question.
fn reply_to(bytes: &[u8], code: ResponseCode, address: [u8; 4]) -> Vec<u8> {
    let mut message = Message::from_vec(bytes).unwrap().into_response();
    message.metadata.response_code = code;
    if code == ResponseCode::NoError {
        let name = message.queries[0].name().clone();
        let data = RData::A(rdata::A(address.into()));
        message.add_answer(Record::from_rdata(name, 60, data));
    }
    message.to_vec().unwrap()
}

/// A server at an address of the loopback, for as long as the test runs.
fn server(address: &str, answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + Clone + 'static) {
    let datagrams = UdpSocket::bind((address, 53)).unwrap();
    let listener = TcpListener::bind((address, 53)).unwrap();
    let by_tcp = answer.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = datagrams.recv_from(&mut buffer) {
            for reply in answer(&buffer[..length]) {
                datagrams.send_to(&reply, peer).unwrap();
            }
        }
    });
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let asked = read_tcp(&mut stream).to_vec().unwrap();
            for reply in by_tcp(&asked) {
                send_tcp(&mut stream, &Message::from_vec(&reply).unwrap());
            }
        }
    });
}

#[test]
fn other_names_are_asked_for_outside() {
    on_host("other_names_are_asked_for_outside", |host| {
        server("127.0.0.8", |asked| {
            vec![reply_to(asked, ResponseCode::ServFail, [0; 4])]
        });
        server("127.0.0.9", |asked| {
            // Somebody who guesses comes first; then the true reply.
            let mut forged = reply_to(asked, ResponseCode::NoError, [6, 6, 6, 6]);
            forged[0] ^= 1;
            vec![
                forged,
                reply_to(asked, ResponseCode::NoError, [192, 0, 2, 9]),
            ]
        });
        let blue = host.network("blue", &["10.61.0.0/24"]);
        host.attach("blue", "web", &[], &["10.61.0.2"]);
        host.resolvers(&["127.0.0.8", "127.0.0.7", "127.0.0.9"]);
        let _serving = host.serve();
        // The first cannot help, nobody is at the second, the third answers.
        assert_eq!(ask("10.61.0.1", "Example.org.", A), "192.0.2.9");
        let mut stream = tcp("10.61.0.1");
        host.resolvers(&["127.0.0.8"]);
        until("the new resolv.conf is read", || {
            ask("10.61.0.1", "example.org.", A) == "ServFail"
        });
        // The network's own server goes before the host's; by TCP as well.
        let mut own = blue;
        own.dns_servers = vec!["127.0.0.10".parse().unwrap()];
        host.write_network(&own);
        server("127.0.0.10", |asked| {
            vec![reply_to(asked, ResponseCode::NXDomain, [0; 4])]
        });
        assert_eq!(ask("10.61.0.1", "example.org.", A), "NXDomain");
        send_tcp(&mut stream, &question("example.org.", A));
        assert_eq!(words(&read_tcp(&mut stream)), "NXDomain");
        assert_eq!(ask("10.61.0.1", "web.", A), "10.61.0.2");
    });
}

#[test]
fn a_silent_server_delays_nobody_else() {
    on_host("a_silent_server_delays_nobody_else", |host| {
        server("127.0.0.8", |_| Vec::new());
        host.network("blue", &["10.61.0.0/24"]);
        host.attach("blue", "web", &[], &["10.61.0.2"]);
        host.resolvers(&["127.0.0.8"]);
        let _serving = host.serve();
        assert_eq!(ask("10.61.0.1", "web.", A), "10.61.0.2");
        let asking = socket("10.61.0.1");
        // More than one client may have under way: the rest is refused at once, nothing is forgotten.
        let asked = 200;
        for i in 0..asked {
            asking
                .send(&question(&format!("n{i}.example."), A).to_vec().unwrap())
                .unwrap();
            assert_eq!(ask("10.61.0.1", "web.", A), "10.61.0.2");
        }
        let mut codes = std::collections::BTreeMap::new();
        let mut buffer = [0; 512];
        let start = Instant::now();
        for _ in 0..asked {
            let length = asking.recv(&mut buffer).unwrap();
            let code = Message::from_vec(&buffer[..length]).unwrap().response_code;
            *codes.entry(format!("{code:?}")).or_insert(0) += 1;
        }
        let told = format!("{codes:?} after {:?}", start.elapsed());
        assert_eq!(codes.values().sum::<i32>(), asked, "{told}");
        assert!(codes["ServFail"] >= 128 && codes["Refused"] > 0, "{told}");
    });
}

#[test]
fn we_do_not_ask_ourselves() {
    on_host("we_do_not_ask_ourselves", |host| {
        host.network("blue", &["10.61.0.0/24"]);
        host.network("red", &["10.62.0.0/24"]);
        host.attach("blue", "web", &[], &["10.61.0.2"]);
        host.attach("red", "api", &[], &["10.62.0.2"]);
        host.resolvers(&["10.61.0.1", "10.62.0.1"]);
        let _serving = host.serve();
        assert_eq!(ask("10.61.0.1", "example.org.", A), "ServFail");
        // Nor does the other network's answer leak.
        assert_eq!(ask("10.61.0.1", "api.", A), "ServFail");
    });
}
