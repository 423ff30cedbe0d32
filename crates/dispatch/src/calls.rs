//! What the actor does with a worker's call. It must not know HTTP.

use tintype_scheduler::{AttemptStanding, ClaimSeen, FinishedSeen, Observation, RenewedSeen};
use tintype_types::limits::CLAIM_WAIT_MS_MAX;
use tintype_types::worker::{Claim, ClaimAnswer, Finish, Renew, RenewAnswer};
use tintype_types::{ErrorCode, JobEvent, JobState, Timestamp};

use crate::actor::Actor;
use crate::answer::Refusal;
use crate::claims::{ClaimReply, PARKED_MAX, Parked};
use crate::finishes::{FinishReply, Key, Runner};
use crate::told::bare_event;
use crate::writes::ends;

/// How a finish stands before its pictures are looked at.
#[derive(Debug)]
pub(crate) enum FinishStanding {
    /// There is nothing to look at: this is the answer.
    Answered(Result<(), Refusal>),
    /// Look at the pictures; so many were asked for, if that is known.
    Open(Option<u32>),
}

/// Parks the claim; it is answered once an assignment is written, or when its wait is over.
pub(crate) fn claim(actor: &mut Actor, claim: Claim, serial: u64, reply: ClaimReply) {
    let refusal = if !actor.is_leading() {
        Some(Refusal::not_leading())
    } else if actor.claims.is_full_for(&claim.worker) {
        Some(Refusal::new(ErrorCode::QueueFull, format!("{PARKED_MAX} claims wait already; repeat it in a second")))
    } else {
        None
    };
    if let Some(refusal) = refusal {
        actor.metrics.claims.with_label_values(&["refused"]).inc();
        let _ = reply.send(Err(refusal));
        return;
    }
    if reply.is_closed() {
        actor.metrics.claims.with_label_values(&["gone"]).inc();
        return;
    }
    let now = actor.clock.now();
    actor.workers.claimed(&claim, now);
    let (seen, deadline) = (claim_seen(&claim), Timestamp(now.0 + claim.wait_ms.min(CLAIM_WAIT_MS_MAX)));
    if let Some(replaced) = actor.claims.park(Parked::new(claim, serial, reply, deadline)) {
        actor.metrics.claims.with_label_values(&["replaced"]).inc();
        let _ = replaced.reply.send(Ok(ClaimAnswer::default()));
    }
    actor.step(Observation::Claim(seen));
}

fn claim_seen(claim: &Claim) -> ClaimSeen {
    let Claim {
        worker,
        boot_id,
        pool,
        gpus,
        resident_models,
        loadable_models,
        free_slots,
        residents: _,
        wait_ms: _,
        warm_up,
        unwell,
    } = claim.clone();
    ClaimSeen { worker, boot_id, pool, gpus, resident_models, loadable_models, free_slots, warm_up, unwell }
}

pub(crate) fn renew(actor: &mut Actor, key: Key, renew: Renew) -> Result<RenewAnswer, Refusal> {
    if !actor.is_leading() {
        actor.metrics.renews.with_label_values(&["refused"]).inc();
        return Err(Refusal::not_leading());
    }
    actor.workers.renewed(&renew, actor.clock.now());
    let (job, attempt) = key;
    let Renew { worker, boot_id, step, steps, gpus: _, previews } = renew;
    let seen = RenewedSeen { job: job.clone(), attempt, worker: worker.clone(), boot_id: boot_id.clone(), step, steps };
    actor.step(Observation::Renewed(seen));
    let standing = actor.brain.attempt(&job, attempt, &worker, &boot_id);
    let count = |answer: &str| actor.metrics.renews.with_label_values(&[answer]).inc();
    match standing {
        AttemptStanding::Current { lease_end } => {
            count("continue");
            let state = if step > 0 { JobState::Running } else { JobState::Assigned };
            let watched = actor.events.is_watched(&job);
            actor.events.publish(JobEvent { step, steps, previews, ..bare_event(job, state, attempt) });
            Ok(RenewAnswer::Continue { lease_end, watched })
        }
        AttemptStanding::CancelRequested { reason } => {
            count("cancel");
            Ok(RenewAnswer::Cancel { reason })
        }
        AttemptStanding::PreemptRequested => {
            count("preempt");
            Ok(RenewAnswer::Preempt)
        }
        AttemptStanding::Ended { .. } | AttemptStanding::Stale => {
            count("stale");
            Err(Refusal::stale())
        }
    }
}

/// Whether the pictures of a finish need to be looked at: not if it is known already or will be refused anyway.
pub(crate) fn finish_standing(actor: &Actor, key: &Key, by: &Runner) -> FinishStanding {
    if !actor.is_leading() {
        return FinishStanding::Answered(Err(Refusal::not_leading()));
    }
    if actor.finishes.is_written(key, by) {
        return FinishStanding::Answered(Ok(()));
    }
    match actor.brain.attempt(&key.0, key.1, &by.0, &by.1) {
        AttemptStanding::Ended { .. } => FinishStanding::Answered(Ok(())),
        AttemptStanding::Stale => FinishStanding::Answered(Err(Refusal::stale())),
        AttemptStanding::Current { .. }
        | AttemptStanding::CancelRequested { .. }
        | AttemptStanding::PreemptRequested => {
            let asked = actor.asked.get(&key.0).filter(|(attempt, _)| *attempt == key.1).map(|(_, asked)| *asked);
            FinishStanding::Open(asked)
        }
    }
}

/// Tells the scheduler of the end; the call is answered once that is written.
pub(crate) fn finish(actor: &mut Actor, key: Key, finish: Finish, reply: FinishReply) {
    let Finish { worker, boot_id, outcome, gpu_ms } = finish;
    let by = (worker.clone(), boot_id.clone());
    if let FinishStanding::Answered(answer) = finish_standing(actor, &key, &by) {
        let _ = reply.send(answer);
        return;
    }
    if actor.finishes.is_waiting(&key, &by) {
        actor.finishes.wait(key, by, reply);
        return;
    }
    let (job, attempt) = key.clone();
    let seen = FinishedSeen { job, attempt, worker, boot_id, outcome, gpu_ms };
    let decisions = actor.decide(Observation::Finished(seen));
    if decisions.iter().any(|decision| ends(decision) == Some((&key.0, key.1))) {
        actor.finishes.wait(key, by, reply);
        actor.carry_out(decisions);
        return;
    }
    actor.carry_out(decisions);
    let _ = reply.send(match finish_standing(actor, &key, &by) {
        FinishStanding::Answered(answer) => answer,
        // Decided before, by a write whose outcome is not known yet.
        FinishStanding::Open(_) => Err(Refusal::unwritten()),
    });
}
