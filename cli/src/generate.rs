//! `tintype generate`: submit, watch the steps go by, write the files.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tintype_types::{GenerationRequest, JobEvent, JobState};

use crate::args::{GenerateArgs, RequestArgs};
use crate::client::Client;
use crate::files::{Name, target, write_new};
use crate::inputs;
use crate::sse::Decoder;
use crate::terminal;

/// How often a broken event stream is opened again before giving up; each event is a whole snapshot, so none is missed.
const STREAM_TRIES_MAX: u32 = 5;
/// Pause before the stream is opened again.
const STREAM_PAUSE: Duration = Duration::from_millis(500);

/// Runs the command. Ctrl-C cancels the job.
pub(crate) async fn run(args: GenerateArgs) -> Result<ExitCode> {
    let client = Client::from_args(&args.connect)?;
    let request = build(&args, &client).await?;
    let job = client.submit(&request).await?;
    let bar = progress_bar();
    let last = tokio::select! {
        last = follow(&client, &job, &bar) => last?,
        _ = tokio::signal::ctrl_c() => {
            bar.abandon_with_message("cancelled");
            client.cancel(&job).await?;
            terminal::note("cancelled; nothing is charged");
            return Ok(ExitCode::from(130));
        }
    };
    if last.state == JobState::Failed {
        bar.abandon_with_message("failed");
        let reason = last.failure.map_or("Failed", |reason| reason.as_str());
        bail!("the job failed ({reason}): {}; nothing is charged", last.message.unwrap_or_default());
    }
    bar.finish_with_message("done");
    for (index, output) in last.outputs.iter().enumerate() {
        let bytes = client.image(&job, index).await?;
        let name = Name { prompt: &args.request.prompt, extension: request.format.unwrap_or_default().extension() };
        let path = target(args.output.as_deref(), name, index, last.outputs.len());
        let path = write_new(&path, &bytes, args.output.is_some())?;
        terminal::result(format_args!("{}  {}x{}  seed {}", path.display(), output.width, output.height, output.seed));
    }
    Ok(ExitCode::SUCCESS)
}

async fn build(args: &GenerateArgs, client: &Client) -> Result<GenerationRequest> {
    let model = match &args.request.model {
        Some(model) => model.clone(),
        None => client.models().await?.into_iter().next().context("the server has no model; see `tintype doctor`")?,
    };
    let mut request = asked(&args.request, model);
    request.images = args.images;
    // Before anything is uploaded, and again with what was.
    check(&request)?;
    inputs::add(&mut request, &args.inputs, client).await?;
    check(&request)?;
    Ok(request)
}

/// What the flags ask of this model.
pub(crate) fn asked(args: &RequestArgs, model: String) -> GenerationRequest {
    let mut request = GenerationRequest::new(model, &args.prompt);
    request.negative_prompt.clone_from(&args.negative_prompt);
    request.width = args.size.map(|(width, _)| width);
    request.height = args.size.map(|(_, height)| height);
    request.steps = args.steps;
    request.guidance_scale = args.guidance_scale;
    request.sampler = args.sampler;
    request.levels = args.levels;
    request.seed = args.seed;
    request
}

/// Refuses what no server would take.
pub(crate) fn check(request: &GenerationRequest) -> Result<()> {
    request.validate().map_err(|error| anyhow::anyhow!("{}: {error}", error.param))
}

/// A bar of steps.
pub(crate) fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:<9} [{bar:32}] {pos}/{len} steps  {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    let bar = ProgressBar::new(0).with_style(style).with_message("waiting");
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Follows the job to its end and gives the last event.
async fn follow(client: &Client, job: &str, bar: &ProgressBar) -> Result<JobEvent> {
    let mut tries = 0;
    loop {
        match follow_stream(client, job, bar).await {
            Ok(Some(last)) => return Ok(last),
            Err(error) if tries >= STREAM_TRIES_MAX => {
                return Err(error.context(format!("lost sight of job {job}; it goes on without this terminal")));
            }
            Ok(None) | Err(_) => {}
        }
        tries += 1;
        if tries > STREAM_TRIES_MAX {
            bail!("the event stream of job {job} keeps ending early; it goes on without this terminal");
        }
        tokio::time::sleep(STREAM_PAUSE).await;
    }
}

async fn follow_stream(client: &Client, job: &str, bar: &ProgressBar) -> Result<Option<JobEvent>> {
    let mut response = client.events(job).await?;
    let mut decoder = Decoder::default();
    while let Some(chunk) = response.chunk().await.context("the event stream broke")? {
        for data in decoder.push(&chunk)? {
            let event: JobEvent = serde_json::from_str(&data).context("an event is not what this version reads")?;
            show(&event, bar);
            if event.state.is_terminal() {
                return Ok(Some(event));
            }
        }
    }
    Ok(None)
}

fn show(event: &JobEvent, bar: &ProgressBar) {
    step(event.state, (event.step, event.steps), bar);
}

/// Moves the bar to where a job stands: steps done, of so many.
pub(crate) fn step(state: JobState, (step, steps): (u32, u32), bar: &ProgressBar) {
    let word = match state {
        JobState::Queued => "waiting",
        JobState::Assigned => "starting",
        JobState::Running | JobState::Complete => "drawing",
        JobState::Preempted => "paused",
        JobState::Failed => "failed",
    };
    bar.set_message(word);
    if steps > 0 {
        bar.set_length(u64::from(steps));
        bar.set_position(u64::from(step));
    }
    if state == JobState::Complete {
        bar.set_position(bar.length().unwrap_or(0));
    }
}
