//! Write first, tell second: what happens once the record has answered.

use std::collections::BTreeMap;
use std::time::Duration;

use tintype_scheduler::{Decision, Observation, WarmUp};
use tintype_store::{StoreError, checkpoint_key, image_key};
use tintype_types::worker::{Assignment, CheckpointPlan, ClaimAnswer, UploadTarget, WarmUpOrder};
use tintype_types::{Attempt, JobEvent, JobId, JobState, ResolvedRequest};

use crate::actor::Actor;
use crate::answer::Refusal;
use crate::checkpoints;
use crate::claims::ClaimReply;
use crate::finishes::Key;
use crate::record::{Given, WriteError, Written};
use crate::traces::Assigned;
use crate::writes::Done;

/// A decision is written, or is not: tells the worker that waits for it, the watchers, and the scheduler if it is not.
pub(crate) fn written(actor: &mut Actor, done: Done) {
    let Done { decision, result, took } = done;
    let outcome = match &result {
        Ok(_) => "written",
        Err(WriteError::Refused(_)) => "refused",
        Err(WriteError::Unavailable(_)) => "unavailable",
    };
    actor.metrics.writes.with_label_values(&[decision.name(), outcome]).observe(took.as_secs_f64());
    log(&decision, &result);
    match result {
        Ok(Written::Assigned(given)) => assigned(actor, decision, *given, took),
        Ok(Written::Recorded) => recorded(actor, decision),
        Err(error) => failed(actor, decision, &error),
    }
}

/// An idle worker is to load a model ahead of jobs: its claim is answered with that. One that went away meanwhile claims
/// again and is told again.
pub(crate) fn warm_up(actor: &mut Actor, warm_up: WarmUp) {
    let WarmUp { worker, boot_id, model, evict } = warm_up;
    let Some(parked) = actor.claims.take(&worker, &boot_id) else { return };
    tracing::info!(worker.id = %worker, model, "a worker is told to load a model ahead of jobs");
    let order = WarmUpOrder { model, evict };
    let heard = parked.reply.send(Ok(ClaimAnswer { warm_up: Some(order), ..ClaimAnswer::default() })).is_ok();
    actor.metrics.claims.with_label_values(&[if heard { "warm_up" } else { "gone" }]).inc();
}

/// The record shows that the job ended with this attempt: tells the watchers how, if it was ended here.
pub(crate) fn ended(actor: &mut Actor, key: &Key) {
    let (job, attempt) = key;
    if actor.writes.is_ending(job, *attempt) {
        // The watch was faster than the write's own answer, which will say how it ended.
        return actor.finishes.seen_early(key.clone());
    }
    actor.asked.remove(job);
    match actor.finishes.dispel(key) {
        Some(event) => actor.events.publish(event),
        None => actor.events.end_unknown(job),
    }
}

fn log(decision: &Decision, result: &Result<Written, WriteError>) {
    let (job, attempt) = decision.subject();
    match result {
        Ok(_) => tracing::debug!(job.id = %job, attempt = attempt.0, decision = decision.name(), "decision written"),
        Err(error) => {
            let error = error as &dyn std::error::Error;
            tracing::warn!(job.id = %job, attempt = attempt.0, decision = decision.name(), error, "decision not written");
        }
    }
}

fn assigned(actor: &mut Actor, decision: Decision, given: Given, took: Duration) {
    let Decision::Assign { job, attempt, worker, boot_id, pool, lease_end, evict: _, promised: _ } = decision else {
        tracing::error!(decision = decision.name(), "the record answered a decision as if it were an assignment");
        return recorded(actor, decision);
    };
    let Given { request, submitted, traceparent } = given;
    let told = Assigned { job: &job, attempt, worker: &worker, pool: &pool, model: &request.model, submitted, took };
    let traceparent = traceparent.and_then(|part_of| actor.traces.assigned(part_of, &told));
    actor.asked.insert(job.clone(), (attempt, request.images));
    let steps = request.steps.saturating_mul(request.images);
    let event = JobEvent { steps, ..bare_event(job.clone(), JobState::Assigned, attempt) };
    actor.events.publish(event);
    let places = upload_targets(actor, &job, attempt, &request)
        .and_then(|outputs| Ok((outputs, input_urls(actor, &request)?, checkpoint_plan(actor, &job, attempt)?)));
    let Some(parked) = actor.claims.take(&worker, &boot_id) else { return };
    let (outputs, inputs, checkpoint) = match places {
        Ok(places) => places,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(job.id = %job, error, "no signed URLs for this job; its lease will run out");
            let _ = parked.reply.send(Ok(ClaimAnswer::default()));
            return;
        }
    };
    let lease_ms = u64::try_from(actor.lease.as_millis()).unwrap_or(u64::MAX);
    let checkpoint = Some(checkpoint);
    let watched = actor.events.is_watched(&job);
    let assignment =
        Assignment { job, attempt, request, lease_end, lease_ms, outputs, inputs, checkpoint, watched, traceparent };
    answer(actor, assignment, parked.reply);
}

