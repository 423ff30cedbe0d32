//! `DiffusionModel`: a model requests may name, and what a request gets when it does not say.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tintype_types::{ModelDefaults, ModelFamily, ModelKind};

/// A model. Workers find its files by the same name in their model folder, or fetch them.
#[expect(clippy::duplicated_attributes, reason = "each printer column names the same parts")]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tintype.dev",
    version = "v1alpha1",
    kind = "DiffusionModel",
    doc = "A model requests may name.",
    status = "DiffusionModelStatus",
    derive = "PartialEq",
    shortname = "dm",
    category = "tintype",
    selectable = ".spec.family",
    printcolumn(name = "Name-In-Requests", type_ = "string", json_path = ".spec.modelName"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.kind"),
    printcolumn(name = "Family", type_ = "string", json_path = ".spec.family"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "What is known of the source, for models that are fetched"
    ),
    printcolumn(name = "Licence", type_ = "string", json_path = ".spec.licence"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.source", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct DiffusionModelSpec {
    /// The name requests use, such as `tintype/shapes`. Left out, it is the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub model_name: Option<String>,
    /// What the files are.
    #[serde(default)]
    pub kind: ModelKind,
    /// Architecture.
    pub family: ModelFamily,
    /// What a request gets when it does not say.
    pub defaults: ModelDefaults,
    /// SPDX licence of the weights, or the name of their own licence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub licence: String,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub description: String,
    /// Where the files came from, for people and for whatever fills the workers' model folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub source: Option<String>,
    /// Where the model can be had, where workers do not have it: each fetches what it needs. Left out, it lies in their models
    /// folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<ModelFetch>,
    /// Memory the loaded model takes, in bytes; 0 when nobody has measured it: then what its file's tensors take counts.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub vram_bytes: u64,
    /// What its work costs, for estimates before any of it was seen.
    #[serde(default, skip_serializing_if = "ModelHints::is_empty")]
    pub hints: ModelHints,
}

/// Where a model can be had: one file by its URL, or a folder in diffusers' layout by a hub's repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelFetch {
    /// URL of the `.safetensors` file of a checkpoint or LoRA, which operator and workers reach without a key: of a hub or its mirror
    /// (`.../resolve/REVISION/FILE`), a bucket, any web server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^\s]+$"))]
    pub url: Option<String>,
    /// SHA-256 of that file. What comes and is something else is thrown away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
    /// The repository of a checkpoint or ControlNet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubFetch>,
}

/// A repository of a hub, or of a mirror that answers as one does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HubFetch {
    /// Where the hub or mirror is, such as `https://hub.example.com`; operator and workers reach it without a key.
    #[schemars(length(min = 8, max = 512), regex(pattern = r"^https?://[^\s?#]+$"))]
    pub endpoint: String,
    /// `owner/name`.
    #[schemars(
        length(min = 3, max = 200),
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
    )]
    pub repo: String,
    /// Branch, tag or commit. The commit it is when the operator looks is what workers fetch.
    #[serde(default = "revision")]
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub revision: String,
}

fn revision() -> String {
    "main".to_owned()
}

/// What is known of a model's files: of its source, or where it has none, of the workers that have them. Not there for LoRAs and
/// ControlNets that are not fetched, of which workers tell nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiffusionModelStatus {
    /// The generation of the spec this speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What the file's tensors take, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub weight_bytes: Option<u64>,
    /// Of a model that is not fetched, the pools whose workers have its files. One without workers keeps its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub pools: Vec<String>,
    /// Ready: the file is there and is what the model says it is, or workers have it. Its reasons are documented in REASONS.md.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What a model's work costs, as far as somebody can tell beforehand. What is seen later counts for more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelHints {
    /// A step of one picture, in milliseconds; 0 when nobody can tell.
    #[serde(default)]
    #[schemars(range(min = 0, max = 3_600_000))]
    pub step_ms: u32,
    /// Loading it, in milliseconds; 0 when nobody can tell.
    #[serde(default)]
    #[schemars(range(min = 0, max = 3_600_000))]
    pub load_ms: u32,
}

impl ModelHints {
    /// Whether nobody can tell anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl DiffusionModel {
    /// Memory the loaded model takes, in bytes, as far as anybody knows: 0 is nobody.
    pub fn vram_bytes(&self) -> u64 {
        let file = self.status.as_ref().and_then(|status| status.weight_bytes);
        if self.spec.vram_bytes == 0 { file.unwrap_or(0) } else { self.spec.vram_bytes }
    }

    /// The name requests use.
    pub fn request_name(&self) -> &str {
        let own = self.metadata.name.as_deref().unwrap_or_default();
        self.spec.model_name.as_deref().unwrap_or(own)
    }
}
