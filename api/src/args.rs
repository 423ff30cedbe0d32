//! The command line: flags and the environment variables behind them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args as Flags, Parser, Subcommand, ValueEnum};
use tintype_store::StorageArgs;
use tintype_telemetry::TelemetryArgs;

use crate::cluster::secret::SecretArgs;
use crate::http::studio_settings::StudioArgs;
use crate::identity::args::IdentityArgs;
use crate::mail::args::MailArgs;
use crate::payments::PaymentsArgs;
use crate::rate::Rate;
use crate::services::ServicesArgs;
use crate::services::sentry::Reports;

/// Requests an account may make a minute unless the flag says otherwise: one that polls ten jobs ten times a second.
const REQUESTS_PER_MINUTE: u32 = 6_000;
/// Jobs of an account that may be unfinished unless the flag says otherwise.
const OPEN_JOBS_MAX: u64 = 1_000;
/// What part of a minute's requests may come at once.
const BURST_PART: u32 = 6;

/// The API: users, keys, credits, image endpoints.
#[derive(Debug, Parser)]
#[command(name = "api", version, about, subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// A chore instead of running.
    #[command(subcommand)]
    pub chore: Option<Chore>,
    /// How to run.
    #[command(flatten)]
    run: Option<Args>,
    // Beside the rest and not inside it: an optional group that holds groups counts as left out, whatever was given.
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    mail: MailArgs,
    #[command(flatten)]
    payments: PaymentsArgs,
    #[command(flatten)]
    services: ServicesArgs,
    #[command(flatten)]
    storage: StorageArgs,
    #[command(flatten)]
    studio: StudioArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

impl Cli {
    /// The settings of services.
    pub fn services(&self) -> &ServicesArgs {
        &self.services
    }

    /// A chore, or how to run; neither when nothing was said.
    pub fn parts(self) -> (Option<Chore>, Option<Args>) {
        let Self { chore, run, identity, mail, payments, services, storage, studio, telemetry } = self;
        (chore, run.map(|args| Args { identity, mail, payments, services, storage, studio, telemetry, ..args }))
    }
}

/// What it can do beside running.
#[derive(Clone, Debug, Subcommand)]
pub enum Chore {
    /// Bring the database schema up to date, and end.
    Migrate {
        /// The database.
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
        /// The same past a pooler, which migrations cannot go through.
        #[arg(long, env = "TINTYPE_DATABASE_DIRECT_URL", hide_env_values = true)]
        database_direct_url: Option<String>,
    },
    /// Make the Secret by which a release's own database and the API know each other, unless there is one, and end.
    DatabaseSecret(SecretArgs),
}

/// Where jobs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClusterKind {
    /// On this machine: workers claim from this process, Postgres is the record.
    Local,
    /// In a Kubernetes cluster: jobs are GenerationJob objects, the operator places them.
    Kubernetes,
}

