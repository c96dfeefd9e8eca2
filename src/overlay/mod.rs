//! Room `overlay`.
