//! Workers as their claims describe them, which models each holds, and the claims that are parked.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use tintype_types::worker::{Gpu, Unwell, WarmUpStanding};
use tintype_types::{BootId, Timestamp};

use crate::line::Class;
use crate::names::{Name, Names, Tag};
use crate::observation::ClaimSeen;

/// Earlier starts of a worker that are remembered, so that a late claim of one ends nothing.
const OLD_BOOTS_MAX: usize = 4;

/// A worker heard of lately.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    /// Its name, with its place among others.
    pub(crate) tag: Tag,
    /// Its last claim.
    pub(crate) claim: Claim,
    /// Whether that claim is held open and unanswered.
    pub(crate) parked: bool,
    /// Models it holds or is loading, most recently used first: what it claimed and what it was given since.
    pub(crate) holds: Vec<Name>,
    /// A model it was told to load ahead of any job, and when.
    pub(crate) warming: Option<(Name, Timestamp)>,
    /// Most jobs it was known to have room for at once.
    pub(crate) slots: u32,
    /// Since when it runs nothing.
    pub(crate) idle_since: Option<Timestamp>,
    /// When it was last heard of.
    pub(crate) seen_at: Timestamp,
    /// Boot ids it had before.
    pub(crate) old_boots: Vec<BootId>,
}

/// A [`ClaimSeen`] with names for texts.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) boot_id: BootId,
    pub(crate) pool: Name,
    pub(crate) gpus: Vec<Gpu>,
    /// Its GPUs' product; nothing where it tells of none.
    pub(crate) kind: Option<Name>,
    pub(crate) resident: Vec<Name>,
    /// Models it can load; empty is any.
    pub(crate) loadable: Vec<Name>,
    pub(crate) free_slots: u32,
    /// Whether it can be told to load a model ahead of any job.
    pub(crate) takes_warm_ups: bool,
    /// Why it takes no work.
    pub(crate) unwell: Option<Box<Unwell>>,
}

impl Claim {
    /// What a worker claims, its names kept.
    pub(crate) fn of(seen: ClaimSeen, names: &mut Names) -> Self {
        let ClaimSeen { worker: _, boot_id, pool, gpus, resident_models, loadable_models, free_slots, warm_up, unwell } =
            seen;
        Self {
            boot_id,
            pool: names.name(pool.as_str()),
            kind: gpus.first().map(|gpu| names.name(&gpu.name)),
            gpus,
            resident: resident_models.iter().map(|model| names.name(model)).collect(),
            loadable: loadable_models.iter().map(|model| names.name(model)).collect(),
            free_slots: if unwell.is_some() { 0 } else { free_slots },
            takes_warm_ups: warm_up.is_some(),
            unwell: unwell.map(Box::new),
        }
    }

    /// The claim as it was told.
    pub(crate) fn seen(&self, worker: Name, names: &Names) -> ClaimSeen {
        let texts = |models: &[Name]| models.iter().map(|model| names.text(*model).to_owned()).collect();
        ClaimSeen {
            worker: names.text(worker).into(),
            boot_id: self.boot_id.clone(),
            pool: names.text(self.pool).into(),
            gpus: self.gpus.clone(),
            resident_models: texts(&self.resident),
            loadable_models: texts(&self.loadable),
            free_slots: self.free_slots,
            warm_up: self.takes_warm_ups.then_some(WarmUpStanding::Ready),
            unwell: self.unwell.as_deref().cloned(),
        }
    }

    /// Whether a worker that claims like this can load what one that claims like the other can.
    pub(crate) fn loads_like(&self, other: &Self) -> bool {
        let same = self.pool == other.pool && self.loadable == other.loadable;
        same && (self.loadable.is_empty() || self.resident == other.resident)
    }

    /// What it says it can load, each once; `None` is any model.
    fn loadable(&self) -> BTreeSet<Option<Name>> {
        if self.loadable.is_empty() {
            return BTreeSet::from([None]);
        }
        self.loadable.iter().chain(&self.resident).copied().map(Some).collect()
    }
}

impl Worker {
    /// A worker heard of for the first time.
    pub(crate) fn new(tag: Tag, claim: Claim, now: Timestamp) -> Self {
        Self {
            tag,
            claim,
            parked: false,
            holds: Vec::new(),
            warming: None,
            slots: 0,
            idle_since: None,
            seen_at: now,
            old_boots: Vec::new(),
        }
    }

    /// Takes in a newer claim.
    pub(crate) fn update(&mut self, claim: Claim, now: Timestamp) {
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
    pub(crate) fn in_pool(&self, class: Class) -> bool {
        class.pool.is_none_or(|pool| pool == self.claim.pool)
    }

    /// Whether it can load the model. Naming none means any.
    pub(crate) fn can_load(&self, model: Name) -> bool {
        let claim = &self.claim;
        claim.loadable.is_empty() || claim.loadable.contains(&model) || claim.resident.contains(&model)
    }
}

/// Workers by model and pool; none is kept empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ByModel(BTreeMap<(Name, Name), BTreeSet<Tag>>);

impl ByModel {
    /// A worker of a pool has these models.
    pub(crate) fn add(&mut self, worker: Tag, pool: Name, models: &[Name]) {
        for model in models {
            self.0.entry((*model, pool)).or_default().insert(worker);
        }
    }

