//! Inode numbers: one 64-bit space for objects of all filesystems that layers live on
//! (overlay-semantics 7, 26.5). On one filesystem a number is the real one; others carry the index of
//! their filesystem in the high bits; numbers that do not fit get one from a reserved range, allocated
//! and never shared.

use std::collections::HashMap;

use crate::layer::origin::Origin;
use crate::sync::{Mutex, RwLock};

/// Leaf locks, see [`crate::overlay`].
const RANK: u8 = 7;

/// Bits of the real number that survive beside a filesystem index.
const REAL_BITS: u32 = 56;
/// Numbers of at least this are allocated, not derived.
const ALLOCATED: u64 = 1 << 63;
/// Highest filesystem index that leaves the reserved bit alone.
const MAX_INDEX: usize = 0x7f;

/// The mapping from (device, real inode number) to what users see.
#[derive(Debug)]
pub struct Identity {
    /// Devices by index; the first is that of the upper layer, or of the top-most lower.
    devices: RwLock<Vec<u64>, RANK>,
    /// The first of them, read without a lock.
    first: u64,
    /// UUID and device of the layers' filesystems, for origins.
    uuids: Vec<([u8; 16], u64)>,
    allocated: Mutex<HashMap<(u64, u64), u64>, RANK>,
}

impl Identity {
    /// For layers on these devices, the most important first; `uuids` belong to the lower ones.
    pub fn new(devices: &[u64], uuids: Vec<([u8; 16], u64)>) -> Identity {
        let mut known: Vec<u64> = Vec::new();
        for device in devices {
            if !known.contains(device) {
                known.push(*device);
            }
        }
        let first = known.first().copied().unwrap_or_default();
        Identity {
            devices: RwLock::new(known),
            first,
            uuids,
            allocated: Mutex::default(),
        }
    }

    /// The inode number that users see for a real one.
    pub fn ino(&self, device: u64, real: u64) -> u64 {
        if real >> REAL_BITS == 0 {
            if device == self.first {
                return real;
            }
            if let Some(index) = self.index(device) {
                return (index as u64) << REAL_BITS | real;
            }
        }
        let mut allocated = self.allocated.lock();
        let next = ALLOCATED + allocated.len() as u64;
        *allocated.entry((device, real)).or_insert(next)
    }

    /// The number of the lower object that an upper object was copied up from.
    pub fn origin_ino(&self, origin: Origin) -> Option<u64> {
        let (_, device) = self.uuids.iter().find(|(uuid, _)| *uuid == origin.uuid)?;
        Some(self.ino(*device, origin.ino))
    }

    /// Index of a device; one met for the first time (a subvolume, say) gets the next.
    fn index(&self, device: u64) -> Option<usize> {
        let find = |devices: &[u64]| devices.iter().position(|&known| known == device);
        if let Some(index) = find(&self.devices.read()) {
            return Some(index);
        }
        let mut devices = self.devices.write();
        match find(&devices) {
            Some(index) => Some(index),
            None if devices.len() > MAX_INDEX => None,
            None => {
                devices.push(device);
                Some(devices.len() - 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_real_on_one_filesystem_and_unique_on_several() {
        let identity = Identity::new(&[8, 8, 9], vec![([3; 16], 9)]);
        assert_eq!(identity.ino(8, 77), 77);
        let other = identity.ino(9, 77);
        assert_ne!(other, 77);
        assert_eq!(identity.ino(9, 77), other);
        assert_eq!(
            identity.origin_ino(Origin {
                uuid: [3; 16],
                ino: 77
            }),
            Some(other)
        );
        assert_eq!(
            identity.origin_ino(Origin {
                uuid: [4; 16],
                ino: 77
            }),
            None
        );
        let late = identity.ino(1000, 77);
        assert!(late != other && late != 77);
    }

    #[test]
    fn numbers_that_do_not_fit_are_allocated_once() {
        let identity = Identity::new(&[8], Vec::new());
        let (a, b) = (identity.ino(8, u64::MAX), identity.ino(8, u64::MAX - 1));
        assert!(a >= ALLOCATED && b >= ALLOCATED && a != b);
        assert_eq!(identity.ino(8, u64::MAX), a);
    }
}
