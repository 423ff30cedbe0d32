//! Traces of a job's way, from the request to the last step: spans, exported by OTLP over HTTP. Off unless a collector is
//! named. It must not know what the programs do, and nobody waits for it: spans it has no room for are dropped and counted.
//!
//! Spans are begun with what they are part of ([`Traceparent`]) rather than by what is current in a thread: a job goes through
//! processes, queues and an engine's own thread, and some of its spans are known only once they are over.

mod args;
mod courier;
mod metrics;
mod queue;
mod span;
mod stage;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanExporter as _};
use prometheus::Registry;
use tintype_types::{Timestamp, Traceparent};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use args::TelemetryArgs;
use courier::Courier;
use metrics::Metrics;
use queue::Queue;
pub use span::Span;
use stage::Subject;
pub use stage::{Attribute, Stage};

/// What a program that goes away waits for its last spans to be taken.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);

/// Why traces cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The address is none.
    #[error("the collector's address ({0:?}) must begin with http:// or https://, such as http://collector:4318")]
    Address(String),
    /// No client can be made.
    #[error("making the client that calls the collector")]
    Client(#[from] reqwest::Error),
    /// A variable of the environment that the exporter reads is wrong.
    #[error("setting up the export of traces: {0}")]
    Exporter(String),
    /// The metrics are registered already.
    #[error("registering the metrics of traces")]
    Metrics(#[from] prometheus::Error),
}

/// Where spans begin. Cloning is cheap; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    tracer: SdkTracer,
    stop: CancellationToken,
    exporting: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Telemetry {
    /// Nothing is traced here; what is part of a trace carries it on.
    pub fn off() -> Self {
        Self::default()
    }

    /// Exports what `program` does, on the current tokio runtime, if a collector is named.
    ///
    /// # Errors
    /// Settings that cannot work. A collector that is not there is none of them.
    pub fn open(args: &TelemetryArgs, program: &'static str, registry: &Registry) -> Result<Self, TelemetryError> {
        let metrics = Metrics::register(registry)?;
        let Some(endpoint) = args.otlp_endpoint.as_deref().map(str::trim).filter(|url| !url.is_empty()) else {
            return Ok(Self::off());
        };
        if !(endpoint.starts_with("http://") || endpoint.starts_with("https://")) {
            return Err(TelemetryError::Address(endpoint.to_owned()));
        }
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let mut exporter = exporter(&url, Courier::new(metrics.clone())?)?;
        let resource = Resource::builder()
            .with_service_name(program)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        exporter.set_resource(&resource);
        let (sender, waiting) = mpsc::channel(queue::WAITING_MAX);
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(args.trace_ratio))))
            .with_span_processor(Queue { waiting: sender, metrics: metrics.clone() })
            .build();
        let stop = CancellationToken::new();
        let exporting = tokio::spawn(queue::export(waiting, exporter, metrics, stop.clone()));
        let (tracer, exporting) = (provider.tracer("tintype"), Mutex::new(Some(exporting)));
        tracing::info!(ratio = args.trace_ratio, "traces are exported");
        Ok(Self { inner: Some(Arc::new(Inner { tracer, stop, exporting })) })
    }

    /// A request begins, as part of what it says it is part of; else a trace begins with it.
    pub fn request(&self, part_of: Option<Traceparent>, method: &'static str, route: &str) -> Span {
        let span = self.begin(part_of, Subject::Request { method, route }, SystemTime::now());
        span.with(Attribute::Method(method)).with(Attribute::Route(route))
    }

    /// A stage begins now. One that is part of no trace is not traced.
    pub fn stage(&self, part_of: Option<Traceparent>, stage: Stage) -> Span {
        self.stage_at(part_of, stage, SystemTime::now())
    }

    /// A stage began at another moment.
    pub fn stage_at(&self, part_of: Option<Traceparent>, stage: Stage, at: SystemTime) -> Span {
        match part_of {
            Some(_) => self.begin(part_of, Subject::Stage(stage), at),
            None => Span { inner: None, context: None },
        }
    }

    fn begin(&self, part_of: Option<Traceparent>, subject: Subject<'_>, at: SystemTime) -> Span {
        let Some(Inner { tracer, .. }) = self.inner.as_deref() else { return Span { inner: None, context: part_of } };
        let parent = part_of.map_or_else(Context::new, remote);
        let builder = tracer.span_builder(subject.name()).with_kind(subject.kind()).with_start_time(at);
        let span = builder.start_with_context(tracer, &parent);
        let context = own(span.span_context());
        Span { inner: Some(span), context }
    }

    /// Sends what has ended, for a moment at most. What ends later is not sent.
    pub async fn close(&self) {
        let Some(inner) = &self.inner else { return };
        inner.stop.cancel();
        let task = inner.exporting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && tokio::time::timeout(CLOSE_TIME_MAX, task).await.is_err()
        {
            tracing::warn!("the collector was too slow for the last traces");
        }
    }
}

/// Exports to this very address. It repeats nothing: the courier does, and does not put a whole thread to sleep for it.
fn exporter(url: &str, courier: Courier) -> Result<SpanExporter, TelemetryError> {
    SpanExporter::builder()
        .with_http()
        .with_http_client(courier)
        .with_endpoint(url)
        .with_protocol(Protocol::HttpBinary)
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))
}

/// The moment a timestamp names.
pub fn moment(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(at.0)
}

fn remote(parent: Traceparent) -> Context {
    let flags = if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from(parent.trace_id), SpanId::from(parent.span_id));
    Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, TraceState::default()))
}

fn own(context: &SpanContext) -> Option<Traceparent> {
    context.is_valid().then(|| Traceparent {
        trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(context.span_id().to_bytes()),
        sampled: context.is_sampled(),
    })
}
