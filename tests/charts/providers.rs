//! Adapters of paid providers: what the chart makes for each pool that is named, and what it refuses.

use serde_json::{Value, json};

use crate::helm::{chart, render, template};
use crate::manifest::{of_kind, one, text};

/// The example with two pools.
fn rendered() -> String {
    render(&["--values".to_owned(), chart().join("ci/provider-values.yaml").display().to_string()])
}

/// The pod in a PodTemplate.
fn pod(rendered: &str, pool: &str) -> Value {
    one(rendered, "PodTemplate", &format!("tintype-provider-{pool}"))["template"].clone()
}

/// Secrets a pod mounts, by volume: whose, and which of its keys.
fn secrets(pod: &Value) -> Vec<(String, String, String)> {
    let volumes = pod["spec"]["volumes"].as_array().unwrap().iter().filter(|volume| volume["secret"].is_object());
    let words = |volume: &Value| {
        let key = text(volume, "/secret/items/0/key");
        [text(volume, "/name"), text(volume, "/secret/secretName"), key].map(str::to_owned).into()
    };
    let mut secrets: Vec<_> = volumes.map(words).collect();
    secrets.sort();
    secrets
}

fn named(words: &[[&str; 3]]) -> Vec<(String, String, String)> {
    words.iter().map(|words| words.map(str::to_owned).into()).collect()
}

fn variable(pod: &Value, name: &str) -> Option<String> {
    let variables = pod.pointer("/spec/containers/0/env").and_then(Value::as_array)?;
    let found = variables.iter().find(|variable| variable["name"] == name)?;
    Some(text(found, "/value").to_owned())
}

#[test]
fn each_pool_gets_an_adapter_with_its_own_key_and_no_other() {
    let rendered = rendered();
    let (burst, spare) = (pod(&rendered, "burst"), pod(&rendered, "spare"));
    let token = ["worker-token", "tintype-worker-token", "token"];
    let signer = ["c2pa", "signer", ""];
    let (key, hooks) = (["provider-key", "replicate", "token"], ["webhook-secret", "replicate", "webhooks"]);
    assert_eq!(secrets(&burst), named(&[signer, key, hooks, token]));
    assert_eq!(secrets(&spare), named(&[signer, ["provider-key", "runpod", "key"], token]));
    for (pod, pool, hooks) in [(&burst, "burst", Some("https://hooks.example.com/burst")), (&spare, "spare", None)] {
        let container = &pod["spec"]["containers"][0];
        // As the operator looks for it, and as the image has it.
        assert_eq!((text(container, "/name"), text(container, "/command/0")), ("worker", "/usr/bin/tintype-provider"));
        assert_eq!(text(container, "/image"), "registry.invalid/tintype/gpu-worker:0.1.0");
        assert_eq!(variable(pod, "TINTYPE_POOL").as_deref(), Some(pool));
        assert_eq!(variable(pod, "TINTYPE_PROVIDER_PUBLIC_URL").as_deref(), hooks);
        assert_eq!(pod.pointer("/metadata/labels/tintype.dev~1pool"), Some(&json!(pool)));
    }
    assert_eq!(tintype_crds::labels::POOL, "tintype.dev/pool", "the label written in the chart");
}

#[test]
fn nothing_is_made_for_providers_nobody_named() {
    let rendered = render(&[]);
    for kind in ["PodTemplate", "ServiceAccount", "Role", "ClusterRole", "NetworkPolicy", "Service"] {
        let found =
            of_kind(&rendered, kind).into_iter().any(|object| text(&object, "/metadata/name").contains("provider"));
        assert!(!found, "{kind}");
    }
}

/// No custom resources: what may be spent is the team's own GpuPool, which no upgrade of a release may change.
#[test]
fn what_may_be_spent_is_not_in_the_chart() {
    let pools = of_kind(&rendered(), "GpuPool");
    assert!(pools.iter().all(|pool| pool.pointer("/spec/provider").is_none()), "{pools:?}");
}

#[test]
fn an_adapter_goes_out_by_tls_to_the_operator_and_to_names_and_nowhere_else() {
    let policy = one(&rendered(), "NetworkPolicy", "-provider");
    let port = |port: Value, protocol: &str| json!({ "port": port, "protocol": protocol });
    let operator = json!({ "podSelector": { "matchLabels": {
        "app.kubernetes.io/name": "tintype", "app.kubernetes.io/component": "operator",
    }}});
    let proxy = json!({ "ipBlock": { "cidr": "10.20.0.0/16" } });
    let egress = json!([
        { "ports": [port(json!(53), "UDP"), port(json!(53), "TCP")] },
        { "to": [operator], "ports": [port(json!(8080), "TCP")] },
        { "ports": [port(json!(443), "TCP"), port(json!(6443), "TCP")] },
        { "to": [proxy], "ports": [port(json!(3128), "TCP")] },
    ]);
    assert_eq!(policy["spec"]["egress"], egress);
    let ingress = json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "ingress" } } });
    assert_eq!(policy["spec"]["ingress"], json!([{ "from": [ingress], "ports": [port(json!("http"), "TCP")] }]));
    let let_in = one(&rendered(), "NetworkPolicy", "-operator");
    let components = let_in.pointer("/spec/ingress/0/from/0/podSelector/matchExpressions/0/values").unwrap();
    assert!(components.as_array().unwrap().contains(&json!("provider")), "the operator lets adapters in");
}

#[test]
fn pools_that_cannot_work_are_refused_with_what_is_wrong() {
    let one = "providers.pools[0].name=burst,providers.pools[0].keySecret.name=k";
    let long = "p".repeat(48);
    for (more, said) in [
        ("providers.pools[0].publicUrl=http://x.test".to_owned(), "/providers/pools/0/publicUrl"),
        ("providers.pools[0].kind=replicate".to_owned(), "additional properties 'kind' not allowed"),
        ("providers.pools[0].keySecret=null".to_owned(), "got null, want object"),
        ("providers.pools[0].webhookSecret.name=w".to_owned(), "has a webhookSecret and no publicUrl"),
        ("providers.pools[1].name=burst,providers.pools[1].keySecret.name=k".to_owned(), "has burst twice"),
        (format!("providers.pools[0].name={long}"), "more than 63 characters"),
        ("operator.enabled=false,worker.enabled=false".to_owned(), "dispatch.url is empty"),
    ] {
        let refused = template(&["--set", &format!("{one},{more}")]).expect_err(&more);
        assert!(refused.contains(said), "{more}: {refused}");
    }
}
