//! A plain user: the same program, in namespaces of his own, on a machine whose network he may not touch.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::rig::{Host, on_host, text};
use crate::support::userns;

/// Nobody in particular.
const USER: u32 = 65534;

/// One for each subject.
const INSIDE: &[&str] = &[
    "bad_input::nothing_happens_but_a_line_and_a_code",
    "crash::killed_a_hundred_times",
    "crash::what_others_threw_away_comes_back",
    "iptables::iptables_keep_networks_apart_and_others_rules",
    "isolation::a_link_opens_one_port_for_one_container",
    "isolation::networks_are_apart_unless_both_are_open",
    "isolation::without_a_firewall_nothing_is_written",
    "leases::sixty_four_at_once",
    "leases::the_dead_make_room",
    "life::both_families",
    "life::many_in_one_transaction",
    "life::networks_are_made_listed_and_removed",
    "life::two_containers_and_the_way_out",
    "names::a_command_finds_names",
    "names::who_has_the_port_of_names_is_named",
    "ports::ports_are_reached_by_iptables",
    "ports::ports_are_reached_from_everywhere",
    "ports::ranges_are_many_ports",
];

/// A user with a home and the program.
pub struct User {
    dir: PathBuf,
    environment: Vec<(String, PathBuf)>,
}

impl User {
    /// With a home, and a copy of the program that he can reach.
    pub fn new(host: &Host) -> User {
        let dir = host.at("user");
        for part in ["", "home", "run"] {
            fs::create_dir(dir.join(part)).unwrap();
            chown(dir.join(part), Some(USER), Some(USER)).unwrap();
        }
        // By another process: one that a test beside this one starts would keep a copy of ours open for writing.
        let copied = Command::new("cp")
            .args([&crate::rig::program(), &dir.join("plynet")])
            .status();
        assert!(copied.unwrap().success());
        let environment = vec![
            ("HOME".into(), dir.join("home")),
            ("XDG_RUNTIME_DIR".into(), dir.join("run")),
        ];
        User { dir, environment }
    }

    /// A variable of his environment.
    pub fn set(&mut self, variable: &str, value: &Path) {
        self.environment.push((variable.into(), value.into()));
    }

    /// `plynet`, as he calls it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.dir.join("plynet"));
        command
            .args(args)
            .uid(USER)
            .gid(USER)
            .current_dir(&self.dir);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Fails with this code; its line.
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let out = self.output(args);
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
        said
    }

    /// What runs of his, and knows where: the words of each command.
    pub fn processes(&self) -> Vec<String> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let words = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        let words = words.map(|words| text(&words).replace('\0', " "));
        let dir = self.dir.to_string_lossy().into_owned();
        words.filter(|words| words.contains(&dir)).collect()
    }

    /// One of the tests of this program, by a copy that he can reach, as root of a user namespace of his.
    fn tests_inside(&self, test: &Path, name: &str) {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "--mount", "--"])
            .arg(test)
            .args(["--exact", name, "--nocapture"])
            .uid(USER)
            .gid(USER)
            .current_dir(&self.dir)
            .env("TMPDIR", self.dir.join("home"))
            .env(userns::INSIDE, "1")
            .env(userns::PROGRAM, self.dir.join("plynet"));
        let ran = command.output().unwrap();
        let said = text(&ran.stdout) + &text(&ran.stderr);
        let passed = ran.status.success() && said.contains("1 passed");
        assert!(passed && !said.contains("CANNOT RUN"), "{name}: {said}");
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let out = self.output(args);
        assert!(
            out.status.success(),
            "{args:?}: {}{}",
            text(&out.stdout),
            text(&out.stderr)
        );
        text(&out.stdout)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.command(&["halt"]).status();
    }
}

#[test]
fn a_plain_user_has_networks_of_his_own() {
    on_host("a_plain_user_has_networks_of_his_own", |host| {
        let user = User::new(host);
        let first = user.output(&[
            "run", "--name", "a", "-p", "8080:80", "--", "ip", "-brief", "-4", "addr", "show",
            "eth0",
        ]);
        assert!(first.status.success(), "{}", text(&first.stderr));
        assert!(
            text(&first.stdout).contains("10.90.0.2/24"),
            "{}",
            text(&first.stdout)
        );
        // Where there is a way out, nothing is said.
        let said = text(&first.stderr);
        assert!(
            said.is_empty() || said.contains("nothing outside: "),
            "{said}"
        );
        // The namespace lives on, and two containers in it reach each other by name.
        let script = "set -e; unshare -n sleep 60 & a=$!; unshare -n sleep 60 & b=$!; p=$1; sleep 0.5
            $p attach default --name a --pid $a -p 8080:80 > /dev/null; $p attach default --name b --pid $b > /dev/null
            $p dns query a; $p doctor; nft list map inet plynet publish4 | grep -c 8080
            $p detach default --name a; $p detach default --name b; $p doctor; nft list ruleset; ip -brief link
            kill $a $b";
        let program = user.dir.join("plynet");
        let told = user.ok(&[
            "enter",
            "--",
            "sh",
            "-c",
            script,
            "sh",
            &program.to_string_lossy(),
        ]);
        let lines: Vec<&str> = told.lines().collect();
        assert!(
            lines[0].starts_with("a.") && lines[0].ends_with(" A 10.90.0.3"),
            "{told}"
        );
        assert_eq!(lines[1..4], ["all is well", "1", "all is well"], "{told}");
        assert!(lines.len() == 5 && lines[4].starts_with("lo "), "{told}");
        // The host has seen nothing of it.
        host.is_clean();
    });
}

#[test]
fn the_demo_finds_a_place() {
    on_host("the_demo_finds_a_place", |host| {
        let mut user = User::new(host);
        let closed = host.at("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
        user.set("TMPDIR", &closed);
        let shown = user.ok(&["demo"]);
        assert!(shown.contains("left behind: nothing"), "{shown}");
    });
}

#[test]
fn the_demo_works_for_root_and_others() {
    on_host("the_demo_works_for_root_and_others", |host| {
        let user = User::new(host);
        let shown = host.ok(&["demo"]);
        assert_eq!(user.ok(&["demo"]).trim_end(), shown);
        let expected = [
            "web is on network default: 10.90.0.2, publishes 8080:80/tcp",
            "db is on network default: 10.90.0.3",
            "db pings web by name: 10.90.0.2 answers",
            "db asks web: hello 10.90.0.3, I am web",
            "outside asks 192.0.2.1:8080: hello 192.0.2.2, I am web",
            "the host asks 127.0.0.1:8080: hello 10.90.0.1, I am web",
            "outside asks 10.90.0.2:80: no way",
            "detached; left behind: nothing",
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
        assert!(
            include_str!("../../README.md").contains(&shown),
            "the README shows something else"
        );
        host.is_clean();
    });
}

/// What root's tests show holds in a user namespace of a plain user's, too, in which he has one id.
#[test]
fn root_of_a_user_namespace() {
    on_host("root_of_a_user_namespace", |host| {
        let user = User::new(host);
        let test = user.dir.join("test");
        let own = std::env::current_exe().unwrap();
        let copied = Command::new("cp").args([&own, &test]).status();
        assert!(copied.unwrap().success());
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(name) = INSIDE.get(next.fetch_add(1, Ordering::Relaxed)) {
                user.tests_inside(&test, name);
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    });
}
