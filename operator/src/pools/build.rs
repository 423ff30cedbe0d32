//! What a pool's Deployment should be. Pure: the pool and its template in, the object or a refusal out.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, KeyToPath, PodSpec, PodTemplate, PodTemplateSpec, SecretVolumeSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource as _, ResourceExt as _};
use tintype_crds::labels::POOL;
use tintype_crds::reasons::{POOL_INVALID, TEMPLATE_NOT_FOUND};
use tintype_crds::{GpuPool, SecretKey};

use crate::refusal::Refusal;

/// The container of a template that is the worker.
const CONTAINER: &str = "worker";
/// By which a worker knows its pool.
const POOL_VARIABLE: &str = "TINTYPE_POOL";
/// By which the adapter of a provider's pool finds the provider's key, and the volume it lies in.
const KEY_VARIABLE: &str = "TINTYPE_PROVIDER_KEY_FILE";
const KEY_VOLUME: &str = "provider-key";
const KEY_FOLDER: &str = "/etc/tintype/provider-key";
/// Read by the pod's user and group.
const KEY_MODE: i32 = 0o440;
/// A pod is named after its Deployment with two random parts, and its name is a label too: 63 characters.
const NAME_CHARS_MAX: usize = 50;

/// What the pool names, once it is there and of use.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pool: &'a GpuPool,
    template: &'a PodTemplateSpec,
}

impl<'a> Wanted<'a> {
    /// Checks a pool against the template that was found under the name it gives.
    pub(crate) fn new(pool: &'a GpuPool, template: Option<&'a PodTemplate>) -> Result<Self, Refusal> {
        let (name, wanted) = (pool.name_any(), pool.spec.template.as_deref().unwrap_or_default());
        let refuse = |reason, message| Err(Refusal { reason, message });
        if name.len() > NAME_CHARS_MAX {
            let message =
                format!("the pool's name has more than {NAME_CHARS_MAX} characters: make a pool with a shorter one");
            return refuse(POOL_INVALID, message);
        }
        let Some(template) = template else {
            return refuse(
                TEMPLATE_NOT_FOUND,
                format!("there is no PodTemplate {wanted}: make it, or correct spec.template"),
            );
        };
        match &template.template {
            Some(spec) if worker(spec).is_some() => Ok(Self { pool, template: spec }),
            Some(_) | None => refuse(
                POOL_INVALID,
                format!("the PodTemplate {wanted} has no container named {CONTAINER}: give the worker that name"),
            ),
        }
    }

    /// The Deployment as it is applied.
    pub(crate) fn deployment(&self, namespace: &str) -> Deployment {
        let name = self.pool.name_any();
        let labels = BTreeMap::from([(POOL.to_owned(), name.clone())]);
        let mut template = self.template.clone();
        template.metadata.get_or_insert_default().labels.get_or_insert_default().extend(labels.clone());
        for container in template.spec.iter_mut().flat_map(|spec| &mut spec.containers) {
            if container.name == CONTAINER {
                tell(container, POOL_VARIABLE, name.clone());
            }
        }
        let key = self.pool.spec.provider.as_ref().and_then(|provider| provider.secret_ref.as_ref());
        if let (Some(key), Some(spec)) = (key, &mut template.spec) {
            hand_key(spec, key);
        }
        Deployment {
            metadata: ObjectMeta {
                name: Some(deployment_name(&name)),
                namespace: Some(namespace.to_owned()),
                labels: Some(labels.clone()),
                // It goes with its pool.
                owner_references: self.pool.owner_ref(&()).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(DeploymentSpec {
                replicas: self.pool.spec.replicas.map(|replicas| i32::try_from(replicas).unwrap_or(i32::MAX)),
                selector: LabelSelector { match_labels: Some(labels), ..LabelSelector::default() },
                // A GPU is free only once its last worker has gone.
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".to_owned()),
                    rolling_update: Some(RollingUpdateDeployment {
                        max_surge: Some(IntOrString::Int(0)),
                        max_unavailable: Some(IntOrString::Int(1)),
                    }),
                }),
                template,
                ..DeploymentSpec::default()
            }),
            status: None,
        }
    }
}

/// What the Deployment of a pool is called.
pub(crate) fn deployment_name(pool: &str) -> String {
    format!("pool-{pool}")
}

/// Which pods are a pool's, as text.
pub(crate) fn selector(pool: &str) -> String {
    format!("{POOL}={pool}")
}

fn worker(template: &PodTemplateSpec) -> Option<&Container> {
    template.spec.as_ref()?.containers.iter().find(|container| container.name == CONTAINER)
}

fn tell(container: &mut Container, variable: &str, value: String) {
    let env = container.env.get_or_insert_default();
    env.retain(|old| old.name != variable);
    env.push(EnvVar { name: variable.to_owned(), value: Some(value), value_from: None });
}

