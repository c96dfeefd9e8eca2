//! Room `fs`.
