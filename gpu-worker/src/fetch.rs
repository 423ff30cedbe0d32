//! Model files that a card names by a URL: brought into a cache folder before the engine is asked for the model. A file
//! that broke off is gone on with, one that is there is never fetched again, and none gets its name before its SHA-256 is
//! the one its card gives.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tintype_catalogue::{Catalogue, Source, SourceFile};
use tintype_types::{FailureReason, ModelKind, ResolvedRequest};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::Mutex;

use crate::client::Backoff;
use crate::metrics::Metrics;

/// Largest file fetched: a single-file checkpoint of SDXL in full precision has 14 GB.
const FILE_BYTES_MAX: u64 = 32 << 30;
/// How long reaching the source may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the source may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often a file is gone on with in one attempt. What is there stays for the next one.
const TRIES_MAX: u32 = 5;
/// Redirects followed: hubs send on to where the bytes lie.
const REDIRECTS_MAX: usize = 5;
/// How long another process that fetches the same file is waited for, and how often it is looked at.
const OTHERS_WAIT_MAX: Duration = Duration::from_mins(30);
const OTHERS_PERIOD: Duration = Duration::from_millis(500);
/// Bytes hashed at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Why a file is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// What came is not what the card names.
    #[error("has the SHA-256 {got} and its card says {wanted}; mend the card, or the file at its source")]
    OtherFile { got: String, wanted: String },
    /// The source said no.
    #[error("is not to be had: its source answered {0}")]
    Refused(StatusCode),
    /// It is larger than any file that is fetched.
    #[error("has more than {FILE_BYTES_MAX} bytes, which is more than is fetched")]
    TooLarge,
    /// The source was not reached, or broke off.
    #[error("could not be fetched: {0}")]
    Transport(String),
    /// The cache folder does not take it.
    #[error("could not be kept in the models cache: {0}")]
    Disk(#[from] io::Error),
}

impl FetchError {
    /// Whether another try may end otherwise.
    fn passes(&self) -> bool {
        match self {
            Self::OtherFile { .. } | Self::TooLarge => false,
            Self::Refused(status) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::Transport(_) | Self::Disk(_) => true,
        }
    }

    /// The reason reported, and whether another attempt could end otherwise.
    pub(crate) fn reason(&self) -> (FailureReason, bool) {
        (FailureReason::ModelUnreadable, self.passes())
    }

    fn outcome(&self) -> &'static str {
        match self {
            Self::OtherFile { .. } => "other_file",
            Self::Refused(_) => "refused",
            Self::TooLarge => "too_long",
            Self::Transport(_) => "unreachable",
            Self::Disk(_) => "disk",
        }
    }
}

/// Fetches files into a folder.
pub(crate) struct Fetcher {
    http: reqwest::Client,
    directories: Vec<PathBuf>,
    cache: PathBuf,
    /// The models at the last look.
    known: Mutex<Catalogue>,
    metrics: Metrics,
}

