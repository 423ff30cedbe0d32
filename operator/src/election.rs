//! Who leads: the decisions of leader election, given what the lease object says and how much time went by.
//!
//! Time is a `Duration` since this program began, never the wall clock: what another host's clock says is not believed.
//! A candidate measures how long the lease has not changed *as seen from here*. It must not know a client.

use std::time::Duration;

/// How long a term lasts without renewal, and how often it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How long others wait after the last renewal they saw.
    pub duration: Duration,
    /// How long a leader goes on without a successful renewal. Well under `duration`, so that it has stopped before
    /// anybody else begins.
    pub renew_deadline: Duration,
    /// How often the lease is read or renewed.
    pub retry: Duration,
}

impl Default for Timings {
    /// What Kubernetes' own controllers use.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// The lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSeen {
    /// Who holds it; empty when it was given back.
    pub holder: String,
    /// How often it changed hands: the term's number.
    pub transitions: u64,
    /// How long its holder says it lasts.
    pub duration: Duration,
    /// Changes with every write.
    pub resource_version: String,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Somebody else leads; look again later.
    Wait,
    /// Nobody leads: write the lease with this term, or create it if there is none.
    Take {
        /// The number of the new term.
        epoch: u64,
    },
    /// Renew the term.
    Renew {
        /// Its number.
        epoch: u64,
    },
    /// The term is over; stop everything.
    Lost,
}

/// One candidate.
#[derive(Clone, Debug)]
pub struct Election {
    identity: String,
    timings: Timings,
    /// The lease as last read, and when it was first read like that.
    seen: Option<(LeaseSeen, Duration)>,
    /// The term this candidate leads, and when it last renewed it.
    term: Option<(u64, Duration)>,
}

impl Election {
    /// A candidate that has seen nothing yet.
    pub fn new(identity: impl Into<String>, timings: Timings) -> Self {
        Self { identity: identity.into(), timings, seen: None, term: None }
    }

    /// What to do, given the lease as just read. `floor` is the highest term any job was written in.
    pub fn read(&mut self, lease: Option<LeaseSeen>, floor: u64, now: Duration) -> Step {
        if let Some((epoch, renewed)) = self.term {
            let mine = lease.as_ref().is_some_and(|lease| lease.holder == self.identity && lease.transitions == epoch);
            return if mine && self.within_deadline(renewed, now) { Step::Renew { epoch } } else { self.lose() };
        }
        let Some(lease) = lease else {
            self.seen = None;
            return Step::Take { epoch: floor + 1 };
        };
        let first_seen = match self.seen.take() {
            Some((before, at)) if before == lease => at,
            Some(_) | None => now,
        };
        let over = lease.holder.is_empty() || now.saturating_sub(first_seen) >= lease.duration;
        let epoch = lease.transitions.max(floor) + 1;
        self.seen = Some((lease, first_seen));
        if over { Step::Take { epoch } } else { Step::Wait }
    }

    /// The lease was written at `sent` (the moment before the call): the term is ours, or goes on.
    pub fn written(&mut self, epoch: u64, sent: Duration) {
        self.term = Some((epoch, sent));
    }

    /// The lease could not be read or written. Says whether the term is over for it.
    pub fn failed(&mut self, now: Duration) -> Step {
        match self.term {
            Some((epoch, renewed)) if self.within_deadline(renewed, now) => Step::Renew { epoch },
            Some(_) => self.lose(),
            None => Step::Wait,
        }
    }

    /// Until when this candidate may act as the leader; `None` if it is not.
    pub fn leads_until(&self) -> Option<Duration> {
        self.term.map(|(_, renewed)| renewed + self.timings.renew_deadline)
    }

    /// Who holds the lease, as last read.
    pub fn holder(&self) -> Option<&str> {
        self.seen.as_ref().map(|(lease, _)| lease.holder.as_str()).filter(|holder| !holder.is_empty())
    }

    fn within_deadline(&self, renewed: Duration, now: Duration) -> bool {
        now.saturating_sub(renewed) < self.timings.renew_deadline
    }

    fn lose(&mut self) -> Step {
        self.term = None;
        Step::Lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, transitions: u64, version: u32) -> LeaseSeen {
        let duration = Timings::default().duration;
        LeaseSeen { holder: holder.to_owned(), transitions, duration, resource_version: version.to_string() }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_candidate_takes_term_one() {
        let mut me = Election::new("me", Timings::default());
        assert_eq!(me.read(None, 0, secs(0)), Step::Take { epoch: 1 });
        me.written(1, secs(0));
        assert_eq!(me.read(Some(lease("me", 1, 1)), 0, secs(2)), Step::Renew { epoch: 1 });
    }

    #[test]
    fn a_live_leader_is_waited_for_and_a_silent_one_is_replaced() {
        let mut me = Election::new("me", Timings::default());
        assert_eq!(me.read(Some(lease("other", 4, 1)), 0, secs(0)), Step::Wait);
        assert_eq!(me.read(Some(lease("other", 4, 2)), 0, secs(14)), Step::Wait, "it was renewed meanwhile");
        assert_eq!(me.read(Some(lease("other", 4, 2)), 0, secs(28)), Step::Wait);
        assert_eq!(me.read(Some(lease("other", 4, 2)), 0, secs(29)), Step::Take { epoch: 5 });
    }

    #[test]
    fn a_lease_given_back_is_taken_at_once() {
        let mut me = Election::new("me", Timings::default());
        assert_eq!(me.read(Some(lease("", 4, 1)), 0, secs(0)), Step::Take { epoch: 5 });
    }

    #[test]
    fn a_deleted_lease_does_not_bring_old_terms_back() {
        let mut me = Election::new("me", Timings::default());
        assert_eq!(me.read(None, 41, secs(0)), Step::Take { epoch: 42 });
        assert_eq!(me.read(Some(lease("", 3, 1)), 41, secs(0)), Step::Take { epoch: 42 });
    }

    #[test]
    fn a_leader_stops_before_anybody_else_may_begin() {
        let mut me = Election::new("me", Timings::default());
        me.written(1, secs(0));
        assert_eq!(me.failed(secs(9)), Step::Renew { epoch: 1 });
        assert_eq!(me.leads_until(), Some(secs(10)));
        assert_eq!(me.failed(secs(10)), Step::Lost);
        assert_eq!(me.leads_until(), None);
        assert!(Timings::default().renew_deadline < Timings::default().duration);
    }

    #[test]
    fn a_leader_that_slept_past_its_deadline_has_lost_even_if_the_lease_still_names_it() {
        let mut me = Election::new("me", Timings::default());
        me.written(1, secs(0));
        assert_eq!(me.read(Some(lease("me", 1, 1)), 0, secs(60)), Step::Lost);
    }

    #[test]
    fn a_lease_in_other_hands_ends_the_term() {
        let mut me = Election::new("me", Timings::default());
        me.written(1, secs(0));
        assert_eq!(me.read(Some(lease("other", 2, 9)), 0, secs(1)), Step::Lost);
    }
}
