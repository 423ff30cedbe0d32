//! A span: begun, told what it is about, ended. One that is not kept costs next to nothing and still carries the trace on.

use std::time::SystemTime;

use opentelemetry::trace::{Span as _, Status};
use opentelemetry_sdk::trace::Span as SdkSpan;
use tintype_types::Traceparent;

use crate::stage::Attribute;

/// A span. Dropping it ends it.
#[derive(Debug)]
pub struct Span {
    pub(crate) inner: Option<SdkSpan>,
    /// What its children are part of.
    pub(crate) context: Option<Traceparent>,
}

impl Span {
    /// What children of it are to be given; none where nothing is traced. Without an exporter it is what was given to the
    /// span itself: the trace goes on elsewhere.
    pub fn context(&self) -> Option<Traceparent> {
        self.context
    }

    /// Says something of it.
    #[must_use]
    pub fn with(mut self, attribute: Attribute<'_>) -> Self {
        self.set(attribute);
        self
    }

    /// Says something of it.
    pub fn set(&mut self, attribute: Attribute<'_>) {
        if let Some(span) = self.inner.as_mut().filter(|span| span.is_recording()) {
            span.set_attribute(attribute.key_value());
        }
    }

    /// It did not come to a good end. Why is in the log, under the same trace.
    pub fn fail(&mut self) {
        if let Some(span) = &mut self.inner {
            span.set_status(Status::error(""));
        }
    }

    /// Ends it now.
    pub fn end(self) {
        self.end_at(SystemTime::now());
    }

    /// Ends it at another moment.
    pub fn end_at(mut self, at: SystemTime) {
        if let Some(span) = &mut self.inner {
            span.end_with_timestamp(at);
        }
    }
}
