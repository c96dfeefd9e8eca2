//! Where everything is in a store. Pure: joins validated words to paths, touches nothing.
//!
//! ```text
//! VERSION  config.json  lock
//! tmp/<pid>-<random>/            staging: an object in the making; its maker holds a lock on `lock` in it
//! trash/                         what was removed, until it is gone
//! overlay/<id>/root              a layer: the difference to its parent
//! overlay/<id>/{upper,work,merged,lower-id}   a container on it
//! vfs/<id>/root                  a layer or a container: a complete copy
//! meta/layers/<id>/layer.json    an object exists if, and only if, it is here
//! meta/containers/<id>.json  meta/images/<id>/  meta/names/<name>
//! ```

use std::path::{Path, PathBuf};

use super::id::{Id, ObjectName};
use super::meta::DriverKind;

/// The format this program reads and writes.
pub const FORMAT: u32 = 1;

/// The places of one store.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    run: PathBuf,
}

impl Layout {
    /// A store at `root` that keeps what does not outlive a boot in `run`.
    pub fn new(root: &Path, run: &Path) -> Layout {
        Layout {
            root: root.to_path_buf(),
            run: run.to_path_buf(),
        }
    }

    /// The store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The number of the format.
    pub fn version(&self) -> PathBuf {
        self.root.join("VERSION")
    }

    /// What was found and decided when the store was made.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.json")
    }

    /// Locked by everybody: shared, or alone by who removes garbage.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Objects in the making.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Objects on their way out.
    pub fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// The contents of all objects of a driver.
    pub fn contents(&self, driver: DriverKind) -> PathBuf {
        self.root.join(driver.word())
    }

    /// The content of one object.
    pub fn content(&self, driver: DriverKind, id: &Id) -> PathBuf {
        self.contents(driver).join(id.as_str())
    }

    /// The tree of a layer, or of a container of driver vfs.
    pub fn tree(&self, driver: DriverKind, id: &Id) -> PathBuf {
        self.content(driver, id).join("root")
    }

    /// What is known of all layers.
    pub fn layers(&self) -> PathBuf {
        self.root.join("meta/layers")
    }

    /// What is known of one layer: a directory.
    pub fn layer(&self, id: &Id) -> PathBuf {
        self.layers().join(id.as_str())
    }

    /// What is known of all containers.
    pub fn containers(&self) -> PathBuf {
        self.root.join("meta/containers")
    }

    /// What is known of one container: a file.
    pub fn container(&self, id: &Id) -> PathBuf {
        self.containers().join(format!("{id}.json"))
    }

    /// What is known of all images.
    pub fn images(&self) -> PathBuf {
        self.root.join("meta/images")
    }

    /// What is known of one image: a directory.
    pub fn image(&self, id: &Id) -> PathBuf {
        self.images().join(id.as_str())
    }

    /// All names: symbolic links.
    pub fn names(&self) -> PathBuf {
        self.root.join("meta/names")
    }

    /// One name.
    pub fn name(&self, name: &ObjectName) -> PathBuf {
        self.names().join(name.file_name())
    }

    /// Records of live mounts.
    pub fn mounts(&self) -> PathBuf {
        self.run.join("mounts")
    }

    /// The record of one live mount.
    pub fn mount(&self, id: &Id) -> PathBuf {
        self.mounts().join(format!("{id}.json"))
    }

    /// The directories of an empty store.
    pub fn skeleton(&self) -> Vec<PathBuf> {
        let kinds = [DriverKind::Overlay, DriverKind::Vfs];
        let mut dirs = vec![self.tmp(), self.trash(), self.root.join("meta")];
        dirs.extend(kinds.map(|driver| self.contents(driver)));
        dirs.extend([
            self.layers(),
            self.containers(),
            self.images(),
            self.names(),
        ]);
        dirs
    }
}
