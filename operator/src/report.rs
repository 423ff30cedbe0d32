//! Reports for people: a `GpuWorker` for each worker heard of, and the counts in each pool's and queue's status. Nothing is decided
//! by them, so a failure here is a line in the log and the next round tries again.
//!
//! What has not changed is not written: at rest the operator writes nothing but a sign of life every few minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tintype_crds::labels::MANAGER_REPORTER;
use tintype_crds::reasons::MODELS_WARM;
use tintype_crds::{
    Cyclic, GROUP, GenerationQueue, GenerationQueueStatus, GpuPool, GpuWorker, GpuWorkerStatus, VERSION,
    queue_condition, worker_condition,
};
use tintype_dispatch::{Dispatch, WorkerSeen};
use tintype_scheduler::{Overview, QueueLoad};
use tintype_types::Timestamp;
use tintype_types::worker::Gpu;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::convert::{now, to_time};
use crate::index::{Index, QueueStatus};
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::warmth;

/// A worker that says nothing new is written again after this, so that its age can be trusted.
const SIGN_OF_LIFE: Duration = Duration::from_mins(5);
/// Longest one round may take.
const ROUND_TIMEOUT: Duration = Duration::from_mins(1);
/// Steps in which free memory is told: it moves with every picture.
const VRAM_STEP_BYTES: u64 = 1 << 30;
/// A worker counts in its pool's status while it was heard of within this.
pub(crate) const LATELY: Duration = Duration::from_mins(2);
/// Longest name of an object that is also a label.
const NAME_CHARS_MAX: usize = 63;

/// Writes reports while this replica leads.
pub struct Reporter {
    workers: Api<GpuWorker>,
    pools: Api<GpuPool>,
    client: Client,
    namespace: String,
    dispatch: Dispatch,
    index: Arc<Index>,
    metrics: Metrics,
    /// What was written last of each worker, and when.
    told: BTreeMap<String, (GpuWorkerStatus, Timestamp)>,
}

impl Reporter {
    /// Reports of the workers of this dispatcher, in this namespace.
    pub fn new(client: Client, namespace: &str, dispatch: Dispatch, index: Arc<Index>, metrics: Metrics) -> Self {
        let workers = Api::namespaced(client.clone(), namespace);
        let (pools, told) = (Api::all(client.clone()), BTreeMap::new());
        Self { workers, pools, client, namespace: namespace.to_owned(), dispatch, index, metrics, told }
    }

