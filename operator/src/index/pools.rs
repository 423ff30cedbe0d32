//! Pools: which models each wants resident.

use std::collections::BTreeMap;

use tintype_crds::{GpuPool, GpuPoolStatus};
use tintype_scheduler::{Observation, PoolSeen};
use tintype_types::PoolName;

use super::{Event, Plain, difference};

/// Every pool object, and what the scheduler knows of it.
#[derive(Debug, Default)]
pub(super) struct Pools {
    objects: Plain<GpuPool>,
    by_name: BTreeMap<PoolName, PoolSeen>,
}

impl Pools {
    pub(super) fn change(&mut self, event: Event<GpuPool>) -> Vec<Observation> {
        self.objects.change(event);
        let mut after = BTreeMap::new();
        for ((_, name), pool) in &self.objects.0 {
            let name = PoolName::from(name.as_str());
            after.insert(name.clone(), PoolSeen { name, warm_models: pool.spec.warm_models.clone() });
        }
        let (changed, gone) = difference(&self.by_name, &after);
        self.by_name = after;
        let changed = changed.into_iter().map(Observation::Pool);
        changed.chain(gone.into_iter().map(Observation::PoolGone)).collect()
    }

    pub(super) fn seen(&self) -> Vec<PoolSeen> {
        self.by_name.values().cloned().collect()
    }

    pub(super) fn objects(&self) -> Vec<GpuPool> {
        self.objects.0.values().cloned().collect()
    }

    /// Name, generation of the spec, and the status the object has.
    pub(super) fn statuses(&self) -> Vec<(String, Option<i64>, GpuPoolStatus)> {
        self.objects
            .0
            .iter()
            .map(|((_, name), pool)| (name.clone(), pool.metadata.generation, pool.status.clone().unwrap_or_default()))
            .collect()
    }
}
