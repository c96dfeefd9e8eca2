//! Names, aliases, services and the way back; each network for itself.

use hickory_proto::rr::RecordType::{A, AAAA, ANY, MX, PTR};
use rustix::process::Signal;

use crate::rig::*;

#[test]
fn names_of_one_network() {
    on_host("names_of_one_network", |host| {
        host.network("blue", &["10.61.0.0/24", "fd61::/64"]);
        host.attach("blue", "web", &["www"], &["10.61.0.2", "fd61::2"]);
        let _serving = host.serve();
        for gateway in ["10.61.0.1", "fd61::1"] {
            for name in [
                "web.",
                "WEB.",
                "www.",
                "web.blue.",
                "web.blue.plynet.",
                "www.dns.podman.",
            ] {
                assert_eq!(ask(gateway, name, A), "10.61.0.2", "{name}");
                assert_eq!(ask(gateway, name, AAAA), "fd61::2", "{name}");
            }
            assert_eq!(ask(gateway, "web.", ANY), "10.61.0.2 fd61::2");
            assert_eq!(ask(gateway, "web.", MX), "");
            assert_eq!(ask(gateway, "nobody.blue.plynet.", A), "NXDomain");
            assert_eq!(
                ask(gateway, "2.0.61.10.in-addr.arpa.", PTR),
                "web.blue.plynet."
            );
            assert_eq!(ask(gateway, "3.0.61.10.in-addr.arpa.", PTR), "NXDomain");
            let reverse =
                hickory_proto::rr::Name::from("fd61::2".parse::<std::net::IpAddr>().unwrap());
            assert_eq!(ask(gateway, &reverse.to_ascii(), PTR), "web.blue.plynet.");
        }
        let said = host
            .plynet(&["dns", "query", "--network", "blue", "WWW"])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&said.stdout),
            "www. 1 A 10.61.0.2\n"
        );
        let said = host
            .plynet(&["dns", "query", "--network", "blue", "10.61.0.2", "--json"])
            .output()
            .unwrap();
        let found: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!(found[0]["data"], "web.blue.plynet.");
        let said = host
            .plynet(&["dns", "query", "--network", "blue", "x.blue.plynet"])
            .output()
            .unwrap();
        assert_eq!(said.status.code(), Some(3));
        let said = host
            .plynet(&[
                "dns",
                "query",
                "--network",
                "blue",
                "web",
                "--type",
                "nonsense",
            ])
            .output()
            .unwrap();
        assert_eq!(said.status.code(), Some(2));
        let said = host.plynet(&["dns", "status"]).output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(
            said.ends_with("\nblue on 10.61.0.1 and fd61::1: 1 containers\n"),
            "{said}"
        );
    });
}

#[test]
fn a_service_rotates_and_is_whole_by_tcp() {
    on_host("a_service_rotates_and_is_whole_by_tcp", |host| {
        host.network("blue", &["10.61.0.0/24"]);
        for i in 2..62 {
            host.attach(
                "blue",
                &format!("c{i}"),
                &["all"],
                &[&format!("10.61.0.{i}")],
            );
        }
        let _serving = host.serve();
        let plain = by_udp("10.61.0.1", &question("all.", A));
        assert!(plain.truncation && plain.answers.is_empty());
        let mut first = std::collections::BTreeSet::new();
        for _ in 0..60 {
            let reply = by_udp("10.61.0.1", &with_edns(question("all.", A), 4096));
            assert_eq!(reply.answers.len(), 60);
            first.insert(reply.answers[0].data.to_string());
        }
        assert_eq!(first.len(), 60, "each came first once");
        let mut stream = tcp("10.61.0.1");
        for _ in 0..3 {
            send_tcp(&mut stream, &question("all.", A));
            assert_eq!(read_tcp(&mut stream).answers.len(), 60);
        }
    });
}

