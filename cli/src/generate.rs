//! `tintype generate`: submit, watch the steps go by, write the files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tintype_types::{GenerationRequest, JobEvent, JobState};

use crate::args::GenerateArgs;
use crate::client::Client;
use crate::inputs;
use crate::sse::Decoder;
use crate::terminal;

/// How often a broken event stream is opened again before giving up; each event is a whole snapshot, so none is missed.
const STREAM_TRIES_MAX: u32 = 5;
/// Pause before the stream is opened again.
const STREAM_PAUSE: Duration = Duration::from_millis(500);
/// Longest file name made from a prompt.
const NAME_CHARS_MAX: usize = 48;

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
        let name = Name { prompt: &args.prompt, extension: request.format.unwrap_or_default().extension() };
        let path = target(args.output.as_deref(), name, index, last.outputs.len());
        let path = write_new(&path, &bytes, args.output.is_some())?;
        terminal::result(format_args!("{}  {}x{}  seed {}", path.display(), output.width, output.height, output.seed));
    }
    Ok(ExitCode::SUCCESS)
}

async fn build(args: &GenerateArgs, client: &Client) -> Result<GenerationRequest> {
    let model = match &args.model {
        Some(model) => model.clone(),
        None => client.models().await?.into_iter().next().context("the server has no model; see `tintype doctor`")?,
    };
    let mut request = GenerationRequest::new(model, &args.prompt);
    request.negative_prompt.clone_from(&args.negative_prompt);
    request.images = args.images;
    request.width = args.size.map(|(width, _)| width);
    request.height = args.size.map(|(_, height)| height);
    request.steps = args.steps;
    request.guidance_scale = args.guidance_scale;
    request.sampler = args.sampler;
    request.levels = args.levels;
    request.seed = args.seed;
    // Before anything is uploaded, and again with what was.
    check(&request)?;
    inputs::add(&mut request, &args.inputs, client).await?;
    check(&request)?;
    Ok(request)
}

fn check(request: &GenerationRequest) -> Result<()> {
    request.validate().map_err(|error| anyhow::anyhow!("{}: {error}", error.param))
}

fn progress_bar() -> ProgressBar {
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
    let word = match event.state {
        JobState::Queued => "waiting",
        JobState::Assigned => "starting",
        JobState::Running | JobState::Complete => "drawing",
        JobState::Preempted => "paused",
        JobState::Failed => "failed",
    };
    bar.set_message(word);
    if event.steps > 0 {
        bar.set_length(u64::from(event.steps));
        bar.set_position(u64::from(event.step));
    }
    if event.state == JobState::Complete {
        bar.set_position(bar.length().unwrap_or(0));
    }
}

/// What a file is called when the user does not say.
#[derive(Clone, Copy)]
struct Name<'a> {
    prompt: &'a str,
    extension: &'a str,
}

/// Where picture `index` of `count` goes.
fn target(output: Option<&Path>, name: Name<'_>, index: usize, count: usize) -> PathBuf {
    let Name { prompt, extension } = name;
    let number = if count > 1 { format!("-{}", index + 1) } else { String::new() };
    match output {
        Some(path) if path.is_dir() => path.join(format!("{}{number}.{extension}", slug(prompt))),
        Some(path) if count > 1 => {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            path.with_file_name(format!("{stem}{number}.{extension}"))
        }
        Some(path) => path.to_path_buf(),
        None => PathBuf::from(format!("{}{number}.{extension}", slug(prompt))),
    }
}

/// Writes the file. A name the user chose is replaced; a name made here never takes another picture's place.
fn write_new(path: &Path, bytes: &[u8], chosen: bool) -> Result<PathBuf> {
    if chosen && !path.is_dir() {
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        return Ok(path.to_path_buf());
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    for number in 1..1_000 {
        let candidate =
            if number == 1 { path.to_path_buf() } else { path.with_file_name(format!("{stem}_{number}.{extension}")) };
        match std::fs::OpenOptions::new().write(true).create_new(true).open(&candidate) {
            Ok(mut file) => {
                file.write_all(bytes).with_context(|| format!("cannot write {}", candidate.display()))?;
                return Ok(candidate);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot write {}", candidate.display())),
        }
    }
    bail!("a thousand pictures of this name are here already; choose one with --output")
}

fn slug(prompt: &str) -> String {
    let words: String =
        prompt.chars().map(|letter| if letter.is_alphanumeric() { letter.to_ascii_lowercase() } else { '-' }).collect();
    let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
    let slug: String = words.join("-").chars().take(NAME_CHARS_MAX).collect();
    if slug.is_empty() { "picture".to_owned() } else { slug.trim_end_matches('-').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_becomes_a_plain_file_name() {
        assert_eq!(slug("a red circle on a blue background"), "a-red-circle-on-a-blue-background");
        assert_eq!(slug("../../etc/passwd"), "etc-passwd");
        assert_eq!(slug("!!!"), "picture");
        assert!(slug(&"long ".repeat(100)).len() <= NAME_CHARS_MAX);
    }

    #[test]
    fn several_pictures_get_numbers() {
        let name = Name { prompt: "a cat", extension: "webp" };
        assert_eq!(target(None, name, 0, 1), PathBuf::from("a-cat.webp"));
        assert_eq!(target(None, name, 1, 2), PathBuf::from("a-cat-2.webp"));
        assert_eq!(target(Some(Path::new("out/x.png")), name, 0, 2), PathBuf::from("out/x-1.webp"));
        assert_eq!(target(Some(Path::new("out/x.png")), name, 0, 1), PathBuf::from("out/x.png"), "as it was chosen");
    }

    #[test]
    fn a_made_name_never_replaces_a_file_and_a_chosen_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cat.png");
        assert_eq!(write_new(&path, b"1", false).unwrap(), path);
        assert_eq!(write_new(&path, b"2", false).unwrap(), folder.path().join("cat_2.png"));
        assert_eq!(std::fs::read(&path).unwrap(), b"1");
        write_new(&path, b"3", true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"3");
    }
}
