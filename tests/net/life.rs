//! A container's way: attached, reachable, detached, and nothing left.

use crate::rig::{HOST, OUTSIDE, get, on_host};

#[test]
fn two_containers_and_the_way_out() {
    on_host("two_containers_and_the_way_out", |host| {
        let outside = host.outside();
        outside.serve(80);
        let (a, told) = host.attached("default", "a", &[]);
        assert_eq!(told, "10.90.0.2/24");
        let (b, told) = host.attached("default", "b", &["--mac", "02:00:00:00:00:0b"]);
        assert_eq!(told, "10.90.0.3/24");
        a.serve(80);
        assert_eq!(b.get("10.90.0.2", 80).unwrap(), "a 10.90.0.3");
        assert_eq!(get("10.90.0.2", 80).unwrap(), "a 10.90.0.1");
        // The outside sees the host, and cannot come in, even with a route.
        assert_eq!(a.get(OUTSIDE, 80).unwrap(), format!("outside {HOST}"));
        outside.within(|| crate::rig::run("ip", &["route", "add", "10.90.0.0/24", "via", HOST]));
        assert_eq!(outside.get("10.90.0.2", 80), None);
        // Without IPv6 on the network nothing is announced to all others over it.
        let six = b.within(|| crate::rig::run("ip", &["-6", "address", "show", "dev", "eth0"]));
        assert_eq!(six, "");
        let links = b.within(|| crate::rig::run("ip", &["-brief", "link"]));
        assert!(
            links.contains("eth0") && links.contains("02:00:00:00:00:0b"),
            "{links}"
        );
        assert_eq!(
            host.links()
                .iter()
                .filter(|name| name.starts_with("veth"))
                .count(),
            2
        );
        assert!(host.ruleset().contains("\"ply0\""), "{}", host.ruleset());
        assert_eq!(
            host.ok(&["check", "default", "--name", "a"]),
            "10.90.0.2/24"
        );
        assert_eq!(host.ok(&["doctor"]), "all is well");
        for name in ["a", "a", "b", "b"] {
            host.ok(&["detach", "default", "--name", name]);
        }
        host.is_clean();
        assert!(
            !a.within(|| crate::rig::run("ip", &["-brief", "link"]))
                .contains("eth0")
        );
        assert_eq!(host.attach("default", &a, &[]), "10.90.0.4/24");
        host.ok(&["detach", "default", "--name", "a"]);
        host.is_clean();
    });
}

#[test]
fn a_name_is_enough_whatever_the_interface() {
    on_host("a_name_is_enough_whatever_the_interface", |host| {
        host.ok(&["network", "create", "other", "--subnet", "10.9.0.0/24"]);
        let (a, _) = host.attached("default", "a", &[]);
        host.attach("other", &a, &["--interface", "eth1"]);
        let check = ["check", "other", "--name", "a"];
        assert_eq!(host.ok(&check), "10.9.0.2/24");
        // Who says which one means no other.
        let eth0 = ["detach", "other", "--name", "a", "--interface", "eth0"];
        host.ok(&eth0);
        host.ok(&check);
        host.ok(&["detach", "other", "--name", "a"]);
        host.fails(3, &check);
        let left = a.within(|| crate::rig::run("ip", &["-brief", "link"]));
        assert!(left.contains("eth0") && !left.contains("eth1"), "{left}");
        host.ok(&["detach", "default", "--name", "a"]);
        host.is_clean();
    });
}

#[test]
fn both_families() {
    on_host("both_families", |host| {
        let outside = host.outside();
        outside.serve(80);
        host.ok(&[
            "network",
            "create",
            "six",
            "--ipv6",
            "--subnet",
            "10.9.0.0/24",
            "--subnet",
            "fd09::/64",
        ]);
        let (a, told) = host.attached("six", "a", &[]);
        assert_eq!(told, "10.9.0.2/24\nfd09::2/64");
        let (b, told) = host.attached("six", "b", &["--ip", "fd09::77"]);
        assert_eq!(told, "fd09::77/64\n10.9.0.3/24");
        a.serve(80);
        assert_eq!(b.get("fd09::2", 80).unwrap(), "a fd09::77");
        assert_eq!(
            a.get(crate::rig::OUTSIDE6, 80).unwrap(),
            format!("outside {}", crate::rig::HOST6)
        );
        host.ok(&["check", "six", "--name", "b"]);
        host.ok(&["detach", "six", "--name", "a"]);
        host.ok(&["detach", "six", "--name", "b"]);
        host.is_clean();
    });
}

#[test]
fn a_command_in_a_namespace_of_its_own() {
    on_host("a_command_in_a_namespace_of_its_own", |host| {
        let shown = host.ok(&[
            "run", "default", "--name", "x", "--", "ip", "-brief", "-4", "addr", "show", "eth0",
        ]);
        assert!(shown.contains("10.90.0.2/24"), "{shown}");
        assert_eq!(
            host.output(&["run", "--", "sh", "-c", "exit 7"])
                .status
                .code(),
            Some(7)
        );
        assert_eq!(
            host.output(&["run", "--", "no-such-command"]).status.code(),
            Some(127)
        );
        host.is_clean();
    });
}

