//! What `make release` puts into a folder, made of the programs at hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tintype_cluster::{programs, root};

use crate::said;

const BASE: &str = "https://pictures.example.com/downloads";

/// The folder, made once.
fn dist() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dist");
        let made = Command::new(root().join("scripts/release.sh"))
            .args([&out, &programs().unwrap()])
            .env("BASE_URL", BASE)
            .output()
            .unwrap();
        said(&made);
        out
    })
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

fn sum(file: &Path) -> String {
    hex::encode(Sha256::digest(fs::read(file).unwrap()))
}

#[test]
fn every_file_of_a_release_is_there_with_its_sum() {
    let listed = fs::read_to_string(dist().join("SHA256SUMS")).unwrap();
    let listed: BTreeMap<_, _> =
        listed.lines().map(|line| line.split_once("  ").unwrap()).map(|(sum, name)| (name, sum)).collect();
    for (name, said) in &listed {
        assert_eq!(sum(&dist().join(name)), *said, "{name}");
    }
    let v = version();
    for wanted in [
        format!("tintype-images-{v}.tar"),
        format!("tintype-{v}.tgz"),
        format!("tintype-crds-{v}.tgz"),
        format!("tintype-operator-{v}.cdx.json"),
        format!("tintype-manifest-crds-{v}.yaml"),
        "notes.md".to_owned(),
        "tintype.yaml".to_owned(),
    ] {
        assert!(listed.contains_key(wanted.as_str()), "{wanted} is missing: {:?}", listed.keys());
    }
    assert!(fs::read_to_string(dist().join("notes.md")).unwrap().starts_with("- "));
}

fn bill(package: &str) -> Value {
    let file = dist().join(format!("tintype-{package}-{}.cdx.json", version()));
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn a_bill_of_materials_names_every_crate_with_its_licence_and_hash() {
    for package in ["operator", "api", "worker", "provider", "pg", "cli"] {
        let bill = bill(package);
        assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&Value::from("CycloneDX"), &Value::from("1.6")));
        assert_eq!(bill["metadata"]["component"]["name"], format!("tintype-{package}"));
        let components = bill["components"].as_array().unwrap();
        let known: BTreeSet<_> = components.iter().map(|component| component["bom-ref"].as_str().unwrap()).collect();
        assert_eq!(known.len(), components.len(), "{package}: a crate is named twice");
        for component in components {
            assert!(component["licenses"][0]["expression"].is_string(), "{package}: {component}");
            let ours = component["name"].as_str().unwrap().starts_with("tintype-");
            assert_eq!(component["hashes"][0]["content"].is_string(), !ours, "{package}: {component}");
        }
        for dependency in bill["dependencies"].as_array().unwrap() {
            for needed in dependency["dependsOn"].as_array().unwrap() {
                assert!(known.contains(needed.as_str().unwrap()), "{package}: {needed} is needed and not named");
            }
        }
    }
}

#[test]
fn a_bill_of_materials_holds_what_is_linked_and_nothing_else() {
    let has = |package: &str, name: &str| {
        bill(package)["components"].as_array().unwrap().iter().any(|component| component["name"] == name)
    };
    assert!(has("operator", "kube") && has("operator", "tintype-scheduler"));
    assert!(!has("operator", "sqlx"), "the operator knows no database");
    assert!(has("api", "sqlx") && has("worker", "candle-core"));
    assert!(!has("worker", "kube"), "a worker knows no cluster");
    assert!(!has("api", "proptest"), "a crate of the tests is in no program");
}

#[test]
fn krew_is_told_of_an_archive_that_holds_the_plugin() {
    let manifest: Value = serde_yaml_ng::from_str(&fs::read_to_string(dist().join("tintype.yaml")).unwrap()).unwrap();
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(manifest["metadata"]["name"], "tintype");
    assert_eq!(manifest["spec"]["version"], format!("v{}", version()));
    let platform = &manifest["spec"]["platforms"][0];
    let (_, archive) = platform["uri"].as_str().unwrap().rsplit_once('/').unwrap();
    assert_eq!(platform["uri"], format!("{BASE}/{archive}"));
    assert_eq!(platform["sha256"], sum(&dist().join(archive)));

    let folder = tempfile::tempdir().unwrap();
    said(&Command::new("tar").arg("-xzf").arg(dist().join(archive)).arg("-C").arg(folder.path()).output().unwrap());
    for file in platform["files"].as_array().unwrap() {
        assert!(folder.path().join(file["from"].as_str().unwrap()).is_file(), "{file}");
    }
    let plugin = folder.path().join(platform["bin"].as_str().unwrap());
    let help = said(&Command::new(plugin).arg("--help").output().unwrap());
    assert!(help.contains("kubectl tintype") && help.contains("explain"), "{help}");
}
