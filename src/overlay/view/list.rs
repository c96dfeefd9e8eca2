//! Listing a directory: names by first occurrence from the top, whiteouts dropped
//! (overlay-semantics 8, 3.7).

use std::collections::HashSet;
use std::sync::Arc;

use crate::layer::mark;
use crate::overlay::Overlay;
use crate::overlay::node::listing::{DOTS, Listed, Listing};
use crate::overlay::node::names::{NameHashes, Names};
use crate::overlay::node::upper_names::UpperNames;
use crate::overlay::node::{DirState, Node, NodeId};
use crate::overlay::view::lookup::Entry;
use crate::overlay::view::overrides::LayerAt;
use crate::sys::at::At;
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};
use crate::sys::getdents::DirEntry;
use crate::sys::name::Name;
use crate::sys::stat::FileType;

/// One entry as readdir gives it.
#[derive(Clone, Copy, Debug)]
pub struct Dirent<'a> {
    /// The name, `.` and `..` included.
    pub name: &'a [u8],
    /// The inode number that stat shows.
    pub ino: u64,
    /// The type.
    pub kind: FileType,
    /// Where the next call goes on: behind this entry.
    pub next: u64,
}

impl Dirent<'_> {
    /// Is it `.` or `..`?
    pub fn is_dot(&self) -> bool {
        matches!(self.name, b"." | b"..")
    }
}

impl<'a> From<Listed<'a>> for Dirent<'a> {
    fn from(entry: Listed<'a>) -> Dirent<'a> {
        Dirent {
            name: entry.name,
            ino: entry.ino,
            kind: entry.kind,
            next: entry.cookie,
        }
    }
}

/// `.` and `..`, as far as they come behind an offset.
fn dots(node: &Arc<Node>, offset: u64) -> impl Iterator<Item = Dirent<'static>> {
    let dot = |name, ino, next| Dirent {
        name,
        ino,
        kind: FileType::Dir,
        next,
    };
    let up = node.name().map_or(node.ino(), |(parent, _)| parent.ino());
    [dot(&b"."[..], node.ino(), 1), dot(b"..", up, DOTS)]
        .into_iter()
        .filter(move |dot| dot.next > offset)
}

/// The names of one directory while it is read.
struct Builder<'a> {
    overlay: &'a Overlay,
    listing: Listing,
    /// Positions whose inode number only a lookup can tell.
    unsure: Vec<usize>,
    /// Names that layers below cannot add; kept only while there are layers below.
    seen: HashSet<Box<[u8]>>,
}

/// Where the names of one layer's directory are kept.
enum Known<'a> {
    Upper(&'a UpperNames),
    Lower(&'a Names),
    Nowhere,
}

/// One layer's directory as it is read.
struct Source<'a> {
    dir: &'a DirFd,
    dev: u64,
    layer: LayerAt,
    /// Empty files may be whiteouts.
    xattr_whiteouts: bool,
    /// More layers follow.
    more: bool,
    /// Where its names are kept.
    names: Known<'a>,
    impure: bool,
    has_lower: bool,
}

