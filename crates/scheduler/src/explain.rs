//! Why a job is not running and the smallest changes that would start it. All data; whoever asks makes the words.

use serde::{Deserialize, Serialize};
use tintype_types::{JobId, PoolName, QueueKey, Timestamp};

use crate::deadline::Change;
use crate::estimate::Estimate;
use crate::index::Filed;
use crate::job::{Job, Stand};
use crate::line::{Class, Turn};
use crate::names::Name;
use crate::observation::BudgetWindow;
use crate::state::Core;
use crate::verdict::Verdict;

/// Where a job stands, what would start it, and when it should start and end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The job.
    pub job: JobId,
    /// Its queue.
    pub queue: QueueKey,
    /// The model it names.
    pub model: String,
    /// The pool it must run in; none is any.
    pub pool: Option<PoolName>,
    /// When it was made.
    pub submitted: Timestamp,
    /// By when it should be done, where it says.
    pub deadline: Option<Timestamp>,
    /// Attempts given out.
    pub attempt: u32,
    /// Where it stands.
    pub verdict: Verdict,
    /// Changes any of which would start it, the smallest first. Empty: it runs, has ended, or time alone is missing.
    pub remedies: Vec<Remedy>,
    /// When it should start and end, where that can be told.
    pub estimate: Option<Estimate>,
    /// Whether the estimate's median misses the deadline.
    pub late: bool,
    /// Whether it was promised to be done by its deadline.
    #[serde(default)]
    pub promised: bool,
    /// Changes with any of which the deadline would be met, the cheapest first. Empty: it should be.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// When all this was so.
    pub now: Timestamp,
}

/// A change that would start a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Remedy {
    /// Let its queue run one more.
    RaiseQuota {
        /// The queue.
        queue: QueueKey,
        /// What it may run now.
        from: u32,
        /// What it would have to.
        to: u32,
    },
    /// Ask for another pool, or for none.
    ChangePool {
        /// A pool whose workers can run it.
        to: PoolName,
    },
    /// Put the model where a worker of the pool can load it.
    InstallModel {
        /// The model.
        model: String,
        /// The pool; none is any.
        pool: Option<PoolName>,
    },
    /// Tell the scheduler of the model.
    DeclareModel {
        /// The model.
        model: String,
    },
    /// Have this many more workers.
    AddWorkers {
        /// How many.
        count: u32,
        /// Of which pool; none is any.
        pool: Option<PoolName>,
        /// A model they must be able to load.
        model: String,
    },
    /// Allow the pool's provider to cost more.
    RaiseBudget {
        /// The pool.
        pool: PoolName,
        /// Which budget.
        window: BudgetWindow,
    },
    /// Put it before the others that wait: it is next then.
    RaisePriority {
        /// Its priority.
        from: i32,
        /// What it would have to be.
        to: i32,
    },
}

impl Core {
    /// Why a job is not running and what would start it.
    pub(crate) fn explain(&self, id: &JobId) -> Option<Explanation> {
        let job = self.state.jobs.get(self.state.jobs.find(id)?)?;
        let text = |name: Name| self.state.names.text(name);
        let (verdict, estimate) = (self.verdict(id)?, self.estimate(id));
        let late = job.seen.deadline.is_some_and(|by| estimate.as_ref().is_some_and(|estimate| estimate.ends_p50 > by));
        Some(Explanation {
            job: id.clone(),
            queue: text(job.seen.queue).into(),
            model: text(job.seen.model).to_owned(),
            pool: job.seen.pool.map(|pool| text(pool).into()),
            submitted: job.seen.submitted,
            deadline: job.seen.deadline,
            attempt: job.attempt().0,
            remedies: self.remedies(id, job, &verdict),
            verdict,
            estimate,
            late,
            promised: job.promise.is_some(),
            changes: if late { self.changes(id) } else { Vec::new() },
            now: self.state.now,
        })
    }

    fn remedies(&self, id: &JobId, job: &Job, verdict: &Verdict) -> Vec<Remedy> {
        let class = Class::of(&job.seen);
        let text = |name: Name| self.state.names.text(name);
        let (pool, model) = (class.pool.map(|pool| text(pool).into()), text(class.model).to_owned());
        match verdict {
            // What a queue may have beside jobs, and with its siblings, is for those to say who set it.
            Verdict::HeldByQuota { .. }
            | Verdict::Running { .. }
            | Verdict::BackingOff { .. }
            | Verdict::Settling
            | Verdict::Ended => Vec::new(),
            Verdict::UnknownModel { .. } => vec![Remedy::DeclareModel { model }],
            Verdict::NoMatchingWorker { .. } => {
                let other = self.other_pool(class).map(|to| Remedy::ChangePool { to });
                other.into_iter().chain([Remedy::AddWorkers { count: 1, pool, model }]).collect()
            }
            Verdict::NoWorkerForModel { .. } => {
                let other = self.other_pool(class).map(|to| Remedy::ChangePool { to });
                other.into_iter().chain([Remedy::InstallModel { model, pool }]).collect()
            }
            Verdict::BudgetUsedUp { pool, window } => {
                let other = self.other_pool(class).map(|to| Remedy::ChangePool { to });
                other.into_iter().chain([Remedy::RaiseBudget { pool: pool.clone(), window: *window }]).collect()
            }
            Verdict::WaitingForQuota { used, limit } => {
                vec![Remedy::RaiseQuota {
                    queue: text(job.seen.queue).into(),
                    from: *limit,
                    to: used.saturating_add(1),
                }]
            }
            Verdict::WaitingForWorker | Verdict::BehindInQueue { .. } => {
                let Some(Filed::Ready(_, turn)) = self.state.jobs.find(id).and_then(|tag| self.index.filed(tag)) else {
                    return Vec::new();
                };
                self.with_room(job, class, turn)
            }
        }
    }

    /// A job that nothing keeps but others: it goes first, or there are workers for all that go before it and for itself.
    fn with_room(&self, job: &Job, class: Class, turn: Turn) -> Vec<Remedy> {
        debug_assert!(matches!(job.stand(), Stand::Waiting), "only a waiting job asks for room");
        let text = |name: Name| self.state.names.text(name);
        let shares = |other: &Class| other.pool.is_none() || class.pool.is_none() || other.pool == class.pool;
        let (mut ahead, mut highest) = (0_u32, None);
        for (_, before) in self.index.lines.before(turn).filter(|(other, _)| shares(other)) {
            ahead = ahead.saturating_add(1);
            highest = highest.max(Some(before.priority()));
        }
        let workers = Remedy::AddWorkers {
            count: ahead.saturating_add(1),
            pool: class.pool.map(|pool| text(pool).into()),
            model: text(class.model).to_owned(),
        };
        let from = job.seen.priority;
        let first =
            highest.and_then(|highest: i32| highest.checked_add(1)).map(|to| Remedy::RaisePriority { from, to });
        first.into_iter().chain([workers]).collect()
    }

    /// Another pool with a worker that can load the model.
    fn other_pool(&self, class: Class) -> Option<PoolName> {
        let able = self.state.workers.values().filter(|worker| worker.can_load(class.model));
        let pools = able.map(|worker| worker.claim.pool).filter(|pool| class.pool != Some(*pool));
        let pools = pools.map(|pool| PoolName::from(self.state.names.text(pool)));
        pools.filter(|pool| self.state.pools.get(pool).is_none_or(|pool| pool.used_up.is_none())).min()
    }
}
