//! Queues: weight and quota by `namespace/name`.

use std::collections::BTreeMap;

use tintype_crds::{GenerationQueue, GenerationQueueSpec, GenerationQueueStatus};
use tintype_scheduler::{Observation, QueueSeen, Quota};
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
            after.insert(key.clone(), seen(key, namespace, &queue.spec));
        }
        let (changed, gone) = difference(&self.by_key, &after);
        self.by_key = after;
        let changed = changed.into_iter().map(Observation::Queue);
        changed.chain(gone.into_iter().map(Observation::QueueGone)).collect()
    }

    pub(super) fn seen(&self) -> Vec<QueueSeen> {
        self.by_key.values().cloned().collect()
    }

    /// Namespace, name, generation of the spec, and the status the object has.
    pub(super) fn statuses(&self) -> Vec<QueueStatus> {
        let status = |((namespace, name), queue): (&(String, String), &GenerationQueue)| QueueStatus {
            namespace: namespace.clone(),
            name: name.clone(),
            generation: queue.metadata.generation,
            status: queue.status.clone().unwrap_or_default(),
        };
        self.objects.0.iter().map(status).collect()
    }
}

/// A queue object's status, and what it is about.
#[derive(Clone, Debug)]
pub struct QueueStatus {
    /// The queue's namespace.
    pub namespace: String,
    /// The queue's name.
    pub name: String,
    /// Of its spec.
    pub generation: Option<i64>,
    /// What it says now.
    pub status: GenerationQueueStatus,
}

fn seen(key: QueueKey, namespace: &str, spec: &GenerationQueueSpec) -> QueueSeen {
    let quota = spec.quota.unwrap_or_default();
    QueueSeen {
        key,
        weight: spec.weight.max(1),
        running_max: quota.running,
        parent: spec.parent.as_ref().map(|parent| QueueKey(format!("{namespace}/{parent}"))),
        quota: Quota {
            borrow: quota.borrow,
            lend: quota.lend,
            vram_bytes: quota.vram_bytes,
            gpu_ms: quota.gpu_seconds.map(|seconds| seconds.saturating_mul(1_000)),
            window_ms: quota.window_seconds.map_or(0, |seconds| u64::from(seconds) * 1_000),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_of_the_same_namespace_and_times_are_told_in_milliseconds() {
        let spec: GenerationQueueSpec = serde_json::from_value(serde_json::json!({
            "parent": "team", "weight": 3,
            "quota": { "running": 4, "borrow": 2, "lend": 1, "vramBytes": 5, "gpuSeconds": 60, "windowSeconds": 3_600 }
        }))
        .unwrap();
        let told = seen("ns/q".into(), "ns", &spec);
        assert_eq!((told.parent, told.weight, told.running_max), (Some("ns/team".into()), 3, Some(4)));
        let quota =
            Quota { borrow: Some(2), lend: Some(1), vram_bytes: Some(5), gpu_ms: Some(60_000), window_ms: 3_600_000 };
        assert_eq!(told.quota, quota);
    }
}
