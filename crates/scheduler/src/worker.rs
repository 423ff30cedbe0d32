//! Workers as their claims describe them, and which parked claim a job goes to.

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
        Self { claim, parked: false, slots: 0, seen_at: now, old_boots: Vec::new() }
    }

    /// Takes in a newer claim.
    pub(crate) fn update(&mut self, claim: ClaimSeen, now: Timestamp) {
        if claim.boot_id != self.claim.boot_id {
            self.slots = 0;
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
}

/// Parked claims, indexed by what they are best at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Parked {
    pools: BTreeMap<PoolName, PoolParked>,
    len: usize,
}

/// Orders claims: the lower goes first, then the worker's name.
type Scored = BTreeSet<(u32, WorkerId)>;

#[derive(Clone, Debug, Default, PartialEq)]
struct PoolParked {
    /// By model resident: how long ago it was used (0 is last).
    warm: BTreeMap<String, Scored>,
    /// By model that could be loaded: how many models are resident and may have to go.
    cold: BTreeMap<String, Scored>,
    /// The same for workers that can load any.
    cold_any: Scored,
}

impl Parked {
    /// How many claims are parked.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds the claim of a worker that has none here.
    pub(crate) fn add(&mut self, claim: &ClaimSeen) {
        self.len += 1;
        let pool = self.pools.entry(claim.pool.clone()).or_default();
        each_score(claim, |model, warm, score| {
            let set = match (model, warm) {
                (Some(model), true) => pool.warm.entry(model.to_owned()).or_default(),
                (Some(model), false) => pool.cold.entry(model.to_owned()).or_default(),
                (None, _) => &mut pool.cold_any,
            };
            set.insert((score, claim.worker.clone()));
        });
    }

    /// Removes what [`Parked::add`] added for the same claim.
    pub(crate) fn remove(&mut self, claim: &ClaimSeen) {
        self.len -= 1;
        let Some(pool) = self.pools.get_mut(&claim.pool) else { return };
        each_score(claim, |model, warm, score| {
            let entry = (score, claim.worker.clone());
            let Some(model) = model else {
                pool.cold_any.remove(&entry);
                return;
            };
            let sets = if warm { &mut pool.warm } else { &mut pool.cold };
            if let Some(set) = sets.get_mut(model) {
                set.remove(&entry);
                if set.is_empty() {
                    sets.remove(model);
                }
            }
        });
        if *pool == PoolParked::default() {
            self.pools.remove(&claim.pool);
        }
    }

    /// The claim a job of this class goes to: the model resident and used last; else the fewest models resident, as
    /// loading there evicts least; then the name.
    pub(crate) fn pick(&self, class: &Class) -> Option<WorkerId> {
        let pools = || {
            let one = class.pool.as_ref().map(|name| self.pools.get(name).into_iter());
            let all = class.pool.is_none().then(|| self.pools.values());
            one.into_iter().flatten().chain(all.into_iter().flatten())
        };
        let warm = pools().filter_map(|pool| pool.warm.get(&class.model)?.first()).min();
        let cold = || {
            pools()
                .flat_map(|pool| [pool.cold.get(&class.model).and_then(BTreeSet::first), pool.cold_any.first()])
                .flatten()
                .min()
        };
        warm.or_else(cold).map(|(_, worker)| worker.clone())
    }
}

/// Calls `put` for every set a claim belongs in: (model or any, resident, score).
fn each_score(claim: &ClaimSeen, mut put: impl FnMut(Option<&str>, bool, u32)) {
    if claim.free_slots == 0 {
        return;
    }
    for (age, model) in claim.resident_models.iter().enumerate().rev() {
        let repeated = claim.resident_models[..age].contains(model);
        if !repeated {
            put(Some(model), true, u32::try_from(age).unwrap_or(u32::MAX));
        }
    }
    let residents = u32::try_from(claim.resident_models.len()).unwrap_or(u32::MAX);
    if claim.loadable_models.is_empty() {
        put(None, false, residents);
    }
    for model in &claim.loadable_models {
        put(Some(model), false, residents);
    }
}
