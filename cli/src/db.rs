//! `tintype db`: the private PostgreSQL of `tintype up`, copied into a file, put back from one, or asked by hand.
//!
//! Copying and asking work beside a running `tintype up` and without one; then the database runs for as long as it takes.
//! Putting back needs it stopped: the copy becomes a database of its own first, and takes the place of the other in one step.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use tintype_pg::ManagedPg;
use tokio::process::Command;

use crate::args::{DbArgs, DbCommand};
use crate::paths::DataDir;
use crate::terminal;
use crate::up::database::{self, DATABASE, FOLDER};
use crate::up::instance::{self, OnlyOne};

/// The database a copy is read into before it takes the other's place.
const RESTORING: &str = "tintype_restoring";
/// Where databases are renamed from.
const MAINTENANCE: &str = "postgres";
/// Rights in a copy are of this role, which belongs to the server and not to the database.
const ROLES: &str = "do $$ begin
    if to_regrole('tintype_tenant') is null then create role tintype_tenant nologin; end if;
end $$";

/// Runs the command.
pub(crate) async fn run(args: DbArgs) -> Result<ExitCode> {
    let data = DataDir::choose(args.data_dir.as_deref())?;
    match args.command {
        DbCommand::Backup { file } => backup(&data, file).await.map(|()| ExitCode::SUCCESS),
        DbCommand::Restore { file } => restore(&data, &file).await.map(|()| ExitCode::SUCCESS),
        DbCommand::Psql { arguments } => psql(&data, &arguments).await,
    }
}

/// A database that can be asked.
struct Open {
    url: String,
    /// Where nobody ran it, so we do.
    ours: Option<(ManagedPg, OnlyOne)>,
}

impl Open {
    async fn find(data: &DataDir) -> Result<Self> {
        let folder = data.join(FOLDER);
        if !folder.is_dir() {
            bail!(
                "there is no private database in {}; `tintype up` makes one, --data-dir names another folder. One of your own \
                 (DATABASE_URL) is copied with pg_dump",
                data.path().display()
            );
        }
        if let Some(only_one) = instance::try_take(data)? {
            let pg = database::private(data).await?;
            return Ok(Self { url: pg.url(DATABASE), ours: Some((pg, only_one)) });
        }
        let url = ManagedPg::url_of_running(&folder, DATABASE).context(
            "the `tintype up` of this folder is starting, stopping, or has a database of its own (DATABASE_URL)",
        )?;
        Ok(Self { url, ours: None })
    }

    async fn close(self) -> Result<()> {
        match self.ours {
            Some((pg, _only_one)) => database::stop(pg).await,
            None => Ok(()),
        }
    }
}

async fn backup(data: &DataDir, file: Option<PathBuf>) -> Result<()> {
    let file = file.unwrap_or_else(|| format!("tintype-{}.dump", seconds()).into());
    if file.exists() {
        bail!("{} is there already; name another file", file.display());
    }
    let part = PathBuf::from(format!("{}.part", file.display()));
    let open = Open::find(data).await?;
    let copied = copy(data, &open.url, &part).await;
    open.close().await?;
    let bytes = match copied {
        Ok(bytes) => bytes,
        Err(error) => {
            drop(fs::remove_file(&part));
            return Err(error);
        }
    };
    fs::rename(&part, &file).with_context(|| format!("cannot write {}", file.display()))?;
    terminal::result(format_args!("{} ({} kB)", file.display(), bytes.div_ceil(1_000)));
    terminal::note(format_args!(
        "pictures and this machine's key are files of their own: for another machine, copy images and api-key of {} too",
        data.path().display()
    ));
    Ok(())
}