/// How to run.
#[derive(Clone, Debug, Flags)]
pub struct Args {
    /// Where clients reach this program; in local mode workers too.
    #[arg(long, env = "TINTYPE_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Write the address listened on to this file once requests are served.
    #[arg(long)]
    pub port_file: Option<PathBuf>,
    /// The PostgreSQL database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// The same database past a pooler. With it DATABASE_URL may be a pooler's that lends a connection for one transaction, such as
    /// PgBouncer's transaction mode; migrations, notifications and locks go this way, by few connections.
    #[arg(long, env = "TINTYPE_DATABASE_DIRECT_URL", hide_env_values = true)]
    pub database_direct_url: Option<String>,
    /// Bring the database schema up to date at the start.
    #[arg(long, env = "TINTYPE_AUTO_MIGRATE", default_value_t = true, action = clap::ArgAction::Set)]
    pub auto_migrate: bool,
    /// Where jobs run.
    #[arg(long, env = "TINTYPE_CLUSTER", value_enum, default_value = "local")]
    pub cluster: ClusterKind,
    /// Folder of the image store. In Kubernetes mode the operator's, if it is mounted here too; left out, the operator is
    /// asked for pictures.
    #[arg(long, env = "TINTYPE_STORE_DIR", requires = "store_secret_file")]
    pub store_dir: Option<PathBuf>,
    /// File with the secret store URLs are signed with, 32 bytes or more; made when absent. The operator's, if it has one.
    #[arg(long, env = "TINTYPE_STORE_SECRET_FILE")]
    pub store_secret_file: Option<PathBuf>,
    /// Where workers and browsers reach the image store. Left out: the address listened on.
    #[arg(long, env = "TINTYPE_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// Serve `/metrics` here, such as 0.0.0.0:9090, and no longer beside the API. Left out: beside the API, to everybody.
    #[arg(long, env = "TINTYPE_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
    /// Let webhooks go to private addresses, and by http: for receivers next door. Metadata services stay out of reach.
    #[arg(long, env = "TINTYPE_WEBHOOK_PRIVATE_TARGETS")]
    pub webhook_private_targets: bool,
    /// File with the administrator's token. Left out: no users can be made over HTTP.
    #[arg(long, env = "TINTYPE_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// How long a request for pictures is held open, in seconds; then it is answered 504 and the job goes on.
    #[arg(long, env = "TINTYPE_WAIT_SECONDS", default_value_t = 55, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub wait_seconds: u64,
    /// Requests an account may make a minute, over all its keys; a sixth of them at once.
    #[arg(long, env = "TINTYPE_REQUESTS_PER_MINUTE", default_value_t = REQUESTS_PER_MINUTE, value_parser = clap::value_parser!(u32).range(1..=60_000_000))]
    pub requests_per_minute: u32,
    /// Jobs of an account that may be unfinished at a time.
    #[arg(long, env = "TINTYPE_OPEN_JOBS_MAX", default_value_t = OPEN_JOBS_MAX, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub open_jobs_max: u64,
    /// Another name for a model, as NAME=MODEL, such as gpt-image-1=tintype/shapes; may be given several times.
    #[arg(long = "model-alias", env = "TINTYPE_MODEL_ALIASES", value_delimiter = ',', value_parser = alias)]
    pub model_aliases: Vec<(String, String)>,
    /// Local mode: file with the token workers show.
    #[arg(long, env = "TINTYPE_WORKER_TOKEN_FILE")]
    pub worker_token_file: Option<PathBuf>,
    /// Local mode: folders that hold models in diffusers layout; may be given several times.
    #[arg(long = "models-dir", env = "TINTYPE_MODELS_DIR", value_delimiter = ':')]
    pub models_dirs: Vec<PathBuf>,
    /// Local mode: how long an attempt may go unheard before another worker gets it, in milliseconds.
    #[arg(long, env = "TINTYPE_LEASE_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub lease_ms: u64,
    /// Local mode: have idle workers load models that are likely to be asked for next, into memory that is free or holds what
    /// nobody asks for. Off unless given: it costs reading from disk and power on a guess.
    #[arg(long, env = "TINTYPE_WARM_AHEAD")]
    pub warm_ahead: bool,
    /// Local mode: take down everything the scheduler is told and decides in this file, for `tintype replay`.
    #[arg(long, env = "TINTYPE_DECISION_LOG")]
    pub decision_log: Option<PathBuf>,
    /// Kubernetes mode: a kubeconfig file. Left out: the usual places, then the pod's own account.
    #[arg(long, env = "TINTYPE_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Kubernetes mode: namespace jobs are made in. Left out: the one the account belongs to.
    #[arg(long, env = "TINTYPE_NAMESPACE")]
    pub namespace: Option<String>,
    /// Kubernetes mode: where the operator serves progress, such as http://tintype-operator:8080.
    #[arg(long, env = "TINTYPE_DISPATCH_URL")]
    pub dispatch_url: Option<String>,
    /// Kubernetes mode: file with the token the operator wants from readers.
    #[arg(long, env = "TINTYPE_DISPATCH_TOKEN_FILE")]
    pub dispatch_token_file: Option<PathBuf>,
    /// How people sign in.
    #[arg(skip)]
    pub identity: IdentityArgs,
    /// How mail is sent.
    #[arg(skip)]
    pub mail: MailArgs,
    /// How money comes in.
    #[arg(skip)]
    pub payments: PaymentsArgs,
    /// What others run for us.
    #[arg(skip)]
    pub services: ServicesArgs,
    /// Errors that are to be told to Sentry.
    #[arg(skip)]
    pub reports: Option<Reports>,
    /// A bucket, a CDN.
    #[arg(skip)]
    pub storage: StorageArgs,
    /// Whom the studio may tell how it is used.
    #[arg(skip)]
    pub studio: StudioArgs,
    /// Where traces go.
    #[arg(skip)]
    pub telemetry: TelemetryArgs,
}

/// What `tintype up` says about the API it runs.
#[derive(Clone, Debug)]
pub struct LocalArgs {
    /// Where to listen.
    pub listen: SocketAddr,
    /// See [`Args::port_file`].
    pub port_file: PathBuf,
    /// See [`Args::database_url`].
    pub database_url: String,
    /// See [`Args::store_dir`].
    pub store_dir: PathBuf,
    /// See [`Args::store_secret_file`].
    pub store_secret_file: PathBuf,
    /// See [`Args::worker_token_file`].
    pub worker_token_file: PathBuf,
    /// See [`Args::admin_token_file`].
    pub admin_token_file: PathBuf,
    /// See [`Args::models_dirs`].
    pub models_dirs: Vec<PathBuf>,
    /// See [`Args::lease_ms`].
    pub lease: Duration,
    /// See [`Args::decision_log`].
    pub decision_log: Option<PathBuf>,
}

