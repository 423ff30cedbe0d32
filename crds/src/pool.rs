//! `GpuPool`: workers on like GPUs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::provider::{PoolProvider, ProviderSpend};

/// What a pool should be.
#[expect(clippy::duplicated_attributes, reason = "each printer column names the same parts")]
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tintype.dev",
    version = "v1alpha1",
    kind = "GpuPool",
    doc = "Workers on like GPUs. A worker belongs to the pool whose name it claims with.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    status = "GpuPoolStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "gpool",
    category = "tintype",
    printcolumn(name = "Wanted", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Workers", type_ = "integer", json_path = ".status.workers"),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".status.desiredWorkers",
        description = "Workers it should have for what waits and what is worth keeping"
    ),
    printcolumn(name = "Queued", type_ = "integer", json_path = ".status.waiting"),
    printcolumn(name = "GPUs", type_ = "integer", json_path = ".status.gpus"),
    printcolumn(
        name = "Unwell",
        type_ = "integer",
        json_path = ".status.unwellWorkers",
        description = "Workers whose GPU is not fit for work",
        priority = 1
    ),
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider.kind", priority = 1),
    printcolumn(
        name = "Spent-Today",
        type_ = "integer",
        json_path = ".status.provider.day.spentMicroUsd",
        description = "Millionths of a US dollar",
        priority = 1
    ),
    printcolumn(
        name = "Used-Up",
        type_ = "string",
        json_path = ".status.provider.usedUp",
        description = "Whose budget allows no job any more",
        priority = 1
    ),
    printcolumn(name = "Warm-Models", type_ = "string", json_path = ".spec.warmModels"),
    printcolumn(
        name = "Warm",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='ModelsWarm')].status",
        description = "Whether a worker has each of those in memory"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct GpuPoolSpec {
    /// Models that should be in memory before anybody asks, of one worker at least. An idle worker loads them, into memory that is
    /// free or holds what nobody asks for, and a job that comes meanwhile goes first. The condition ModelsWarm says whether
    /// they are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub warm_models: Vec<String>,
    /// The namespace of the Tintype this pool is for; every other Tintype of the cluster takes no notice of it. Left out,
    /// it is for all of them: fine where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Name of a PodTemplate in the operator's namespace. Given it, the operator keeps `replicas` workers of this pool;
    /// left out, somebody else runs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub template: Option<String>,
    /// What an hour of one of its GPUs costs, in whatever money the team counts in, such as "0.79". `kubectl tintype cost`
    /// reckons with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), regex(pattern = r"^[0-9]{1,8}(\.[0-9]{1,6})?$"))]
    pub price_per_gpu_hour: Option<String>,
    /// How many workers there are to be. `kubectl scale gpupool` changes it; fewer takes the idle ones first, and one that
    /// is at work hands its job on. With `scaling` it is how many the pool begins with, and the operator changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000))]
    pub replicas: Option<u32>,
    /// Given it, the operator changes `replicas` to what there is work for. Left out, people and other autoscalers do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<PoolScaling>,
    /// Given it, a paid provider runs the pool's jobs, and its workers are adapters that buy there: one, of a template that
    /// runs `tintype-provider`. Left out, the workers draw on GPUs of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<PoolProvider>,
}

/// Between which bounds a pool has as many workers as there is work for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolScaling {
    /// Fewest workers; with 0 they all go when there is nothing to do, and the first job brings one back.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000))]
    pub min: u32,
    /// Most workers.
    #[schemars(range(min = 1, max = 1_000))]
    pub max: u32,
    /// Workers are taken away only after so many seconds in which fewer would always have done. More come at once.
    #[serde(default = "down_after_seconds")]
    #[schemars(range(min = 0, max = 86_400))]
    pub down_after_seconds: u32,
}

fn down_after_seconds() -> u32 {
    60
}

/// What is seen of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuPoolStatus {
    /// The generation of the spec this speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Workers heard of lately.
    #[serde(default)]
    pub workers: u32,
    /// GPUs they have.
    #[serde(default)]
    pub gpus: u32,
    /// Workers it should have. With `spec.scaling` the operator acts on it.
    #[serde(default)]
    pub desired_workers: u32,
    /// Of its workers, those that take no work because their GPU is unwell. Their GpuWorkers say why.
    #[serde(default)]
    pub unwell_workers: u32,
    /// Jobs that wait for it.
    #[serde(default)]
    pub waiting: u32,
    /// Worker pods the operator keeps, ready or not; not set where somebody else runs the workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Those that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<u32>,
    /// Which pods they are, as a label selector in text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub selector: Option<String>,
    /// What a provider's pool has cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderSpend>,
    /// Ready, where the operator keeps the workers; ModelsWarm, where there are `warmModels`. Their reasons are documented in REASONS.md.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
