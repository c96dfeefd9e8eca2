//! Who may not reach whom; and what of the host's firewall is not plynet's to touch.

use crate::rig::{HOST, OUTSIDE, get_udp, has_iptables, on_host, run, text};

#[test]
fn networks_are_apart_unless_both_are_open() {
    on_host("networks_are_apart_unless_both_are_open", |host| {
        let outside = host.outside();
        outside.serve(80);
        for (name, more) in [
            ("shut", "--isolate"),
            ("open1", "--isolate=false"),
            ("open2", "--isolate=false"),
            ("in", "--internal"),
        ] {
            host.ok(&["network", "create", name, more]);
        }
        let names = ["shut", "open1", "open2", "in"];
        let members: Vec<_> = names
            .iter()
            .map(|name| host.attached(name, &format!("c-{name}"), &[]))
            .collect();
        let ip = |n: usize| members[n].1.split('/').next().unwrap().to_string();
        members.iter().for_each(|(c, _)| c.serve(80));
        let reaches = |from: usize, to: usize| members[from].0.get(&ip(to), 80).is_some();
        // An internal network has no route to others either; one that is set by hand does not help.
        members[3]
            .0
            .within(|| run("ip", &["route", "add", "default", "via", "10.90.3.1"]));
        let mut table = Vec::new();
        for from in 0..4 {
            table.push(
                (0..4)
                    .filter(|to| *to != from && reaches(from, *to))
                    .collect::<Vec<_>>(),
            );
        }
        assert_eq!(table, [vec![], vec![2], vec![1], vec![]]);
        assert!(members[0].0.get(OUTSIDE, 80).is_some());
        assert!(members[3].0.get(OUTSIDE, 80).is_none());
        // A published port is for everybody.
        let (web, _) = host.attached("shut", "web", &["-p", "8080:80"]);
        web.serve(80);
        assert!(members[1].0.get(HOST, 8080).unwrap().starts_with("web "));
    });
}

#[test]
fn the_users_own_rules_stay() {
    on_host("the_users_own_rules_stay", |host| {
        let outside = host.outside();
        outside.serve(80);
        run(
            "nft",
            &["add table ip foreign; add chain ip foreign c; add rule ip foreign c counter drop"],
        );
        let foreign = run("nft", &["list", "table", "ip", "foreign"]);
        let (a, _) = host.attached("default", "a", &[]);
        run(
            "nft",
            &[
                "add", "rule", "inet", "plynet", "PLY-USER", "ip", "daddr", OUTSIDE, "drop",
            ],
        );
        let own = run("nft", &["list", "chain", "inet", "plynet", "PLY-USER"]);
        assert_eq!(a.get(OUTSIDE, 80), None);
        let (b, _) = host.attached("default", "b", &["-p", "8080:80"]);
        host.ok(&["reconcile"]);
        host.ok(&["detach", "default", "--name", "a"]);
        host.ok(&["detach", "default", "--name", "b"]);
        assert_eq!(
            run("nft", &["list", "chain", "inet", "plynet", "PLY-USER"]),
            own
        );
        assert_eq!(run("nft", &["list", "table", "ip", "foreign"]), foreign);
        host.attach("default", &b, &[]);
        assert_eq!(b.get(OUTSIDE, 80), None);
    });
}

#[test]
fn without_a_firewall_nothing_is_written() {
    on_host("without_a_firewall_nothing_is_written", |host| {
        run(
            "nft",
            &["add table ip foreign; add chain ip foreign c; add rule ip foreign c counter drop"],
        );
        let sysctls = || {
            let all = run(
                "sysctl",
                &["-a", "-r", "^net\\.(ipv4|ipv6|bridge|netfilter)"],
            );
            // Every link has its own; the kernel makes them, not plynet. Counters count.
            let lines = all
                .lines()
                .filter(|line| !line.contains(".ply") && !line.contains(".veth"));
            let lines = lines.filter(|line| {
                !line.contains("nf_conntrack_count") && !line.contains("stable_secret")
            });
            lines.map(str::to_string).collect::<Vec<_>>()
        };
        let before = (host.ruleset(), sysctls());
        host.ok(&["network", "create", "n", "--ipv6", "--iptables=false"]);
        let (a, told) = host.attached("n", "a", &[]);
        let (b, _) = host.attached("n", "b", &[]);
        a.serve(80);
        assert!(b.get(told.split('/').next().unwrap(), 80).is_some());
        assert_eq!((host.ruleset(), sysctls()), before);
        let routing =
            std::fs::read_to_string("/proc/sys/net/ipv4/conf/ply1/route_localnet").unwrap();
        assert_eq!(routing.trim(), "0");
        let c = host.container("c");
        let publish = crate::rig::words(&["-p", "80:80"]);
        let words = [host.attach_words("n", &c), publish].concat();
        assert!(host.fails(2, &words).contains("no firewall"));
        host.ok(&["detach", "n", "--name", "a"]);
        host.ok(&["detach", "n", "--name", "b"]);
        assert_eq!((host.ruleset(), sysctls()), before);
    });
}

