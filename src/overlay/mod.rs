//! Room `overlay`.

pub mod options;
