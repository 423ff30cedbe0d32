//! Models whose files nobody fetches: which pools' workers have them. Pure: what was known and what workers say in, pools and a
//! condition out.
//!
//! A pool that has no workers now keeps its word: what was scaled to nothing has its models still when there is work.

use std::collections::{BTreeMap, BTreeSet};

use tintype_crds::DiffusionModel;
use tintype_crds::reasons::{NO_WORKER_HAS_IT, WORKERS_HAVE_IT};
use tintype_dispatch::WorkerSeen;
use tintype_types::Timestamp;

use crate::report::LATELY;

/// Most pools a model's status names.
const POOLS_MAX: usize = 64;

/// What the workers of each pool say they can load; one of no list can load any model.
#[derive(Debug, Default)]
pub(super) struct Heard<'a>(BTreeMap<&'a str, Vec<&'a [String]>>);

impl<'a> Heard<'a> {
    /// Of workers that were heard of lately.
    pub(super) fn of(seen: &'a [WorkerSeen], now: Timestamp) -> Self {
        let mut heard: BTreeMap<&str, Vec<&[String]>> = BTreeMap::new();
        for worker in seen.iter().filter(|worker| now.since(worker.last_heard) < LATELY) {
            heard.entry(worker.pool.as_str()).or_default().push(&worker.loadable_models);
        }
        Self(heard)
    }

    /// Their pools.
    pub(super) fn pools(&self) -> impl Iterator<Item = String> {
        self.0.keys().map(|pool| (*pool).to_owned())
    }

    fn has(&self, pool: &str, model: &str) -> Option<bool> {
        let workers = self.0.get(pool)?;
        Some(workers.iter().any(|models| models.is_empty() || models.iter().any(|name| name == model)))
    }
}

/// Pools that are gone, as far as this operator can tell: workers of theirs were heard of here once and are no more, and there is
/// no object of the name. Of a pool never heard of here another operator may hear.
pub(super) fn gone(ever: &BTreeSet<String>, heard: &Heard<'_>, there: &BTreeSet<String>) -> BTreeSet<String> {
    ever.iter().filter(|pool| !heard.0.contains_key(pool.as_str()) && !there.contains(*pool)).cloned().collect()
}

/// Pools whose workers have the model: those that say so now, and those known before of which nobody is heard and that are not
/// gone.
pub(super) fn homes(model: &DiffusionModel, heard: &Heard<'_>, gone: &BTreeSet<String>) -> Vec<String> {
    let name = model.request_name();
    let now = heard.0.keys().filter(|pool| heard.has(pool, name) == Some(true)).map(|pool| (*pool).to_owned());
    let before = model.status.iter().flat_map(|status| &status.pools);
    let silent = before.filter(|pool| heard.has(pool, name).is_none() && !gone.contains(*pool)).cloned();
    now.chain(silent).collect::<BTreeSet<_>>().into_iter().take(POOLS_MAX).collect()
}

/// Whether it is ready, why, and what to do.
pub(super) fn said(homes: &[String]) -> (bool, &'static str, String) {
    if homes.is_empty() {
        let message = "no worker that was heard of has its files: put them into a models directory of workers, or say in \
                       spec.fetch where they are";
        return (false, NO_WORKER_HAS_IT, message.to_owned());
    }
    let pools = if homes.len() == 1 { "pool" } else { "pools" };
    (true, WORKERS_HAVE_IT, format!("workers of the {pools} {} have its files", homes.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn model(pools: &[&str]) -> DiffusionModel {
        serde_json::from_value(json!({
            "apiVersion": "tintype.dev/v1alpha1", "kind": "DiffusionModel", "metadata": { "name": "dream" },
            "spec": {
                "modelName": "team/dream", "family": "sd15", "licence": "OpenRAIL-M",
                "defaults": { "width": 512, "height": 512, "steps": 25, "guidanceScale": 7.5, "sampler": "euler" },
            },
            "status": { "pools": pools },
        }))
        .unwrap()
    }

    fn worker(pool: &str, models: &[&str], second: u64) -> WorkerSeen {
        let seen: WorkerSeen = serde_json::from_value(json!({
            "worker": format!("{pool}-{second}"), "bootId": "b", "pool": pool, "gpus": [], "residentModels": [],
            "freeSlots": 1, "lastHeard": second * 1_000,
        }))
        .unwrap();
        WorkerSeen { loadable_models: models.iter().map(|model| (*model).to_owned()).collect(), ..seen }
    }

    #[test]
    fn pools_say_what_their_workers_have_and_empty_ones_keep_their_word() {
        let (there, ever): (BTreeSet<_>, BTreeSet<_>) =
            (["a", "b", "c"].map(str::to_owned).into(), ["a", "gone"].map(str::to_owned).into());
        let now = Timestamp(1_000_000);
        let homes = |before: &[&str], seen: &[WorkerSeen]| {
            let heard = Heard::of(seen, now);
            homes(&model(before), &heard, &gone(&ever, &heard, &there))
        };
        let has = |pool| worker(pool, &["x", "team/dream"], 999);
        assert_eq!(homes(&[], &[]), [""; 0]);
        assert_eq!(homes(&[], &[has("b"), has("a"), worker("c", &["x"], 999)]), ["a", "b"]);
        assert_eq!(homes(&[], &[worker("a", &["x"], 998), has("a")]), ["a"], "one worker of a pool is enough");
        assert_eq!(homes(&["a"], &[has("b")]), ["a", "b"], "nobody is heard of a");
        assert_eq!(homes(&["a"], &[worker("a", &["x"], 999)]), [""; 0], "a's workers have it no more");
        assert_eq!(homes(&["gone"], &[]), [""; 0], "there is no such pool any more");
        assert_eq!(homes(&["theirs"], &[]), ["theirs"], "another operator's pool, for all that is known here");
        assert_eq!(homes(&[], &[worker("a", &["team/dream"], 800)]), [""; 0], "silent for minutes");
        assert_eq!(homes(&[], &[worker("a", &[], 999)]), ["a"], "an adapter takes any model");
    }

    #[test]
    fn what_is_said_names_the_pools_or_what_to_do() {
        assert_eq!(said(&["a".to_owned()]).2, "workers of the pool a have its files");
        let (ready, reason, message) = said(&["a".to_owned(), "b".to_owned()]);
        assert_eq!(
            (ready, reason, message.as_str()),
            (true, WORKERS_HAVE_IT, "workers of the pools a, b have its files")
        );
        let (ready, reason, message) = said(&[]);
        assert!(!ready && reason == NO_WORKER_HAS_IT && message.contains("spec.fetch"), "{message}");
    }
}
