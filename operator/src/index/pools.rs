//! Pools: which models each wants resident, and whose budget is used up.

use std::collections::BTreeMap;

use tintype_crds::{GpuPool, GpuPoolStatus, SpendWindow};
use tintype_scheduler::{BudgetWindow, Observation, PoolSeen};
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
            let (warm_models, used_up) = (pool.spec.warm_models.clone(), used_up(pool));
            after.insert(name.clone(), PoolSeen { name, warm_models, used_up });
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

/// The budget of the pool's provider that allows nothing more, as its adapter says.
fn used_up(pool: &GpuPool) -> Option<BudgetWindow> {
    // What a provider's pool said is nothing to one whose workers are its own.
    pool.spec.provider.as_ref()?;
    match pool.status.as_ref()?.provider?.used_up? {
        SpendWindow::Day => Some(BudgetWindow::Day),
        SpendWindow::Month => Some(BudgetWindow::Month),
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
        let seen = PoolSeen { name: name.clone(), warm_models: Vec::new(), used_up: None };
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

    #[test]
    fn a_budget_that_is_used_up_is_told_and_taken_back() {
        let mut pools = Pools::of("here");
        let with = |used_up: serde_json::Value| -> GpuPool {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "tintype.dev/v1alpha1", "kind": "GpuPool", "metadata": { "name": "burst" },
                "spec": { "provider": {
                    "kind": "replicate", "baseUrl": "https://x.test", "budget": { "dayMicroUsd": 1, "monthMicroUsd": 1 }, "models": [],
                }},
                "status": { "provider": {
                    "day": { "spentMicroUsd": 1, "reservedMicroUsd": 0, "capMicroUsd": 1 },
                    "month": { "spentMicroUsd": 1, "reservedMicroUsd": 0, "capMicroUsd": 1 }, "usedUp": used_up,
                }},
            }))
            .unwrap()
        };
        for (said, told) in [
            ("day".into(), Some(BudgetWindow::Day)),
            ("month".into(), Some(BudgetWindow::Month)),
            (serde_json::Value::Null, None),
        ] {
            let seen = PoolSeen { name: "burst".into(), warm_models: Vec::new(), used_up: told };
            assert_eq!(pools.change(Event::Apply(Box::new(with(said)))), [Observation::Pool(seen)]);
        }
    }
}
