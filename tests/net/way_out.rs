//! A plain user's way out of his namespaces, and the way in to what he publishes: pasta's and slirp4netns's.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use plyfs::sys::netns::Netns;
use rustix::process::{Pid, Signal};

use crate::rig::{Container, HOST, Host, OUTSIDE, get, get_udp, on_host, run, text};
use crate::rootless::User;
use crate::support::env::cannot_run;

/// Longer waits mean that it will never happen. pasta looks for new ports once a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// What somebody asks the resolver outside for.
const NAME: &str = "far.example";

fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "{what}: it does not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs `test` for a user who has these programs besides those of the system's that are no way out, an outside with a
/// server on port 7000, and resolvers at OUTSIDE and on the machine's own loopback.
fn with_way_out(name: &str, programs: &[&str], test: impl FnOnce(&Host, &User, &Container) + Send) {
    let missing = programs.iter().find(|program| {
        let ran = Command::new(program).arg("--version").output();
        ran.is_err()
    });
    if let Some(program) = missing {
        return cannot_run(
            name,
            &format!("{program} is not installed (passt, slirp4netns)"),
        );
    }
    on_host(name, |host| {
        if let Err(why) = everybodys_tun(host) {
            return cannot_run(name, &why);
        }
        let outside = host.outside();
        run("ip", &["route", "add", "default", "via", OUTSIDE]);
        outside.serve(7000);
        resolver("127.0.0.53", [192, 0, 2, 53]);
        outside.within(|| resolver(OUTSIDE, [192, 0, 2, 77]));
        fs::write(host.at("resolv.conf"), "nameserver 127.0.0.53\n").unwrap();
        rustix::mount::mount_bind(host.at("resolv.conf"), "/etc/resolv.conf").unwrap();
        let mut user = User::new(host);
        let bin = host.at("bin");
        fs::create_dir(&bin).unwrap();
        for program in [programs, &["sh", "sleep", "busybox", "ip"]].concat() {
            let found = run("sh", &["-c", &format!("command -v {program}")]);
            symlink(found.trim(), bin.join(program)).unwrap();
        }
        user.set("PATH", &bin);
        test(host, &user, &outside);
        user.ok(&["halt"]);
        until("processes end", || user.processes().is_empty());
        host.is_clean();
    });
}

/// In this mount namespace, everybody may use tun devices.
fn everybodys_tun(host: &Host) -> Result<(), String> {
    let dir = host.at("dev");
    fs::create_dir(&dir).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &dir, "tmpfs", flags, None)
        .map_err(|errno| format!("a tmpfs for a device: {errno}"))?;
    let node = dir.join("tun");
    let made = Command::new("mknod")
        .args(["-m", "666"])
        .arg(&node)
        .args(["c", "10", "200"])
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        return Err("device nodes cannot be made".into());
    }
    if let Err(error) = fs::File::open(&node) {
        return Err(format!("this kernel has no tun devices: {error}"));
    }
    rustix::mount::mount_bind(&node, "/dev/net/tun")
        .map_err(|errno| format!("/dev/net/tun: {errno}"))?;
    // What is bound stays.
    rustix::mount::unmount(&dir, rustix::mount::UnmountFlags::DETACH)
        .map_err(|errno| format!("the tmpfs of the device: {errno}"))
}

/// Answers every question of DNS with one address.
fn resolver(address: &str, answer: [u8; 4]) {
    let socket = UdpSocket::bind((address, 53)).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((len, peer)) = socket.recv_from(&mut buffer) {
            // The header and the question (without what EDNS adds), then a pointer to the name: A, IN, 60 seconds.
            let end = 12 + buffer[12..len].iter().position(|byte| *byte == 0).unwrap() + 5;
            let mut reply = buffer[..end].to_vec();
            reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            reply.extend_from_slice(&answer);
            let _ = socket.send_to(&reply, peer);
        }
    });
}

/// A container of the user's, which ends with the value.
struct Running {
    child: Child,
    container: Container,
}

impl Running {
    fn start(host: &Host, user: &User, name: &str, more: &[&str]) -> Running {
        let note = host.at("user").join(format!("{name}.pid"));
        // Of one of that name before.
        let _ = fs::remove_file(&note);
        let script = format!(
            "echo $$ >{0}.new; busybox mv {0}.new {0}; exec sleep 1000",
            note.display()
        );
        let words = [&["run", "--name", name], more, &["--", "sh", "-c", &script]].concat();
        let child = user.command(&words).spawn().unwrap();
        until("the command runs", || note.exists());
        let pid = fs::read_to_string(&note).unwrap();
        let netns = Netns::open(format!("/proc/{}/ns/net", pid.trim()).as_ref()).unwrap();
        let container = Container {
            name: name.into(),
            netns,
        };
        Running { child, container }
    }

    /// The container ends, and is detached.
    fn end(self) {}
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Others cannot write into the run directory, nor read there.
fn is_private(host: &Host) {
    for name in ["", "holder", "way-out", "port", "net"] {
        let mode = fs::metadata(host.at("user/run/plynet").join(name))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o022, 0, "{name}: {mode:o}");
    }
}

