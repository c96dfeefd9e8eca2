//! [`Host`]: the networks of one host, which is a network namespace and its two directories. Every verb is a method:
//! see `networks.rs`, `attach.rs`, `reconcile.rs`.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::attach::open_rtnl;
use super::book::{self, Book};
use super::dns::life::{self, Starter};
use super::error::{Error, OrAt, Result};
use super::firewall::Wanted;
use super::intent::Attachment;
use super::layout::Layout;
use super::network::Firewall;
use crate::sys::netns::Netns;
use crate::sys::rtnl::Rtnl;

/// The networks of the host that this thread is in.
#[derive(Debug)]
pub struct Host {
    /// What is at rest.
    pub book: Book,
    pub(super) rtnl: Rtnl,
    /// The namespace it is, in which the thread stays that made this.
    pub(super) netns: Netns,
    pub(super) netns_inode: u64,
    /// How to start who answers names; none: nobody is started.
    pub starter: Option<Starter>,
    /// Somebody listens on claimed ports to show them to others, so whether they are free cannot be found out here.
    pub signs: bool,
    /// An engine asks: what its monitor keeps from others is free for it, and a container's port is published once,
    /// however many networks it is on.
    pub engine: bool,
}

/// `host.json`: whose kernel objects the run directory is about.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    boot_id: String,
    netns_inode: u64,
}

impl Host {
    /// The host of this thread's network namespace, with its durable directory `root`, and `run` for what does not
    /// outlive a boot.
    ///
    /// # Errors
    /// Permission; a conflict if `run` is about another namespace.
    pub fn open(root: &Path, run: &Path) -> Result<Host> {
        let rtnl = open_rtnl()?;
        let proc = Path::new("/proc/thread-self/ns/net");
        let netns = rtnl.netns().or_else(|_| Netns::current());
        let netns = netns.or_at("network namespace", proc)?;
        let netns_inode = netns.inode().or_at("network namespace", proc)?;
        let boot = Path::new("/proc/sys/kernel/random/boot_id");
        let boot_id = fs::read_to_string(boot)
            .or_at("boot id", boot)?
            .trim()
            .to_string();
        let book = Book::open(Layout::new(root, run))?;
        let host = Host {
            book,
            rtnl,
            netns,
            netns_inode,
            starter: None,
            signs: false,
            engine: false,
        };
        host.settle(&Identity {
            boot_id,
            netns_inode,
        })?;
        Ok(host)
    }

    /// Forgets what an earlier boot, or a namespace without containers, left, of which the kernel knows nothing.
    fn settle(&self, now: &Identity) -> Result<()> {
        let path = self.book.layout.host();
        let known: Option<Identity> = book::read(&path)?;
        match known {
            Some(known) if known == *now => return Ok(()),
            Some(known) if known.boot_id == now.boot_id => {
                let mut live = self.book.live()?;
                live.retain(|network| self.has_living(network).unwrap_or(true));
                if !live.is_empty() {
                    let run = self.book.layout.run().display();
                    return Err(Error::conflict(format!(
                        "{run} is about another network namespace, with containers on {}; use another --run \
                         (or remove it, if that namespace is gone)",
                        live.join(", ")
                    )));
                }
                life::end(&self.book.layout)?;
                self.forget_all()?;
            }
            Some(_) => self.forget_all()?,
            None => {}
        }
        book::write(&path, now, false)
    }

    /// Forgets attachments and claims, of which this kernel or this namespace knows nothing.
    fn forget_all(&self) -> Result<()> {
        let _claiming = self.book.claim()?;
        for dir in [self.book.layout.live(), self.book.layout.ports()] {
            fs::remove_dir_all(&dir).or_at("directory", &dir)?;
            fs::create_dir_all(&dir).or_at("directory", &dir)?;
        }
        Ok(())
    }

    /// Is there a container on the network whose namespace is still that one? Asked of networks of another host.
    fn has_living(&self, network: &str) -> Result<bool> {
        let lives = |one: &Attachment| {
            let inode = Netns::open(&one.netns).and_then(|netns| netns.inode());
            inode == Ok(one.netns_inode)
        };
        Ok(self.book.attachments(network)?.iter().any(lives))
    }

    /// All elements that should be in the kernel: of networks that are there, and of attachments that are done.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn wanted(&self) -> Result<Wanted> {
        let mut wanted = Wanted::new();
        for name in self.book.live()? {
            let Some(network) = self.book.find_network(&name)? else {
                continue;
            };
            let mut attachments = self.book.attachments(&name)?;
            attachments.retain(|one| one.done);
            if network.firewall == Firewall::Nftables && !attachments.is_empty() {
                wanted.network(&network);
                attachments.iter().for_each(|one| wanted.attachment(one));
            }
        }
        Ok(wanted)
    }
}
