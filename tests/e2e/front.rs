//! REST on a cluster: the API in front of a real API server, an operator and a worker; credits are captured once,
//! whoever is killed.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tintype_pg::testing;

use crate::support::cluster::Cluster;
use crate::support::picture::{Shown, assert_shows};
use crate::support::programs::{Running, address, command};
use crate::support::rest::Rest;
use crate::support::wait::until;

/// How long a job may take beside other tests.
const JOB_LIMIT: Duration = Duration::from_mins(2);

#[tokio::test]
async fn rest_on_a_cluster_survives_the_operator_and_captures_once() {
    let mut cluster = Cluster::start().await;
    let database_url = testing::fresh_database();
    let folder = cluster.folder.path().to_path_buf();
    std::fs::write(folder.join("admin-token"), "admin-0123456789abcdef0123456789abcdef").unwrap();
    let _api = start_api(&cluster, &database_url, &folder);
    let url = format!("http://{}", address(&folder.join("api-port"), Duration::from_mins(1)).await);

    let admin = Rest::new(&url, "admin-0123456789abcdef0123456789abcdef");
    let user = admin.post("/api/v1/users", json!({ "name": "front" })).await;
    let rest = Rest::new(&url, user["apiKey"].as_str().unwrap());
    let (before, _) = rest.credits().await;
    assert_eq!(before, 10_000, "ten free credits");

    let body = json!({ "model": "tintype/shapes", "prompt": "a red circle on a blue background", "seed": 1 });
    let answer = rest.post("/v1/images/generations", body).await;
    let shown = Shown { colour: "red", shape: "circle", ground: "blue" };
    assert_shows(&rest.bytes(answer["data"][0]["url"].as_str().unwrap()).await, shown);

    let (before, _) = credits_settled(&rest).await;
    let job = rest
        .post(
            "/api/v1/jobs",
            json!({
                "model": "tintype/shapes", "prompt": "a red circle on a blue background", "seed": 1,
                "steps": 150, "images": 4
            }),
        )
        .await;
    let id = job["id"].as_str().unwrap().to_owned();
    let price = job["priceMillis"].as_i64().unwrap();
    until("the job to be given out", JOB_LIMIT, || async {
        let state = rest.job(&id).await["state"].as_str().map(str::to_owned);
        state.filter(|state| state == "Assigned" || state == "Running")
    })
    .await;
    cluster.operator.kill_9();
    cluster.restart_operator().await;
    let done = until("the job to end", JOB_LIMIT, || async {
        let job = rest.job(&id).await;
        matches!(job["state"].as_str(), Some("Complete" | "Failed")).then_some(job)
    })
    .await;
    assert_eq!(done["state"], "Complete", "{done}");
    assert_eq!(credits_settled(&rest).await, (before - price, 0), "captured once");

    let left = until("the finalizer to come off", JOB_LIMIT, || async {
        let jobs = cluster.kubectl(&["get", "generationjobs", "--output=json"]);
        (!jobs.contains("tintype.dev/settlement")).then_some(jobs)
    })
    .await;
    assert!(left.contains(&id), "the job stays until its TTL: {left}");
}

pub(crate) async fn credits_settled(rest: &Rest) -> (i64, i64) {
    until("holds to be settled", JOB_LIMIT, || async {
        let credits = rest.credits().await;
        (credits.1 == 0).then_some(credits)
    })
    .await
}

pub(crate) fn start_api(cluster: &Cluster, database_url: &str, folder: &Path) -> Running {
    let mut api = command("api", ["--cluster", "kubernetes", "--listen", "127.0.0.1:0"]);
    api.arg("--port-file")
        .arg(folder.join("api-port"))
        .env("DATABASE_URL", database_url)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", cluster.collector())
        .arg("--kubeconfig")
        .arg(cluster.plane.kubeconfig_path())
        .args(["--namespace", &cluster.namespace])
        .args(["--dispatch-url", &format!("http://{}", cluster.address)])
        .arg("--dispatch-token-file")
        .arg(folder.join("reader-token"))
        .arg("--admin-token-file")
        .arg(folder.join("admin-token"))
        .arg("--store-secret-file")
        .arg(folder.join("store-secret"))
        .arg("--store-dir")
        .arg(folder.join("images"));
    Running::start("api", &mut api, folder)
}
