//! What a span may be called and what it may say. Both lists are closed, so that no prompt, address or key can get into a
//! trace: there is nothing to put it in.

use std::borrow::Cow;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use tintype_types::{Attempt, JobId, PoolName, WorkerId};

/// A stage on a job's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Credits are held and the job is written down.
    Hold,
    /// The job waits for a worker.
    QueueWait,
    /// A worker was chosen: the record is told, then the worker.
    Assignment,
    /// A worker has the job, until it has said how that ended.
    Attempt,
    /// The weights of the model are brought into memory.
    Load,
    /// Prompts and pictures are encoded.
    Encode,
    /// A denoising step, or several that follow each other.
    Step,
    /// The picture is decoded.
    Decode,
    /// The file is made and put into the store.
    Store,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::QueueWait => "queue wait",
            Self::Assignment => "assignment",
            Self::Attempt => "attempt",
            Self::Load => "model load",
            Self::Encode => "encode",
            Self::Step => "step",
            Self::Decode => "decode",
            Self::Store => "store",
        }
    }
}

/// What a span is of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    Request { method: &'a str, route: &'a str },
    Stage(Stage),
}

impl Subject<'_> {
    pub(crate) fn name(self) -> Cow<'static, str> {
        match self {
            Self::Request { method, route } => Cow::Owned(format!("{method} {route}")),
            Self::Stage(stage) => Cow::Borrowed(stage.name()),
        }
    }

    pub(crate) fn kind(self) -> SpanKind {
        match self {
            Self::Request { .. } => SpanKind::Server,
            Self::Stage(Stage::Assignment) => SpanKind::Producer,
            Self::Stage(Stage::Attempt) => SpanKind::Consumer,
            Self::Stage(_) => SpanKind::Internal,
        }
    }
}

/// What a span says, under the names OpenTelemetry's conventions and our logs have.
#[derive(Clone, Copy, Debug)]
pub enum Attribute<'a> {
    /// `http.request.method`: one of those that are known, or `other`.
    Method(&'static str),
    /// `http.route`: the template, never the path.
    Route(&'a str),
    /// `http.response.status_code`.
    Status(u16),
    /// `job.id`.
    Job(&'a JobId),
    /// `attempt`.
    Attempt(Attempt),
    /// `worker.id`.
    Worker(&'a WorkerId),
    /// `pool`.
    Pool(&'a PoolName),
    /// `model`: a name from the catalogue.
    Model(&'a str),
    /// `step`: steps done at the end of the span, over all pictures.
    Step(u32),
    /// `steps`: denoiser calls that the span stands for.
    Calls(u32),
    /// `picture`: which of the job's.
    Picture(u32),
    /// `outcome`: a word from a closed list.
    Outcome(&'static str),
}

impl Attribute<'_> {
    pub(crate) fn key_value(self) -> KeyValue {
        match self {
            Self::Method(method) => KeyValue::new("http.request.method", method),
            Self::Route(route) => KeyValue::new("http.route", route.to_owned()),
            Self::Status(status) => KeyValue::new("http.response.status_code", i64::from(status)),
            Self::Job(job) => KeyValue::new("job.id", job.as_str().to_owned()),
            Self::Attempt(attempt) => KeyValue::new("attempt", i64::from(attempt.0)),
            Self::Worker(worker) => KeyValue::new("worker.id", worker.as_str().to_owned()),
            Self::Pool(pool) => KeyValue::new("pool", pool.as_str().to_owned()),
            Self::Model(model) => KeyValue::new("model", model.to_owned()),
            Self::Step(step) => KeyValue::new("step", i64::from(step)),
            Self::Calls(calls) => KeyValue::new("steps", i64::from(calls)),
            Self::Picture(index) => KeyValue::new("picture", i64::from(index)),
            Self::Outcome(outcome) => KeyValue::new("outcome", outcome),
        }
    }
}
