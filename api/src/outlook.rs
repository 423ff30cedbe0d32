//! How long a job would wait and run if it were made now, from how it went of late. Pure, but for the one query that reads
//! what went.
//!
//! Work is counted in milli-credits: a price is linear in pixels, evaluations and pictures (docs/PRICES.md).

use std::collections::BTreeSet;
use std::time::Duration;

use tintype_types::Timestamp;

use crate::clock::to_ms;
use crate::database::Db;

/// Jobs looked back at.
const RECENT_MAX: i64 = 500;
/// A worker that ended a job this long ago counts as one that is there.
const WORKER_SEEN: Duration = Duration::from_mins(10);
/// Open jobs counted at most: beyond it nobody asks how many there are.
const OPEN_MAX: i64 = 10_000;
/// Jobs of a model it takes to say how fast it is.
const SAMPLES_MIN: usize = 3;

/// A job that ended well.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Recent {
    pub(crate) model: String,
    pub(crate) worker: Option<String>,
    /// Its work, in milli-credits.
    pub(crate) price: i64,
    /// Time the GPU was held.
    pub(crate) gpu_ms: i64,
    /// From its creation to its first attempt.
    pub(crate) waited_ms: i64,
    pub(crate) finished_ms: i64,
}

/// What went of late, and what is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) recent: Vec<Recent>,
    /// Jobs that have not ended.
    pub(crate) open: i64,
    /// Of those, being worked on.
    pub(crate) running: i64,
    /// Work of those, in milli-credits.
    pub(crate) open_work: i64,
}

/// Half of the jobs take at most `p50`, nine of ten at most `p90`, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
}

impl Seen {
    /// Reads it.
    pub(crate) async fn read(pool: &Db) -> sqlx::Result<Self> {
        const RECENT: &str = "select request->>'model' as model, worker, price, gpu_ms,
                coalesce(started_ms, created_ms) - created_ms as waited_ms, finished_ms
            from (select * from generation order by id desc limit $1) as late where state = 'Complete'";
        const OPEN: &str = "select count(*), count(*) filter (where state in ('Assigned', 'Running')),
                coalesce(sum(price), 0)::bigint
            from (select state, price from generation where finished_ms is null limit $1) as open";
        let recent = sqlx::query_as(RECENT).bind(RECENT_MAX).fetch_all(pool).await?;
        let (open, running, open_work) = sqlx::query_as(OPEN).bind(OPEN_MAX).fetch_one(pool).await?;
        Ok(Self { recent, open, running, open_work })
    }

    /// How long a job of this model and work would run; none when too little is known.
    pub(crate) fn takes(&self, model: &str, work: i64) -> Option<Spread> {
        let of_model = self.recent.iter().filter(|job| job.model == model);
        let rates: Vec<f64> = of_model.filter_map(Recent::rate).collect();
        if rates.len() < SAMPLES_MIN { None } else { spread(rates, work as f64) }
    }

    /// How long a job made now would wait for its first attempt; none when too little is known. With nothing open, what
    /// the last jobs waited; else the open work, divided among the workers that were seen.
    pub(crate) fn starts_in(&self, now: Timestamp) -> Option<Spread> {
        if self.open == 0 {
            return spread(self.recent.iter().map(|job| job.waited_ms.max(0) as f64).collect(), 1.0);
        }
        let rates: Vec<f64> = self.recent.iter().filter_map(Recent::rate).collect();
        if rates.len() < SAMPLES_MIN {
            return None;
        }
        spread(rates, self.open_work as f64 / self.workers(now).max(1) as f64)
    }

    /// Workers that ended a job of late.
    pub(crate) fn workers(&self, now: Timestamp) -> usize {
        let since = to_ms(now).saturating_sub(WORKER_SEEN.as_millis() as i64);
        let seen = self.recent.iter().filter(|job| job.finished_ms >= since);
        seen.filter_map(|job| job.worker.as_deref()).collect::<BTreeSet<_>>().len()
    }
}

impl Recent {
    /// Milliseconds a milli-credit.
    fn rate(&self) -> Option<f64> {
        (self.gpu_ms > 0 && self.price > 0).then(|| self.gpu_ms as f64 / self.price as f64)
    }
}

fn spread(mut values: Vec<f64>, times: f64) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let at = |part: f64| values.get(((values.len().checked_sub(1)?) as f64 * part).round() as usize).copied();
    let (half, most) = (at(0.5)?, at(0.9)?);
    Some(Spread { p50: (half * times).round() as u64, p90: (most * times).round() as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(model: &str, worker: &str, gpu_ms: i64, finished_ms: i64) -> Recent {
        let (model, worker) = (model.to_owned(), Some(worker.to_owned()));
        Recent { model, worker, price: 10, gpu_ms, waited_ms: gpu_ms / 10, finished_ms }
    }

    #[test]
    fn a_job_takes_what_jobs_of_its_model_took_by_work() {
        let recent = [100, 200, 300, 400, 5_000].map(|gpu_ms| job("m", "w", gpu_ms, 0)).to_vec();
        let seen = Seen { recent, ..Seen::default() };
        assert_eq!(seen.takes("m", 20), Some(Spread { p50: 600, p90: 10_000 }));
        assert_eq!(seen.takes("other", 20), None, "nothing is known of it");
    }

    #[test]
    fn the_wait_is_the_open_work_among_the_workers_that_are_there() {
        let now = Timestamp(1_000_000_000);
        let fresh = to_ms(now) - 1_000;
        let recent = vec![job("m", "a", 100, fresh), job("n", "b", 100, fresh), job("m", "gone", 100, 0)];
        let seen = Seen { recent, open: 4, running: 1, open_work: 40 };
        assert_eq!(seen.workers(now), 2);
        assert_eq!(seen.starts_in(now), Some(Spread { p50: 200, p90: 200 }));
        let idle = Seen { open: 0, open_work: 0, ..seen };
        assert_eq!(idle.starts_in(now), Some(Spread { p50: 10, p90: 10 }));
        assert_eq!(Seen::default().starts_in(now), None);
    }
}
