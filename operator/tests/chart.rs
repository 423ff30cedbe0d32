//! The chart grants the operator what `tintype_operator::rights` lists, and nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize as _;
use serde_json::Value;
use tintype_operator::rights::{RIGHTS, Scope};

type Granted = BTreeSet<(String, String, String)>;

#[test]
fn the_chart_grants_the_rights_on_the_list_and_no_others() {
    let rendered = render();
    for (kind, scope) in [("ClusterRole", Scope::Watched), ("Role", Scope::Own)] {
        let wanted: Granted = RIGHTS
            .iter()
            .filter(|right| right.scope == scope)
            .flat_map(|right| right.resources.iter().map(move |resource| (right, *resource)))
            .flat_map(|(right, resource)| right.verbs.iter().map(move |verb| triple(right.group, resource, verb)))
            .collect();
        assert_eq!(granted(&rendered, kind), wanted, "{kind}");
    }
}

fn triple(group: &str, resource: &str, verb: &str) -> (String, String, String) {
    (group.to_owned(), resource.to_owned(), verb.to_owned())
}

/// With two operators, so that the leader's label is part of it.
fn render() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let found = Command::new(root.join("tests/charts/helm.sh")).output().expect("the script runs");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let text = String::from_utf8(found.stdout).expect("a path is text");
    let helm = PathBuf::from(text.trim().lines().last().expect("it prints a path"));
    let values = root.join("charts/tintype/ci/production-values.yaml");
    let output = Command::new(helm)
        .args(["template", "tintype", "--namespace", "tintype"])
        .args(["--api-versions", "monitoring.coreos.com/v1", "--values"])
        .args([&values, &root.join("charts/tintype")])
        .output()
        .expect("helm runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let yaml = String::from_utf8(output.stdout).expect("YAML is text");
    serde_yaml_ng::Deserializer::from_str(&yaml)
        .map(|document| Value::deserialize(document).expect("helm prints YAML"))
        .collect()
}

fn granted(rendered: &[Value], kind: &str) -> Granted {
    let words = |rule: &Value, of: &str| -> Vec<String> {
        let list = rule[of].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let role = rendered.iter().find(|object| {
        object["kind"] == kind && object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("-operator"))
    });
    let rules = role.and_then(|role| role["rules"].as_array()).cloned().unwrap_or_default();
    let mut all = Granted::new();
    for rule in &rules {
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                all.extend(words(rule, "verbs").into_iter().map(|verb| triple(&group, &resource, &verb)));
            }
        }
    }
    all
}
