//! Queues: weight and quota by `namespace/name`.

use std::collections::BTreeMap;

use tintype_crds::GenerationQueue;
use tintype_scheduler::{Observation, QueueSeen};
use tintype_types::QueueKey;

use super::{Event, Plain, difference};

/// Every queue object, and what the scheduler knows of it.
#[derive(Debug, Default)]
pub(super) struct Queues {
    objects: Plain<GenerationQueue>,
    by_key: BTreeMap<QueueKey, QueueSeen>,
}

impl Queues {
    pub(super) fn change(&mut self, event: Event<GenerationQueue>) -> Vec<Observation> {
        self.objects.change(event);
        let mut after = BTreeMap::new();
        for ((namespace, name), queue) in &self.objects.0 {
            let key = QueueKey(format!("{namespace}/{name}"));
            let running_max = queue.spec.quota.and_then(|quota| quota.running);
            after.insert(key.clone(), QueueSeen { key, weight: queue.spec.weight.max(1), running_max });
        }
        let (changed, gone) = difference(&self.by_key, &after);
        self.by_key = after;
        let changed = changed.into_iter().map(Observation::Queue);
        changed.chain(gone.into_iter().map(Observation::QueueGone)).collect()
    }

    pub(super) fn seen(&self) -> Vec<QueueSeen> {
        self.by_key.values().cloned().collect()
    }
}
