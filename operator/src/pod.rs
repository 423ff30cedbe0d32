//! The label by which a Service finds the one replica that leads.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tintype_crds::labels::LEADER;
use tokio::time::timeout;

/// Longest the call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The pod this program runs in, if it was told.
#[derive(Clone)]
pub struct OwnPod {
    api: Api<Pod>,
    name: Option<String>,
}

impl OwnPod {
    /// A pod of this name, or none.
    pub fn new(client: Client, namespace: &str, name: Option<String>) -> Self {
        Self { api: Api::namespaced(client, namespace), name }
    }

    /// Says that this pod leads. Without it workers do not find the leader, so a failure is worth an error.
    pub async fn mark(&self) {
        self.label(json!("true")).await;
    }

    /// Says that it does not. Also at the start: a container that ended as the leader begins again in the same pod.
    pub async fn unmark(&self) {
        self.label(Value::Null).await;
    }

    async fn label(&self, value: Value) {
        let Some(name) = &self.name else { return };
        let patch = json!({ "metadata": { "labels": { LEADER: value } } });
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let failed = match timeout(CALL_TIMEOUT, self.api.patch(name, &params, &patch)).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(elapsed) => elapsed.to_string(),
        };
        tracing::error!(error = failed, "this pod could not be labelled; workers may not find the leader");
    }
}
