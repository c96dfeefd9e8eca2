//! The same as a plain user, in a user namespace of his own.
