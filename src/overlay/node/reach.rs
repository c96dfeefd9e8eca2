//! How a node's object is reached on disk: by a directory fd and one name, never by a path. Cached
//! directory fds are used where they are still open, else they are opened again from the parent and
//! checked to be the same directory.

use std::sync::Arc;
use std::time::Duration;

use super::lower::{DataFile, Lower, LowerDir, LowerFrom, LowerObject};
use super::place::Place;
use super::{Node, Upper};
use crate::overlay::Overlay;
use crate::sys::at::{At, PathFd};
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};
use crate::sys::name::Name;
use crate::sys::stat::{FileType, Stat};

/// How often a name that changes under us is looked at again.
const RETRIES: usize = 16;
/// Pause before the next look at a directory that is not where it should be.
const RENAME_TAKES: Duration = Duration::from_micros(500);

/// A way to an object that stays valid as long as it is held.
#[derive(Clone, Debug)]
pub enum Real {
    /// A name in a directory.
    Child(Arc<DirFd>, Name),
    /// A directory.
    Dir(Arc<DirFd>),
    /// An object without a name.
    Fd(Arc<PathFd>),
}

impl Real {
    /// The object as the target of a verb.
    pub fn at(&self) -> At<'_> {
        match self {
            Real::Child(dir, name) => At::child(dir, name),
            Real::Dir(dir) => dir.at(),
            Real::Fd(fd) => fd.at(),
        }
    }
}

/// The object was not where it was known to be.
struct Miss {
    /// It is known to be elsewhere by now.
    moved: bool,
    errno: Errno,
}

impl Overlay {
    /// The fd of a lower directory.
    ///
    /// # Errors
    /// ESTALE when another directory is in its place; those of open.
    pub(in crate::overlay) fn lower_dir(&self, dir: &Arc<LowerDir>) -> Result<Arc<DirFd>> {
        let (parent, name) = match &dir.from {
            LowerFrom::Root(root) => return Ok(root.clone()),
            LowerFrom::Parent(parent, name) => (parent, name),
        };
        if let Some(fd) = self.table.fds.get(dir.fd_key()) {
            return Ok(fd);
        }
        let fd = self.lower_dir(parent)?.open_dir(name)?;
        if !dir.is(&fd.stat()?) {
            return Err(Errno::ESTALE);
        }
        let fd = Arc::new(fd);
        self.table.fds.put(dir.fd_key(), fd.clone());
        Ok(fd)
    }

    /// Reads the names of a lower directory that is to be read before it is asked for the first one.
    ///
    /// # Errors
    /// ESTALE when another directory is in its place; those of opening its parent.
    pub(in crate::overlay) fn read_first(&self, dir: &Arc<LowerDir>) -> Result<()> {
        let LowerFrom::Parent(parent, name) = &dir.from else {
            return Ok(());
        };
        if !dir.read_first || !dir.names.begin() {
            return Ok(());
        }
        // One that may not be read can be asked all the same.
        let Ok(file) = At::child(&*self.lower_dir(parent)?, name).open_dir_file() else {
            return Ok(());
        };
        if !dir.is(&file.stat()?) {
            return Err(Errno::ESTALE);
        }
        dir.names.learn_first(file);
        Ok(())
    }

    /// The fd of a node's upper directory, `None` while it has no upper part.
    ///
    /// # Errors
    /// ENOENT for a removed directory; ESTALE when another directory is in its place; those of open.
    pub(in crate::overlay) fn upper_dir(&self, node: &Arc<Node>) -> Result<Option<Arc<DirFd>>> {
        let Some(upper) = node.upper() else {
            return Ok(None);
        };
        if let Some(fd) = self.table.fds.get(node.fd_key()) {
            return Ok(Some(fd));
        }
        let fd = match &*node.place.read() {
            Place::Root => self
                .stack
                .upper
                .as_ref()
                .map(|upper| upper.layer.root.clone()),
            Place::Orphan(_) | Place::Unnamed(_) => return Err(Errno::ENOENT),
            Place::Named(_) | Place::Several(_) => None,
        };
        let fd = match fd {
            Some(fd) => fd,
            None => Arc::new(self.reopen_upper_dir(node, upper)?),
        };
        self.table.fds.put(node.fd_key(), fd.clone());
        Ok(Some(fd))
    }