impl Fetcher {
    pub(crate) fn new(directories: Vec<PathBuf>, cache: PathBuf, metrics: Metrics) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            .read_timeout(SILENCE_MAX)
            .redirect(reqwest::redirect::Policy::limited(REDIRECTS_MAX))
            .user_agent(concat!("tintype-worker/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, directories, cache, known: Mutex::default(), metrics })
    }

    /// Brings what a request names and a card gives a source for. What nobody knows is the engine's to refuse.
    ///
    /// # Errors
    /// The name of the first that cannot be had, and why.
    pub(crate) async fn bring(&self, request: &ResolvedRequest) -> Result<(), (String, FetchError)> {
        // What has no weight is not even looked at.
        let loras = request.loras.iter().filter(|lora| lora.weight != 0.0);
        let controls = request.controls.iter().filter(|control| control.weight != 0.0);
        let names: Vec<(ModelKind, &str)> = std::iter::once((ModelKind::Checkpoint, request.model.as_str()))
            .chain(loras.map(|lora| (ModelKind::Lora, lora.name.as_str())))
            .chain(controls.map(|control| (ModelKind::Controlnet, control.name.as_str())))
            .collect();
        self.bring_all(&names).await
    }

    /// Brings a model's files, if a card gives a source for them.
    ///
    /// # Errors
    /// As [`Self::bring`].
    pub(crate) async fn bring_model(&self, model: &str) -> Result<(), (String, FetchError)> {
        self.bring_all(&[(ModelKind::Checkpoint, model)]).await
    }

    async fn bring_all(&self, names: &[(ModelKind, &str)]) -> Result<(), (String, FetchError)> {
        for (name, source) in self.sources(names).await {
            for (file, place) in source.files_in(&self.cache) {
                let fetched = self.fetch(file, &place).await;
                let outcome = fetched.as_ref().map_or_else(FetchError::outcome, |()| "ok");
                self.metrics.calls.with_label_values(&["fetch", outcome]).inc();
                fetched.map_err(|error| (name.clone(), error))?;
            }
        }
        Ok(())
    }

    /// The sources of these, for those that have one. The directories are looked through again for a name that is unknown.
    async fn sources(&self, names: &[(ModelKind, &str)]) -> Vec<(String, Source)> {
        let mut known = self.known.lock().await;
        if names.iter().any(|(kind, name)| known.find(*kind, name).is_none()) {
            let (before, directories) = (known.clone(), self.directories.clone());
            if let Ok(found) = tokio::task::spawn_blocking(move || before.rescan(&directories)).await {
                *known = found;
            }
        }
        let source = |(kind, name): &(ModelKind, &str)| {
            let source = known.find(*kind, name)?.source.clone()?;
            Some(((*name).to_owned(), source))
        };
        names.iter().filter_map(source).collect()
    }

    /// Brings one file to its place, unless it is there.
    async fn fetch(&self, source: &SourceFile, file: &Path) -> Result<(), FetchError> {
        if tokio::fs::try_exists(file).await? {
            // It was hashed before it got this name.
            return Ok(());
        }
        tokio::fs::create_dir_all(file.parent().unwrap_or(&self.cache)).await?;
        let part = part_of(file);
        let mut draft = self.own(&part).await?;
        if tokio::fs::try_exists(file).await? {
            // Somebody else brought it meanwhile.
            return Ok(());
        }
        tracing::info!(sha256 = %source.sha256, "a model file is fetched");
        let (mut backoff, mut tries) = (Backoff::new(), 1);
        while let Err(error) = self.pull(source, &mut draft).await {
            if !error.passes() || tries >= TRIES_MAX {
                return Err(error);
            }
            tracing::debug!(%error, tries, "a model file broke off and is gone on with");
            tries += 1;
            tokio::time::sleep(backoff.pause()).await;
        }
        draft.sync_all().await?;
        let hashed = part.clone();
        let got = tokio::task::spawn_blocking(move || sha256(&hashed)).await.map_err(io::Error::other)??;
        if got != source.sha256 {
            // Nothing of it is worth going on with.
            tokio::fs::remove_file(&part).await?;
            return Err(FetchError::OtherFile { got, wanted: source.sha256.clone() });
        }
        Ok(tokio::fs::rename(&part, file).await?)
    }

    /// Opens a file's draft, as it was left. Whoever else fetches the same is waited for.
    async fn own(&self, part: &Path) -> Result<File, FetchError> {
        let until = tokio::time::Instant::now() + OTHERS_WAIT_MAX;
        loop {
            let draft = std::fs::File::options().create(true).truncate(false).read(true).write(true).open(part)?;
            match draft.try_lock() {
                // One that was renamed or removed while it was waited for is somebody's finished file, or nobody's.
                Ok(()) if same_file(&draft, part) => return Ok(File::from_std(draft)),
                Ok(()) => {}
                Err(std::fs::TryLockError::WouldBlock) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(OTHERS_PERIOD).await;
                }
                Err(std::fs::TryLockError::WouldBlock) => {
                    return Err(FetchError::Transport("another process is fetching it and does not end".to_owned()));
                }
                Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
            }
        }
    }

    /// Goes on with a draft to the end of the file.
    async fn pull(&self, source: &SourceFile, draft: &mut File) -> Result<(), FetchError> {
        let mut have = draft.metadata().await?.len();
        let mut call = self.http.get(&source.url);
        if have > 0 {
            call = call.header(RANGE, format!("bytes={have}-"));
        }
        let mut response = call.send().await.map_err(|error| transport(&error))?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(&response) == Some(have) => {}
            // It has no more than is there: the hash says whether that is all.
            StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => return Ok(()),
            status if status.is_success() => {
                draft.set_len(0).await?;
                have = 0;
            }
            status => return Err(FetchError::Refused(status)),
        }
        let whole = response.content_length().map(|rest| have.saturating_add(rest));
        if whole.is_some_and(|whole| whole > FILE_BYTES_MAX) {
            return Err(FetchError::TooLarge);
        }
        draft.seek(io::SeekFrom::Start(have)).await?;
        let ended = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    have += chunk.len() as u64;
                    if have > FILE_BYTES_MAX {
                        return Err(FetchError::TooLarge);
                    }
                    draft.write_all(&chunk).await?;
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(transport(&error)),
            }
        };
        // What came is on the disk before it is said how far that is.
        draft.flush().await?;
        ended?;
        if whole.is_some_and(|whole| whole != have) {
            return Err(FetchError::Transport("it broke off".to_owned()));
        }
        Ok(())
    }
}

/// What a file is called until it was hashed.
fn part_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Where in the file a part of it starts, by the answer's own word.
fn starts_at(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// URLs may be signed, so they are kept out of every message.
fn transport(error: &reqwest::Error) -> FetchError {
    let what = if error.is_timeout() {
        "its source was silent for too long"
    } else if error.is_connect() {
        "its source was not reached"
    } else {
        "it broke off"
    };
    FetchError::Transport(what.to_owned())
}

fn same_file(open: &std::fs::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let of = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    open.metadata().map(of).ok() == std::fs::metadata(path).map(of).ok()
}

fn sha256(path: &Path) -> io::Result<String> {
    let (mut file, mut hash, mut chunk) = (std::fs::File::open(path)?, Sha256::new(), vec![0; CHUNK_BYTES]);
    loop {
        let read = io::Read::read(&mut file, &mut chunk)?;
        if read == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&chunk[..read]);
    }
}
