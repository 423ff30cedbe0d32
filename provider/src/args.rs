//! The command line and the environment variables behind it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use tintype_worker::LogFormat;
use tintype_worker::output::OutputArgs;

/// Buys what the jobs of one pool ask for from the provider the pool names.
#[derive(Clone, Debug, Parser)]
#[command(name = "tintype-provider", version)]
pub struct Args {
    /// The pool it serves.
    #[arg(long, env = "TINTYPE_POOL")]
    pub pool: String,
    /// The GpuPool as a YAML file, on a machine without a cluster; read again for each claim. Left out: the cluster's.
    #[arg(long, env = "TINTYPE_POOL_FILE", requires = "book_file")]
    pub pool_file: Option<PathBuf>,
    /// The file the book of purchases is kept in; every adapter of an installation has the same one. Left out: a ConfigMap.
    #[arg(long, env = "TINTYPE_BOOK_FILE")]
    pub book_file: Option<PathBuf>,
    /// The ConfigMap the book is kept in.
    #[arg(long, env = "TINTYPE_BOOK_NAME", default_value = "tintype-purchases")]
    pub book_name: String,
    /// Namespace of that ConfigMap. Left out: the one the account belongs to.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
    /// A kubeconfig file. Left out: the pod's own account.
    #[arg(long, env = "TINTYPE_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Name of this worker, stable over restarts [default: the pool's name].
    #[arg(long, env = "TINTYPE_WORKER_ID")]
    pub worker_id: Option<String>,
    /// Where to claim work, such as http://127.0.0.1:8089.
    #[arg(long, env = "TINTYPE_DISPATCH_URL")]
    pub dispatch_url: String,
    /// File with the secret shared with the dispatcher; read again for each call.
    #[arg(long, env = "TINTYPE_WORKER_TOKEN_FILE")]
    pub token_file: PathBuf,
    /// File with the provider's key; read again for each call, so it may be rotated.
    #[arg(long, env = "TINTYPE_PROVIDER_KEY_FILE")]
    pub key_file: PathBuf,
    /// Where the provider reaches this program's `/hooks`. Left out, there are no webhooks and it asks instead.
    #[arg(long, env = "TINTYPE_PROVIDER_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// File with the secret Replicate signs webhooks with (`whsec_...`); without it none of Replicate's are believed.
    #[arg(long, env = "TINTYPE_PROVIDER_WEBHOOK_SECRET_FILE")]
    pub webhook_secret_file: Option<PathBuf>,
    /// Let the provider name private addresses for pictures, and by http: where it is next door. Metadata services stay out of
    /// reach. What it names under its own `baseUrl` is fetched in any case.
    #[arg(long, env = "TINTYPE_PROVIDER_PRIVATE_PICTURES")]
    pub private_pictures: bool,
    /// Hand uploaded pictures over by the store's signed URLs, which the provider must be able to reach by https, instead of inside
    /// the request, where only small ones fit.
    #[arg(long, env = "TINTYPE_PROVIDER_INPUT_URLS")]
    pub input_urls: bool,
    /// How often the provider is asked how far a job is, in milliseconds.
    #[arg(long, env = "TINTYPE_PROVIDER_POLL_MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub poll_ms: u64,
    /// How often purchases nobody waits for are looked after, in milliseconds.
    #[arg(long, env = "TINTYPE_PROVIDER_SWEEP_MS", default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(10..=600_000))]
    pub sweep_ms: u64,
    /// Address for /healthz, /readyz, /metrics and /hooks; left out, there are none. Port 0 takes a free one.
    #[arg(long, env = "TINTYPE_WORKER_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// How pictures are finished.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How the log is written.
    #[arg(long, env = "TINTYPE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

impl Args {
    pub(crate) fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms)
    }

    pub(crate) fn sweep(&self) -> Duration {
        Duration::from_millis(self.sweep_ms)
    }
}
