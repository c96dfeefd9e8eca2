//! kill -9 at random moments of attach and detach, and other programs that throw things away: reconcile mends it.

use std::time::{Duration, Instant};

use crate::leases::until_links_are;
use crate::rig::{HOST, Host, has_iptables, on_host, run, words};
use crate::support::dice::Dice;

/// How often.
const KILLS: usize = 100;
/// An attach takes some milliseconds; the moments are spread over that, in microseconds.
const SPREAD: usize = 6000;
/// With iptables, some tens.
const SPREAD_IPTABLES: usize = 60_000;

fn killed(host: &Host, args: &[String], after: Duration) {
    let null = std::process::Stdio::null;
    let mut child = host
        .plynet(args)
        .stdout(null())
        .stderr(null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    // It may have ended meanwhile.
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn killed_a_hundred_times() {
    on_host("killed_a_hundred_times", |host| {
        kill_at_random(host, SPREAD, |port| {
            host.ruleset().contains(&format!("tcp . {port}"))
        });
        host.is_clean();
    });
}

#[test]
fn killed_a_hundred_times_by_iptables() {
    let name = "killed_a_hundred_times_by_iptables";
    if !has_iptables(name) {
        return;
    }
    on_host(name, |host| {
        host.ok(&["network", "create", "default", "--firewall", "iptables"]);
        kill_at_random(host, SPREAD_IPTABLES, |port| {
            run("iptables-save", &[]).contains(&format!("--dport {port} "))
        });
        host.is_clean_of_iptables();
    });
}

/// All on the network `default`; `published` looks into the rules.
fn kill_at_random(host: &Host, spread: usize, published: impl Fn(usize) -> bool) {
    let seed = std::env::var("PLYFS_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| std::process::id().into());
    println!("PLYFS_SEED={seed}");
    let mut dice = Dice::new(seed);
    let containers: Vec<_> = (0..8).map(|n| host.container(&format!("c{n}"))).collect();
    let mut mended = 0;
    for n in 0..KILLS {
        let which = dice.roll(containers.len());
        let container = &containers[which];
        let after = Duration::from_micros(dice.roll(spread) as u64);
        let args = match n % 3 {
            2 => words(&["detach", "default", "--name", &container.name]),
            _ => {
                let port = format!("{}:80", 8000 + which);
                [
                    host.attach_words("default", container),
                    words(&["-p", &port]),
                ]
                .concat()
            }
        };
        killed(host, &args, after);
        if n % 10 == 9 {
            let before = host.ok(&["reconcile", "--dry-run"]);
            let done = host.ok(&["reconcile"]);
            // What is taken back may have been the last of its network.
            assert!(
                before.lines().all(|line| done.contains(line)),
                "{before}\n\n{done}"
            );
            mended += done.lines().count();
            assert_eq!(host.ok(&["doctor"]), "all is well");
        }
    }
    println!("{mended} things mended");
    let listed = host.ok(&["--json", "ls"]);
    for (n, container) in containers.iter().enumerate() {
        let there = container
            .within(|| run("ip", &["-brief", "link"]))
            .contains("eth0");
        let name = &container.name;
        assert_eq!(
            there,
            listed.contains(&format!("\"name\": \"{name}\"")),
            "{name}"
        );
        assert_eq!(there, published(8000 + n), "{name}");
    }
    // What is left lives on, and everybody can be attached again.
    for container in &containers {
        host.ok(&["detach", "default", "--name", &container.name]);
        host.attach("default", container, &[]);
    }
    drop(containers);
    until_links_are(host, 1);
    host.ok(&["reconcile"]);
}

/// The program that writes rules outlives who has started it, and is waited for.
#[test]
fn rules_that_are_being_written_are_waited_for() {
    let name = "rules_that_are_being_written_are_waited_for";
    if !has_iptables(name) {
        return;
    }
    on_host(name, |host| {
        host.ok(&["network", "create", "n", "--firewall", "iptables"]);
        let bin = host.at("bin");
        std::fs::create_dir(&bin).unwrap();
        let slow = bin.join("iptables-restore");
        let real = run("sh", &["-c", "command -v iptables-restore"]);
        let script = format!(
            "#!/bin/sh\ntouch $0.began\nsleep 1\n{} \"$@\"\ntouch $0.ended\n",
            real.trim()
        );
        // Written by another process, as one that a test beside this one starts would keep it open.
        let write = format!("cat >{0} && chmod 755 {0}", slow.display());
        let mut cat = std::process::Command::new("sh")
            .args(["-c", &write])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut cat.stdin.take().unwrap(), script.as_bytes()).unwrap();
        assert!(cat.wait().unwrap().success());
        let happens = |what: &str| {
            let file = bin.join(format!("iptables-restore.{what}"));
            let deadline = Instant::now() + Duration::from_secs(20);
            while !file.exists() {
                assert!(Instant::now() < deadline, "{what}");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        let a = host.container("a");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut attach = host.plynet(&host.attach_words("n", &a));
        let null = std::process::Stdio::null;
        let mut attach = attach
            .env("PATH", format!("{}:{path}", bin.display()))
            .stdout(null())
            .stderr(null())
            .spawn()
            .unwrap();
        happens("began");
        attach.kill().unwrap();
        attach.wait().unwrap();
        let told = host.ok(&["reconcile"]);
        assert!(told.contains("was interrupted"), "{told}");
        happens("ended");
        host.is_clean_of_iptables();
        // Such as somebody has saved, and brings back without any network that needs them.
        host.attach("n", &a, &[]);
        let saved = run("iptables-save", &[]);
        host.ok(&["detach", "n", "--name", "a"]);
        let file = host.at("saved");
        std::fs::write(&file, saved).unwrap();
        run("iptables-restore", &[&file.to_string_lossy()]);
        host.fails_quietly(&["doctor"]);
        assert!(host.ok(&["reconcile"]).starts_with("mended: iptables: "));
        host.is_clean_of_iptables();
    });
}

#[test]
fn what_others_threw_away_comes_back() {
    on_host("what_others_threw_away_comes_back", |host| {
        let outside = host.outside();
        let (a, _) = host.attached("default", "a", &["-p", "8080:80"]);
        a.serve(80);
        let whole = host.ruleset();
        let spoil: [&[&str]; 5] = [
            &["nft", "flush", "ruleset"],
            &["nft", "flush", "map", "inet", "plynet", "publish4"],
            &["nft", "flush", "chain", "inet", "plynet", "postrouting"],
            &[
                "nft",
                "delete",
                "element",
                "inet",
                "plynet",
                "masq4",
                "{ 10.90.0.0/24 }",
            ],
            &[
                "nft",
                "add",
                "element",
                "inet",
                "plynet",
                "publish4",
                "{ tcp . 99 : 10.90.0.9 . 9 }",
            ],
        ];
        for command in spoil {
            run(command[0], &command[1..]);
            host.fails_quietly(&["doctor"]);
            assert!(
                host.ok(&["reconcile"]).starts_with("mended: nf_tables"),
                "{command:?}"
            );
            assert_eq!(host.ok(&["doctor"]), "all is well");
            assert_eq!(host.ruleset(), whole, "{command:?}");
            assert!(outside.get(HOST, 8080).is_some());
        }
        // The next attach finds that the table is gone, too.
        run("nft", &["flush", "ruleset"]);
        let (_b, _) = host.attached("default", "b", &[]);
        assert!(outside.get(HOST, 8080).is_some());
        run("ip", &["link", "del", "ply0"]);
        assert!(host.ok(&["reconcile"]).contains("its bridge ply0 is gone"));
        assert!(outside.get(HOST, 8080).is_some());
        // The container's own end.
        a.within(|| run("ip", &["addr", "flush", "dev", "eth0"]));
        let why = host.fails(4, &["check", "default", "--name", "a"]);
        assert!(why.contains("address 10.90.0.2 is gone"), "{why}");
    });
}
