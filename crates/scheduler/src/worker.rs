//! Workers as their claims describe them, which models each holds, and the claims that are parked.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tintype_types::{BootId, PoolName, Timestamp, WorkerId};

use crate::line::Class;
use crate::observation::ClaimSeen;

/// Earlier starts of a worker that are remembered, so that a late claim of one ends nothing.
const OLD_BOOTS_MAX: usize = 4;

/// A worker heard of lately.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Worker {
    /// Its last claim.
    pub(crate) claim: ClaimSeen,
    /// Whether that claim is held open and unanswered.
    pub(crate) parked: bool,
    /// Models it holds or is loading, most recently used first: what it claimed and what it was given since.
    pub(crate) holds: Vec<String>,
    /// A model it was told to load ahead of any job, and when.
    pub(crate) warming: Option<(String, Timestamp)>,
    /// Most jobs it was known to have room for at once.
    pub(crate) slots: u32,
    /// When it was last heard of.
    pub(crate) seen_at: Timestamp,
    /// Boot ids it had before.
    pub(crate) old_boots: Vec<BootId>,
}

impl Worker {
    /// A worker heard of for the first time.
    pub(crate) fn new(claim: ClaimSeen, now: Timestamp) -> Self {
        Self { claim, parked: false, holds: Vec::new(), warming: None, slots: 0, seen_at: now, old_boots: Vec::new() }
    }

    /// Takes in a newer claim.
    pub(crate) fn update(&mut self, claim: ClaimSeen, now: Timestamp) {
        if claim.boot_id != self.claim.boot_id {
            self.slots = 0;
            self.warming = None;
            self.old_boots.insert(0, self.claim.boot_id.clone());
            self.old_boots.truncate(OLD_BOOTS_MAX);
        }
        self.claim = claim;
        self.seen_at = now;
    }

    /// Whether the class may run in its pool.
    pub(crate) fn in_pool(&self, class: &Class) -> bool {
        class.pool.as_ref().is_none_or(|pool| *pool == self.claim.pool)
    }

    /// Whether it can load the model. Naming none means any.
    pub(crate) fn can_load(&self, model: &str) -> bool {
        let claim = &self.claim;
        claim.loadable_models.is_empty()
            || claim.loadable_models.iter().chain(&claim.resident_models).any(|name| name == model)
    }

    /// Its GPUs' product name; nothing where it tells of none.
    pub(crate) fn kind(&self) -> Option<&str> {
        self.claim.gpus.first().map(|gpu| gpu.name.as_str())
    }
}

/// Who holds which model, by pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Holders {
    models: BTreeMap<String, BTreeMap<PoolName, BTreeSet<WorkerId>>>,
}

impl Holders {
    /// A worker holds these models.
    pub(crate) fn add(&mut self, worker: &WorkerId, pool: &PoolName, models: &[String]) {
        for model in models {
            let pools = self.models.entry(model.clone()).or_default();
            pools.entry(pool.clone()).or_default().insert(worker.clone());
        }
    }

    /// A worker holds these models no more.
    pub(crate) fn remove(&mut self, worker: &WorkerId, pool: &PoolName, models: &[String]) {
        for model in models {
            let Some(pools) = self.models.get_mut(model) else { continue };
            if let Some(workers) = pools.get_mut(pool) {
                workers.remove(worker);
                if workers.is_empty() {
                    pools.remove(pool);
                }
            }
            if pools.is_empty() {
                self.models.remove(model);
            }
        }
    }

    /// Who holds the model, in a pool or in any.
    pub(crate) fn of<'a>(&'a self, model: &str, pool: Option<&'a PoolName>) -> impl Iterator<Item = &'a WorkerId> {
        let pools = self.models.get(model).into_iter().flatten();
        pools.filter(move |(name, _)| pool.is_none_or(|pool| pool == *name)).flat_map(|(_, workers)| workers)
    }

    /// How many hold the model, in a pool or in any.
    pub(crate) fn count(&self, model: &str, pool: Option<&PoolName>) -> usize {
        let Some(pools) = self.models.get(model) else { return 0 };
        match pool {
            Some(pool) => pools.get(pool).map_or(0, BTreeSet::len),
            None => pools.values().map(BTreeSet::len).sum(),
        }
    }
}

