//! The firewall by iptables: beside the rules of others, and compared before anything is written.

use crate::rig::{HOST, Host, OUTSIDE, has_iptables, on_host, run};

#[test]
fn iptables_keep_networks_apart_and_others_rules() {
    let name = "iptables_keep_networks_apart_and_others_rules";
    if !has_iptables(name) {
        return;
    }
    on_host(name, |host| {
        let outside = host.outside();
        outside.serve(80);
        run("iptables", &["-P", "FORWARD", "DROP"]);
        run(
            "iptables",
            &["-A", "FORWARD", "-s", "10.1.2.3", "-j", "ACCEPT"],
        );
        let before = run("iptables-save", &["-t", "filter"]);
        for network in ["m", "n"] {
            host.ok(&["network", "create", network, "--firewall", "iptables"]);
        }
        let (a, told) = host.attached("m", "a", &[]);
        let (b, _) = host.attached("n", "b", &[]);
        let (c, _) = host.attached("m", "c", &[]);
        let ip = told.split('/').next().unwrap();
        a.serve(80);
        assert!(c.get(ip, 80).is_some(), "the same network");
        assert!(b.get(ip, 80).is_none(), "another network");
        assert_eq!(a.get(OUTSIDE, 80).unwrap(), format!("outside {HOST}"));
        outside.within(|| run("ip", &["route", "add", ip, "via", HOST]));
        assert!(outside.get(ip, 80).is_none(), "not published");
        run("iptables", &["-A", "PLY-USER", "-d", OUTSIDE, "-j", "DROP"]);
        host.ok(&["detach", "m", "--name", "c"]);
        host.ok(&["reconcile"]);
        assert!(a.get(OUTSIDE, 80).is_none(), "the user's rule");
        run("iptables", &["-F", "PLY-USER"]);
        host.ok(&["detach", "m", "--name", "a"]);
        host.ok(&["detach", "n", "--name", "b"]);
        let rules = |text: &str| {
            text.lines()
                .filter(|l| !l.starts_with(['#', ':']))
                .map(str::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            rules(&run("iptables-save", &["-t", "filter"])),
            rules(&before)
        );
    });
}

/// Our rules and jumps, and the user's.
fn rules(more: &[&str]) -> Vec<String> {
    let all = run("iptables-save", more) + &run("ip6tables-save", more);
    let ours = all.lines().filter(|line| line.contains("PLY"));
    ours.map(str::to_string).collect()
}

/// How many packets each rule was for since it was written: `[PACKETS:BYTES] RULE`.
fn counters() -> Vec<(String, u64)> {
    let count = |line: String| {
        let (counter, rule) = line.strip_prefix('[')?.split_once(' ')?;
        Some((rule.into(), counter.split_once(':')?.0.parse().unwrap()))
    };
    rules(&["-c"]).into_iter().filter_map(count).collect()
}

fn told_and_mended(host: &Host, spoil: &[&str], complaint: &str) {
    let whole = rules(&[]);
    run(spoil[0], &spoil[1..]);
    let spoilt = rules(&[]);
    assert_ne!(spoilt, whole, "{spoil:?}");
    host.fails_quietly(&["doctor"]);
    assert_eq!(host.ok(&["reconcile", "--dry-run"]), complaint);
    assert_eq!(rules(&[]), spoilt, "{spoil:?}: it was only asked");
    let why = host.fails(4, &["check", "n", "--name", "a"]);
    assert!(why.contains(complaint), "{why}");
    assert_eq!(host.ok(&["reconcile"]), format!("mended: {complaint}"));
    assert_eq!(rules(&[]), whole, "{spoil:?}");
    assert_eq!(host.ok(&["doctor"]), "all is well");
}

#[test]
fn rules_of_iptables_are_compared_and_mended() {
    let name = "rules_of_iptables_are_compared_and_mended";
    if !has_iptables(name) {
        return;
    }
    on_host(name, |host| {
        let outside = host.outside();
        let create = ["network", "create", "n", "--ipv6", "--firewall", "iptables"];
        host.ok(&create);
        let published = [
            "-p",
            "8080:80",
            "-p",
            "[2001:db8::1]:81:81",
            "-p",
            "192.0.2.1:82:82/udp",
        ];
        let (a, _) = host.attached("n", "a", &published);
        a.serve(80);
        run(
            "iptables",
            &["-A", "PLY-USER", "-s", "10.9.9.9", "-j", "DROP"],
        );
        assert!(outside.get(HOST, 8080).is_some());
        let counted = counters();
        assert!(counted.iter().filter(|(_, n)| *n > 0).count() > 2);
        for verb in ["reconcile", "reconcile", "doctor"] {
            let said = host.ok(&[verb]);
            assert!(said.is_empty() || said == "all is well", "{said}");
        }
        // More may have passed.
        for (before, now) in counted.iter().zip(&counters()) {
            assert!(before.0 == now.0 && before.1 <= now.1, "{now:?} is written");
        }
        let spoils: [(&[&str], &str); 6] = [
            (
                &["iptables", "-D", "FORWARD", "-j", "PLY"],
                "iptables: 1 rules are missing",
            ),
            (
                &["iptables", "-t", "nat", "-D", "PLY", "1"],
                "iptables: 1 rules are missing",
            ),
            (
                &["ip6tables", "-t", "nat", "-F", "PLY-POST"],
                "ip6tables: 2 rules are missing",
            ),
            (
                &["iptables", "-I", "PLY", "-s", "10.9.9.9", "-j", "ACCEPT"],
                "iptables: 1 rules belong to nobody",
            ),
            (
                &[
                    "iptables", "-t", "nat", "-R", "PLY-POST", "1", "-j", "ACCEPT",
                ],
                "iptables: 1 rules are missing, 1 belong to nobody",
            ),
            (
                &["iptables", "-A", "FORWARD", "-j", "PLY"],
                "iptables: rules are not in order, or twice there",
            ),
        ];
        for (spoil, complaint) in spoils {
            told_and_mended(host, spoil, complaint);
        }
        assert!(outside.get(HOST, 8080).is_some());
        // Another program writes its own above ours.
        run("iptables", &["-I", "FORWARD", "-j", "DROP"]);
        assert!(outside.get(HOST, 8080).is_none());
        host.fails_quietly(&["doctor"]);
        let complaint = "iptables: rules of others are above ours in FORWARD";
        assert_eq!(host.ok(&["reconcile", "--dry-run"]), complaint);
        assert_eq!(host.ok(&["reconcile"]), format!("mended: {complaint}"));
        assert!(outside.get(HOST, 8080).is_some());
        let forward = run("iptables", &["-S", "FORWARD"]);
        let order = [
            "-P FORWARD ACCEPT",
            "-A FORWARD -j PLY",
            "-A FORWARD -j DROP",
        ];
        assert_eq!(forward.lines().collect::<Vec<_>>(), order);
        run("iptables", &["-D", "FORWARD", "-j", "DROP"]);
        assert_eq!(host.ok(&["doctor"]), "all is well");
        assert!(rules(&[]).contains(&"-A PLY-USER -s 10.9.9.9/32 -j DROP".into()));
        run("iptables", &["-F", "PLY-USER"]);
        host.ok(&["detach", "n", "--name", "a"]);
        host.is_clean_of_iptables();
    });
}

#[test]
fn a_link_is_within_one_firewall() {
    let name = "a_link_is_within_one_firewall";
    if !has_iptables(name) {
        return;
    }
    on_host(name, |host| {
        for firewall in ["nftables", "iptables", "none"] {
            host.ok(&["network", "create", firewall, "--firewall", firewall]);
            host.attached(firewall, &format!("by-{firewall}"), &[]);
        }
        let why = host.fails(2, &["link", "by-nftables", "by-iptables:80"]);
        assert!(why.contains("different firewalls"), "{why}");
        host.attached("none", "other", &[]);
        let why = host.fails(2, &["link", "by-none", "other:80"]);
        assert!(
            why.contains("network none has no firewall to open"),
            "{why}"
        );
    });
}
