//! The book of purchases: which intents there are, what was spent on which day, and the rules both keep.
//!
//! 1. For each day and month: what was settled and what open intents may come to stays within the caps they were
//!    planned under.
//! 2. An intent leaves `Planned` once, and is sent only then. One whose outcome is unknown is never sent again.
//! 3. A job has one intent at a time, whichever pool it is of; another can be planned only once this one has certainly
//!    bought nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tintype_types::{JobId, PoolName, Timestamp};

use crate::calendar::{Day, Window};
use crate::intent::{Event, Intent, Next, State};
use crate::money::{Caps, MicroUsd, Price, Spend};

/// Most intents of a book: some 300 bytes each, in an object that may have a MiB.
pub const INTENTS_MAX: usize = 2_000;
/// How long an outcome may stay unknown. Then it is booked as if it had cost all it could.
pub const UNKNOWN_KEPT: Duration = Duration::from_hours(24);
/// Days whose sums are kept: those of this month and the last.
const DAYS_KEPT: u32 = 62;

/// Every purchase that is open or not yet handed over, and what was spent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Book {
    /// The latest moment anything was planned at. Time does not go back here: yesterday's budget stays yesterday's.
    #[serde(default)]
    latest: Timestamp,
    /// The number of the last intent.
    #[serde(default)]
    serial: u64,
    #[serde(default)]
    intents: BTreeMap<JobId, Intent>,
    /// What was settled, by the day it was planned on.
    #[serde(default)]
    settled: BTreeMap<PoolName, BTreeMap<Day, MicroUsd>>,
}

/// What is to be bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// For which job.
    pub job: JobId,
    /// By which pool.
    pub pool: PoolName,
    /// See [`Intent::digest`].
    pub digest: String,
    /// How it is charged for.
    pub price: Price,
    /// The most it may cost.
    pub possible: MicroUsd,
}

/// Why something is not bought.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The budget does not allow it.
    #[error("the budget of this {} has {} millionths of a dollar left, and the job may cost {}", window.as_str(), left.0, possible.0)]
    Budget {
        /// Whose budget.
        window: Window,
        /// What is left of it.
        left: MicroUsd,
        /// What the job may cost.
        possible: MicroUsd,
    },
    /// Another pool has bought it, or may have.
    #[error("the pool {pool} has bought this job, or may have")]
    Elsewhere {
        /// Which pool.
        pool: PoolName,
    },
    /// There are as many intents as a book may hold.
    #[error("{INTENTS_MAX} purchases are open or not yet handed over; no more are begun before some are")]
    Full,
}

/// An event that does not fit where the purchase stands. The book is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// There is none of this number for this job.
    #[error("there is no such purchase for this job")]
    NoIntent,
    /// The provider's id is another purchase's: of two like ones whose answers were lost, each has its own.
    #[error("this id belongs to another purchase")]
    Taken,
    /// It stands where this cannot happen.
    #[error("a purchase that is {state} cannot hear of this")]
    Misfit {
        /// Where it stands.
        state: &'static str,
    },
}

impl Book {
    /// Sets the money for a job aside. A job that has an intent of this pool keeps it, and nothing changes.
    ///
    /// # Errors
    /// Why it is not bought; the book is then unchanged.
    pub fn plan(&mut self, now: Timestamp, order: Order, caps: Caps) -> Result<(), Refusal> {
        let Order { job, pool, digest, price, possible } = order;
        if let Some(intent) = self.intents.get(&job) {
            let elsewhere = Refusal::Elsewhere { pool: intent.pool.clone() };
            return if intent.pool == pool { Ok(()) } else { Err(elsewhere) };
        }
        let at = now.max(self.latest);
        for (window, cap) in [(Window::Day, caps.day), (Window::Month, caps.month)] {
            let left = cap.less(self.spend(&pool, window, at).total());
            if possible > left {
                return Err(Refusal::Budget { window, left, possible });
            }
        }
        self.make_room()?;
        self.latest = at;
        self.serial += 1;
        let intent = Intent { number: self.serial, pool, digest, price, possible, at, state: State::Planned };
        self.intents.insert(job, intent);
        Ok(())
    }

