//! Jobs as the API server has them, and their pictures.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tintype_crds::GenerationJob;
use tintype_types::{JobState, Timestamp};

use crate::ask::Source;
use crate::files::{Name, target, write_new};
use crate::kubectl::{JOBS, Kubectl};
use crate::terminal;

/// What `kubectl get` prints of several objects.
#[derive(Debug, Deserialize)]
pub(super) struct List<K> {
    /// The objects.
    pub(super) items: Vec<K>,
}

/// One job.
pub(super) async fn one(kubectl: &Kubectl, name: &str) -> Result<GenerationJob> {
    let words = kubectl.in_namespace(&["get", JOBS, name, "-o", "json"]);
    kubectl.read(&words).await.with_context(|| format!("cannot find the job {name}"))
}

/// When the job was made.
pub(super) fn made(job: &GenerationJob) -> Option<Timestamp> {
    let time = job.metadata.creation_timestamp.as_ref()?;
    u64::try_from(time.0.as_millisecond()).ok().map(Timestamp)
}

/// Writes the pictures of a complete job: into this file or folder, or where they are called after their prompt.
pub(super) async fn fetch(source: &Source, job: &GenerationJob, output: Option<&Path>) -> Result<()> {
    let status = job.status_or_new();
    let name = job.metadata.name.as_deref().unwrap_or_default();
    match (&status.failure, status.state) {
        (_, JobState::Complete) => {}
        (Some(failure), JobState::Failed) => bail!("{name} failed: {}", failure.message),
        (_, other) => bail!("{name} has no pictures yet: it is {}", other.as_str()),
    }
    let id = job.metadata.uid.as_deref().context("the job has no id")?;
    for (index, output_of) in status.outputs.iter().enumerate() {
        let bytes = source.picture(id, status.attempt.0, index).await?;
        let extension = Path::new(&output_of.key).extension().and_then(|it| it.to_str()).unwrap_or("png");
        let called = Name { prompt: &job.spec.request.prompt, extension };
        let path: PathBuf = target(output, called, index, status.outputs.len());
        let path = write_new(&path, &bytes, output.is_some())?;
        let (width, height, seed) = (output_of.width, output_of.height, output_of.seed);
        terminal::result(format_args!("{}  {width}x{height}  seed {seed}", path.display()));
    }
    Ok(())
}
