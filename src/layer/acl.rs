//! POSIX ACLs as attribute values: they carry ids, which are translated where owners are mapped.
//!
//! The form (`linux/posix_acl_xattr.h`): version 2 in 32 bits, then entries of tag (16 bits), permissions
//! (16) and id (32), all little-endian. Translation keeps the length.

use std::ffi::CStr;

use crate::sys::at::At;
use crate::sys::dir::DirFd;
use crate::sys::errno::{Errno, Result};

const ACCESS: &CStr = c"system.posix_acl_access";
const DEFAULT: &CStr = c"system.posix_acl_default";
const HEAD: usize = 4;
const ENTRY: usize = 8;
const VERSION: [u8; HEAD] = 2_u32.to_le_bytes();
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;

/// Whose id an entry has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A user's.
    User,
    /// A group's.
    Group,
}

/// Is the value of this attribute an ACL?
pub fn is_acl(name: &CStr) -> bool {
    name == ACCESS || name == DEFAULT
}

/// Puts other ids in the place of those in an ACL.
///
/// # Errors
/// EINVAL for what is no ACL, and for an id that `other` has none for.
pub fn replace_ids(acl: &mut [u8], other: impl Fn(Whose, u32) -> Option<u32>) -> Result<()> {
    let Some((&mut VERSION, entries)) = acl.split_first_chunk_mut() else {
        return Err(Errno::EINVAL);
    };
    let (entries, []) = entries.as_chunks_mut::<ENTRY>() else {
        return Err(Errno::EINVAL);
    };
    for [tag_low, tag_high, _, _, id @ ..] in entries {
        let whose = match u16::from_le_bytes([*tag_low, *tag_high]) {
            USER => Whose::User,
            GROUP => Whose::Group,
            _ => continue,
        };
        let replacement = other(whose, u32::from_le_bytes(*id)).ok_or(Errno::EINVAL)?;
        *id = replacement.to_le_bytes();
    }
    Ok(())
}

/// Does what is made in a directory get an ACL from it?
///
/// # Errors
/// Those of getxattr.
pub fn gives(dir: &DirFd) -> Result<bool> {
    Ok(dir.at().get_xattr(DEFAULT)?.is_some())
}

/// Takes from a new object the ACLs that it got only for being made where it is.
///
/// # Errors
/// Those of removexattr.
pub fn disinherit(at: At<'_>) -> Result<()> {
    for name in [ACCESS, DEFAULT] {
        match at.remove_xattr(name) {
            // Only directories have a default ACL.
            Ok(()) | Err(Errno::ENODATA | Errno::EOPNOTSUPP | Errno::EACCES) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = VERSION.to_vec();
        for (tag, perm, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(perm.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn t124_only_named_users_and_groups_have_ids() {
        const NONE: u32 = u32::MAX;
        let mut value = acl(&[
            (1, 7, NONE),
            (2, 6, 5),
            (4, 5, NONE),
            (8, 4, 6),
            (16, 7, NONE),
        ]);
        let other = |whose, id| match whose {
            Whose::User => Some(id + 1000),
            Whose::Group => Some(id + 2000),
        };
        replace_ids(&mut value, other).unwrap();
        let wanted = acl(&[
            (1, 7, NONE),
            (2, 6, 1005),
            (4, 5, NONE),
            (8, 4, 2006),
            (16, 7, NONE),
        ]);
        assert_eq!(value, wanted);
    }

    #[test]
    fn what_is_no_acl_and_what_has_no_counterpart() {
        let good = acl(&[(2, 6, 5)]);
        for bad in [&good[..11], &good[..3], b"", b"\x01\0\0\0"] {
            let mut bad = bad.to_vec();
            assert_eq!(replace_ids(&mut bad, |_, id| Some(id)), Err(Errno::EINVAL));
        }
        assert_eq!(
            replace_ids(&mut good.clone(), |_, _| None),
            Err(Errno::EINVAL)
        );
        assert_eq!(replace_ids(&mut good[..4].to_vec(), |_, _| None), Ok(()));
    }
}
