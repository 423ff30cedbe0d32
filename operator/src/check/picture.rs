//! The picture of a check: a job is made, waited for, and what comes of it looked at.

use std::io::Cursor;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use kube::api::{Api, DeleteParams, PostParams};
use sha2::{Digest as _, Sha256};
use tintype_crds::{GenerationJob, GenerationJobSpec};
use tintype_dispatch::WorkerSeen;
use tintype_types::{GenerationRequest, JobState, Output, PoolName};
use tokio::time::sleep;

use super::{BETWEEN, Checker, Outcome};

/// What it shows. Anything but one colour will do.
const PROMPT: &str = "a red circle on a blue background";
/// Seconds after its end when the job goes, should nobody be left to delete it.
const TTL_SECONDS: u32 = 600;

impl Checker<'_> {
    pub(super) async fn picture(&self, namespace: &str) -> Result<Outcome> {
        let pool = &self.args.pool;
        if !self.args.expect_worker && !self.has_worker().await? {
            let said =
                format!("this release runs no workers, and the pool {pool} has no other: no picture was asked for");
            return Ok(Outcome::Skipped(said));
        }
        let jobs: Api<GenerationJob> = Api::namespaced(self.client.clone(), namespace);
        let began = Instant::now();
        // The model may be new to the API server, and the kinds too.
        let made = self
            .patiently(async || jobs.create(&PostParams::default(), &self.job()).await.context("making a job"))
            .await?;
        let name = made.metadata.name.unwrap_or_default();
        let job = self.ended(&jobs, &name).await?;
        let took = began.elapsed();
        let (id, status) = (job.metadata.uid.clone().unwrap_or_default(), job.status_or_new());
        let output = status.outputs.first().context("the job is complete and names no picture")?;
        let answer = self.read(&format!("jobs/{id}/image/0?attempt={}", status.attempt.0)).await?;
        let bytes = answer.bytes().await.context("reading the picture")?;
        ensure!(
            hex::encode(Sha256::digest(&bytes)) == output.sha256,
            "the store's picture of {name} is not the one its status names"
        );
        look(&bytes, output)?;
        jobs.delete(&name, &DeleteParams::default()).await.context("deleting the job")?;
        let worker = status.assignment.map_or_else(String::new, |assignment| assignment.worker.0);
        let (width, height) = (output.width, output.height);
        Ok(Outcome::Fine(format!("{worker} drew {width}x{height} in {:.1} s, and it is not blank", took.as_secs_f64())))
    }

    fn job(&self) -> GenerationJob {
        let mut request = GenerationRequest::new(&self.args.model, PROMPT);
        request.seed = Some(1);
        let mut spec = GenerationJobSpec::new(request);
        spec.pool = Some(PoolName(self.args.pool.clone()));
        spec.ttl_seconds_after_finished = Some(TTL_SECONDS);
        let mut job = GenerationJob::new("", spec);
        job.metadata.name = None;
        job.metadata.generate_name = Some("check-".to_owned());
        job
    }

    async fn has_worker(&self) -> Result<bool> {
        let seen: Vec<WorkerSeen> =
            self.read("workers").await?.json().await.context("reading the workers there are")?;
        Ok(seen.iter().any(|worker| worker.pool.0 == self.args.pool))
    }

    /// The job once it is complete.
    async fn ended(&self, jobs: &Api<GenerationJob>, name: &str) -> Result<GenerationJob> {
        loop {
            let job = jobs.get(name).await.context("reading the job")?;
            match job.state() {
                JobState::Complete => return Ok(job),
                JobState::Failed => {
                    let why = job.status_or_new().failure.map(|failure| failure.message);
                    bail!("the job {name} failed: {}", why.unwrap_or_default());
                }
                JobState::Queued | JobState::Assigned | JobState::Running | JobState::Preempted => {}
            }
            if Instant::now() > self.ends {
                let id = job.metadata.uid.unwrap_or_default();
                bail!("the job {name} was not done in time: {}", self.verdict(&id).await);
            }
            sleep(BETWEEN).await;
        }
    }

    /// Where a job stands, in the scheduler's words.
    async fn verdict(&self, id: &str) -> String {
        match self.read(&format!("verdicts?job={id}")).await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => format!("{error:#}"),
        }
    }
}

/// A picture is one that can be read, has its size, and more than one colour.
fn look(bytes: &[u8], output: &Output) -> Result<()> {
    let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().context("the picture is no PNG")?;
    let mut pixels = vec![0; reader.output_buffer_size().context("the picture is too large")?];
    let frame = reader.next_frame(&mut pixels).context("the picture is damaged")?;
    let (width, height) = (frame.width, frame.height);
    ensure!(
        (width, height) == (output.width, output.height),
        "the picture is {width}x{height}, and its job says otherwise"
    );
    pixels.truncate(frame.buffer_size());
    let (mut each, of) = (pixels.chunks(frame.color_type.samples()), frame.color_type);
    let first = each.next().context("the picture has no pixels")?;
    ensure!(each.any(|pixel| pixel != first), "the picture is blank: every pixel is {first:?} ({of:?})");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(pixel: impl Fn(usize) -> u8) -> Vec<u8> {
        let mut held = Vec::new();
        let mut encoder = png::Encoder::new(&mut held, 8, 8);
        encoder.set_color(png::ColorType::Rgb);
        let pixels: Vec<u8> = (0..8 * 8 * 3).map(pixel).collect();
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
        held
    }

    fn output(side: u32) -> Output {
        Output { key: String::new(), sha256: String::new(), bytes: 0, width: side, height: side, seed: 1 }
    }

    #[test]
    fn one_colour_is_no_picture() {
        let said = |bytes: &[u8], side| look(bytes, &output(side)).map_err(|error| error.to_string());
        assert_eq!(said(&png(|at| u8::from(at == 100)), 8), Ok(()));
        // Grey would pass if bytes were compared, not pixels.
        assert!(said(&png(|at| [10, 20, 30][at % 3]), 8).unwrap_err().contains("every pixel is [10, 20, 30]"));
        assert!(said(&png(|at| u8::from(at == 100)), 64).unwrap_err().contains("8x8"));
        assert!(said(b"nothing", 8).unwrap_err().contains("no PNG"));
    }
}
