//! What cannot be: one line, the code of its kind, and nothing in the kernel or the run directory is changed.

use std::net::TcpListener;

use crate::rig::{Host, on_host, words};

/// What is asked for, in words; `NETNS` stands for a namespace. The code, and a part of the line.
type Row = (&'static str, i32, &'static str);

const ROWS: &[Row] = &[
    ("network create a/b", 2, "other characters"),
    ("network create ..", 2, "does not start"),
    ("network create -- -x", 2, "does not start"),
    (
        "network create xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        2,
        "longer than 63",
    ),
    ("network create n", 4, "there is a network n already"),
    (
        "network create m --subnet 10.9.0.128/25",
        4,
        "overlaps 10.9.0.0/24 of network n",
    ),
    (
        "network create m --subnet 192.0.2.0/25",
        4,
        "overlaps 192.0.2.0/24 of a route of the host by up0",
    ),
    (
        "network create m --subnet 10.8.0.1/24",
        2,
        "did you mean 10.8.0.0/24",
    ),
    ("network create m --subnet 10.8.0.0/31", 2, "too small"),
    ("network create m --subnet 10.8.0.0/33", 2, "invalid value"),
    (
        "network create m --subnet 10.8.0.0/24 --gateway 10.7.0.1",
        2,
        "gateway 10.7.0.1",
    ),
    (
        "network create m --subnet 10.8.0.0/24 --gateway 10.8.0.255",
        2,
        "no address of a host",
    ),
    (
        "network create m --subnet 10.8.0.0/24 --subnet 10.8.0.0/24",
        4,
        "the same network",
    ),
    ("network create m --mtu 67", 2, "from 68"),
    ("network create m --ipv6 --mtu 1279", 2, "from 1280"),
    (
        "network create m --bridge sixteen-letters-",
        2,
        "longer than 15",
    ),
    ("network create m --bridge br9", 4, "that of network n"),
    ("network create m --firewall ufw", 2, "invalid value"),
    ("network rm m", 3, "no network m"),
    ("network rm n", 4, "used by a"),
    ("network inspect m", 3, "no network m"),
    ("network frob", 2, "unrecognized"),
    ("attach m --name b --netns NETNS", 3, "no network m"),
    ("attach n --name b --netns /no/such", 3, "No such file"),
    (
        "attach n --name b --netns /etc/passwd",
        2,
        "not a network namespace",
    ),
    (
        "attach n --name b --netns /proc/self/ns/user",
        2,
        "not a network namespace",
    ),
    (
        "attach n --name b --netns /proc/self/ns/net",
        2,
        "the host itself",
    ),
    ("attach n --name b --pid 4194305", 3, "No such file"),
    ("attach n --name b", 2, "required"),
    ("attach n --name a --netns NETNS", 4, "is attached already"),
    ("attach n --name a/b --netns NETNS", 2, "other characters"),
    (
        "attach n --name b --netns NETNS --ip 10.9.0.2",
        4,
        "taken by container a",
    ),
    (
        "attach n --name b --netns NETNS --ip 10.9.0.1",
        4,
        "gateway",
    ),
    (
        "attach n --name b --netns NETNS --ip 10.8.0.2",
        2,
        "not a host's in network n",
    ),
    (
        "attach n --name b --netns NETNS --ip 10.9.0.255",
        2,
        "not a host's",
    ),
    (
        "attach n --name b --netns NETNS --mac 01:00:00:00:00:00",
        2,
        "group",
    ),
    ("attach n --name b --netns NETNS --alias x/y", 2, "alias"),
    (
        "attach n --name b --netns NETNS --interface a/b",
        2,
        "interface",
    ),
    (
        "attach n --name b --netns NETNS --interface sixteen-letters-",
        2,
        "longer than 15",
    ),
    (
        "attach n --name b --netns NETNS --interface lo",
        4,
        "interface lo",
    ),
    (
        "attach n --name b --netns NETNS -p 8080:80",
        4,
        "8080/tcp of the host is taken by container a",
    ),
    (
        "attach n --name b --netns NETNS -p 127.0.0.1:8080:80",
        4,
        "taken by container a",
    ),
    (
        "attach n --name b --netns NETNS -p 7000-9000:7000-9000",
        4,
        "8080/tcp",
    ),
    (
        "attach n --name b --netns NETNS -p 9999:80",
        4,
        "9999/tcp is in use by process",
    ),
    (
        "attach n --name b --netns NETNS -p 192.0.2.77:80:80",
        2,
        "no address 192.0.2.77",
    ),
    ("attach n --name b --netns NETNS -p 0:80", 2, "port 0"),
    (
        "attach n --name b --netns NETNS -p 7000-7002:80-81",
        2,
        "differ in length",
    ),
    (
        "attach n --name b --netns NETNS -p 7001-7000:80-79",
        2,
        "not a port or range",
    ),
    (
        "attach n --name b --netns NETNS -p 65535-65536:1-2",
        2,
        "not a port or range",
    ),
    (
        "attach n --name b --netns NETNS -p 80:80/sctp",
        2,
        "tcp and udp",
    ),
    (
        "attach n --name b --netns NETNS -p [fd00::1]:80:80",
        2,
        "no address of that family",
    ),
    (
        "attach n --name b --netns NETNS -p 81:80 -p 81:81",
        2,
        "published already",
    ),
    (
        "attach n --name a --netns NETNS --interface eth1",
        4,
        "name a is taken by container a",
    ),
    ("link a a:80", 2, "leads to another"),
    ("link a a:0", 2, "port 0"),
    ("link a b:80", 3, "no container b"),
    ("detach n --name ../x", 2, "container"),
    ("check n --name b", 3, "not attached"),
    ("up /no/such", 3, "No such file"),
];

