//! How much a container may take: its files belong to a project of the filesystem, and that has a limit. The filesystem
//! refuses what would be more; nothing has to be watched.

use std::path::Path;

use super::Store;
use super::driver::open;
use super::error::{Error, Kind, OrAt, Result};
use super::id::random_hex;
use super::meta::{ContainerMeta, Quota};
use crate::sys::errno::Errno;
use crate::sys::quota::{self, Limits};

/// Projects below this are for those who number them by hand.
const PROJECT_MIN: u32 = 1 << 20;
/// So many numbers are tried before it is said that none is free.
const TRIES: usize = 100;

const WHAT: &str = "--size and --inodes need quotas of projects:";

impl Store {
    /// Limits what will be made in the empty directory `content`.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] where the filesystem keeps no such quotas, or not for this user.
    pub(super) fn set_quota(
        &self,
        content: &Path,
        size: Option<u64>,
        inodes: Option<u64>,
    ) -> Result<Option<Quota>> {
        if size.is_none() && inodes.is_none() {
            return Ok(None);
        }
        let limits = Limits {
            bytes: size.unwrap_or(0),
            inodes: inodes.unwrap_or(0),
        };
        if size == Some(0) || inodes == Some(0) {
            return Err(Error::new(Kind::Invalid, "a limit of nothing"));
        }
        let dir = open(content)?;
        for _ in 0..TRIES {
            let project = random_project()?;
            if !quota::is_free(&dir, project).map_err(refused)? {
                continue;
            }
            quota::give(&dir, project).map_err(refused)?;
            quota::limit(&dir, project, limits).map_err(refused)?;
            return Ok(Some(Quota {
                size,
                inodes,
                project,
            }));
        }
        Err(Error::new(Kind::Other, "no free project for a quota"))
    }

    /// Takes the limit of a container away, because it ends or becomes a layer.
    ///
    /// # Errors
    /// Those of quotactl(2).
    pub(super) fn lift_quota(&self, container: &ContainerMeta) -> Result<()> {
        let Some(quota) = container.quota else {
            return Ok(());
        };
        let root = self.layout().root();
        match quota::limit(&open(root)?, quota.project, Limits::default()) {
            // Quotas are switched off now: there is no limit.
            Err(Errno::ESRCH | Errno::ENOSYS | Errno::ENOENT) => Ok(()),
            result => result.or_at("cannot lift the quota of a container in", root),
        }
    }
}

fn random_project() -> Result<u32> {
    let random = u32::from_str_radix(&random_hex(4)?, 16);
    let random = random.map_err(|error| Error::new(Kind::Other, error))?;
    // The highest numbers mean all and none.
    Ok(PROJECT_MIN + random % (u32::MAX / 2 - PROJECT_MIN))
}

fn refused(errno: Errno) -> Error {
    let why = match errno {
        Errno::EPERM => "only root may set them",
        Errno::ESRCH => "the filesystem of the store keeps none (mount it with prjquota)",
        Errno::ENOSYS | Errno::ENOTTY | Errno::EOPNOTSUPP | Errno::EINVAL => {
            "the filesystem of the store cannot keep them (xfs and ext4 can)"
        }
        other => return Error::new(Kind::Other, format!("{WHAT} {other}")),
    };
    Error::new(Kind::Unsupported, format!("{WHAT} {why}"))
}
