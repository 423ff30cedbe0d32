//! The command line: subcommands, flags and the environment variables behind them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tintype_types::{ImageFormat, Levels, LoraUse, Sampler};

/// Image generation for anyone who owns GPUs.
#[derive(Debug, Parser)]
#[command(name = "tintype", version, after_help = "What is done in a cluster is `kubectl tintype --help`.")]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: API, scheduler, one worker, a private PostgreSQL. No Kubernetes, no root.
    Up(Box<UpArgs>),
    /// Make pictures and write them as files.
    Generate(Box<GenerateArgs>),
    /// Give credits, show a book of credits, read every book again.
    Credits(CreditsArgs),
    /// Copy the private PostgreSQL of `up` into a file, put it back from one, ask it by hand.
    Db(DbArgs),
    /// Check what breaks newcomers; one line a check, with the fix.
    Doctor(DoctorArgs),
    /// Replay a trace of requests through the production scheduler and report how it and other policies would have done.
    Simulate(SimulateArgs),
    /// Say why a job is not running, the smallest change that would start it, and when it should end.
    Explain(ExplainArgs),
    /// Say when a job should start and end.
    Eta(ExplainArgs),
    /// Show queues and workers as they stand.
    Top(AskArgs),
    /// Run decision logs through this version's scheduler and say whether it decides the same, byte for byte.
    Replay(ReplayArgs),
    /// Print what makes a shell complete this program's words.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Run one worker (what `up` starts as a child process).
    Worker(Box<tintype_worker::Args>),
}

/// Flags of `tintype up`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// Where data, keys and pictures are kept [default: $XDG_DATA_HOME/tintype or ~/.local/share/tintype].
    #[arg(long, env = "TINTYPE_DATA")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "TINTYPE_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Folders that hold models in diffusers layout; may be given several times.
    #[arg(long, env = "TINTYPE_MODELS_DIR", value_delimiter = ':')]
    pub(crate) models_dir: Vec<PathBuf>,
    /// Use this PostgreSQL instead of a private one.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// How long an attempt may go unheard before another worker gets it, in seconds.
    #[arg(long, env = "TINTYPE_LEASE_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) lease_seconds: u64,
    /// Take down everything the scheduler is told and decides in this file, for `tintype replay`. It is bounded: older parts
    /// are kept beside it, and the oldest go.
    #[arg(long, env = "TINTYPE_DECISION_LOG")]
    pub(crate) decision_log: Option<PathBuf>,
}

/// Flags of `tintype db`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DbArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: DbCommand,
    /// Where `tintype up` keeps its data.
    #[arg(long, env = "TINTYPE_DATA", global = true)]
    pub(crate) data_dir: Option<PathBuf>,
}

/// What `tintype db` does.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Copy the database into a file, whether `up` runs or not. Pictures are files of their own, in the data folder's `images`.
    Backup {
        /// The file, which must not be there yet [default: tintype-SECONDS.dump, here].
        file: Option<PathBuf>,
    },
    /// Put a copy back, also one of an older version of PostgreSQL. `up` must be stopped; what was there is kept beside it.
    Restore {
        /// A file that `backup` made.
        file: PathBuf,
    },
    /// Open psql on the database, whether `up` runs or not.
    Psql {
        /// Arguments of psql, after `--`.
        #[arg(last = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

/// How to reach a running Tintype.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConnectArgs {
    /// Address of the API.
    #[arg(long, env = "TINTYPE_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// API key. Left out, the key that `tintype up` keeps on this machine is used.
    #[arg(long, env = "TINTYPE_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
    /// Where `tintype up` keeps its data.
    #[arg(long, env = "TINTYPE_DATA")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Flags of `tintype generate`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GenerateArgs {
    /// What to make.
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    /// How many pictures.
    #[arg(long, short = 'n')]
    pub(crate) images: Option<u32>,
    /// Pictures and LoRAs the request names.
    #[command(flatten)]
    pub(crate) inputs: InputArgs,
    /// File or folder to write to [default: a name made from the prompt, here].
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
    /// How to reach the server.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// What to make, in what can be said without a file.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RequestArgs {
    /// What the picture shows.
    pub(crate) prompt: String,
    /// Model to use [default: the first there is].
    #[arg(long, short)]
    pub(crate) model: Option<String>,
    /// What the picture should keep away from.
    #[arg(long)]
    pub(crate) negative_prompt: Option<String>,
    /// Size as WIDTHxHEIGHT in pixels, multiples of 64.
    #[arg(long, value_parser = parse_size)]
    pub(crate) size: Option<(u32, u32)>,
    /// Denoising steps.
    #[arg(long)]
    pub(crate) steps: Option<u32>,
    /// How strongly the prompt pulls.
    #[arg(long)]
    pub(crate) guidance_scale: Option<f64>,
    /// Sampler, such as euler, dpmpp-2m-karras or unipc; a wrong one lists them all.
    #[arg(long, value_parser = parse_sampler)]
    pub(crate) sampler: Option<Sampler>,
    /// Which noise levels the sampler visits: own, trailing, karras, exponential, beta or sgm-uniform.
    #[arg(long, value_parser = parse_levels)]
    pub(crate) levels: Option<Levels>,
    /// Seed; the same seed makes the same picture.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

/// What `generate` reads beside its prompt.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InputArgs {
    /// LoRA as NAME or NAME:WEIGHT; may be given several times.
    #[arg(long, value_parser = parse_lora)]
    pub(crate) lora: Vec<LoraUse>,
    /// ControlNet and the picture it follows, as NAME:FILE or NAME:FILE:WEIGHT; may be given several times.
    #[arg(long, value_parser = parse_control)]
    pub(crate) control: Vec<ControlFile>,
    /// Picture to start from: a PNG, JPEG or WebP file.
    #[arg(long)]
    pub(crate) init: Option<PathBuf>,
    /// How much of the picture is redrawn, from 0 to 1.
    #[arg(long, requires = "init", default_value_t = 0.8)]
    pub(crate) strength: f64,
    /// Mask of the picture to start from: white is redrawn, black is kept.
    #[arg(long, requires = "init")]
    pub(crate) mask: Option<PathBuf>,
    /// Size of a second pass as WIDTHxHEIGHT: the picture is scaled up and redrawn in part.
    #[arg(long, value_parser = parse_size)]
    pub(crate) hires: Option<(u32, u32)>,
    /// How much the second pass redraws, from 0 to 1.
    #[arg(long, requires = "hires", default_value_t = 0.55)]
    pub(crate) hires_strength: f64,
    /// File format: png, webp or jpeg [default: png].
    #[arg(long, value_parser = parse_format)]
    pub(crate) format: Option<ImageFormat>,
}

