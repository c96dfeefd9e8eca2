//! The messages of FUSE (include/uapi/linux/fuse.h), as they are in memory.
//!
//! Numbers are in the machine's own order. Nothing the kernel sends is refused, except for names without an end.

mod answer;
mod argument;
mod listing;
mod request;

pub use answer::{
    Entry, attributes, created, entry, ioctl, lseek, negative, opened, polled, statfs, written,
    xattr_size,
};
pub use argument::*;
pub use listing::Listing;
pub use request::{Request, Span};

/// The first argument of a request, with bytes after it that mean nothing.
pub type Argument = [u8; 128];

/// The bytes of a number at a place. Places are constants within the bytes.
fn at<const N: usize>(bytes: &Argument, place: usize) -> [u8; N] {
    let rest = bytes.get(place..).and_then(<[u8]>::first_chunk);
    *rest.unwrap_or(&[0; N])
}
