//! What jobs that have not ended wait for, and for how long, as their owner is told: the scheduler's verdict and estimate,
//! without whose workers and queues they are.

use std::time::Duration;

use futures::future::join_all;
use schemars::JsonSchema;
use serde::Serialize;
use tintype_scheduler::{Estimate, Explanation};
use tokio::time::timeout;

use super::cluster::VerdictView;
use crate::records::generation::Generation;
use crate::state::App;

/// Jobs the scheduler is asked about at a time, the oldest: those behind them move when these do.
const ASKED_MAX: usize = 12;
/// Longest one answer may take. A job without one is told of at the next look.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// An estimate is told again when it has moved by this much.
const MOVED: Duration = Duration::from_secs(1);
/// What of a verdict is told to who is not the administrator.
const FACTS: [&str; 6] = ["model", "used", "limit", "ahead", "until", "failsAt"];

/// Why a job that has not ended is not done, and when it should be. Times are in milliseconds since 1970, by the clock that
/// `nowMs` is of.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobOutlook {
    /// The job.
    job: String,
    /// Where it stands, or the one reason it is not running.
    reason: VerdictView,
    /// Memory its model takes on a GPU, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    vram_bytes: Option<u64>,
    /// When it should start and end; absent where nobody can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<OutlookTimes>,
    /// When all this was so.
    now_ms: u64,
}

/// When a job should start and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OutlookTimes {
    /// As likely before as after this it starts, or it started then.
    starts_ms: u64,
    /// As likely before as after this it ends.
    ends_ms: u64,
    /// What loading its model first takes, as it took of late, in milliseconds; 0 where a worker that has it takes the job.
    load_ms: u32,
    /// Jobs that go before it, on workers it could use.
    ahead: u32,
}

impl From<Estimate> for OutlookTimes {
    fn from(Estimate { starts_p50, ends_p50, ahead, load_ms, ends_p90: _, run_ms: _ }: Estimate) -> Self {
        Self { starts_ms: starts_p50.0, ends_ms: ends_p50.0, load_ms, ahead }
    }
}

impl JobOutlook {
    /// Whether this says what another said, but for the time that has passed and estimates that have hardly moved.
    pub(crate) fn says(&self, other: &Self) -> bool {
        let near = |a: u64, b: u64| Duration::from_millis(a.abs_diff(b)) < MOVED;
        let times = match (self.times, other.times) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                a.ahead == b.ahead
                    && a.load_ms == b.load_ms
                    && near(a.starts_ms, b.starts_ms)
                    && near(a.ends_ms, b.ends_ms)
            }
            (None, Some(_)) | (Some(_), None) => false,
        };
        times && self.reason == other.reason && self.job == other.job
    }

    pub(crate) fn job(&self) -> &str {
        &self.job
    }
}

/// What the first of these jobs wait for, as far as the scheduler can be asked.
pub(crate) async fn of(app: &App, jobs: &[Generation]) -> Vec<JobOutlook> {
    let asked = jobs.iter().take(ASKED_MAX).map(|job| async move {
        let told = timeout(ANSWER_MAX, app.cluster.explain(job)).await.ok()?.ok()??;
        outlook(app, job, told)
    });
    join_all(asked).await.into_iter().flatten().collect()
}

fn outlook(app: &App, job: &Generation, told: Explanation) -> Option<JobOutlook> {
    let models = app.cluster.models();
    let vram_bytes = models.get(&job.request.model).map(|card| card.vram_bytes).filter(|bytes| *bytes > 0);
    Some(JobOutlook {
        job: job.id.to_string(),
        reason: VerdictView::of(&told.verdict)?.with_only(&FACTS),
        vram_bytes,
        times: told.estimate.map(OutlookTimes::from),
        now_ms: told.now.0,
    })
}

#[cfg(test)]
mod tests {
    use tintype_scheduler::Verdict;
    use tintype_types::{Attempt, WorkerId};

    use super::*;

    fn said(verdict: &Verdict, starts_ms: u64) -> JobOutlook {
        JobOutlook {
            job: "j".to_owned(),
            reason: VerdictView::of(verdict).unwrap().with_only(&FACTS),
            vram_bytes: None,
            times: Some(OutlookTimes { starts_ms, ends_ms: starts_ms + 5_000, load_ms: 0, ahead: 2 }),
            now_ms: starts_ms,
        }
    }

    #[test]
    fn an_owner_is_told_figures_and_not_which_worker() {
        let running = Verdict::Running { attempt: Attempt(1), worker: WorkerId::from("node-7") };
        let json = serde_json::to_string(&said(&running, 0)).unwrap();
        assert!(json.contains("running") && !json.contains("node-7"), "{json}");
        let behind = serde_json::to_value(said(&Verdict::BehindInQueue { ahead: 3 }, 0)).unwrap();
        assert_eq!(behind["reason"], serde_json::json!({ "kind": "behindInQueue", "ahead": 3 }));
    }

    #[test]
    fn what_has_hardly_moved_is_not_told_again() {
        let (first, waits) = (said(&Verdict::WaitingForWorker, 10_000), Verdict::WaitingForWorker);
        assert!(first.says(&said(&waits, 10_900)));
        assert!(!first.says(&said(&waits, 11_100)), "a second");
        assert!(!first.says(&said(&Verdict::Settling, 10_000)), "another reason");
        assert!(!first.says(&JobOutlook { times: None, ..first.clone() }), "no estimate any more");
    }
}
