//! `tintype up` as a newcomer starts it, on a free port and a data folder of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::programs::{Running, command};
use super::rest::Rest;
use super::wait::until;
use super::{models, root};

/// How long the first start may take here: it makes a database cluster, beside other tests.
pub(crate) const START_LIMIT: Duration = Duration::from_mins(1);

/// How long a job may take behind others, on a machine that does other things.
const JOB_LIMIT: Duration = Duration::from_mins(4);

/// A running `tintype up`.
pub(crate) struct Up {
    /// The process.
    pub(crate) running: Running,
    /// A caller with the key it printed.
    pub(crate) rest: Rest,
    /// Its data folder.
    pub(crate) data: PathBuf,
}

impl Up {
    /// Starts it with its data in `folder`, and waits for the line to export.
    pub(crate) async fn start(folder: &Path, more: &[&str]) -> Self {
        Self::start_in(folder, more, &[]).await
    }

    /// The same with these variables in its environment.
    pub(crate) async fn start_in(folder: &Path, more: &[&str], environment: &[(&str, &str)]) -> Self {
        let data = folder.join("data");
        let number = std::fs::read_dir(folder).map_or(0, Iterator::count);
        let mut up = command("tintype", ["up", "--listen", "127.0.0.1:0"]);
        up.args(more).current_dir(root()).env("TINTYPE_DATA", &data).env_remove("DATABASE_URL");
        up.envs(environment.iter().copied());
        if !more.contains(&"--models-dir") {
            up.arg("--models-dir").arg(models());
        }
        let mut running = Running::start(&format!("up-{number}"), &mut up, folder);
        let (url, key) = until("the line to export", START_LIMIT, || {
            let found = exported(&running.log());
            async move { found }
        })
        .await;
        assert!(running.is_alive(), "`tintype up` has ended");
        Self { running, rest: Rest::new(&url, &key), data }
    }

    /// Uploads a picture; the key requests name it by.
    pub(crate) async fn upload(&self, content: Vec<u8>) -> String {
        self.rest.upload(content).await
    }

    /// The first picture of each request, all of them asked for at once.
    pub(crate) async fn pictures(&self, requests: Vec<Value>) -> Vec<Vec<u8>> {
        let mut ids = Vec::new();
        for request in requests {
            let job = self.rest.post("/api/v1/jobs", request).await;
            ids.push(job["id"].as_str().unwrap().to_owned());
        }
        let mut pictures = Vec::new();
        for id in ids {
            let job = until("a job to end", JOB_LIMIT, || async {
                let job = self.rest.job(&id).await;
                matches!(job["state"].as_str(), Some("Complete" | "Failed")).then_some(job)
            })
            .await;
            assert_eq!(job["state"], "Complete", "{job}");
            pictures.push(self.rest.bytes(&format!("/api/v1/jobs/{id}/images/0")).await);
        }
        pictures
    }

    /// Ends it as Ctrl-C does.
    pub(crate) async fn stop(mut self) {
        self.running.signal(libc::SIGINT);
        let ended = self.running.ended(Duration::from_secs(40)).await;
        assert!(ended.success(), "Ctrl-C must end cleanly, but: {ended}");
    }
}

/// URL and key from the line `export TINTYPE_URL=.. TINTYPE_API_KEY=..`, which stands alone.
fn exported(log: &str) -> Option<(String, String)> {
    let line = log.lines().find(|line| line.starts_with("export "))?;
    let value = |name: &str| {
        line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    Some((value("TINTYPE_URL")?, value("TINTYPE_API_KEY")?))
}
