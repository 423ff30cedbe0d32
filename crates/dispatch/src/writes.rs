//! Decisions on their way to the record: in order for one job, side by side for many. It must not know who waits.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tintype_scheduler::Decision;
use tintype_types::{Attempt, JobId};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::record::{Record, WriteError, Written};

/// Writes under way at a time: enough to hide an API server's latency, few enough not to be throttled by it.
const WRITES_MAX: usize = 64;
/// Longest one write may take. Records have their own, shorter timeouts; this one keeps a broken record from holding a
/// job for ever.
const WRITE_TIME_MAX: Duration = Duration::from_secs(30);

/// What a write's task answers: the record's answer and how long it took.
type Timed = (Result<Written, WriteError>, Duration);

/// A write that ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) decision: Decision,
    pub(crate) result: Result<Written, WriteError>,
    pub(crate) took: Duration,
}

/// All decisions not yet written. Their number is bounded by the jobs: the scheduler decides nothing more about a job
/// while one of its decisions is not settled (but for progress, of which the newest is enough).
pub(crate) struct Writes {
    record: Arc<dyn Record>,
    /// What waits behind a write of the same job.
    behind: BTreeMap<JobId, VecDeque<Decision>>,
    /// Jobs that could be written about at once but for [`WRITES_MAX`].
    ready: VecDeque<JobId>,
    busy: BTreeSet<JobId>,
    running: JoinSet<Timed>,
    /// What each task writes, to be known even of one that panicked.
    tasks: HashMap<Id, Decision>,
}

impl Writes {
    pub(crate) fn new(record: Arc<dyn Record>) -> Self {
        Self {
            record,
            behind: BTreeMap::new(),
            ready: VecDeque::new(),
            busy: BTreeSet::new(),
            running: JoinSet::new(),
            tasks: HashMap::new(),
        }
    }

    /// Queues a decision and starts what can be started.
    pub(crate) fn push(&mut self, decision: Decision) {
        let job = decision.subject().0.clone();
        let line = self.behind.entry(job.clone()).or_default();
        match (line.back_mut(), &decision) {
            (Some(last @ Decision::Progress { .. }), Decision::Progress { .. }) => *last = decision,
            (_, _) => line.push_back(decision),
        }
        if line.len() == 1 && !self.busy.contains(&job) {
            self.ready.push_back(job);
        }
        self.start();
    }

