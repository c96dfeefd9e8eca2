//! pjdfstest: what POSIX says of errors, owners, modes and times, case by case.
//!
//! The rule (T139): a case that passes on kernel overlayfs passes on plyfs. Cases that fail on the kernel are known,
//! each with its reason, so that a suite that cannot run properly here is noticed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::tools::{Tool, announce, run};
use crate::support::env::{Scratch, cannot_run, isolated, kernel_overlay_impossible};
use crate::support::layers::Layers;
use crate::support::mount::{Mounted, Server};

const TOOL: Tool = Tool {
    name: "pjdfstest",
    version: "0.2.2",
};

/// Two users that every Debian has, each with a group of its own. Chmod and the like of flags are not for Linux.
const CONFIG: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
utimensat = {}
utime_now = {}
[settings]
naptime = 0.02
allow_remount = REMOUNT
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
"#;

/// How the names of cases end that fail on kernel overlayfs as well, and why.
const FAILS_ANYWHERE: &[(&str, &str)] = &[(
    "::char",
    "the suite makes its character device with number 0:0, and that is a whiteout",
)];

/// Cases the suite skips, and why.
const SKIPPED: &[(&str, &str)] = &[(
    "link::link_count_max",
    "Linux has no LINK_MAX of a directory",
)];

/// At least so many cases pass where the suite works.
const ENOUGH: usize = 340;

/// Case to `ok`, `FAILED` or `skipped`, and what the suite said about it.
type Results = BTreeMap<String, (String, String)>;

#[test]
fn t129_t139_pjdfstest_passes_what_it_passes_on_the_kernel() {
    let name = "pjdfstest on plyfs and on kernel overlayfs";
    let Some(tool) = TOOL.find_for(name) else {
        return;
    };
    if let Some(why) = kernel_overlay_impossible() {
        return cannot_run(name, &why);
    }
    isolated(|| {
        let mut scratch = Scratch::new();
        let second = scratch.tmpfs("second", "64m");
        let root = scratch.path().to_path_buf();
        // The suite remounts by mount(8).
        super::helper::install(&root, &["mount.fuse.plyfs"]);
        let judge = results(&tool, Server::Kernel, &root.join("kernel"), &second);
        let ours = results(&tool, Server::Plyfs, &root.join("plyfs"), &second);
        announce(&format!("pjdfstest on kernel overlayfs: {}", count(&judge)));
        announce(&format!("pjdfstest on plyfs: {}", count(&ours)));

        let passed = judge.values().filter(|(how, _)| how == "ok").count();
        assert!(passed >= ENOUGH, "only {passed} cases pass on the kernel");
        let known =
            |case: &str, list: &[(&str, &str)]| list.iter().any(|(end, _)| case.ends_with(end));
        let mut wrong = Vec::new();
        for (case, (how, why)) in &judge {
            let (mine, said) = ours.get(case).map_or(("absent", ""), |(m, s)| (m, s));
            let as_known = match how.as_str() {
                "ok" => true,
                "FAILED" => known(case, FAILS_ANYWHERE),
                _ => known(case, SKIPPED),
            };
            if !as_known {
                wrong.push(format!("{case}: {how} on the kernel: {why}"));
            }
            if how == "ok" && mine != "ok" {
                wrong.push(format!("{case}: ok on the kernel, {mine} on plyfs: {said}"));
            }
        }
        assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    });
}

/// Runs the suite on a fresh view with one lower layer.
fn results(tool: &Path, server: Server, root: &Path, second: &Path) -> Results {
    let layers = Layers::new(root, 1, true);
    fs::set_permissions(&layers.upper, fs::Permissions::from_mode(0o777)).unwrap();
    let mounted = Mounted::new(server, &layers, "").expect("mount");
    let go = |patterns: &[&str], remount: bool| {
        let config = root.join("pjdfstest.toml");
        fs::write(&config, CONFIG.replace("REMOUNT", &remount.to_string())).unwrap();
        let mut command = Command::new(tool);
        command.arg("-c").arg(&config).arg("-s").arg(second);
        command.arg("-p").arg(mounted.path()).args(patterns);
        let text = run(command.env("RUST_BACKTRACE", "0")).text;
        parse(&text).unwrap_or_else(|why| panic!("{why}:\n{text}"))
    };
    let mut all = go(&[], false);
    // In a run of their own: earlier cases leave files open, and then nobody can remount read-only.
    all.extend(go(&["::erofs_"], true));
    mounted.unmount().expect("unmount");
    all
}

/// Reads the suite's list; its own summary must agree.
fn parse(text: &str) -> Result<Results, String> {
    let mut results = Results::new();
    let mut lines = text.lines().peekable();
    let mut total: Option<usize> = None;
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [case, how @ ("ok" | "FAILED" | "skipped")] if case.contains("::") => {
                let why = lines.peek().filter(|_| how != "ok").map(|l| l.trim());
                results.insert(case.into(), (how.into(), why.unwrap_or_default().into()));
            }
            ["Summary:", .., count, "total"] => total = count.parse().ok(),
            _ => {}
        }
    }
    match total {
        Some(n) if n == results.len() && n > 0 => Ok(results),
        _ => Err(format!("{} cases, {total:?} in the summary", results.len())),
    }
}

fn count(results: &Results) -> String {
    let with = |wanted: &str| results.values().filter(|(how, _)| how == wanted).count();
    let (ok, failed, skipped) = (with("ok"), with("FAILED"), with("skipped"));
    format!("{ok} passed, {failed} failed, {skipped} skipped")
}

#[test]
fn lists_of_the_suite_are_understood() {
    let text = "a::b::char   FAILED\n\tcalled unwrap: EPERM\nBacktrace:\n   0: main\na::c   ok\na::d skipped\n\tno\n\
                Summary: 1 failed, 1 skipped, 1 passed, 0 expected failures, 3 total\n";
    let results = parse(text).unwrap();
    assert_eq!(
        results["a::b::char"],
        ("FAILED".into(), "called unwrap: EPERM".into())
    );
    assert_eq!(count(&results), "1 passed, 1 failed, 1 skipped");
    assert!(parse(&text.replace("3 total", "4 total")).is_err());
    assert!(parse("").is_err());
}
