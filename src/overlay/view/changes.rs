//! What the upper layer changes: a walk over the upper alone, so the cost is that of the changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::layer::mark;
use crate::overlay::Overlay;
use crate::overlay::node::Node;
use crate::sys::dir::DirFd;
use crate::sys::errno::Result;
use crate::sys::name::Name;

/// How a path differs from the layers below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// Only the upper has it.
    Added,
    /// The lower layers have it too; metadata, data or entries may differ.
    Modified,
    /// Only the lower layers have it.
    Deleted,
}

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Relative to the root of the view, components joined by `/`.
    pub path: Vec<u8>,
    /// How it differs.
    pub kind: ChangeKind,
    /// It is a directory (for a deleted path: not known, false).
    pub dir: bool,
}

impl Overlay {
    /// All changes, in the order of their paths. A directory that was made anew where the layers below
    /// have the name is a modified one; what it hides is not listed name by name.
    ///
    /// # Errors
    /// Those of reading the layers.
    pub fn changes(&self) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        self.walk_changes(&self.root.clone(), Vec::new(), &mut changes)?;
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(changes)
    }

    fn walk_changes(
        &self,
        node: &Arc<Node>,
        path: Vec<u8>,
        changes: &mut Vec<Change>,
    ) -> Result<()> {
        let Some(dir) = self.upper_dir(node)? else {
            return Ok(());
        };
        for name in self.changed_names(&dir)? {
            let mut child_path = path.clone();
            if !child_path.is_empty() {
                child_path.push(b'/');
            }
            child_path.extend_from_slice(name.as_bytes());
            let below = self.is_lower_positive(node, &name);
            let found = {
                let _dir = node.dir().read();
                self.find(node, &name)?
            };
            let Some((child, _)) = found else {
                if below {
                    changes.push(Change {
                        path: child_path,
                        kind: ChangeKind::Deleted,
                        dir: false,
                    });
                }
                continue;
            };
            let kind = if below {
                ChangeKind::Modified
            } else {
                ChangeKind::Added
            };
            changes.push(Change {
                path: child_path.clone(),
                kind,
                dir: child.is_dir(),
            });
            if child.is_dir() {
                self.walk_changes(&child, child_path, changes)?;
            }
        }
        Ok(())
    }

    /// The names that an upper directory says something of, each once.
    fn changed_names(&self, dir: &DirFd) -> Result<BTreeSet<Name>> {
        let mut names = BTreeSet::new();
        dir.at().open_dir_file()?.for_each_entry(|entry| {
            let of_mark = mark::oci_target(entry.name).filter(|_| self.rules.oci);
            if let Some(name) = of_mark.unwrap_or(Some(entry.name)) {
                names.insert(Name::new(name)?);
            }
            Ok(())
        })?;
        Ok(names)
    }
}