/// What a program that has no flags for it reads of the environment alone.
#[derive(Debug, Parser)]
struct Surroundings {
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    mail: MailArgs,
    #[command(flatten)]
    payments: PaymentsArgs,
    #[command(flatten)]
    services: ServicesArgs,
    #[command(flatten)]
    studio: StudioArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
    /// See [`Args::warm_ahead`].
    #[arg(long, env = "TINTYPE_WARM_AHEAD")]
    warm_ahead: bool,
    /// See [`Args::webhook_private_targets`].
    #[arg(long, env = "TINTYPE_WEBHOOK_PRIVATE_TARGETS")]
    webhook_private_targets: bool,
    /// See [`Args::database_direct_url`].
    #[arg(long, env = "TINTYPE_DATABASE_DIRECT_URL")]
    database_direct_url: Option<String>,
}

impl LocalArgs {
    /// Everything in one folder, by the names `tintype up` has for it, and any free port.
    pub fn under(folder: &Path, database_url: &str) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            port_file: folder.join("port"),
            database_url: database_url.to_owned(),
            store_dir: folder.join("images"),
            store_secret_file: folder.join("store-secret"),
            worker_token_file: folder.join("worker-token"),
            admin_token_file: folder.join("admin-token"),
            models_dirs: vec![folder.join("models")],
            lease: Duration::from_secs(30),
            decision_log: None,
        }
    }
}

impl Args {
    /// Everything on one machine. How people sign in, mail, payments, services, traces and where webhooks may go are
    /// read from the environment.
    ///
    /// # Errors
    /// What the environment says of these is wrong.
    pub fn local(local: LocalArgs) -> Result<Self, clap::Error> {
        let Surroundings {
            identity,
            mail,
            payments,
            services,
            studio,
            telemetry,
            warm_ahead,
            webhook_private_targets,
            database_direct_url,
        } = Surroundings::try_parse_from(["tintype"])?;
        Ok(Self {
            listen: local.listen,
            port_file: Some(local.port_file),
            database_url: local.database_url,
            database_direct_url,
            auto_migrate: true,
            cluster: ClusterKind::Local,
            store_dir: Some(local.store_dir),
            store_secret_file: Some(local.store_secret_file),
            public_url: None,
            metrics_listen: None,
            webhook_private_targets,
            admin_token_file: Some(local.admin_token_file),
            wait_seconds: 55,
            requests_per_minute: REQUESTS_PER_MINUTE,
            open_jobs_max: OPEN_JOBS_MAX,
            model_aliases: Vec::new(),
            worker_token_file: Some(local.worker_token_file),
            models_dirs: local.models_dirs,
            lease_ms: u64::try_from(local.lease.as_millis()).unwrap_or(u64::MAX),
            warm_ahead,
            decision_log: local.decision_log,
            kubeconfig: None,
            namespace: None,
            dispatch_url: None,
            dispatch_token_file: None,
            identity,
            mail,
            payments,
            services,
            reports: None,
            storage: StorageArgs::from_environment(),
            studio,
            telemetry,
        })
    }
}

impl Args {
    /// Where the database is for what no pooler can do.
    pub(crate) fn direct_url(&self) -> &str {
        self.database_direct_url.as_deref().unwrap_or(&self.database_url)
    }

    /// How fast accounts may ask.
    pub(crate) fn rate(&self) -> Rate {
        let per_minute = self.requests_per_minute;
        Rate { per_minute, burst: (per_minute / BURST_PART).max(1) }
    }
}

fn alias(text: &str) -> Result<(String, String), String> {
    let wrong = || format!("`{text}` is not an alias; write NAME=MODEL");
    let (name, model) = text.split_once('=').ok_or_else(wrong)?;
    if name.is_empty() || model.is_empty() { Err(wrong()) } else { Ok((name.to_owned(), model.to_owned())) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_chore_needs_no_other_flags_and_running_needs_its_own() {
        assert!(Cli::try_parse_from(["api", "migrate", "--database-url", "postgres://x"]).unwrap().parts().0.is_some());
        assert!(Cli::try_parse_from(["api", "--database-url", "u", "--store-dir", "d"]).is_err());
        let line = "api --database-url u --store-dir d --store-secret-file s --model-alias a=b";
        let line = format!("{line} --stripe-url http://s");
        let args = Cli::try_parse_from(line.split(' ')).unwrap().parts().1.unwrap();
        assert_eq!(args.payments.stripe_url, "http://s");
        assert_eq!(args.model_aliases, [("a".to_owned(), "b".to_owned())]);
        assert_eq!(args.cluster, ClusterKind::Local);
    }
}