#[test]
fn many_in_one_transaction() {
    on_host("many_in_one_transaction", |host| {
        let containers: Vec<_> = (0..5).map(|n| host.container(&format!("c{n}"))).collect();
        let file = host.at("up.json");
        let write = |last: &str| {
            let entries = containers.iter().map(|c| {
                let ports = if c.name == "c4" { last } else { "" };
                format!(
                    r#"{{"name":"{}","network":"n","netns":"{}","ports":[{ports}]}}"#,
                    c.name,
                    c.path().display()
                )
            });
            let entries: Vec<_> = entries.collect();
            let text = format!(
                r#"{{"networks":[{{"name":"n"}}],"containers":[{}]}}"#,
                entries.join(",")
            );
            std::fs::write(&file, text).unwrap();
        };
        let path = file.to_string_lossy().into_owned();
        // The last one cannot be: none is.
        let busy = std::net::TcpListener::bind("0.0.0.0:8080").unwrap();
        write(r#""8080:80""#);
        let why = host.fails(4, &["up", &path]);
        let own = format!("8080/tcp is in use by process {} (", std::process::id());
        assert!(why.contains(&own), "{why}");
        host.is_clean();
        host.fails(3, &["network", "inspect", "n"]);
        drop(busy);
        let told = host.ok(&["up", &path]);
        assert_eq!(told.lines().count(), 5, "{told}");
        assert!(told.contains("c4 10.90.0.6/24"), "{told}");
        host.ok(&["down", &path]);
        host.is_clean();
    });
}

#[test]
fn networks_are_made_listed_and_removed() {
    on_host("networks_are_made_listed_and_removed", |host| {
        crate::rig::run("ip", &["link", "add", "d0", "type", "bridge"]);
        crate::rig::run("ip", &["addr", "add", "10.90.0.1/16", "dev", "d0"]);
        crate::rig::run("ip", &["link", "set", "d0", "up"]);
        host.ok(&["network", "create", "one", "--label", "a=b"]);
        host.ok(&[
            "network",
            "create",
            "two",
            "--internal",
            "--mtu",
            "1400",
            "--gateway",
            "10.7.0.9",
            "--subnet",
            "10.7.0.0/24",
        ]);
        let listed = host.ok(&["network", "ls"]);
        assert!(
            listed.contains("one   ply1    isolated  10.91.0.0/24"),
            "{listed}"
        );
        assert!(
            listed.contains("two   ply2    internal  10.7.0.0/24"),
            "{listed}"
        );
        let (a, _) = host.attached("two", "a", &[]);
        let inside = a.within(|| crate::rig::run("ip", &["addr", "show", "eth0"]));
        assert!(
            inside.contains("mtu 1400") && inside.contains("10.7.0.1/24"),
            "{inside}"
        );
        assert_eq!(
            a.within(|| crate::rig::run("ip", &["route", "show", "default"])),
            ""
        );
        let inspected = host.ok(&["network", "inspect", "two"]);
        assert!(
            inspected.contains("\"gateway\": \"10.7.0.9\"")
                && inspected.contains("\"name\": \"a\""),
            "{inspected}"
        );
        let why = host.fails(4, &["network", "rm", "two"]);
        assert!(why.contains("used by a"), "{why}");
        assert_eq!(host.ok(&["network", "prune"]), "one");
        host.ok(&["detach", "two", "--name", "a"]);
        host.ok(&["network", "rm", "two"]);
        host.fails(3, &["network", "rm", "two"]);
        crate::rig::run("ip", &["link", "del", "d0"]);
        host.is_clean();
    });
}

#[test]
fn no_process_is_started_for_a_container() {
    let name = "no_process_is_started_for_a_container";
    if std::process::Command::new("strace")
        .arg("-V")
        .output()
        .is_err()
    {
        return crate::support::env::cannot_run(name, "strace is not installed");
    }
    on_host(name, |host| {
        // The first of all starts who answers names.
        let (_a, _) = host.attached("default", "a", &[]);
        let b = host.container("b");
        let publish = crate::rig::words(&["-p", "8080:80"]);
        let attach = [host.attach_words("default", &b), publish].concat();
        let detach = crate::rig::words(&["detach", "default", "--name", "b"]);
        for args in [attach, detach] {
            let trace = host.at("trace");
            let plynet = host.plynet(&args);
            let mut command = std::process::Command::new("strace");
            command
                .args(["-f", "-e", "trace=execve,clone,clone3,fork,vfork", "-o"])
                .arg(&trace);
            let ran = command
                .arg(plynet.get_program())
                .args(plynet.get_args())
                .output()
                .unwrap();
            assert!(ran.status.success(), "{}", crate::rig::text(&ran.stderr));
            let traced = std::fs::read_to_string(&trace).unwrap();
            let calls: Vec<&str> = traced.lines().filter(|line| line.contains('(')).collect();
            assert!(
                matches!(calls[..], [own] if own.contains("execve(")),
                "{args:?}:\n{traced}"
            );
        }
    });
}
