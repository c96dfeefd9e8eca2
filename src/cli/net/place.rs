//! Where the networks of this user are.

use std::path::PathBuf;

use super::args::Globals;
use super::rootless;
use crate::cli::failure::Failure;
use crate::net::dns::life::Starter;
use crate::net::error::Error;
use crate::net::host::Host;
use crate::sys::netns::Netns;
use crate::sys::process;

impl Globals {
    /// The host that is meant.
    ///
    /// # Errors
    /// Those of [`Host::open`].
    pub fn host(&self) -> Result<Host, Failure> {
        let mut host = Host::open(&self.root_dir()?, &self.run_dir()?)?;
        host.starter = std::env::current_exe()
            .ok()
            .map(|program| Starter { program });
        host.signs = rootless::shows_ports(&self.run_dir()?);
        Ok(host)
    }

    /// For networks that were created: the one that was named, the system's, or the user's own.
    ///
    /// # Errors
    /// When there is neither a name nor a home.
    pub fn root_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(root) = &self.root {
            return Ok(root.clone());
        }
        if is_system() {
            return Ok("/var/lib/plynet".into());
        }
        let data = env_dir("XDG_DATA_HOME");
        let data = data.or_else(|| Some(env_dir("HOME")?.join(".local/share")));
        let none = "where are the networks? Neither --root nor XDG_DATA_HOME nor HOME is set";
        Ok(data.ok_or_else(|| Failure::usage(none))?.join("plynet"))
    }

    /// For what does not outlive a boot.
    ///
    /// # Errors
    /// As [`Globals::root_dir`].
    pub fn run_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(run) = &self.run {
            return Ok(run.clone());
        }
        if is_system() {
            return Ok("/run/plynet".into());
        }
        let dir = match env_dir("XDG_RUNTIME_DIR") {
            Some(dir) => dir.join("plynet"),
            None => self.root_dir()?.join("run"),
        };
        let elsewhere = rootless::is_inside() && process::in_user_namespace();
        if !elsewhere || rootless::is_of(&dir) {
            return Ok(dir);
        }
        // Somebody else's namespace, such as that of podman's networks: this user may have his own besides it.
        let inode = Netns::current().and_then(|netns| netns.inode());
        let inode = inode.map_err(|errno| Error::kernel("network namespace", errno))?;
        let mut name = dir.into_os_string();
        name.push(format!("-{inode}"));
        Ok(name.into())
    }
}

/// Root of the machine, not of a user namespace.
fn is_system() -> bool {
    process::effective_ids().0 == 0 && !process::in_user_namespace()
}

/// A directory that the environment names; relative ones do not count, as the XDG specification has it.
fn env_dir(variable: &str) -> Option<PathBuf> {
    let dir = PathBuf::from(std::env::var_os(variable)?);
    dir.is_absolute().then_some(dir)
}
