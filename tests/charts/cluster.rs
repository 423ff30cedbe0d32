//! The charts in front of a real API server: it installs them, accepts every object, admits every pod, and gives each
//! program the rights it should have and no more. There is no kubelet, so nothing runs.

use std::process::Output;
use std::sync::OnceLock;

use tintype_kubetest::{ControlPlane, Options};

use crate::helm::{chart, command, examples, render};
use crate::manifest::{name, objects, pods, stream};
use crate::operator::operated;

/// Where the release all tests share is installed.
pub(crate) const NAMESPACE: &str = "tintype";
/// What the examples are rendered for; pods in it must satisfy the strictest Pod Security Standard.
const RESTRICTED: &str = "pictures";
const RESTRICTED_NAMESPACE: &str = r#"
{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "pictures", "labels": {
    "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}}}
"#;
/// Things of others that the examples name.
const OF_OTHERS: &str = r#"
{"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "nvidia"}
---
{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
 "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
 "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced",
  "names": {"kind": "ServiceMonitor", "plural": "servicemonitors"},
  "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
   "required": ["spec"], "properties": {"spec": {"type": "object", "required": ["endpoints", "selector"], "properties": {
    "selector": {"type": "object", "properties": {
     "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}}}},
    "endpoints": {"type": "array", "items": {"type": "object", "properties": {
     "port": {"type": "string"}, "path": {"type": "string"},
     "interval": {"type": "string", "pattern": "^(0|(([0-9]+)y)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"}}}}}}}}}}]}}
---
{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
 "metadata": {"name": "podmonitors.monitoring.coreos.com"},
 "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced",
  "names": {"kind": "PodMonitor", "plural": "podmonitors"},
  "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
   "required": ["spec"], "properties": {"spec": {"type": "object", "required": ["podMetricsEndpoints", "selector"],
   "properties": {"selector": {"type": "object", "properties": {
     "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
     "matchExpressions": {"type": "array", "items": {"type": "object", "required": ["key", "operator"], "properties": {
      "key": {"type": "string"}, "operator": {"type": "string"}, "values": {"type": "array", "items": {"type": "string"}}}}}}},
    "podMetricsEndpoints": {"type": "array", "items": {"type": "object", "properties": {
     "port": {"type": "string"}, "path": {"type": "string"},
     "interval": {"type": "string", "pattern": "^(0|(([0-9]+)y)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"}}}}}}}}}}]}}
---
{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
 "metadata": {"name": "prometheusrules.monitoring.coreos.com"},
 "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced",
  "names": {"kind": "PrometheusRule", "plural": "prometheusrules"},
  "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
   "properties": {"spec": {"type": "object", "required": ["groups"], "properties": {
    "groups": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {
     "name": {"type": "string", "minLength": 1}, "rules": {"type": "array", "items": {"type": "object", "required": ["expr"],
     "properties": {"alert": {"type": "string"}, "for": {"type": "string"}, "expr": {"type": "string"},
     "labels": {"type": "object", "additionalProperties": {"type": "string"}},
     "annotations": {"type": "object", "additionalProperties": {"type": "string"}}}}}}}}}}}}}}]}}
"#;

/// A control plane with the chart installed, and two adapters of paid providers beside what comes without a word.
pub(crate) fn installed() -> &'static ControlPlane {
    static READY: OnceLock<&'static ControlPlane> = OnceLock::new();
    READY.get_or_init(|| {
        let plane = ControlPlane::shared_blocking().unwrap();
        let providers = chart().join("ci/provider-values.yaml").display().to_string();
        install(plane, &["--values", &providers]);
        done(&plane.kubectl_with_input(&["apply", "--filename", "-"], RESTRICTED_NAMESPACE).unwrap());
        done(&plane.kubectl_with_input(&["apply", "--filename", "-"], OF_OTHERS).unwrap());
        kubectl(plane, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]);
        plane
    })
}

fn install(plane: &ControlPlane, values: &[&str]) -> String {
    let chart = chart().display().to_string();
    let begin = ["install", "tintype", &chart, "--namespace", NAMESPACE, "--create-namespace"];
    helm(plane, &[&begin, values].concat())
}

