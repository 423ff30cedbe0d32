//! The log of `tintype up` goes to a file in the data folder, so that the terminal stays readable; errors wait to be told to
//! Sentry too, if the environment names it.

use std::fs::File;
use std::sync::Mutex;

use anyhow::{Context, Result};
use tintype_api::services::ServicesArgs;
use tintype_api::services::sentry::{Reports, Sentry};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::paths::DataDir;

/// Sends the log to `tintype.log` there; the log of the start before is kept as `tintype.log.old`. What is to be told to Sentry
/// comes back, for who tells it.
pub(crate) fn to_file(data: &DataDir) -> Result<Option<Reports>> {
    let services = ServicesArgs::from_environment().context("a variable of the environment is wrong")?;
    let (layer, reports) = Sentry::of(&services)?.map(Sentry::parts).unzip();
    let file = fresh(data, "tintype.log")?;
    let filter = EnvFilter::try_from_env("TINTYPE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Mutex::new(file));
    tracing_subscriber::registry().with(filter).with(log).with(layer).try_init().context("cannot set up the log")?;
    Ok(reports)
}

/// An empty log file of this name; what was there becomes `<name>.old`.
pub(crate) fn fresh(data: &DataDir, name: &str) -> Result<File> {
    let path = data.join(name);
    if path.exists() {
        std::fs::rename(&path, data.join(&format!("{name}.old")))
            .with_context(|| format!("cannot move {}", path.display()))?;
    }
    File::create(&path).with_context(|| format!("cannot write {}", path.display()))
}
