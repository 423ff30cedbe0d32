//! `GpuWorker`: a report of one worker, for people. Nothing is decided from it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tintype_types::worker::Gpu;
use tintype_types::{PoolName, WorkerId};

/// Who the report is of. The operator makes and deletes these objects; editing one changes nothing.
#[expect(clippy::duplicated_attributes, reason = "each printer column names the same parts")]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tintype.dev",
    version = "v1alpha1",
    kind = "GpuWorker",
    namespaced,
    doc = "A report of one worker, made by the operator.",
    status = "GpuWorkerStatus",
    derive = "PartialEq",
    shortname = "gworker",
    category = "tintype",
    selectable = ".spec.pool",
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.pool"),
    printcolumn(name = "GPU", type_ = "string", json_path = ".status.gpus[0].name"),
    printcolumn(name = "Free-VRAM", type_ = "integer", json_path = ".status.gpus[0].vramFreeBytes"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Heard", type_ = "date", json_path = ".status.lastHeard"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1
    ),
    printcolumn(name = "Resident", type_ = "string", json_path = ".status.residentModels", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct GpuWorkerSpec {
    /// The worker.
    #[schemars(length(min = 1, max = 253))]
    pub worker: WorkerId,
    /// Its pool.
    #[schemars(length(min = 1, max = 253))]
    pub pool: PoolName,
}

/// What the worker last said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuWorkerStatus {
    /// Its GPUs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub gpus: Vec<Gpu>,
    /// Models in memory, most recently used first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub resident_models: Vec<String>,
    /// `Ready` is whether its GPU is fit for work: a worker whose is not is there and gets no jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
    /// When it was heard of, to half a minute or so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_heard: Option<Time>,
}
