//! Keeps the workers of pools that name a template: dereference, validate, build, apply, update status.
//!
//! A pool without a template is left alone. It decides nothing about jobs; how many workers a pool has is `spec.replicas`,
//! which people and autoscalers change through the scale subresource, and this one for pools with `spec.scaling`: by the
//! scheduler's plan, held steady by [`scaling`]. Before workers are taken away, each of the pool's
//! pods is told how much its going would cost, so that the ReplicaSet takes the idle ones; one that has a job all the same
//! is ended as in any drain: it writes a checkpoint and hands its job on.

mod build;
mod scaling;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, PodTemplate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tintype_crds::labels::{MANAGER_POOLS, POOL};
use tintype_crds::reasons::{READY, WORKERS_CHANGING, WORKERS_READY};
use tintype_crds::{GROUP, GpuPool, VERSION};
use tintype_dispatch::Dispatch;
use tintype_scheduler::PoolPlan;
use tintype_types::WorkerId;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use self::build::{Wanted, selector};
use self::scaling::Steady;
use crate::convert::{now, to_time};
use crate::index::Index;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::refusal::Refusal;

/// Between two rounds: two reads a round are little, and people who scale a pool are not kept waiting.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(1);
/// Longest one round may take.
const ROUND_TIMEOUT: Duration = Duration::from_secs(30);
/// Of two pods a ReplicaSet takes the one with the lower cost.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const IDLE: &str = "0";
const BUSY: &str = "1000";

/// Keeps the workers of pools while this replica leads.
pub struct Keeper {
    pools: Api<GpuPool>,
    templates: Api<PodTemplate>,
    deployments: Api<Deployment>,
    pods: Api<Pod>,
    namespace: String,
    dispatch: Dispatch,
    index: Arc<Index>,
    metrics: Metrics,
    /// What the plan has said lately of pools that are scaled here.
    steady: BTreeMap<String, Steady>,
    /// What was applied last for each pool, and the generation that made.
    applied: BTreeMap<String, (Deployment, Option<i64>)>,
}

impl Keeper {
    /// A keeper whose workers run in this namespace.
    pub fn new(client: Client, namespace: &str, dispatch: Dispatch, index: Arc<Index>, metrics: Metrics) -> Self {
        Self {
            pools: Api::all(client.clone()),
            templates: Api::namespaced(client.clone(), namespace),
            deployments: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            dispatch,
            index,
            metrics,
            steady: BTreeMap::new(),
            applied: BTreeMap::new(),
        }
    }

    /// Runs for ever, round after round; does nothing while another replica leads. A round that fails is a line in the log,
    /// and the next one tries again.
    pub async fn run(mut self, mut leadership: watch::Receiver<Leadership>) {
        while leadership.wait_for(|now| matches!(now, Leadership::Leading { .. })).await.is_ok() {
            let outcome = match timeout(ROUND_TIMEOUT, Box::pin(self.round())).await {
                Ok(Ok(())) => "ok",
                Ok(Err(error)) => {
                    tracing::warn!(error = format!("{error:#}"), "the workers of pools could not be looked after");
                    "failed"
                }
                Err(_) => "timeout",
            };
            self.metrics.pools.with_label_values(&[outcome]).inc();
            sleep(BETWEEN_ROUNDS).await;
        }
    }

    async fn round(&mut self) -> anyhow::Result<()> {
        let pools = self.index.pool_objects();
        // A pool whose number cannot be written is no reason to leave the workers there are alone.
        let scaled = self.scale(&pools).await.context("scaling a pool");
        let ours = ListParams::default().labels(POOL);
        let found = self.deployments.list(&ours).await.context("listing the Deployments of pools")?;
        let mut found: BTreeMap<_, _> =
            found.into_iter().filter_map(|one| Some((one.labels().get(POOL)?.clone(), one))).collect();
        let mut kept = Ok(());
        for pool in pools.iter().filter(|pool| pool.spec.template.is_some()) {
            let name = pool.name_any();
            let before = found.remove(&name);
            let done = Box::pin(self.keep(pool, before)).await;
            kept = kept.and(done.with_context(|| format!("keeping the workers of pool {name}")));
        }
        // What is left belongs to pools that are gone or whose workers are somebody else's now.
        for (pool, deployment) in found {
            self.applied.remove(&pool);
            let name = deployment.name_any();
            gone_is_fine(self.deployments.delete(&name, &DeleteParams::background()).await)
                .context("deleting a Deployment")?;
        }
        scaled.and(kept)
    }