/// A ControlNet and the file it follows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ControlFile {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) weight: f64,
}

/// Flags of `tintype credits`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CreditsArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: CreditsCommand,
    /// The administrator's token. Left out, the one that `tintype up` keeps on this machine is used.
    #[arg(long, env = "TINTYPE_ADMIN_TOKEN", hide_env_values = true, global = true)]
    pub(crate) admin_token: Option<String>,
    /// How to reach the server.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// What `tintype credits` does.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum CreditsCommand {
    /// Give credits; the same reference gives once.
    Grant {
        /// How many credits, to the thousandth.
        amount: f64,
        /// What for, such as an invoice number.
        #[arg(long)]
        reference: String,
        /// To which account [default: that of this machine's key].
        #[arg(long)]
        account: Option<String>,
    },
    /// Show an account's book, oldest first.
    Ledger {
        /// Whose [default: that of this machine's key].
        #[arg(long)]
        account: Option<String>,
    },
    /// Read every book again from its first transaction; fails when something does not follow.
    Verify,
}

/// Who calls this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A person or a script, as `tintype`.
    Shell,
    /// kubectl, as its plugin `kubectl tintype`.
    Kubectl,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people, within 100 columns.
    Table,
    /// For people, nothing cut.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Flags of `tintype explain` and `tintype eta`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The job: its id, or as `kubectl tintype` its name.
    pub(crate) job: String,
    /// How and whom to ask.
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

/// How and whom to ask about the scheduler.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AskArgs {
    /// How the answer is written.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) output: OutputFormat,
    /// Ask again every two seconds, until Ctrl-C.
    #[arg(long, short)]
    pub(crate) watch: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

/// Where the scheduler is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReachArgs {
    /// Address of the operator or of `tintype up` [default: http://127.0.0.1:8080; as a plugin of kubectl, the cluster's
    /// operator through a forwarded port].
    #[arg(long, env = "TINTYPE_DISPATCH_URL")]
    pub(crate) url: Option<String>,
    /// The address `tintype up` printed; asked where no other is named.
    #[arg(long, env = "TINTYPE_URL", hide = true)]
    pub(crate) api_url: Option<String>,
    /// File with the token it wants from readers [default: the administrator's that `tintype up` keeps here; as a plugin
    /// of kubectl, the one in the operator's Secret].
    #[arg(long, env = "TINTYPE_DISPATCH_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Where `tintype up` keeps its data.
    #[arg(long, env = "TINTYPE_DATA")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What is handed on to kubectl.
    #[command(flatten)]
    pub(crate) kubectl: KubectlArgs,
}

/// What is handed on to kubectl.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct KubectlArgs {
    /// As a plugin of kubectl: the namespace of the job.
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
    /// As a plugin of kubectl: the context.
    #[arg(long)]
    pub(crate) context: Option<String>,
    /// As a plugin of kubectl: the kubeconfig file.
    #[arg(long)]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// Flags of `tintype replay`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// Files that `--decision-log` wrote; each is replayed by itself.
    #[arg(required = true)]
    pub(crate) logs: Vec<PathBuf>,
    /// How the answer is written.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) output: OutputFormat,
}

