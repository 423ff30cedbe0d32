//! Rendering without a cluster: what is refused and how, and what must hold in every rendering.

use serde_json::{Value, json};

use crate::helm::{chart, crds_chart, examples, helm, render, template};
use crate::manifest::{name, objects, of_kind, one, pods, text};

#[test]
fn lint_has_nothing_to_say() {
    let (chart, crds) = (chart().display().to_string(), crds_chart().display().to_string());
    for (example, values) in examples() {
        let mut arguments = vec!["lint".to_owned(), "--strict".to_owned(), "--quiet".to_owned(), chart.clone()];
        arguments.extend(values);
        let output = helm(&arguments);
        assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stdout));
    }
    assert!(helm(&["lint", "--strict", "--quiet", &crds]).status.success());
}

/// A wrong value is named in the message; nothing is installed with a misspelt key left out in silence.
#[test]
fn wrong_values_are_refused_by_name() {
    for (wrong, said) in [
        ("worker.replicaz=2", "additional properties 'replicaz' not allowed"),
        ("operatr.replicas=2", "additional properties 'operatr' not allowed"),
        ("operator.image.sha=1", "additional properties 'sha' not allowed"),
        ("worker.replicas=two", "/worker/replicas"),
        ("operator.replicas=0", "/operator/replicas"),
        ("worker.gpu.count=0", "/worker/gpu/count"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("operator.image.digest=latest", "/operator/image/digest"),
        ("worker.tolerations[0].efect=NoSchedule", "additional properties 'efect' not allowed"),
        ("worker.resources.limit.cpu=1", "additional properties 'limit' not allowed"),
        ("dispatch.url=tintype:8080", "/dispatch/url"),
        ("dispatch.url=http://tintype:8080/", "/dispatch/url"),
    ] {
        let refused = template(&["--set", wrong]).expect_err(wrong);
        assert!(refused.contains(said), "{wrong}: {refused}");
    }
}

/// Values that do not go together are refused with what to do about it.
#[test]
fn values_that_do_not_go_together_are_refused() {
    for (values, said) in [
        ("api.enabled=true,database.enabled=false", "kubectl create secret generic tintype-database"),
        ("database.ephemeral=true,database.existingClaim=data", "in the pod or in the claim"),
        ("objectStore.bucket=pictures", "kubectl create secret generic tintype-bucket"),
        ("operator.replicas=2", "operator.store.accessModes={ReadWriteMany}"),
        ("operator.enabled=false", "dispatch.url is empty"),
        ("operator.enabled=false,dispatch.url=http://tintype:8080", "secrets.workerToken.existingSecret is empty"),
        ("worker.models.bundledDir=", "worker.models.existingClaim"),
        ("worker.serviceAccount.create=false", "worker.serviceAccount.name is empty"),
        ("api.enabled=true,api.database.existingSecret=x,api.ingress.enabled=true", "api.ingress.host is empty"),
        ("worker.models.cacheClaim=a,worker.models.cachePersistent=true", "name the claim, or have one made"),
        ("serviceMonitor.enabled=true", "Install the Prometheus operator first"),
        ("podMonitor.enabled=true", "Install the Prometheus operator first"),
        ("podMonitor.enabled=true,serviceMonitor.enabled=true", "every number would be there twice"),
        ("prometheusRule.enabled=true", "Install the Prometheus operator first"),
    ] {
        let refused = template(&["--set", values]).expect_err(values);
        assert!(refused.contains(said), "{values}: {refused}");
    }
    for monitor in ["serviceMonitor.enabled=true", "podMonitor.enabled=true"] {
        let blind = template(&["--set", monitor, "--api-versions", "monitoring.coreos.com/v1"]);
        assert!(blind.unwrap_err().contains("networkPolicy.metricsFrom"), "{monitor}");
    }
}

#[test]
fn only_whom_the_cluster_must_know_gets_a_token() {
    for (example, values) in examples() {
        for pod in pods(&render(&values)) {
            let component = text(&pod, "/metadata/labels/app.kubernetes.io~1component");
            let wanted = matches!(component, "operator" | "api" | "provider" | "test" | "database-secret");
            assert_eq!(pod["spec"]["automountServiceAccountToken"], wanted, "{example}: {}", name(&pod));
        }
        for account in of_kind(&render(&values), "ServiceAccount") {
            assert_eq!(account["automountServiceAccountToken"], false, "{example}: {}", name(&account));
        }
    }
}

#[test]
fn each_pod_has_only_the_secrets_it_needs() {
    let values = ["--values".to_owned(), chart().join("ci/api-values.yaml").display().to_string()];
    let rendered = render(&values);
    for (kind, component, wanted) in [
        ("Deployment", "operator", vec!["dispatch-token", "store-secret", "worker-token"]),
        ("Deployment", "api", vec!["admin-token", "dispatch-token"]),
        ("StatefulSet", "worker", vec!["worker-token"]),
    ] {
        let workload = one(&rendered, kind, component);
        let volumes = workload.pointer("/spec/template/spec/volumes").and_then(Value::as_array).unwrap();
        let mut mounted: Vec<_> =
            volumes.iter().filter(|v| v["secret"].is_object()).map(|v| text(v, "/name")).collect();
        mounted.sort_unstable();
        assert_eq!(mounted, wanted, "{component}");
    }
}

/// The database of a release is made, kept and let alone: its password is in nothing that is rendered, and rendering twice gives
/// the same; who names a database of theirs gets none of it.
#[test]
fn a_database_of_the_release_s_own_has_a_password_nobody_rendered() {
    let with = |value: &str| render(&["--set".to_owned(), format!("api.enabled=true,{value}")]);
    let rendered = with("database.size=1Gi");
    let workload = one(&rendered, "StatefulSet", "-database");
    let volumes = workload.pointer("/spec/template/spec/volumes").and_then(Value::as_array).unwrap();
    let mounted: Vec<_> = volumes.iter().filter_map(|volume| volume.pointer("/secret/secretName")).collect();
    assert_eq!(mounted, ["tintype-database-access"]);
    let api = one(&rendered, "Deployment", "-api");
    let url = api.pointer("/spec/template/spec/containers/0/env/0/valueFrom/secretKeyRef");
    assert_eq!(url, Some(&json!({ "name": "tintype-database-access", "key": "url" })));
    let secrets = of_kind(&rendered, "Secret");
    assert!(secrets.iter().all(|secret| !name(secret).contains("database")), "a rendered password is everybody's");
    let job = |rendered: &str| name(&of_kind(rendered, "Job")[0]);
    assert_eq!(job(&rendered), job(&with("database.size=2Gi")), "the same Job");
    assert_ne!(job(&rendered), job(&with("image.tag=v2")), "no Job can be changed");

    assert!(
        of_kind(&with("database.ephemeral=true"), "PersistentVolumeClaim")
            .iter()
            .all(|claim| !name(claim).contains("database"))
    );
    let yours = with("api.database.existingSecret=yours,api.database.key=uri");
    assert!(objects(&yours).iter().all(|object| !name(object).contains("database")), "nobody asked for one");
    let api = one(&yours, "Deployment", "-api");
    let url = api.pointer("/spec/template/spec/containers/0/env/0/valueFrom/secretKeyRef");
    assert_eq!(url, Some(&json!({ "name": "yours", "key": "uri" })));
}

/// With a bucket the operator has no volume, and nobody but it the bucket's key.
#[test]
fn a_bucket_takes_the_place_of_the_volume() {
    let values = ["--values".to_owned(), chart().join("ci/bucket-values.yaml").display().to_string()];
    let rendered = render(&values);
    assert!(of_kind(&rendered, "PersistentVolumeClaim").is_empty());
    let operator = one(&rendered, "Deployment", "-operator").to_string();
    assert!(operator.contains("TINTYPE_S3_BUCKET") && !operator.contains("--store-dir"));
    let holders: Vec<_> =
        pods(&rendered).iter().filter(|pod| pod.to_string().contains("tintype-bucket")).map(name).collect();
    assert_eq!(holders, ["Pod/tintype-operator"]);
    for policy in ["-worker", "-provider"] {
        let egress = one(&rendered, "NetworkPolicy", policy)["spec"]["egress"].to_string();
        assert!(egress.contains("8443"), "{policy} cannot reach the bucket: {egress}");
    }
}

#[test]
fn gpus_are_asked_for_when_switched_on_and_not_otherwise() {
    let limits = |values: &[&str]| {
        let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
        let worker = one(&render(&values), "StatefulSet", "worker");
        worker.pointer("/spec/template/spec/containers/0/resources/limits").unwrap().clone()
    };
    assert_eq!(limits(&[]), json!({ "memory": "4Gi" }));
    let two = ["--set", "worker.gpu.enabled=true", "--set", "worker.gpu.count=2"];
    assert_eq!(limits(&two), json!({ "memory": "4Gi", "nvidia.com/gpu": 2 }));
}

/// Fetched models are kept with the pod, in a claim somebody names, or in one that is made and stays.
#[test]
fn fetched_models_are_kept_where_the_values_say() {
    let cache = |values: &str| {
        let rendered = render(&["--set".to_owned(), values.to_owned()]);
        let worker = one(&rendered, "StatefulSet", "worker");
        let volumes = worker.pointer("/spec/template/spec/volumes").and_then(Value::as_array).unwrap().clone();
        let volume = volumes.into_iter().find(|volume| volume["name"] == "cache").unwrap();
        let claims = of_kind(&rendered, "PersistentVolumeClaim");
        let made = claims.into_iter().find(|claim| text(claim, "/metadata/name").ends_with("-models-cache"));
        (volume, made)
    };
    let (own, none) = cache("worker.models.cacheSize=50Gi");
    assert_eq!((&own["emptyDir"]["sizeLimit"], none), (&json!("50Gi"), None));
    let (named, none) = cache("worker.models.cacheClaim=models");
    assert_eq!((&named["persistentVolumeClaim"], none), (&json!({ "claimName": "models" }), None));
    let (made, claim) = cache("worker.models.cachePersistent=true,worker.models.cacheStorageClassName=shared");
    let claim = claim.unwrap();
    assert_eq!(made["persistentVolumeClaim"]["claimName"], claim["metadata"]["name"]);
    assert_eq!(
        claim["spec"],
        json!({ "accessModes": ["ReadWriteMany"], "storageClassName": "shared",
            "resources": { "requests": { "storage": "100Gi" } } })
    );
    assert_eq!(claim["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
}

/// The API reads the book it is given, as it would read a file of the same words, and starts anew with another.
#[test]
fn a_price_book_of_the_values_reaches_the_api_whole() {
    let values = ["--values".to_owned(), chart().join("ci/demo-values.yaml").display().to_string()];
    let with = |more: &[&str]| {
        render(&[&values[..], &more.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()].concat())
    };
    let rendered = with(&[]);
    let map = one(&rendered, "ConfigMap", "-price-book");
    let book = tintype_api::payments::plans::PriceBook::parse(text(&map, "/data/price-book.json")).unwrap();
    assert_eq!((book.version, book.currency.as_str(), book.pack("credits-100").unwrap().price_minor), (2, "eur", 900));
    assert!(book.jobs.models.contains_key("tintype/shapes"), "{book:?}");
    let api =
        |rendered: &str| one(rendered, "Deployment", "-api")["spec"]["template"]["metadata"]["annotations"].clone();
    let changed = with(&["--set", "api.priceBook.version=3"]);
    assert!(api(&rendered) != api(&changed) && api(&rendered)["tintype.dev/price-book"].is_string());
    let shipped = with(&["--set", "api.priceBook=null"]);
    assert!(!shipped.contains("price-book"), "the book that ships is in the program");
}

/// It finds the pods of each program that has numbers, by a port that they have.
#[test]
fn a_pod_monitor_finds_every_program() {
    let mut values = vec!["--values".to_owned(), chart().join("ci/provider-values.yaml").display().to_string()];
    values.extend(["--set", "podMonitor.enabled=true,api.enabled=true,networkPolicy.enabled=false"].map(str::to_owned));
    let rendered = render(&values);
    let monitor = one(&rendered, "PodMonitor", "");
    let spec = &monitor["spec"];
    let asked = &spec["selector"]["matchExpressions"][0];
    assert_eq!(asked["key"], "app.kubernetes.io/component");
    let (port, mut found) = (text(spec, "/podMetricsEndpoints/0/port"), std::collections::BTreeSet::new());
    for pod in pods(&rendered) {
        let labels = &pod["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/instance"], spec["selector"]["matchLabels"]["app.kubernetes.io/instance"]);
        if asked["values"].as_array().unwrap().contains(&labels["app.kubernetes.io/component"]) {
            let ports = pod["spec"]["containers"][0]["ports"].as_array().unwrap().clone();
            assert!(ports.iter().any(|one| one["name"] == port), "{}", name(&pod));
            found.insert(text(labels, "/app.kubernetes.io~1component").to_owned());
        }
    }
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["api", "operator", "provider", "worker"]);
}

/// With one replica nothing is labelled and no right to do so is given; with more, the Service follows the label.
#[test]
fn the_dispatch_service_follows_the_leader_when_there_may_be_two() {
    let values = ["--set", "operator.replicas=2", "--set", "operator.store.accessModes={ReadWriteMany}"];
    for (values, follows) in [(Vec::new(), false), (values.map(str::to_owned).to_vec(), true)] {
        let rendered = render(&values);
        let service = one(&rendered, "Service", "-dispatch");
        assert_eq!(text(&service, "/spec/selector/tintype.dev~1leader") == "true", follows);
        let operator = one(&rendered, "Deployment", "-operator");
        let variables = operator.pointer("/spec/template/spec/containers/0/env").and_then(Value::as_array).unwrap();
        assert_eq!(variables.iter().any(|variable| variable["name"] == "POD_NAME"), follows);
        let budgets = of_kind(&rendered, "PodDisruptionBudget");
        assert_eq!(budgets.len(), usize::from(follows));
        assert_eq!(tintype_crds::labels::LEADER, "tintype.dev/leader", "the label written in the chart");
    }
}

/// A Service that selects nothing, a mount without a volume, a probe without a port: helm lets all of them pass.
#[test]
fn what_refers_to_something_in_the_release_finds_it() {
    for (example, values) in examples() {
        let rendered = render(&values);
        let pods = pods(&rendered);
        for service in of_kind(&rendered, "Service") {
            let mut selector = service["spec"]["selector"].as_object().unwrap().clone();
            selector.remove(tintype_crds::labels::LEADER);
            let found =
                pods.iter().filter(|pod| selector.iter().all(|(k, v)| &pod["metadata"]["labels"][k] == v)).count();
            assert_eq!(found, 1, "{example}: {} selects {found} workloads", name(&service));
        }
        for pod in &pods {
            let container = &pod["spec"]["containers"][0];
            let names = |list: &Value| -> Vec<String> {
                list.as_array().into_iter().flatten().map(|item| text(item, "/name").to_owned()).collect()
            };
            let (mut mounts, mut volumes) = (names(&container["volumeMounts"]), names(&pod["spec"]["volumes"]));
            mounts.sort();
            volumes.sort();
            assert_eq!(mounts, volumes, "{example}: {}", name(pod));
            // One that runs to its end is judged by that.
            let runs_on = pod["spec"].get("restartPolicy").is_none();
            for probe in ["livenessProbe", "readinessProbe"].into_iter().filter(|_| runs_on) {
                let asked = &container[probe];
                let port = asked.get("httpGet").or_else(|| asked.get("tcpSocket")).map_or("", |by| text(by, "/port"));
                assert!(names(&container["ports"]).iter().any(|name| name == port), "{example}: {} {probe}", name(pod));
            }
        }
    }
}

/// Everything but the kinds, the cluster's roles and the objects of our own cluster-wide kinds is in the namespace.
#[test]
fn every_object_says_where_it_belongs() {
    for (example, values) in examples() {
        for object in objects(&render(&values)) {
            let kind = text(&object, "/kind");
            let of_the_cluster = kind.starts_with("ClusterRole")
                || ["CustomResourceDefinition", "DiffusionModel", "GpuPool"].contains(&kind);
            let wanted = if of_the_cluster { "" } else { "pictures" };
            assert_eq!(text(&object, "/metadata/namespace"), wanted, "{example}: {}", name(&object));
        }
    }
}

/// The files reach the cluster as they are: Helm's braces and Prometheus' are the same, and must not be taken for each other.
#[test]
fn alerts_and_dashboards_reach_the_cluster_as_the_files_have_them() {
    let with = |more: &[&str]| {
        let mut values = vec!["--set", "prometheusRule.enabled=true", "--set", "dashboards.enabled=true"];
        values.extend(more);
        let values: Vec<_> = values.into_iter().map(str::to_owned).collect();
        render(&values)
    };
    let file: Value =
        serde_yaml_ng::from_str(&std::fs::read_to_string(chart().join("monitoring/alerts.yaml")).unwrap()).unwrap();
    let rendered = with(&[]);
    assert_eq!(of_kind(&rendered, "PrometheusRule")[0]["spec"], file);
    let moved = with(&["--set", "prometheusRule.runbooks=https://example.com/books/"]);
    let moved = of_kind(&moved, "PrometheusRule")[0]["spec"].to_string();
    let alerts = file.to_string().matches("\"alert\":").count();
    assert_eq!(moved.matches("\"runbook_url\":\"https://example.com/books/Tintype").count(), alerts);

    let dashboards: Vec<Value> = of_kind(&rendered, "ConfigMap")
        .into_iter()
        .filter(|map| map.pointer("/metadata/labels/grafana_dashboard") == Some(&json!("1")))
        .collect();
    assert_eq!(dashboards.len(), 9);
    for map in dashboards {
        for (name, text) in map["data"].as_object().unwrap() {
            let written = std::fs::read_to_string(chart().join("monitoring/dashboards").join(name)).unwrap();
            let shown: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
            assert_eq!(shown, serde_json::from_str::<Value>(&written).unwrap(), "{name}");
        }
    }
}