/// Gives the worker's container the provider's key as a file. The kubelet reads the Secret; no program of ours may.
fn hand_key(spec: &mut PodSpec, key: &SecretKey) {
    let volumes = spec.volumes.get_or_insert_default();
    volumes.retain(|old| old.name != KEY_VOLUME);
    volumes.push(Volume {
        name: KEY_VOLUME.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(key.name.clone()),
            items: Some(vec![KeyToPath { key: key.key.clone(), path: "key".to_owned(), mode: None }]),
            default_mode: Some(KEY_MODE),
            optional: None,
        }),
        ..Volume::default()
    });
    for container in spec.containers.iter_mut().filter(|container| container.name == CONTAINER) {
        let mounts = container.volume_mounts.get_or_insert_default();
        mounts.retain(|old| old.name != KEY_VOLUME);
        mounts.push(VolumeMount {
            name: KEY_VOLUME.to_owned(),
            mount_path: KEY_FOLDER.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        });
        tell(container, KEY_VARIABLE, format!("{KEY_FOLDER}/key"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pool(name: &str) -> GpuPool {
        serde_json::from_value(json!({
            "apiVersion": "tintype.dev/v1alpha1", "kind": "GpuPool", "metadata": { "name": name, "uid": "u" },
            "spec": { "template": "worker", "replicas": 3 },
        }))
        .unwrap()
    }

    fn template(container: &str) -> PodTemplate {
        serde_json::from_value(json!({
            "metadata": { "name": "worker" },
            "template": { "metadata": { "labels": { "app": "w" } }, "spec": { "containers": [
                { "name": container, "image": "i", "env": [{ "name": "TINTYPE_POOL", "value": "of-the-template" }] },
                { "name": "beside", "image": "i" },
            ]}},
        }))
        .unwrap()
    }

    #[test]
    fn a_pool_gets_a_deployment_of_its_template_that_goes_with_it() {
        let (pool, template) = (pool("l40s"), template("worker"));
        let made = json!(Wanted::new(&pool, Some(&template)).unwrap().deployment("tintype"));
        assert_eq!(made["metadata"]["name"], "pool-l40s");
        assert_eq!(made["metadata"]["ownerReferences"][0]["kind"], "GpuPool");
        assert_eq!(
            (&made["spec"]["replicas"], &made["spec"]["strategy"]["rollingUpdate"]["maxSurge"]),
            (&json!(3), &json!(0))
        );
        let pod = &made["spec"]["template"];
        assert_eq!(pod["metadata"]["labels"], json!({ "app": "w", "tintype.dev/pool": "l40s" }));
        assert_eq!(made["spec"]["selector"]["matchLabels"], json!({ "tintype.dev/pool": "l40s" }));
        let env = json!([{ "name": "TINTYPE_POOL", "value": "l40s" }]);
        assert_eq!(pod["spec"]["containers"][0]["env"], env, "the pool is the pool's to say");
        assert_eq!(pod["spec"]["containers"][1]["env"], Value::Null, "who stands beside the worker is left alone");
    }

    #[test]
    fn a_providers_adapter_is_handed_the_key_and_nobody_beside_it() {
        let mut pool = pool("burst");
        pool.spec.provider = serde_json::from_value(json!({
            "kind": "replicate", "baseUrl": "https://x.test", "secretRef": { "name": "replicate", "key": "token" },
            "models": [], "budget": { "dayMicroUsd": 1, "monthMicroUsd": 1 },
        }))
        .unwrap();
        let made = json!(Wanted::new(&pool, Some(&template("worker"))).unwrap().deployment("tintype"));
        let pod = &made["spec"]["template"]["spec"];
        assert_eq!(pod["volumes"][0]["secret"]["secretName"], "replicate");
        assert_eq!(pod["volumes"][0]["secret"]["items"], json!([{ "key": "token", "path": "key" }]));
        let (adapter, beside) = (&pod["containers"][0], &pod["containers"][1]);
        assert_eq!(adapter["volumeMounts"][0]["mountPath"], "/etc/tintype/provider-key");
        let expected = json!({ "name": "TINTYPE_PROVIDER_KEY_FILE", "value": "/etc/tintype/provider-key/key" });
        assert_eq!(adapter["env"].as_array().unwrap().last(), Some(&expected));
        assert_eq!(beside["volumeMounts"], Value::Null);
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_what_to_do() {
        let refused = |pool: &GpuPool, template: Option<&PodTemplate>| Wanted::new(pool, template).unwrap_err();
        let (short, worker) = (pool("l40s"), template("worker"));
        assert_eq!(refused(&short, None).reason, TEMPLATE_NOT_FOUND);
        let other = refused(&short, Some(&template("main")));
        assert!(other.reason == POOL_INVALID && other.message.contains("no container named worker"), "{other:?}");
        assert_eq!(refused(&pool(&"x".repeat(51)), Some(&worker)).reason, POOL_INVALID);
        assert!(Wanted::new(&pool(&"x".repeat(50)), Some(&worker)).is_ok());
        let empty = PodTemplate { template: None, ..worker };
        assert_eq!(refused(&short, Some(&empty)).reason, POOL_INVALID);
    }
}
