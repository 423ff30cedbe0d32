//! `GenerationQueue`: where a tenant's jobs wait.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much of the GPUs a queue gets.
#[expect(clippy::duplicated_attributes, reason = "each printer column names the same parts")]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tintype.dev",
    version = "v1alpha1",
    kind = "GenerationQueue",
    namespaced,
    doc = "Where a tenant's jobs wait. Queues can be parts of others.",
    status = "GenerationQueueStatus",
    derive = "PartialEq",
    shortname = "gq",
    category = "tintype",
    printcolumn(name = "Parent", type_ = "string", json_path = ".spec.parent"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".spec.weight"),
    printcolumn(name = "Quota", type_ = "integer", json_path = ".spec.quota.running"),
    printcolumn(name = "Running", type_ = "integer", json_path = ".status.running"),
    printcolumn(name = "Waiting", type_ = "integer", json_path = ".status.waiting"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type == 'Ready')].status",
        description = "Whether its place among other queues is understood"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct GenerationQueueSpec {
    /// Name of the GenerationQueue in this namespace it is part of. Left out, or where there is none of that name, it
    /// stands for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub parent: Option<String>,
    /// Its part of the GPUs against other queues with work: of its parent's, where it has one.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10_000))]
    pub weight: u32,
    /// The most it may have, its parts included. Left out, there is no quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<QueueQuota>,
}

fn one() -> u32 {
    1
}

/// The most a queue may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueQuota {
    /// Jobs running at once, each on a GPU. 0 holds the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub running: Option<u32>,
    /// Jobs it may run beyond `running` while its parent's quota has room. Left out, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub borrow: Option<u32>,
    /// Of `running`, the jobs other parts of its parent may run while it does not. Left out, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub lend: Option<u32>,
    /// No job is begun while the models of its running jobs take this many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub vram_bytes: Option<u64>,
    /// No job is begun once it was given this many GPU-seconds in a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_u64))]
    pub gpu_seconds: Option<u64>,
    /// The window's length in seconds. Left out, a day, from midnight UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub window_seconds: Option<u32>,
}

/// What is seen of a queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationQueueStatus {
    /// The generation of the spec this speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Its own jobs that run.
    #[serde(default)]
    pub running: u32,
    /// Its own jobs that wait.
    #[serde(default)]
    pub waiting: u32,
    /// Ready: whether its place among other queues is understood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