/// Flags of `tintype doctor`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Folders that hold models; may be given several times.
    #[arg(long, env = "TINTYPE_MODELS_DIR", value_delimiter = ':')]
    pub(crate) models_dir: Vec<PathBuf>,
    /// Address `tintype up` would listen on.
    #[arg(long, env = "TINTYPE_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// How to reach a server that is already running.
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Flags of `tintype simulate`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SimulateArgs {
    /// The trace: a CSV file with the columns of GenTD26.
    #[arg(long, env = "TINTYPE_TRACE")]
    pub(crate) trace: Option<PathBuf>,
    /// How long models load: a JSON file [default: the trace's name with `-latencies.json` for `-requests.csv`].
    #[arg(long, env = "TINTYPE_LATENCIES")]
    pub(crate) latencies: Option<PathBuf>,
    /// GPUs of the simulated fleet.
    #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) gpus: u32,
    /// How many times faster than in the trace requests arrive.
    #[arg(long, default_value_t = 100.0)]
    pub(crate) speed: f64,
    /// Policy: tintype, fifo, warm-first, least-finish, strict-queue or vtc.
    #[arg(long, default_value = "tintype")]
    pub(crate) policy: String,
    /// Every policy, side by side.
    #[arg(long)]
    pub(crate) compare: bool,
    /// Write the schedule of the (first) policy as CSV.
    #[arg(long)]
    pub(crate) schedule: Option<PathBuf>,
    /// Write report.json and report.html into this folder.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Print one line of JSON a policy instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("`{text}` is not a size; write it like 512x512");
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    Ok((width.parse().map_err(|_| wrong())?, height.parse().map_err(|_| wrong())?))
}

/// What stands before the last colon, and the number behind it; all of it and 1 when there is none.
fn weighted(text: &str) -> (&str, f64) {
    let with_weight = text.rsplit_once(':').and_then(|(rest, weight)| Some((rest, weight.parse().ok()?)));
    with_weight.unwrap_or((text, 1.0))
}

pub(crate) fn parse_lora(text: &str) -> Result<LoraUse, String> {
    let (name, weight) = weighted(text);
    if name.is_empty() {
        return Err(format!("`{text}` names no LoRA; write NAME or NAME:WEIGHT, such as tintype/night:0.5"));
    }
    Ok(LoraUse { name: name.to_owned(), weight })
}

fn parse_control(text: &str) -> Result<ControlFile, String> {
    let (rest, weight) = weighted(text);
    match rest.split_once(':') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok(ControlFile { name: name.to_owned(), file: file.into(), weight })
        }
        Some(_) | None => Err(format!("`{text}` names no ControlNet and file; write NAME:FILE or NAME:FILE:WEIGHT")),
    }
}

pub(crate) fn parse_format(text: &str) -> Result<ImageFormat, String> {
    match text {
        "png" => Ok(ImageFormat::Png),
        "webp" => Ok(ImageFormat::Webp),
        "jpeg" | "jpg" => Ok(ImageFormat::Jpeg),
        other => Err(format!("no format `{other}`; there are png, webp and jpeg")),
    }
}

fn parse_levels(text: &str) -> Result<Levels, String> {
    Levels::ALL.into_iter().find(|levels| levels.as_str() == text).ok_or_else(|| {
        let names: Vec<_> = Levels::ALL.iter().map(|levels| levels.as_str()).collect();
        format!("no levels `{text}`; there are {}", names.join(", "))
    })
}

fn parse_sampler(text: &str) -> Result<Sampler, String> {
    Sampler::ALL.into_iter().find(|sampler| sampler.as_str() == text).ok_or_else(|| {
        let names: Vec<_> = Sampler::ALL.iter().map(|sampler| sampler.as_str()).collect();
        format!("no sampler `{text}`; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_samplers_are_read_or_refused_with_a_way_out() {
        assert_eq!(parse_size("512x768"), Ok((512, 768)));
        assert!(parse_size("512").unwrap_err().contains("512x512"));
        assert_eq!(parse_sampler("dpmpp-2m-karras"), Ok(Sampler::Dpmpp2mKarras));
        assert!(parse_sampler("plms").unwrap_err().contains("ddim, euler"));
    }

    #[test]
    fn loras_and_controls_take_a_weight_and_files_may_have_colons() {
        assert_eq!(parse_lora("tintype/night"), Ok(LoraUse { name: "tintype/night".to_owned(), weight: 1.0 }));
        assert_eq!(parse_lora("night:-0.5").map(|lora| lora.weight), Ok(-0.5));
        assert!(parse_lora(":1").is_err());
        let control = |text| parse_control(text).map(|control| (control.name, control.file, control.weight));
        let expected = |file: &str, weight| Ok(("outline".to_owned(), PathBuf::from(file), weight));
        assert_eq!(control("outline:a.png"), expected("a.png", 1.0));
        assert_eq!(control("outline:a.png:0.7"), expected("a.png", 0.7));
        assert_eq!(control("outline:odd:name.png"), expected("odd:name.png", 1.0));
        assert!(control("outline").is_err());
        assert_eq!(parse_format("jpg"), Ok(ImageFormat::Jpeg));
        assert!(parse_format("gif").unwrap_err().contains("webp"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
