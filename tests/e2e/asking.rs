//! What the scheduler says of itself: `tintype explain`, `eta`, `top` and `replay` beside `tintype up`, and as kubectl's plugin
//! with a kubectl that only answers what the real one would.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::programs::program;
use crate::support::up::Up;
use crate::support::wait::until;

/// How long one small job may take beside other tests.
const JOB_LIMIT: Duration = Duration::from_secs(90);
/// A kubectl for one job, one operator and one Secret. The forwarded port is the one `tintype up` has.
const KUBECTL: &str = r#"#!/bin/sh
case "$*" in
  "get services --all-namespaces -l "*) echo '{"items":[{"metadata":{"namespace":"pics","name":"tt-dispatch"}}]}' ;;
  "get secret tt-dispatch-token -n pics "*) cat "$FAKE_TOKEN" ;;
  "get generationjobs.tintype.dev red-circle -o jsonpath={.metadata.uid} -n team "*) printf %s "$FAKE_JOB" ;;
  "port-forward -n pics service/tt-dispatch :8080 "*) echo "Forwarding from $FAKE_ADDRESS -> 8080"; exec sleep 600 ;;
  *) echo "no such thing here: $*" >&2; exit 1 ;;
esac
"#;

#[tokio::test]
async fn a_job_that_waits_is_explained_and_the_log_of_what_was_decided_replays() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("decisions.log");
    let up = Up::start(folder.path(), &["--decision-log", log.to_str().unwrap()]).await;
    let request =
        json!({ "model": "tintype/shapes", "prompt": "a red circle on a blue background", "steps": 150, "images": 4 });
    let mut ids = Vec::new();
    for _ in 0..3 {
        let job = up.rest.post("/api/v1/jobs", request.clone()).await;
        ids.push(job["id"].as_str().unwrap().to_owned());
    }
    let last = ids.last().unwrap();
    let told = until("the last job to wait behind others", JOB_LIMIT, || async {
        // A job is known to the scheduler a moment after it was accepted.
        let said = run(&up, &["explain", last, "-o", "json"]);
        let told: Value = said.status.success().then(|| serde_json::from_slice(&said.stdout).unwrap())?;
        (told["verdict"]["kind"] == "behindInQueue" && !told["estimate"].is_null()).then_some(told)
    })
    .await;
    assert_eq!(told["remedies"][0]["kind"], "raisePriority");
    assert!(told["estimate"]["endsP90"].as_u64() >= told["estimate"]["endsP50"].as_u64());
    assert!(tintype(&up, &["eta", last]).contains("p90      ends in "));
    let top = tintype(&up, &["top"]);
    assert!(top.contains("local-0") && top.contains("WAITING"), "{top}");
    assert!(top.lines().all(|line| line.chars().count() <= 100), "{top}");
    assert_eq!(plugin(&up, folder.path(), last)["job"], last.as_str());

    for id in &ids {
        up.rest.send(Method::DELETE, &format!("/api/v1/jobs/{id}"), None).await;
    }
    let data = up.data.clone();
    up.stop().await;
    let replayed = Command::new(program("tintype")).arg("replay").arg(&log).args(["-o", "json"]).output().unwrap();
    let said: Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert!(
        replayed.status.success() && said["same"] == true && said["decisions"]["assign"].as_u64() > Some(0),
        "{said}"
    );
    assert!(data.exists());
}

/// Runs the program against this `up`.
fn run(up: &Up, words: &[&str]) -> Output {
    let mut command = Command::new(program("tintype"));
    command.args(words).env("TINTYPE_URL", &up.rest.url).env("TINTYPE_DATA", &up.data).output().unwrap()
}

/// The same, and gives what it printed.
fn tintype(up: &Up, words: &[&str]) -> String {
    let output = run(up, words);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The explanation of a job by its name, asked as `kubectl tintype explain` does.
fn plugin(up: &Up, folder: &Path, job: &str) -> Value {
    let (bin, link) = (folder.join("bin"), folder.join("kubectl-tintype"));
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("kubectl"), KUBECTL).unwrap();
    std::fs::set_permissions(bin.join("kubectl"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink(program("tintype"), &link).unwrap();
    let path = std::env::join_paths(
        std::iter::once(bin).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let output = Command::new(link)
        .args(["explain", "red-circle", "-n", "team", "--context", "c", "-o", "json"])
        .env("PATH", path.unwrap())
        .env("FAKE_TOKEN", up.data.join("admin-token"))
        .env("FAKE_JOB", job)
        .env("FAKE_ADDRESS", up.rest.url.trim_start_matches("http://"))
        .env_remove("TINTYPE_DISPATCH_URL")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
