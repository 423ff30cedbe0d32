//! `tintype up`: the whole product in one process group. The API, the scheduler and the store run in this process, the
//! worker and PostgreSQL are children of it.

mod account;
pub(crate) mod database;
pub(crate) mod instance;
mod log;
mod worker;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tintype_api::services::sentry::Reports;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use self::database::find_binaries;
pub(crate) use self::worker::worker_main;
use crate::args::UpArgs;
use crate::paths::{DataDir, secret_or_new};
use crate::terminal;

/// Longest a part may take to be ready. The first start makes a database cluster and runs the migrations.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest the API may take to end its open requests.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Runs until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: UpArgs) -> Result<()> {
    let data = DataDir::choose(args.data_dir.as_deref())?;
    data.create()?;
    let _only_one = instance::take(&data)?;
    let reports = log::to_file(&data)?;
    check_listen(args.listen)?;
    let stop = instance::stop_signal()?;
    let models = models_dirs(&args)?;
    let database = database::Database::start(args.database_url.as_deref(), &data).await?;
    let outcome = run_parts(Parts { args: &args, data: &data, models: &models, reports }, &database.url(), stop).await;
    terminal::note("stopping ...");
    database.stop().await?;
    outcome
}

/// What is known before anything is started.
struct Parts<'a> {
    args: &'a UpArgs,
    data: &'a DataDir,
    models: &'a [PathBuf],
    reports: Option<Reports>,
}

async fn run_parts(parts: Parts<'_>, database_url: &str, stop: CancellationToken) -> Result<()> {
    let Parts { args, data, models, reports } = parts;
    let worker_token_file = data.join("worker-token");
    secret_or_new(&worker_token_file)?;
    let admin_token = secret_or_new(&data.join("admin-token"))?;
    let api_stop = CancellationToken::new();
    let port_file = data.join("port");
    remove_if_there(&port_file)?;
    let api_args = tintype_api::Args { reports, ..api_args(args, data, models, database_url)? };
    let token = api_stop.clone();
    let mut api = tokio::spawn(async move { tintype_api::run(api_args, token).await });
    let outcome = async {
        let address = wait_for_address(&port_file, &mut api, &stop).await?;
        let Some(address) = address else { return Ok(()) };
        let url = format!("http://{address}");
        let key = account::key_for_this_machine(&url, data, &admin_token).await?;
        let link = account::sign_in_link(&url, &key, &admin_token).await?;
        let worker_stop = stop.child_token();
        let worker = tokio::spawn(worker::supervise(
            worker::WorkerConfig {
                url: url.clone(),
                token_file: worker_token_file,
                models: models.to_vec(),
                data: data.clone(),
            },
            worker_stop.clone(),
        ));
        banner(&url, &key, &link, data);
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = &mut api => Err(ended_early(ended)),
        };
        worker_stop.cancel();
        worker.await.context("the worker's supervisor broke")?;
        ended
    }
    .await;
    api_stop.cancel();
    if !api.is_finished() && tokio::time::timeout(STOP_TIMEOUT, &mut api).await.is_err() {
        api.abort();
    }
    outcome
}

fn api_args(args: &UpArgs, data: &DataDir, models: &[PathBuf], database_url: &str) -> Result<tintype_api::Args> {
    let args = tintype_api::Args::local(tintype_api::LocalArgs {
        listen: args.listen,
        port_file: data.join("port"),
        database_url: database_url.to_owned(),
        store_dir: data.join("images"),
        store_secret_file: data.join("store-secret"),
        worker_token_file: data.join("worker-token"),
        admin_token_file: data.join("admin-token"),
        models_dirs: models.to_vec(),
        lease: Duration::from_secs(args.lease_seconds),
        decision_log: args.decision_log.clone(),
    });
    args.context("a variable of the environment is wrong")
}

/// Better told before anything is started. Somebody may still take the port in between; then the API says so.
fn check_listen(address: SocketAddr) -> Result<()> {
    std::net::TcpListener::bind(address).map(drop).with_context(|| {
        format!("cannot listen on {address}; stop what uses it, or choose another address with --listen 127.0.0.1:0")
    })
}

/// The folders with models: those asked for, else `models` here, else beside the program.
fn models_dirs(args: &UpArgs) -> Result<Vec<PathBuf>> {
    let dirs = default_models_dirs(&args.models_dir);
    for dir in &dirs {
        if !dir.is_dir() {
            bail!("the models folder {} is not there; name another with --models-dir", dir.display());
        }
    }
    if dirs.is_empty() {
        bail!("no models folder: run this where a folder `models` is, or name one with --models-dir");
    }
    Ok(dirs)
}

/// See [`models_dirs`]; also what `doctor` looks at.
pub(crate) fn default_models_dirs(asked: &[PathBuf]) -> Vec<PathBuf> {
    if !asked.is_empty() {
        return asked.iter().map(|dir| std::path::absolute(dir).unwrap_or_else(|_| dir.clone())).collect();
    }
    let here = std::env::current_dir().ok().map(|dir| dir.join("models"));
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(|dir| dir.join("models")));
    [here, beside].into_iter().flatten().find(|dir| dir.is_dir()).into_iter().collect()
}

async fn wait_for_address(
    port_file: &Path,
    api: &mut JoinHandle<Result<()>>,
    stop: &CancellationToken,
) -> Result<Option<SocketAddr>> {
    let poll = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            if let Ok(text) = std::fs::read_to_string(port_file)
                && let Ok(address) = text.trim().parse()
            {
                return address;
            }
        }
    };
    tokio::select! {
        address = tokio::time::timeout(READY_TIMEOUT, poll) => match address {
            Ok(address) => Ok(Some(address)),
            Err(_) => bail!("the API was not ready after {} s; its log says more", READY_TIMEOUT.as_secs()),
        },
        ended = api => Err(ended_early(ended)),
        () = stop.cancelled() => Ok(None),
    }
}

fn ended_early(ended: Result<Result<()>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow::anyhow!("the API ended by itself; its log says more"),
        Ok(Err(error)) => error.context("the API could not run"),
        Err(error) => anyhow::Error::new(error).context("the API broke"),
    }
}

fn banner(url: &str, key: &str, link: &str, data: &DataDir) {
    terminal::note(format_args!("\nTintype is ready at {url}   (data: {}, stop: Ctrl-C)\n", data.path().display()));
    terminal::note(format_args!(
        "The studio, signed in (once, within 15 minutes; the next start prints another link):\n\n{link}\n"
    ));
    terminal::result(format_args!("export TINTYPE_URL={url} TINTYPE_API_KEY={key}"));
    terminal::note(format_args!(
        "\nPaste that line into another terminal; there, either of these makes a picture:\n\n\
         {} generate \"a red circle on a blue background\"\n\n\
         curl -s \"$TINTYPE_URL/v1/images/generations\" -H \"Authorization: Bearer $TINTYPE_API_KEY\" \\\n  \
         -H 'Content-Type: application/json' \\\n  \
         -d '{{\"model\": \"tintype/shapes\", \"prompt\": \"a red circle on a blue background\"}}'\n",
        own_command()
    ));
}

/// What to type to run this program again: its name if the shell would find it, else a path that works from here.
fn own_command() -> String {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if called.components().count() > 1 { called.display().to_string() } else { "tintype".to_owned() }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
