//! A thread that ends forgotten nodes. Closing the fd of an unlinked file frees its blocks, which may
//! take long, and nobody waits for the answer to a FORGET: so it does not happen on a request thread.

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::Node;
use super::table::NodeTable;
use crate::sys::process;

/// How many nodes may wait; further ones are ended by whoever forgets them.
const QUEUE: usize = 4096;

/// So many nodes make it worth while to look for memory that can be given back.
const MANY: usize = 1000;
/// That is done when nothing has ended for so long.
const PAUSE: Duration = Duration::from_millis(200);

/// The thread, once something has ended.
#[derive(Debug)]
pub struct Reaper {
    table: Arc<NodeTable>,
    started: OnceLock<Started>,
}

#[derive(Debug)]
struct Started {
    queue: Sender<Arc<Node>>,
    thread: Option<JoinHandle<()>>,
}

impl Reaper {
    /// For nodes of `table`.
    pub fn new(table: &Arc<NodeTable>) -> Reaper {
        Reaper {
            table: table.clone(),
            started: OnceLock::new(),
        }
    }

    /// Ends a node soon. Without a thread (none to be had) that is at once.
    pub fn end(&self, node: Arc<Node>) {
        let started = self.started.get_or_init(|| Started::new(&self.table));
        if let Err(refused) = started.queue.try_send(node) {
            drop(refused.into_inner());
        }
    }
}

impl Started {
    fn new(table: &Arc<NodeTable>) -> Started {
        let (queue, nodes) = bounded::<Arc<Node>>(QUEUE);
        let table = table.clone();
        let run = move || reap(&nodes, &table);
        let thread = std::thread::Builder::new().name("plyfs-reaper".into());
        let thread = thread.spawn(run);
        let thread = thread.map_err(|error| log::warn!("no thread to close files on: {error}"));
        Started {
            queue,
            thread: thread.ok(),
        }
    }
}

fn reap(nodes: &Receiver<Arc<Node>>, table: &NodeTable) {
    let mut ended = 0;
    loop {
        // Nothing wakes an idle thread.
        let node = match ended {
            0..MANY => nodes.recv().map_err(|_| RecvTimeoutError::Disconnected),
            _ => nodes.recv_timeout(PAUSE),
        };
        match node {
            Ok(node) => {
                drop(node);
                ended += 1;
            }
            Err(RecvTimeoutError::Timeout) => {
                table.shrink();
                process::trim_memory();
                ended = 0;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        let Some(Started { queue, thread }) = self.started.take() else {
            return;
        };
        drop(queue);
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::error!("the reaper thread panicked");
        }
    }
}
