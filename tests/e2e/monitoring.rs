//! A real Prometheus scrapes the real programs while they draw, fail and give back: every panel of every dashboard shows
//! something, and every number an alert reads is there.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tintype_fake_nvml::{FakeGpu, Machine, place};
use tintype_monitoring::{alerts, dashboards, metrics, prometheus, unfiltered};
use tintype_pg::testing;

use crate::front::start_api;
use crate::support::cluster::Cluster;
use crate::support::programs::{Running, address, command};
use crate::support::provider;
use crate::support::rest::Rest;
use crate::support::wait::until;

/// How long programs may take to start, and a job to end, beside other tests.
const LIMIT: Duration = Duration::from_mins(2);
/// The window of rates, in which Prometheus scrapes some tens of times.
const WINDOW: &str = "30s";

/// Alerts that have nothing to judge here: it compares with an hour ago.
const TOO_EARLY: [&str; 1] = ["TintypeErrandsGivenUp"];

#[tokio::test]
async fn every_panel_shows_something_and_no_alert_reads_what_is_not_there() {
    let mut cluster = Cluster::start().await;
    let database_url = testing::fresh_database();
    let folder = cluster.folder.path().to_path_buf();
    std::fs::write(folder.join("admin-token"), "admin-0123456789abcdef0123456789abcdef").unwrap();
    let _api = start_api(&cluster, &database_url, &folder);
    let api = address(&folder.join("api-port"), LIMIT).await;
    // What pictures cost is told of pools that say a price.
    cluster.apply(&json!({
        "apiVersion": "tintype.dev/v1alpha1", "kind": "GpuPool", "metadata": { "name": "default" },
        "spec": { "pricePerGpuHour": "1.80" }
    }));
    cluster.worker.kill_9();
    let worker = worker_with_a_gpu(&cluster.address, &folder);
    let worker_address = listening(&worker, "listening for probes").await;

    let (_twin, adapter) = provider::start(&cluster, 1_000_000).await;
    let adapter_address = listening(&adapter, "listening").await;

    let targets = [
        ("api", api.as_str()),
        ("operator", &cluster.address),
        ("worker", &worker_address),
        ("provider", &adapter_address),
    ];
    let server = start_prometheus(&targets, &folder);
    let prometheus = Prometheus(listening(&server, "Listening on").await, reqwest::Client::new());
    until("Prometheus to be ready", LIMIT, || async { prometheus.is_ready().await.then_some(()) }).await;

    // What happens before the first scrape has no rate: the first load of a model must come after it.
    until("every program to be scraped", LIMIT, || async {
        prometheus.shows("count(up == 1) == 4").await.then_some(())
    })
    .await;

    let url = format!("http://{api}");
    let admin = Rest::new(&url, "admin-0123456789abcdef0123456789abcdef");
    let user = admin.post("/api/v1/users", json!({ "name": "watched" })).await;
    let rest = Rest::new(&url, user["apiKey"].as_str().unwrap());
    let (mut empty, start) = (panels(), Instant::now());
    while !empty.is_empty() {
        assert!(start.elapsed() < LIMIT, "after {LIMIT:?} there is nothing to see in {empty:#?}");
        // Rates need something that goes on.
        draw_and_fail(&rest).await;
        let mut still = Vec::new();
        for (name, expression) in empty {
            if !prometheus.shows(&expression).await {
                still.push((name, expression));
            }
        }
        empty = still;
    }

    let there = prometheus.names().await;
    let mut judged_nothing = Vec::new();
    for alert in alerts().unwrap() {
        for name in metrics(&alert.expr) {
            assert!(there.contains(&name), "{} reads {name}, which no program shows", alert.alert);
        }
        // What is absent is there; what is there is judged, by labels that match.
        let expression = alert.expr.strip_prefix("absent").unwrap_or(&alert.expr);
        if !prometheus.has(&unfiltered(expression)).await {
            judged_nothing.push(alert.alert);
        }
    }
    assert_eq!(judged_nothing, TOO_EARLY, "these judge nothing, though programs ran");
}

/// One picture, and one request that is refused.
async fn draw_and_fail(rest: &Rest) {
    let body = json!({ "model": "tintype/shapes", "prompt": "a red circle on a blue background", "steps": 2 });
    rest.post("/v1/images/generations", body).await;
    let (status, _) = rest.send(reqwest::Method::GET, "/api/v1/jobs/nobody-knows-it", None).await;
    assert!(status.is_client_error());
}

