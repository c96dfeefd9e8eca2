//! Building an [`Overlay`] from [`Options`]: open the layers, check them, claim the work directory,
//! find out what can be written.

mod index;

use std::fmt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use super::Overlay;
use super::change::workdir::WorkDir;
use super::node::handle::HandleTable;
use super::node::identity::Identity;
use super::node::listing::Midway;
use super::node::reaper::Reaper;
use super::node::table::NodeTable;
use super::node::{Key, Lower, LowerDir, NewNode, Node, Place};
use super::options::{Options, SyncMode, XattrMode as XattrOption};
use super::view::lookup::upper_of;
use super::view::overrides::Overrides;
use crate::layer::filesystem::Filesystems;
use crate::layer::index::IndexDir;
use crate::layer::keys::{self, Key as Mark, Namespace};
use crate::layer::layer::{Layer, LayerError, Problem, UpperLayer};
use crate::layer::mark::{MarkRules, WhiteoutForm};
use crate::layer::origin::Uuid;
use crate::layer::stack::LayerStack;
use crate::layer::stat_override::{Form, Kept};
use crate::sync::RwLock;
use crate::sys::creds::Creds;
use crate::sys::errno::Errno;
use crate::sys::stat::FileType;
use crate::sys::xattr::XattrMode;
use crate::sys::{limits, proc_fd};

/// Why there is no mount: one line that names path and option.
#[derive(Debug)]
pub enum MountError {
    /// A layer cannot be used.
    Layer(LayerError),
    /// Something else, in words.
    Other(String),
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MountError::Layer(error) => error.fmt(f),
            MountError::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for MountError {}

impl From<LayerError> for MountError {
    fn from(error: LayerError) -> MountError {
        MountError::Layer(error)
    }
}

impl Overlay {
    /// Opens the layers and claims the upper.
    ///
    /// # Errors
    /// Everything of overlay-semantics 20 that needs a look at the disk. Nothing is left behind.
    pub fn new(options: &Options) -> Result<Overlay, MountError> {
        proc_fd::init().map_err(|errno| MountError::Other(format!("/proc is needed: {errno}")))?;
        let mut known = Filesystems::default();
        let merged = options.lower.iter().map(|path| ("lowerdir", path));
        let lowers = merged
            .chain(options.data_only.iter().map(|path| ("datadir+", path)))
            .map(|(option, path)| Layer::open(option, path, &mut known))
            .collect::<Result<Vec<_>, _>>()?;
        let upper = match &options.upper {
            Some(dirs) if !options.read_only => {
                Some(UpperLayer::open(&dirs.upper, &dirs.work, &mut known)?)
            }
            // A read-only mount shows the upper like the top-most lower and needs no work directory.
            Some(dirs) => {
                let top = Layer::open("upperdir", &dirs.upper, &mut known)?;
                return Overlay::open_read_only(options, top, &dirs.work, lowers);
            }
            None => None,
        };
        let mut stack = LayerStack::new(upper, lowers, options.data_only.len())?;
        if options.null_uuid {
            stack.forget_uuids();
        }
        Overlay::build(options, stack, None)
    }

    fn open_read_only(
        options: &Options,
        top: Layer,
        work: &Path,
        mut lowers: Vec<Layer>,
    ) -> Result<Overlay, MountError> {
        lowers.insert(0, top);
        let mut stack = LayerStack::new(None, lowers, options.data_only.len())?;
        if options.null_uuid {
            stack.forget_uuids();
        }
        let index = match options.index {
            true => {
                let work = Layer::open("workdir", work, &mut Filesystems::default())?;
                index::read_only(options, &work, &stack)?
            }
            false => None,
        };
        Overlay::build(options, stack, index)
    }

