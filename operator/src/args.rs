//! The flags, and nothing else: each is checked here and handed on.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Flags, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tintype_store::StorageArgs;
use tintype_telemetry::TelemetryArgs;

use crate::check::CheckArgs;
use crate::election::Timings;

/// The program.
#[derive(Debug, Parser)]
#[command(name = "operator", version, about, subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// A chore instead of running.
    #[command(subcommand)]
    pub chore: Option<Chore>,
    /// How to run.
    #[command(flatten)]
    run: Option<Args>,
    // Beside the rest and not inside it: an optional group that holds groups counts as left out, whatever was given.
    #[command(flatten)]
    storage: StorageArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

impl Cli {
    /// What was asked for, in the words of a command line. A chore shares variables of the environment with running; they
    /// are not taken for wanting to run, too.
    ///
    /// # Errors
    /// What clap says of words it does not know, and its help.
    pub fn asked(words: &[OsString]) -> Result<Self, clap::Error> {
        let command = Self::command();
        let is_chore = words.get(1).is_some_and(|word| command.find_subcommand(word).is_some());
        let command = if is_chore { command.mut_args(|flag| flag.env(None::<&str>)) } else { command };
        Self::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    /// How to run; nothing where nothing was said.
    pub fn args(self) -> Option<Args> {
        let Self { chore: _, run, storage, telemetry } = self;
        run.map(|args| Args { storage, telemetry, ..args })
    }
}

/// What it can do beside running.
#[derive(Clone, Debug, Subcommand)]
pub enum Chore {
    /// Print the custom resource definitions, ready for `kubectl apply --server-side -f -`.
    Crds,
    /// Look at a release as a stranger would, a picture included, and say how it is. What `helm test` runs.
    Check(CheckArgs),
}

/// How to run.
#[derive(Clone, Debug, Flags)]
pub struct Args {
    /// Where workers, the API, the store and probes reach this program.
    #[arg(long, env = "TINTYPE_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// A kubeconfig file. Left out: the usual places, then the pod's own account.
    #[arg(long, env = "TINTYPE_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the leader lease and of worker reports. Left out: the one the account belongs to.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
    /// The one namespace whose jobs and queues are served. Left out: all.
    #[arg(long, env = "TINTYPE_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,
    /// Name of the leader lease; every replica has the same.
    #[arg(long, env = "TINTYPE_LEASE_NAME", default_value = "tintype-operator")]
    pub lease_name: String,
    /// Name of a ConfigMap in the same namespace with DiffusionModels and GpuPools to begin with, one JSON object a key. Each is
    /// made once, if it is not there. Left out: none is.
    #[arg(long, env = "TINTYPE_DEFAULTS")]
    pub defaults: Option<String>,
    /// Name of the pod this runs in; it is labelled while it leads. Left out: nothing is labelled.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: Option<String>,
    /// File with the token workers show.
    #[arg(long, env = "TINTYPE_WORKER_TOKEN_FILE")]
    pub worker_token_file: PathBuf,
    /// File with the token readers of progress show. Left out: whoever reaches the port may read.
    #[arg(long, env = "TINTYPE_DISPATCH_TOKEN_FILE")]
    pub dispatch_token_file: Option<PathBuf>,
    /// Folder of the image store. Every replica must see the same one. Not needed with `--s3-bucket`.
    #[arg(long, env = "TINTYPE_STORE_DIR", required_unless_present = "s3_bucket")]
    pub store_dir: Option<PathBuf>,
    /// File with the secret store URLs are signed with, 32 bytes or more; made when absent.
    #[arg(long, env = "TINTYPE_STORE_SECRET_FILE")]
    pub store_secret_file: PathBuf,
    /// Where workers and browsers reach the image store. Left out: the address listened on.
    #[arg(long, env = "TINTYPE_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// How long a signed URL of a picture stays good.
    #[arg(long, env = "TINTYPE_OUTPUT_TTL", default_value = "1h", value_parser = duration)]
    pub output_ttl: Duration,
    /// How long an attempt may go unheard before it is lost.
    #[arg(long, env = "TINTYPE_ATTEMPT_LEASE", default_value = "30s", value_parser = duration)]
    pub attempt_lease: Duration,
    /// When ended jobs that do not say are deleted: `24h`, or `never`.
    #[arg(long, env = "TINTYPE_FINISHED_TTL", default_value = "24h", value_parser = ttl)]
    pub finished_ttl: Ttl,
    /// How long the leader lease lasts without renewal.
    #[arg(long, env = "TINTYPE_LEADER_LEASE", default_value = "15s", value_parser = duration)]
    pub leader_lease: Duration,
    /// How long a leader goes on without a successful renewal; well under the lease.
    #[arg(long, env = "TINTYPE_LEADER_DEADLINE", default_value = "10s", value_parser = duration)]
    pub leader_deadline: Duration,
    /// How often the leader lease is read or renewed.
    #[arg(long, env = "TINTYPE_LEADER_RETRY", default_value = "2s", value_parser = duration)]
    pub leader_retry: Duration,
    /// How often workers and pools are reported, if there is news of them.
    #[arg(long, env = "TINTYPE_REPORT_EVERY", default_value = "30s", value_parser = duration)]
    pub report_every: Duration,
    /// How often what was learned of the cost of work is kept in a ConfigMap, if there is news.
    #[arg(long, env = "TINTYPE_LEARNED_EVERY", default_value = "1m", value_parser = duration)]
    pub learned_every: Duration,
    /// Pools should have enough workers for what waits to begin within this.
    #[arg(long, env = "TINTYPE_SCALE_HORIZON", default_value = "1m", value_parser = duration)]
    pub scale_horizon: Duration,
    /// How long a worker takes from being wanted until it claims, a new node for it included. Idle workers are worth
    /// keeping for so long, and for what loading their models takes.
    #[arg(long, env = "TINTYPE_WORKER_START_TIME", default_value = "1m", value_parser = duration)]
    pub worker_start_time: Duration,
    /// Have idle workers load models that are likely to be asked for next, into memory that is free or holds what nobody asks
    /// for. Off unless given: it costs reading from disk and power on a guess. What pools name in `warmModels` is loaded in any
    /// case.
    #[arg(long, env = "TINTYPE_WARM_AHEAD")]
    pub warm_ahead: bool,
    /// A taint's key or a condition's type that says that a node is about to go, beside those of the clouds and autoscalers that
    /// are known; may be given several times. The workers of such a node are ended at once.
    #[arg(long, env = "TINTYPE_NODE_NOTICE", value_delimiter = ',')]
    pub node_notice: Vec<String>,
    /// Take down everything the scheduler is told and decides in this file, for `tintype replay`. It is bounded: older
    /// parts are kept beside it, and the oldest go.
    #[arg(long, env = "TINTYPE_DECISION_LOG")]
    pub decision_log: Option<PathBuf>,
    /// Write the address listened on to this file once it is.
    #[arg(long)]
    pub port_file: Option<PathBuf>,
    /// A bucket, a CDN.
    #[arg(skip)]
    pub storage: StorageArgs,
    /// Where traces go.
    #[arg(skip)]
    pub telemetry: TelemetryArgs,
}

impl Args {
    /// The timings of leader election.
    ///
    /// # Errors
    /// When a leader could still act after another may have begun.
    pub fn timings(&self) -> anyhow::Result<Timings> {
        let timings =
            Timings { duration: self.leader_lease, renew_deadline: self.leader_deadline, retry: self.leader_retry };
        anyhow::ensure!(
            timings.retry * 2 <= timings.renew_deadline && timings.renew_deadline < timings.duration,
            "--leader-retry must be at most half of --leader-deadline, and that less than --leader-lease"
        );
        Ok(timings)
    }
}

/// When something ended is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl(
    /// `None` is never.
    pub Option<Duration>,
);

