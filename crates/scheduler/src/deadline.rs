//! Deadlines that cannot be met: said at once, with the cheapest change that would meet them. Every change named was laid
//! out in the plan as it stands ([`crate::estimate`]) and is in time there.

use serde::{Deserialize, Serialize};
use tintype_types::{FailureReason, JobId, Timestamp};

use crate::decision::Decision;
use crate::job::Job;
use crate::line::{Class, Turn};
use crate::names::{Name, Tag};
use crate::record::Record;
use crate::state::Core;

/// Least part of the steps asked for that fewer steps may leave: below it the picture is another one.
const STEPS_KEPT: (u32, u32) = (1, 2);
/// Other models looked at: those least waited for.
const MODELS_LOOK_MAX: usize = 4;
/// Smaller shapes looked at, the largest first.
const SHAPES_LOOK_MAX: usize = 3;
/// What a later deadline is rounded up to, in milliseconds.
const LATER_STEP_MS: u64 = 1_000;

/// A change with which a job's deadline would be met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Change {
    /// Ask for fewer steps a picture.
    FewerSteps {
        /// Steps asked for.
        from: u32,
        /// Steps that are done in time.
        to: u32,
    },
    /// Ask for another model, which is in memory where the job may run.
    OtherModel {
        /// Which.
        to: String,
    },
    /// Ask for smaller pictures.
    Smaller {
        /// Pixels of a picture asked for.
        from: u32,
        /// Pixels that are done in time.
        to: u32,
    },
    /// Wait longer.
    LaterDeadline {
        /// Nine times in ten it is done by then.
        to: Timestamp,
    },
}

impl Core {
    /// Changes with which a waiting job's deadline would be met, the cheapest first: fewer steps, another model, smaller
    /// pictures, a later deadline. Empty where the job names no deadline, should meet it, or nobody can tell.
    pub(crate) fn changes(&self, id: &JobId) -> Vec<Change> {
        let found = self.state.jobs.find(id).and_then(|tag| Some((tag, self.state.jobs.get(tag)?)));
        let Some((tag, job)) = found else { return Vec::new() };
        let (Some(deadline), Some(as_asked)) = (job.seen.deadline, self.estimate(id)) else { return Vec::new() };
        if as_asked.ends_p50 <= deadline || job.run.is_some() {
            return Vec::new();
        }
        let later = as_asked.ends_p90.0.div_ceil(LATER_STEP_MS) * LATER_STEP_MS;
        let steps = self.fewer_steps(tag, job, deadline);
        let changes = [steps, self.other_model(tag, job, deadline), self.smaller(tag, job, deadline)];
        changes.into_iter().flatten().chain([Change::LaterDeadline { to: Timestamp(later) }]).collect()
    }

    /// When the job would end were this its record.
    fn ends_as(&self, tag: Tag, record: Record) -> Option<Timestamp> {
        let run_ms = self.state.costs.run_ms(Self::run_of(&record, None));
        let when = Turn::when(&record, run_ms, self.state.now, &self.config);
        let turn = Turn::of(tag, record.priority, when);
        Some(self.plan(Class::of(&record), turn, run_ms, self.state.now)?.ends_p50)
    }

    fn fewer_steps(&self, tag: Tag, job: &Job, deadline: Timestamp) -> Option<Change> {
        let images = u32::from(job.seen.shape.images).max(1);
        let from = job.seen.work_steps / images;
        let ends = |steps: u32| self.ends_as(tag, Record { work_steps: steps * images, ..job.seen });
        let (mut fits, mut too_many) = (from * STEPS_KEPT.0 / STEPS_KEPT.1, from);
        if fits == 0 || ends(fits)? > deadline {
            return None;
        }
        while too_many - fits > 1 {
            let steps = fits.midpoint(too_many);
            if ends(steps)? <= deadline { fits = steps } else { too_many = steps }
        }
        Some(Change::FewerSteps { from, to: fits })
    }

    fn other_model(&self, tag: Tag, job: &Job, deadline: Timestamp) -> Option<Change> {
        let in_pool = |pool: Name| job.seen.pool.is_none_or(|wanted| wanted == pool);
        let held = self.index.holders.pairs().filter(|(model, pool)| *model != job.seen.model && in_pool(*pool));
        let known = held.map(|(model, _)| model).filter(|model| self.state.models.contains_key(model));
        let text = |model: Name| self.state.names.text(model);
        let mut models: Vec<_> = known.map(|model| (self.index.backlog_ms(model), text(model), model)).collect();
        models.sort_unstable();
        models.dedup();
        let ends = models.into_iter().take(MODELS_LOOK_MAX).filter_map(|(_, text, model)| {
            let ends = self.ends_as(tag, Record { model, ..job.seen })?;
            (ends <= deadline).then_some((ends, text))
        });
        ends.min().map(|(_, text)| Change::OtherModel { to: text.to_owned() })
    }

    fn smaller(&self, tag: Tag, job: &Job, deadline: Timestamp) -> Option<Change> {
        let mut shapes = self.state.costs.smaller(job.seen.model, job.seen.shape).take(SHAPES_LOOK_MAX);
        let fits = |shape: &crate::Shape| {
            self.ends_as(tag, Record { shape: *shape, ..job.seen }).is_some_and(|ends| ends <= deadline)
        };
        let from = job.seen.shape.pixels;
        shapes.find(fits).map(|shape| Change::Smaller { from, to: shape.pixels })
    }

    /// A job that would rather be refused than late is told so at once where its deadline cannot be met.
    pub(crate) fn judge(&mut self, tag: Tag) -> Option<Decision> {
        let (now, within) = (self.state.now, self.config.refuse_within);
        let job = self.state.jobs.get_mut(tag)?;
        job.judged = true;
        let (id, fresh) = (job.id.job_id(), now <= job.seen.submitted.plus(within));
        let change = if fresh { self.changes(&id).into_iter().next() } else { None };
        let Some(change) = change else {
            let over = self.state.jobs.get(tag)?.refused_at(&self.config).is_some_and(|at| at <= now);
            if over {
                return self.fail_late(tag);
            }
            self.refile(tag);
            return None;
        };
        let message = format!("the deadline cannot be met; it would be with {}", words(&change, now));
        self.fail(tag, FailureReason::DeadlineExceeded, message, false)
    }

    /// A job that would rather be refused than late cannot be begun in time any more.
    pub(crate) fn fail_late(&mut self, tag: Tag) -> Option<Decision> {
        let message = "the deadline passed before a worker was free".to_owned();
        self.fail(tag, FailureReason::DeadlineExceeded, message, false)
    }
}

fn words(change: &Change, now: Timestamp) -> String {
    match change {
        Change::FewerSteps { from, to } => format!("{to} steps instead of {from}"),
        Change::OtherModel { to } => format!("model {to:?}, which is in memory"),
        Change::Smaller { from, to } => format!("pictures of {to} pixels instead of {from}"),
        Change::LaterDeadline { to } => format!("a deadline {} s from now", to.since(now).as_secs()),
    }
}
