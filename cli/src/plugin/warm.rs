//! `kubectl tintype warm`: a pool's list of models that should be in memory before anybody asks.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tintype_crds::{DiffusionModel, GpuPool, GpuWorker};
use tokio::time::Instant;

use super::args::WarmArgs;
use super::jobs::List;
use crate::kubectl::Kubectl;
use crate::terminal;

/// Time between two looks: workers are reported every half minute or so.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Tries against others who change the pool at the same time.
const TRIES_MAX: u32 = 5;
/// The kind of pools as kubectl is asked for it.
const POOLS: &str = "gpupools.tintype.dev";

/// Runs the command.
pub(super) async fn run(args: &WarmArgs) -> Result<ExitCode> {
    let kubectl = Kubectl::new(&args.kubectl);
    if !args.off {
        declared(&kubectl, &args.model).await?;
    }
    change(&kubectl, args).await?;
    if args.off {
        terminal::result(format_args!("pool {} need not keep {} any more", args.pool, args.model));
        return Ok(ExitCode::SUCCESS);
    }
    terminal::result(format_args!("pool {} is to keep {}", args.pool, args.model));
    let until = Instant::now() + args.timeout;
    while Instant::now() < until {
        if let Some(worker) = warm_worker(&kubectl, args).await? {
            terminal::result(format_args!("{worker} has it in memory"));
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if args.timeout.is_zero() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!(
        "no worker of pool {} has it yet; they load it when they are idle (`kubectl tintype top` shows them)",
        args.pool
    )
}

async fn declared(kubectl: &Kubectl, model: &str) -> Result<()> {
    let models: List<DiffusionModel> = kubectl.read(&["get", "diffusionmodels.tintype.dev", "-o", "json"]).await?;
    let names = models.items.into_iter().map(|it| it.spec.model_name.or(it.metadata.name).unwrap_or_default());
    let names: Vec<String> = names.collect();
    if names.iter().any(|name| name == model) {
        return Ok(());
    }
    bail!("no DiffusionModel declares {model}; there are: {}", names.join(", "))
}

/// Changes the list, building on what it is at that moment.
async fn change(kubectl: &Kubectl, args: &WarmArgs) -> Result<()> {
    for tries in 1.. {
        let pool: GpuPool = kubectl
            .read(&["get", POOLS, &args.pool, "-o", "json"])
            .await
            .with_context(|| format!("there is no pool {}", args.pool))?;
        let Some(patch) = patch(&pool, &args.model, args.off) else { return Ok(()) };
        let patch = patch.to_string();
        match kubectl.call(&["patch", POOLS, &args.pool, "--type=merge", "-p", &patch]).await {
            Ok(_) => return Ok(()),
            Err(error) if tries < TRIES_MAX && format!("{error:#}").contains("Conflict") => {}
            Err(error) => return Err(error.context(format!("pool {} is not changed", args.pool))),
        }
    }
    Ok(())
}

/// The change, if there is one to make. It carries the version it builds on, so that nobody else's is lost.
fn patch(pool: &GpuPool, model: &str, off: bool) -> Option<Value> {
    let mut models = pool.spec.warm_models.clone();
    let at = models.iter().position(|it| it == model);
    match (at, off) {
        (Some(at), true) => drop(models.remove(at)),
        (None, false) => models.push(model.to_owned()),
        (Some(_), false) | (None, true) => return None,
    }
    Some(json!({ "metadata": { "resourceVersion": pool.metadata.resource_version }, "spec": { "warmModels": models } }))
}

async fn warm_worker(kubectl: &Kubectl, args: &WarmArgs) -> Result<Option<String>> {
    let selector = format!("--field-selector=spec.pool={}", args.pool);
    let words = ["get", "gpuworkers.tintype.dev", "--all-namespaces", &selector, "-o", "json"];
    let workers: List<GpuWorker> = kubectl.read(&words).await?;
    let warm = workers
        .items
        .into_iter()
        .find(|worker| worker.status.as_ref().is_some_and(|status| status.resident_models.contains(&args.model)));
    Ok(warm.map(|worker| worker.spec.worker.to_string()))
}

#[cfg(test)]
mod tests {
    use tintype_crds::GpuPoolSpec;

    use super::*;

    #[test]
    fn a_list_is_changed_once_and_only_where_it_has_to_be() {
        let spec = GpuPoolSpec { warm_models: vec!["a".to_owned()], ..GpuPoolSpec::default() };
        let mut pool = GpuPool::new("p", spec);
        pool.metadata.resource_version = Some("7".to_owned());
        let more = patch(&pool, "b", false).unwrap();
        assert_eq!(more, json!({ "metadata": { "resourceVersion": "7" }, "spec": { "warmModels": ["a", "b"] } }));
        assert_eq!(patch(&pool, "a", true).unwrap()["spec"]["warmModels"], json!([]));
        assert_eq!(patch(&pool, "a", false), None);
        assert_eq!(patch(&pool, "b", true), None);
    }
}
