//! What can go wrong with a private PostgreSQL, said so that the person who meets it knows what to do.

use std::path::PathBuf;

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum PgError {
    /// No usable programs in any place looked at.
    #[error(
        "no PostgreSQL found (looked in {looked}); install it (Debian: `apt-get install postgresql`), or let `tintype` \
         fetch a private copy, or name a running server in DATABASE_URL"
    )]
    NotFound {
        /// The folders looked at, comma-separated.
        looked: String,
    },
    /// The data was written by another major version than the programs found.
    #[error(
        "the data in {data_dir} was written by PostgreSQL {data}, but the programs found are version {programs}; \
         install PostgreSQL {data} beside it, or move the data over: `tintype db backup` where version {data} is, then \
         `tintype db restore` into another folder here"
    )]
    WrongVersion {
        /// The folder.
        data_dir: PathBuf,
        /// Major version that wrote the data.
        data: u32,
        /// Major version of the programs.
        programs: u32,
    },
    /// Another process of ours holds this folder.
    #[error("the database in {0} is in use by another tintype; stop that one first, or choose another data folder")]
    InUse(PathBuf),
    /// Root cannot run PostgreSQL, and the stand-in user cannot reach the folder.
    #[error(
        "PostgreSQL refuses to run as root, and an unprivileged user cannot reach {0}; choose a data folder outside \
         root's home, such as /var/lib/tintype, or run as an ordinary user"
    )]
    Unreachable(PathBuf),
    /// The server did not come up.
    #[error("PostgreSQL did not become ready: {reason}; its log is {log}")]
    NotReady {
        /// What was seen.
        reason: String,
        /// Where to read more.
        log: PathBuf,
    },
    /// A program we ran failed.
    #[error("`{program}` failed: {stderr}")]
    Program {
        /// Which.
        program: String,
        /// The end of what it wrote.
        stderr: String,
    },
    /// A password that would have to be quoted, or that can be guessed.
    #[error("the password in {0} is not usable: take letters and digits, 16 or more")]
    BadPassword(PathBuf),
    /// A name that is not a plain identifier.
    #[error("{0:?} is not a database name: take lower-case letters, digits and _, at most 63, starting with a letter")]
    BadName(String),
    /// A file or a process could not be handled.
    #[error("could not {doing} {path}")]
    Io {
        /// What we were doing.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl PgError {
    /// Adds what was being done, and to what, to the system's answer.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}
