//! The value of an option word, read as a path, a list, a number or one of a few names.

use std::time::Duration;

use super::grammar;
use super::{IdMap, Mode, OptionError, PathBuf, path_of, shown};

/// One item, while it is being understood.
pub(super) struct Said<'a> {
    /// What stands before the `=`.
    pub(super) word: &'a str,
    /// What stands after it.
    pub(super) value: Option<&'a [u8]>,
}

impl Said<'_> {
    /// What is wrong with it, as an error.
    pub(super) fn wrong(&self, reason: &str) -> OptionError {
        let option = match self.value {
            Some(value) => format!("{}={}", self.word.escape_debug(), shown(value)),
            None => self.word.escape_debug().to_string(),
        };
        OptionError::new(option, reason)
    }

    /// The value; an error if there is none.
    pub(super) fn needed(&self) -> Result<&[u8], OptionError> {
        match self.value {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(self.wrong("needs a value")),
        }
    }

    /// The value's meaning by this table.
    pub(super) fn one_of<T: Copy>(&self, table: &[(&str, T)]) -> Result<T, OptionError> {
        let value = self.needed()?;
        let found = table.iter().find(|(name, _)| name.as_bytes() == value);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
            self.wrong(&format!("expected {}", names.join(", ")))
        })
    }

    /// On or off; the bare word means on.
    pub(super) fn switch(&self) -> Result<bool, OptionError> {
        match self.value {
            None => Ok(true),
            Some(_) => self.one_of(&[("on", true), ("off", false), ("1", true), ("0", false)]),
        }
    }

    /// On, off, or `None` for `auto`; the bare word means on.
    pub(super) fn switch_or_auto(&self) -> Result<Option<bool>, OptionError> {
        match self.value {
            None => Ok(Some(true)),
            Some(_) => self.one_of(&[("on", Some(true)), ("off", Some(false)), ("auto", None)]),
        }
    }

    /// The value as a number.
    pub(super) fn number(&self) -> Result<u32, OptionError> {
        let text = std::str::from_utf8(self.needed()?).ok();
        text.and_then(|t| t.parse().ok())
            .ok_or_else(|| self.wrong("expected a number"))
    }

    /// The value as the id of a user or group.
    pub(super) fn id(&self) -> Result<u32, OptionError> {
        match self.number()? {
            u32::MAX => Err(self.wrong("is no id")),
            id => Ok(id),
        }
    }

    /// The value as a mapping of ids.
    pub(super) fn id_map(&self) -> Result<IdMap, OptionError> {
        IdMap::parse(self.needed()?).map_err(|reason| self.wrong(reason))
    }

    /// The value as seconds.
    pub(super) fn seconds(&self) -> Result<Duration, OptionError> {
        let text = std::str::from_utf8(self.needed()?).ok();
        text.and_then(|t| t.parse().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or_else(|| self.wrong("expected seconds"))
    }

    /// The value as `off`, `copy` or `copy:SIZE`, a limit in bytes with an optional K, M or G.
    pub(super) fn copy_limit(&self) -> Result<Option<u64>, OptionError> {
        const USUAL: u64 = 1 << 30;
        let text = std::str::from_utf8(self.needed()?).unwrap_or_default();
        match text {
            "off" => return Ok(None),
            "copy" => return Ok(Some(USUAL)),
            _ => {}
        }
        let size = text.strip_prefix("copy:").unwrap_or_default();
        let (digits, shift) = match size.char_indices().last() {
            Some((at, 'K' | 'k')) => (&size[..at], 10),
            Some((at, 'M' | 'm')) => (&size[..at], 20),
            Some((at, 'G' | 'g')) => (&size[..at], 30),
            _ => (size, 0),
        };
        let bytes = digits
            .parse()
            .ok()
            .and_then(|n: u64| n.checked_mul(1 << shift));
        bytes
            .map(Some)
            .ok_or_else(|| self.wrong("expected off, copy or copy:SIZE"))
    }

    /// The value as one path, escapes resolved.
    pub(super) fn path(&self) -> Result<PathBuf, OptionError> {
        Ok(path_of(grammar::plain(self.needed()?)))
    }

    /// The value as a path in which neither colons nor backslashes mean anything, except before a comma.
    pub(super) fn raw_path(&self) -> Result<PathBuf, OptionError> {
        let raw = self.needed()?;
        let mut path = Vec::with_capacity(raw.len());
        for (i, byte) in raw.iter().enumerate() {
            if !(*byte == b'\\' && raw.get(i + 1) == Some(&b',')) {
                path.push(*byte);
            }
        }
        Ok(path_of(path))
    }

    /// The value as a list of layers, and the data-only ones, each of which has `::` before it.
    pub(super) fn layers(&self, mode: Mode) -> Result<(Vec<PathBuf>, Vec<PathBuf>), OptionError> {
        let mut list = grammar::layers(self.needed()?);
        if mode == Mode::Compatible {
            // Engines join what they have; fuse-overlayfs skips an empty first or last element.
            list.pop_if(|last| last.is_empty());
            if list.first().is_some_and(Vec::is_empty) {
                list.remove(0);
            }
        }
        let (mut lower, mut data_only, mut double) = (Vec::new(), Vec::new(), false);
        for element in list {
            match (element.is_empty(), double) {
                (true, false) if !lower.is_empty() => double = true,
                (true, _) => return Err(self.wrong("has an empty element")),
                (false, true) => {
                    data_only.push(path_of(element));
                    double = false;
                }
                (false, false) if data_only.is_empty() => lower.push(path_of(element)),
                (false, false) => {
                    return Err(self.wrong("has a layer to merge after a data-only one"));
                }
            }
        }
        if double || lower.is_empty() {
            return Err(self.wrong("has an empty element"));
        }
        Ok((lower, data_only))
    }
}
