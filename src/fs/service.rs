//! [`Service`]: what the front ends of one mount share.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::handshake::{Agreed, MAX_WRITE_BYTES};
use super::pool::Pool;
use super::rings::desk::Desk;
use super::rings::engine::Rings;
use super::server::Server;
use super::settings::Settings;
use crate::overlay::Overlay;
use crate::overlay::change::long::Takes;
use crate::sync::Mutex;

/// Requests of one processor that are worked on at the same time. Further ones wait in the kernel.
const RING_DEPTH: u16 = 32;
/// Nothing else is locked by who starts or ends rings.
const RANK: u8 = 1;

/// Verbs, the workers for those that take long, and where requests come from.
pub struct Service {
    /// The verbs.
    pub fs: Arc<Server>,
    /// What the mount wants.
    pub settings: Settings,
    pool: Pool,
    by_rings: AtomicBool,
    rings: Mutex<Option<Rings>, RANK>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("fs", &self.fs)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Serves `overlay`.
    pub fn new(overlay: Arc<Overlay>, settings: Settings) -> Service {
        Service {
            fs: Arc::new(Server::new(overlay, &settings)),
            settings,
            pool: Pool::default(),
            by_rings: AtomicBool::new(false),
            rings: Mutex::default(),
        }
    }

    /// How many threads will read requests.
    pub fn set_readers(&self, readers: usize) {
        self.pool.set_readers(readers);
    }

    /// What came out of FUSE_INIT.
    pub fn agreed(&self, agreed: Agreed) {
        if agreed.passthrough {
            self.fs.enable_passthrough();
        }
        self.by_rings.store(agreed.rings, Ordering::SeqCst);
    }

    /// Do requests come by rings?
    pub fn is_by_rings(&self) -> bool {
        self.by_rings.load(Ordering::SeqCst)
    }

    /// Starts to answer by rings. Until then requests wait.
    ///
    /// # Errors
    /// When there is no room for threads or rings: then nobody will ever be answered.
    pub fn start_rings(self: &Arc<Service>, device: OwnedFd) -> io::Result<()> {
        let device = Arc::new(device);
        let desk = Arc::new(Desk::new(self.clone(), device.clone()));
        // Nobody else reads the requests of a processor.
        self.pool.set_readers(1);
        let rings = Rings::start(device, RING_DEPTH, MAX_WRITE_BYTES as usize, desk)?;
        *self.rings.lock() = Some(rings);
        Ok(())
    }

    /// Answers a request: here, or on a worker if that may take long.
    pub fn answer(&self, takes: Takes, job: impl FnOnce(&Server) + Send + 'static) {
        if takes == Takes::NoTime {
            return job(&self.fs);
        }
        let fs = self.fs.clone();
        let job = move || job(&fs);
        match takes {
            Takes::Long => self.pool.run(job),
            _ => self.pool.run_moment(job),
        }
    }

    /// The mount is gone: all that was asked is finished, and written to the disk.
    pub fn end(&self) {
        let rings = self.rings.lock().take();
        if let Some(rings) = rings {
            rings.join();
        }
        self.pool.drain();
        self.fs.end();
    }
}