/// What helm says, with this cluster.
fn helm(plane: &ControlPlane, arguments: &[&str]) -> String {
    done(&command().env("KUBECONFIG", plane.kubeconfig_path()).args(arguments).output().unwrap())
}

fn kubectl(plane: &ControlPlane, arguments: &[&str]) -> String {
    done(&plane.kubectl(arguments).unwrap())
}

fn done(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn every_object_is_accepted() {
    let plane = installed();
    for (example, values) in examples() {
        let objects = objects(&render(&values));
        let output = plane.kubectl_with_input(&["apply", "--dry-run=server", "--filename", "-"], &stream(&objects));
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.matches("(server dry run)").count(), objects.len(), "{example}: {said}");
    }
}

#[test]
fn a_misspelt_field_would_be_refused() {
    let plane = installed();
    let rendered =
        render(&[]).replace("maxSkew", "maxSkw").replace("terminationGracePeriodSeconds", "terminationGrace");
    let output = plane.kubectl_with_input(&["apply", "--dry-run=server", "--filename", "-"], &rendered).unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown field"));
}

fn admitted(plane: &ControlPlane, pod: &str) -> Output {
    let arguments = ["create", "--dry-run=server", "--namespace", RESTRICTED, "--filename", "-"];
    plane.kubectl_with_input(&arguments, pod).unwrap()
}

#[test]
fn every_pod_satisfies_the_strictest_pod_security_standard() {
    let plane = installed();
    let mut seen = 0;
    for (example, values) in examples() {
        for pod in pods(&render(&values)) {
            let output = admitted(plane, &pod.to_string());
            assert!(output.status.success(), "{example}: {}: {}", name(&pod), String::from_utf8_lossy(&output.stderr));
            seen += 1;
        }
    }
    assert!(seen > 8, "only {seen} pods were tried");
}

#[test]
fn a_pod_that_breaks_the_standard_is_refused_here() {
    let plane = installed();
    for value in ["containerSecurityContext.allowPrivilegeEscalation=true", "podSecurityContext.runAsNonRoot=false"] {
        for pod in pods(&render(&["--set".to_owned(), value.to_owned()])) {
            let output = admitted(plane, &pod.to_string());
            assert!(!output.status.success(), "{value}: {}", name(&pod));
            assert!(String::from_utf8_lossy(&output.stderr).contains("violates PodSecurity \"restricted"));
        }
    }
}

/// Who, whether, what, on what, where.
type Right = (&'static str, bool, &'static str, &'static str, &'static str);

