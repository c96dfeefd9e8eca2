//! What the kernel is told without having asked. It remembers attributes for ever; the few changes that no
//! reply to a request carries are told here.

use std::sync::{Arc, OnceLock};

use fuser::{INodeNo, Notifier};

use crate::overlay::node::NodeId;

/// The way to the kernel, once there is a session.
#[derive(Clone, Debug, Default)]
pub struct Notify(Arc<OnceLock<Notifier>>);

impl Notify {
    /// There is a session now.
    pub fn connect(&self, notifier: Notifier) {
        self.0.get_or_init(|| notifier);
    }

    /// Makes the kernel ask for the attributes of a file again. Its data stays cached, so no page lock is
    /// taken: this may be called while a request for the file is answered.
    pub fn forget_attributes(&self, id: NodeId) {
        const NO_DATA: i64 = -1;
        if let Some(notifier) = self.0.get()
            && let Err(error) = notifier.inval_inode(INodeNo(id.0), NO_DATA, 0)
        {
            log::debug!("cannot make the kernel forget attributes: {error}");
        }
    }

    /// Gives the kernel all data of a file, so that it need not ask for it. This takes page locks: nobody may be
    /// reading or writing the file, or who answers him might wait for himself.
    pub fn fill(&self, id: NodeId, data: &[u8]) {
        if let Some(notifier) = self.0.get()
            && let Err(error) = notifier.store(INodeNo(id.0), 0, data)
        {
            log::debug!("cannot fill the kernel's cache: {error}");
        }
    }
}
