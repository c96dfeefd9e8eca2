//! Where everything is at rest. Pure: joins validated words to paths, touches nothing.
//!
//! ```text
//! ROOT (durable: /var/lib/plynet, ~/.local/share/plynet)
//!   networks/<network>.json            a network that was created
//! RUN (gone with the kernel objects: /run/plynet, $XDG_RUNTIME_DIR/plynet)
//!   lock                               held while leases and ports are claimed, and no longer
//!   firewall.lock                      the same for the chains of iptables
//!   host.json                          which boot and which namespace this directory belongs to
//!   net/<network>/network.json         the network as it is in the kernel now, written when its bridge is there
//!   net/<network>/adopted.json         the same of a network that an engine keeps; there from before the bridge
//!   net/<network>/attach/<id>@<if>.json   an attachment: intent, then `done`; its maker holds a lock on it
//!   net/<network>/ip/<address>         a lease: a symbolic link to `<id>@<if>`, so made in one step
//!   net/<network>/name/<name>          a name on the network, likewise
//!   cursor/<network>.4, .6             the addresses given last; they stay when the network is not used for a while
//!   port/<proto>-<port>/<address>      a claim: a symbolic link to `<network>/<id>@<if>`; `*` is every address
//!   netns/<name>                       namespaces that plynet made
//!   dns/                               the responder's own
//!   resolver                           in a plain user's namespace: where loopback resolvers of the machine are
//! ```
//!
//! Every file is written beside its place and renamed. The DNS responder reads `network.json` and `attach/*.json`, and
//! is told of a change by inotify (`IN_MOVED_TO`, `IN_DELETE`) on `net/` and each `attach/`: there is no second copy
//! that could differ, and an attach costs the same with one container and with a thousand.

use std::path::{Path, PathBuf};

use super::intent::Key;

/// The places of one host's networks.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    run: PathBuf,
}

impl Layout {
    /// Networks at `root`, and what does not outlive a boot at `run`.
    pub fn new(root: &Path, run: &Path) -> Layout {
        Layout {
            root: root.to_path_buf(),
            run: run.to_path_buf(),
        }
    }

    /// What lasts.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What does not outlive a boot.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// All networks that were created.
    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }

    /// One of them.
    pub fn network(&self, name: &str) -> PathBuf {
        self.networks().join(format!("{name}.json"))
    }

    /// Held while leases and ports are claimed.
    pub fn lock(&self) -> PathBuf {
        self.run.join("lock")
    }

    /// Held while chains of iptables are written.
    pub fn firewall_lock(&self) -> PathBuf {
        self.run.join("firewall.lock")
    }

    /// The address at which this host reaches resolvers that `/etc/resolv.conf` has at a loopback address, if that is
    /// the loopback of another namespace.
    pub fn resolver(&self) -> PathBuf {
        self.run.join("resolver")
    }

    /// Which boot and namespace the run directory belongs to.
    pub fn host(&self) -> PathBuf {
        self.run.join("host.json")
    }

    /// All networks that are in the kernel.
    pub fn live(&self) -> PathBuf {
        self.run.join("net")
    }

    /// One of them.
    pub fn live_dir(&self, network: &str) -> PathBuf {
        self.live().join(network)
    }

    /// The network as it is in the kernel.
    pub fn live_network(&self, network: &str) -> PathBuf {
        self.live_dir(network).join("network.json")
    }

    /// The network as its keeper has it, if that is not plynet.
    pub fn adopted(&self, network: &str) -> PathBuf {
        self.live_dir(network).join("adopted.json")
    }

    /// Its attachments.
    pub fn attachments(&self, network: &str) -> PathBuf {
        self.live_dir(network).join("attach")
    }

    /// One attachment.
    pub fn attachment(&self, key: &Key) -> PathBuf {
        self.attachments(&key.network)
            .join(format!("{}.json", key.file_name()))
    }

    /// Leases of a network.
    pub fn leases(&self, network: &str) -> PathBuf {
        self.live_dir(network).join("ip")
    }

    /// Names of its containers.
    pub fn names(&self, network: &str) -> PathBuf {
        self.live_dir(network).join("name")
    }

    /// Of all networks.
    pub fn cursors(&self) -> PathBuf {
        self.run.join("cursor")
    }

    /// The address given last; each family has an extension.
    pub fn cursor(&self, network: &str, family: &str) -> PathBuf {
        self.cursors().join(format!("{network}.{family}"))
    }

    /// Claims of ports.
    pub fn ports(&self) -> PathBuf {
        self.run.join("port")
    }

    /// Namespaces that plynet made.
    pub fn namespaces(&self) -> PathBuf {
        self.run.join("netns")
    }

    /// The DNS responder's own.
    pub fn dns(&self) -> PathBuf {
        self.run.join("dns")
    }
}