    /// How many decisions are not written yet.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len() + self.behind.values().map(VecDeque::len).sum::<usize>()
    }

    /// Whether an end of this attempt is being written.
    pub(crate) fn is_ending(&self, job: &JobId, attempt: Attempt) -> bool {
        let behind = self.behind.get(job).into_iter().flatten();
        self.busy.contains(job) && self.tasks.values().chain(behind).any(|d| ends(d) == Some((job, attempt)))
    }

    /// The next write to end; waits for ever when none is under way. Dropping this loses nothing.
    pub(crate) async fn next(&mut self) -> Done {
        loop {
            match self.running.join_next_with_id().await {
                Some(ended) => {
                    if let Some(done) = self.ended(ended) {
                        return done;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    fn ended(&mut self, ended: Result<(Id, Timed), JoinError>) -> Option<Done> {
        let (id, result, took) = match ended {
            Ok((id, (result, took))) => (id, result, took),
            Err(e) => (e.id(), Err(WriteError::Unavailable("the write broke off".to_owned())), Duration::ZERO),
        };
        let decision = self.tasks.remove(&id)?;
        let (job, _) = decision.subject();
        self.busy.remove(job);
        if self.behind.contains_key(job) {
            self.ready.push_back(job.clone());
        }
        self.start();
        Some(Done { decision, result, took })
    }

    /// Forgets what is queued and breaks off what is under way: nobody may write who does not lead. What was broken off
    /// may have been written or not; the record is read again before anything is decided.
    pub(crate) fn abandon(&mut self) {
        *self = Self::new(Arc::clone(&self.record));
    }

    fn start(&mut self) {
        while self.running.len() < WRITES_MAX
            && let Some(job) = self.ready.pop_front()
        {
            let Some(line) = self.behind.get_mut(&job) else { continue };
            let next = line.pop_front();
            if line.is_empty() {
                self.behind.remove(&job);
            }
            let Some(decision) = next else { continue };
            self.busy.insert(job);
            let task = self.running.spawn(write(Arc::clone(&self.record), decision.clone()));
            self.tasks.insert(task.id(), decision);
        }
    }
}

async fn write(record: Arc<dyn Record>, decision: Decision) -> Timed {
    let started = Instant::now();
    let result = match tokio::time::timeout(WRITE_TIME_MAX, record.write(decision)).await {
        Ok(result) => result,
        Err(_) => Err(WriteError::Unavailable(format!("no answer within {} s", WRITE_TIME_MAX.as_secs()))),
    };
    (result, started.elapsed())
}

/// The attempt this decision ends, if it ends one.
pub(crate) fn ends(decision: &Decision) -> Option<(&JobId, Attempt)> {
    match decision {
        Decision::Requeue { .. } | Decision::Fail { .. } | Decision::Complete { .. } => Some(decision.subject()),
        Decision::Assign { .. } | Decision::Progress { .. } | Decision::Cancel { .. } | Decision::Preempt { .. } => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::record::WriteFuture;

    #[tokio::test]
    async fn one_jobs_writes_keep_their_order_and_the_newest_progress_is_enough() {
        let record = Slow::new();
        let mut writes = Writes::new(record.clone());
        for step in [1, 2, 3] {
            writes.push(progress("a", step));
        }
        writes.push(Decision::Preempt { job: "a".into(), attempt: Attempt(1) });
        assert_eq!(writes.len(), 3);
        record.gate.add_permits(10);
        let steps: Vec<_> = [writes.next().await, writes.next().await].iter().map(|d| step(&d.decision)).collect();
        assert_eq!(steps, [Some(1), Some(3)]);
        assert_eq!(step(&writes.next().await.decision), None);
        assert_eq!(writes.len(), 0);
    }

    #[tokio::test]
    async fn no_more_than_the_limit_is_under_way() {
        let record = Slow::new();
        let mut writes = Writes::new(record.clone());
        for n in 0..=WRITES_MAX {
            writes.push(progress(&format!("j{n}"), 1));
        }
        assert_eq!((writes.running.len(), writes.ready.len()), (WRITES_MAX, 1));
        record.gate.add_permits(WRITES_MAX + 1);
        for _ in 0..=WRITES_MAX {
            writes.next().await;
        }
        assert_eq!((writes.len(), record.written.lock().unwrap().len()), (0, WRITES_MAX + 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_never_ends_or_panics_counts_as_unavailable() {
        let record = Slow::new();
        let mut writes = Writes::new(record.clone());
        writes.push(progress("a", 1));
        let done = writes.next().await;
        assert!(matches!(done.result, Err(WriteError::Unavailable(_))));
        assert_eq!(done.took, WRITE_TIME_MAX);
        record.gate.close(); // acquiring a permit panics from now on
        writes.push(progress("a", 2));
        let done = writes.next().await;
        assert!(matches!(done.result, Err(WriteError::Unavailable(_))));
        assert_eq!(step(&done.decision), Some(2));
    }

    /// A record whose writes wait for a permit each.
    struct Slow {
        gate: Semaphore,
        written: Mutex<Vec<Decision>>,
    }

    impl Slow {
        fn new() -> Arc<Self> {
            Arc::new(Self { gate: Semaphore::new(0), written: Mutex::default() })
        }
    }

    impl Record for Slow {
        fn write(&self, decision: Decision) -> WriteFuture<'_> {
            Box::pin(async move {
                self.gate.acquire().await.unwrap().forget();
                self.written.lock().unwrap().push(decision);
                Ok(Written::Recorded)
            })
        }
    }

    fn progress(job: &str, step: u32) -> Decision {
        Decision::Progress { job: job.into(), attempt: Attempt(1), step, steps: 9 }
    }

    fn step(decision: &Decision) -> Option<u32> {
        if let Decision::Progress { step, .. } = decision { Some(*step) } else { None }
    }
}