/// Writes a copy into this file, and how long it is.
async fn copy(data: &DataDir, url: &str, part: &Path) -> Result<u64> {
    let cannot = || format!("cannot write {}", part.display());
    // It holds addresses and prompts: for its owner alone, from the first byte.
    let opened = File::options().write(true).create(true).truncate(true).mode(0o600).open(part);
    let target = opened.with_context(cannot)?;
    terminal::note("copying the database ...");
    let mut dump = program(data, "pg_dump")?;
    dump.args(["--format", "custom", "--no-password", "--dbname", url]);
    dump.stdout(target.try_clone().with_context(cannot)?);
    succeed(dump, "pg_dump").await?;
    target.sync_all().with_context(cannot)?;
    Ok(target.metadata().with_context(cannot)?.len())
}

async fn restore(data: &DataDir, file: &Path) -> Result<()> {
    File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    data.create()?;
    let _only_one = instance::take(data)?;
    let pg = database::private(data).await?;
    let put_back = put_back(data, &pg, file).await;
    database::stop(pg).await?;
    if let Some(kept) = put_back? {
        terminal::note(format_args!(
            "what was there is kept as {kept}; `tintype db psql -- -c 'drop database {kept}'` gives its room back"
        ));
    }
    terminal::result(format_args!("{} is in place; `tintype up` goes on from there", file.display()));
    Ok(())
}

/// The copy in place of what was there; the name that has now, unless it was empty.
async fn put_back(data: &DataDir, pg: &ManagedPg, file: &Path) -> Result<Option<String>> {
    const TABLES: &str = "select count(*) from information_schema.tables where table_schema = 'public'";
    let maintenance = pg.url(MAINTENANCE);
    // One that was left half way is of no use.
    let clear = format!("drop database if exists {RESTORING}");
    sql(data, &maintenance, &clear).await?;
    sql(data, &maintenance, &format!("create database {RESTORING}")).await?;
    sql(data, &maintenance, ROLES).await?;
    terminal::note("reading the copy ...");
    let mut read = program(data, "pg_restore")?;
    read.args(["--exit-on-error", "--no-owner", "--no-password", "--dbname", &pg.url(RESTORING)]).arg(file);
    if let Err(error) = succeed(read, "pg_restore").await {
        sql(data, &maintenance, &clear).await?;
        return Err(error.context("nothing was changed"));
    }
    let is_empty = sql(data, &pg.url(DATABASE), TABLES).await?.trim() == "0";
    if is_empty {
        sql(data, &maintenance, &format!("drop database {DATABASE}")).await?;
        sql(data, &maintenance, &format!("alter database {RESTORING} rename to {DATABASE}")).await?;
        return Ok(None);
    }
    let kept = format!("tintype_before_{}", seconds());
    // Two statements in one are one transaction.
    let swap = format!("alter database {DATABASE} rename to {kept}; alter database {RESTORING} rename to {DATABASE}");
    sql(data, &maintenance, &swap).await?;
    Ok(Some(kept))
}

async fn psql(data: &DataDir, arguments: &[std::ffi::OsString]) -> Result<ExitCode> {
    let open = Open::find(data).await?;
    let ended = program(data, "psql")?.args(["--dbname", &open.url]).args(arguments).status().await;
    open.close().await?;
    let code = ended.context("cannot start psql")?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Runs statements; what they answered.
async fn sql(data: &DataDir, url: &str, statements: &str) -> Result<String> {
    let mut psql = program(data, "psql")?;
    psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1"]);
    let output = psql.args(["--dbname", url, "--command", statements]).output().await.context("cannot start psql")?;
    if !output.status.success() {
        bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program of the PostgreSQL that has this folder's data.
fn program(data: &DataDir, name: &str) -> Result<Command> {
    let binaries = database::find_binaries(data).context("PostgreSQL's programs are not on this machine any more")?;
    let path = binaries.bin_dir().join(name);
    if !path.is_file() {
        bail!("{} is not there; install it (Debian: `apt-get install postgresql-client`)", path.display());
    }
    Ok(Command::new(path))
}

async fn succeed(mut command: Command, name: &str) -> Result<()> {
    // What it has to say goes to the terminal.
    let ended = command.status().await.with_context(|| format!("cannot start {name}"))?;
    if ended.success() { Ok(()) } else { bail!("{name} failed ({ended}); it said why above") }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
