//! An attempt as part of a trace: a span around it, and below that what the engine noted, told once it is over.

use tintype_telemetry::{Attribute, Stage};
use tintype_types::worker::Assignment;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Control;
use crate::engine::{self, Doing, Mark};
use crate::run::Worker;

impl Worker {
    /// Runs one attempt to its end, as a span of the job's trace if it has one. `drain` asks it to give the job back.
    pub(crate) async fn run_traced(&self, assignment: &Assignment, drain: &CancellationToken) {
        let span = self.telemetry.stage(assignment.traceparent, Stage::Attempt);
        let span = span.with(Attribute::Job(&assignment.job)).with(Attribute::Attempt(assignment.attempt));
        let mut span = span.with(Attribute::Worker(&self.id)).with(Attribute::Model(&assignment.request.model));
        let part_of = span.context();
        let run = self.run_attempt(assignment, part_of, drain);
        let ended = match part_of {
            Some(part_of) => run.instrument(tracing::info_span!("attempt", trace.id = part_of.trace())).await,
            None => run.await,
        };
        span.set(Attribute::Outcome(ended));
        if !matches!(ended, "done" | "preempted") {
            span.fail();
        }
        span.end();
    }

    /// Tells what the engine did for the attempt.
    pub(super) fn tell_marks(&self, control: &Control) {
        for Mark { doing, from, to } in control.job.get().map(engine::Control::marks).unwrap_or_default() {
            let begin = |stage| self.telemetry.stage_at(control.part_of, stage, from);
            let span = match doing {
                Doing::Load => begin(Stage::Load),
                Doing::Encode => begin(Stage::Encode),
                Doing::Step { done, calls } => {
                    begin(Stage::Step).with(Attribute::Step(done)).with(Attribute::Calls(calls))
                }
                Doing::Decode { picture } => begin(Stage::Decode).with(Attribute::Picture(picture)),
            };
            span.end_at(to);
        }
    }
}
