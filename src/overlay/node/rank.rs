//! Lock ranks, see [`crate::overlay`].

pub const COPYUP: u8 = 1;
pub const TOPOLOGY: u8 = 2;
pub const DIR: u8 = 3;
pub const PLACE: u8 = 4;
pub const IDENTIFIED: u8 = 4;
pub const KEYS: u8 = 5;
pub const IDS: u8 = 6;
pub const LEAF: u8 = 7;
pub const WHITEOUT: u8 = 8;
