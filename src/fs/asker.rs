//! Who asks.

use std::sync::LazyLock;

use crate::layer::idmap::ShownId;
use crate::overlay::change::create::Caller;
use crate::sys::process;

/// The process that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its thread.
    pub thread: u32,
}

impl Asker {
    /// The owner of what it makes.
    pub fn caller(self, umask: u32) -> Caller {
        Caller {
            uid: ShownId(self.uid),
            gid: ShownId(self.gid),
            umask,
        }
    }

    /// Is it in a group? To be asked while it waits for its answer.
    pub fn is_in(self, group: ShownId) -> bool {
        self.gid == group.0 || process::is_in_group(self.thread, group.0)
    }

    /// Only the superuser of the first user namespace keeps set-id bits on a file that is cut. The kernel knows
    /// more (CAP_FSETID), but fuser 0.18 does not pass it on.
    pub fn kills_set_id(self) -> bool {
        static CONFINED: LazyLock<bool> = LazyLock::new(process::in_user_namespace);
        self.uid != 0 || *CONFINED
    }
}