    /// A settled intent is kept until its job is over, for the job may come again and must not be bought again. Where
    /// nobody ever said that it is over, the oldest goes once so many others have been made; no clock has a say in it.
    fn make_room(&mut self) -> Result<(), Refusal> {
        if self.intents.len() < INTENTS_MAX {
            return Ok(());
        }
        let settled = self.intents.iter().filter(|(_, intent)| !intent.state.is_open());
        let oldest = settled.min_by_key(|(_, intent)| intent.number).map(|(job, _)| job.clone());
        self.intents.remove(&oldest.ok_or(Refusal::Full)?);
        Ok(())
    }

    /// Takes in what is done or heard of the intent with this number. Hearing something twice is hearing it once.
    ///
    /// # Errors
    /// What does not fit; the book is then unchanged.
    pub fn apply(&mut self, job: &JobId, number: u64, event: Event) -> Result<(), Wrong> {
        let pool = self.intents.get(job).map(|intent| intent.pool.clone()).ok_or(Wrong::NoIntent)?;
        if let Event::Accepted { id } = &event
            && self.of(&pool).any(|(other, intent)| other != job && intent.state.id() == Some(id))
        {
            return Err(Wrong::Taken);
        }
        let intent = self.intents.get_mut(job).filter(|intent| intent.number == number).ok_or(Wrong::NoIntent)?;
        let misfit = Wrong::Misfit { state: intent.state.as_str() };
        let day = Day::of(intent.at);
        let after = match (intent.state.clone(), event) {
            (State::Planned, Event::Submitting) => State::Submitted,
            (State::Submitted | State::Unknown, Event::AnswerLost) => State::Unknown,
            (State::Submitted | State::Unknown, Event::Accepted { id }) => State::Known { id },
            (State::Known { id } | State::Running { id }, Event::Began) => State::Running { id },
            (State::Known { id } | State::Running { id }, Event::Succeeded { cost }) => State::Succeeded { id, cost },
            (State::Known { .. } | State::Running { .. }, Event::Failed { cost, why }) => State::Failed { cost, why },
            (State::Planned, Event::Dropped)
            | (State::Submitted | State::Unknown, Event::Refused)
            | (State::Succeeded { .. } | State::Failed { .. }, Event::Delivered) => {
                self.intents.remove(job);
                return Ok(());
            }
            // Said again.
            (
                state @ (State::Known { .. } | State::Running { .. } | State::Succeeded { .. } | State::Failed { .. }),
                event,
            ) if says_nothing_new(&state, &event) => return Ok(()),
            (_, _) => return Err(misfit),
        };
        if let State::Succeeded { cost, .. } | State::Failed { cost, .. } = &after {
            settle(&mut self.settled, &pool, day, *cost);
        }
        intent.state = after;
        Ok(())
    }

    /// What may be done next for a job.
    pub fn next(&self, job: &JobId) -> Next {
        match self.intents.get(job).map(|intent| &intent.state) {
            None => Next::Plan,
            Some(State::Planned) => Next::Submit,
            Some(State::Submitted) => Next::Wait,
            Some(State::Unknown) => Next::LookUp,
            Some(State::Known { id } | State::Running { id }) => Next::Poll { id: id.clone() },
            Some(State::Succeeded { id, .. }) => Next::Deliver { id: id.clone() },
            Some(State::Failed { why, .. }) => Next::Report { why: why.clone() },
        }
    }

    /// Whoever bought for this pool has started anew: what was being sent may have arrived, what was not is not sent.
    pub fn restarted(&mut self, pool: &PoolName) {
        self.intents.retain(|_, intent| intent.pool != *pool || intent.state != State::Planned);
        for intent in self.intents.values_mut().filter(|intent| intent.pool == *pool) {
            if intent.state == State::Submitted {
                intent.state = State::Unknown;
            }
        }
    }