/// What every way out does.
fn out_and_in(host: &Host, user: &User, outside: &Container) -> Running {
    let ports = ["-p", "8080:80", "-p", "8081:81/udp"];
    let web = Running::start(host, user, "web", &ports);
    web.container.serve(80);
    web.container.serve_udp(81);
    is_private(host);
    // Out: the address that outside sees is the machine's.
    let seen = Some(format!("outside {HOST}"));
    until("the way out", || web.container.get(OUTSIDE, 7000) == seen);
    // Names: the machine's resolver is on a loopback that is not the container's.
    let asks = |server: &str| {
        let shown = user.ok(&["run", "--", "busybox", "nslookup", "-type=a", NAME]);
        shown.contains(server)
    };
    assert!(asks("192.0.2.53"));
    fs::write("/etc/resolv.conf", format!("nameserver {OUTSIDE}\n")).unwrap();
    until("the other resolver is asked", || asks("192.0.2.77"));
    // In.
    until("the port is reached", || {
        outside
            .get(HOST, 8080)
            .is_some_and(|said| said.starts_with("web "))
    });
    until("the port is reached from the machine", || {
        get("127.0.0.1", 8080).is_some()
    });
    // A port of the machine that somebody has, or that is not for plain users.
    let taken = std::net::TcpListener::bind(("0.0.0.0", 9090)).unwrap();
    let said = user.fails(4, &["run", "-p", "9090:80", "--", "sleep", "0"]);
    assert!(
        said.contains("port 9090/tcp is in use by a process of the host"),
        "{said}"
    );
    drop(taken);
    let said = user.fails(4, &["run", "-p", "8080:80", "--", "sleep", "0"]);
    assert!(
        said.contains("port 8080/tcp of the host is taken by container web"),
        "{said}"
    );
    let start = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if start.trim() != "0" {
        let said = user.fails(5, &["run", "-p", "81:80", "--", "sleep", "0"]);
        assert!(said.contains("ip_unprivileged_port_start"), "{said}");
    }
    web
}

/// A container that ends gives its port back, and the next has it.
fn comes_and_goes(host: &Host, user: &User, outside: &Container, web: Running) {
    web.end();
    until("the port is closed", || outside.get(HOST, 8080).is_none());
    let next = Running::start(host, user, "next", &["-p", "8080:80"]);
    next.container.serve(80);
    until("the next one has the port", || {
        outside
            .get(HOST, 8080)
            .is_some_and(|said| said.starts_with("next "))
    });
    next.end();
}

#[test]
fn out_and_in_by_pasta() {
    with_way_out("out_and_in_by_pasta", &["pasta"], |host, user, outside| {
        let web = out_and_in(host, user, outside);
        // Who asks is seen.
        assert_eq!(outside.get(HOST, 8080), Some(format!("web {OUTSIDE}")));
        comes_and_goes(host, user, outside, web);
        // One address of the machine only.
        let local = Running::start(host, user, "local", &["-p", "127.0.0.1:8082:80"]);
        local.container.serve(80);
        until("the port is reached from the machine", || {
            get("127.0.0.1", 8082).is_some_and(|said| said.starts_with("local "))
        });
        assert_eq!(outside.get(HOST, 8082).as_deref().unwrap_or_default(), "");
        local.end();
    });
}

#[test]
fn out_and_in_by_slirp4netns() {
    with_way_out(
        "out_and_in_by_slirp4netns",
        &["slirp4netns"],
        |host, user, outside| {
            let web = out_and_in(host, user, outside);
            let udp = || outside.within(|| get_udp(HOST, 8081)).as_deref() == Some("web");
            until("the datagram is answered", udp);
            comes_and_goes(host, user, outside, web);
            let local = user.output(&["run", "-p", "127.0.0.1:8082:80", "--", "sleep", "0"]);
            assert!(text(&local.stderr).contains("slirp4netns publishes on all addresses"));
        },
    );
}

#[test]
fn a_way_out_that_ends_is_started_again() {
    let name = "a_way_out_that_ends_is_started_again";
    with_way_out(name, &["pasta", "slirp4netns"], |host, user, outside| {
        let web = Running::start(host, user, "web", &["-p", "8080:80"]);
        web.container.serve(80);
        let before = fs::read_to_string(host.at("user/run/plynet/way-out")).unwrap();
        run("kill", &["-9", before.split(' ').next().unwrap()]);
        until("it has ended", || {
            web.container.get(OUTSIDE, 7000).is_none()
        });
        until("the way out is open", || {
            // Whoever comes while it still is ending takes it for alive.
            user.ok(&["ls"]);
            web.container.get(OUTSIDE, 7000) == Some(format!("outside {HOST}"))
        });
        until("the port is reached", || outside.get(HOST, 8080).is_some());
        // The holder killed: its namespaces live as long as a container, but nobody finds them; the next are new.
        let holder = fs::read_to_string(host.at("user/run/plynet/holder")).unwrap();
        run("kill", &["-9", holder.split(' ').next().unwrap()]);
        web.end();
        user.ok(&["halt"]);
        let again = Running::start(host, user, "web", &[]);
        assert_eq!(
            again.container.get(OUTSIDE, 7000),
            Some(format!("outside {HOST}"))
        );
        again.end();
    });
}

#[test]
fn without_a_way_out_that_is_said() {
    with_way_out("without_a_way_out_that_is_said", &[], |_, user, _| {
        let ran = user.output(&["run", "--", "sleep", "0"]);
        let said = text(&ran.stderr);
        assert!(ran.status.success(), "{said}");
        let expected =
            "nothing outside: neither pasta (package passt) nor slirp4netns is installed";
        assert!(
            said.contains(expected) && said.lines().count() == 1,
            "{said}"
        );
        // Once.
        let again = user.output(&["run", "--", "sleep", "0"]);
        assert_eq!(text(&again.stderr), "");
    });
}
