//! A private PostgreSQL of our own: find or fetch the programs, start one on a unix socket, stop it.
//!
//! `tintype up` keeps its data in one, tests make a throw-away one per process, and a release that has no database of its own
//! gets a pod with one. Everything here blocks (a start
//! takes under a second): async callers use `spawn_blocking`. It must not know a schema: what is inside is the caller's.

mod binaries;
mod error;
mod identity;
mod managed;
mod pod;
mod server;
pub mod testing;

pub use binaries::PgBinaries;
pub use error::PgError;
pub use managed::{ManagedPg, ManagedPgConfig};
pub use pod::PodPg;
