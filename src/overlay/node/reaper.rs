//! The end of forgotten nodes. Who is told to forget one ends it at once, as that takes less than to wake somebody for
//! it. A thread does the rest, which nobody waits for: closing the fd of what was unlinked frees its blocks, and the
//! memory of many nodes is given back when no more are forgotten.
//!
//! To close fds of small files at once, or many of them together after a while, was tried: it saves wakeups, and unlink
//! takes longer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::Node;
use super::table::NodeTable;
use crate::sys::{process, sched};

/// How many nodes may wait; further ones are ended by whoever forgets them.
const QUEUE: usize = 4096;

/// So many nodes make it worth while to look for memory that can be given back.
const MANY: usize = 1000;
/// That is done when nothing has ended for so long.
const PAUSE: Duration = Duration::from_millis(200);

/// Ends nodes. The thread starts when there is something for it to do.
#[derive(Debug)]
pub struct Reaper {
    table: Arc<NodeTable>,
    /// Nodes that have ended since memory was given back.
    ended: Arc<AtomicUsize>,
    started: OnceLock<Started>,
}

#[derive(Debug)]
struct Started {
    queue: Sender<Task>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is told.
#[derive(Debug)]
enum Task {
    /// To end this node.
    End(Arc<Node>),
    /// That so many more have ended.
    Many,
}

impl Reaper {
    /// For nodes of `table`.
    pub fn new(table: &Arc<NodeTable>) -> Reaper {
        Reaper {
            table: table.clone(),
            ended: Arc::default(),
            started: OnceLock::new(),
        }
    }

    /// Ends a node: now, or soon if it holds an fd. Without a thread (none to be had) it is always now.
    pub fn end(&self, node: Arc<Node>) {
        match node.orphan_fd() {
            Some(_) => self.tell(Task::End(node)),
            None => drop(node),
        }
        let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
        if ended.is_multiple_of(MANY) {
            self.tell(Task::Many);
        }
    }

    fn tell(&self, task: Task) {
        let started = self.started.get_or_init(|| self.start());
        if let Err(refused) = started.queue.try_send(task) {
            drop(refused.into_inner());
        }
    }

    fn start(&self) -> Started {
        let (queue, tasks) = bounded(QUEUE);
        let (table, ended) = (self.table.clone(), self.ended.clone());
        let run = move || {
            if let Err(errno) = sched::be_usual() {
                log::debug!("the reaper stays as it was started: {errno}");
            }
            reap(&tasks, &table, &ended);
        };
        let thread = std::thread::Builder::new().name("plyfs-reaper".into());
        let thread = thread.spawn(run);
        let thread = thread.map_err(|error| log::warn!("no thread to close files on: {error}"));
        Started {
            queue,
            thread: thread.ok(),
        }
    }
}

fn reap(tasks: &Receiver<Task>, table: &NodeTable, ended: &AtomicUsize) {
    // How many had ended when last looked at, once they are many. Otherwise nothing wakes an idle thread.
    let mut many = None;
    loop {
        let task = match many {
            None => tasks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => tasks.recv_timeout(PAUSE),
        };
        match task {
            Ok(Task::End(node)) => drop(node),
            Ok(Task::Many) => many = Some(ended.load(Ordering::Relaxed)),
            Err(RecvTimeoutError::Timeout) => {
                let now = ended.load(Ordering::Relaxed);
                if many.replace(now) == Some(now) {
                    ended.store(0, Ordering::Relaxed);
                    many = None;
                    table.shrink();
                    process::trim_memory();
                }
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
