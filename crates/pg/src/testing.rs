//! For tests: one throw-away server per process, one fresh database per test.
//!
//! The server starts at the first call, loses nothing but durability (`fsync` off), and is stopped and cleared away by
//! its guard when the test process ends, however it ends.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::binaries::PgBinaries;
use crate::error::PgError;
use crate::managed::{ManagedPg, ManagedPgConfig};

static SERVER: OnceLock<Result<ManagedPg, String>> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(1);

/// The process's server. Looks for programs in `TINTYPE_CACHE` too.
///
/// # Panics
/// When there is no PostgreSQL or it does not start: a test that needs a database cannot go on without one.
#[expect(clippy::panic, reason = "test support: there is nobody to hand the error to")]
pub fn server() -> &'static ManagedPg {
    match SERVER.get_or_init(|| start().map_err(|error| describe(&error))) {
        Ok(server) => server,
        Err(message) => panic!("no PostgreSQL for tests: {message}"),
    }
}

/// The URL of a new, empty database that no other test uses.
///
/// # Panics
/// See [`server`].
#[expect(clippy::panic, reason = "test support: there is nobody to hand the error to")]
pub fn fresh_database() -> String {
    let name = fresh_name();
    if let Err(error) = server().create_database(&name) {
        panic!("no database for this test: {}", describe(&error));
    }
    server().url(&name)
}

/// A database name no other test of this process uses.
pub fn fresh_name() -> String {
    format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn start() -> Result<ManagedPg, PgError> {
    let extra: Vec<PathBuf> = std::env::var_os("TINTYPE_CACHE").into_iter().map(PathBuf::from).collect();
    let binaries = PgBinaries::find(&extra)?;
    // Kept on purpose: the server outlives every value here, and its guard clears the folder.
    let data_dir = tempfile::Builder::new()
        .prefix("tintype-pg-")
        .tempdir()
        .map_err(PgError::io("make a folder in", std::env::temp_dir()))?
        .keep();
    ManagedPg::start(ManagedPgConfig { data_dir, binaries, durable: false })
}

fn describe(error: &PgError) -> String {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{cause}")
}
