//! Workers as they were last heard of, for people and reports. Nothing is decided by this.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tintype_types::worker::{Claim, Gpu, Renew, Unwell};
use tintype_types::{BootId, PoolName, Timestamp, WorkerId};

/// Workers remembered; more are not shown.
const WORKERS_MAX: usize = 10_000;
/// How long a silent worker is shown.
const SILENCE_MAX: Duration = Duration::from_mins(10);

/// A worker as it was last heard of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSeen {
    /// Its name.
    pub worker: WorkerId,
    /// Which start of it.
    pub boot_id: BootId,
    /// Its pool.
    pub pool: PoolName,
    /// Its GPUs, as its probe last read them.
    pub gpus: Vec<Gpu>,
    /// Models in memory at its last claim, most recently used first.
    pub resident_models: Vec<String>,
    /// Models it said it can load, in memory or not; of one that takes any, none. Workers of a pool have one list between them,
    /// mostly, and readers elsewhere are not sent it.
    #[serde(skip)]
    pub loadable_models: Arc<[String]>,
    /// Jobs it could take at its last claim.
    pub free_slots: u32,
    /// Why it takes no work, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwell: Option<Unwell>,
    /// When it last claimed or renewed.
    pub last_heard: Timestamp,
}

#[derive(Debug, Default)]
pub(crate) struct Workers {
    seen: BTreeMap<WorkerId, WorkerSeen>,
    /// What a worker of each pool last said it can load.
    loadable: BTreeMap<PoolName, Arc<[String]>>,
}

impl Workers {
    pub(crate) fn claimed(&mut self, claim: &Claim, now: Timestamp) {
        if self.seen.len() >= WORKERS_MAX && !self.seen.contains_key(&claim.worker) {
            self.forget_silent(now);
            if self.seen.len() >= WORKERS_MAX {
                return;
            }
        }
        let seen = WorkerSeen {
            worker: claim.worker.clone(),
            boot_id: claim.boot_id.clone(),
            pool: claim.pool.clone(),
            gpus: claim.gpus.clone(),
            resident_models: claim.resident_models.clone(),
            loadable_models: self.loadable(claim),
            free_slots: claim.free_slots,
            unwell: claim.unwell.clone(),
            last_heard: now,
        };
        self.seen.insert(claim.worker.clone(), seen);
    }

    /// What it can load, shared with whoever of its pool said the same last, and with itself.
    fn loadable(&mut self, claim: &Claim) -> Arc<[String]> {
        let own = self.seen.get(&claim.worker).map(|seen| &seen.loadable_models);
        let known = self.loadable.get(&claim.pool).into_iter().chain(own);
        if let Some(same) = known.into_iter().find(|list| ***list == *claim.loadable_models) {
            return Arc::clone(same);
        }
        let list: Arc<[String]> = claim.loadable_models.clone().into();
        self.loadable.insert(claim.pool.clone(), Arc::clone(&list));
        list
    }

    /// A renewal counts only where the claim is known: it does not say which pool the worker is in.
    pub(crate) fn renewed(&mut self, renew: &Renew, now: Timestamp) {
        if let Some(seen) = self.seen.get_mut(&renew.worker).filter(|seen| seen.boot_id == renew.boot_id) {
            seen.last_heard = now;
            if !renew.gpus.is_empty() {
                seen.gpus.clone_from(&renew.gpus);
            }
        }
    }

    pub(crate) fn list(&mut self, now: Timestamp) -> Vec<WorkerSeen> {
        self.forget_silent(now);
        self.seen.values().cloned().collect()
    }

    fn forget_silent(&mut self, now: Timestamp) {
        self.seen.retain(|_, seen| now.since(seen.last_heard) <= SILENCE_MAX);
        self.loadable.retain(|pool, _| self.seen.values().any(|seen| seen.pool == *pool));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_shown_while_it_is_heard_of() {
        let mut workers = Workers::default();
        let claim = Claim {
            worker: "w".into(),
            boot_id: "b".into(),
            pool: "p".into(),
            gpus: Vec::new(),
            resident_models: vec!["m".to_owned()],
            residents: Vec::new(),
            loadable_models: vec!["m".to_owned(), "n".to_owned()],
            free_slots: 1,
            wait_ms: 0,
            warm_up: None,
            unwell: None,
        };
        workers.claimed(&claim, Timestamp(0));
        let minute = |n: u64| Timestamp(n * 60_000);
        let gpus = vec![Gpu { uuid: "g".to_owned(), ..Gpu::default() }];
        let renew = Renew { worker: "w".into(), boot_id: "b".into(), step: 1, steps: 2, gpus, previews: Vec::new() };
        workers.renewed(&renew, minute(5));
        workers.renewed(&Renew { boot_id: "other".into(), ..renew }, minute(6));
        let list = workers.list(minute(15));
        assert_eq!((list.len(), list[0].last_heard, list[0].gpus.len()), (1, minute(5), 1));
        workers.claimed(&Claim { worker: "w-2".into(), ..claim }, minute(15));
        let list = workers.list(minute(15));
        assert!(
            *list[0].loadable_models == ["m", "n"] && Arc::ptr_eq(&list[0].loadable_models, &list[1].loadable_models)
        );
        assert_eq!(workers.list(minute(16)).len(), 1);
        assert!(workers.list(minute(26)).is_empty() && workers.loadable.is_empty());
    }
}
