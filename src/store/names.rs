//! Names of layers and images: one symbolic link each in `meta/names`, to the meta of what it names. A name is set and
//! moved by one rename, after the object exists; it is taken away before the object is.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::Store;
use super::error::{Error, Kind, OrAt, Result};
use super::id::{Id, ObjectName};

/// Shortest beginning of an id that stands for it.
const BEGINNING_DIGITS_MIN: usize = 4;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Named {
    /// A layer.
    Layer(Id),
    /// An image.
    Image(Id),
}

impl Named {
    fn target(&self) -> String {
        match self {
            Named::Layer(id) => format!("../layers/{id}"),
            Named::Image(id) => format!("../images/{id}"),
        }
    }

    fn parse(target: &Path) -> Option<Named> {
        let (kind, id) = target.to_str()?.strip_prefix("../")?.split_once('/')?;
        let id = Id::parse(id).ok()?;
        match kind {
            "layers" => Some(Named::Layer(id)),
            "images" => Some(Named::Image(id)),
            _ => None,
        }
    }
}

impl Store {
    /// Gives a name to an object that exists.
    ///
    /// # Errors
    /// [`Kind::Exists`] when the name is taken by something else.
    pub fn set_name(&self, name: &ObjectName, object: &Named) -> Result<()> {
        let place = self.layout().name(name);
        match symlink(object.target(), &place) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match read(&place)? {
                Some(owner) if owner == *object => Ok(()),
                _ => Err(Error::new(
                    Kind::Exists,
                    format!("the name {name} is taken"),
                )),
            },
            Err(error) => Err(error).or_at("cannot make the name", &place),
        }
    }

    /// Gives a name to an object that exists, whoever has it now.
    ///
    /// # Errors
    /// Those of writing.
    pub fn move_name(&self, name: &ObjectName, object: &Named) -> Result<()> {
        let staging = self.stage()?;
        let (link, place) = (staging.scratch("name"), self.layout().name(name));
        symlink(object.target(), &link).or_at("cannot make the name", &link)?;
        fs::rename(&link, &place).or_at("cannot make the name", &place)
    }

    /// Takes a name away; false when there was none.
    ///
    /// # Errors
    /// Those of removing.
    pub fn remove_name(&self, name: &ObjectName) -> Result<bool> {
        let place = self.layout().name(name);
        match fs::remove_file(&place) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).or_at("cannot remove the name", &place),
        }
    }

    /// All names and what they stand for, sorted.
    ///
    /// # Errors
    /// Those of reading.
    pub fn names(&self) -> Result<Vec<(ObjectName, Named)>> {
        let dir = self.layout().names();
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).or_at("cannot read", &dir)? {
            let entry = entry.or_at("cannot read", &dir)?;
            let name = entry
                .file_name()
                .to_str()
                .and_then(ObjectName::from_file_name);
            if let (Some(name), Some(object)) = (name, read(&entry.path())?) {
                names.push((name, object));
            }
        }
        names.sort();
        Ok(names)
    }

    /// The names of one object, sorted.
    ///
    /// # Errors
    /// Those of reading.
    pub fn names_of(&self, object: &Named) -> Result<Vec<ObjectName>> {
        let names = self.names()?.into_iter();
        Ok(names
            .filter(|(_, owner)| owner == object)
            .map(|(name, _)| name)
            .collect())
    }
}

fn read(place: &Path) -> Result<Option<Named>> {
    match fs::read_link(place) {
        Ok(target) => Ok(Named::parse(&target)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {
            Ok(None)
        }
        Err(error) => Err(error).or_at("cannot read the name", place),
    }
}

/// What `text` stands for, if it is a name that is taken.
pub(super) fn lookup(store: &Store, text: &str) -> Result<Option<Named>> {
    match ObjectName::parse(text) {
        Ok(name) => read(&store.layout().name(&name)),
        Err(_) => Ok(None),
    }
}

/// The one id that begins with `text`.
pub(super) fn by_beginning(kind: &str, ids: Vec<Id>, text: &str) -> Result<Id> {
    let shown = text.escape_debug();
    let long_enough = text.len() >= BEGINNING_DIGITS_MIN;
    let mut found = ids
        .into_iter()
        .filter(|id| long_enough && id.as_str().starts_with(text));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (Some(id), Some(_)) if id.as_str() == text => Ok(id),
        (Some(_), Some(_)) => Err(Error::new(
            Kind::Invalid,
            format!("{shown} begins several {kind}s"),
        )),
        (None, _) => Err(Error::new(Kind::NotFound, format!("no {kind} {shown}"))),
    }
}
