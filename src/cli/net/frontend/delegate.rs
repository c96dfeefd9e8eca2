//! Another plugin that gives out addresses: it is called as we were, with our own configuration.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::net::frontend::cni::config::Delegated;
use crate::net::frontend::cni::failure::{CONFIG, DECODE, Failure, IO, OTHER};

/// The plugin.
pub struct Delegate {
    program: PathBuf,
    config: String,
}

impl Delegate {
    /// Looks for the plugin in the directories of `CNI_PATH`.
    pub fn find(kind: &str, path: &[PathBuf], config: &str) -> Result<Delegate, Failure> {
        let missing = || {
            let words = format!(
                "ipam.type \"{}\" is not a plugin in CNI_PATH",
                kind.escape_debug()
            );
            Failure::new(CONFIG, words)
        };
        if kind.contains('/') {
            return Err(missing());
        }
        let program = path
            .iter()
            .map(|dir| dir.join(kind))
            .find(|program| program.is_file());
        Ok(Delegate {
            program: program.ok_or_else(missing)?,
            config: config.to_string(),
        })
    }

    /// Has an address given out.
    pub fn add(&self) -> Result<Delegated, Failure> {
        let said = self.call("ADD")?;
        serde_json::from_slice(&said).map_err(|error| self.failed(DECODE, &error.to_string()))
    }

    /// Has it taken back.
    pub fn del(&self) -> Result<(), Failure> {
        self.call("DEL").map(drop)
    }

    /// Has it looked for.
    pub fn check(&self) -> Result<(), Failure> {
        self.call("CHECK").map(drop)
    }

    /// Asks whether it can give out addresses, which older ones do not know.
    pub fn status(&self) -> Result<(), Failure> {
        self.call_if_known("STATUS")
    }

    /// Has all taken back that is not named; older ones do not know that.
    pub fn gc(&self) -> Result<(), Failure> {
        self.call_if_known("GC")
    }

    fn call_if_known(&self, command: &str) -> Result<(), Failure> {
        match self.call(command) {
            // "Unknown CNI_COMMAND", as plugins before version 1.1 of the specification say it.
            Err(failure) if failure.code == 4 => Ok(()),
            other => other.map(drop),
        }
    }

    fn call(&self, command: &str) -> Result<Vec<u8>, Failure> {
        let broken = |error: std::io::Error| self.failed(IO, &error.to_string());
        let mut child = Command::new(&self.program)
            .env("CNI_COMMAND", command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(broken)?;
        if let Some(mut stdin) = child.stdin.take() {
            // It need not read what it does not want; how it ended says more.
            drop(stdin.write_all(self.config.as_bytes()));
        }
        let said = child.wait_with_output().map_err(broken)?;
        if said.status.success() {
            return Ok(said.stdout);
        }
        let told: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
        let code = told["code"]
            .as_u64()
            .and_then(|code| u32::try_from(code).ok());
        let words = told["msg"].as_str().unwrap_or("it failed without a word");
        Err(self.failed(code.unwrap_or(OTHER), words))
    }

    fn failed(&self, code: u32, words: &str) -> Failure {
        Failure::new(
            code,
            format!("ipam plugin {}: {words}", self.program.display()),
        )
    }
}
