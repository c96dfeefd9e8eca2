//! git and sqlite3 at their usual work.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::place::must;
use crate::scenario::{Run, Scenario, Site, bytes};

const FILES: usize = 5_000;
const TRANSACTIONS: usize = 1_000;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "git",
            rows: &["git status cold", "git status fresh", "git status warm"],
            programs: &["git"],
            build: repository,
            run: status,
        },
        Scenario {
            name: "sqlite",
            rows: &["sqlite, rollback journal", "sqlite, WAL"],
            programs: &["sqlite3"],
            build: |site| fs::write(site.lower(1).join("other"), "").unwrap(),
            run: sqlite,
        },
    ]
}

/// git, told by nobody but the repository.
fn git(at: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(at)
        .envs([("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1")]);
    command
}

fn repository(site: &Site) {
    let (at, text) = (site.lower(1).join("repo"), bytes(5, 16 << 10));
    fs::create_dir(&at).unwrap();
    for i in 0..site.scaled(FILES) {
        let path = at.join(format!("d{}/e{}/file-{i}", i / 500, i / 50 % 10));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &text[i % 8192..][..2000]).unwrap();
    }
    must(git(&at).args(["init", "--quiet"]));
    // What a copy of a tree does not keep is not looked at, as in any repository that came by an image.
    for (key, value) in [("core.checkStat", "minimal"), ("core.trustctime", "false")] {
        must(git(&at).args(["config", key, value]));
    }
    must(git(&at).args(["add", "."]));
    let who = ["-c", "user.name=n", "-c", "user.email=e@localhost"];
    must(git(&at).args(who).args(["commit", "--quiet", "-m", "all"]));
    // Entries younger than the index are compared by content: not these.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    must(git(&at).args(["update-index", "--really-refresh", "-q"]));
    must(git(&at).arg("status").stdout(Stdio::null()));
}

fn status(run: &mut Run) {
    let clean = |repository: &Path| {
        let out = git(repository)
            .args(["status", "--porcelain"])
            .output()
            .unwrap();
        assert!(
            out.status.success() && out.stdout.is_empty(),
            "git status: {out:?}"
        );
    };
    let merged = run.mount(1).join("repo");
    run.time("git status cold", || clean(&merged));
    run.mount(1);
    run.time("git status fresh", || clean(&merged));
    run.time("git status warm", || clean(&merged));
    fs::write(merged.join("d0/e0/file-1"), "changed").unwrap();
    let out = git(&merged)
        .args(["status", "--porcelain"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), " M d0/e0/file-1\n");
}

fn sqlite(run: &mut Run) {
    let transactions = run.site.scaled(TRANSACTIONS);
    for (row, mode) in [
        ("sqlite, rollback journal", "delete"),
        ("sqlite, WAL", "wal"),
    ] {
        let file = run.mount(1).join(format!("{mode}.db"));
        let mut script = format!(
            "PRAGMA journal_mode={mode};\nCREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT);\n"
        );
        for i in 0..transactions {
            script += &format!("BEGIN; INSERT INTO t VALUES({i}, hex(zeroblob(200)));");
            script += &format!(
                "UPDATE t SET text = 'changed' WHERE id = {}; COMMIT;\n",
                i / 2
            );
        }
        let out = run.time(row, || sqlite3(&file, &script));
        assert_eq!(out, format!("{mode}\n"));
        let file = run.mount(1).join(format!("{mode}.db"));
        let questions = "PRAGMA integrity_check; SELECT count(*), sum(text = 'changed') FROM t;";
        let changed = (transactions - 1) / 2 + 1;
        assert_eq!(
            sqlite3(&file, questions),
            format!("ok\n{transactions}|{changed}\n")
        );
    }
}

fn sqlite3(file: &Path, script: &str) -> String {
    let mut command = Command::new("sqlite3");
    command.args(["-bail", "-init", "/dev/null"]).arg(file);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "sqlite3: {}", out.status);
    String::from_utf8(out.stdout).unwrap()
}
