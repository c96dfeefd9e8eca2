//! A thread that ends forgotten nodes. Closing the fd of an unlinked file frees its blocks, which may
//! take long, and nobody waits for the answer to a FORGET: so it does not happen on a request thread.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Sender, bounded};

use super::Node;

/// How many nodes may wait; further ones are ended by whoever forgets them.
const QUEUE: usize = 4096;

/// The thread and its queue.
#[derive(Debug)]
pub struct Reaper {
    queue: Option<Sender<Arc<Node>>>,
    thread: Option<JoinHandle<()>>,
}

impl Reaper {
    /// Starts the thread. Without one (no thread to be had) nodes end at once.
    pub fn start() -> Reaper {
        let (queue, nodes) = bounded::<Arc<Node>>(QUEUE);
        let run = move || nodes.iter().for_each(drop);
        let thread = std::thread::Builder::new()
            .name("plyfs-reaper".into())
            .spawn(run);
        match thread {
            Ok(thread) => Reaper {
                queue: Some(queue),
                thread: Some(thread),
            },
            Err(error) => {
                log::warn!("no thread to close files on: {error}");
                Reaper {
                    queue: None,
                    thread: None,
                }
            }
        }
    }

    /// Ends a node soon.
    pub fn end(&self, node: Arc<Node>) {
        if let Some(queue) = &self.queue
            && let Err(refused) = queue.try_send(node)
        {
            drop(refused.into_inner());
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the reaper thread panicked");
        }
    }
}
