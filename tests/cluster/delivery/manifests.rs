//! The plain manifests are what the chart renders (`UPDATE=1` writes them anew), and a real API server takes them.

use std::fs;
use std::path::Path;
use std::process::Command;

use tintype_cluster::root;
use tintype_kubetest::ControlPlane;

use crate::{said, script};

const HEAD: &str =
    "# Rendered from charts/tintype; `UPDATE=1 cargo test -p tintype-cluster --test delivery` writes it anew.\n";
const NAMESPACE: &str = "tintype";

/// Name of each file and what must be in it.
fn rendered() -> [(&'static str, String); 2] {
    let objects = template();
    let kinds = fs::read_dir(root().join("crds/yaml")).unwrap().map(|entry| entry.unwrap().path());
    let mut kinds: Vec<_> = kinds.map(|file| fs::read_to_string(file).unwrap()).collect();
    kinds.sort();
    [("crds.yaml", join(&kinds)), ("tintype.yaml", join(&objects))]
}

fn join(objects: &[String]) -> String {
    objects.iter().fold(HEAD.to_owned(), |all, object| {
        // A file read by people holds nothing of Helm's own.
        let kept = object.lines().filter(|line| {
            !line.starts_with("---")
                && !line.contains("helm.sh/")
                && !line.contains("app.kubernetes.io/managed-by: Helm")
        });
        let kept: Vec<_> = kept.collect();
        all + "---\n" + without_empty_annotations(&kept).join("\n").trim() + "\n"
    })
}

/// `annotations:` that lost all it held.
fn without_empty_annotations<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let empty = |at: usize| {
        lines[at].trim() == "annotations:" && lines.get(at + 1).is_none_or(|next| indent(next) <= indent(lines[at]))
    };
    (0..lines.len()).filter(|at| !empty(*at)).map(|at| lines[at]).collect()
}

fn template() -> Vec<String> {
    let helm = said(&script("tests/charts/helm.sh", &[]));
    let output = Command::new(helm.trim().lines().last().unwrap())
        .args(["template", "tintype", "--skip-tests", "--namespace", NAMESPACE, "--values"])
        .arg(root().join("deploy/manifests/values.yaml"))
        .arg(root().join("charts/tintype"))
        .output()
        .unwrap();
    let text = said(&output);
    let objects = text.split("\n---\n").map(|object| object.trim_start_matches("---\n"));
    let comments = |line: &str| line.trim().is_empty() || line.starts_with('#');
    objects.filter(|object| !object.lines().all(comments)).map(str::to_owned).collect()
}

#[test]
fn the_manifests_are_what_the_chart_renders() {
    let folder = root().join("deploy/manifests");
    for (name, wanted) in rendered() {
        let file = folder.join(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&file, &wanted).unwrap();
        }
        let found = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            found == wanted,
            "deploy/manifests/{name} is not what the chart renders: run UPDATE=1 cargo test -p tintype-cluster --test delivery"
        );
    }
}

/// As the README beside them says, line by line.
#[test]
fn a_real_api_server_takes_them_by_server_side_apply() {
    let plane = ControlPlane::shared_blocking().unwrap();
    let kubectl = |arguments: &[&str]| said(&plane.kubectl(arguments).unwrap());
    let file = |name: &str| Path::new(&root()).join("deploy/manifests").join(name).display().to_string();
    kubectl(&["create", "namespace", NAMESPACE]);
    kubectl(&["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"]);
    kubectl(&["apply", "--server-side", "--filename", &file("crds.yaml")]);
    kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "--filename", &file("crds.yaml")]);
    let dry = kubectl(&["apply", "--server-side", "--dry-run=server", "--filename", &file("tintype.yaml")]);
    let done = kubectl(&["apply", "--server-side", "--filename", &file("tintype.yaml")]);
    assert_eq!(dry.lines().count(), done.lines().count(), "{dry}");
    assert!(done.lines().all(|line| line.ends_with("serverside-applied")), "{done}");
    let made = kubectl(&["get", "deployment,statefulset,configmap", "--namespace", NAMESPACE, "--output=name"]);
    for wanted in ["deployment.apps/tintype-operator", "statefulset.apps/tintype-worker", "configmap/tintype-defaults"]
    {
        assert!(made.contains(wanted), "{wanted} is not there: {made}");
    }
    // Everybody's file can hold nobody's secret.
    let secrets = kubectl(&["get", "secrets", "--namespace", NAMESPACE, "--output=name"]);
    assert!(secrets.trim().is_empty(), "{secrets}");
}