    /// Writes how many workers each pool with `spec.scaling` is to have, where that has changed. The Deployment follows
    /// once the watch has shown the pool with its new number.
    async fn scale(&mut self, pools: &[GpuPool]) -> anyhow::Result<()> {
        let scaled: Vec<_> =
            pools.iter().filter_map(|pool| Some((pool, pool.name_any(), pool.spec.scaling?))).collect();
        self.steady.retain(|name, _| scaled.iter().any(|(_, scaled, _)| scaled == name));
        if scaled.is_empty() {
            return Ok(());
        }
        let plans = self.dispatch.overview().await.pools;
        let busy = self.index.busy_workers();
        let mut all = Ok(());
        for (pool, name, scaling) in scaled {
            // At the beginning of a term the scheduler may not know the pool yet.
            let Some(plan) = plans.iter().find(|plan| plan.pool.as_str() == name) else { continue };
            // A worker that was given its job by an earlier leader has perhaps not been heard of by this one.
            let at_work = busy.values().flatten().filter(|given| given.as_str() == name).count();
            let wanted = plan.wanted.max(u32::try_from(at_work).unwrap_or(u32::MAX));
            let before = pool.spec.replicas.unwrap_or(0);
            let steady = self.steady.entry(name.clone()).or_insert_with(|| Steady::begin(now(), before));
            let target = steady.target(now(), scaling, wanted);
            if target != before {
                let done = self.rescale(&name, before, target, plan).await.with_context(|| format!("pool {name}"));
                // The pools behind it have work too. The first failure is told, and the next round tries again.
                all = all.and(done);
            }
        }
        all
    }

    async fn rescale(&self, pool: &str, before: u32, target: u32, plan: &PoolPlan) -> Result<(), kube::Error> {
        let patch = Patch::Merge(json!({ "spec": { "replicas": target } }));
        gone_is_fine(self.pools.patch_scale(pool, &PatchParams::default(), &patch).await)?;
        let (busy, waiting) = (plan.busy, plan.waiting);
        tracing::info!(
            pool,
            before,
            replicas = target,
            busy,
            waiting,
            "a pool gets as many workers as it has work for"
        );
        self.metrics.scalings.with_label_values(&[if target > before { "up" } else { "down" }]).inc();
        Ok(())
    }

    /// The five steps for one pool.
    async fn keep(&mut self, pool: &GpuPool, before: Option<Deployment>) -> anyhow::Result<()> {
        let template = pool.spec.template.as_deref().unwrap_or_default();
        let template = self.templates.get_opt(template).await.context("reading the PodTemplate")?;
        let wanted = match Wanted::new(pool, template.as_ref()) {
            Ok(wanted) => wanted.deployment(&self.namespace),
            Err(refusal) => return self.tell(pool, before.as_ref(), Some(&refusal)).await,
        };
        let after = self.apply(pool, wanted, before).await?;
        self.tell(pool, Some(&after), None).await
    }

    /// Applies the Deployment, unless it is as it was applied last and nobody has changed it since.
    async fn apply(
        &mut self,
        pool: &GpuPool,
        wanted: Deployment,
        before: Option<Deployment>,
    ) -> anyhow::Result<Deployment> {
        let name = pool.name_any();
        if let (Some(before), Some((last, generation))) = (&before, self.applied.get(&name))
            && *last == wanted
            && before.metadata.generation == *generation
        {
            return Ok(before.clone());
        }
        let replicas = |deployment: &Deployment| deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        if before.as_ref().is_some_and(|before| replicas(&wanted) < replicas(before)) {
            self.price(&name).await.context("saying what the going of each worker would cost")?;
        }
        let params = PatchParams::apply(MANAGER_POOLS).force();
        let object = wanted.name_any();
        let made = self
            .deployments
            .patch(&object, &params, &Patch::Apply(&wanted))
            .await
            .context("applying the Deployment")?;
        tracing::info!(pool = name, replicas = replicas(&wanted), "the workers of a pool are to be these");
        self.applied.insert(name, (wanted, made.metadata.generation));
        Ok(made)
    }

    /// Writes on each pod of the pool what its going would cost. A worker is named after its pod.
    async fn price(&self, pool: &str) -> Result<(), kube::Error> {
        let busy = self.index.busy_workers();
        for pod in self.pods.list(&ListParams::default().labels(&selector(pool))).await? {
            let name = pod.name_any();
            let cost = if busy.contains_key(&WorkerId::from(name.as_str())) { BUSY } else { IDLE };
            if pod.annotations().get(COST).is_some_and(|before| before == cost) {
                continue;
            }
            let patch = json!({ "metadata": { "annotations": { COST: cost } } });
            gone_is_fine(self.pods.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await)?;
        }
        Ok(())
    }