    /// A rename may move the directory while we go down to it: then its name is asked for again.
    fn reopen_upper_dir(&self, node: &Arc<Node>, upper: Upper) -> Result<DirFd> {
        let mut last = Errno::ESTALE;
        for _ in 0..RETRIES {
            let (parent, name) = node.name().ok_or(Errno::ENOENT)?;
            let parent_fd = self.upper_dir(&parent)?.ok_or(Errno::ESTALE)?;
            match parent_fd
                .open_dir(&name)
                .and_then(|fd| Ok((fd.stat()?, fd)))
            {
                Ok((stat, fd)) if is_same(&stat, upper) => return Ok(fd),
                Ok(_) => last = Errno::ESTALE,
                Err(errno @ (Errno::ENOENT | Errno::ENOTDIR)) => last = errno,
                Err(errno) => return Err(errno),
            }
            // A rename that is half done on disk is all done in a moment. The locks that we may hold
            // here forbid to wait for its lock.
            if node.has_name(&parent, &name) {
                std::thread::sleep(RENAME_TAKES);
            }
        }
        Err(last)
    }

    /// The object that a node shows: the upper one if there is one, else the lower.
    ///
    /// # Errors
    /// Those of opening the directories above it.
    pub(in crate::overlay) fn real(&self, node: &Arc<Node>) -> Result<Real> {
        if node.upper().is_some() {
            self.real_upper(node)
        } else {
            self.real_lower(node)
        }
    }

    /// The lower object of a node.
    ///
    /// # Errors
    /// ENOENT when it has none; those of opening the directories above it.
    pub(in crate::overlay) fn real_lower(&self, node: &Arc<Node>) -> Result<Real> {
        match &node.lower {
            Lower::Dirs(dirs) => match dirs.first() {
                Some(dir) => Ok(Real::Dir(self.lower_dir(dir)?)),
                None => Err(Errno::ENOENT),
            },
            lower => self.real_object(lower.object().ok_or(Errno::ENOENT)?),
        }
    }

    fn real_object(&self, object: &LowerObject) -> Result<Real> {
        Ok(Real::Child(
            self.lower_dir(&object.dir)?,
            object.name.clone(),
        ))
    }

