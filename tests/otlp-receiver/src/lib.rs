//! A collector of traces for tests. It keeps to the contract (OTLP over HTTP, protobuf bodies, decoded by the protocol's own
//! messages) and knows nothing of who sends.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper stops the test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A span as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The program: `service.name`.
    pub service: String,
    /// What it is called.
    pub name: String,
    /// Its trace, 32 hex digits.
    pub trace: String,
    /// Itself, 16 hex digits.
    pub span: String,
    /// What it is part of; empty at the root.
    pub parent: String,
    /// When it began, in nanoseconds since 1970.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// Whether it says that something went wrong.
    pub failed: bool,
    /// What it says.
    pub attributes: BTreeMap<String, String>,
}

/// The collector. It ends with the test's runtime.
pub struct Receiver {
    address: SocketAddr,
    spans: watch::Receiver<Vec<Received>>,
    shared: Arc<Shared>,
}

struct Shared {
    spans: watch::Sender<Vec<Received>>,
    answers: Mutex<Vec<StatusCode>>,
    bodies: Mutex<Vec<u8>>,
}

impl Receiver {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let (sender, spans) = watch::channel(Vec::new());
        let shared = Arc::new(Shared { spans: sender, answers: Mutex::default(), bodies: Mutex::default() });
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, spans, shared }
    }

    /// What programs are given as the collector's address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers the next requests so, the first one first, and takes nothing of them.
    pub fn refuse(&self, answers: impl IntoIterator<Item = u16>) {
        let answers = answers.into_iter().map(|code| StatusCode::from_u16(code).unwrap());
        self.shared.answers.lock().unwrap().extend(answers);
    }

    /// Whether anything that was sent holds these words.
    pub fn was_told(&self, words: &str) -> bool {
        let bodies = self.shared.bodies.lock().unwrap();
        bodies.windows(words.len()).any(|window| window == words.as_bytes())
    }

    /// Waits for spans that are enough.
    pub async fn until(&self, limit: Duration, enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let mut spans = self.spans.clone();
        let waiting = spans.wait_for(|spans| enough(spans));
        match tokio::time::timeout(limit, waiting).await {
            Ok(spans) => spans.unwrap().clone(),
            Err(elapsed) => panic!("{elapsed}: after {limit:?} there are only {:#?}", *self.spans.borrow()),
        }
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let mut answers = shared.answers.lock().unwrap();
    if !answers.is_empty() {
        return answers.remove(0);
    }
    drop(answers);
    let Ok(request) = ExportTraceServiceRequest::decode(body.clone()) else { return StatusCode::BAD_REQUEST };
    shared.bodies.lock().unwrap().extend_from_slice(&body);
    let mut came = Vec::new();
    for part in request.resource_spans {
        let resource = attributes(part.resource.map(|resource| resource.attributes).unwrap_or_default());
        let service = resource.get("service.name").cloned().unwrap_or_default();
        let spans = part.scope_spans.into_iter().flat_map(|scope| scope.spans);
        came.extend(spans.map(|span| received(&service, span)));
    }
    shared.spans.send_modify(|spans| spans.append(&mut came));
    StatusCode::OK
}

fn received(service: &str, span: Span) -> Received {
    Received {
        service: service.to_owned(),
        name: span.name,
        trace: hex::encode(span.trace_id),
        span: hex::encode(span.span_id),
        parent: hex::encode(span.parent_span_id),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        failed: span.status.is_some_and(|status| status.code == 2),
        attributes: attributes(span.attributes),
    }
}

fn attributes(list: Vec<KeyValue>) -> BTreeMap<String, String> {
    list.into_iter().map(|KeyValue { key, value, .. }| (key, text(value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}
