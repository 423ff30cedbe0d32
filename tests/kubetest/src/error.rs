//! What can go wrong between asking for a control plane and using it. Messages end in the log of the program at fault:
//! whoever reads the failure has no other way to see it, the directory is gone by then.

use std::{io, path::PathBuf, time::Duration};

use crate::Program;

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a control plane could not be started or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `build.sh` did not name a directory with the programs.
    #[error("building the control plane programs with {script} failed: {reason}")]
    Build {
        /// The script that was run.
        script: PathBuf,
        /// Its exit, or why it could not be run.
        reason: String,
    },
    /// A program went away before it was ready.
    #[error("{program} exited ({status}) before it was ready; the end of its log:\n{log}")]
    Exited {
        /// Which program.
        program: Program,
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// A program runs but did not become ready.
    #[error("{program} was not ready within {waited:?}: {last}; the end of its log:\n{log}")]
    NotReady {
        /// Which program.
        program: Program,
        /// How long was waited.
        waited: Duration,
        /// What the last look said.
        last: String,
        /// The end of its log.
        log: String,
    },
    /// `kubectl` did not come back.
    #[error("kubectl {arguments} did not end within {waited:?}")]
    KubectlTimeout {
        /// What it was asked.
        arguments: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The control plane shared by the tests of this process could not be started.
    #[error("the shared control plane did not start: {0}")]
    Shared(String),
    /// Something that only a control plane of our own has, asked of a cluster given by `TINTYPE_TEST_KUBECONFIG`.
    #[error("not possible with the cluster of TINTYPE_TEST_KUBECONFIG: {0}")]
    NotOurs(&'static str),
    /// A request did not turn up in the audit log.
    #[error("no such request in the audit log after {waited:?}, among {seen} others")]
    NotAudited {
        /// How long was waited.
        waited: Duration,
        /// How many requests the log had then.
        seen: usize,
    },
    /// The program was not among those started.
    #[error("{0} is not part of this control plane")]
    NotStarted(Program),
    /// A file, directory, socket or process.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A key or certificate could not be made.
    #[error("making keys and certificates")]
    Certificate(#[from] rcgen::Error),
    /// The kubeconfig cannot be read or used.
    #[error("reading the kubeconfig")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The API server refused or did not answer.
    #[error("asking the API server")]
    Kube(#[from] Box<kube::Error>),
    /// A line of the audit log is not what Kubernetes documents.
    #[error("line {line} of the audit log cannot be read")]
    Audit {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl From<kube::Error> for Error {
    fn from(source: kube::Error) -> Self {
        Self::Kube(Box::new(source))
    }
}

/// Says what was being done when the system refused.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { doing: what(), source })
    }
}

/// An error with all that lies under it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
