//! `kubectl tintype doctor`: what has to be so for a job to run in this cluster, one line a check, with the fix.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;
use tintype_scheduler::Overview;

use super::jobs::List;
use crate::args::{Caller, ReachArgs};
use crate::ask::Source;
use crate::doctor::{Finding, report};
use crate::kubectl::Kubectl;

/// What every kind's definition is called.
const KINDS: [&str; 5] = [
    "diffusionmodels.tintype.dev",
    "generationjobs.tintype.dev",
    "generationqueues.tintype.dev",
    "gpupools.tintype.dev",
    "gpuworkers.tintype.dev",
];

/// Runs every check. The exit code is 1 if one of them failed; what rests on one that failed is not tried.
pub(super) async fn run(args: &ReachArgs) -> Result<ExitCode> {
    let kubectl = Kubectl::new(&args.kubectl);
    let cluster = cluster(&kubectl).await;
    let reached = matches!(cluster, Finding::Ok(_));
    let mut findings = vec![("cluster", cluster)];
    if reached {
        let kinds = kinds(&kubectl).await;
        // Who may not read definitions may still read what is of these kinds.
        let known = !matches!(kinds, Finding::Fail { .. });
        findings.push(("kinds", kinds));
        if known {
            findings.push(("models", models(&kubectl).await));
            findings.push(("pools", pools(&kubectl).await));
        }
        match overview(args).await {
            Ok(told) => {
                findings.push(("operator", Finding::Ok("it leads and answers".to_owned())));
                findings.push(("workers", workers(&told)));
            }
            Err(error) => findings.push((
                "operator",
                Finding::fail(
                    format!("{error:#}"),
                    "`kubectl get pods -A -l app.kubernetes.io/part-of=tintype` shows its pods; `kubectl logs` what ails them",
                ),
            )),
        }
    }
    Ok(report(&findings))
}

async fn cluster(kubectl: &Kubectl) -> Finding {
    match kubectl.read::<Value>(&["version", "-o", "json"]).await {
        Ok(told) => match told["serverVersion"]["gitVersion"].as_str() {
            Some(version) => Finding::Ok(format!("Kubernetes {version} answers")),
            None => Finding::fail("no API server answers", "choose a cluster with --context or --kubeconfig"),
        },
        Err(error) => Finding::fail(format!("{error:#}"), "choose a cluster with --context or --kubeconfig"),
    }
}

async fn kinds(kubectl: &Kubectl) -> Finding {
    let mut words = vec!["get", "customresourcedefinitions", "--ignore-not-found", "-o", "json"];
    words.extend(KINDS);
    let told = match kubectl.call(&words).await {
        Ok(told) => told,
        Err(error) => {
            return Finding::warn(format!("{error:#}"), "ask somebody who may read CustomResourceDefinitions");
        }
    };
    // With none of them there kubectl prints nothing at all.
    let found: Value = serde_json::from_str(&told).unwrap_or_default();
    kinds_of(&found)
}

fn kinds_of(found: &Value) -> Finding {
    let established = |name: &str| {
        found["items"].as_array().into_iter().flatten().any(|kind| {
            let conditions = kind["status"]["conditions"].as_array().into_iter().flatten();
            let holds = |it: &Value| it["type"] == "Established" && it["status"] == "True";
            kind["metadata"]["name"] == name && conditions.into_iter().any(holds)
        })
    };
    let missing: Vec<&str> = KINDS.into_iter().filter(|name| !established(name)).collect();
    if missing.is_empty() {
        return Finding::Ok(format!("all {} are established", KINDS.len()));
    }
    Finding::fail(
        format!("missing or not established: {}", missing.join(", ")),
        "`helm install` the chart with crds.enabled=true, or `operator crds | kubectl apply --server-side -f -`",
    )
}

async fn models(kubectl: &Kubectl) -> Finding {
    match kubectl.read::<List<Value>>(&["get", "diffusionmodels.tintype.dev", "-o", "json"]).await {
        Ok(found) if found.items.is_empty() => {
            Finding::fail("no DiffusionModel is declared", "apply one; a job of any other model fails")
        }
        Ok(found) => Finding::Ok(format!("{} declared", found.items.len())),
        Err(error) => Finding::warn(format!("{error:#}"), "ask somebody who may read DiffusionModels"),
    }
}

async fn pools(kubectl: &Kubectl) -> Finding {
    match kubectl.read::<List<Value>>(&["get", "gpupools.tintype.dev", "-o", "json"]).await {
        Ok(found) => pools_of(&found.items),
        Err(error) => Finding::warn(format!("{error:#}"), "ask somebody who may read GpuPools"),
    }
}

fn pools_of(pools: &[Value]) -> Finding {
    if pools.is_empty() {
        return Finding::warn(
            "there is none",
            "make one to keep models warm and to be told how many workers are wanted",
        );
    }
    for pool in pools {
        let mut conditions = pool["status"]["conditions"].as_array().into_iter().flatten();
        if let Some(it) = conditions.find(|it| it["type"] == "Ready" && it["status"] == "False") {
            let said = |field: &str| it[field].as_str().unwrap_or_default().to_owned();
            let name = pool["metadata"]["name"].as_str().unwrap_or_default();
            let what = format!("{name} is not ready ({}): {}", said("reason"), said("message"));
            return Finding::warn(what, format!("`kubectl describe gpupool {name}`"));
        }
    }
    Finding::Ok(format!("{} there, none in trouble", pools.len()))
}

async fn overview(args: &ReachArgs) -> Result<Overview> {
    Source::connect(args, Caller::Kubectl).await?.top().await
}

fn workers(told: &Overview) -> Finding {
    if told.workers.is_empty() {
        return Finding::fail(
            "no worker has been heard of",
            "`kubectl get pods -A -l app.kubernetes.io/component=worker`; the operator's log says of refused tokens",
        );
    }
    let idle = told.workers.iter().filter(|worker| worker.idle).count();
    Finding::Ok(format!("{} heard of, {idle} idle", told.workers.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_that_is_missing_or_not_established_is_named() {
        let kind = |name: &str, holds: &str| json!({ "metadata": { "name": name }, "status": { "conditions": [{ "type": "Established", "status": holds }] } });
        let mut all: Vec<Value> = KINDS.iter().map(|name| kind(name, "True")).collect();
        assert!(matches!(kinds_of(&json!({ "items": all })), Finding::Ok(_)));
        all[0] = kind(KINDS[0], "False");
        all.pop();
        let Finding::Fail { what, .. } = kinds_of(&json!({ "items": all })) else { panic!("two are missing") };
        assert!(what.contains(KINDS[0]) && what.contains(KINDS[4]) && !what.contains(KINDS[1]), "{what}");
        assert!(matches!(kinds_of(&Value::Null), Finding::Fail { .. }));
    }

    #[test]
    fn a_pool_in_trouble_says_why() {
        let ready = json!({ "metadata": { "name": "a" } });
        let not = json!({
            "metadata": { "name": "b" },
            "status": { "conditions": [{ "type": "Ready", "status": "False", "reason": "TemplateNotFound", "message": "no w" }] },
        });
        assert!(matches!(pools_of(std::slice::from_ref(&ready)), Finding::Ok(_)));
        let Finding::Warn { what, .. } = pools_of(&[ready, not]) else { panic!("one is in trouble") };
        assert!(what.contains("b is not ready (TemplateNotFound): no w"), "{what}");
        assert!(matches!(workers(&Overview::default()), Finding::Fail { .. }));
    }
}