    /// `index`: that of a view that does not change.
    fn build(
        options: &Options,
        stack: LayerStack,
        index: Option<IndexDir>,
    ) -> Result<Overlay, MountError> {
        let marks = stack
            .upper
            .as_ref()
            .and_then(|upper| namespace(options.xattr, upper));
        check_marks(options, marks)?;
        let claimed = stack.upper.as_ref();
        let work = claimed
            .map(|upper| claim(options, upper, marks))
            .transpose()?;
        let by_name = work.as_ref().is_some_and(WorkDir::whiteouts_are_names);
        if stack.upper.is_some() && marks.is_none() && !by_name {
            log::warn!(
                "the upper layer takes no extended attributes: directories cannot be replaced"
            );
        }
        let index = match index {
            None => index::claimed(options, &stack, marks)?,
            index => index,
        };
        let overrides = match options.xattr_permissions {
            Some(form) => Some(overrides(form, &stack)?),
            None => None,
        };
        let rules = MarkRules {
            user_redirects: options.xattr == XattrOption::User,
            // What is written must be read.
            oci: options.oci || by_name,
            redirects: options.redirects,
            blocks_tell: roots(&stack).all(|layer| layer.blocks_are_data),
        };
        let table = Arc::new(NodeTable::new(limits::open_files()));
        let devices: Vec<u64> = roots(&stack).map(|layer| layer.stat.dev).collect();
        let identity = Identity::new(&devices, uuids(&stack));
        let (merged, data_only) = lower_roots(&stack, &table);
        let root = root_node(&stack, merged, &table, &identity, &rules)?;
        Ok(Overlay {
            root,
            data_only: data_only.into(),
            identity,
            name_max: name_max(&stack),
            shares_files: stack.lowers.iter().any(|lower| lower.shares_files),
            stack,
            index,
            work,
            rules,
            marks,
            handles: HandleTable::default(),
            midway: Midway::default(),
            reaper: Reaper::new(&table),
            table,
            topology: RwLock::default(),
            creds: Creds::current(),
            sync: options.sync,
            lost: OnceLock::new(),
            copied_up: AtomicU64::new(0),
            redirect_dir: options.redirect_dir,
            // Without attributes there are no marks (19.4).
            metacopy: options.metacopy && marks == Some(Namespace::Trusted),
            rename_copy_limit: options.rename_copy_limit,
            static_nlink: options.static_nlink,
            overrides,
            owners: (!options.owners.are_plain()).then(|| options.owners.clone()),
        })
    }
}

/// The longest name of any layer.
fn name_max(stack: &LayerStack) -> u64 {
    const USUAL: u64 = 255;
    let longest = roots(stack).filter_map(|layer| layer.name_max).max();
    longest.unwrap_or(USUAL)
}

/// The layers of a stack, upper first.
fn roots(stack: &LayerStack) -> impl Iterator<Item = &Layer> {
    let upper = stack.upper.iter().map(|upper| &upper.layer);
    upper.chain(&stack.lowers)
}

/// Which layers keep owner, mode and type in an attribute: those whose root does, and the upper, whose
/// root is marked so that it is known for one when it is a lower layer.
fn overrides(form: Form, stack: &LayerStack) -> Result<Overrides, MountError> {
    let form_of = |layer: &Layer, what: &str| {
        Form::of_root(layer.root.at())
            .map_err(|errno| MountError::Other(format!("{what}: xattr_permissions: {errno}")))
    };
    let mut lowers = Vec::with_capacity(stack.lowers.len());
    for lower in &stack.lowers {
        lowers.push(form_of(lower, "lowerdir")?);
    }
    let upper = stack.upper.as_ref().map(|upper| &upper.layer);
    if let Some(upper) = upper {
        match form_of(upper, "upperdir")? {
            Some(other) if other != form => {
                let name = other.name().to_string_lossy();
                let text = format!("upperdir: xattr_permissions: it keeps owners in {name}");
                return Err(MountError::Other(text));
            }
            Some(_) => {}
            None => mark_root(form, upper, stack.lowers.first().zip(lowers.first())).map_err(
                |errno| {
                    MountError::Other(format!(
                        "upperdir: {}: {errno}",
                        form.name().to_string_lossy()
                    ))
                },
            )?,
        }
    }
    Ok(Overrides {
        upper: upper.map(|_| form),
        lowers: lowers.into(),
    })
}

/// A new upper root stands for what the root below it does; without one, for itself.
fn mark_root(
    form: Form,
    upper: &Layer,
    below: Option<(&Layer, &Option<Form>)>,
) -> Result<(), Errno> {
    let meant = match below {
        Some((lower, Some(other))) => other.apply(lower.root.at(), lower.stat)?,
        _ => upper.stat,
    };
    let value = Kept::of(&meant).to_value();
    upper
        .root
        .at()
        .set_xattr(form.name(), &value, XattrMode::Any)
}

fn claim(
    options: &Options,
    upper: &UpperLayer,
    marks: Option<Namespace>,
) -> Result<WorkDir, MountError> {
    let volatile = options.sync == SyncMode::Volatile;
    let path = options
        .upper
        .as_ref()
        .map(|dirs| dirs.work.as_path())
        .unwrap_or_else(|| "".as_ref());
    let fail = |problem| MountError::from(LayerError::new("workdir", path, problem));
    let mut work = WorkDir::claim(&upper.work.root, volatile).map_err(|errno| {
        fail(match errno {
            Errno::EINVAL => Problem::Text(
                "a volatile mount ended here and data may be missing; \
                 remove work/incompat/volatile in it to use the upper layer all the same",
            ),
            errno => Problem::Errno(errno),
        })
    })?;
    match (
        work.settle_whiteouts(options.whiteout, marks),
        options.whiteout,
    ) {
        (Ok(()), _) => Ok(work),
        (Err(Errno::EOPNOTSUPP), Some(WhiteoutForm::Device)) => Err(fail(Problem::Text(
            "whiteout=char: no devices 0:0 can be made here; try whiteout=wh",
        ))),
        (Err(Errno::EOPNOTSUPP), Some(WhiteoutForm::Attribute)) => Err(fail(Problem::Text(
            "whiteout=xattr: no attributes can be set here; try whiteout=wh",
        ))),
        (Err(errno), _) => Err(fail(Problem::Errno(errno))),
    }
}

/// The namespace that marks are written in (26.1): the one asked for, the one the upper has already, or
/// the first that can be written. `None` where the filesystem takes none.
fn namespace(option: XattrOption, upper: &UpperLayer) -> Option<Namespace> {
    let can_write = |namespace: Namespace| {
        let (at, name) = (upper.work.root.at(), namespace.name(Mark::Opaque));
        at.set_xattr(name, b"n", XattrMode::Any)
            .and_then(|()| at.remove_xattr(name))
            .is_ok()
    };
    let wanted = match option {
        XattrOption::Trusted => vec![Namespace::Trusted],
        XattrOption::User => vec![Namespace::User],
        XattrOption::Auto => {
            let names = upper.layer.root.at().list_xattrs().unwrap_or_default();
            let has_user_marks = !names.iter().any(keys::is_trusted_mark)
                && names
                    .iter()
                    .any(|name| name.to_bytes().starts_with(b"user.overlay."));
            match has_user_marks {
                true => vec![Namespace::User, Namespace::Trusted],
                false => vec![Namespace::Trusted, Namespace::User],
            }
        }
    };
    wanted.into_iter().find(|namespace| can_write(*namespace))
}

/// Every user could make marks in the user namespace: those that lead elsewhere are not written there (6.5, 20).
fn check_marks(options: &Options, marks: Option<Namespace>) -> Result<(), MountError> {
    if marks != Some(Namespace::User) || !options.redirect_dir {
        return Ok(());
    }
    let option = match options.metacopy {
        true => "metacopy=on",
        false => "redirect_dir=on",
    };
    let errno = Errno::EPERM;
    let text = format!("option `{option}`: needs attributes of the trusted namespace: {errno}");
    Err(MountError::Other(text))
}

/// The filesystems of the lower layers that have a UUID, with their devices.
fn uuids(stack: &LayerStack) -> Vec<(Uuid, u64)> {
    let known = |layer: &Layer| Some((layer.uuid?, layer.stat.dev));
    stack.lowers.iter().filter_map(known).collect()
}

/// The roots of the lower layers: of those that are merged, and of the data-only ones.
fn lower_roots(stack: &LayerStack, table: &NodeTable) -> (Vec<Arc<LowerDir>>, Vec<Arc<LowerDir>>) {
    let roots = stack.lowers.iter().enumerate().map(|(at, layer)| {
        let (dev, ino) = (layer.stat.dev, layer.stat.ino);
        Arc::new(LowerDir::root(at, layer.root.clone(), dev, ino, &table.fds))
    });
    roots.partition(|dir| dir.layer < stack.merged())
}

fn root_node(
    stack: &LayerStack,
    lowers: Vec<Arc<LowerDir>>,
    table: &Arc<NodeTable>,
    identity: &Identity,
    rules: &MarkRules,
) -> Result<Arc<Node>, MountError> {
    let upper = stack.upper.as_ref().map(|upper| &upper.layer);
    let top = upper.or_else(|| stack.lowers.first());
    let top = top.ok_or_else(|| MountError::Other("lowerdir: no layer given".into()))?;
    let impure = match upper {
        Some(upper) => rules.of_dir(upper.root.at()).map(|marks| marks.impure),
        None => Ok(false),
    };
    let impure = impure.map_err(|errno| MountError::Other(format!("upperdir: {errno}")))?;
    let ino = identity.ino(top.stat.dev, top.stat.ino);
    Ok(table.make_root(
        Key::Number(ino),
        NewNode {
            kind: FileType::Dir,
            ino,
            lower: Lower::Dirs(Box::new(lowers.into_iter().collect())),
            upper: upper.map(|upper| upper_of(&upper.stat)),
            impure,
            redirect: None,
            indexed: None,
            place: Place::Root,
        },
    ))
}
