//! kill -9 at random moments of attach and detach, and other programs that throw things away: reconcile mends it.

use std::time::Duration;

use crate::leases::until_links_are;
use crate::rig::{HOST, Host, on_host, run, words};
use crate::support::dice::Dice;

/// How often.
const KILLS: usize = 100;
/// An attach takes some milliseconds; the moments are spread over that, in microseconds.
const SPREAD: usize = 6000;

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
            let after = Duration::from_micros(dice.roll(SPREAD) as u64);
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
            assert_eq!(
                there,
                listed.contains(&format!("\"name\": \"{}\"", container.name)),
                "{}",
                container.name
            );
            assert_eq!(
                host.ruleset().contains(&format!("tcp . {}", 8000 + n)),
                there,
                "{}",
                container.name
            );
        }
        // What is left lives on, and everybody can be attached again.
        for container in &containers {
            host.ok(&["detach", "default", "--name", &container.name]);
            host.attach("default", container, &[]);
        }
        drop(containers);
        until_links_are(host, 1);
        host.ok(&["reconcile"]);
        host.is_clean();
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
