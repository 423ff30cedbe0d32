//! What was learned of the cost of work, kept in one ConfigMap: a new leader knows what runs and loads take.
//!
//! It is written while this replica leads, if there is news, and no more often than told. Nothing depends on it: what
//! cannot be read or written is said once, and estimates begin anew.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tintype_dispatch::Dispatch;
use tintype_scheduler::Learned;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::lease::Leadership;
use crate::metrics::Metrics;

/// Runs kept, and as many loads: with names of usual length a fifth of what an object may have.
const KEPT_MAX: usize = 1_000;
/// Longest a call may take. A new leader waits for the read.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// The ConfigMap's key.
const KEY: &str = "learned.json";
/// The name under which we own its fields.
const MANAGER: &str = "memory";

/// The ConfigMap.
#[derive(Clone)]
pub struct Memory {
    maps: Api<ConfigMap>,
    namespace: String,
    name: String,
    metrics: Metrics,
}

impl Memory {
    /// The one that belongs to a leader lease.
    pub fn new(client: &Client, namespace: &str, lease: &str, metrics: Metrics) -> Self {
        let maps = Api::namespaced(client.clone(), namespace);
        Self { maps, namespace: namespace.to_owned(), name: format!("{lease}-learned"), metrics }
    }

    /// What earlier leaders learned; nothing where nobody has yet, or where it cannot be read.
    pub async fn read(&self) -> Option<Learned> {
        let (outcome, learned) = match timeout(CALL_TIMEOUT, self.maps.get_opt(&self.name)).await {
            Ok(Ok(None)) => ("empty", None),
            Ok(Ok(Some(map))) => match map.data.as_ref().and_then(|data| data.get(KEY)).map(|text| parse(text)) {
                Some(Ok(learned)) => ("read", Some(learned)),
                Some(Err(error)) => {
                    let name = &self.name;
                    tracing::warn!(%error, name, "the ConfigMap with what was learned cannot be understood; it is written anew");
                    ("damaged", None)
                }
                None => ("empty", None),
            },
            Ok(Err(error)) => {
                tracing::warn!(%error, "what was learned before could not be read; estimates begin anew");
                ("failed", None)
            }
            Err(_) => {
                tracing::warn!("reading what was learned before took too long; estimates begin anew");
                ("failed", None)
            }
        };
        self.metrics.memory.with_label_values(&[outcome]).inc();
        learned
    }

    /// Runs for ever, a look every `pause`; does nothing while another replica leads.
    pub async fn run(self, dispatch: Dispatch, mut leadership: watch::Receiver<Leadership>, pause: Duration) {
        let mut written = None;
        while leadership.wait_for(|now| matches!(now, Leadership::Leading { .. })).await.is_ok() {
            sleep(pause).await;
            let learned = dispatch.learned(KEPT_MAX).await;
            if learned != Learned::default() && written.as_ref() != Some(&learned) && self.write(&learned).await {
                written = Some(learned);
            }
        }
    }

    async fn write(&self, learned: &Learned) -> bool {
        let Ok(text) = serde_json::to_string(learned) else { return false };
        let body = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "data": { KEY: text },
        });
        let params = PatchParams::apply(MANAGER).force();
        let outcome = match timeout(CALL_TIMEOUT, self.maps.patch(&self.name, &params, &Patch::Apply(body))).await {
            Ok(Ok(_)) => "written",
            Ok(Err(error)) => {
                tracing::warn!(%error, "what was learned could not be kept; it is tried again");
                "failed"
            }
            Err(_) => {
                tracing::warn!("keeping what was learned took too long; it is tried again");
                "failed"
            }
        };
        self.metrics.memory.with_label_values(&[outcome]).inc();
        outcome == "written"
    }
}

fn parse(text: &str) -> serde_json::Result<Learned> {
    serde_json::from_str(text)
}