#[test]
fn each_network_hears_of_itself_only() {
    on_host("each_network_hears_of_itself_only", |host| {
        host.network("blue", &["10.61.0.0/24"]);
        let mut red = host.network("red", &["10.62.0.0/24"]);
        red.internal = true;
        host.write_network(&red);
        let mut mute = host.network("mute", &["10.63.0.0/24"]);
        mute.dns = false;
        host.write_network(&mute);
        host.attach("blue", "web", &[], &["10.61.0.2"]);
        host.attach("blue", "only-blue", &[], &["10.61.0.3"]);
        host.attach("red", "web", &[], &["10.62.0.2"]);
        host.attach("mute", "web", &[], &["10.63.0.2"]);
        let _serving = host.serve();
        assert_eq!(ask("10.61.0.1", "web.", A), "10.61.0.2");
        assert_eq!(ask("10.62.0.1", "web.", A), "10.62.0.2");
        // An internal network has no way out, for questions either.
        assert_eq!(ask("10.62.0.1", "only-blue.", A), "NXDomain");
        assert_eq!(ask("10.62.0.1", "example.org.", A), "NXDomain");
        assert_eq!(ask("10.62.0.1", "3.0.61.10.in-addr.arpa.", PTR), "NXDomain");
        // There is no other server here.
        assert_eq!(ask("10.61.0.1", "example.org.", A), "ServFail");
        let nobody = socket("10.63.0.1");
        nobody.send(b"x").unwrap();
        let refused = nobody.recv(&mut [0]).unwrap_err().kind();
        assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn an_answer_knows_what_happened_before_its_question() {
    on_host(
        "an_answer_knows_what_happened_before_its_question",
        |host| {
            host.network("blue", &["10.61.0.0/24"]);
            host.attach("blue", "first", &[], &["10.61.0.2"]);
            let _serving = host.serve();
            assert_eq!(ask("10.61.0.1", "first.", A), "10.61.0.2");
            for _ in 0..200 {
                let key = host.attach("blue", "web", &[], &["10.61.0.9"]);
                assert_eq!(ask("10.61.0.1", "web.blue.plynet.", A), "10.61.0.9");
                host.detach(&key);
                assert_eq!(ask("10.61.0.1", "web.blue.plynet.", A), "NXDomain");
            }
            // A network that comes later is served as well, and one that goes is not.
            host.network("red", &["10.62.0.0/24"]);
            let key = host.attach("red", "web", &[], &["10.62.0.9"]);
            assert_eq!(ask("10.62.0.1", "web.", A), "10.62.0.9");
            host.detach(&key);
            until("the end of the second network's names", || {
                let socket = socket("10.62.0.1");
                socket
                    .send(b"x")
                    .and_then(|_| socket.recv(&mut [0]))
                    .is_err()
            });
            assert_eq!(ask("10.61.0.1", "first.", A), "10.61.0.2");
        },
    );
}

/// Questions that wait together are taken and answered together, by one packet for each client where the way allows it.
#[test]
fn of_a_burst_each_question_has_its_own_answer() {
    on_host("of_a_burst_each_question_has_its_own_answer", |host| {
        host.network("blue", &["10.61.0.0/24", "fd61::/64"]);
        let all: Vec<String> = (2..62).map(|i| format!("10.61.0.{i}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        host.attach("blue", "many", &[], &all);
        host.attach("blue", "web", &[], &["10.61.0.99", "fd61::99"]);
        let _serving = host.serve();
        assert_eq!(ask("10.61.0.1", "web.", A), "10.61.0.99");
        let responder = host.responder().unwrap();
        // With the small one, no packet of many long answers can be made.
        let both = &["10.61.0.1", "10.61.0.1", "fd61::1"];
        for (mtu, gateways) in [("65536", &both[..]), ("576", &both[..2])] {
            run("ip", &["link", "set", "lo", "mtu", mtu]);
            let clients: Vec<_> = gateways.iter().map(|gateway| socket(gateway)).collect();
            signal(responder, Signal::STOP);
            for (client, number) in clients.iter().zip(0u16..) {
                client.send(b"nonsense").unwrap();
                for id in 0..30 {
                    let (name, kind) = kind_of(id);
                    let mut message = with_edns(question(name, kind), 1232);
                    message.metadata.id = number * 100 + id;
                    client.send(&message.to_vec().unwrap()).unwrap();
                }
            }
            signal(responder, Signal::CONT);
            for (client, number) in clients.iter().zip(0u16..) {
                let mut missing: std::collections::BTreeSet<u16> = (0..30).collect();
                while !missing.is_empty() {
                    let mut buffer = [0; 4096];
                    let length = client.recv(&mut buffer).unwrap();
                    let reply = hickory_proto::op::Message::from_vec(&buffer[..length]).unwrap();
                    let id = reply.id - number * 100;
                    assert!(missing.remove(&id), "{id} once more");
                    let said = match kind_of(id) {
                        ("many.", _) => reply.answers.len().to_string(),
                        _ => words(&reply),
                    };
                    assert_eq!(
                        said,
                        ["60", "10.61.0.99", "fd61::99", ""][usize::from(id) % 4]
                    );
                }
            }
        }
    });
}

/// What the n-th question of a burst is.
fn kind_of(n: u16) -> (&'static str, hickory_proto::rr::RecordType) {
    [("many.", A), ("web.", A), ("web.", AAAA), ("web.", MX)][usize::from(n) % 4]
}
