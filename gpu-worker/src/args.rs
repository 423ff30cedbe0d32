//! The command line and the environment variables behind it, checked once at the start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use reqwest::Url;
use tintype_telemetry::TelemetryArgs;
use tintype_types::{PoolName, WorkerId};

use crate::cache::Keep;
use crate::kernels::Precision;
use crate::output::OutputArgs;
use crate::pipeline::DeviceChoice;

/// Claims jobs from a dispatcher, draws them and uploads the pictures.
#[derive(Clone, Debug, Parser)]
#[command(name = "gpu-worker", version)]
pub struct Args {
    /// Name of this worker, stable over restarts [default: the host's name].
    #[arg(long, env = "TINTYPE_WORKER_ID")]
    pub worker_id: Option<String>,
    /// Pool of like workers this one belongs to.
    #[arg(long, env = "TINTYPE_POOL", default_value = "default")]
    pub pool: String,
    /// Where to claim work, such as http://127.0.0.1:8089.
    #[arg(long, env = "TINTYPE_DISPATCH_URL")]
    pub dispatch_url: String,
    /// File with the secret shared with the dispatcher; read again for each call, so it may be rotated.
    #[arg(long, env = "TINTYPE_WORKER_TOKEN_FILE")]
    pub token_file: PathBuf,
    /// Folder that holds models in diffusers layout; may be given several times.
    #[arg(long, env = "TINTYPE_MODELS_DIR", value_delimiter = ':', required = true)]
    pub models_dir: Vec<PathBuf>,
    /// Folder for model files that a card names by a URL (`source`, with its `sha256`); left out, such models are not done.
    #[arg(long, env = "TINTYPE_MODELS_CACHE")]
    pub models_cache: Option<PathBuf>,
    /// Most models kept in memory.
    #[arg(long, env = "TINTYPE_RESIDENT_MODELS_MAX", default_value_t = 4)]
    pub resident_models_max: usize,
    /// Most bytes of models kept in memory [default: three quarters of the first GPU's memory, or of the host's].
    #[arg(long, env = "TINTYPE_RESIDENT_BYTES_MAX")]
    pub resident_bytes_max: Option<u64>,
    /// Steps of a picture after which its job is written to the store, so that a worker that dies loses no more than
    /// these; steps wait for the store meanwhile. 0 writes only when the job is preempted or the worker drained.
    #[arg(long, env = "TINTYPE_CHECKPOINT_EVERY", default_value_t = 0)]
    pub checkpoint_every: u32,
    /// Most jobs drawn at a time. Pictures of one model and one size share their steps: more jobs are more pictures an hour,
    /// and each of them takes longer. On a CPU sharing brings little, so one job at a time is the default.
    #[arg(long, env = "TINTYPE_SLOTS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub slots: u32,
    /// Model that is loaded at the start and never put out; may be given several times.
    #[arg(long, env = "TINTYPE_PIN", value_delimiter = ',')]
    pub pin: Vec<String>,
    /// Model that is loaded at the start and put out last; may be given several times.
    #[arg(long, env = "TINTYPE_WARM", value_delimiter = ',')]
    pub warm: Vec<String>,
    /// Seconds after which a model that nobody used, and that is not pinned, is put out and its memory given back to the
    /// system; left out, it stays until its room is wanted. Looked at with each claim, so up to half a minute later.
    #[arg(long, env = "TINTYPE_UNLOAD_AFTER")]
    pub unload_after: Option<u64>,
    /// Where to draw: `auto` (the first CUDA device where there is one, else the CPU), `cpu`, or `cuda:N`.
    #[arg(long, env = "TINTYPE_DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// What the denoiser multiplies in: f32; bf16, which is faster and less exact and needs a processor with AVX512-BF16 or a
    /// GPU since Ampere; or f16, on a GPU.
    #[arg(long, env = "TINTYPE_PRECISION", default_value_t = Precision::F32)]
    pub precision: Precision,
    /// Address for /healthz, /readyz and /metrics; left out, there are none. Port 0 takes a free one.
    #[arg(long, env = "TINTYPE_WORKER_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Show the GPUs under the names of NVIDIA's dcgm-exporter too. For nodes that do not run it; with it, numbers would
    /// be there twice.
    #[arg(long, env = "TINTYPE_DCGM_METRICS")]
    pub dcgm_metrics: bool,
    /// The NVML library to load instead of the driver's.
    #[arg(long, env = "TINTYPE_NVML_LIB")]
    pub nvml_lib: Option<PathBuf>,
    /// Lets other processes compute on the GPU too. Without it a worker that meets some takes no work until they are gone.
    #[arg(long, env = "TINTYPE_SHARE_GPU")]
    pub share_gpu: bool,
    /// How pictures are finished.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Where traces go.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// How the log is written.
    #[arg(long, env = "TINTYPE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Args {
    /// The models wanted more than by their value. Who is both pinned and warm is pinned.
    pub(crate) fn keep(&self) -> BTreeMap<String, Keep> {
        let warm = self.warm.iter().map(|name| (name.clone(), Keep::Warm));
        warm.chain(self.pin.iter().map(|name| (name.clone(), Keep::Pinned))).collect()
    }
}

