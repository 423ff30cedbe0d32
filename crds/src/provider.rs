//! The part of a `GpuPool` that says which paid provider serves it, at what price and within which budget, and the part
//! of its status that says what was spent. Money is whole millionths of a US dollar.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ProviderKind {
    /// Replicate's predictions.
    Replicate,
    /// RunPod's serverless endpoints.
    Runpod,
    /// A web function on Modal that speaks the protocol of docs/providers.md.
    Modal,
}

impl ProviderKind {
    /// Its name, as it is written in a pool and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replicate => "replicate",
            Self::Runpod => "runpod",
            Self::Modal => "modal",
        }
    }
}

/// A pool whose jobs a paid provider runs. Left out, the pool's workers run on GPUs of your own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolProvider {
    /// Whose API.
    pub kind: ProviderKind,
    /// Where it is, such as `https://api.replicate.com/v1`. HTTPS, but for tests on the same machine.
    #[schemars(length(min = 8, max = 512), regex(pattern = r"^https?://[^ ]+$"))]
    pub base_url: String,
    /// The Secret in the pool's namespace that holds the provider's key. The pod that serves the pool is given it as a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKey>,
    /// The models it is given jobs for, and no others.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub models: Vec<ProviderModel>,
    /// The most it may cost. Jobs that might cost more wait for the next day or month, or for another pool.
    pub budget: ProviderBudget,
    /// Most jobs at a time.
    #[serde(default = "concurrency_max")]
    #[schemars(range(min = 1, max = 64))]
    pub concurrency_max: u32,
}

impl PoolProvider {
    /// What a finished job of a model cost in US dollars: its pictures at their price, or the seconds the provider's hardware
    /// was held, in milliseconds here. Nothing for a model the pool does not offer, or one without a price. For
    /// people to read: the book counts in whole numbers.
    pub fn cost_usd(&self, model: &str, images: u64, held_ms: u64) -> Option<f64> {
        let model = self.models.iter().find(|offered| offered.name == model)?;
        let micro_usd = match (model.price_per_image_micro_usd, model.price_per_second_micro_usd) {
            (Some(image), None) => image as f64 * images as f64,
            (None, Some(second)) => second as f64 * held_ms as f64 / 1e3,
            // The schema lets neither pass.
            (None, None) | (Some(_), Some(_)) => return None,
        };
        Some(micro_usd / 1e6)
    }
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[serde(default = "secret_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// The most a pool may cost, settled and possible together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderBudget {
    /// In a day of UTC.
    pub day_micro_usd: u64,
    /// In a month of UTC.
    pub month_micro_usd: u64,
}

/// One model of ours as the provider has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderModel {
    /// The model's name here.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// What it is called there: a version, `owner/name` or `owner/name:version` on Replicate; an endpoint's id on RunPod; the
    /// function's path on Modal.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9._/:-]+$"))]
    pub target: String,
    /// What fields of a request are called there, such as `steps: num_inference_steps` or `init.image: image`. Fields that are
    /// not named are not sent: a job that asks for something by one of them is refused. Left empty, the whole request is sent
    /// as `request`: for workers of ours.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub input: BTreeMap<String, String>,
    /// Input that is always sent. A value that is JSON is sent as that, any other as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub fixed: BTreeMap<String, String>,
    /// What a picture costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_image_micro_usd: Option<u64>,
    /// What a second of the provider's hardware costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_second_micro_usd: Option<u64>,
    /// The provider is told to end a job that has run so long; no job costs more than this many seconds.
    #[serde(default = "seconds_max")]
    #[schemars(range(min = 5, max = 3_600))]
    pub seconds_max: u32,
}

fn concurrency_max() -> u32 {
    4
}

fn secret_key() -> String {
    "key".to_owned()
}

fn seconds_max() -> u32 {
    300
}

/// What a provider's pool has cost, as its adapter has it in its book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderSpend {
    /// This day of UTC.
    pub day: WindowSpend,
    /// This month of UTC.
    pub month: WindowSpend,
    /// Purchases whose outcome is not known: nobody answered. Each is counted in full.
    #[serde(default)]
    pub unknown: u32,
    /// Whose budget leaves less than the pool's cheapest job may cost: until that window ends, or there is more budget, the
    /// pool buys nothing and its jobs wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_up: Option<SpendWindow>,
}

/// Which budget is used up, of UTC: the day's or the month's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SpendWindow {
    /// A day.
    Day,
    /// A month.
    Month,
}

/// Money of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WindowSpend {
    /// What was settled.
    pub spent_micro_usd: u64,
    /// What is under way may come to as much.
    pub reserved_micro_usd: u64,
    /// The most both may be together.
    pub cap_micro_usd: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_costs_its_pictures_or_the_seconds_it_was_held() {
        let pool: PoolProvider = serde_json::from_value(json!({
            "kind": "runpod", "baseUrl": "https://x.test", "budget": { "dayMicroUsd": 1, "monthMicroUsd": 1 },
            "models": [
                { "name": "a", "target": "t", "pricePerImageMicroUsd": 3_000 },
                { "name": "b", "target": "t", "pricePerSecondMicroUsd": 1_400 },
            ],
        }))
        .unwrap();
        assert_eq!(pool.cost_usd("a", 2, 90_000), Some(0.006));
        assert_eq!(pool.cost_usd("b", 2, 2_500), Some(0.0035));
        assert_eq!(pool.cost_usd("c", 2, 2_500), None);
    }
}
