//! Where the programs of the suites are found, and how one is run.
//!
//! `.ci/run` installs them: crates of a fixed version to `target/tools/bin`, the rest from Debian. A suite that is
//! missing, or is of another version than the documented one, is a test that cannot run, and says so.

use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::env::{cannot_run, mounted_tests_impossible};

/// How long a program may run.
const PATIENCE: Duration = Duration::from_secs(600);

/// A program that was made elsewhere.
pub struct Tool {
    /// Name of the program, and of its crate if it is one.
    pub name: &'static str,
    /// The version the results are about; empty: any.
    pub version: &'static str,
}

/// What a program said and how it ended.
pub struct Said {
    /// It ended with 0.
    pub success: bool,
    /// How it ended.
    pub status: String,
    /// Standard output, then standard error.
    pub text: String,
}

impl Tool {
    /// The program, or none after saying loudly that `test` cannot run.
    pub fn find_for(&self, test: &str) -> Option<PathBuf> {
        if let Some(why) = mounted_tests_impossible() {
            cannot_run(test, &why);
            return None;
        }
        match self.find() {
            Ok(path) => Some(path),
            Err(why) => {
                cannot_run(test, &why);
                None
            }
        }
    }

    /// Looks in `PLYFS_TEST_TOOLS`, in `target/tools/bin`, in `PATH`.
    fn find(&self) -> Result<PathBuf, String> {
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin");
        let given = std::env::var_os("PLYFS_TEST_TOOLS").map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = given
            .into_iter()
            .chain([built])
            .chain(std::env::split_paths(&path));
        let found = places
            .map(|place| place.join(self.name))
            .find(|p| p.is_file());
        let how = match self.version {
            "" => format!("apt-get install {}", self.name),
            v => format!("cargo install --locked --version {v} {}", self.name),
        };
        let Some(found) = found else {
            return Err(format!("{} is not installed ({how})", self.name));
        };
        let said = run(Command::new(&found).arg("--version"));
        if !said.text.contains(self.version) {
            let text = said.text.trim();
            return Err(format!("{} is another version: {text} ({how})", self.name));
        }
        Ok(found)
    }
}

/// Runs a program to its end, or for as long as no suite takes: then it is killed, and did not succeed.
pub fn run(command: &mut Command) -> Said {
    // Files, not pipes: a daemon that the program leaves behind may hold them open.
    let mut files = [(); 2].map(|()| tempfile::tempfile().unwrap());
    let [out, err] = files.each_ref().map(|file| file.try_clone().unwrap());
    let spawned = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
    let mut child = spawned.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                child.kill().unwrap();
                break child.wait().unwrap();
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let mut text = Vec::new();
    for file in &mut files {
        file.rewind().unwrap();
        file.read_to_end(&mut text).unwrap();
    }
    Said {
        success: status.success(),
        status: status.to_string(),
        text: String::from_utf8_lossy(&text).into_owned(),
    }
}

/// Says a result that belongs into the log of every run, past the capture of libtest.
pub fn announce(line: &str) {
    let line = format!("\nsuites: {line}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
