//! Where the store meets the mounts: a container's plan is carried out by plyfs or by the kernel.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::args::Runtime;
use crate::cli::call::UnmountOrder;
use crate::cli::failure::{Failure, reason};
use crate::cli::run::directories;
use crate::cli::unmount;
use crate::store::Store;
use crate::store::driver::{MountPlan, OverlayPlan, driver};
use crate::store::error::Kind;
use crate::store::id::Id;
use crate::store::init::Marks;
use crate::store::lock::LockMode;
use crate::store::meta::DriverKind;
use crate::sys::errno::Errno;
use crate::sys::{mount as fuse, overlayfs, process};

/// Mounts a container; returns where it is seen, and by whose work.
///
/// # Errors
/// [`Kind::Precondition`] when it is mounted, [`Kind::Unsupported`] for a runtime that this user cannot have here.
pub fn mount(store: &Store, id: &Id, runtime: Runtime) -> Result<(PathBuf, &'static str), Failure> {
    let (container, _kept) = store.lock_container(id, LockMode::Exclusive)?;
    let plan = match store.mount_plan(&container)? {
        MountPlan::Tree(_) if container.read_only => {
            let text =
                format!("container {id} is a view of driver vfs (see `plyfs snapshot mounts`)");
            return Err(Failure::new(Kind::Unsupported.code(), text));
        }
        MountPlan::Tree(path) => return Ok((path, "none")),
        MountPlan::Overlay(plan) => plan,
    };
    store.check_at_rest(&container)?;
    let by = match runtime {
        Runtime::Kernel => {
            by_kernel(&plan).map_err(no_kernel)?;
            "kernel"
        }
        Runtime::Fuse => {
            by_fuse(&plan)?;
            "fuse"
        }
        Runtime::Auto => match by_kernel(&plan) {
            Ok(()) => "kernel",
            Err(errno) => {
                log::debug!("no mount by the kernel: {errno}");
                by_fuse(&plan)?;
                "fuse"
            }
        },
    };
    Ok((plan.merged, by))
}

fn no_kernel(errno: Errno) -> Failure {
    let kind = match errno {
        Errno::EOPNOTSUPP => {
            let text = "the kernel's overlayfs shows no other owners (--runtime fuse does)";
            return Failure::new(Kind::Unsupported.code(), text);
        }
        Errno::EPERM | Errno::ENODEV | Errno::ENOSYS | Errno::EINVAL => Kind::Unsupported,
        Errno::EBUSY => Kind::Busy,
        _ => Kind::Other,
    };
    let text = format!("the kernel's overlayfs: {errno} (--runtime fuse does without)");
    Failure::new(kind.code(), text)
}

fn by_kernel(plan: &OverlayPlan) -> Result<(), Errno> {
    if plan.idmap.is_some() {
        return Err(Errno::EOPNOTSUPP);
    }
    let lowers: Vec<&OsStr> = plan.lowers.iter().map(|dir| dir.as_os_str()).collect();
    let changes = plan.changes.as_ref();
    overlayfs::mount(&overlayfs::Request {
        target: plan.merged.as_os_str(),
        lowers: &lowers,
        changes: changes.map(|(upper, work)| (upper.as_os_str(), work.as_os_str())),
        volatile: plan.volatile,
        userxattr: plan.marks == Marks::User,
    })
}

/// The options of an overlay mount that plyfs and the kernel both understand.
pub fn options(plan: &OverlayPlan) -> Vec<OsString> {
    let changes = plan.changes.as_ref();
    let changes = changes.map(|(upper, work)| (upper.as_path(), work.as_path()));
    let mut options = directories(&plan.lowers, changes);
    if plan.volatile && changes.is_some() {
        options.push("volatile".into());
    }
    if plan.marks == Marks::User {
        options.push("userxattr".into());
    }
    if let Some(idmap) = &plan.idmap {
        options.push(format!("uidmapping={}", idmap.uids).into());
        options.push(format!("gidmapping={}", idmap.gids).into());
    }
    options
}

/// Starts `plyfs mount`, which comes back when the view answers.
fn by_fuse(plan: &OverlayPlan) -> Result<(), Failure> {
    let options = options(plan).join(OsStr::new(","));
    let mut command = process::program("/proc/self/exe");
    // By that name it complains and logs.
    command.arg0("plyfs");
    command.args([OsStr::new("mount"), OsStr::new("-o"), &options]);
    command.arg(&plan.merged).stdin(Stdio::null());
    let output = command
        .output()
        .map_err(|error| Failure::failed(format!("cannot start plyfs: {}", reason(&error))))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    match words.trim().trim_start_matches("plyfs: ") {
        "" => Err(Failure::failed("the mount failed without a word")),
        words => Err(Failure::failed(words)),
    }
}

/// Unmounts a container. One that needs no mount is as it should be.
///
/// # Errors
/// [`Kind::Precondition`] when it is not mounted, [`Kind::Busy`] while somebody uses it.
pub fn unmount(store: &Store, id: &Id) -> Result<(), Failure> {
    let (container, _kept) = store.lock_container(id, LockMode::Exclusive)?;
    if container.driver == DriverKind::Vfs {
        return Ok(());
    }
    let merged = driver(container.driver).seen_at(store.layout(), id);
    let Some(entry) = store.mounted(&container)? else {
        let text = format!("container {id} is not mounted");
        return Err(Failure::new(Kind::Precondition.code(), text));
    };
    if entry.fstype == fuse::FSTYPE {
        return unmount_fuse(&merged);
    }
    overlayfs::unmount(merged.as_os_str()).map_err(|errno| {
        let kind = match errno {
            Errno::EBUSY => Kind::Busy,
            _ => Kind::Other,
        };
        Failure::new(
            kind.code(),
            format!("cannot unmount container {id}: {errno}"),
        )
    })
}

fn unmount_fuse(merged: &Path) -> Result<(), Failure> {
    let order = UnmountOrder {
        lazy: false,
        target: merged.to_path_buf(),
    };
    unmount::unmount(&order).map(drop).map_err(|failure| {
        // The helper of plain users says it in words only.
        let busy = failure.to_string().to_lowercase().contains("busy");
        match busy {
            true => Failure::new(Kind::Busy.code(), failure),
            false => failure,
        }
    })
}
