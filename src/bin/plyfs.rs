//! The `plyfs` program: everything is in [`plyfs::cli`].

fn main() {}
