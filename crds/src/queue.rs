//! `GenerationQueue`: where a tenant's jobs wait.

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
    doc = "Where a tenant's jobs wait.",
    derive = "PartialEq",
    shortname = "gq",
    category = "tintype",
    printcolumn(name = "Weight", type_ = "integer", json_path = ".spec.weight"),
    printcolumn(name = "Quota", type_ = "integer", json_path = ".spec.quota.running"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct GenerationQueueSpec {
    /// Its part of the GPUs against other queues with work.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10_000))]
    pub weight: u32,
    /// The most it may have. Left out, there is no quota.
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
    /// Jobs running at once. 0 holds the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub running: Option<u32>,
}
