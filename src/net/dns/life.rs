//! When the responder runs: from the first container on a network with names to the last.
//!
//! It holds a lock for as long as it lives, so whoever asks knows at once whether it lives, and a killed one is started
//! anew by the next call of any verb. Two locks in `dns/`:
//!
//! - `alive`: held by the responder; its process id is in the file, and the addresses whose port somebody else has;
//! - `deciding`: held by who starts one, and by a responder that wants to end. It first gives `alive` back and then
//!   looks whether it is needed: an attach writes its intent before it asks who lives, so either it finds nobody alive,
//!   or the responder finds the intent.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::catalog::Catalog;
use super::client;
use super::resolv::{self, PORT, Resolv};
use super::server::Server;
use super::zone::DOMAIN;
use crate::net::error::{Error, Kind, OrAt, Result};
use crate::net::holder;
use crate::net::layout::Layout;
use crate::net::port::Proto;
use crate::sys::errno::Errno;
use crate::sys::flock;
use crate::sys::process;

/// Who asks whether a responder lives holds its lock for some microseconds; a new one tries so often.
const LOCK_TRIES: u32 = 100;
/// The pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// How to start a responder.
#[derive(Clone, Debug)]
pub struct Starter {
    /// The program, which understands `--root DIR --run DIR dns serve` and returns when names are served.
    pub program: PathBuf,
}

impl Starter {
    /// Starts a responder unless one lives. With `first`, gateways on which there was none to ask before, it returns
    /// when names are answered on them, or cannot be.
    ///
    /// # Errors
    /// When it does not start: its own words.
    pub fn ensure(&self, layout: &Layout, first: &[IpAddr]) -> Result<Present> {
        if let Some(present) = look(layout)? {
            return wait(layout, present, first);
        }
        let _deciding = lock(layout, "deciding")?;
        if let Some(present) = look(layout)? {
            return wait(layout, present, first);
        }
        self.start(layout)?;
        // It may have ended again already.
        Ok(look(layout)?.unwrap_or_default())
    }

    fn start(&self, layout: &Layout) -> Result<()> {
        let mut command = process::program(&self.program);
        // It may be called `netavark`, and would listen to that name.
        command.arg0("plynet");
        command
            .arg("--root")
            .arg(layout.root())
            .arg("--run")
            .arg(layout.run());
        // Nothing of a front end's environment, such as CNI_COMMAND.
        command.args(["dns", "serve"]).env_clear();
        let said = command.stdin(std::process::Stdio::null()).output();
        let said = said.or_at("DNS responder", &self.program)?;
        if said.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&said.stderr);
        let words = words
            .trim()
            .trim_start_matches("plynet: ")
            .replace('\n', " ");
        Err(Error::new(Kind::Other, format!("DNS responder: {words}")))
    }
}

/// A responder that lives.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// Its process id.
    pub pid: u32,
    /// Where it should listen and cannot.
    pub deaf: Vec<Deaf>,
}

/// An address that cannot be listened on, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deaf {
    /// A gateway of a network that is used.
    pub address: IpAddr,
    /// What the kernel says.
    pub errno: Errno,
}

impl Deaf {
    fn parse(line: &str) -> Option<Deaf> {
        let (address, code) = line.split_once(' ')?;
        Some(Deaf {
            address: address.parse().ok()?,
            errno: Errno::from_raw(code.parse().ok()?),
        })
    }
}

impl fmt::Display for Deaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Deaf { address, errno } = self;
        if *errno != Errno::EADDRINUSE {
            return write!(f, "names: port {PORT} of {address}: {errno}");
        }
        let holder = |proto| holder::of(proto, Some(*address), PORT);
        // Most that have one have the other, and only one may be all that a plain user is shown.
        let mut holders = [Proto::Udp, Proto::Tcp].into_iter().map(holder);
        let named = holders.find(|who| who != holder::UNKNOWN);
        let who = named.as_deref().unwrap_or(holder::UNKNOWN);
        write!(
            f,
            "names: port {PORT} of {address} is held by {who} of the host"
        )
    }
}

/// Waits until names are answered on all of these, or it is known that they cannot be.
fn wait(layout: &Layout, present: Present, first: &[IpAddr]) -> Result<Present> {
    let mut now = present;
    for gateway in first {
        client::wait_for(*gateway, DOMAIN, || {
            now = look(layout)?.unwrap_or_default();
            Ok(now.deaf.iter().any(|deaf| deaf.address == *gateway))
        })?;
    }
    Ok(now)
}

