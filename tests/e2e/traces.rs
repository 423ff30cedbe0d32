//! One trace from a request to the last step, as a collector is told of it by the real programs: on one machine, and through
//! a cluster's custom resource.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tintype_otlp_receiver::{Received, Receiver};
use tintype_pg::testing;

use crate::front::start_api;
use crate::support::cluster::{Around, Cluster};
use crate::support::models;
use crate::support::programs::address;
use crate::support::rest::Rest;
use crate::support::up::Up;

/// How long programs may take to start, and a job to end and to be told of, beside other tests.
const LIMIT: Duration = Duration::from_mins(2);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// What nobody who looks at traces is to read.
const SECRET: &str = "a red circle on a blue background";
const STEPS: usize = 5;

#[tokio::test]
async fn one_machine_tells_of_a_request_up_to_its_last_step_as_one_tree() {
    let (receiver, folder) = (Receiver::start().await, tempfile::tempdir().unwrap());
    let url = receiver.url();
    let up = Up::start_in(folder.path(), &[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]).await;
    draw(&up.rest).await;
    let spans = receiver.until(LIMIT, is_whole).await;
    check(&spans, "tintype-api");
    for secret in [SECRET, &up.rest.key] {
        assert!(!receiver.was_told(secret), "a trace holds a secret");
    }
    let log = std::fs::read_to_string(up.data.join("worker.log")).unwrap();
    let line = log.lines().find(|line| line.contains("an attempt begins")).unwrap();
    assert!(line.contains(TRACE), "{line}");
    up.stop().await;
}

#[tokio::test]
async fn the_trace_goes_on_through_the_custom_resource_to_operator_and_worker() {
    let receiver = Receiver::start().await;
    let cluster = Cluster::start_amid(&models(), Around { collector: receiver.url(), ..Around::default() }).await;
    let folder = cluster.folder.path().to_path_buf();
    std::fs::write(folder.join("admin-token"), "admin-0123456789abcdef0123456789abcdef").unwrap();
    let _api = start_api(&cluster, &testing::fresh_database(), &folder);
    let url = format!("http://{}", address(&folder.join("api-port"), LIMIT).await);
    let admin = Rest::new(&url, "admin-0123456789abcdef0123456789abcdef");
    let user = admin.post("/api/v1/users", json!({ "name": "traced" })).await;
    draw(&Rest::new(&url, user["apiKey"].as_str().unwrap())).await;

    let spans = receiver.until(LIMIT, is_whole).await;
    check(&spans, "tintype-operator");
    let jobs = cluster.kubectl(&["get", "generationjobs", "--output=json"]);
    let request = spans.iter().find(|span| span.name.starts_with("POST ")).unwrap();
    let annotation = format!("\"tintype.dev/traceparent\": \"00-{TRACE}-{}-01\"", request.span);
    assert!(jobs.contains(&annotation), "{jobs}");
    let log = cluster.operator.log();
    let line = log.lines().find(|line| line.contains("decision written")).unwrap();
    assert!(line.contains(TRACE), "{line}");
    assert!(!receiver.was_told(SECRET), "a trace holds a prompt");
}

async fn draw(rest: &Rest) {
    let body = json!({ "model": "tintype/shapes", "prompt": SECRET, "steps": STEPS });
    rest.post_traced(GIVEN, "/v1/images/generations", body).await;
}

/// Whether everything that is to come has come: what ends last in each program.
fn is_whole(spans: &[Received]) -> bool {
    let there = |name: &str| spans.iter().any(|span| span.trace == TRACE && span.name == name);
    there("attempt") && there("assignment") && there("POST /v1/images/generations")
}

/// What hangs below what, who told of it, and in which order it was.
fn check(spans: &[Received], dispatcher: &str) {
    let by_id: BTreeMap<&str, &Received> =
        spans.iter().filter(|span| span.trace == TRACE).map(|span| (span.span.as_str(), span)).collect();
    let mut paths: BTreeMap<Vec<&str>, Vec<&Received>> = BTreeMap::new();
    for span in by_id.values() {
        let (mut path, mut at) = (vec![span.name.as_str()], *span);
        while let Some(parent) = by_id.get(at.parent.as_str()) {
            path.insert(0, parent.name.as_str());
            at = parent;
        }
        assert_eq!(at.parent, GIVEN[36..52], "{path:?} is not part of what the request came with");
        paths.entry(path).or_default().push(span);
    }
    let root = "POST /v1/images/generations";
    let one = |path: &[&str], service: &str| {
        let there = paths.get(path).unwrap_or_else(|| panic!("no {path:?} among {:#?}", paths.keys()));
        assert_eq!((there.len(), there[0].service.as_str()), (1, service), "{path:?}");
        there[0].clone()
    };
    let request = one(&[root], "tintype-api");
    let hold = one(&[root, "hold"], "tintype-api");
    let wait = one(&[root, "queue wait"], dispatcher);
    let assignment = one(&[root, "assignment"], dispatcher);
    let attempt = one(&[root, "assignment", "attempt"], "tintype-worker");
    let below = |name| one(&[root, "assignment", "attempt", name], "tintype-worker");
    let (load, encode, decode, store) = (below("model load"), below("encode"), below("decode"), below("store"));
    let mut steps = paths[&vec![root, "assignment", "attempt", "step"]].clone();
    steps.sort_by_key(|step| step.start);
    let numbers: Vec<&str> = steps.iter().map(|step| step.attributes["step"].as_str()).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5"]);
    assert_eq!(paths.len(), 10, "{:#?}", paths.keys());

    let (first, last) = (steps[0], steps[STEPS - 1]);
    let order = [&request, &hold, &assignment, &attempt, &load, &encode, first, last, &decode, &store];
    for pair in order.windows(2) {
        assert!(pair[0].start <= pair[1].start, "{} before {}", pair[0].name, pair[1].name);
    }
    assert!(wait.end <= assignment.start && last.end <= decode.start && decode.end <= store.start);
    assert!(spans.iter().all(|span| !span.failed), "{spans:#?}");
    assert_eq!(
        (request.attributes["http.response.status_code"].as_str(), attempt.attributes["outcome"].as_str()),
        ("200", "done")
    );
}
