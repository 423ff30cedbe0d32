//! Decisions and answers in words.

use tintype_scheduler::{AttemptStanding, Decision, Verdict};
use tintype_types::Timestamp;

/// A decision as a line of a transcript.
pub(crate) fn decision(decision: &Decision) -> String {
    match decision {
        Decision::Assign { job, attempt, worker, boot_id, pool, lease_end, evict, promised } => {
            let evict = if evict.is_empty() { String::new() } else { format!(", evict {}", evict.join(",")) };
            let lease_end = time(*lease_end);
            let promised = promised.map_or_else(String::new, |ends| format!(", promised for {}", time(ends)));
            format!(
                "assign {job}/{attempt} to {worker} ({boot_id}, pool {pool}), lease until {lease_end}{evict}{promised}"
            )
        }
        Decision::Progress { job, attempt, step, steps } => format!("progress {job}/{attempt} {step} of {steps}"),
        Decision::Requeue { job, attempt, not_before, reason, message, failed_attempts } => format!(
            "requeue {job}/{attempt} {}, {failed_attempts} failed so far, not before {}: {message}",
            reason.as_str(),
            time(*not_before)
        ),
        Decision::Fail { job, attempt, reason, message } => {
            format!("fail {job}/{attempt} {}: {message}", reason.as_str())
        }
        Decision::Complete { job, attempt, worker, outputs, gpu_ms } => {
            format!("complete {job}/{attempt} by {worker}, {} outputs, {gpu_ms} ms", outputs.len())
        }
        Decision::Cancel { job, attempt, reason } => format!("cancel {job}/{attempt} {}", reason.as_str()),
        Decision::Preempt { job, attempt } => format!("preempt {job}/{attempt}"),
    }
}

/// A verdict as a line of a transcript.
pub(crate) fn verdict(verdict: Option<Verdict>) -> String {
    match verdict {
        None => "not known".to_owned(),
        Some(Verdict::Running { attempt, worker }) => format!("running, attempt {attempt} on {worker}"),
        Some(Verdict::WaitingForWorker) => "waiting for a worker to be free".to_owned(),
        Some(Verdict::NoMatchingWorker { pool: Some(pool) }) => format!("no worker in pool {pool}"),
        Some(Verdict::NoMatchingWorker { pool: None }) => "no worker".to_owned(),
        Some(Verdict::NoWorkerForModel { model }) => format!("no worker can load {model}"),
        Some(Verdict::UnknownModel { model, fails_at }) => {
            format!("model {model} is unknown; fails at {}", time(fails_at))
        }
        Some(Verdict::WaitingForQuota { used, limit }) => format!("waiting for quota, {used} of {limit} running"),
        Some(Verdict::HeldByQuota { queue, what }) => format!("held by the quota of {queue}: {what:?}"),
        Some(Verdict::BehindInQueue { ahead }) => format!("behind {ahead} in its queue"),
        Some(Verdict::BudgetUsedUp { pool, window }) => format!("the {window:?}'s budget of pool {pool} is used up"),
        Some(Verdict::BackingOff { until }) => format!("backing off until {}", time(until)),
        Some(Verdict::Settling) => "settling".to_owned(),
        Some(Verdict::Ended) => "ended".to_owned(),
    }
}

/// A standing as a line of a transcript.
pub(crate) fn standing(standing: &AttemptStanding) -> String {
    match standing {
        AttemptStanding::Current { lease_end } => format!("current, lease until {}", time(*lease_end)),
        AttemptStanding::CancelRequested { reason } => format!("cancel requested, {}", reason.as_str()),
        AttemptStanding::PreemptRequested => "preempt requested".to_owned(),
        AttemptStanding::Ended { complete: true } => "ended by it, complete".to_owned(),
        AttemptStanding::Ended { complete: false } => "ended by it".to_owned(),
        AttemptStanding::Stale => "stale".to_owned(),
    }
}

/// A moment in seconds.
pub(crate) fn time(at: Timestamp) -> String {
    if at.0.is_multiple_of(1_000) {
        format!("{}s", at.0 / 1_000)
    } else {
        format!("{}.{:03}s", at.0 / 1_000, at.0 % 1_000)
    }
}