/// Answers the claim; at once where there is no earlier attempt whose checkpoint must be looked for.
fn answer(actor: &Actor, mut assignment: Assignment, reply: ClaimReply) {
    let (claims, store) = (actor.metrics.claims.clone(), actor.store.clone());
    let (now, ttl) = (actor.clock.signing_now(), actor.output_ttl);
    let send = move |assignment| {
        // If the caller is gone, its next claim is answered with the same assignment.
        let heard = reply.send(Ok(ClaimAnswer { assignment: Some(assignment), ..ClaimAnswer::default() })).is_ok();
        claims.with_label_values(&[if heard { "assigned" } else { "gone" }]).inc();
    };
    if assignment.attempt <= Attempt(1) {
        return send(assignment);
    }
    tokio::spawn(async move {
        let found = checkpoints::newest_before(&store, &assignment.job, assignment.attempt).await;
        if let (Some(plan), Some(key)) = (&mut assignment.checkpoint, found) {
            // A key that was found can be signed.
            plan.resume_url = store.sign_get(&key, now, ttl).ok();
        }
        send(assignment);
    });
}

/// Where the attempt's own checkpoint goes.
fn checkpoint_plan(actor: &Actor, job: &JobId, attempt: Attempt) -> Result<CheckpointPlan, StoreError> {
    let now = actor.clock.signing_now();
    let put_url = actor.store.sign_put(&checkpoint_key(job, attempt), now, actor.output_ttl)?;
    Ok(CheckpointPlan { put_url, resume_url: None })
}

fn upload_targets(
    actor: &Actor,
    job: &JobId,
    attempt: Attempt,
    request: &ResolvedRequest,
) -> Result<Vec<UploadTarget>, StoreError> {
    let now = actor.clock.signing_now();
    let target = |n| {
        let key = image_key(job, attempt, n, request.format);
        let put_url = actor.store.sign_put(&key, now, actor.output_ttl)?;
        Ok(UploadTarget { key, put_url })
    };
    (0..request.images).map(target).collect()
}

/// Where the pictures the request names are read, by their keys.
fn input_urls(actor: &Actor, request: &ResolvedRequest) -> Result<BTreeMap<String, String>, StoreError> {
    let now = actor.clock.signing_now();
    let signed = |key: &str| Ok((key.to_owned(), actor.store.sign_get(key, now, actor.output_ttl)?));
    request.input_keys().map(signed).collect()
}

fn recorded(actor: &mut Actor, decision: Decision) {
    let (job, attempt) = decision.subject();
    let key = (job.clone(), attempt);
    if let Some(event) = end_event(&decision) {
        if event.state.is_terminal() {
            checkpoints::forget_all(&actor.store, job.clone(), attempt);
        } else {
            checkpoints::forget_old(&actor.store, job.clone(), attempt);
        }
        actor.asked.remove(job);
        if !event.state.is_terminal() {
            actor.traces.requeued(job);
        }
        actor.events.publish(event);
        actor.finishes.was_seen_early(&key);
        actor.finishes.settle(&key, &Ok(()));
    }
}

fn failed(actor: &mut Actor, decision: Decision, error: &WriteError) {
    let (job, attempt) = decision.subject();
    let key = (job.clone(), attempt);
    let (refused, refusal) = match error {
        WriteError::Refused(_) => (true, Refusal::stale()),
        WriteError::Unavailable(_) => (false, Refusal::unwritten()),
    };
    match &decision {
        // Nothing was assumed, and the next renewal brings a newer one.
        Decision::Progress { .. } => return,
        Decision::Assign { .. } => {}
        Decision::Requeue { .. }
        | Decision::Fail { .. }
        | Decision::Complete { .. }
        | Decision::Cancel { .. }
        | Decision::Preempt { .. } => {
            if let Some(event) = end_event(&decision).filter(|event| !refused && event.state.is_terminal()) {
                actor.finishes.doubt(event);
            }
            actor.finishes.settle(&key, &Err(refusal));
            if actor.finishes.was_seen_early(&key) {
                ended(actor, &key);
            }
        }
    }
    actor.step(Observation::WriteFailed { job: key.0, attempt });
    if let Decision::Assign { worker, boot_id, .. } = decision
        && let Some(parked) = actor.claims.take(&worker, &boot_id)
    {
        // The scheduler has taken the claim off its list with the assignment: the worker must ask anew.
        let skipped = actor.brain.skipped(&worker);
        actor.metrics.claims.with_label_values(&["empty"]).inc();
        let _ = parked.reply.send(Ok(ClaimAnswer { skipped, ..ClaimAnswer::default() }));
        actor.step(Observation::ClaimEnded(worker, boot_id));
    }
}

/// What watchers are told once this is written, if it ends an attempt.
fn end_event(decision: &Decision) -> Option<JobEvent> {
    match decision {
        Decision::Requeue { job, attempt, reason, .. } => Some(bare_event(job.clone(), reason.state_after(), *attempt)),
        Decision::Fail { job, attempt, reason, message } => Some(JobEvent {
            failure: Some(*reason),
            message: Some(message.clone()),
            ..bare_event(job.clone(), JobState::Failed, *attempt)
        }),
        Decision::Complete { job, attempt, worker: _, outputs, gpu_ms: _ } => {
            Some(JobEvent { outputs: outputs.clone(), ..bare_event(job.clone(), JobState::Complete, *attempt) })
        }
        Decision::Assign { .. } | Decision::Progress { .. } | Decision::Cancel { .. } | Decision::Preempt { .. } => {
            None
        }
    }
}

pub(crate) fn bare_event(job: JobId, state: JobState, attempt: Attempt) -> JobEvent {
    let (failure, message, outputs, previews) = (None, None, Vec::new(), Vec::new());
    JobEvent { job, state, attempt, step: 0, steps: 0, failure, message, outputs, previews }
}
