//! Room `layer`.
