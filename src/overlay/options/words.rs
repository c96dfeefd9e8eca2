//! What each word of `-o` means.
//!
//! [`Collected`] remembers what was said (the last word wins, as in the kernel); [`Collected::finish`] is the only
//! place where that turns into [`Options`].

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use super::accepted::{UNSUPPORTED, is_accepted};
use super::grammar::{self, Item};
use super::value::Said;
use super::*;

pub(super) const NOT_YET: &str = "not supported yet";

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) lower: Vec<PathBuf>,
    pub(super) data_only: Vec<PathBuf>,
    pub(super) upper: Option<PathBuf>,
    pub(super) work: Option<PathBuf>,
    pub(super) plain_lower: bool,
    pub(super) xattr: Option<XattrMode>,
    pub(super) sync: SyncMode,
    pub(super) oci: Option<bool>,
    pub(super) whiteout: Option<WhiteoutForm>,
    pub(super) xino: Xino,
    pub(super) timeout: Option<Duration>,
    pub(super) static_nlink: bool,
    pub(super) noacl: bool,
    pub(super) owners: Owners,
    pub(super) squash_to_root: bool,
    pub(super) xattr_permissions: Option<Form>,
    pub(super) redirect_dir: Option<String>,
    pub(super) rename_copy_limit: Option<u64>,
    pub(super) metacopy: Option<bool>,
    pub(super) index: Option<bool>,
    pub(super) null_uuid: bool,
    pub(super) nfs_export: Option<bool>,
    pub(super) verity: Option<bool>,
    pub(super) unsupported: Option<OptionError>,
    pub(super) flags: MountFlags,
    pub(super) warnings: Vec<String>,
    pub(super) debug: bool,
    pub(super) foreground: bool,
}

impl Collected {
    /// As if these directories had been given, and nothing else.
    pub(super) fn of(lower: Vec<PathBuf>, upper: Option<UpperDirs>) -> Collected {
        let (upper, work) = upper.map(|dirs| (dirs.upper, dirs.work)).unzip();
        Collected {
            lower,
            upper,
            work,
            ..Collected::default()
        }
    }

    /// Takes one item.
    pub(super) fn take(&mut self, mode: Mode, item: &Item<'_>) -> Result<(), OptionError> {
        let word = String::from_utf8_lossy(item.word).into_owned();
        let said = Said {
            word: &word,
            value: item.value,
        };
        let known = self.take_directory(mode, &said)?
            || self.take_behaviour(&said)?
            || self.take_kernel_feature(&said)?
            || self.take_owners(&said)?
            || self.take_flag(&said)
            || self.take_number(&said)?
            || self.take_name(&said)?;
        if known || is_accepted(&word) {
            return Ok(());
        }
        if UNSUPPORTED.contains(&word.as_str()) {
            self.unsupported.get_or_insert(said.wrong(NOT_YET));
            return Ok(());
        }
        match mode {
            Mode::Native => Err(said.wrong("unknown")),
            Mode::Compatible => {
                self.warnings
                    .push(format!("{}, ignored", said.wrong("unknown")));
                Ok(())
            }
        }
    }

