//! One watch a kind: what the API server sends, as changes for the index.
//!
//! A watch that breaks off begins again after a growing wait, for ever: a quiet namespace and a restarted server look
//! alike from here. An object that cannot be read is left out, counted and named, and the others go on.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tintype_crds::{GenerationJob, Guarded};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::index::{Change, Event};
use crate::metrics::Metrics;

/// Seconds after which a watch is ended and begun anew where it was: a connection that died in silence is noticed.
const WATCH_SECONDS: u32 = 60;
/// Objects in one page of a list.
const PAGE: u32 = 500;
/// Longest one page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(20);

/// What is watched: a cluster, or one namespace of it.
#[derive(Clone)]
pub struct Watched {
    /// The way to the API server.
    pub client: Client,
    /// The one namespace whose jobs and queues are seen; none is all.
    pub namespace: Option<String>,
    /// Counts.
    pub metrics: Metrics,
}

impl Watched {
    fn namespaced<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

/// Starts every watch. They end when the receiver does.
pub fn start(watched: &Watched, tasks: &mut JoinSet<()>, out: &mpsc::Sender<Change>) {
    let Watched { client, namespace: _, metrics } = watched;
    let (models, pools) = (Api::all(client.clone()), Api::all(client.clone()));
    tasks.spawn(watch(watched.namespaced(), "jobs", Change::Jobs, metrics.clone(), out.clone()));
    tasks.spawn(watch(watched.namespaced(), "queues", Change::Queues, metrics.clone(), out.clone()));
    tasks.spawn(watch(models, "models", Change::Models, metrics.clone(), out.clone()));
    tasks.spawn(watch(pools, "pools", Change::Pools, metrics.clone(), out.clone()));
}

async fn watch<K>(
    api: Api<Guarded<K>>,
    kind: &'static str,
    change: fn(Event<K>) -> Change,
    metrics: Metrics,
    out: mpsc::Sender<Change>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        let told = match event {
            Ok(watcher::Event::Apply(object)) => {
                readable(kind, object, &metrics).map(|object| Event::Apply(Box::new(object)))
            }
            Ok(watcher::Event::Delete(object)) => {
                readable(kind, object, &metrics).map(|object| Event::Delete(Box::new(object)))
            }
            Ok(watcher::Event::Init) => {
                listed.clear();
                None
            }
            Ok(watcher::Event::InitApply(object)) => {
                listed.extend(readable(kind, object, &metrics));
                None
            }
            Ok(watcher::Event::InitDone) => Some(Event::Replace(std::mem::take(&mut listed))),
            Err(error) => {
                metrics.watch_errors.with_label_values(&[kind]).inc();
                tracing::warn!(kind, error = %error, "a watch broke off; it begins again");
                None
            }
        };
        if let Some(event) = told
            && out.send(change(event)).await.is_err()
        {
            return;
        }
    }
}

/// Every job there is at this moment, read from the majority of the store and not from a cache.
///
/// # Errors
/// What the API server said, or that it did not answer in time.
pub async fn list_jobs(watched: &Watched) -> anyhow::Result<Vec<GenerationJob>> {
    let api: Api<Guarded<GenerationJob>> = watched.namespaced();
    let mut jobs = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = timeout(PAGE_TIMEOUT, api.list(&params)).await??;
        let next = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        jobs.extend(page.items.into_iter().filter_map(|job| readable("jobs", job, &watched.metrics)));
        let Some(token) = next else { return Ok(jobs) };
        params = params.continue_token(&token);
    }
}

/// The object without what nobody here reads, or nothing if it cannot be read at all.
fn readable<K: Resource<DynamicType = ()>>(kind: &'static str, object: Guarded<K>, metrics: &Metrics) -> Option<K> {
    match object.0 {
        Ok(mut object) => {
            object.meta_mut().managed_fields = None;
            if let Some(annotations) = &mut object.meta_mut().annotations {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
            Some(object)
        }
        Err(unread) => {
            metrics.invalid_objects.with_label_values(&[kind]).inc();
            let (namespace, name) = (unread.namespace.as_deref(), unread.name.as_deref());
            tracing::error!(
                kind,
                namespace,
                name,
                "an object could not be read and is left out; apply the current CRDs"
            );
            None
        }
    }
}