    /// A worker of a pool has these models no more.
    pub(crate) fn remove(&mut self, worker: Tag, pool: Name, models: &[Name]) {
        for model in models {
            if let Entry::Occupied(mut workers) = self.0.entry((*model, pool)) {
                workers.get_mut().remove(&worker);
                if workers.get().is_empty() {
                    workers.remove();
                }
            }
        }
    }

    /// Who has the model, in a pool or in any.
    pub(crate) fn of(&self, model: Name, pool: Option<Name>) -> impl Iterator<Item = Tag> {
        self.pools(model, pool).flatten().copied()
    }

    /// How many have the model, in a pool or in any.
    pub(crate) fn count(&self, model: Name, pool: Option<Name>) -> usize {
        self.pools(model, pool).map(BTreeSet::len).sum()
    }

    /// Models somebody has, with the pools where.
    pub(crate) fn pairs(&self) -> impl ExactSizeIterator<Item = (Name, Name)> {
        self.0.keys().copied()
    }

    fn pools(&self, model: Name, pool: Option<Name>) -> impl Iterator<Item = &BTreeSet<Tag>> {
        let (first, last) = (pool.unwrap_or(Name::FIRST), pool.unwrap_or(Name::LAST));
        self.0.range((model, first)..=(model, last)).map(|(_, workers)| workers)
    }
}

/// How many workers can load which model, by pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Loaders {
    /// `None` is any model.
    counts: BTreeMap<(Option<Name>, Name), u32>,
    pools: BTreeMap<Name, u32>,
}

impl Loaders {
    /// A worker that claims like this is there.
    pub(crate) fn add(&mut self, claim: &Claim) {
        *self.pools.entry(claim.pool).or_default() += 1;
        for model in claim.loadable() {
            *self.counts.entry((model, claim.pool)).or_default() += 1;
        }
    }

    /// It is there no more.
    pub(crate) fn remove(&mut self, claim: &Claim) {
        count_down(&mut self.pools, claim.pool);
        for model in claim.loadable() {
            count_down(&mut self.counts, (model, claim.pool));
        }
    }

    /// Whether a worker of a pool, or of any, is there.
    pub(crate) fn any(&self, pool: Option<Name>) -> bool {
        pool.map_or(!self.pools.is_empty(), |pool| self.pools.contains_key(&pool))
    }

    /// Whether a worker of a pool, or of any, can load the model.
    pub(crate) fn can(&self, pool: Option<Name>, model: Name) -> bool {
        let (first, last) = (pool.unwrap_or(Name::FIRST), pool.unwrap_or(Name::LAST));
        let has = |model| self.counts.range((model, first)..=(model, last)).next().is_some();
        has(None) || has(Some(model))
    }
}

/// Counts one less, keeping no zero.
fn count_down<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

/// Parked claims with room, by pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Parked {
    workers: BTreeSet<(Name, Tag)>,
    /// By model resident.
    warm: ByModel,
}

impl Parked {
    /// How many claims are parked.
    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Adds the claim of a worker that has none here. One without room waits for nothing.
    pub(crate) fn add(&mut self, worker: Tag, claim: &Claim) {
        if claim.free_slots > 0 && self.workers.insert((claim.pool, worker)) {
            self.warm.add(worker, claim.pool, &claim.resident);
        }
    }

    /// Removes what [`Parked::add`] added for the same claim.
    pub(crate) fn remove(&mut self, worker: Tag, claim: &Claim) {
        if self.workers.remove(&(claim.pool, worker)) {
            self.warm.remove(worker, claim.pool, &claim.resident);
        }
    }

    /// Parked workers that have the class's model resident.
    pub(crate) fn warm(&self, class: Class) -> impl Iterator<Item = Tag> {
        self.warm.of(class.model, class.pool)
    }

    /// Whether there is one.
    pub(crate) fn has_warm(&self, class: Class) -> bool {
        self.warm.of(class.model, class.pool).next().is_some()
    }

    /// Parked workers of a pool, or of any.
    pub(crate) fn workers(&self, pool: Option<Name>) -> impl Iterator<Item = Tag> {
        let (first, last) = (pool.unwrap_or(Name::FIRST), pool.unwrap_or(Name::LAST));
        self.workers.range((first, Tag::FIRST)..=(last, Tag::LAST)).map(|(_, worker)| *worker)
    }

    /// Models resident at parked workers, with the pools where.
    pub(crate) fn resident(&self) -> impl ExactSizeIterator<Item = (Name, Name)> {
        self.warm.pairs()
    }
}