/// The process id of the living responder.
///
/// # Errors
/// When its lock cannot be looked at.
pub fn alive(layout: &Layout) -> Result<Option<u32>> {
    Ok(look(layout)?.map(|present| present.pid))
}

/// The living responder.
///
/// # Errors
/// When its lock cannot be looked at.
pub fn look(layout: &Layout) -> Result<Option<Present>> {
    let path = layout.dns().join("alive");
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.or_at("lock", &path)?,
    };
    if !flock::is_locked(&file).or_at("lock", &path)? {
        return Ok(None);
    }
    let text = std::io::read_to_string(file).or_at("lock", &path)?;
    let mut lines = text.lines();
    // It writes its number just after locking.
    let pid = lines.next().and_then(|line| line.trim().parse().ok());
    Ok(Some(Present {
        pid: pid.unwrap_or(0),
        deaf: lines.filter_map(Deaf::parse).collect(),
    }))
}

/// Ends the living responder, such as one in a namespace that this directory is not about any more.
///
/// # Errors
/// When its lock cannot be looked at, or it is somebody else's process.
pub fn end(layout: &Layout) -> Result<()> {
    for n in 0..LOCK_TRIES {
        match alive(layout)? {
            // Not its number yet.
            Some(0) => {}
            Some(pid) if n == 0 => process::send_signal(pid, process::signal::SIGTERM)
                .map_err(|errno| Error::kernel(format!("ending DNS responder {pid}"), errno))?,
            Some(_) => {}
            None => break,
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    Ok(())
}

/// A responder that is not serving yet.
#[derive(Debug)]
pub struct Responder {
    layout: Layout,
    alive: File,
    server: Server,
}

impl Responder {
    /// Listens already. To be called in the process that is to serve.
    ///
    /// # Errors
    /// A conflict when another one lives.
    pub fn new(layout: Layout) -> Result<Responder> {
        let alive = become_alive(&layout)?;
        let catalog = Catalog::open(layout.clone())?;
        let resolv = Resolv::new(resolv::PATH.into(), Some(layout.resolver()));
        let server = Server::new(catalog, resolv)?;
        let responder = Responder {
            layout,
            alive,
            server,
        };
        responder.tell()?;
        Ok(responder)
    }

    /// Writes down who it is and where it cannot listen.
    fn tell(&self) -> Result<()> {
        let mut text = format!("{}\n", std::process::id());
        for Deaf { address, errno } in self.server.deaf() {
            let _ = writeln!(text, "{address} {}", errno.raw()); // Into a string.
        }
        // In place: whoever looks meanwhile still sees who it is.
        let path = self.layout.dns().join("alive");
        let written = self.alive.write_all_at(text.as_bytes(), 0);
        written
            .and_then(|()| self.alive.set_len(text.len() as u64))
            .or_at("lock", &path)
    }

    /// Serves until nobody needs it.
    ///
    /// # Errors
    /// When the kernel does not let it.
    pub fn serve(mut self) -> Result<()> {
        let path = self.layout.dns().join("alive");
        loop {
            self.server.run()?;
            self.tell()?;
            if self.server.is_used() {
                continue;
            }
            let _deciding = lock(&self.layout, "deciding")?;
            flock::unlock(&self.alive).or_at("lock", &path)?;
            self.server.refresh()?;
            if !self.server.is_used() {
                return Ok(());
            }
            flock::lock(&self.alive).or_at("lock", &path)?;
        }
    }
}

fn become_alive(layout: &Layout) -> Result<File> {
    let (path, file) = open(layout, "alive")?;
    for _ in 0..LOCK_TRIES {
        if flock::try_lock(&file).or_at("lock", &path)? {
            // Of the one before.
            file.set_len(0).or_at("lock", &path)?;
            return Ok(file);
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    let who = alive(layout)?.unwrap_or(0);
    Err(Error::conflict(format!(
        "names are served already, by process {who}"
    )))
}

fn lock(layout: &Layout, name: &str) -> Result<File> {
    let (path, file) = open(layout, name)?;
    flock::lock(&file).or_at("lock", &path)?;
    Ok(file)
}

fn open(layout: &Layout, name: &str) -> Result<(PathBuf, File)> {
    let dir = layout.dns();
    std::fs::create_dir_all(&dir).or_at("directory", &dir)?;
    let path: &Path = &dir.join(name);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    Ok((path.to_path_buf(), file.or_at("lock", path)?))
}