/// Who this worker is and whom it calls: the checked part of [`Args`].
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) worker: WorkerId,
    pub(crate) pool: PoolName,
    pub(crate) dispatch: Url,
    pub(crate) token_file: PathBuf,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) checkpoint_every: u32,
    pub(crate) slots: u32,
}

impl Config {
    /// # Errors
    /// An address that is none, or a token file that cannot be read: better now than at the first claim.
    pub(crate) fn new(args: &Args) -> Result<Self> {
        let dispatch = Url::parse(&args.dispatch_url).with_context(|| {
            format!("`{}` is not an address; give --dispatch-url like http://127.0.0.1:8089", args.dispatch_url)
        })?;
        if !matches!(dispatch.scheme(), "http" | "https") || dispatch.host().is_none() {
            bail!("--dispatch-url must start with http:// or https:// and name a host");
        }
        let worker = match &args.worker_id {
            Some(id) if !id.trim().is_empty() => id.trim().to_owned(),
            Some(_) | None => host_name()?,
        };
        std::fs::read(&args.token_file).with_context(|| {
            format!("cannot read the token file {}; it holds the dispatcher's secret", args.token_file.display())
        })?;
        Ok(Self {
            worker: WorkerId(worker),
            pool: PoolName(args.pool.clone()),
            dispatch,
            token_file: args.token_file.clone(),
            listen: args.listen,
            checkpoint_every: args.checkpoint_every,
            slots: args.slots,
        })
    }
}

fn host_name() -> Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => bail!("this host has no name; name the worker with --worker-id"),
        name => Ok(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_takes_several_folders() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
        let args = parse("http://127.0.0.1:8089", "/a:/b");
        assert_eq!(args.models_dir, [PathBuf::from("/a"), PathBuf::from("/b")]);
    }

    #[test]
    fn a_precision_is_one_of_three_words() {
        let with = |word: &str| {
            let words = ["gpu-worker", "--dispatch-url", "http://h", "--token-file", "/t", "--models-dir", "/m"];
            Args::try_parse_from(words.into_iter().chain(["--precision", word])).map(|args| args.precision)
        };
        assert_eq!(with("bf16").unwrap(), Precision::Bf16);
        assert_eq!(with("f32").unwrap(), Precision::F32);
        assert_eq!(with("f16").unwrap(), Precision::F16);
        assert!(with("fp8").unwrap_err().to_string().contains("f32, bf16 or f16"));
    }

    #[test]
    fn what_cannot_work_is_refused_at_the_start() {
        for (url, said) in [("localhost", "--dispatch-url"), ("ftp://host", "http://"), ("http://host", "token file")] {
            let error = Config::new(&parse(url, "/a")).unwrap_err();
            assert!(format!("{error:#}").contains(said), "{error:#}");
        }
    }

    fn parse(url: &str, models: &str) -> Args {
        let words = ["gpu-worker", "--dispatch-url", url, "--token-file", "/nonexistent", "--models-dir", models];
        Args::try_parse_from(words).unwrap()
    }
}
