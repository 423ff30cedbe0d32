//! Pools: which models each wants resident.

use std::collections::BTreeMap;

use tintype_crds::{GpuPool, GpuPoolStatus};
use tintype_scheduler::{Observation, PoolSeen};
use tintype_types::PoolName;

use super::{Event, Plain, difference};

/// Every pool object that is for the Tintype of this namespace, and what the scheduler knows of it. Pools are of the whole
/// cluster, and two that each kept the workers of one pool would write its status in turn for ever.
#[derive(Debug, Default)]
pub(super) struct Pools {
    namespace: String,
    objects: Plain<GpuPool>,
    by_name: BTreeMap<PoolName, PoolSeen>,
}

impl Pools {
    pub(super) fn of(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..Self::default() }
    }

    pub(super) fn change(&mut self, event: Event<GpuPool>) -> Vec<Observation> {
        self.objects.change(event);
        self.objects.0.retain(|_, pool| pool.spec.namespace.as_ref().is_none_or(|named| *named == self.namespace));
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

#[cfg(test)]
mod tests {
    use tintype_crds::GpuPoolSpec;

    use super::*;

    fn pool(namespace: Option<&str>) -> GpuPool {
        let namespace = namespace.map(str::to_owned);
        GpuPool::new("l40s", GpuPoolSpec { namespace, ..GpuPoolSpec::default() })
    }

    #[test]
    fn a_pool_of_another_tintype_is_not_there() {
        let mut pools = Pools::of("here");
        let name = PoolName::from("l40s");
        let seen = PoolSeen { name: name.clone(), warm_models: Vec::new() };
        for (namespace, told) in [
            (None, vec![Observation::Pool(seen.clone())]),
            (Some("there"), vec![Observation::PoolGone(name.clone())]),
            (Some("here"), vec![Observation::Pool(seen)]),
        ] {
            assert_eq!(pools.change(Event::Apply(Box::new(pool(namespace)))), told, "{namespace:?}");
            assert_eq!(pools.objects().len(), usize::from(namespace != Some("there")));
        }
        assert_eq!(pools.change(Event::Replace(vec![pool(Some("there"))])), [Observation::PoolGone(name)]);
    }
}
