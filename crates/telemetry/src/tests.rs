//! Against a collector that keeps to the contract, over a real connection.

use std::time::{Duration, SystemTime};

use prometheus::Registry;
use tintype_otlp_receiver::{Received, Receiver};
use tintype_types::Traceparent;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::courier::Courier;

const LIMIT: Duration = Duration::from_secs(30);
const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn open(url: &str, ratio: f64) -> (Telemetry, Registry) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let args = TelemetryArgs { otlp_endpoint: Some(url.to_owned()), trace_ratio: ratio };
    let registry = Registry::new();
    (Telemetry::open(&args, "tintype-test", &registry).unwrap(), registry)
}

fn named<'a>(spans: &'a [Received], name: &str) -> &'a Received {
    spans.iter().find(|span| span.name == name).unwrap()
}

fn count(registry: &Registry, name: &str, outcome: &str) -> u64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name).unwrap();
    let metric = family.get_metric().iter().find(|metric| metric.get_label()[0].value() == outcome).unwrap();
    metric.get_counter().get_value() as u64
}

#[tokio::test]
async fn a_request_and_its_stages_are_one_tree_under_the_id_it_came_with() {
    let receiver = Receiver::start().await;
    let (telemetry, registry) = open(&receiver.url(), 1.0);
    let request = telemetry.request(GIVEN.parse().ok(), "POST", "/v1/things/{id}");
    let began = SystemTime::now() - Duration::from_secs(9);
    let mut wait = telemetry.stage_at(request.context(), Stage::QueueWait, began).with(Attribute::Job(&"j".into()));
    wait.fail();
    wait.end_at(began + Duration::from_secs(2));
    telemetry.stage(request.context(), Stage::Hold).end();
    // Part of nothing, so not traced.
    telemetry.stage(None, Stage::Load).end();
    request.with(Attribute::Status(200)).end();
    telemetry.close().await;

    let spans = receiver.until(LIMIT, |spans| spans.len() == 3).await;
    let (root, wait) = (named(&spans, "POST /v1/things/{id}"), named(&spans, "queue wait"));
    assert!(spans.iter().all(|span| span.trace == GIVEN[3..35] && span.service == "tintype-test"));
    assert_eq!((root.parent.as_str(), wait.parent.as_str()), (&GIVEN[36..52], root.span.as_str()));
    assert_eq!(named(&spans, "hold").parent, root.span);
    assert_eq!((root.attributes["http.response.status_code"].as_str(), root.failed), ("200", false));
    assert_eq!((wait.attributes["job.id"].as_str(), wait.failed), ("j", true));
    assert_eq!(wait.end - wait.start, 2_000_000_000);
    assert_eq!(count(&registry, "tintype_telemetry_spans_total", "exported"), 3);
    assert_eq!(count(&registry, "tintype_telemetry_calls_total", "ok"), 1);
}

#[tokio::test]
async fn what_begins_here_is_kept_by_the_ratio_and_what_comes_as_it_says() {
    let receiver = Receiver::start().await;
    let (none, _) = open(&receiver.url(), 0.0);
    let unkept = none.request(None, "GET", "/begun/here");
    let context = unkept.context().unwrap();
    assert!(!context.sampled);
    none.stage(Some(context), Stage::Hold).end();
    unkept.end();
    none.request(GIVEN.parse().ok(), "GET", "/kept").end();
    let (all, _) = open(&receiver.url(), 1.0);
    all.request(GIVEN.replace("-01", "-00").parse().ok(), "GET", "/not/kept").end();
    let begun = all.request(None, "GET", "/begun/too");
    assert!(begun.context().is_some_and(|context| context.sampled));
    begun.end();
    none.close().await;
    all.close().await;
    let spans = receiver.until(LIMIT, |spans| spans.len() >= 2).await;
    let mut names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["GET /begun/too", "GET /kept"]);
}

#[tokio::test]
async fn without_a_collector_a_trace_is_carried_on_and_nothing_is_begun() {
    let args = TelemetryArgs { otlp_endpoint: Some(" ".to_owned()), trace_ratio: 1.0 };
    let telemetry = Telemetry::open(&args, "tintype-test", &Registry::new()).unwrap();
    let given: Option<Traceparent> = GIVEN.parse().ok();
    assert_eq!(telemetry.request(given, "GET", "/").context(), given);
    assert_eq!(telemetry.stage(given, Stage::Hold).context(), given);
    assert_eq!(telemetry.request(None, "GET", "/").context(), None);
    let wrong = TelemetryArgs { otlp_endpoint: Some("collector:4318".to_owned()), trace_ratio: 1.0 };
    let refused = Telemetry::open(&wrong, "tintype-test", &Registry::new()).unwrap_err();
    assert!(refused.to_string().contains("must begin with http://"), "{refused}");
}

#[tokio::test]
async fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let receiver = Receiver::start().await;
    receiver.refuse([503, 429]);
    let (telemetry, registry) = open(&receiver.url(), 1.0);
    telemetry.request(None, "GET", "/busy").end();
    receiver.until(LIMIT, |spans| spans.len() == 1).await;
    receiver.refuse([400]);
    telemetry.request(None, "GET", "/refused").end();
    telemetry.close().await;
    let spans = |outcome| count(&registry, "tintype_telemetry_spans_total", outcome);
    let calls = |outcome| count(&registry, "tintype_telemetry_calls_total", outcome);
    assert_eq!((spans("exported"), spans("failed")), (1, 1));
    assert_eq!((calls("ok"), calls("refused"), calls("unreachable")), (1, 3, 0));
}

#[tokio::test]
async fn spans_there_is_no_room_for_are_dropped_and_nobody_waits() {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let (sender, waiting) = mpsc::channel(2);
    let queue = Queue { waiting: sender, metrics: metrics.clone() };
    let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
    for _ in 0..5 {
        provider.tracer("t").start("s").end();
    }
    assert_eq!(metrics.spans("dropped"), 3);
    // Nobody listens there; and the port cannot be anybody's who does.
    drop(rustls::crypto::ring::default_provider().install_default());
    let exporter = exporter("http://127.0.0.1:1/v1/traces", Courier::new(metrics.clone()).unwrap()).unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    queue::export(waiting, exporter, metrics.clone(), stop).await;
    assert_eq!((metrics.spans("failed"), metrics.calls("unreachable")), (2, 3));
}