#[test]
fn the_api_server_gives_each_program_its_rights_and_no_more() {
    const OPERATOR: &str = "tintype-operator";
    const WORKER: &str = "tintype-worker";
    const PROVIDER: &str = "tintype-provider";
    const RIGHTS: [Right; 52] = [
        (OPERATOR, true, "watch", "generationjobs.tintype.dev", "elsewhere"),
        (OPERATOR, true, "delete", "generationjobs.tintype.dev", "elsewhere"),
        (OPERATOR, true, "patch", "generationjobs.tintype.dev/status", "elsewhere"),
        (OPERATOR, true, "watch", "gpupools.tintype.dev", ""),
        (OPERATOR, true, "list", "diffusionmodels.tintype.dev", ""),
        (OPERATOR, true, "create", "diffusionmodels.tintype.dev", ""),
        (OPERATOR, true, "create", "gpupools.tintype.dev", ""),
        (OPERATOR, false, "patch", "gpupools.tintype.dev", ""),
        (OPERATOR, false, "delete", "diffusionmodels.tintype.dev", ""),
        (OPERATOR, true, "patch", "configmaps/tintype-defaults", NAMESPACE),
        (OPERATOR, false, "patch", "configmaps/another", NAMESPACE),
        (OPERATOR, true, "list", "generationqueues.tintype.dev", "elsewhere"),
        (OPERATOR, true, "patch", "gpupools.tintype.dev/status", ""),
        (OPERATOR, true, "create", "gpuworkers.tintype.dev", NAMESPACE),
        (OPERATOR, false, "create", "gpuworkers.tintype.dev", "elsewhere"),
        (OPERATOR, true, "create", "leases.coordination.k8s.io", NAMESPACE),
        (OPERATOR, true, "update", "leases.coordination.k8s.io/tintype-operator", NAMESPACE),
        (OPERATOR, false, "update", "leases.coordination.k8s.io/another", NAMESPACE),
        (OPERATOR, false, "create", "leases.coordination.k8s.io", "elsewhere"),
        (OPERATOR, false, "create", "generationjobs.tintype.dev", NAMESPACE),
        (OPERATOR, false, "patch", "generationjobs.tintype.dev", NAMESPACE),
        (OPERATOR, false, "patch", "generationqueues.tintype.dev", NAMESPACE),
        (OPERATOR, false, "get", "secrets", NAMESPACE),
        (OPERATOR, false, "list", "secrets", NAMESPACE),
        (OPERATOR, false, "get", "pods", NAMESPACE),
        (OPERATOR, false, "create", "pods", NAMESPACE),
        (OPERATOR, true, "patch", "pods", NAMESPACE),
        (OPERATOR, false, "patch", "pods", "elsewhere"),
        (OPERATOR, true, "create", "deployments.apps", NAMESPACE),
        (OPERATOR, false, "create", "deployments.apps", "elsewhere"),
        (OPERATOR, false, "create", "podtemplates", NAMESPACE),
        (OPERATOR, true, "delete", "pods", NAMESPACE),
        (OPERATOR, false, "delete", "pods", "elsewhere"),
        (OPERATOR, true, "list", "nodes", ""),
        (OPERATOR, false, "get", "nodes", ""),
        (OPERATOR, false, "patch", "nodes", ""),
        (WORKER, false, "get", "generationjobs.tintype.dev", NAMESPACE),
        (WORKER, false, "list", "diffusionmodels.tintype.dev", ""),
        (WORKER, false, "get", "secrets", NAMESPACE),
        (PROVIDER, true, "get", "gpupools.tintype.dev/burst", ""),
        (PROVIDER, true, "patch", "gpupools.tintype.dev/burst/status", ""),
        (PROVIDER, false, "get", "gpupools.tintype.dev/another", ""),
        (PROVIDER, false, "patch", "gpupools.tintype.dev/another/status", ""),
        (PROVIDER, false, "list", "gpupools.tintype.dev", ""),
        (PROVIDER, false, "patch", "gpupools.tintype.dev/burst", ""),
        (PROVIDER, true, "create", "configmaps", NAMESPACE),
        (PROVIDER, true, "update", "configmaps/tintype-purchases", NAMESPACE),
        (PROVIDER, false, "update", "configmaps/another", NAMESPACE),
        (PROVIDER, false, "delete", "configmaps/tintype-purchases", NAMESPACE),
        (PROVIDER, false, "create", "configmaps", "elsewhere"),
        (PROVIDER, false, "get", "secrets", NAMESPACE),
        (PROVIDER, false, "get", "generationjobs.tintype.dev", NAMESPACE),
    ];
    let plane = installed();
    for right in RIGHTS {
        assert_right(plane, &format!("system:serviceaccount:{NAMESPACE}:{}", right.0), right);
    }
}

/// The cluster's own roles know our kinds. Without kube-controller-manager nothing aggregates them, so the roles that
/// would be taken in are bound as they are.
#[test]
fn people_may_edit_jobs_and_only_see_queues() {
    let plane = installed();
    for (role, user) in [("tintype-tintype-edit", "editor"), ("tintype-tintype-view", "viewer")] {
        let (role, user) = (format!("--clusterrole={role}"), format!("--user={user}"));
        let binding = format!("charts-{}", &user["--user=".len()..]);
        kubectl(plane, &["create", "clusterrolebinding", &binding, &role, &user]);
    }
    for right in [
        ("editor", true, "create", "generationjobs.tintype.dev", "elsewhere"),
        ("editor", false, "patch", "generationjobs.tintype.dev/status", "elsewhere"),
        ("editor", false, "patch", "generationqueues.tintype.dev", "elsewhere"),
        ("viewer", true, "watch", "generationqueues.tintype.dev", "elsewhere"),
        ("viewer", true, "get", "gpuworkers.tintype.dev", "elsewhere"),
        ("viewer", false, "create", "generationjobs.tintype.dev", "elsewhere"),
    ] {
        assert_right(plane, right.0, right);
    }
}

