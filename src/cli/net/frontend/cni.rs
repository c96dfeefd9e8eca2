//! The CNI plugin.

use std::process::ExitCode;

use super::delegate::Delegate;
use crate::cli::failure::Failure as Words;
use crate::cli::logging::{self, Sink};
use crate::cli::net::args::Globals;
use crate::net::error::Kind;
use crate::net::frontend::cni::call::{Call, Command};
use crate::net::frontend::cni::config::{Config, Delegated};
use crate::net::frontend::cni::failure::{CONFIG, Failure, IO, NOT_AVAILABLE, OTHER};
use crate::net::frontend::cni::{NEWEST, result};
use crate::net::host::Host;
use crate::net::intent::Report;

/// The plugin: everything is said by the environment and standard input.
pub fn main() -> ExitCode {
    logging::start(Sink::Stderr, false);
    let mut version = NEWEST.to_string();
    match run(&mut version) {
        Ok(text) => {
            if !text.is_empty() {
                println!("{text}");
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{}", failure.text(&version));
            ExitCode::FAILURE
        }
    }
}

/// What is to be printed. `version` becomes the one that the runtime speaks.
fn run(version: &mut String) -> Result<String, Failure> {
    let call = Call::from_environment(|name| std::env::var(name).ok())?;
    let text = std::io::read_to_string(std::io::stdin());
    let text = text.map_err(|error| Failure::new(IO, format!("standard input: {error}")))?;
    if call.command == Command::Version {
        let asked: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        return Ok(result::versions(
            asked["cniVersion"].as_str().unwrap_or_default(),
        ));
    }
    let config = Config::parse(&text)?;
    version.clone_from(&config.cni_version);
    config.check()?;
    let delegate = config
        .delegate()
        .map(|kind| Delegate::find(kind, &call.path, &text));
    let plugin = Plugin {
        host: host()?,
        config,
        call,
        delegate: delegate.transpose()?,
    };
    match plugin.call.command {
        Command::Add => plugin.add(),
        Command::Del => plugin.del(),
        Command::Check => plugin.check(),
        Command::Status => plugin.status(),
        Command::Gc => plugin.gc(),
        Command::Version => Ok(String::new()),
    }
}

fn host() -> Result<Host, Failure> {
    let globals = Globals {
        root: None,
        run: None,
        json: false,
    };
    let host = globals.host();
    let mut host = host.map_err(|words: Words| Failure::new(OTHER, words))?;
    host.engine = true;
    Ok(host)
}

struct Plugin {
    host: Host,
    config: Config,
    call: Call,
    delegate: Option<Delegate>,
}

impl Plugin {
    fn add(&self) -> Result<String, Failure> {
        let delegated = self.delegate.as_ref().map(Delegate::add).transpose()?;
        match self.attach(delegated.as_ref()) {
            Ok(report) => Ok(result::added(&self.config, &report, &self.call.netns)),
            Err(failure) => {
                if let Some(Err(also)) = self.delegate.as_ref().map(Delegate::del) {
                    log::warn!("taking back the address: {}", also.words);
                }
                Err(failure)
            }
        }
    }

    fn attach(&self, delegated: Option<&Delegated>) -> Result<Report, Failure> {
        match self.config.network(delegated)? {
            Some(network) => self.host.adopt_network(&network)?,
            None => drop(self.host.book.network(&self.config.name).map_err(|error| {
                Failure::new(
                    CONFIG,
                    format!("ipam names no subnet, and there is {error}"),
                )
            })?),
        }
        let intent = self.config.intent(&self.call, delegated)?;
        let reports = self.host.attach(std::slice::from_ref(&intent))?;
        reports
            .into_iter()
            .next()
            .ok_or_else(|| Failure::new(OTHER, "nothing was attached"))
    }

    fn del(&self) -> Result<String, Failure> {
        let key = self.config.key(&self.call.container, &self.call.interface);
        self.host.detach(&key)?;
        self.delegate.as_ref().map(Delegate::del).transpose()?;
        Ok(String::new())
    }

    fn check(&self) -> Result<String, Failure> {
        self.delegate.as_ref().map(Delegate::check).transpose()?;
        let key = self.config.key(&self.call.container, &self.call.interface);
        let report = self.host.check(&key)?;
        result::compare(&self.config, &report)?;
        Ok(String::new())
    }

    /// Opening the host has shown that the kernel listens; what is left is whether this network can be.
    fn status(&self) -> Result<String, Failure> {
        self.delegate.as_ref().map(Delegate::status).transpose()?;
        if self.delegate.is_none()
            && self.config.network(None)?.is_none()
            && let Err(error) = self.host.book.network(&self.config.name)
        {
            return Err(Failure::new(NOT_AVAILABLE, error));
        }
        Ok(String::new())
    }

    fn gc(&self) -> Result<String, Failure> {
        let stays = |id: &str, interface: &str| {
            let mut valid = self.config.valid.iter().flatten();
            valid.any(|valid| valid.container == id && valid.ifname == interface)
        };
        let mut failed = None;
        for attachment in self.host.book.attachments(&self.config.name)? {
            let key = &attachment.key;
            if !stays(&key.id, &key.interface)
                && let Err(error) = self.host.detach(key)
                && error.kind != Kind::NotFound
            {
                failed = Some(error);
            }
        }
        self.delegate.as_ref().map(Delegate::gc).transpose()?;
        failed.map_or(Ok(String::new()), |error| Err(error.into()))
    }
}
