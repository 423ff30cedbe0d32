//! What a seed decides before anything happens (swarm testing: each seed has its own mix of faults), and the bugs that
//! can be planted to see that they are caught.

use std::time::Duration;

use tintype_scheduler::Config;

use crate::rng::Rng;

/// The world of one seed.
#[derive(Clone, Debug)]
pub(crate) struct Knobs {
    pub(crate) jobs: u64,
    pub(crate) workers: u64,
    pub(crate) slots_max: u64,
    pub(crate) latency_ms: u64,
    pub(crate) watch_ms: u64,
    /// Messages between worker and shell that are lost, in percent.
    pub(crate) drop: u64,
    /// Record writes that fail without being done.
    pub(crate) refuse: u64,
    /// Record writes that are done and whose answer is lost.
    pub(crate) lose_ack: u64,
    /// Watch events told again, late.
    pub(crate) stale: u64,
    /// Whether a write's answer is told to the scheduler at once.
    pub(crate) echo: bool,
    /// Attempts that fail, in percent.
    pub(crate) fail: u64,
    pub(crate) cancel: u64,
    pub(crate) delete: u64,
    pub(crate) crashes: u64,
    pub(crate) pauses: u64,
    pub(crate) leader_deaths: u64,
    pub(crate) relists: u64,
    /// How far behind a new leader's list may be.
    pub(crate) list_behind_ms: u64,
    pub(crate) quota: bool,
    /// When faults stop.
    pub(crate) calm_at_ms: u64,
    pub(crate) config: Config,
}

impl Knobs {
    /// The knobs of a seed.
    pub(crate) fn of(rng: &mut Rng) -> Self {
        let mut some = |chance: u64, most: u64| if rng.percent(chance) { rng.range(1, most) } else { 0 };
        let (drop, refuse, lose_ack) = (some(50, 30), some(50, 25), some(50, 25));
        let (stale, fail, cancel, delete) = (some(50, 40), some(50, 40), some(50, 30), some(25, 20));
        let (crashes, pauses, leader_deaths, relists) = (some(60, 6), some(50, 5), some(50, 4), some(30, 3));
        let list_behind_ms = some(40, 3_000);
        let config = Config {
            lease: Duration::from_secs(rng.range(9, 30)),
            decisions_max: if rng.percent(20) { rng.range(1, 3) as usize } else { 256 },
            ended_kept_max: if rng.percent(10) { 2 } else { 10_000 },
            ..Config::default()
        };
        // A budget of nothing makes every queue wait for every other; from the lease, so that old seeds stay what they were.
        let strict = config.lease.as_secs().is_multiple_of(3);
        let fairness_budget = if strict { Duration::ZERO } else { config.fairness_budget };
        let config = Config { fairness_budget, ..config };
        Self {
            jobs: if rng.percent(80) { rng.range(1, 8) } else { rng.range(8, 40) },
            workers: if rng.percent(80) { rng.range(1, 4) } else { rng.range(4, 12) },
            slots_max: if rng.percent(70) { 1 } else { 3 },
            latency_ms: *rng.pick(&[2, 50, 2_000]),
            watch_ms: *rng.pick(&[2, 200, 5_000]),
            echo: rng.percent(50),
            quota: rng.percent(30),
            calm_at_ms: rng.range(30_000, 240_000),
            drop,
            refuse,
            lose_ack,
            // Remembering ended jobs is what tells a late event from news; a scheduler that remembers two needs order.
            stale: if config.ended_kept_max < 10 { 0 } else { stale },
            fail,
            cancel,
            delete,
            crashes,
            pauses,
            leader_deaths,
            relists,
            list_behind_ms,
            config,
        }
    }
}

/// A bug in the record, the shell or the brain, planted to see that the simulation finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The record compares neither version nor attempt.
    RecordTakesAnyAttempt,
    /// The record lets an ended job change.
    EndedCanChange,
    /// The shell stores any finish as the current attempt's.
    FinishNotFenced,
    /// The shell answers the claim before the assignment is written.
    ToldBeforeWritten,
    /// The shell answers a finish before its end is written.
    AnsweredBeforeWritten,
    /// A new leader is not told the record.
    NoReset,
    /// A Reset leaves running attempts no lease.
    NoLeaseOnReset,
    /// All starts of a worker look the same.
    BootIdIgnored,
    /// Nobody tells the scheduler that a job was cancelled.
    CancelNotTold,
    /// Watch events go missing.
    WatchLosesEvents,
    /// An assignment does not raise the attempt.
    AttemptNotRaised,
    /// Settling captures at each sight of a complete job.
    CaptureNotIdempotent,
    /// A worker's claim is told twice.
    ClaimAnsweredTwice,
}

impl Bug {
    /// All of them.
    pub(crate) const ALL: [Self; 13] = [
        Self::RecordTakesAnyAttempt,
        Self::EndedCanChange,
        Self::FinishNotFenced,
        Self::ToldBeforeWritten,
        Self::AnsweredBeforeWritten,
        Self::NoReset,
        Self::NoLeaseOnReset,
        Self::BootIdIgnored,
        Self::CancelNotTold,
        Self::WatchLosesEvents,
        Self::AttemptNotRaised,
        Self::CaptureNotIdempotent,
        Self::ClaimAnsweredTwice,
    ];
}