    /// Writes what is seen of the pool's workers, if it is news.
    async fn tell(
        &self,
        pool: &GpuPool,
        deployment: Option<&Deployment>,
        refused: Option<&Refusal>,
    ) -> anyhow::Result<()> {
        let status = status(pool, deployment, refused);
        let before = pool.status.clone().unwrap_or_default();
        let said = json!({
            "replicas": before.replicas, "readyReplicas": before.ready_replicas, "selector": before.selector,
            // The others are not written here.
            "conditions": before.conditions.iter().filter(|said| said.type_ == READY).collect::<Vec<_>>(),
        });
        if status == said {
            return Ok(());
        }
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "GpuPool",
            "metadata": { "name": pool.name_any() }, "status": status,
        });
        let params = PatchParams::apply(MANAGER_POOLS).force();
        let written = self.pools.patch_status(&pool.name_any(), &params, &Patch::Apply(body)).await;
        gone_is_fine(written).context("writing the status of a GpuPool")
    }
}

/// The part of a pool's status that is written here.
fn status(pool: &GpuPool, deployment: Option<&Deployment>, refused: Option<&Refusal>) -> Value {
    let seen = deployment.and_then(|deployment| deployment.status.as_ref());
    let count = |count: Option<i32>| u32::try_from(count.unwrap_or(0)).unwrap_or(0);
    let replicas = seen.map_or(0, |seen| count(seen.replicas));
    let ready = seen.map_or(0, |seen| count(seen.ready_replicas));
    let wanted = pool.spec.replicas.unwrap_or(1);
    let current = seen.and_then(|seen| seen.observed_generation) == deployment.and_then(|one| one.metadata.generation);
    let (holds, reason, message) = match refused {
        Some(refusal) => (false, refusal.reason, refusal.message.as_str()),
        None if current && ready == wanted && replicas == wanted => (true, WORKERS_READY, "every worker is ready"),
        None => (false, WORKERS_CHANGING, "workers are starting or going"),
    };
    let kept = pool.status.iter().flat_map(|status| &status.conditions);
    let (holds, mut kept) = (if holds { "True" } else { "False" }, kept.filter(|old| old.type_ == READY));
    let since =
        kept.find(|old| old.status == holds).map_or_else(|| to_time(now()), |old| old.last_transition_time.clone());
    let condition = Condition {
        type_: READY.to_owned(),
        status: holds.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: pool.metadata.generation,
        last_transition_time: since,
    };
    json!({
        "replicas": replicas, "readyReplicas": ready, "selector": selector(&pool.name_any()), "conditions": [condition],
    })
}

fn gone_is_fine<T>(answer: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match answer {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(replicas: u32) -> GpuPool {
        let mut pool =
            GpuPool::new("l40s", tintype_crds::GpuPoolSpec { replicas: Some(replicas), ..Default::default() });
        pool.metadata.generation = Some(4);
        pool
    }

    fn deployment(replicas: u32, ready: u32, observed: i64) -> Deployment {
        let made = json!({
            "metadata": { "name": "pool-l40s", "generation": 2 },
            "status": { "replicas": replicas, "readyReplicas": ready, "observedGeneration": observed },
        });
        serde_json::from_value(made).unwrap()
    }

    fn reason(pool: &GpuPool, deployment: &Deployment) -> String {
        status(pool, Some(deployment), None)["conditions"][0]["reason"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_pool_is_ready_when_its_workers_are_and_the_controllers_have_seen_it() {
        assert_eq!(reason(&pool(2), &deployment(2, 2, 2)), WORKERS_READY);
        assert_eq!(reason(&pool(0), &deployment(0, 0, 2)), WORKERS_READY);
        assert_eq!(reason(&pool(2), &deployment(2, 1, 2)), WORKERS_CHANGING);
        assert_eq!(reason(&pool(1), &deployment(2, 2, 2)), WORKERS_CHANGING, "one has still to go");
        assert_eq!(reason(&pool(2), &deployment(2, 2, 1)), WORKERS_CHANGING, "that was said of what it was before");
    }

    #[test]
    fn a_refusal_keeps_the_count_of_workers_that_stay() {
        let refusal = Refusal { reason: "TemplateNotFound", message: "there is none".to_owned() };
        let said = status(&pool(2), Some(&deployment(2, 2, 2)), Some(&refusal));
        assert_eq!((&said["replicas"], &said["conditions"][0]["status"]), (&json!(2), &json!("False")));
        assert_eq!(said["conditions"][0]["observedGeneration"], 4);
        assert_eq!(said["selector"], "tintype.dev/pool=l40s");
    }
}