fn state(host: &Host) -> String {
    let files = crate::rig::run(
        "find",
        &[&host.at("").to_string_lossy(), "-not", "-path", "*/dns*"],
    );
    let links = crate::rig::run("ip", &["-brief", "addr"]);
    format!("{files}{links}{}", host.ruleset())
}

#[test]
fn nothing_happens_but_a_line_and_a_code() {
    on_host("nothing_happens_but_a_line_and_a_code", |host| {
        let _outside = host.outside();
        host.ok(&[
            "network",
            "create",
            "n",
            "--subnet",
            "10.9.0.0/24",
            "--bridge",
            "br9",
        ]);
        let (_a, _) = host.attached("n", "a", &["-p", "8080:80"]);
        let _busy = TcpListener::bind("127.0.0.1:9999").unwrap();
        let b = host.container("b");
        let path = b.path().to_string_lossy().into_owned();
        let before = state(host);
        for (args, code, part) in ROWS {
            let args: Vec<_> = args
                .split(' ')
                .map(|word| word.replace("NETNS", &path))
                .collect();
            let line = host.fails(*code, &args);
            assert!(line.contains(part), "{args:?}: {line}");
            assert_eq!(state(host), before, "{args:?}");
        }
        assert_eq!(host.ok(&["doctor"]), "all is well");
        host.attach("n", &b, &[]);
    });
}

#[test]
fn malformed_files_are_named_with_the_place() {
    on_host("malformed_files_are_named_with_the_place", |host| {
        let file = host.at("up.json");
        let path = file.to_string_lossy().into_owned();
        for (text, part) in [
            ("{\n  \"containers\": [,] }", "line 2 column 18"),
            ("{\"containers\": [{\"name\": 3}]}", "line 1 column 26"),
            ("{\"containers\": [], \"frobs\": 1}", "unknown field"),
            (
                "{\"containers\": [{\"name\": \"x\", \"netns\": \"/x\", \"ports\": [\"80\"]}]}",
                "no port of the container",
            ),
            (
                "{\"containers\": [{\"name\": \"a\\u0000b\", \"netns\": \"/x\"}]}",
                "a\\0b\": has other characters",
            ),
        ] {
            std::fs::write(&file, text).unwrap();
            let line = host.fails(2, &["up", &path]);
            assert!(line.contains(part), "{text}: {line}");
        }
        host.is_clean();
    });
}

#[test]
fn a_plain_user_is_told_what_he_lacks() {
    on_host("a_plain_user_is_told_what_he_lacks", |host| {
        let b = host.container("b");
        // Root of the machine, but for what networks need.
        let args = [
            words(&["--bounding-set=-net_admin,-sys_admin", "--"]),
            vec![program(host)],
            host.attach_words("default", &b),
        ];
        let args = args.concat();
        let place = [
            format!("--root={}", host.at("root").display()),
            format!("--run={}", host.at("run").display()),
        ];
        let out = std::process::Command::new("setpriv")
            .args(args)
            .args(place)
            .output()
            .unwrap();
        let line = crate::rig::text(&out.stderr);
        assert_eq!(out.status.code(), Some(5), "{line}");
        assert!(line.contains("CAP_NET_ADMIN"), "{line}");
        host.is_clean();
    });
}

fn program(_: &Host) -> String {
    crate::rig::program().to_string_lossy().into_owned()
}

/// What a network needs of the kernel and is not the caller's to switch on.
#[test]
fn a_switch_that_may_not_be_set_is_named() {
    on_host("a_switch_that_may_not_be_set_is_named", |host| {
        use rustix::mount::{MountFlags, mount_bind, mount_remount};
        host.ok(&["network", "create", "n", "--subnet", "10.9.0.0/24"]);
        let a = host.container("a");
        mount_bind("/proc/sys", "/proc/sys").unwrap();
        let read_only = MountFlags::BIND | MountFlags::RDONLY;
        mount_remount("/proc/sys", read_only, "").unwrap();
        let why = host.fails(5, &host.attach_words("n", &a));
        assert!(
            why.contains("sysctl net.ipv4.ip_forward = 1: Read-only file system"),
            "{why}"
        );
        assert!(why.contains("--firewall=none"), "{why}");
        host.is_clean();
        // As it says.
        host.ok(&["network", "create", "bare", "--firewall", "none"]);
        host.attach("bare", &a, &[]);
        host.ok(&["detach", "bare", "--name", "a"]);
        host.is_clean();
    });
}

#[test]
fn iptables_that_are_not_there_are_named() {
    on_host("iptables_that_are_not_there_are_named", |host| {
        host.ok(&["network", "create", "n", "--firewall", "iptables"]);
        let a = host.container("a");
        let mut plynet = host.plynet(&host.attach_words("n", &a));
        let out = plynet.env("PATH", host.at("nowhere")).output().unwrap();
        let line = crate::rig::text(&out.stderr);
        assert_eq!(out.status.code(), Some(6), "{line}");
        assert!(line.contains("iptables-save is not installed"), "{line}");
        assert_eq!(host.links(), Vec::<String>::new());
        assert_eq!(host.left(), Vec::<String>::new());
    });
}
