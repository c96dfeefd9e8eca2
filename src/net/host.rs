//! [`Host`]: the networks of one host, which is a network namespace and its two directories. Every verb is a method.

use std::path::Path;

use super::book::Book;
use super::error::{Error, Kind, Result};
use super::intent::{Intent, Key, Report};
use super::layout::Layout;
use super::network::{Network, Spec};

/// The networks of the host that this thread is in.
#[derive(Debug)]
pub struct Host {
    /// What is at rest.
    pub book: Book,
}

impl Host {
    /// The host of this thread's network namespace, with its durable directory `root`, and `run` for what does not
    /// outlive a boot.
    ///
    /// # Errors
    /// Permission or other.
    pub fn open(root: &Path, run: &Path) -> Result<Host> {
        let book = Book::open(Layout::new(root, run))?;
        Ok(Host { book })
    }

    /// Makes a network. Nothing is in the kernel before somebody is attached to it.
    ///
    /// # Errors
    /// Usage, or a conflict that is named.
    pub fn create_network(&self, spec: &Spec) -> Result<Network> {
        Err(Error::new(
            Kind::Unsupported,
            format!("network {}: not built yet", spec.name),
        ))
    }

    /// Removes a network that nobody uses.
    ///
    /// # Errors
    /// Not found, or a conflict that names the users.
    pub fn remove_network(&self, name: &str) -> Result<()> {
        let network = self.book.network(name)?;
        Err(Error::new(
            Kind::Unsupported,
            format!("network {}: not built yet", network.name),
        ))
    }

    /// Uses a network that somebody else keeps (an engine, by its own configuration): it is live from now on, and
    /// forgotten with its last attachment.
    ///
    /// # Errors
    /// A conflict with a live network of that name which is another.
    pub fn adopt_network(&self, network: &Network) -> Result<()> {
        Err(Error::new(
            Kind::Unsupported,
            format!("network {}: not built yet", network.name),
        ))
    }

    /// Attaches containers, all or none, in this order.
    ///
    /// # Errors
    /// That of the first that fails; what was done before is undone.
    pub fn attach(&self, intents: &[Intent]) -> Result<Vec<Report>> {
        intents.iter().try_for_each(Intent::check)?;
        Err(Error::new(Kind::Unsupported, "attach: not built yet"))
    }

    /// Detaches a container; says whether it was attached. What is gone already is no error, so it may be repeated.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn detach(&self, key: &Key) -> Result<bool> {
        key.check()?;
        Err(Error::new(Kind::Unsupported, "detach: not built yet"))
    }

    /// Compares one attachment with the kernel (CNI's CHECK).
    ///
    /// # Errors
    /// Not found, or what is missing.
    pub fn check(&self, key: &Key) -> Result<Report> {
        key.check()?;
        Err(Error::new(Kind::Unsupported, "check: not built yet"))
    }
}
