//! What the pool says of its provider: read from the cluster or a file, again for each claim, and checked.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tintype_crds::labels::MANAGER_PROVIDER;
use tintype_crds::{GROUP, GpuPool, PoolProvider, ProviderModel, ProviderSpend, VERSION};
use tintype_purchase::{Caps, MicroUsd, Price};
use tintype_types::PoolName;
use tokio::time::timeout;

/// Longest a call to the API server may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the pool is.
#[derive(Clone)]
pub(crate) enum Source {
    /// A GpuPool in a file.
    File(PathBuf, PoolName),
    /// The cluster's.
    Cluster(Box<Api<GpuPool>>, PoolName),
}

impl Source {
    pub(crate) fn cluster(client: Client, pool: &PoolName) -> Self {
        Self::Cluster(Box::new(Api::all(client)), pool.clone())
    }

    /// Reads the pool as it is now.
    ///
    /// # Errors
    /// A pool that is not there, or has no provider, or one whose settings cannot work.
    pub(crate) async fn read(&self) -> Result<PoolProvider> {
        let provider = match self {
            Self::File(path, name) => {
                let read = tokio::fs::read_to_string(path).await;
                let text = read.with_context(|| format!("reading the pool's file {}", path.display()))?;
                let pool: GpuPool = serde_yaml_ng::from_str(&text)
                    .with_context(|| format!("{} does not hold a GpuPool", path.display()))?;
                let found = pool.metadata.name.as_deref().unwrap_or_default();
                ensure!(
                    found == name.as_str(),
                    "{} holds the pool `{found}`, and --pool says `{name}`",
                    path.display()
                );
                pool.spec.provider
            }
            Self::Cluster(pools, name) => {
                let read = timeout(CALL_TIMEOUT, pools.get(name.as_str())).await.context("reading the GpuPool")?;
                read.with_context(|| format!("reading the GpuPool {name}"))?.spec.provider
            }
        };
        let provider =
            provider.context("the pool has no spec.provider: it says whom to buy from, and within which budget")?;
        check(&provider)?;
        Ok(provider)
    }

    /// Writes what was spent into the pool's status, where there is one.
    ///
    /// # Errors
    /// The API server's own.
    pub(crate) async fn tell(&self, spend: &ProviderSpend) -> Result<()> {
        let Self::Cluster(pools, name) = self else { return Ok(()) };
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "GpuPool",
            "metadata": { "name": name }, "status": { "provider": spend },
        });
        let params = PatchParams::apply(MANAGER_PROVIDER).force();
        let (name, patch) = (name.as_str(), Patch::Apply(body));
        let written = pools.patch_status(name, &params, &patch);
        timeout(CALL_TIMEOUT, written).await.context("writing what was spent")?.context("writing what was spent")?;
        Ok(())
    }
}

/// The schema's rules again: a file has met no API server.
fn check(provider: &PoolProvider) -> Result<()> {
    ensure!(!provider.models.is_empty(), "spec.provider.models names no model");
    ensure!((1..=64).contains(&provider.concurrency_max), "spec.provider.concurrencyMax must lie between 1 and 64");
    for model in &provider.models {
        price(model)?;
        ensure!((5..=3_600).contains(&model.seconds_max), "secondsMax of {} must lie between 5 and 3600", model.name);
    }
    let url = reqwest::Url::parse(&provider.base_url).context("spec.provider.baseUrl is no address")?;
    let near = url.host_str().is_some_and(|host| host == "localhost" || host == "127.0.0.1");
    ensure!(url.scheme() == "https" || near, "spec.provider.baseUrl must be https: the key goes there");
    Ok(())
}

/// Where the provider is.
pub(crate) fn base_of(provider: &PoolProvider) -> Result<reqwest::Url> {
    reqwest::Url::parse(&provider.base_url).context("spec.provider.baseUrl is no address")
}

/// What a model costs.
pub(crate) fn price(model: &ProviderModel) -> Result<Price> {
    match (model.price_per_image_micro_usd, model.price_per_second_micro_usd) {
        (Some(image), None) => Ok(Price::PerImage(MicroUsd(image))),
        (None, Some(second)) => Ok(Price::PerSecond(MicroUsd(second))),
        (None, None) | (Some(_), Some(_)) => {
            bail!("say what {} costs: pricePerImageMicroUsd or pricePerSecondMicroUsd, one of them", model.name)
        }
    }
}

/// The most the cheapest job of the pool may cost: with less, nothing can be bought.
///
/// # Errors
/// As [`price`].
pub(crate) fn cheapest(provider: &PoolProvider) -> Result<MicroUsd> {
    let possible = provider.models.iter().map(|model| Ok(price(model)?.possible(1, model.seconds_max)));
    let all: Vec<MicroUsd> = possible.collect::<Result<_>>()?;
    Ok(all.into_iter().min().unwrap_or_default())
}

/// The most the pool may cost.
pub(crate) fn caps(provider: &PoolProvider) -> Caps {
    Caps { day: MicroUsd(provider.budget.day_micro_usd), month: MicroUsd(provider.budget.month_micro_usd) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of docs/providers.md, in a file.
    fn example() -> (tempfile::TempDir, PathBuf) {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/providers.md")).unwrap();
        let (_, from) = text.split_once("```yaml\n").unwrap();
        let (folder, (yaml, _)) = (tempfile::tempdir().unwrap(), from.split_once("```").unwrap());
        let file = folder.path().join("burst.yaml");
        std::fs::write(&file, yaml).unwrap();
        (folder, file)
    }

    #[tokio::test]
    async fn the_documented_pool_is_one_that_can_be_bought_for() {
        let (_folder, file) = example();
        let provider = Source::File(file, "burst".into()).read().await.unwrap();
        assert_eq!(caps(&provider), Caps { day: MicroUsd(5_000_000), month: MicroUsd(60_000_000) });
    }

    #[tokio::test]
    async fn the_file_of_another_pool_is_refused_for_its_budget_is_another() {
        let (_folder, file) = example();
        let error = Source::File(file, "other".into()).read().await.unwrap_err();
        assert!(error.to_string().contains("holds the pool `burst`, and --pool says `other`"), "{error}");
    }
}