    fn take_directory(&mut self, mode: Mode, said: &Said<'_>) -> Result<bool, OptionError> {
        match said.word {
            "lowerdir" => {
                (self.lower, self.data_only) = said.layers(mode)?;
                self.plain_lower = true;
            }
            "lowerdir+" | "datadir+" if self.plain_lower => {
                return Err(said.wrong("cannot follow lowerdir="));
            }
            "lowerdir+" if !self.data_only.is_empty() => {
                return Err(said.wrong("cannot follow datadir+="));
            }
            "lowerdir+" => self.lower.push(said.raw_path()?),
            "datadir+" => self.data_only.push(said.raw_path()?),
            "upperdir" => self.upper = Some(said.path()?),
            "workdir" => self.work = Some(said.path()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_behaviour(&mut self, said: &Said<'_>) -> Result<bool, OptionError> {
        match said.word {
            "userxattr" => self.set_xattr(said, XattrMode::User)?,
            "xattr" => {
                let table = [
                    ("auto", XattrMode::Auto),
                    ("trusted", XattrMode::Trusted),
                    ("user", XattrMode::User),
                ];
                self.set_xattr(said, said.one_of(&table)?)?;
            }
            "volatile" => self.sync = SyncMode::Volatile,
            "fsync" => {
                self.sync = said.one_of(&[
                    ("auto", SyncMode::Auto),
                    ("strict", SyncMode::Strict),
                    ("volatile", SyncMode::Volatile),
                    ("0", SyncMode::Volatile),
                    ("1", SyncMode::Auto),
                ])?;
            }
            "oci" => self.oci = Some(said.switch()?),
            "whiteout" => {
                let forms = [
                    ("auto", (None, None)),
                    ("char", (Some(WhiteoutForm::Device), Some(false))),
                    ("wh", (Some(WhiteoutForm::Name), Some(true))),
                    ("xattr", (Some(WhiteoutForm::Attribute), None)),
                ];
                // Who writes `.wh.` names has to read them.
                let (form, oci) = said.one_of(&forms)?;
                self.whiteout = form;
                self.oci = oci.or(self.oci);
            }
            "xino" => {
                self.xino =
                    said.one_of(&[("off", Xino::Off), ("auto", Xino::Auto), ("on", Xino::On)])?;
            }
            "timeout" => self.timeout = Some(said.seconds()?),
            "static_nlink" => self.static_nlink = said.switch()?,
            "noacl" => self.noacl = said.switch()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set_xattr(&mut self, said: &Said<'_>, mode: XattrMode) -> Result<(), OptionError> {
        match self.xattr {
            Some(before) if before != mode => Err(said.wrong("conflicts with another xattr mode")),
            _ => {
                self.xattr = Some(mode);
                Ok(())
            }
        }
    }

    fn take_kernel_feature(&mut self, said: &Said<'_>) -> Result<bool, OptionError> {
        match said.word {
            "redirect_dir" => {
                let modes = ["off", "follow", "nofollow", "on"].map(|mode| (mode, mode));
                self.redirect_dir = Some(said.one_of(&modes)?.to_string());
            }
            "rename_dir" => self.rename_copy_limit = said.copy_limit()?,
            "metacopy" => self.metacopy = Some(said.switch()?),
            "index" => self.index = Some(said.switch()?),
            "nfs_export" => self.nfs_export = Some(said.switch()?),
            "verity" => {
                let on = said.one_of(&[("off", false), ("on", true), ("require", true)])?;
                self.verity = Some(on);
            }
            "uuid" => {
                let modes = ["off", "null", "auto", "on"].map(|mode| (mode, mode == "off"));
                self.null_uuid = said.one_of(&modes)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_owners(&mut self, said: &Said<'_>) -> Result<bool, OptionError> {
        let Owners { users, groups } = &mut self.owners;
        match said.word {
            "uidmapping" => users.map = Some(said.id_map()?),
            "gidmapping" => groups.map = Some(said.id_map()?),
            "squash_to_uid" => users.squash = Some(said.id()?),
            "squash_to_gid" => groups.squash = Some(said.id()?),
            "xattr_permissions" => {
                self.xattr_permissions = said.one_of(&[
                    ("0", None),
                    ("1", Some(Form::Security)),
                    ("2", Some(Form::Containers)),
                ])?;
            }
            "squash_to_root" => self.squash_to_root = said.switch()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn take_flag(&mut self, said: &Said<'_>) -> bool {
        let flags = &mut self.flags;
        match said.word {
            "ro" => flags.read_only = true,
            "rw" => flags.read_only = false,
            "suid" => flags.nosuid = false,
            "nosuid" => flags.nosuid = true,
            "dev" => flags.nodev = false,
            "nodev" => flags.nodev = true,
            "exec" => flags.noexec = false,
            "noexec" => flags.noexec = true,
            "symfollow" => flags.nosymfollow = false,
            "nosymfollow" => flags.nosymfollow = true,
            "noatime" | "norelatime" => flags.atime = Atime::Noatime,
            "atime" | "relatime" => flags.atime = Atime::Relatime,
            "strictatime" => flags.atime = Atime::Strictatime,
            "nostrictatime" => flags.atime = Atime::Relatime,
            "diratime" => flags.nodiratime = false,
            "nodiratime" => flags.nodiratime = true,
            "sync" => flags.sync = true,
            "dirsync" => flags.dirsync = true,
            "allow_other" => flags.allow_other = Some(true),
            "noallow_other" => flags.allow_other = Some(false),
            "debug" => self.debug = true,
            "foreground" => self.foreground = true,
            _ => return false,
        }
        true
    }

    fn take_number(&mut self, said: &Said<'_>) -> Result<bool, OptionError> {
        match said.word {
            "max_read" => self.flags.max_read = Some(said.number()?),
            "max_write" => self.flags.max_write = Some(said.number()?),
            "passthrough" => self.flags.passthrough = Some(said.switch()?),
            "lower_passthrough" => self.flags.lower_passthrough = said.switch()?,
            "noopen" => self.flags.noopen = said.switch_or_auto()?,
            "rings" => {
                self.flags.rings = match said.switch_or_auto()? {
                    Some(true) => Rings::On,
                    Some(false) => Rings::Off,
                    None => Rings::Auto,
                }
            }
            "threads" => match said.number()? {
                count @ 1..=64 => self.flags.threads = Some(count as usize),
                _ => return Err(said.wrong("expected 1 to 64")),
            },
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_name(&mut self, said: &Said<'_>) -> Result<bool, OptionError> {
        match said.word {
            "fsname" => {
                let name = OsString::from_vec(grammar::plain(said.needed()?));
                self.flags.fsname = Some(name);
            }
            "context" | "fscontext" | "defcontext" | "rootcontext" => {
                let context = OsString::from_vec(said.needed()?.to_vec());
                self.flags.context.push((said.word.to_string(), context));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What was said, if it is enough.
    pub(super) fn finish(mut self, mode: Mode) -> Result<Parsed, OptionError> {
        if self.lower.is_empty() {
            return Err(OptionError::new("lowerdir", "needs at least one directory"));
        }
        let upper = match (self.upper, self.work) {
            (Some(upper), Some(work)) => Some(UpperDirs { upper, work }),
            (Some(upper), None) => {
                let option = format!("upperdir={}", shown(upper.as_os_str().as_bytes()));
                let reason = "needs workdir=DIR on the same filesystem";
                return Err(OptionError::new(option, reason));
            }
            (None, Some(work)) => {
                let option = format!("workdir={}", shown(work.as_os_str().as_bytes()));
                let error = OptionError::new(option, "useless without upperdir");
                self.warnings.push(format!("{error}, ignored"));
                None
            }
            (None, None) => None,
        };
        let read_only = self.flags.read_only || upper.is_none();
        self.flags.read_only = read_only;
        let redirect = self.redirect_dir.as_deref();
        // Every user can make such marks: only data-only layers are reached by them (§6.5).
        let user = self.xattr == Some(XattrMode::User);
        let redirects = Redirects {
            follow: redirect != Some("nofollow") && !user,
            metacopy: self.metacopy != Some(false) && !user,
        };
        let metacopy = self.metacopy == Some(true) && mode == Mode::Native;
        if self.squash_to_root {
            for ids in [&mut self.owners.users, &mut self.owners.groups] {
                ids.squash.get_or_insert(0);
            }
        }
        let options = Options {
            lower: self.lower,
            data_only: self.data_only,
            upper,
            xattr: self.xattr.unwrap_or_default(),
            sync: self.sync,
            oci: self.oci.unwrap_or(mode == Mode::Compatible),
            whiteout: self.whiteout,
            xino: self.xino,
            timeout: self.timeout,
            redirects,
            redirect_dir: redirect == Some("on") || metacopy,
            metacopy,
            index: self.index == Some(true),
            null_uuid: self.null_uuid,
            rename_copy_limit: self.rename_copy_limit,
            owners: self.owners,
            xattr_permissions: self.xattr_permissions,
            static_nlink: self.static_nlink,
            noacl: self.noacl || self.xattr_permissions.is_some(),
            read_only,
        };
        Ok(Parsed {
            options,
            flags: self.flags,
            warnings: self.warnings,
            debug: self.debug,
            foreground: self.foreground,
        })
    }
}
