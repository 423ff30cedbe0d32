//! The command line of kubectl's plugin.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tintype_types::{ImageFormat, LoraUse};

use crate::args::{
    AskArgs, ExplainArgs, KubectlArgs, OutputFormat, ReachArgs, ReplayArgs, RequestArgs, SimulateArgs, parse_format,
    parse_lora,
};

/// Jobs, workers and models of Tintype in a cluster.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-tintype",
    bin_name = "kubectl tintype",
    version,
    after_help = "What is done on one machine is `tintype --help`."
)]
pub(crate) struct PluginArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: PluginCommand,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Show jobs, or fetch the pictures of one.
    Get(GetArgs),
    /// Show queues and workers as they stand.
    Top(AskArgs),
    /// Say why a job is not running, the smallest change that would start it, and when it should end.
    Explain(ExplainArgs),
    /// Say when a job should start and end.
    Eta(ExplainArgs),
    /// Make a job, watch its steps go by, fetch its pictures.
    Generate(Box<MakeArgs>),
    /// Show what the worker that has, or had, a job wrote.
    Logs(LogsArgs),
    /// Have a worker hand its jobs on and go.
    Drain(DrainArgs),
    /// Keep a model in the memory of a pool's workers.
    Warm(WarmArgs),
    /// Show what the pictures of finished jobs cost, by model and pool.
    Cost(CostArgs),
    /// Check what breaks newcomers; one line a check, with the fix.
    Doctor(ReachArgs),
    /// Replay a trace of requests through the production scheduler and report how it and other policies would have done.
    Simulate(SimulateArgs),
    /// Run decision logs through this version's scheduler and say whether it decides the same, byte for byte.
    Replay(ReplayArgs),
    /// Print what makes kubectl complete this plugin's words: a program to put into the PATH as `kubectl_complete-tintype`.
    Completion,
    /// What kubectl asks for when somebody presses Tab.
    #[command(name = "__complete", hide = true)]
    Complete {
        /// The words so far; the last is the one to complete.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// Flags of `get`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// A job; left out, all of them.
    pub(crate) job: Option<String>,
    /// Fetch the job's pictures into this file or folder.
    #[arg(long, requires = "job", value_name = "PATH")]
    pub(crate) image: Option<PathBuf>,
    /// In every namespace.
    #[arg(long, short = 'A', conflicts_with_all = ["job", "namespace"])]
    pub(crate) all_namespaces: bool,
    /// In this queue alone.
    #[arg(long, short, conflicts_with = "job")]
    pub(crate) queue: Option<String>,
    /// Where and how.
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

/// Flags of `generate`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MakeArgs {
    /// What to make.
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    /// How many pictures.
    #[arg(long)]
    pub(crate) images: Option<u32>,
    /// LoRA as NAME or NAME:WEIGHT; may be given several times.
    #[arg(long, value_parser = parse_lora)]
    pub(crate) lora: Vec<LoraUse>,
    /// File format: png, webp or jpeg [default: png].
    #[arg(long, value_parser = parse_format)]
    pub(crate) format: Option<ImageFormat>,
    /// What the job is called [default: a name made by the cluster].
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The queue it waits in.
    #[arg(long, short)]
    pub(crate) queue: Option<String>,
    /// Higher goes first.
    #[arg(long)]
    pub(crate) priority: Option<i32>,
    /// The pool it must run in.
    #[arg(long)]
    pub(crate) pool: Option<String>,
    /// Name the job and return, without waiting for it.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// File or folder to write the pictures to [default: a name made from the prompt, here].
    #[arg(long, value_name = "PATH")]
    pub(crate) image: Option<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

/// Flags of `logs`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// The job.
    pub(crate) job: String,
    /// Go on until Ctrl-C.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Lines to begin with.
    #[arg(long, default_value_t = 100)]
    pub(crate) tail: u32,
    /// Where.
    #[command(flatten)]
    pub(crate) kubectl: KubectlArgs,
}

/// Flags of `drain`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DrainArgs {
    /// The worker, which is called like its pod.
    pub(crate) worker: String,
    /// How long it is waited for.
    #[arg(long, default_value = "5m", value_parser = parse_span)]
    pub(crate) timeout: Duration,
    /// Where.
    #[command(flatten)]
    pub(crate) kubectl: KubectlArgs,
}

/// Flags of `warm`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WarmArgs {
    /// The model, as requests name it.
    pub(crate) model: String,
    /// The pool.
    #[arg(long, default_value = "default")]
    pub(crate) pool: String,
    /// The other way round: it need not be kept any more.
    #[arg(long)]
    pub(crate) off: bool,
    /// How long it is waited for; 0s not at all.
    #[arg(long, default_value = "5m", value_parser = parse_span)]
    pub(crate) timeout: Duration,
    /// Where.
    #[command(flatten)]
    pub(crate) kubectl: KubectlArgs,
}

/// Flags of `cost`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CostArgs {
    /// What an hour of a GPU of a pool costs, as POOL=PRICE; may be given several times and goes before what the pool says.
    #[arg(long, value_parser = parse_price)]
    pub(crate) price: Vec<(String, f64)>,
    /// By queue too.
    #[arg(long)]
    pub(crate) by_queue: bool,
    /// In every namespace.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
    /// How the answer is written.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) output: OutputFormat,
    /// Where.
    #[command(flatten)]
    pub(crate) kubectl: KubectlArgs,
}

fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time; write it like 30s, 5m or 1h");
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let (count, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(wrong()),
    };
    let count: u64 = count.parse().map_err(|_| wrong())?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

fn parse_price(text: &str) -> Result<(String, f64), String> {
    let wrong = || format!("`{text}` is no price; write it like l40s=0.79");
    let (pool, price) = text.split_once('=').ok_or_else(wrong)?;
    let price: f64 = price.parse().map_err(|_| wrong())?;
    if pool.is_empty() || !price.is_finite() || price < 0.0 {
        return Err(wrong());
    }
    Ok((pool.to_owned(), price))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        PluginArgs::command().debug_assert();
    }

    #[test]
    fn times_and_prices_are_read_or_refused_with_a_way_out() {
        assert_eq!(parse_span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_span("2h"), Ok(Duration::from_hours(2)));
        for wrong in ["", "5", "m", "5d", "-1s", "99999999999999999999h"] {
            assert!(parse_span(wrong).unwrap_err().contains("30s"), "{wrong}");
        }
        assert_eq!(parse_price("l40s=0.79"), Ok(("l40s".to_owned(), 0.79)));
        for wrong in ["l40s", "=1", "a=-1", "a=inf", "a=x"] {
            assert!(parse_price(wrong).unwrap_err().contains("l40s=0.79"), "{wrong}");
        }
    }
}
