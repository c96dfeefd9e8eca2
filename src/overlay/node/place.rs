//! Where a node is in the merged tree: its names, and what happens when it gains, changes or loses one.

use std::sync::Arc;

use super::Node;
use crate::sys::at::PathFd;
use crate::sys::name::Name;

/// A name of a node: the directory, and the name in it.
type Named = (Arc<Node>, Name);

/// Where a node is in the merged tree.
#[derive(Debug)]
pub enum Place {
    /// It is the root.
    Root,
    /// Its known name.
    Named(Named),
    /// Its known names, at least two. Only files that are upper or indexed can have more than one.
    // One word, so that it fits beside the tag of `Named`.
    Several(Box<Vec<Named>>),
    /// It never had a name, and may get one (O_TMPFILE).
    Unnamed(Arc<PathFd>),
    /// No name is left. The fd holds the upper object, if there is one.
    Orphan(Option<Arc<PathFd>>),
}

impl Place {
    /// One name.
    pub fn named(parent: &Arc<Node>, name: &Name) -> Place {
        Place::Named((parent.clone(), name.clone()))
    }

    /// These names; `nameless` if there are none.
    fn of(names: Vec<Named>, nameless: Place) -> Place {
        match <[Named; 1]>::try_from(names) {
            Ok([name]) => Place::Named(name),
            Err(names) if names.is_empty() => nameless,
            Err(names) => Place::Several(Box::new(names)),
        }
    }

    fn names(&self) -> &[Named] {
        match self {
            Place::Named(name) => std::slice::from_ref(name),
            Place::Several(names) => names,
            Place::Root | Place::Unnamed(_) | Place::Orphan(_) => &[],
        }
    }

    /// Takes the names out, to be put back by [`Place::of`].
    fn take_names(&mut self) -> Vec<Named> {
        match std::mem::replace(self, Place::Orphan(None)) {
            Place::Named(name) => vec![name],
            Place::Several(names) => *names,
            nameless => {
                *self = nameless;
                Vec::new()
            }
        }
    }
}

/// Is it this name?
fn is(named: &Named, parent: &Arc<Node>, name: &Name) -> bool {
    Arc::ptr_eq(&named.0, parent) && named.1 == *name
}

impl Node {
    /// The parent directory and the name in it, one of them if there are several.
    pub fn name(&self) -> Option<(Arc<Node>, Name)> {
        self.place.read().names().first().cloned()
    }

    /// Is this one of its names?
    pub fn has_name(&self, parent: &Arc<Node>, name: &Name) -> bool {
        let place = self.place.read();
        place.names().iter().any(|named| is(named, parent, name))
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
        let mut names = place.take_names();
        names.push((parent.clone(), name.clone()));
        *place = Place::of(names, Place::Orphan(None));
    }

    /// This is the name that is meant when a request does not say which: the one looked up last.
    pub fn prefer_name(&self, parent: &Arc<Node>, name: &Name) {
        if let Place::Several(names) = &mut *self.place.write()
            && let Some(at) = names.iter().position(|named| is(named, parent, name))
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
        let mut place = self.place.write();
        let mut names = place.take_names();
        if names.is_empty() {
            return;
        }
        let at = names.iter().position(|named| is(named, parent, name));
        let removed = at.map(|at| names.swap_remove(at));
        let orphan = names.is_empty();
        *place = Place::of(names, Place::Orphan(fd));
        // Dropping a parent may end it, which takes locks of its own.
        drop(place);
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
        let mut place = self.place.write();
        let mut names = place.take_names();
        if names.is_empty() {
            return;
        }
        let moved = |named: &mut Named| is(named, from.0, from.1) || is(named, to.0, to.1);
        let removed: Vec<_> = names.extract_if(.., moved).collect();
        names.insert(0, (to.0.clone(), to.1.clone()));
        *place = Place::of(names, Place::Orphan(None));
        // Dropping a parent may end it, which takes locks of its own.
        drop(place);
        drop(removed);
    }

    /// Holds an orphan's new upper object, made by a copy-up after the last name had gone (15.2).
    pub fn set_orphan_fd(&self, fd: Arc<PathFd>) {
        *self.place.write() = Place::Orphan(Some(fd));
    }
}