    /// Runs for ever, a round every `pause`; does nothing while another replica leads.
    pub async fn run(mut self, mut leadership: watch::Receiver<Leadership>, pause: Duration) {
        while leadership.wait_for(|now| matches!(now, Leadership::Leading { .. })).await.is_ok() {
            match timeout(ROUND_TIMEOUT, self.round()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "workers could not be reported"),
                Err(_) => tracing::warn!("reporting workers took too long and was given up for now"),
            }
            sleep(pause).await;
        }
    }

    async fn round(&mut self) -> anyhow::Result<()> {
        let (seen, overview) = tokio::join!(self.dispatch.workers(), self.dispatch.overview());
        self.metrics.show_workers(&overview.pools);
        let objects = self.workers.list(&ListParams::default()).await.context("listing the GpuWorkers")?.items;
        for worker in &seen {
            self.report(worker, &objects).await.context("writing a GpuWorker")?;
        }
        self.forget(&seen, &objects).await.context("deleting the GpuWorker of a silent worker")?;
        self.count(&seen, &overview).await.context("writing the status of a GpuPool")?;
        self.report_queues(&overview).await.context("writing the status of a GenerationQueue")
    }

    /// What queues have, and whether their parents make sense.
    async fn report_queues(&self, overview: &Overview) -> Result<(), kube::Error> {
        let loads: BTreeMap<&str, &QueueLoad> =
            overview.queues.iter().map(|load| (load.queue.as_str(), load)).collect();
        for QueueStatus { namespace, name, generation, status: before } in self.index.queues() {
            let Some(load) = loads.get(format!("{namespace}/{name}").as_str()) else { continue };
            let cyclic = if load.cyclic { Cyclic::Yes } else { Cyclic::No };
            let status = GenerationQueueStatus {
                observed_generation: generation,
                running: load.running,
                waiting: load.waiting,
                conditions: vec![queue_condition(cyclic, &before.conditions, generation, &to_time(now()))],
            };
            if status == before {
                continue;
            }
            let params = PatchParams::apply(MANAGER_REPORTER).force();
            let body = json!({
                "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "GenerationQueue",
                "metadata": { "name": name, "namespace": namespace }, "status": status,
            });
            let queues: Api<GenerationQueue> = Api::namespaced(self.client.clone(), &namespace);
            match queues.patch_status(&name, &params, &Patch::Apply(body)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn report(&mut self, worker: &WorkerSeen, objects: &[GpuWorker]) -> Result<(), kube::Error> {
        let name = object_name(worker.worker.as_str());
        let at = now();
        // Of a worker this replica has told nothing of, what an earlier leader said: since when is not begun anew.
        let earlier = || objects.iter().find(|object| object.name_any() == name)?.status.as_ref();
        let before = self.told.get(&name).map(|(before, _)| before).or_else(earlier);
        let said = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
        let status = status_of(worker, said, &to_time(at));
        match self.told.get(&name) {
            Some((before, when)) if same(before, &status) && at.since(*when) < SIGN_OF_LIFE => return Ok(()),
            Some(_) => {}
            None => {
                let spec = json!({ "worker": worker.worker, "pool": worker.pool });
                let params = PatchParams::apply(MANAGER_REPORTER).force();
                self.workers.patch(&name, &params, &Patch::Apply(self.body(&name, "spec", &spec))).await?;
            }
        }
        let params = PatchParams::apply(MANAGER_REPORTER).force();
        let body = self.body(&name, "status", &json!(status));
        self.workers.patch_status(&name, &params, &Patch::Apply(body)).await?;
        self.told.insert(name, (status, at));
        Ok(())
    }

    fn body(&self, name: &str, part: &str, value: &serde_json::Value) -> serde_json::Value {
        json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "GpuWorker",
            "metadata": { "name": name, "namespace": self.namespace }, part: value,
        })
    }

    /// Removes the reports of workers nobody has heard of for long, those of earlier leaders included.
    async fn forget(&mut self, seen: &[WorkerSeen], objects: &[GpuWorker]) -> Result<(), kube::Error> {
        let known: BTreeSet<_> = seen.iter().map(|worker| object_name(worker.worker.as_str())).collect();
        for object in objects {
            let silent = object.status.as_ref().and_then(|status| status.last_heard.as_ref());
            let silent = silent.is_none_or(|heard| now().since(crate::convert::from_time(heard)) > SIGN_OF_LIFE * 2);
            if silent && !known.contains(&object.name_any()) {
                match self.workers.delete(&object.name_any(), &DeleteParams::default()).await {
                    Ok(_) => {}
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.told.retain(|name, _| known.contains(name));
        Ok(())
    }

    async fn count(&self, seen: &[WorkerSeen], overview: &Overview) -> Result<(), kube::Error> {
        let at = now();
        let plans: BTreeMap<&str, _> = overview.pools.iter().map(|plan| (plan.pool.as_str(), plan)).collect();
        for (name, generation, before) in self.index.pools() {
            let here = seen.iter().filter(|w| w.pool.as_str() == name && at.since(w.last_heard) < LATELY);
            let (mut workers, mut gpus, mut unwell) = (0, 0, 0);
            for worker in here {
                workers += 1;
                unwell += u32::from(worker.unwell.is_some());
                gpus += u32::try_from(worker.gpus.len()).unwrap_or(u32::MAX);
            }
            let (desired_workers, waiting) =
                plans.get(name.as_str()).map_or((0, 0), |plan| (plan.wanted, plan.waiting));
            let wishes: Vec<_> = overview.warm.iter().filter(|wish| wish.pool.as_str() == name).collect();
            let warm = warmth::condition(&wishes, &before.conditions, generation, &to_time(at));
            // Only what is said here: the rest of the status is the keeper's.
            let status = json!({
                "observedGeneration": generation, "workers": workers, "gpus": gpus,
                "desiredWorkers": desired_workers, "unwellWorkers": unwell, "waiting": waiting,
                "conditions": warm.as_slice(),
            });
            let was = (before.workers, before.gpus, before.unwell_workers);
            let seen = (before.observed_generation, was, before.desired_workers, before.waiting);
            let warm_before = before.conditions.iter().find(|said| said.type_ == MODELS_WARM);
            if seen == (generation, (workers, gpus, unwell), desired_workers, waiting) && warm_before == warm.as_ref() {
                continue;
            }
            let params = PatchParams::apply(MANAGER_REPORTER).force();
            let body = json!({
                "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "GpuPool",
                "metadata": { "name": name }, "status": status,
            });
            match self.pools.patch_status(&name, &params, &Patch::Apply(body)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn status_of(worker: &WorkerSeen, said: &[Condition], at: &Time) -> GpuWorkerStatus {
    GpuWorkerStatus {
        gpus: worker.gpus.iter().take(64).cloned().collect(),
        resident_models: worker.resident_models.iter().take(64).cloned().collect(),
        conditions: vec![worker_condition(worker.unwell.as_ref(), said, at)],
        last_heard: Some(to_time(worker.last_heard)),
    }
}

/// Whether a report says what the last one did, but for what moves all the time.
fn same(before: &GpuWorkerStatus, after: &GpuWorkerStatus) -> bool {
    let steady = |status: &GpuWorkerStatus| {
        let gpus = status.gpus.iter();
        let errors = |g: &Gpu| (g.xid_count, g.ecc_uncorrected, g.page_retirement_pending);
        let gpus: Vec<_> = gpus.map(|g| (g.uuid.clone(), g.vram_free_bytes / VRAM_STEP_BYTES, errors(g))).collect();
        let conditions: Vec<_> =
            status.conditions.iter().map(|said| (said.status.clone(), said.reason.clone())).collect();
        (gpus, status.resident_models.clone(), conditions)
    };
    steady(before) == steady(after)
}

/// The worker's name as an object may be called: what is not allowed becomes `-`, and then a number made from the whole
/// name keeps two workers apart.
fn object_name(worker: &str) -> String {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = !worker.is_empty() && worker.len() <= NAME_CHARS_MAX && worker.chars().all(allowed);
    if fits && !worker.starts_with('-') && !worker.ends_with('-') {
        return worker.to_owned();
    }
    let hash = worker.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let lower = worker.to_ascii_lowercase();
    let plain: String = lower.chars().map(|c| if allowed(c) { c } else { '-' }).take(NAME_CHARS_MAX - 11).collect();
    format!("w-{}-{hash:08x}", plain.trim_matches('-')).replace("--", "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_an_object_name_of_its_own() {
        assert_eq!(object_name("worker-0"), "worker-0");
        for worker in ["", "Host_A/0", "-x-", "host.a", &"x".repeat(300), "é"] {
            let name = object_name(worker);
            assert!(name.len() <= NAME_CHARS_MAX && name.starts_with('w') && !name.ends_with('-'), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
        }
        assert_ne!(object_name("Host_A"), object_name("host_a"));
    }

    #[test]
    fn what_moves_all_the_time_is_no_news() {
        let with = |free: u64, model: &str| GpuWorkerStatus {
            gpus: vec![Gpu { uuid: "g".to_owned(), vram_free_bytes: free, ..Gpu::default() }],
            resident_models: vec![model.to_owned()],
            conditions: Vec::new(),
            last_heard: Some(to_time(Timestamp(free))),
        };
        assert!(same(&with(5_000, "a"), &with(90_000, "a")));
        assert!(!same(&with(5_000, "a"), &with(9 << 30, "a")));
        assert!(!same(&with(5_000, "a"), &with(5_000, "b")));
    }
}