/// How many workers can load which model, by pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Loaders {
    /// `None` is any model.
    pools: BTreeMap<PoolName, BTreeMap<Option<String>, u32>>,
}

impl Loaders {
    /// A worker that claims like this is there.
    pub(crate) fn add(&mut self, claim: &ClaimSeen) {
        let pool = self.pools.entry(claim.pool.clone()).or_default();
        for model in loadable(claim) {
            *pool.entry(model).or_default() += 1;
        }
    }

    /// It is there no more.
    pub(crate) fn remove(&mut self, claim: &ClaimSeen) {
        let Some(pool) = self.pools.get_mut(&claim.pool) else { return };
        for model in loadable(claim) {
            if let Some(count) = pool.get_mut(&model) {
                *count -= 1;
            }
        }
        pool.retain(|_, count| *count > 0);
        self.pools.retain(|_, models| !models.is_empty());
    }

    /// Whether a worker of a pool, or of any, can load the model.
    pub(crate) fn can(&self, pool: Option<&PoolName>, model: &str) -> bool {
        let mut pools = self.pools.iter().filter(|(name, _)| pool.is_none_or(|pool| pool == *name));
        pools.any(|(_, models)| models.contains_key(&None) || models.contains_key(&Some(model.to_owned())))
    }
}

fn loadable(claim: &ClaimSeen) -> BTreeSet<Option<String>> {
    if claim.loadable_models.is_empty() {
        return BTreeSet::from([None]);
    }
    claim.loadable_models.iter().chain(&claim.resident_models).cloned().map(Some).collect()
}

/// Parked claims with room, by pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Parked {
    pools: BTreeMap<PoolName, PoolParked>,
    len: usize,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct PoolParked {
    workers: BTreeSet<WorkerId>,
    /// By model resident.
    warm: BTreeMap<String, BTreeSet<WorkerId>>,
}

impl Parked {
    /// How many claims are parked.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds the claim of a worker that has none here. One without room waits for nothing.
    pub(crate) fn add(&mut self, claim: &ClaimSeen) {
        if claim.free_slots == 0 {
            return;
        }
        self.len += 1;
        let pool = self.pools.entry(claim.pool.clone()).or_default();
        pool.workers.insert(claim.worker.clone());
        for model in &claim.resident_models {
            pool.warm.entry(model.clone()).or_default().insert(claim.worker.clone());
        }
    }

    /// Removes what [`Parked::add`] added for the same claim.
    pub(crate) fn remove(&mut self, claim: &ClaimSeen) {
        let Some(pool) = self.pools.get_mut(&claim.pool) else { return };
        if !pool.workers.remove(&claim.worker) {
            return;
        }
        self.len -= 1;
        for model in &claim.resident_models {
            if let Some(workers) = pool.warm.get_mut(model) {
                workers.remove(&claim.worker);
                if workers.is_empty() {
                    pool.warm.remove(model);
                }
            }
        }
        if pool.workers.is_empty() {
            self.pools.remove(&claim.pool);
        }
    }

    /// Parked workers that have the class's model resident.
    pub(crate) fn warm<'a>(&'a self, class: &'a Class) -> impl Iterator<Item = &'a WorkerId> {
        self.pools_of(class.pool.as_ref()).filter_map(|pool| pool.warm.get(&class.model)).flatten()
    }

    /// Parked workers of a pool, or of any.
    pub(crate) fn workers<'a>(&'a self, pool: Option<&'a PoolName>) -> impl Iterator<Item = &'a WorkerId> {
        self.pools_of(pool).flat_map(|pool| &pool.workers)
    }

    /// Pools with parked claims, and the models resident at those.
    pub(crate) fn resident(&self) -> impl Iterator<Item = (&PoolName, &String)> {
        self.pools.iter().flat_map(|(name, pool)| pool.warm.keys().map(move |model| (name, model)))
    }

    fn pools_of<'a>(&'a self, name: Option<&'a PoolName>) -> impl Iterator<Item = &'a PoolParked> {
        self.pools.iter().filter(move |(pool, _)| name.is_none_or(|name| name == *pool)).map(|(_, parked)| parked)
    }
}
