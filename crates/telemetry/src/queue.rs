//! Ended spans on their way out: a bounded queue that nobody waits at, and the task that empties it.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Spans that may wait; those beyond are dropped and counted. A span has some hundred bytes.
pub(crate) const WAITING_MAX: usize = 8_192;
/// Spans in one request.
const BATCH_MAX: usize = 512;
/// How often the queue is emptied.
const EXPORT_EVERY: Duration = Duration::from_millis(500);

/// The way in.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) waiting: mpsc::Sender<SpanData>,
    pub(crate) metrics: Metrics,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.waiting.try_send(span).is_err() {
            self.metrics.dropped();
        }
    }

    /// Who wants everything out closes [`crate::Telemetry`].
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _limit: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Exports what comes, until `stop`; then what is there, once.
pub(crate) async fn export<E: SpanExporter>(
    mut waiting: mpsc::Receiver<SpanData>,
    exporter: E,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let mut failing = false;
    loop {
        let ends = stop.run_until_cancelled(tokio::time::sleep(EXPORT_EVERY)).await.is_none();
        loop {
            let mut batch = Vec::new();
            while batch.len() < BATCH_MAX
                && let Ok(span) = waiting.try_recv()
            {
                batch.push(span);
            }
            let spans = batch.len();
            if spans == 0 {
                break;
            }
            match exporter.export(batch).await {
                Ok(()) => {
                    metrics.exported(spans);
                    failing = false;
                }
                Err(error) => {
                    metrics.failed(spans);
                    // Said once: the numbers say how long it goes on.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, spans, "the collector does not take traces; they are lost meanwhile");
                    }
                }
            }
        }
        if ends {
            return;
        }
    }
}