/// `spoil` is what somebody does who takes away what the link opens.
fn linked(name: &str, firewall: &str, spoil: &[&str]) {
    on_host(name, |host| {
        for name in ["front", "back"] {
            let more = ["--ipv6", "--firewall", firewall];
            host.ok(&[&["network", "create", name], &more[..]].concat());
        }
        let (a, _) = host.attached("front", "a", &[]);
        let (other, _) = host.attached("front", "other", &[]);
        let (b, told) = host.attached("back", "b", &[]);
        let ips: Vec<&str> = told.lines().map(|l| l.split('/').next().unwrap()).collect();
        let (ip, ip6) = (ips[0], ips[1]);
        a.serve(80);
        [80, 81].into_iter().for_each(|port| b.serve(port));
        b.serve_udp(80);
        let open_at = |ip: &str| {
            [
                a.get(ip, 80).is_some(),
                a.get(ip, 81).is_some(),
                other.get(ip, 80).is_some(),
            ]
        };
        let open = || open_at(ip);
        assert_eq!(open(), [false, false, false]);
        host.ok(&["link", "a", "back/b:80", "--alias", "store"]);
        host.ok(&["link", "a", "b:80", "--alias", "store"]);
        assert_eq!(open(), [true, false, false]);
        assert_eq!(open_at(ip6), [true, false, false]);
        assert!(a.within(|| get_udp(ip, 80)).is_none(), "it is open for TCP");
        assert!(b.get("10.90.0.2", 80).is_none(), "there is no way back");
        let found = host.ok(&["dns", "query", "store", "--network", "front"]);
        assert!(found.ends_with(ip), "{found}");
        assert_eq!(host.ok(&["doctor"]), "all is well");
        run(spoil[0], &spoil[1..]);
        host.fails_quietly(&["doctor"]);
        assert!(a.get(ip, 80).is_none());
        host.ok(&["reconcile"]);
        assert_eq!(open(), [true, false, false]);
        host.ok(&["link", "a", "b:80/udp"]);
        assert!(a.within(|| get_udp(ip, 80)).is_some());
        host.ok(&["unlink", "a", "b"]);
        host.ok(&["unlink", "a", "b"]);
        assert_eq!(open(), [false, false, false]);
        host.ok(&["link", "a", "b:81"]);
        host.fails(3, &["link", "a", "nobody:80"]);
        host.fails(2, &["link", "a", "b"]);
        for words in [["link", "a", "a:80"], ["unlink", "a", "front/a"]] {
            let why = host.fails(2, &words);
            assert!(why.contains("a link leads to another"), "{why}");
        }
        host.ok(&["detach", "back", "--name", "b"]);
        assert!(!host.ruleset().contains(ip), "{}", host.ruleset());
        assert_eq!(host.ok(&["doctor"]), "all is well");
        // Who has the address next is not meant, and who is linked goes with what was opened for him.
        let (b, _) = host.attached("back", "b", &["--ip", ip]);
        b.serve(81);
        assert!(a.get(ip, 81).is_none());
        host.ok(&["link", "a", "b:81"]);
        host.ok(&["detach", "front", "--name", "a"]);
        assert!(!host.ruleset().contains("10.90.0.2"), "{}", host.ruleset());
        host.ok(&["detach", "front", "--name", "other"]);
        host.ok(&["detach", "back", "--name", "b"]);
        match firewall {
            "iptables" => host.is_clean_of_iptables(),
            _ => host.is_clean(),
        }
    });
}

#[test]
fn a_link_opens_one_port_for_one_container() {
    linked(
        "a_link_opens_one_port_for_one_container",
        "nftables",
        &["nft", "flush", "set", "inet", "plynet", "allow4"],
    );
}

#[test]
fn a_link_opens_one_port_by_iptables() {
    let name = "a_link_opens_one_port_by_iptables";
    if has_iptables(name) {
        let rule = "-D PLY -s 10.90.0.2 -d 10.90.1.2 -i ply1 -o ply2 -p tcp --dport 80 -j ACCEPT";
        let spoil = [&["iptables"], &rule.split(' ').collect::<Vec<_>>()[..]].concat();
        linked(name, "iptables", &spoil);
    }
}

#[test]
fn doctor_tells_of_others_who_drop() {
    on_host("doctor_tells_of_others_who_drop", |host| {
        let (_web, _) = host.attached("default", "web", &[]);
        assert_eq!(host.ok(&["doctor"]), "all is well");
        run("nft", &["add", "table", "ip", "filter"]);
        let chain = "{ type filter hook forward priority 0; policy drop; }";
        run("nft", &["add", "chain", "ip", "filter", "FORWARD", chain]);
        let out = host.output(&["doctor"]);
        let told = text(&out.stdout);
        assert_eq!(out.status.code(), Some(1));
        assert!(
            told.starts_with("nf_tables: policy of chain FORWARD of table ip filter is drop: "),
            "{told}"
        );
        // It is nothing that plynet would mend.
        assert_eq!(host.ok(&["reconcile"]), "");
        run(
            "nft",
            &["chain", "ip", "filter", "FORWARD", "{ policy accept; }"],
        );
        assert_eq!(host.ok(&["doctor"]), "all is well");
        run("nft", &["delete", "table", "ip", "filter"]);
        host.ok(&["detach", "default", "--name", "web"]);
        host.is_clean();
    });
}
