//! Addresses: one owner each, as long as he lives, and not at once for another.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::rig::{Host, on_host, run, text, words};

/// A namespace that nobody holds ends a moment later, and its links with it.
pub fn until_links_are(host: &Host, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while host.links().len() != count {
        assert!(Instant::now() < deadline, "{:?}", host.links());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn sixty_four_at_once() {
    on_host("sixty_four_at_once", |host| {
        let containers: Vec<_> = (0..64).map(|n| host.container(&format!("c{n}"))).collect();
        let port = |n: usize| format!("{}:80", 8000 + n);
        let start = |(n, c)| {
            let more = words(&["-p", &port(n)]);
            let args = [host.attach_words("default", c), more].concat();
            let piped = std::process::Stdio::piped;
            host.plynet(&args)
                .stdout(piped())
                .stderr(piped())
                .spawn()
                .unwrap()
        };
        let running: Vec<_> = containers.iter().enumerate().map(start).collect();
        let mut addresses = BTreeSet::new();
        for child in running {
            let out = child.wait_with_output().unwrap();
            assert!(out.status.success(), "{}", text(&out.stderr));
            addresses.insert(text(&out.stdout));
        }
        assert_eq!(addresses.len(), 64);
        assert_eq!(host.links().len(), 65);
        assert_eq!(host.ok(&["doctor"]), "all is well");
        for container in &containers {
            host.ok(&["detach", "default", "--name", &container.name]);
        }
        host.is_clean();
    });
}

#[test]
fn a_released_address_rests() {
    on_host("a_released_address_rests", |host| {
        let (_keep, first) = host.attached("default", "keep", &[]);
        let (a, second) = host.attached("default", "a", &[]);
        host.ok(&["detach", "default", "--name", "a"]);
        let third = host.attach("default", &a, &[]);
        assert_eq!(
            [&*first, &*second, &*third],
            ["10.90.0.2/24", "10.90.0.3/24", "10.90.0.4/24"]
        );
        let b = host.container("b");
        let words = words(&["--ip", "10.90.0.2"]);
        let taken = [host.attach_words("default", &b), words].concat();
        let why = host.fails(4, &taken);
        assert!(
            why.contains("10.90.0.2 is taken by container keep"),
            "{why}"
        );
    });
}

#[test]
fn the_dead_make_room() {
    on_host("the_dead_make_room", |host| {
        host.ok(&["network", "create", "small", "--subnet", "10.9.0.0/29"]);
        let mut members: Vec<_> = (0..5)
            .map(|n| host.attached("small", &format!("c{n}"), &[]).0)
            .collect();
        let late = host.container("late");
        let full = host.fails(4, &host.attach_words("small", &late));
        assert!(
            full.contains("all 5 addresses of 10.9.0.0/29 are taken"),
            "{full}"
        );
        members.remove(2);
        until_links_are(host, 5);
        assert_eq!(host.attach("small", &late, &[]), "10.9.0.4/29");
        // Of the same name, in another namespace.
        members.remove(0);
        until_links_are(host, 5);
        let (_again, told) = host.attached("small", "c0", &[]);
        assert_eq!(told, "10.9.0.2/29");
        assert_eq!(host.ok(&["doctor"]), "all is well");
    });
}

#[test]
fn a_boot_frees_everything() {
    on_host("a_boot_frees_everything", |host| {
        let (_a, _) = host.attached("default", "a", &["-p", "8080:80"]);
        run("nft", &["flush", "ruleset"]);
        run("ip", &["link", "del", "ply0"]);
        for link in host.links() {
            run("ip", &["link", "del", &link]);
        }
        let file = host.at("run/host.json");
        let known = std::fs::read_to_string(&file).unwrap();
        let earlier = known.replace("\"boot_id\":\"", "\"boot_id\":\"earlier-");
        assert_ne!(known, earlier);
        std::fs::write(&file, earlier).unwrap();
        host.ok(&["ls"]);
        host.is_clean();
        assert!(host.ok(&["network", "ls"]).contains("default"));
    });
}
