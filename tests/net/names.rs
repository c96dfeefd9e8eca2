//! Names reach programs by resolv.conf, and a responder that was killed is back after any call.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use plyfs::net::dns::life;
use plyfs::net::layout::Layout;
use rustix::process::{Pid, Signal};

use crate::rig::{Host, on_host, text, words};
use crate::rootless::User;

const RESOLV: &str = "/etc/resolv.conf";

#[test]
fn a_command_finds_names() {
    on_host("a_command_finds_names", |host| {
        let before = fs::read_to_string(RESOLV).unwrap();
        let (_web, _) = host.attached("default", "web", &["--alias", "www"]);
        // By getaddrinfo(3): the name alone, with the network, as a service.
        for name in ["web", "web.default", "web.default.plynet", "www"] {
            let told = host.ok(&["run", "--", "getent", "ahostsv4", name]);
            assert!(told.starts_with("10.90.0.2 "), "{name}: {told}");
        }
        let told = host.ok(&["run", "--", "cat", RESOLV]);
        assert_eq!(told, "search default.plynet\nnameserver 10.90.0.1");
        let mode = host.ok(&["run", "--", "stat", "-L", "-c", "%a", RESOLV]);
        assert_eq!(mode, "644");
        // Where a network has no names, and for everybody else, the host's servers are asked.
        host.ok(&["network", "create", "quiet", "--dns=false"]);
        let told = host.ok(&["run", "quiet", "--", "cat", RESOLV]);
        assert_eq!(told, before.trim_end());
        assert_eq!(fs::read_to_string(RESOLV).unwrap(), before);
        host.ok(&["detach", "default", "--name", "web"]);
        host.is_clean();
    });
}

#[test]
fn so_does_that_of_a_plain_user() {
    on_host("so_does_that_of_a_plain_user", |host| {
        let user = User::new(host);
        let script = "getent ahostsv4 self; cat /etc/resolv.conf";
        let told = user.ok(&["run", "--name", "self", "--", "sh", "-c", script]);
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].starts_with("10.90.0.2 "), "{told}");
        let shown = lines.ends_with(&["search default.plynet", "nameserver 10.90.0.1"]);
        assert!(shown, "{told}");
        host.is_clean();
    });
}

/// Kills the responder, and waits until its lock is free.
fn kill(host: &Host) {
    let layout = Layout::new(&host.at("root"), &host.at("run"));
    let alive = || life::alive(&layout).unwrap();
    let pid = Pid::from_raw(alive().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    while alive().is_some() {
        std::thread::yield_now();
    }
}

#[test]
fn any_call_brings_the_responder_back() {
    on_host("any_call_brings_the_responder_back", |host| {
        host.ok(&["network", "create", "quiet", "--dns=false"]);
        let (_a, _) = host.attached("default", "a", &[]);
        let (_b, _) = host.attached("default", "b", &[]);
        let (_c, _) = host.attached("default", "c", &[]);
        let (_q, _) = host.attached("quiet", "q", &[]);
        let late = host.container("late");
        let calls = [
            host.attach_words("quiet", &late),
            words(&["detach", "quiet", "--name", "late"]),
            words(&["detach", "default", "--name", "c"]),
            words(&["link", "q", "b:80"]),
            words(&["unlink", "q", "b"]),
            words(&["check", "default", "--name", "a"]),
            words(&["dns", "query", "b"]),
            words(&["reconcile"]),
        ];
        for call in calls {
            kill(host);
            host.ok(&call);
            assert!(
                host.ok(&["dns", "status"])
                    .starts_with("responder: process"),
                "{call:?}"
            );
        }
        // Who may only look, tells.
        kill(host);
        host.fails_quietly(&["doctor"]);
        assert_eq!(
            host.ok(&["reconcile", "--dry-run"]),
            "names: nobody answers them"
        );
        assert_eq!(
            host.ok(&["reconcile"]),
            "mended: names: nobody answers them"
        );
        assert_eq!(host.ok(&["doctor"]), "all is well");
        // Nobody is left who needs one.
        for (network, name) in [("default", "a"), ("default", "b"), ("quiet", "q")] {
            host.ok(&["detach", network, "--name", name]);
        }
        let why = host.fails(3, &["dns", "query", "b"]);
        assert!(
            why.contains("nobody is attached to network default"),
            "{why}"
        );
        host.is_clean();
    });
}

/// As a resolver of the host may, that listens on all of its addresses: those to come, too.
#[test]
fn who_has_the_port_of_names_is_named() {
    on_host("who_has_the_port_of_names_is_named", |host| {
        let (a, b) = (host.container("a"), host.container("b"));
        let own = std::process::id();
        let held = format!("port 53 of 10.90.0.1 is held by process {own} (");
        let refused = || {
            let why = host.fails(4, &host.attach_words("default", &a));
            assert!(why.contains(&held) && why.contains("--dns=false"), "{why}");
            host.is_clean();
        };
        {
            let _tcp = TcpListener::bind("0.0.0.0:53").unwrap();
            refused();
        }
        {
            let udp = UdpSocket::bind("0.0.0.0:53").unwrap();
            refused();
            // One that answers, too: whatever it is asked, it refuses.
            let end = std::sync::atomic::AtomicBool::new(false);
            udp.set_read_timeout(Some(Duration::from_millis(5)))
                .unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut buffer = [0; 512];
                    while !end.load(std::sync::atomic::Ordering::Relaxed) {
                        if let Ok((length, peer)) = udp.recv_from(&mut buffer) {
                            (buffer[2], buffer[3]) = (0x80, 5);
                            udp.send_to(&buffer[..length], peer).unwrap();
                        }
                    }
                });
                refused();
                end.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            // Who needs no names is not concerned.
            host.ok(&["network", "create", "quiet", "--dns=false"]);
            host.attach("quiet", &b, &[]);
            assert_eq!(host.ok(&["doctor"]), "all is well");
        }
        // It comes while our responder is away.
        host.attach("default", &a, &[]);
        kill(host);
        let other = UdpSocket::bind("0.0.0.0:53").unwrap();
        host.ok(&["detach", "quiet", "--name", "b"]);
        let told = text(&host.output(&["doctor"]).stdout);
        assert!(told.contains(&held) && told.lines().count() == 1, "{told}");
        assert!(host.ok(&["dns", "status"]).contains(&held));
        let calls = [
            words(&["dns", "query", "a"]),
            words(&["check", "default", "--name", "a"]),
            host.attach_words("default", &b),
        ];
        for call in calls {
            let why = host.fails(4, &call);
            assert!(why.contains(&held), "{why}");
        }
        // And goes: names are answered again by themselves.
        drop(other);
        let deadline = Instant::now() + Duration::from_secs(20);
        while host.output(&["doctor"]).status.code() != Some(0) {
            assert!(Instant::now() < deadline, "names are not answered again");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(host.ok(&["dns", "query", "a"]).ends_with(" A 10.90.0.5"));
        host.attach("default", &b, &[]);
        for name in ["a", "b"] {
            host.ok(&["detach", "default", "--name", name]);
        }
        host.is_clean();
    });
}
