//! Objects a release begins with: a ConfigMap names them, the operator that leads makes those that are not there, each once.
//!
//! Helm looks every kind up before it makes anything, so objects of our kinds cannot stand in the release that brings the
//! kinds. Made here they come with any way of installing. What was made is written down on the ConfigMap, which goes when the
//! release goes: whoever deletes a default object or changes it is not overruled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tintype_crds::{DiffusionModel, GpuPool};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::lease::Leadership;

/// On the ConfigMap: its keys whose objects were made, with commas between.
const MADE: &str = "tintype.dev/made";
/// Longest one go may take.
const GO_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two goes: the kinds may come a moment after this program.
const BETWEEN_GOES: Duration = Duration::from_secs(2);
/// Between two looks when all are made: an upgrade of the release may bring one.
const BETWEEN_LOOKS: Duration = Duration::from_mins(1);

/// An object of a kind that can be a default.
#[derive(Clone, Debug)]
enum Object {
    Model(Box<DiffusionModel>),
    Pool(Box<GpuPool>),
}

/// The ConfigMap and what may be made of it.
pub struct Defaults {
    maps: Api<ConfigMap>,
    models: Api<DiffusionModel>,
    pools: Api<GpuPool>,
    name: String,
    /// Keys whose objects cannot be understood, and why: said once, not each minute.
    passed_over: BTreeMap<String, String>,
}

impl Defaults {
    /// Those the ConfigMap of this name has, one JSON object a key.
    pub fn new(client: &Client, namespace: &str, name: &str) -> Self {
        Self {
            maps: Api::namespaced(client.clone(), namespace),
            models: Api::all(client.clone()),
            pools: Api::all(client.clone()),
            name: name.to_owned(),
            passed_over: BTreeMap::new(),
        }
    }

    /// Runs for ever: looks now and then whether there is one to make; does nothing while another replica leads.
    pub async fn run(mut self, mut leadership: watch::Receiver<Leadership>) {
        while leadership.wait_for(|now| matches!(now, Leadership::Leading { .. })).await.is_ok() {
            match timeout(GO_TIMEOUT, self.make()).await {
                Ok(Ok(())) => sleep(BETWEEN_LOOKS).await,
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "a default object could not be made; it is tried again"
                    );
                    sleep(BETWEEN_GOES).await;
                }
                Err(_) => tracing::warn!("making default objects took too long; it is tried again"),
            }
        }
    }

    async fn make(&mut self) -> anyhow::Result<()> {
        let name = self.name.clone();
        let name = name.as_str();
        let found = self.maps.get_opt(name).await.with_context(|| format!("reading the ConfigMap {name}"))?;
        let Some(map) = found else {
            tracing::warn!(name, "the ConfigMap with default objects is not there; none are made");
            return Ok(());
        };
        let before: BTreeSet<&str> = map
            .annotations()
            .get(MADE)
            .map(|made| made.split(',').filter(|key| !key.is_empty()).collect())
            .unwrap_or_default();
        let (mut made, mut failed) = (before.clone(), Ok(()));
        for (key, text) in map.data.iter().flatten().filter(|(key, _)| !before.contains(key.as_str())) {
            match understood(text) {
                Ok(object) => match self.create(key, object).await {
                    Ok(()) => drop(made.insert(key)),
                    Err(error) => failed = Err(error).with_context(|| format!("making {key}")),
                },
                // It will be no better the next time.
                Err(why) if self.passed_over.get(key) == Some(&why) => {}
                Err(why) => {
                    tracing::error!(name, key, why, "a default object is passed over");
                    self.passed_over.insert(key.clone(), why);
                }
            }
        }
        if made != before {
            let made = made.into_iter().collect::<Vec<_>>().join(",");
            let patch = json!({ "metadata": { "annotations": { MADE: made } } });
            let written = self.maps.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
            written.context("writing down what was made")?;
        }
        failed
    }

    /// Makes one; one that is there is somebody's, and is left alone.
    async fn create(&self, key: &str, object: Object) -> Result<(), kube::Error> {
        let params = PostParams::default();
        let outcome = match object {
            Object::Model(model) => self.models.create(&params, &model).await.map(drop),
            Object::Pool(pool) => self.pools.create(&params, &pool).await.map(drop),
        };
        match outcome {
            Ok(()) => tracing::info!(key, "a default object was made; it is yours to change or to delete"),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                tracing::info!(key, "a default object was there already");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn understood(text: &str) -> Result<Object, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let kind = value["kind"].as_str().unwrap_or_default().to_owned();
    let wrong = |error: serde_json::Error| format!("it is no {kind}: {error}");
    match kind.as_str() {
        "DiffusionModel" => serde_json::from_value(value).map(|it| Object::Model(Box::new(it))).map_err(wrong),
        "GpuPool" => serde_json::from_value(value).map(|it| Object::Pool(Box::new(it))).map_err(wrong),
        _ => Err(format!("it is a {kind:?}; only a DiffusionModel or a GpuPool can be a default object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_models_and_pools_are_made() {
        let of = |kind: &str| json!({ "apiVersion": "tintype.dev/v1alpha1", "kind": kind, "metadata": { "name": "a" }, "spec": {} });
        assert!(matches!(understood(&of("GpuPool").to_string()), Ok(Object::Pool(pool)) if pool.name_any() == "a"));
        for (text, words) in [
            ("{", "no JSON"),
            (&of("ClusterRoleBinding").to_string(), "only a DiffusionModel or a GpuPool"),
            (&of("DiffusionModel").to_string(), "no DiffusionModel: missing field"),
        ] {
            let why = understood(text).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }
}
