//! Runs the lanes: claims as many errands as there is room for, does them side by side, writes down how each went.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use rand::RngExt;
use tintype_types::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Again, Bell, Errand, Failed, Lane, LaneMetrics, NewErrand, Rules, errand};
use crate::clock::{self, to_ms};
use crate::database::Db;

/// How often each lane looks without being rung.
const PERIOD: Duration = Duration::from_secs(2);
/// Shortest time between two looks of an idle lane.
const PERIOD_MIN: Duration = Duration::from_millis(10);
/// How often the lanes are counted.
const CENSUS_PERIOD: Duration = Duration::from_secs(15);
/// Longest that errands under way are waited for when the program ends; those that are not done by then are done again.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses are this much longer or shorter by chance, so that what failed together does not come back together.
const JITTER: f64 = 0.2;
/// The key of the errand of a lane that goes by the clock.
const CLOCK_KEY: &str = "clock";

/// Hears the name of a lane whenever it has looked for errands.
pub type Alive = Arc<dyn Fn(&'static str) + Send + Sync>;

/// What lanes run on.
pub struct LanesConfig {
    /// The database.
    pub pool: Db,
    /// Who wakes them.
    pub bell: Bell,
    /// What is counted.
    pub metrics: LaneMetrics,
    /// Told of every look that a lane could take.
    pub alive: Alive,
    /// The lanes.
    pub lanes: Vec<Arc<dyn Lane>>,
}

/// Starts every lane. When `stop` is cancelled they claim nothing more and end what they have, within a few seconds.
pub fn start(config: LanesConfig, stop: &CancellationToken) -> JoinSet<()> {
    let LanesConfig { pool, bell, metrics, alive, lanes } = config;
    let mut tasks = JoinSet::new();
    let names: Vec<_> = lanes.iter().map(|lane| lane.name()).collect();
    for lane in lanes {
        let (pool, metrics, alive) = (pool.clone(), metrics.clone(), Arc::clone(&alive));
        let runner = Arc::new(Runner { pool, metrics, alive, rules: lane.rules(), lane });
        tasks.spawn(runner.run(bell.listen(), stop.clone()));
    }
    tasks.spawn(stop.clone().run_until_cancelled_owned(bell.relay(pool.clone())).map(drop));
    tasks.spawn(stop.clone().run_until_cancelled_owned(count(pool, metrics, names)).map(drop));
    tasks
}

async fn count(pool: Db, metrics: LaneMetrics, lanes: Vec<&'static str>) {
    loop {
        // A failure shows in other places; the numbers stay as they were.
        if let Ok(standings) = errand::standings(&pool).await {
            metrics.census(&lanes, &standings, to_ms(clock::now()));
        }
        tokio::time::sleep(CENSUS_PERIOD).await;
    }
}

struct Runner {
    pool: Db,
    metrics: LaneMetrics,
    alive: Alive,
    rules: Rules,
    lane: Arc<dyn Lane>,
}

impl Runner {
    async fn run(self: Arc<Self>, mut rung: watch::Receiver<()>, stop: CancellationToken) {
        let mut under_way = JoinSet::new();
        let mut failing = false;
        while !stop.is_cancelled() {
            let wait = match self.look(&mut under_way).await {
                Ok(wait) => {
                    failing = false;
                    (self.alive)(self.lane.name());
                    wait
                }
                Err(error) => {
                    // Once when it begins: the next looks would say the same.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "the lane {} cannot look for errands now", self.lane.name());
                    }
                    PERIOD
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                // The bell's sender lives as long as the process.
                _ = rung.changed() => {}
                Some(_) = under_way.join_next() => {}
                () = tokio::time::sleep(wait) => {}
            }
            while under_way.try_join_next().is_some() {}
        }
        // Whoever is cut off leaves his errand to the next.
        let _ = timeout(CLOSE_TIMEOUT, under_way.join_all()).await;
    }

    /// Claims what there is room for; how long to wait before the next look.
    async fn look(self: &Arc<Self>, under_way: &mut JoinSet<()>) -> sqlx::Result<Duration> {
        let room = self.rules.at_a_time.saturating_sub(under_way.len());
        if room == 0 {
            return Ok(PERIOD);
        }
        let (name, now) = (self.lane.name(), clock::now());
        if self.rules.every.is_some() {
            let tick = NewErrand { key: Some(CLOCK_KEY.to_owned()), payload: serde_json::Value::Null, due: now };
            let mut tx = self.pool.begin().await?;
            errand::send(&mut tx, name, &[tick], now).await?;
            tx.commit().await?;
        }
        let claimed = errand::claim(&self.pool, name, room, now, now.plus(self.rules.lease)).await?;
        let all = claimed.len() < room;
        for errand in claimed {
            under_way.spawn(Arc::clone(self).attend(errand));
        }
        if !all {
            return Ok(PERIOD_MIN);
        }
        let due = errand::next_due(&self.pool, name).await?;
        let wait =
            due.map_or(PERIOD, |due| Duration::from_millis(due.saturating_sub(to_ms(clock::now())).max(0) as u64));
        Ok(wait.clamp(PERIOD_MIN, PERIOD))
    }

    async fn attend(self: Arc<Self>, errand: Errand) {
        let started = Instant::now();
        // A program that dies of an errand would die of it for ever.
        let outcome = if errand.attempt > self.tries() {
            Err(Failed::never("its last try never ended"))
        } else {
            match timeout(self.rules.lease, AssertUnwindSafe(self.lane.run(&errand)).catch_unwind()).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(Failed::later("it panicked")),
                Err(_) => Err(Failed::later("it took longer than its lease")),
            }
        };
        self.metrics.seconds.with_label_values(&[self.lane.name()]).observe(started.elapsed().as_secs_f64());
        let (counted, written) = self.write(&errand, outcome, clock::now()).await;
        self.metrics.errands.with_label_values(&[self.lane.name(), counted]).inc();
        match written {
            Ok(true) => {}
            Ok(false) => tracing::warn!(errand.id = %errand.id, "an errand was done too slowly; somebody else has it"),
            // The lease runs out, and it is done again.
            Err(error) => tracing::warn!(errand.id = %errand.id, %error, "how an errand went could not be written"),
        }
    }

    async fn write(
        &self,
        errand: &Errand,
        outcome: Result<(), Failed>,
        now: Timestamp,
    ) -> (&'static str, sqlx::Result<bool>) {
        let Err(Failed { error, again }) = outcome else {
            let written = match self.rules.every {
                Some(every) => errand::done_until(&self.pool, errand, now.plus(every)).await,
                None => errand::done(&self.pool, errand).await,
            };
            return ("done", written);
        };
        match (again, self.pause(errand.attempt)) {
            (Again::Postponed(pause), _) => {
                let written = errand::put_back(&self.pool, errand, errand.attempt - 1, now.plus(pause), &error).await;
                ("postponed", written)
            }
            (Again::Later, Some(pause)) => {
                let due = now.plus(jittered(pause, rand::rng().random_range(-1.0..=1.0)));
                ("failed", errand::put_back(&self.pool, errand, errand.attempt, due, &error).await)
            }
            // One that goes by the clock has a next time whatever happens.
            (Again::Later | Again::Never, _) if self.rules.every.is_some() => {
                tracing::error!(lane = self.lane.name(), error, "an errand that goes by the clock failed");
                let due = now.plus(self.rules.every.unwrap_or(PERIOD));
                ("dead", errand::put_back(&self.pool, errand, 0, due, &error).await)
            }
            (Again::Later | Again::Never, _) => {
                tracing::error!(lane = self.lane.name(), errand.id = %errand.id, error, "an errand was given up");
                ("dead", errand::bury(&self.pool, errand, now, &error).await)
            }
        }
    }

    fn tries(&self) -> i32 {
        i32::try_from(self.rules.pauses.len()).unwrap_or(i32::MAX).saturating_add(1)
    }

    /// The pause after this try; none when it was the last.
    fn pause(&self, attempt: i32) -> Option<Duration> {
        self.rules.pauses.get(usize::try_from(attempt).ok()?.checked_sub(1)?).copied()
    }
}

/// The pause, longer or shorter by `chance` (-1 to 1) times [`JITTER`].
fn jittered(pause: Duration, chance: f64) -> Duration {
    pause.mul_f64(1.0 + JITTER * chance.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_by_a_fifth_at_most() {
        let pause = Duration::from_secs(10);
        assert_eq!(jittered(pause, -1.0), Duration::from_secs(8));
        assert_eq!(jittered(pause, 0.0), pause);
        assert_eq!(jittered(pause, 9.0), Duration::from_secs(12));
    }
}