fn assert_right(plane: &ControlPlane, user: &str, (who, wanted, verb, what, namespace): Right) {
    let (what, subresource) = match what.split_once("/status") {
        Some((what, _)) => (what, "--subresource=status"),
        None => (what, "--subresource="),
    };
    let user = format!("--as={user}");
    let mut arguments = vec!["auth", "can-i", verb, what, subresource, &user];
    if !namespace.is_empty() {
        arguments.extend(["--namespace", namespace]);
    }
    let output = plane.kubectl(&arguments).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let wanted = if wanted { "yes" } else { "no" };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.trim(), wanted, "{who}: {verb} {what} {subresource} in `{namespace}`: {errors}");
}

/// Install, a second install's worth of upgrades, uninstall: what must last lasts. A control plane of its own, because
/// the kinds of the others would be in doubt while it goes.
#[test]
fn secrets_kinds_and_default_objects_outlive_upgrade_and_uninstall() {
    let plane = ControlPlane::start_blocking(Options::new()).unwrap();
    let said = install(&plane, &[]);
    assert!(said.contains("NO IMAGES"), "a placeholder registry is not passed over in silence: {said}");
    let secret = ["get", "secret", "tintype-worker-token", "--namespace", NAMESPACE, "--output=jsonpath={.data.token}"];
    let token = kubectl(&plane, &secret);
    assert!(token.len() >= 64, "the token has {} characters in base64", token.len());
    let there = |kind: &str, name: &str| {
        let found = kubectl(&plane, &["get", kind, name, "--ignore-not-found", "--output=name"]);
        !found.trim().is_empty()
    };
    operate(&plane, || there("gpupool", "default") && there("diffusionmodel", "shapes"));
    kubectl(&plane, &["delete", "gpupool", "default"]);
    kubectl(&plane, &["patch", "diffusionmodel", "shapes", "--type=merge", "--patch", r#"{"spec":{"vramBytes":7}}"#]);

    let chart = chart().display().to_string();
    let api = "api.enabled=true,api.database.existingSecret=tintype-database,image.registry=registry.example.com";
    let said = helm(&plane, &["upgrade", "tintype", &chart, "--namespace", NAMESPACE, "--reuse-values", "--set", api]);
    assert!(said.contains("port-forward service/tintype-api") && !said.contains("NO IMAGES"), "{said}");
    assert_eq!(kubectl(&plane, &secret), token, "an upgrade made a new token");
    kubectl(&plane, &["get", "deployment", "tintype-api", "--namespace", NAMESPACE]);
    // An upgrade may bring a default object; it brings none back.
    let more = ["upgrade", "tintype", &chart, "--namespace", NAMESPACE, "--reuse-values", "--set", "worker.pool=more"];
    helm(&plane, &more);
    operate(&plane, || there("gpupool", "more"));
    assert!(!there("gpupool", "default"), "an upgrade brought a deleted default object back");
    let bytes = ["get", "diffusionmodel", "shapes", "--output=jsonpath={.spec.vramBytes}"];
    assert_eq!(kubectl(&plane, &bytes), "7", "an upgrade put a default object back");

    helm(&plane, &["uninstall", "tintype", "--namespace", NAMESPACE]);
    let left = kubectl(
        &plane,
        &["get", "deployments,services,serviceaccounts,roles", "--namespace", NAMESPACE, "--output=name"],
    );
    assert!(!left.contains("tintype"), "left behind: {left}");
    let left = kubectl(&plane, &["get", "clusterroles,clusterrolebindings", "--output=name"]);
    assert!(!left.contains("tintype-tintype"), "left behind: {left}");
    kubectl(&plane, &["get", "pvc", "tintype-store", "--namespace", NAMESPACE]);
    assert_eq!(kubectl(&plane, &bytes), "7", "an uninstall took the kinds, and every object with them");

    install(&plane, &[]);
    operate(&plane, || there("gpupool", "default"));
    assert_eq!(kubectl(&plane, &bytes), "7", "installing again put a default object back");
}

/// Has the operator run until the cluster is as wanted.
fn operate(plane: &ControlPlane, wanted: impl FnMut() -> bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(operated(plane, wanted));
}
