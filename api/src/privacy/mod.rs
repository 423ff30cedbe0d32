//! What people may take with them, and what is left when they go.
//!
//! [`tables`] says of every table whose rows it holds, what of them is exported and what erasing does to them; a test fails on
//! a table nobody classified. [`export`] streams an archive; [`erase`] begins an erasure and the lane that ends it.

pub(crate) mod erase;
pub(crate) mod export;
pub mod tables;
mod tar;