fn ttl(text: &str) -> Result<Ttl, String> {
    if text == "never" { Ok(Ttl(None)) } else { duration(text).map(|time| Ttl(Some(time))) }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "give a number and a unit, such as 30s".to_owned())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("the unit is missing or unknown: take ms, s, m or h, such as 30s".to_owned()),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(|| "that is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::asked(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    const NEEDED: &str = "operator --worker-token-file t --store-dir d --store-secret-file s";

    #[test]
    fn a_chore_needs_no_flags() {
        assert!(matches!(parse("operator crds").unwrap().chore, Some(Chore::Crds)));
    }

    #[test]
    fn running_needs_its_secrets() {
        assert!(parse("operator").is_err());
        assert!(parse("operator --store-dir d").is_err());
        let args = parse(NEEDED).unwrap().args().unwrap();
        assert_eq!(args.timings().unwrap(), Timings::default());
        assert_eq!(args.finished_ttl, Ttl(Some(Duration::from_hours(24))));
    }

    #[test]
    fn a_bucket_takes_the_place_of_the_folder() {
        let with = |flags: &str| parse(&format!("operator --worker-token-file t --store-secret-file s {flags}"));
        assert!(with("").unwrap_err().to_string().contains("--store-dir"));
        let args = with("--s3-bucket b --s3-access-key-id i --s3-secret-access-key k").unwrap().args().unwrap();
        assert_eq!((args.store_dir, args.storage.s3_bucket.as_deref()), (None, Some("b")));
        assert!(with("--s3-bucket b").is_err(), "whose bucket?");
    }

    #[test]
    fn durations_have_units() {
        let with = |flag: &str| parse(&format!("{NEEDED} {flag}")).map(|cli| cli.args().unwrap());
        assert_eq!(with("--attempt-lease 250ms").unwrap().attempt_lease, Duration::from_millis(250));
        assert_eq!(with("--finished-ttl never").unwrap().finished_ttl, Ttl(None));
        assert!(with("--attempt-lease 30").is_err());
        assert!(with("--attempt-lease s").is_err());
    }

    #[test]
    fn a_leader_that_could_overlap_the_next_is_refused() {
        let args = parse(&format!("{NEEDED} --leader-deadline 15s")).unwrap().args().unwrap();
        assert!(args.timings().is_err());
    }
}