impl Overlay {
    /// Gives the entries behind `offset` to `emit` until it answers false. Offset 0 lists afresh; later ones go on
    /// in the listing of that moment. There is nothing to open: an offset means the same in every listing (22.5).
    ///
    /// # Errors
    /// ENOTDIR; EACCES where the layers may not be read; others of reading them.
    pub fn readdir(
        &self,
        id: NodeId,
        offset: u64,
        mut emit: impl FnMut(Dirent<'_>) -> bool,
    ) -> Result<()> {
        let node = self.dir_node(id)?;
        let listing = self.listing_of(&node, offset)?;
        for dot in dots(&node, offset) {
            if !emit(dot) {
                return Ok(());
            }
        }
        for entry in listing.after(offset.max(DOTS)) {
            if !emit(Dirent::from(entry)) {
                break;
            }
        }
        Ok(())
    }

    /// As [`Overlay::readdir`], with a lookup of each entry, counted if `emit` answers true. `.` and `..`
    /// come without one, and so does a name that cannot be looked up; one that has gone meanwhile is left out.
    ///
    /// # Errors
    /// As [`Overlay::readdir`].
    pub fn readdirplus(
        &self,
        id: NodeId,
        offset: u64,
        mut emit: impl FnMut(Dirent<'_>, Option<Entry>) -> bool,
    ) -> Result<()> {
        let node = &self.dir_node(id)?;
        let listing = self.listing_of(node, offset)?;
        for dot in dots(node, offset) {
            if !emit(dot, None) {
                return Ok(());
            }
        }
        for entry in listing.after(offset.max(DOTS)).map(Dirent::from) {
            let name = Name::new(entry.name)?;
            let _dir = node.dir().read();
            let found = match self.find(node, &name) {
                Ok(None) => continue,
                Ok(found) => found,
                Err(_) => None,
            };
            let answer = found.as_ref().map(|(child, stat)| self.entry(child, stat));
            let id = answer.as_ref().map(|entry| entry.id);
            if !emit(entry, answer) {
                break;
            }
            if let (Some((child, _)), Some(id)) = (&found, id) {
                self.table.enter(child, id);
            }
        }
        Ok(())
    }

    fn listing_of(&self, node: &Arc<Node>, offset: u64) -> Result<Arc<Listing>> {
        let begun = (offset > 0).then(|| self.midway.get(node)).flatten();
        let listing = match begun {
            Some(listing) => listing,
            None => {
                let listing = {
                    let state = node.dir().read();
                    self.list(node, &state)?
                };
                self.midway.begin(node, &listing);
                listing
            }
        };
        // Whoever is told that nothing follows asks no more.
        if offset >= listing.last() {
            self.midway.end(node);
        }
        Ok(listing)
    }

    /// The listing of a directory; shared with whoever still reads the same version. The caller holds the
    /// directory's lock and proves it by `state`.
    pub(in crate::overlay) fn list(
        &self,
        node: &Arc<Node>,
        state: &DirState,
    ) -> Result<Arc<Listing>> {
        {
            let known = node.listing().lock();
            if let (version, Some(listing)) = (known.0, known.1.upgrade())
                && version == state.version
            {
                return Ok(listing);
            }
        }
        let listing = Arc::new(self.build_listing(node)?);
        *node.listing().lock() = (state.version, Arc::downgrade(&listing));
        Ok(listing)
    }

    fn build_listing(&self, node: &Arc<Node>) -> Result<Listing> {
        let mut builder = Builder {
            overlay: self,
            listing: Listing::default(),
            unsure: Vec::new(),
            seen: HashSet::new(),
        };
        if node.is_orphan() {
            return Ok(builder.listing);
        }
        let lowers = node.lower_dirs();
        if let (Some(dir), Some(upper)) = (self.upper_dir(node)?, node.upper()) {
            builder.read(&Source {
                dir: &dir,
                dev: upper.dev,
                layer: LayerAt::Upper,
                xattr_whiteouts: self.rules.of_dir(dir.at())?.xattr_whiteouts,
                more: !lowers.is_empty(),
                names: match self.keeps_upper_names() {
                    true => Known::Upper(node.upper_names()),
                    false => Known::Nowhere,
                },
                impure: node.is_impure(),
                has_lower: node.has_lower(),
            })?;
        }
        for (at, lower) in lowers.iter().enumerate() {
            let more = at + 1 < lowers.len();
            builder.read(&Source {
                dir: &*self.lower_dir(lower)?,
                dev: lower.dev,
                layer: LayerAt::Lower(lower.layer),
                xattr_whiteouts: lower.xattr_whiteouts,
                more,
                names: Known::Lower(&lower.names),
                impure: false,
                has_lower: true,
            })?;
        }
        let Builder {
            mut listing,
            unsure,
            ..
        } = builder;
        for at in unsure {
            let Some(Ok(name)) = listing.get(at).map(|entry| Name::new(entry.name)) else {
                continue;
            };
            if let Ok(Some((child, _))) = self.find(node, &name) {
                listing.set_ino(at, child.ino());
            }
        }
        listing.sort();
        Ok(listing)
    }
}

impl Builder<'_> {
    fn read(&mut self, source: &Source<'_>) -> Result<()> {
        let mut removed_below = Vec::new();
        let mut names = NameHashes::default();
        let dir = source.dir.at().open_dir_file()?;
        dir.for_each_entry(|entry| {
            names.push(entry.name);
            if let (true, Some(target)) = (self.overlay.rules.oci, mark::oci_target(entry.name)) {
                removed_below.extend(target.map(Box::from));
                return Ok(());
            }
            self.add(source, entry)
        })?;
        match source.names {
            Known::Upper(known) => known.learn(source.dir, &names),
            Known::Lower(known) => known.learn(source.dir, names),
            Known::Nowhere => {}
        }
        // A name beside its own `.wh.` file stays visible: the mark is for the layers below.
        self.seen.extend(removed_below);
        Ok(())
    }

    fn add(&mut self, source: &Source<'_>, entry: DirEntry<'_>) -> Result<()> {
        if self.seen.contains(entry.name) {
            return Ok(());
        }
        if source.more {
            self.seen.insert(entry.name.into());
        }
        let Some(kind) = self.visible(source, entry)? else {
            return Ok(());
        };
        // An upper entry may carry the number of what it was copied up from or is merged with (8.4).
        let merged = kind == FileType::Dir && source.has_lower;
        if source.layer == LayerAt::Upper && (source.impure || merged) {
            self.unsure.push(self.listing.len());
        }
        let ino = self.overlay.identity.ino(source.dev, entry.ino);
        self.listing.push(entry.name, ino, kind);
        Ok(())
    }

    /// The type of an entry, `None` for a whiteout.
    fn visible(&self, source: &Source<'_>, entry: DirEntry<'_>) -> Result<Option<FileType>> {
        let doubtful = match entry.kind {
            Some(FileType::Char) | None => true,
            // A file may stand for a device and the like, too.
            Some(FileType::File) => {
                source.xattr_whiteouts || self.overlay.form(source.layer).is_some()
            }
            Some(_) => false,
        };
        if !doubtful {
            return Ok(entry.kind);
        }
        let name = Name::new(entry.name)?;
        let at = At::child(source.dir, &name);
        let stat = match at.stat() {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let whiteout = mark::is_whiteout_device(&stat)
            || (stat.kind == FileType::File && self.overlay.rules.of_file(at, &stat)?.whiteout);
        if whiteout {
            return Ok(None);
        }
        // Whoever looks up a name with a malformed attribute gets the error.
        let meant = self.overlay.meant(source.layer, at, stat).unwrap_or(stat);
        Ok(Some(meant.kind))
    }
}
