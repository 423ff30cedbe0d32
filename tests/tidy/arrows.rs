//! Who may depend on whom, read from `cargo metadata`. The tables here are those of docs/ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Crate, and the crates of ours its normal and build dependencies may name. Dev-dependencies are free.
const ARROWS: &[(&str, &[&str])] = &[
    ("tintype-types", &[]),
    ("tintype-scheduler", &["tintype-types"]),
    ("tintype-simulate", &["tintype-types", "tintype-scheduler"]),
    ("tintype-store", &["tintype-types"]),
    ("tintype-crds", &["tintype-types"]),
    ("tintype-pg", &[]),
    ("tintype-catalogue", &["tintype-types"]),
    ("tintype-purchase", &["tintype-types"]),
    ("tintype-provider", &["tintype-types", "tintype-purchase", "tintype-crds", "tintype-worker"]),
    ("tintype-telemetry", &["tintype-types"]),
    ("tintype-dispatch", &["tintype-types", "tintype-scheduler", "tintype-store", "tintype-telemetry"]),
    (
        "tintype-operator",
        &[
            "tintype-types",
            "tintype-scheduler",
            "tintype-store",
            "tintype-dispatch",
            "tintype-crds",
            "tintype-catalogue",
            "tintype-telemetry",
        ],
    ),
    (
        "tintype-api",
        &[
            "tintype-types",
            "tintype-scheduler",
            "tintype-store",
            "tintype-dispatch",
            "tintype-crds",
            "tintype-catalogue",
            "tintype-telemetry",
        ],
    ),
    ("tintype-kernels", &[]),
    ("tintype-worker", &["tintype-types", "tintype-catalogue", "tintype-kernels", "tintype-telemetry"]),
    ("tintype-kubetest", &[]),
    ("tintype-cluster", &[]),
    ("tintype-fake-nvml", &[]),
    ("tintype-stripe-twin", &[]),
    ("tintype-provider-twin", &[]),
    ("tintype-otlp-receiver", &[]),
    ("tintype-fuzz", &["tintype-types", "tintype-worker"]),
    ("tintype-monitoring", &[]),
    (
        "tintype-cli",
        &[
            "tintype-types",
            "tintype-api",
            "tintype-crds",
            "tintype-operator",
            "tintype-worker",
            "tintype-pg",
            "tintype-scheduler",
            "tintype-dispatch",
            "tintype-simulate",
        ],
    ),
    ("tintype-tests", &[]),
];

/// Crate, packages it must not reach even through others, and why.
const NEVER_REACHES: &[(&str, &[&str], &str)] = &[
    (
        "tintype-scheduler",
        &["tokio", "futures", "kube", "sqlx", "axum", "reqwest", "rand", "uuid"],
        "the same trace must give the same bytes",
    ),
    (
        "tintype-simulate",
        &["tokio", "futures", "kube", "sqlx", "axum", "reqwest", "rand"],
        "the same trace must give the same bytes",
    ),
    (
        "tintype-purchase",
        &["tokio", "futures", "kube", "sqlx", "axum", "reqwest", "rand", "uuid"],
        "what is bought is decided by what is known, and by nothing else",
    ),
    (
        "tintype-provider",
        &["sqlx", "tintype-scheduler", "tintype-dispatch", "tintype-store", "tintype-api"],
        "it is a worker",
    ),
    (
        "tintype-catalogue",
        &["tokio", "candle-core", "safetensors", "axum", "reqwest"],
        "the API lists models with it and must not grow by a tensor library",
    ),
    ("tintype-types", &["tokio", "futures", "kube", "axum", "sqlx"], "worker, web and tools must be able to read it"),
    (
        "tintype-worker",
        &["kube", "k8s-openapi", "sqlx", "tintype-scheduler", "tintype-dispatch", "tintype-crds"],
        "no cluster credentials or database beside model code",
    ),
    ("tintype-operator", &["sqlx", "async-stripe", "tintype-api"], "the operator knows nothing of users or money"),
    // An HTTP client comes with the store, which keeps pictures in buckets.
    ("tintype-dispatch", &["kube", "sqlx"], "it must not know what the record is"),
];

#[test]
fn arrows_between_crates_go_one_way() {
    let metadata = metadata();
    let known: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let allowed = known.get(name).unwrap_or_else(|| {
            panic!("{name} is not in the table of arrows: add it there and to docs/ARCHITECTURE.md, with an ADR")
        });
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development) {
            if dependency.name.starts_with("tintype-") {
                assert!(
                    allowed.contains(&dependency.name.as_str()),
                    "{name} must not depend on {}: the arrow is not in the table",
                    dependency.name
                );
            }
        }
    }
}

#[test]
fn no_crate_reaches_what_it_must_not_know() {
    let metadata = metadata();
    for (name, forbidden, why) in NEVER_REACHES {
        let reached = reached_from(&metadata, name);
        for bad in *forbidden {
            assert!(!reached.contains(*bad), "{name} reaches {bad}; it must not, because {why}");
        }
    }
}

#[test]
fn versions_stand_in_one_table() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        if package.manifest_path.parent() == Some(metadata.workspace_root.as_path()) {
            continue;
        }
        let mut inside = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                inside = line.contains("dependencies");
            } else if inside && line.contains('=') {
                assert!(
                    line.contains("workspace = true") || line.contains(r#"path = ".""#),
                    "{}: `{line}` names a version of its own; put it in the root table",
                    package.name
                );
            }
        }
    }
}

/// What this machine builds; packages of other platforms may not even be here.
fn metadata() -> Metadata {
    let version = std::process::Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(["--filter-platform", host].map(str::to_owned).to_vec())
        .exec()
        .unwrap()
}

/// Names of every package reached by normal dependencies, default features.
fn reached_from(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().expect("metadata was asked for with its dependencies");
    let by_id: BTreeMap<_, &Package> = metadata.packages.iter().map(|package| (&package.id, package)).collect();
    let start = metadata.packages.iter().find(|package| package.name.as_str() == name).unwrap();
    let mut seen = BTreeSet::new();
    let mut names = BTreeSet::new();
    let mut open = vec![&start.id];
    while let Some(id) = open.pop() {
        let node = resolve.nodes.iter().find(|node| node.id == *id).unwrap();
        for dep in &node.deps {
            if dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal) && seen.insert(&dep.pkg) {
                names.insert(by_id[&dep.pkg].name.to_string());
                open.push(&dep.pkg);
            }
        }
    }
    names
}
