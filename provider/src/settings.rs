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
    File(PathBuf),
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
            Self::File(path) => {
                let read = tokio::fs::read_to_string(path).await;
                let text = read.with_context(|| format!("reading the pool's file {}", path.display()))?;
                let pool: GpuPool = serde_yaml_ng::from_str(&text)
                    .with_context(|| format!("{} does not hold a GpuPool", path.display()))?;
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

/// The most the pool may cost.
pub(crate) fn caps(provider: &PoolProvider) -> Caps {
    Caps { day: MicroUsd(provider.budget.day_micro_usd), month: MicroUsd(provider.budget.month_micro_usd) }
}
