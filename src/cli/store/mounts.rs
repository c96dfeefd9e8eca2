//! How to mount what the store does not mount itself: as a command for a shell, or as containerd has it.

use std::ffi::OsString;

use serde::Serialize;

use super::args::Runtime;
use super::view::options;
use crate::cli::failure::Failure;
use crate::store::Store;
use crate::store::driver::MountPlan;
use crate::store::id::SnapshotKey;
use crate::store::init::Marks;
use crate::store::snapshots::info::SnapshotKind;
use crate::sys::process;

/// mount(2) takes a page of options, and the end of the text is a byte.
const KERNEL_OPTIONS_MAX: usize = 4095;
/// As containerd and mount(8) find the program: `mount.fuse3 SOURCE TARGET -t plyfs`.
const FUSE_TYPE: &str = "fuse3.plyfs";

/// A mount without its place. All paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Type of the filesystem.
    #[serde(rename = "type")]
    pub fstype: &'static str,
    /// What to mount.
    pub source: String,
    /// How.
    pub options: Vec<String>,
}

/// How a snapshot is to be mounted. By whom, if nobody in particular is asked for: the kernel for root, as far as it
/// takes so many layers in one page, else plyfs.
///
/// # Errors
/// Those of [`Store::snapshot_plan`], and for a store whose path is no text.
pub fn of_snapshot(store: &Store, key: &SnapshotKey, asked: Runtime) -> Result<Mount, Failure> {
    let (kind, plan) = store.snapshot_plan(key)?;
    let by_kernel = how_to_mount(kind, &plan, Runtime::Kernel)?;
    let fits = by_kernel.options.join(",").len() <= KERNEL_OPTIONS_MAX;
    match asked {
        Runtime::Kernel => Ok(by_kernel),
        Runtime::Auto if fits && process::effective_ids().0 == 0 => Ok(by_kernel),
        Runtime::Auto | Runtime::Fuse => how_to_mount(kind, &plan, Runtime::Fuse),
    }
}

/// Describes the mount.
fn how_to_mount(kind: SnapshotKind, plan: &MountPlan, by: Runtime) -> Result<Mount, Failure> {
    match plan {
        MountPlan::Tree(tree) => {
            let access = match kind {
                SnapshotKind::Active => "rw",
                SnapshotKind::View | SnapshotKind::Committed => "ro",
            };
            Ok(Mount {
                fstype: "bind",
                source: text(tree.clone().into_os_string())?,
                options: vec!["rbind".into(), access.into()],
            })
        }
        MountPlan::Overlay(plan) => {
            let options = options(plan).into_iter().map(text);
            let mut options = options.collect::<Result<Vec<String>, _>>()?;
            if by != Runtime::Fuse {
                // As the store's own mounts: a layer must mean the same wherever it is mounted.
                options.push("index=off".into());
                if plan.marks == Marks::Trusted {
                    options.extend(["redirect_dir=off".into(), "metacopy=off".into()]);
                }
            }
            if plan.changes.is_none() {
                options.push("ro".into());
            }
            Ok(Mount {
                fstype: match by {
                    Runtime::Fuse => FUSE_TYPE,
                    Runtime::Kernel | Runtime::Auto => "overlay",
                },
                source: "overlay".into(),
                options,
            })
        }
    }
}

fn text(words: OsString) -> Result<String, Failure> {
    let wrong = |words: OsString| {
        Failure::at(
            "snapshot",
            words.as_ref(),
            "the path of the store is not UTF-8",
        )
    };
    words.into_string().map_err(wrong)
}

impl Mount {
    /// The command that mounts it, for a shell to which the mount point is added.
    pub fn command(&self) -> String {
        let options = quoted(&self.options.join(","));
        match self.fstype {
            FUSE_TYPE => format!("plyfs mount -o {options}"),
            "bind" => {
                let access = self.options.last().map_or("rw", String::as_str);
                format!("mount -o bind,{access} {}", quoted(&self.source))
            }
            fstype => format!("mount -t {fstype} -o {options} {}", self.source),
        }
    }
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_string(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::driver::OverlayPlan;
    use std::path::PathBuf;

    fn plan(root: &str, marks: Marks) -> MountPlan {
        let at = |name: &str| PathBuf::from(root).join(name);
        MountPlan::Overlay(OverlayPlan {
            lowers: vec![at("l1"), at("l2")],
            changes: Some((at("u"), at("w"))),
            merged: at("m"),
            volatile: false,
            marks,
            idmap: None,
        })
    }

    #[test]
    fn commands_are_for_a_shell() {
        let user = plan("/a", Marks::User);
        let fuse = how_to_mount(SnapshotKind::Active, &user, Runtime::Fuse).unwrap();
        assert_eq!(
            fuse.command(),
            "plyfs mount -o lowerdir=/a/l1:/a/l2,upperdir=/a/u,workdir=/a/w,userxattr"
        );
        let odd = plan("/it's, x", Marks::Trusted);
        let kernel = how_to_mount(SnapshotKind::Active, &odd, Runtime::Kernel).unwrap();
        assert_eq!(
            kernel.command(),
            "mount -t overlay -o 'lowerdir=/it'\\''s\\, x/l1:/it'\\''s\\, x/l2,upperdir=/it'\\''s\\, x/u,\
             workdir=/it'\\''s\\, x/w,index=off,redirect_dir=off,metacopy=off' overlay"
        );
        let tree = MountPlan::Tree("/a/root".into());
        let bind = how_to_mount(SnapshotKind::View, &tree, Runtime::Kernel).unwrap();
        assert_eq!(bind.command(), "mount -o bind,ro /a/root");
        assert_eq!(bind.options, ["rbind", "ro"]);
    }
}
