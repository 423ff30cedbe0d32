//! The gpu-worker program.
fn main() {}