    /// The lower file that has the data of a node, as long as the upper does not have it.
    ///
    /// # Errors
    /// ENOENT when there is none, in a data-only layer too; ELOOP for a symbolic link on the way there, EXDEV
    /// for a mount; those of opening the directories above it.
    pub(in crate::overlay) fn lower_data<'n>(
        &self,
        node: &'n Arc<Node>,
    ) -> Result<(Real, &'n LowerObject)> {
        let object = match node.lower.data() {
            Some(data) => self.data_file(data)?,
            None => node.lower.object().ok_or(Errno::ENOENT)?,
        };
        Ok((self.real_object(object)?, object))
    }

    fn data_file<'d>(&self, data: &'d DataFile) -> Result<&'d LowerObject> {
        match data {
            DataFile::Found(object) => Ok(object),
            DataFile::DataOnly { path, found } => match found.get() {
                Some(object) => Ok(object),
                None => {
                    let object = self.find_data(path)?;
                    Ok(found.get_or_init(|| object))
                }
            },
        }
    }

    /// The first data-only layer that has a regular file at this path; what a layer has instead only
    /// means that the next one is asked (6.3). Whiteouts and other marks mean nothing there.
    fn find_data(&self, path: &[Name]) -> Result<LowerObject> {
        let mut last = Errno::ENOENT;
        for root in &self.data_only {
            match self.find_data_in(root, path) {
                Ok(object) => return Ok(object),
                Err(errno) => last = errno,
            }
        }
        Err(last)
    }

    fn find_data_in(&self, root: &Arc<LowerDir>, path: &[Name]) -> Result<LowerObject> {
        let (name, above) = path.split_last().ok_or(Errno::ENOENT)?;
        let mount = self.lower_dir(root)?.stat()?.mount_id;
        let mut dir = root.clone();
        let here = |dir: &Arc<LowerDir>, name: &Name| {
            let stat = At::child(&*self.lower_dir(dir)?, name).stat()?;
            if stat.mount_id == mount {
                Ok(stat)
            } else {
                Err(Errno::EXDEV)
            }
        };
        for component in above {
            let stat = here(&dir, component)?;
            match stat.kind {
                FileType::Dir => {}
                FileType::Symlink => return Err(Errno::ELOOP),
                _ => return Err(Errno::ENOTDIR),
            }
            dir = Arc::new(LowerDir::child(&dir, component, stat.dev, stat.ino, false));
        }
        let stat = here(&dir, name)?;
        match stat.kind {
            FileType::File => Ok(LowerObject::new(dir, name.clone(), &stat)),
            _ => Err(Errno::ENOENT),
        }
    }

    fn real_upper(&self, node: &Arc<Node>) -> Result<Real> {
        if let Some(fd) = node.orphan_fd() {
            return Ok(Real::Fd(fd));
        }
        if node.is_dir() {
            return Ok(Real::Dir(self.upper_dir(node)?.ok_or(Errno::ESTALE)?));
        }
        // Not every name of it need be in the upper layer.
        if let (Some(index), Some(indexed)) = (&self.index, node.indexed()) {
            return Ok(Real::Child(index.dir.clone(), indexed.entry.clone()));
        }
        let (parent, name) = match node.name() {
            Some(place) => place,
            // It lost its name between the two questions.
            None => return node.orphan_fd().map(Real::Fd).ok_or(Errno::ENOENT),
        };
        Ok(Real::Child(
            self.upper_dir(&parent)?.ok_or(Errno::ESTALE)?,
            name,
        ))
    }

    /// Runs `verb` on a node's object, again if it was renamed or unlinked meanwhile. The result of
    /// `verb` comes with the attributes that prove the object to be the right one (12.5). The caller holds no
    /// lock of a directory.
    ///
    /// # Errors
    /// Those of `verb`; ESTALE when the layer was changed behind our back.
    pub(in crate::overlay) fn on_real<T>(
        &self,
        node: &Arc<Node>,
        mut verb: impl FnMut(At<'_>) -> Result<(T, Stat)>,
    ) -> Result<T> {
        let mut last = Errno::ESTALE;
        for _ in 0..RETRIES {
            match self.try_on_real(node, &mut verb)? {
                Ok(value) => return Ok(value),
                Err(Miss { moved: true, errno }) => last = errno,
                Err(Miss { moved: false, .. }) => {
                    // A change of the name may be on disk already and not yet known here. It holds the
                    // directory's lock: with that, what is known is what is on disk.
                    let named = node.name();
                    let still = named.as_ref().map(|(parent, _)| parent.dir().read());
                    if named
                        .as_ref()
                        .is_some_and(|(parent, name)| !node.has_name(parent, name))
                    {
                        continue;
                    }
                    let result = self.try_on_real(node, &mut verb)?;
                    drop(still);
                    return result.map_err(|miss| miss.errno);
                }
            }
        }
        Err(last)
    }

    /// Once. The outer error is that of `verb` on the right object.
    fn try_on_real<T>(
        &self,
        node: &Arc<Node>,
        verb: &mut impl FnMut(At<'_>) -> Result<(T, Stat)>,
    ) -> Result<std::result::Result<T, Miss>> {
        let upper = node.upper();
        let real = self.real(node)?;
        let errno = match verb(real.at()) {
            Ok((value, stat)) if self.is_node(node, upper, &stat) => return Ok(Ok(value)),
            Ok(_) => Errno::ESTALE,
            Err(Errno::ENOENT) => Errno::ENOENT,
            // The verb met something else, a whiteout for one, or this is what the object has to say.
            Err(errno) => match real.at().stat() {
                Ok(stat) if self.is_node(node, upper, &stat) => return Err(errno),
                _ => Errno::ESTALE,
            },
        };
        let unmoved = match &real {
            Real::Child(_, _) if node.indexed().is_some() => true,
            Real::Child(_, name) => node.name().is_some_and(|(_, now)| now == *name),
            Real::Dir(_) | Real::Fd(_) => true,
        };
        Ok(Err(Miss {
            moved: !unmoved || node.upper() != upper,
            errno,
        }))
    }

    /// Do these attributes belong to the node's object?
    fn is_node(&self, node: &Node, upper: Option<Upper>, stat: &Stat) -> bool {
        match (upper, node.lower.object()) {
            (Some(upper), _) => is_same(stat, upper),
            (None, Some(object)) => object.is(stat),
            (None, None) => true,
        }
    }
}

fn is_same(stat: &Stat, upper: Upper) -> bool {
    (stat.dev, stat.ino) == (upper.dev, upper.ino)
}
