//! `plyfs umount`: unmount, then wait until the daemon has let go of the layers.

use std::ffi::OsString;
use std::path::Path;

use super::call::UnmountOrder;
use super::failure::{Failure, reason};
use super::remark::warn;
use crate::sys::errno::Errno;
use crate::sys::fusermount::HelperError;
use crate::sys::mount::{self, FSTYPE};
use crate::sys::mountinfo::Table;
use crate::sys::serving::Serving;

/// How long to wait for a daemon that has nothing left to do, in seconds.
const PATIENCE_SECONDS: u32 = 10;

/// Unmounts as ordered.
///
/// # Errors
/// One line that names the path.
pub fn unmount(order: &UnmountOrder) -> Result<u8, Failure> {
    let wrong = |why: String| Failure::at("mount point", &order.target, why);
    let place = place(&order.target).map_err(wrong)?;
    let no_table = |errno: Errno| Failure::failed(format!("/proc: {errno}"));
    let table = Table::read().map_err(no_table)?;
    let ours = table.top_at(&place).filter(|top| top.fstype == FSTYPE);
    let device = match ours {
        Some(entry) => entry.identity.device,
        None => return Err(wrong("plyfs is not mounted there".into())),
    };
    // Looked up while it still has a connection to be known by.
    let serving = Serving::of(device);
    mount::unmount_at(&place, order.lazy).map_err(|failure| wrong(explain(&failure)))?;
    // Whoever takes the last of several away has to wait.
    let elsewhere = table.has_more_of(device) && Table::read().map_err(no_table)?.has(device);
    if !order.lazy && !elsewhere && !serving.wait(PATIENCE_SECONDS) {
        warn("unmounted, but the daemon has not ended; is the view mounted in another namespace?");
    }
    Ok(0)
}

/// The mount point without symlinks. What is mounted there may be dead, so only its parent is asked.
fn place(path: &Path) -> Result<OsString, String> {
    if let Ok(place) = std::fs::canonicalize(path) {
        return Ok(place.into());
    }
    let here = std::env::current_dir().map_err(|error| reason(&error))?;
    let path = here.join(path);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err("No such file or directory".into());
    };
    let parent = std::fs::canonicalize(parent).map_err(|error| reason(&error))?;
    Ok(parent.join(name).into())
}

fn explain(failure: &mount::Failure) -> String {
    match failure {
        mount::Failure::Device(errno) => errno.to_string(),
        mount::Failure::Mount(errno @ Errno::EBUSY) => {
            format!("{errno} (in use; --lazy unmounts when the last user is gone)")
        }
        mount::Failure::Mount(errno) => errno.to_string(),
        mount::Failure::Helper(HelperError::Missing) => "fusermount3 not found".into(),
        mount::Failure::Helper(HelperError::Refused(words)) => words.clone(),
    }
}
