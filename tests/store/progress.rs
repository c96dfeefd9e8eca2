//! How far the work is: bars on a terminal, lines and JSON elsewhere, nothing where nobody asked.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::rig::{Shop, one};
use crate::tool::wait_until;

/// The events on standard error.
fn events(err: &str) -> Vec<Value> {
    err.lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["progress"].clone()
        })
        .collect()
}

#[test]
fn lines_and_events_of_what_was_done() {
    one("lines_and_events", "vfs", false, |shop| {
        let dir = shop.dir(
            "dir",
            "seq 50 | xargs touch; head -c 100000 /dev/zero > big; tar -cf ../dir.tar .",
        );
        let tar = format!("{dir}.tar");
        shop.ok(&["layer", "create", "--from-dir", &dir, "--name", "base"]);
        for call in [
            vec!["layer", "create", "--from-dir", &dir],
            vec!["layer", "create", "--from-tar", &tar],
            vec!["layer", "diff", "base", "-o", &tar],
            vec!["layer", "squash", "base"],
            vec!["container", "create", "--layer", "base"],
            vec!["store", "du"],
            vec!["store", "check"],
        ] {
            let plain = shop.call(&[&["--progress", "plain"], &call[..]].concat());
            assert_eq!(plain.code, Some(0), "{plain:?}");
            let line = plain.err.lines().last().unwrap_or_default();
            assert!(line.starts_with("plyfs: "), "{call:?}: {plain:?}");
            // What is shown is of no consequence for what is said.
            assert_eq!(shop.ok(&call).is_empty(), plain.out.is_empty());
            let json = shop.call(&[&["--progress", "plain", "--json"], &call[..]].concat());
            assert_eq!(json.code, Some(0), "{json:?}");
            let events = events(&json.err);
            let named = |event: &Value| event["phase"].is_string();
            assert!(!events.is_empty() && events.iter().all(named), "{events:?}");
            assert!(serde_json::from_str::<Value>(&json.out).is_ok());
        }
        let quiet = shop.call(&["-q", "--progress", "auto", "store", "du"]);
        assert_eq!(quiet.err, "");
    });
}

/// `script -c`: a call on a terminal of its own, whose output is in a file.
fn on_a_terminal(shop: &Shop, fifo: &Path, log: &Path) -> Child {
    let call = format!(
        "{} --root {} layer create --from-tar {}",
        env!("CARGO_BIN_EXE_plyfs"),
        shop.root().display(),
        fifo.display()
    );
    let mut command = Command::new("script");
    command.args(["-qefc", &call]).arg(log);
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
    quiet.stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_bar_on_a_terminal_that_is_gone_at_the_end() {
    one("a_bar_on_a_terminal", "overlay", false, |shop| {
        shop.dir(
            "dir",
            "head -c 3000000 /dev/urandom > big; tar -cf ../dir.tar .",
        );
        shop.sh("mkfifo fifo");
        let files = shop.place.at("files");
        let bytes = fs::read(files.join("dir.tar")).unwrap();
        let (fifo, log) = (files.join("fifo"), files.join("log"));
        let mut child = on_a_terminal(shop, &fifo, &log);
        let mut pipe = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        pipe.write_all(&bytes[..bytes.len() / 2]).unwrap();
        // The rest does not come before the bar is there.
        let shown = || fs::read_to_string(&log).unwrap_or_default();
        wait_until("the bar", || {
            shown().contains("unpack") && shown().contains("MiB")
        });
        pipe.write_all(&bytes[bytes.len() / 2..]).unwrap();
        drop(pipe);
        assert!(child.wait().unwrap().success());
        let ids = shop.ids("layer");
        let text = shown();
        let last = text.lines().rfind(|line| line.contains(&ids[0])).unwrap();
        // The line was cleared before the id was written.
        assert!(last.trim().ends_with(&ids[0]), "{text:?}");
        assert!(
            last.contains("\u{1b}[2K") || last.trim() == ids[0],
            "{text:?}"
        );
    });
}