/// Every panel's expressions, under names for people.
fn panels() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for dashboard in dashboards().unwrap() {
        for panel in &dashboard.panels {
            let name = format!("{}: {}", dashboard.title, panel.title);
            all.extend(panel.queries.iter().map(|query| (name.clone(), query.expression(WINDOW))));
        }
    }
    all
}

/// A worker that believes in a GPU; it draws on the CPU all the same.
fn worker_with_a_gpu(dispatch: &str, folder: &Path) -> Running {
    let gpu = FakeGpu {
        utilisation: Some(3),
        temperature: Some(52),
        power_milliwatts: Some(70_000),
        power_limit_milliwatts: Some(72_000),
        energy_millijoules: Some(1_000),
        sm_clock: Some(2_040),
        memory_clock: Some(6_251),
        throttle_reasons: Some(0),
        ecc_corrected: Some(0),
        ecc_uncorrected: Some(0),
        processes: Some(Vec::new()),
        ..FakeGpu::default()
    };
    let library = place(folder).unwrap();
    Machine { gpus: vec![gpu], ..Machine::default() }.write(&folder.join("gpus.json")).unwrap();
    let mut worker = command("gpu-worker", ["--listen", "127.0.0.1:0", "--nvml-lib", library.to_str().unwrap()]);
    worker
        .env("TINTYPE_DISPATCH_URL", format!("http://{dispatch}"))
        .env("TINTYPE_WORKER_TOKEN_FILE", folder.join("worker-token"))
        .env("TINTYPE_WORKER_ID", "worker-1")
        .env("TINTYPE_POOL", "default")
        .env("TINTYPE_MODELS_DIR", crate::support::models());
    Running::start("worker-1", &mut worker, folder)
}

fn start_prometheus(targets: &[(&str, &str)], folder: &Path) -> Running {
    let jobs: Vec<Value> = targets
        .iter()
        .map(|(name, address)| {
            // The label a cluster's service discovery adds.
            let labels = json!({ "namespace": "tintype" });
            json!({ "job_name": name, "static_configs": [{ "targets": [address], "labels": labels }] })
        })
        .collect();
    let rules = tintype_monitoring::folder().join("alerts.yaml");
    let config = json!({
        "global": { "scrape_interval": "500ms", "evaluation_interval": "1s" },
        "rule_files": [rules],
        "scrape_configs": jobs,
    });
    let file = folder.join("prometheus.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let mut command = Command::new(prometheus().unwrap());
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
        .arg("--web.listen-address=127.0.0.1:0");
    Running::start("prometheus", &mut command, folder)
}

/// The address a program's log names in the line with `words`.
async fn listening(program: &Running, words: &str) -> String {
    until(words, LIMIT, || async {
        let log = program.log();
        let line = log.lines().find(|line| line.contains(words))?;
        let address = line.split("127.0.0.1:").nth(1)?;
        let port: String = address.chars().take_while(char::is_ascii_digit).collect();
        Some(format!("127.0.0.1:{port}"))
    })
    .await
}

/// A Prometheus to ask.
struct Prometheus(String, reqwest::Client);

impl Prometheus {
    /// It listens before it has read its storage, and answers no question until then.
    async fn is_ready(&self) -> bool {
        let answer = self.1.get(format!("http://{}/-/ready", self.0)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let url = reqwest::Url::parse_with_params(&format!("http://{}{path}", self.0), query).unwrap();
        let answer: Value = self.1.get(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{query:?}: {answer}");
        answer["data"].clone()
    }

    /// Whether the expression has a value that is a number.
    async fn shows(&self, expression: &str) -> bool {
        let data = self.get("/api/v1/query", &[("query", expression)]).await;
        let samples = data["result"].as_array().unwrap();
        samples.iter().any(|sample| sample["value"][1].as_str().is_some_and(|value| value != "NaN"))
    }

    /// Whether the expression has a value, be it no number.
    async fn has(&self, expression: &str) -> bool {
        let data = self.get("/api/v1/query", &[("query", expression)]).await;
        data["result"].as_array().is_some_and(|samples| !samples.is_empty())
    }

    /// The name of every series it has.
    async fn names(&self) -> BTreeSet<String> {
        let data = self.get("/api/v1/label/__name__/values", &[]).await;
        data.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }
}
