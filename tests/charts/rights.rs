//! What the roles say, read from the rendering; that the API server agrees is in `cluster.rs`.

use serde_json::Value;

use crate::helm::{examples, render};
use crate::manifest::{name, of_kind, text};

/// Words of one rule.
fn words<'a>(rule: &'a Value, of: &str) -> Vec<&'a str> {
    rule[of].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn rules(role: &Value) -> &[Value] {
    role["rules"].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[test]
fn no_role_says_everything() {
    for (example, values) in examples() {
        let rendered = render(&values);
        let roles: Vec<_> = ["ClusterRole", "Role"].iter().flat_map(|kind| of_kind(&rendered, kind)).collect();
        for role in &roles {
            assert!(!rules(role).is_empty(), "{example}: {}", name(role));
            for rule in rules(role) {
                for of in ["apiGroups", "resources", "verbs", "resourceNames", "nonResourceURLs"] {
                    let star = words(rule, of).into_iter().find(|word| word.contains('*'));
                    assert_eq!(star, None, "{example}: {} {of}", name(role));
                }
            }
        }
    }
}

/// Nobody reads secrets through the API server, makes pods but through the Deployments of pools, or hands out rights.
#[test]
fn roles_speak_of_our_kinds_and_of_little_else() {
    for (example, values) in examples() {
        let rendered = render(&values);
        for role in of_kind(&rendered, "ClusterRole") {
            for rule in rules(&role) {
                // Nodes are nobody's; the operator sees which are about to go.
                let nodes = words(rule, "resources") == ["nodes"] && words(rule, "verbs") == ["list", "watch"];
                assert!(nodes || words(rule, "apiGroups") == ["tintype.dev"], "{example}: {}", name(&role));
            }
        }
        for role in of_kind(&rendered, "Role") {
            for rule in rules(&role) {
                let allowed = match (words(rule, "apiGroups").as_slice(), words(rule, "resources").as_slice()) {
                    (["tintype.dev"], _) | (["coordination.k8s.io"], ["leases"]) => true,
                    // One, by its name; making it cannot be held to a name.
                    ([""], ["configmaps"]) => {
                        words(rule, "verbs") == ["create"] || words(rule, "resourceNames").len() == 1
                    }
                    // The password of the release's own database, made and never read.
                    ([""], ["secrets"]) => {
                        name(&role).ends_with("-database-secret") && words(rule, "verbs") == ["create"]
                    }
                    // The leader's label, which worker is to go first, and which goes as its node does.
                    ([""], ["pods"]) => words(rule, "verbs") == ["list", "patch", "delete"],
                    // The workers of pools that name a template.
                    ([""], ["podtemplates"]) => words(rule, "verbs") == ["get"],
                    (["apps"], ["deployments"]) => words(rule, "verbs") == ["list", "create", "patch", "delete"],
                    _ => false,
                };
                assert!(allowed, "{example}: {}: {rule}", name(&role));
            }
        }
    }
}

/// The operator writes nothing of a job but its status; the API and people never write that.
#[test]
fn one_writer_of_a_job_s_status() {
    for (example, values) in examples() {
        let rendered = render(&values);
        for role in ["ClusterRole", "Role"].iter().flat_map(|kind| of_kind(&rendered, kind)) {
            let operator = text(&role, "/metadata/name").ends_with("-operator");
            for rule in rules(&role) {
                let (resources, verbs) = (words(rule, "resources"), words(rule, "verbs"));
                let writes = verbs.iter().any(|verb| ["create", "update", "patch"].contains(verb));
                if resources.contains(&"generationjobs/status") {
                    assert!(operator && verbs == ["patch"], "{example}: {}", name(&role));
                } else if resources.contains(&"generationjobs") && writes {
                    assert!(!operator, "{example}: {}", name(&role));
                }
            }
        }
    }
}
