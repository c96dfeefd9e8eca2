//! Published ports: from everywhere they are asked for, and from nowhere else.

use std::net::UdpSocket;

use crate::rig::{
    HOST, HOST6, OUTSIDE, OUTSIDE6, PATIENCE, bridge_netfilter, get, get_udp, has_iptables,
    on_host, run,
};

fn from_everywhere(name: &str, netfilter: bool, firewall: &str) {
    on_host(name, |host| {
        bridge_netfilter(netfilter);
        let outside = host.outside();
        host.ok(&["network", "create", "n", "--ipv6", "--firewall", firewall]);
        let (a, _) = host.attached(
            "n",
            "a",
            &[
                "-p",
                "8080:80",
                "-p",
                "127.0.0.1:9000:80",
                "-p",
                "5353:53/udp",
            ],
        );
        let (b, _) = host.attached("n", "b", &[]);
        a.serve(80);
        a.serve_udp(53);
        let is_a = |answer: Option<String>| answer.is_some_and(|text| text.starts_with("a "));
        assert_eq!(outside.get(HOST, 8080).unwrap(), format!("a {}", OUTSIDE));
        assert_eq!(outside.get(HOST6, 8080).unwrap(), format!("a {}", OUTSIDE6));
        assert!(is_a(get(HOST, 8080)), "from the host");
        assert!(is_a(get(HOST6, 8080)), "from the host, IPv6");
        assert!(is_a(get("127.0.0.1", 8080)), "by 127.0.0.1");
        assert!(is_a(b.get(HOST, 8080)), "from a sibling");
        assert!(is_a(b.get(HOST6, 8080)), "from a sibling, IPv6");
        assert!(is_a(a.get(HOST, 8080)), "from itself");
        assert!(is_a(a.get(HOST6, 8080)), "from itself, IPv6");
        // Published on 127.0.0.1 only.
        assert!(is_a(get("127.0.0.1", 9000)));
        assert_eq!(outside.get(HOST, 9000), None);
        assert_eq!(b.get(HOST, 9000), None);
        outside.within(|| assert_eq!(get_udp(HOST, 5353).unwrap(), "a"));
        outside.within(|| assert_eq!(get_udp(HOST6, 5353).unwrap(), "a"));
        host.ok(&["detach", "n", "--name", "a"]);
        assert_eq!(outside.get(HOST, 8080), None);
        host.ok(&["detach", "n", "--name", "b"]);
        if firewall == "nftables" {
            return host.is_clean();
        }
        host.is_clean_of_iptables();
    });
}

#[test]
fn ports_are_reached_from_everywhere() {
    from_everywhere("ports_are_reached_from_everywhere", false, "nftables");
}

#[test]
fn ports_are_reached_with_netfilter_on_bridges() {
    from_everywhere(
        "ports_are_reached_with_netfilter_on_bridges",
        true,
        "nftables",
    );
}

#[test]
fn ports_are_reached_by_iptables() {
    let name = "ports_are_reached_by_iptables";
    if has_iptables(name) {
        from_everywhere(name, false, "iptables");
        from_everywhere(name, true, "iptables");
    }
}

#[test]
fn ranges_are_many_ports() {
    on_host("ranges_are_many_ports", |host| {
        let outside = host.outside();
        let (a, _) = host.attached(
            "default",
            "a",
            &["-p", "7000-7999:80-1079", "-p", "192.0.2.1:6000:80"],
        );
        a.serve(80);
        a.serve(1079);
        for (port, there) in [
            (7000, true),
            (7999, true),
            (7001, false),
            (8000, false),
            (6000, true),
        ] {
            assert_eq!(outside.get(HOST, port).is_some(), there, "port {port}");
        }
        assert_eq!(get("127.0.0.1", 6000), None);
        let b = host.container("b");
        let publish = crate::rig::words(&["-p", "7500:1"]);
        let why = host.fails(4, &[host.attach_words("default", &b), publish].concat());
        assert!(
            why.contains("7500/tcp") && why.contains("container a on network default"),
            "{why}"
        );
        host.ok(&["detach", "default", "--name", "a"]);
        host.is_clean();
    });
}

