//! Where a node is in the merged tree: its names, and what happens when it gains, changes or loses one.

use std::sync::Arc;

use super::Node;
use crate::sys::at::PathFd;
use crate::sys::name::Name;

/// Where a node is in the merged tree.
#[derive(Debug)]
pub enum Place {
    /// It is the root.
    Root,
    /// Its known names; never empty. Only files that are upper or indexed can have more than one.
    Named(Vec<(Arc<Node>, Name)>),
    /// It never had a name, and may get one (O_TMPFILE).
    Unnamed(Arc<PathFd>),
    /// No name is left. The fd holds the upper object, if there is one.
    Orphan(Option<Arc<PathFd>>),
}

impl Node {
    /// The parent directory and the name in it, one of them if there are several.
    pub fn name(&self) -> Option<(Arc<Node>, Name)> {
        match &*self.place.read() {
            Place::Named(names) => names.first().cloned(),
            _ => None,
        }
    }

    /// Is this one of its names?
    pub fn has_name(&self, parent: &Arc<Node>, name: &Name) -> bool {
        match &*self.place.read() {
            Place::Named(names) => names
                .iter()
                .any(|(p, n)| Arc::ptr_eq(p, parent) && n == name),
            _ => false,
        }
    }

    /// Has it no name?
    pub fn is_orphan(&self) -> bool {
        matches!(&*self.place.read(), Place::Orphan(_) | Place::Unnamed(_))
    }

    /// Has it no name, but may get one?
    pub fn is_unnamed(&self) -> bool {
        matches!(&*self.place.read(), Place::Unnamed(_))
    }

    /// The fd that holds an upper object without a name.
    pub fn orphan_fd(&self) -> Option<Arc<PathFd>> {
        match &*self.place.read() {
            Place::Orphan(fd) => fd.clone(),
            Place::Unnamed(fd) => Some(fd.clone()),
            _ => None,
        }
    }

    /// Adds a name that was made or met.
    pub fn add_name(&self, parent: &Arc<Node>, name: &Name) {
        if self.has_name(parent, name) {
            return;
        }
        let mut place = self.place.write();
        match &mut *place {
            Place::Named(names) => names.push((parent.clone(), name.clone())),
            other => *other = Place::Named(vec![(parent.clone(), name.clone())]),
        }
    }

    /// This is the name that is meant when a request does not say which: the one looked up last.
    pub fn prefer_name(&self, parent: &Arc<Node>, name: &Name) {
        if let Place::Named(names) = &mut *self.place.write()
            && let Some(at) = names
                .iter()
                .position(|(p, n)| Arc::ptr_eq(p, parent) && n == name)
        {
            names.swap(0, at);
        }
    }

    /// Takes a name away. With the last one known the node becomes an orphan held by `fd`. If the object is
    /// `gone` for good nobody finds it by its key any more: the inode number may come back as another file
    /// once `fd` is closed.
    pub fn remove_name(
        &self,
        parent: &Arc<Node>,
        name: &Name,
        fd: Option<Arc<PathFd>>,
        gone: bool,
    ) {
        let mut removed = Vec::new();
        let orphan = {
            let mut place = self.place.write();
            let Place::Named(names) = &mut *place else {
                return;
            };
            if let Some(at) = names
                .iter()
                .position(|(p, n)| Arc::ptr_eq(p, parent) && n == name)
            {
                removed.push(names.swap_remove(at));
            }
            let orphan = names.is_empty();
            if orphan {
                *place = Place::Orphan(fd);
            }
            orphan
        };
        // Dropping a parent may end it, which takes locks of its own.
        drop(removed);
        if orphan
            && gone
            && let Some(table) = self.table.upgrade()
        {
            table.forget_key(self);
        }
    }

    /// Moves the node from one name to another.
    pub fn rename(&self, from: (&Arc<Node>, &Name), to: (&Arc<Node>, &Name)) {
        let mut removed = Vec::new();
        if let Place::Named(names) = &mut *self.place.write() {
            let is = |entry: &(Arc<Node>, Name), (parent, name): (&Arc<Node>, &Name)| {
                Arc::ptr_eq(&entry.0, parent) && entry.1 == *name
            };
            removed.extend(names.extract_if(.., |entry| is(entry, from) || is(entry, to)));
            names.insert(0, (to.0.clone(), to.1.clone()));
        }
        // Dropping a parent may end it, which takes locks of its own.
        drop(removed);
    }

    /// Holds an orphan's new upper object, made by a copy-up after the last name had gone (15.2).
    pub fn set_orphan_fd(&self, fd: Arc<PathFd>) {
        *self.place.write() = Place::Orphan(Some(fd));
    }
}
