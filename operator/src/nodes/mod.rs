//! Nodes that are about to go, by a spot notice or by somebody's word: their workers are ended at once, as in any drain, while
//! there is time for a checkpoint. Their jobs go on elsewhere; pools make new workers where there is room.
//!
//! A disruption budget is not asked: the node goes whatever it says. It must not decide about jobs.

mod notice;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tintype_dispatch::Dispatch;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use self::notice::is_to_go;
pub use self::notice::{Notice, Noticed};
use crate::convert::now;
use crate::lease::Leadership;
use crate::metrics::Metrics;

/// Seconds after which the watch is ended and begun anew where it was.
const WATCH_SECONDS: u32 = 60;
/// Nodes in one page of a list.
const PAGE: u32 = 500;
/// Between two looks at nodes that carry a notice, when nothing changes.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Longest one look may take.
const ROUND_TIMEOUT: Duration = Duration::from_secs(10);

/// Ends the workers of nodes that are about to go, while this replica leads.
pub struct Evacuator {
    nodes: Api<Node>,
    pods: Api<Pod>,
    dispatch: Dispatch,
    /// Taints and conditions that count as a notice as well.
    named: Vec<String>,
    metrics: Metrics,
}

impl Evacuator {
    /// One whose workers run in this namespace.
    pub fn new(client: Client, namespace: &str, dispatch: Dispatch, named: Vec<String>, metrics: Metrics) -> Self {
        let pods = Api::namespaced(client.clone(), namespace);
        Self { nodes: Api::all(client), pods, dispatch, named, metrics }
    }

    /// Runs for ever. Nodes are watched whether this replica leads or not, so that a new leader knows at once.
    pub async fn run(self, leadership: watch::Receiver<Leadership>) {
        let (noticed, told) = watch::channel(Noticed::default());
        tokio::join!(self.watch(noticed), self.evacuate(told, leadership));
    }

    async fn watch(&self, noticed: watch::Sender<Noticed>) {
        let config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
        let mut events = watcher(self.nodes.clone(), config).default_backoff().boxed();
        let mut there = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => there.clear(),
                Ok(watcher::Event::InitApply(node)) => {
                    there.insert(node.name_any());
                    self.take(&noticed, &node);
                }
                Ok(watcher::Event::InitDone) => {
                    noticed.send_if_modified(|noticed| noticed.keep(&there));
                }
                Ok(watcher::Event::Apply(node)) => self.take(&noticed, &node),
                Ok(watcher::Event::Delete(node)) => self.take(&noticed, &gone(&node)),
                Err(error) => {
                    self.metrics.watch_errors.with_label_values(&["nodes"]).inc();
                    tracing::warn!(kind = "nodes", error = %error, "a watch broke off; it begins again");
                }
            }
        }
    }

    fn take(&self, noticed: &watch::Sender<Noticed>, node: &Node) {
        noticed.send_if_modified(|noticed| noticed.take(node, &self.named, now()));
    }

    async fn evacuate(&self, mut told: watch::Receiver<Noticed>, mut leadership: watch::Receiver<Leadership>) {
        while leadership.wait_for(|now| matches!(now, Leadership::Leading { .. })).await.is_ok() {
            let noticed = told.borrow_and_update().clone();
            match timeout(ROUND_TIMEOUT, self.round(&noticed)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = format!("{error:#}"), "the workers of a node that goes could not be ended");
                }
                Err(_) => tracing::warn!("ending the workers of nodes that go took too long and is begun again"),
            }
            tokio::select! {
                changed = told.changed() => if changed.is_err() { return },
                () = sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// One look at every node that carries a notice. What one of them brings about keeps no other waiting.
    async fn round(&self, noticed: &Noticed) -> anyhow::Result<()> {
        let mut all = Ok(());
        let mut workers = None;
        for (node, notice, since) in noticed.iter() {
            if workers.is_none() {
                let known = self.dispatch.workers().await;
                workers = Some(known.into_iter().map(|seen| seen.worker).collect::<BTreeSet<_>>());
            }
            let on_it = ListParams::default().fields(&format!("spec.nodeName={node}"));
            let pods = match self.pods.list(&on_it).await.with_context(|| format!("listing the pods of node {node}")) {
                Ok(pods) => pods,
                Err(error) => {
                    all = all.and(Err(error));
                    continue;
                }
            };
            for pod in pods.iter().filter(|pod| workers.as_ref().is_some_and(|known| is_to_go(pod, known, since))) {
                all = all.and(self.end(pod, node, notice).await);
            }
        }
        all
    }

    /// Ends a worker: it stops at the next step, leaves a checkpoint and hands its job on.
    async fn end(&self, pod: &Pod, node: &str, notice: Notice) -> anyhow::Result<()> {
        let name = pod.name_any();
        let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
        match self.pods.delete(&name, &DeleteParams::default().preconditions(preconditions)).await {
            Ok(_) => {
                self.metrics.evacuations.with_label_values(&[notice.as_str()]).inc();
                tracing::info!(
                    worker.id = name,
                    node,
                    notice = notice.as_str(),
                    "a worker is ended before its node goes"
                );
                Ok(())
            }
            // Gone, or another of its name.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("ending worker {name} of node {node}")),
        }
    }
}

/// The node without anything it says: one that is gone gives no notice.
fn gone(node: &Node) -> Node {
    Node { metadata: node.metadata.clone(), ..Node::default() }
}
