//! Pictures in a bucket, as a release with `objectStore` keeps them; and `operator check`, which is what `helm test` runs, on
//! that cluster.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tintype_store::testing::Bucket;

use crate::support::cluster::{Around, Cluster, WAIT};
use crate::support::models;
use crate::support::picture::{Shown, assert_shows};
use crate::support::programs::command;

#[tokio::test]
async fn a_bucket_holds_the_pictures_and_a_check_sees_one() {
    let objects = tempfile::tempdir().unwrap();
    let root = objects.path().to_owned();
    let bucket = tokio::task::spawn_blocking(move || Bucket::start(&root)).await.unwrap();
    let bucket = bucket.expect("scripts/setup.sh has built s3s-fs");
    let at = bucket.config();
    let key = objects.path().join("key");
    std::fs::write(&key, format!("{}\n", at.secret_access_key)).unwrap();
    let operator = vec![
        ("TINTYPE_S3_BUCKET", at.bucket.clone()),
        ("TINTYPE_S3_ENDPOINT", at.endpoint.clone().unwrap()),
        ("TINTYPE_S3_REGION", at.region),
        ("TINTYPE_S3_ACCESS_KEY_ID", at.access_key_id),
        ("TINTYPE_S3_SECRET_ACCESS_KEY_FILE", key.display().to_string()),
    ];
    let mut cluster = Cluster::start_amid(&models(), Around { operator, ..Around::default() }).await;

    let request = json!({ "model": "tintype/shapes", "prompt": "a red circle on a blue background", "seed": 3 });
    cluster.apply(&cluster.job("red-circle", request));
    cluster.kubectl(&["wait", "--for=condition=Complete", WAIT, "generationjob/red-circle"]);
    let picture = cluster.picture("red-circle").await;
    assert_shows(&picture, Shown { colour: "red", shape: "circle", ground: "blue" });
    let output = cluster.read("red-circle")["status"]["outputs"][0].clone();
    let object = objects.path().join(&at.bucket).join(output["key"].as_str().unwrap());
    assert!(std::fs::read(object).unwrap() == picture, "the bucket's object is another picture");
    assert_eq!(output["sha256"], hex::encode(Sha256::digest(&picture)));
    let folder = cluster.folder.path().join("images");
    assert!(!folder.join("jobs").exists(), "the folder has pictures too");

    let checked = check(&cluster, &["--expect-worker"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{said}{}", String::from_utf8_lossy(&checked.stderr));
    let lines = steps(&said);
    assert_eq!(lines["kinds"].0, "ok", "{said}");
    assert!(lines["operator"].1.starts_with("it leads, and /metrics has "), "{said}");
    assert_eq!(lines["api"].0, "SKIPPED", "{said}");
    assert!(lines["picture"].1.starts_with("worker-0 drew 64x64 in "), "{said}");
    assert!(
        !cluster.kubectl(&["get", "generationjobs", "--output=name"]).contains("check-"),
        "the check's job is left"
    );

    // A pool without workers: nothing to be wrong with, unless one was to be there.
    let said = check(&cluster, &["--pool=empty"]);
    assert!(said.status.success());
    assert_eq!(steps(&String::from_utf8_lossy(&said.stdout))["picture"].0, "SKIPPED");
    let said = check(&cluster, &["--pool=empty", "--expect-worker", "--within=2s"]);
    assert!(!said.status.success());
    let lines = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(lines.contains("FAILED  picture: the job check-") && lines.contains("empty"), "{lines}");

    cluster.operator.kill_9();
    let said = check(&cluster, &["--within=1s"]);
    assert!(!said.status.success());
    let lines = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(steps(&lines)["kinds"].0, "ok", "{lines}");
    assert!(lines.contains("FAILED  operator: http://127.0.0.1:"), "{lines}");
}

/// Runs it as the pod of `helm test` does.
fn check(cluster: &Cluster, more: &[&str]) -> Output {
    let file = |name: &str| Path::new(cluster.folder.path()).join(name).display().to_string();
    let mut program = command("operator", ["check"]);
    program
        .args(["--dispatch-url", &format!("http://{}", cluster.address)])
        .args(["--dispatch-token-file", &file("reader-token")])
        .args(["--kubeconfig", &cluster.plane.kubeconfig_path().display().to_string()])
        .args(["--namespace", &cluster.namespace])
        .args(more);
    program.env_remove("KUBECONFIG").output().unwrap()
}

/// How each step went, and what was said of it.
fn steps(said: &str) -> BTreeMap<&str, (&str, &str)> {
    said.lines()
        .filter_map(|line| {
            let (word, rest) = line.split_once(' ')?;
            let (step, said) = rest.trim_start().split_once(": ")?;
            Some((step, (word, said)))
        })
        .collect()
}