#[test]
fn a_port_of_the_dead_is_free() {
    on_host("a_port_of_the_dead_is_free", |host| {
        let outside = host.outside();
        let (dead, _) = host.attached("default", "dead", &["-p", "8080:80"]);
        drop(dead);
        crate::leases::until_links_are(host, 1);
        let (a, _) = host.attached("default", "a", &["-p", "8080:80"]);
        a.serve(80);
        assert!(outside.get(HOST, 8080).unwrap().starts_with("a "));
        host.ok(&["detach", "default", "--name", "a"]);
        host.is_clean();
    });
}

/// Nothing says that a flow of UDP has ended, so the kernel would go on translating it as it began.
#[test]
fn flows_of_udp_follow_the_port() {
    on_host("flows_of_udp_follow_the_port", |host| {
        let outside = host.outside();
        // Somebody else keeps the rules, and with them the kernel's eyes on flows.
        let (_other, _) = host.attached("default", "other", &[]);
        let client = outside.within(|| UdpSocket::bind((OUTSIDE, 0)).unwrap());
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.connect((HOST, 5300)).unwrap();
        let ask = || {
            client.send(b"?").ok()?;
            let mut buffer = [0; 64];
            let length = client.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        // One and the same flow: to nobody, to the first, to nobody, to the second.
        assert_eq!(ask(), None);
        let first = host.container("first");
        first.serve_udp(53);
        host.attach("default", &first, &["-p", "5300:53/udp"]);
        assert_eq!(ask().as_deref(), Some("first"));
        host.ok(&["detach", "default", "--name", "first"]);
        assert_eq!(ask(), None);
        let second = host.container("second");
        second.serve_udp(53);
        host.attach("default", &second, &["-p", "5300:53/udp"]);
        assert_eq!(ask().as_deref(), Some("second"));
        for name in ["second", "other"] {
            host.ok(&["detach", "default", "--name", name]);
        }
    });
}

#[test]
fn a_port_that_nobody_answers_for_is_taken_back_by_attach() {
    on_host(
        "a_port_that_nobody_answers_for_is_taken_back_by_attach",
        |host| {
            let outside = host.outside();
            let (_other, _) = host.attached("default", "other", &["-p", "9090:90"]);
            // As if it had been published for a container of which nothing else is left.
            for element in [
                "{ tcp . 8080 : 10.90.0.99 . 80 }",
                "{ tcp . 8081 : 10.90.0.99 . 81 }",
            ] {
                run(
                    "nft",
                    &["add", "element", "inet", "plynet", "publish4", element],
                );
            }
            let web = host.container("web");
            web.serve(80);
            host.attach("default", &web, &["-p", "8080:80"]);
            assert!(outside.get(HOST, 8080).is_some());
            // What is in nobody's way waits for reconcile; what belongs to others stays.
            let told = host.ok(&["reconcile"]);
            assert_eq!(told, "mended: nf_tables: 1 elements belong to nobody");
            assert!(host.ruleset().contains("tcp . 9090 : "));
            for name in ["web", "other"] {
                host.ok(&["detach", "default", "--name", name]);
            }
        },
    );
}

#[test]
fn what_is_published_is_listed() {
    on_host("what_is_published_is_listed", |host| {
        let ports = ["-p", "8080:80", "-p", "127.0.0.1:9000-9002:90-92/udp"];
        let _web = host.attached("default", "web", &ports);
        let _db = host.attached("default", "db", &["-p", "5432:5432"]);
        let rows = |told: String| -> Vec<String> {
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            told.lines().skip(1).map(words).collect()
        };
        let web = [
            "web default 80/tcp *:8080",
            "web default 90-92/udp 127.0.0.1:9000-9002",
        ];
        assert_eq!(rows(host.ok(&["port", "ls", "web"])), web);
        assert_eq!(rows(host.ok(&["port", "ls", "default/web"])), web);
        assert_eq!(rows(host.ok(&["port", "ls"])).len(), 3);
        let told = host.ok(&["--json", "port", "ls", "db"]);
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(
            (&told[0]["name"], &told[0]["host"]),
            (&"db".into(), &5432.into())
        );
        let said = host.fails(3, &["port", "ls", "nobody"]);
        assert!(said.contains("no container nobody"), "{said}");
    });
}