    /// Lets go of what is old: outcomes nobody will learn are booked in full, and sums of months gone by are forgotten.
    pub fn age(&mut self, now: Timestamp) {
        for intent in self.intents.values_mut() {
            if intent.state == State::Unknown && now.since(intent.at) >= UNKNOWN_KEPT {
                let why = "the provider never answered and does not know the job; it is booked as paid".to_owned();
                settle(&mut self.settled, &intent.pool, Day::of(intent.at), intent.possible);
                intent.state = State::Failed { cost: intent.possible, why };
            }
        }
        let oldest = Day(Day::of(self.latest).0.saturating_sub(DAYS_KEPT));
        for days in self.settled.values_mut() {
            *days = days.split_off(&oldest);
        }
    }

    /// What a pool has cost in the window a moment falls into, and may still.
    pub fn spend(&self, pool: &PoolName, window: Window, at: Timestamp) -> Spend {
        let now = Day::of(at.max(self.latest));
        let falls = |day: Day| match window {
            Window::Day => day == now,
            Window::Month => day.month() == now.month(),
        };
        let days = self.settled.get(pool).into_iter().flatten();
        let spent = days.filter(|(day, _)| falls(**day)).map(|(_, spent)| *spent).sum();
        let open = self.of(pool).filter(|(_, intent)| intent.state.is_open() && falls(Day::of(intent.at)));
        Spend { spent, reserved: open.map(|(_, intent)| intent.possible).sum() }
    }

    /// A job's purchase.
    pub fn get(&self, job: &JobId) -> Option<&Intent> {
        self.intents.get(job)
    }

    /// The purchases of a pool, by job.
    pub fn of<'a>(&'a self, pool: &'a PoolName) -> impl Iterator<Item = (&'a JobId, &'a Intent)> {
        self.intents.iter().filter(move |(_, intent)| intent.pool == *pool)
    }
}

fn settle(settled: &mut BTreeMap<PoolName, BTreeMap<Day, MicroUsd>>, pool: &PoolName, day: Day, cost: MicroUsd) {
    let sum = settled.entry(pool.clone()).or_default().entry(day).or_default();
    *sum = *sum + cost;
}

/// Whether an event tells a purchase what it knows; another id for it is not that.
fn says_nothing_new(state: &State, event: &Event) -> bool {
    match (state, event) {
        (State::Known { id } | State::Running { id } | State::Succeeded { id, .. }, Event::Accepted { id: again }) => {
            id == again
        }
        (State::Known { .. } | State::Running { .. }, Event::AnswerLost)
        | (State::Succeeded { .. } | State::Failed { .. }, Event::Began | Event::AnswerLost)
        | (State::Succeeded { .. }, Event::Succeeded { .. })
        | (State::Failed { .. }, Event::Failed { .. } | Event::Accepted { .. }) => true,
        (_, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_like_purchases_each_has_an_id_of_its_own() {
        let mut book = Book::default();
        for job in ["a", "b"].map(JobId::from) {
            let possible = MicroUsd(1);
            let (price, digest) = (Price::PerImage(possible), "same".to_owned());
            let order = Order { job: job.clone(), pool: "p".into(), digest, price, possible };
            book.plan(Timestamp(1), order, Caps { day: MicroUsd(9), month: MicroUsd(9) }).unwrap();
            let number = book.get(&job).unwrap().number;
            book.apply(&job, number, Event::Submitting).unwrap();
            book.apply(&job, number, Event::AnswerLost).unwrap();
        }
        let mut accept = |job: &str, number, id: &str| {
            book.apply(&job.into(), number, Event::Accepted { id: id.to_owned() }).map(|()| book.next(&job.into()))
        };
        assert_eq!(accept("a", 1, "x"), Ok(Next::Poll { id: "x".to_owned() }));
        assert_eq!(accept("b", 2, "x"), Err(Wrong::Taken));
        assert_eq!(accept("b", 2, "y"), Ok(Next::Poll { id: "y".to_owned() }));
    }
}
