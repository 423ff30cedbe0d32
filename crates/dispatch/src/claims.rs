//! Parked claims: requests for work that are held open, one a worker. It must not know why one is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tintype_types::worker::{Claim, ClaimAnswer};
use tintype_types::{BootId, Timestamp, WorkerId};
use tokio::sync::{Notify, oneshot};

use crate::answer::Refusal;

/// Claims held open at a time; as many workers as the scheduler knows.
pub(crate) const PARKED_MAX: usize = 10_000;
/// How much longer a claim is held when its assignment is being written as its wait ends.
const WRITE_GRACE: Duration = Duration::from_secs(5);

/// Where a claim's answer goes.
pub(crate) type ClaimReply = oneshot::Sender<Result<ClaimAnswer, Refusal>>;

/// One claim held open.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) claim: Claim,
    /// Tells this claim from an earlier one of the same worker.
    pub(crate) serial: u64,
    pub(crate) reply: ClaimReply,
    deadline: Timestamp,
    /// Whether an assignment to it is being written.
    promised: bool,
    /// Whether its wait was made longer for that.
    extended: bool,
}

impl Parked {
    pub(crate) fn new(claim: Claim, serial: u64, reply: ClaimReply, deadline: Timestamp) -> Self {
        Self { claim, serial, reply, deadline, promised: false, extended: false }
    }
}

/// All claims held open.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    parked: BTreeMap<WorkerId, Parked>,
    deadlines: BTreeSet<(Timestamp, WorkerId)>,
}

impl Claims {
    pub(crate) fn len(&self) -> usize {
        self.parked.len()
    }

    pub(crate) fn is_full_for(&self, worker: &WorkerId) -> bool {
        self.parked.len() >= PARKED_MAX && !self.parked.contains_key(worker)
    }

    /// Parks a claim. Answers the worker's earlier one, if it had one: it is replaced.
    pub(crate) fn park(&mut self, parked: Parked) -> Option<Parked> {
        let worker = parked.claim.worker.clone();
        let replaced = self.remove(&worker);
        self.deadlines.insert((parked.deadline, worker.clone()));
        self.parked.insert(worker, parked);
        replaced
    }

    /// An assignment to this claim is being written.
    pub(crate) fn promise(&mut self, worker: &WorkerId, boot_id: &BootId) {
        if let Some(parked) = self.parked.get_mut(worker).filter(|parked| parked.claim.boot_id == *boot_id) {
            parked.promised = true;
        }
    }

    /// Takes the claim of this start of the worker out.
    pub(crate) fn take(&mut self, worker: &WorkerId, boot_id: &BootId) -> Option<Parked> {
        self.parked.get(worker).filter(|parked| parked.claim.boot_id == *boot_id)?;
        self.remove(worker)
    }

    /// Takes this very claim out.
    pub(crate) fn take_serial(&mut self, worker: &WorkerId, serial: u64) -> Option<Parked> {
        self.parked.get(worker).filter(|parked| parked.serial == serial)?;
        self.remove(worker)
    }

    /// Takes out one claim whose wait is over. One whose assignment is being written is given a little longer, once.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Option<Parked> {
        while let Some((deadline, worker)) = self.deadlines.first().cloned()
            && deadline <= now
        {
            let extend = |parked: &mut Parked| {
                let again = parked.promised && !parked.extended;
                if again {
                    parked.deadline = deadline.plus(WRITE_GRACE);
                    parked.extended = true;
                }
                again.then_some(parked.deadline)
            };
            let Some(later) = self.parked.get_mut(&worker).and_then(extend) else { return self.remove(&worker) };
            self.deadlines.remove(&(deadline, worker.clone()));
            self.deadlines.insert((later, worker));
        }
        None
    }

    /// When the next wait is over.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Takes out all.
    pub(crate) fn drain(&mut self) -> Vec<Parked> {
        self.deadlines.clear();
        std::mem::take(&mut self.parked).into_values().collect()
    }

    fn remove(&mut self, worker: &WorkerId) -> Option<Parked> {
        let parked = self.parked.remove(worker)?;
        self.deadlines.remove(&(parked.deadline, worker.clone()));
        Some(parked)
    }
}

/// Claims whose callers went away. A handler that is dropped cannot wait for room in the queue, so it leaves a note
/// here; notes are fewer than open connections.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    notes: Mutex<Vec<(WorkerId, u64)>>,
    bell: Notify,
}

impl Gone {
    pub(crate) fn leave(&self, worker: WorkerId, serial: u64) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push((worker, serial));
        self.bell.notify_one();
    }

    /// Waits for at least one note. Dropping this loses none.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }

    pub(crate) fn collect(&self) -> Vec<(WorkerId, u64)> {
        std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_has_one_claim_and_the_newer_one_stays() {
        let mut claims = Claims::default();
        assert!(claims.park(parked("w", 1, 10)).is_none());
        assert_eq!(claims.park(parked("w", 2, 20)).unwrap().serial, 1);
        assert_eq!((claims.len(), claims.next_deadline()), (1, Some(Timestamp(20))));
        assert!(claims.take_serial(&"w".into(), 1).is_none());
        assert!(claims.take(&"w".into(), &"other boot".into()).is_none());
        assert_eq!(claims.take(&"w".into(), &"boot".into()).unwrap().serial, 2);
        assert_eq!((claims.len(), claims.next_deadline()), (0, None));
    }

    #[test]
    fn waits_end_in_order_and_a_write_under_way_buys_one_grace() {
        let mut claims = Claims::default();
        for (worker, serial, deadline) in [("late", 1, 30), ("early", 2, 10), ("promised", 3, 10)] {
            claims.park(parked(worker, serial, deadline));
        }
        claims.promise(&"promised".into(), &"boot".into());
        assert!(claims.take_due(Timestamp(9)).is_none());
        assert_eq!(claims.take_due(Timestamp(10)).unwrap().serial, 2);
        assert!(claims.take_due(Timestamp(10)).is_none());
        assert_eq!(claims.take_due(Timestamp(30)).unwrap().serial, 1);
        let after_grace = Timestamp(10).plus(WRITE_GRACE);
        assert_eq!(claims.next_deadline(), Some(after_grace));
        assert_eq!(claims.take_due(after_grace).unwrap().serial, 3);
    }

    fn parked(worker: &str, serial: u64, deadline: u64) -> Parked {
        let claim = Claim {
            worker: worker.into(),
            boot_id: "boot".into(),
            pool: "pool".into(),
            gpus: Vec::new(),
            resident_models: Vec::new(),
            residents: Vec::new(),
            loadable_models: Vec::new(),
            free_slots: 1,
            wait_ms: 0,
            warm_up: None,
            unwell: None,
        };
        Parked::new(claim, serial, oneshot::channel().0, Timestamp(deadline))
    }
}
