//! Puts the parts together, and takes them apart in the right order.

use std::future::IntoFuture as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use prometheus::Registry;
use tintype_dispatch::{Dispatch, DispatchConfig, JournalConfig, TokenSource};
use tintype_scheduler::WarmAhead;
use tintype_store::{Secret, Store};
use tintype_telemetry::Telemetry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::{self, Admin};
use crate::args::Args;
use crate::defaults::Defaults;
use crate::index::Index;
use crate::lease::{Campaign, Leadership};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::models::Librarian;
use crate::nodes::Evacuator;
use crate::pod::OwnPod;
use crate::pools::Keeper;
use crate::report::Reporter;
use crate::shell::Shell;
use crate::term::Term;
use crate::ttl;
use crate::watches::{self, Watched};
use crate::writer::Writer;

/// Changes seen and not yet taken in; above it the watches wait.
const CHANGES_MAX: usize = 1_024;
/// Longest connecting to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest each step of going away may take. Kubernetes gives a pod 30 s in all.
const GOODBYE: Duration = Duration::from_secs(5);

/// Runs until `shutdown`, or until this replica must end: it lost the leader lease, or a part of it broke.
///
/// # Errors
/// Why it could not start or had to end. The process must then exit: a term that is over is over for good.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    // An error means one is there already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let parts = Parts::start(&args).await?;
    let Parts { client, namespace, index, term, metrics, registry, telemetry, dispatch, store, dispatcher, listener } =
        parts;
    let identity = format!("{}_{}", args.pod_name.as_deref().unwrap_or("operator"), uuid::Uuid::new_v4());
    let pod = OwnPod::new(client.clone(), &namespace, args.pod_name.clone());
    pod.unmark().await;

    let (leadership, leads) = watch::channel(Leadership::default());
    let (synced, is_synced) = watch::channel(false);
    let (changes, changed) = mpsc::channel(CHANGES_MAX);
    let mut tasks = JoinSet::new();
    let watched = Watched { client: client.clone(), namespace: args.watch_namespace.clone(), metrics: metrics.clone() };
    watches::start(&watched, &mut tasks, &changes);
    drop(changes);
    tasks.spawn(ttl::run(client.clone(), Arc::clone(&index), args.finished_ttl.0, leads.clone(), metrics.clone()));

    let keeping =
        Keeping { client: &client, namespace: &namespace, dispatch: &dispatch, index: &index, metrics: &metrics };
    let memory = keeping.start(&args, &leads, &mut tasks)?;

    let campaign = Campaign {
        api: Campaign::api(client.clone(), &namespace),
        name: args.lease_name.clone(),
        identity,
        timings: args.timings()?,
        index: Arc::clone(&index),
        term,
        metrics: metrics.clone(),
    };
    let stop_campaign = CancellationToken::new();
    let mut synced_first = is_synced.clone();
    let stop = stop_campaign.clone();
    let campaign = AbortOnDropHandle::new(tokio::spawn(async move {
        tokio::select! {
            // A term must be above those the jobs carry, so they are read first.
            seen = synced_first.wait_for(|synced| *synced) => if seen.is_err() { return },
            () = stop.cancelled() => return,
        }
        campaign.run(leadership, stop).await;
    }));

    let admin = Admin {
        registry,
        metrics: metrics.clone(),
        index: Arc::clone(&index),
        dispatch: dispatch.clone(),
        synced: is_synced,
        leadership: leads.clone(),
    };
    let routes =
        dispatch.worker_router().merge(dispatch.read_router()).merge(store.router()).merge(admin::router(admin));
    let close = CancellationToken::new();
    let server = axum::serve(listener, routes).with_graceful_shutdown(close.clone().cancelled_owned()).into_future();
    let server = AbortOnDropHandle::new(tokio::spawn(server));

    let shell = Shell { watched, index, dispatch: dispatch.clone(), pod: pod.clone(), memory };
    let outcome = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        ended = shell.run(changed, leads, synced) => ended.and_then(|()| anyhow::bail!("leader election has ended")),
        _ = dispatcher => Err(anyhow::anyhow!("the dispatcher has ended")),
    };
    tracing::info!("going away");
    // No decision may be written once the lease is given back, so deciding stops first.
    within("stepping down", dispatch.step_down()).await;
    within("ending the dispatcher", dispatch.shutdown()).await;
    pod.unmark().await;
    stop_campaign.cancel();
    within("giving the lease back", campaign).await;
    close.cancel();
    within("closing connections", server).await;
    telemetry.close().await;
    outcome
}

/// What the tasks need that look after objects while this replica leads.
struct Keeping<'a> {
    client: &'a Client,
    namespace: &'a str,
    dispatch: &'a Dispatch,
    index: &'a Arc<Index>,
    metrics: &'a Metrics,
}

impl Keeping<'_> {
    /// Starts them; answers where what was learned is kept.
    fn start(
        &self,
        args: &Args,
        leads: &watch::Receiver<Leadership>,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<Memory> {
        let Self { client, namespace, dispatch, index, metrics } = *self;
        let (of_client, of_dispatch, of_index, of_metrics) =
            (|| client.clone(), || dispatch.clone(), || Arc::clone(index), || metrics.clone());
        let reporter = Reporter::new(of_client(), namespace, of_dispatch(), of_index(), of_metrics());
        tasks.spawn(reporter.run(leads.clone(), args.report_every));
        let keeper = Keeper::new(of_client(), namespace, of_dispatch(), of_index(), of_metrics());
        tasks.spawn(keeper.run(leads.clone()));
        let evacuator = Evacuator::new(of_client(), namespace, of_dispatch(), args.node_notice.clone(), of_metrics());
        tasks.spawn(evacuator.run(leads.clone()));
        let librarian = Librarian::new(client, (namespace, &args.lease_name), of_dispatch(), index, metrics)?;
        tasks.spawn(librarian.run(leads.clone()));
        if let Some(name) = &args.defaults {
            tasks.spawn(Defaults::new(client, namespace, name).run(leads.clone()));
        }
        let memory = Memory::new(client, namespace, &args.lease_name, of_metrics());
        tasks.spawn(memory.clone().run(of_dispatch(), leads.clone(), args.learned_every));
        Ok(memory)
    }
}

async fn within<T>(what: &'static str, step: impl Future<Output = T>) {
    if timeout(GOODBYE, step).await.is_err() {
        tracing::warn!("{what} took too long and was given up");
    }
}

/// What everything else is built on.
struct Parts {
    client: Client,
    namespace: String,
    index: Arc<Index>,
    term: Arc<Term>,
    metrics: Metrics,
    registry: Registry,
    telemetry: Telemetry,
    dispatch: Dispatch,
    store: Store,
    dispatcher: AbortOnDropHandle<()>,
    listener: TcpListener,
}

impl Parts {
    async fn start(args: &Args) -> anyhow::Result<Self> {
        let config = kube_config(args.kubeconfig.as_deref()).await?;
        let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("making a client for the API server")?;
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).context("registering the metrics")?;

        let telemetry = Telemetry::open(&args.telemetry, "tintype-operator", &registry).context("setting up traces")?;
        let listener = TcpListener::bind(args.listen).await.with_context(|| format!("listening on {}", args.listen))?;
        let address = listener.local_addr().context("reading the address listened on")?;
        let secret = Secret::from_file_or_create(&args.store_secret_file).context("reading the store secret")?;
        let public_url = args.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
        let store = args.storage.open(args.store_dir.clone(), Some(secret), public_url);
        let store =
            store.context("opening the image store")?.context("--store-dir and --s3-bucket are both left out")?;

        let index = Arc::new(Index::of(&namespace));
        let term = Arc::new(Term::default());
        let writer = Writer::new(client.clone(), Arc::clone(&index), Arc::clone(&term), metrics.clone());
        let worker_token = TokenSource::file(&args.worker_token_file).context("the workers' token")?;
        let reader_token =
            args.dispatch_token_file.as_ref().map(TokenSource::file).transpose().context("the readers' token")?;
        let config = DispatchConfig {
            scheduler: tintype_scheduler::Config {
                lease: args.attempt_lease,
                scale_horizon: args.scale_horizon,
                start_time: args.worker_start_time,
                warm_ahead: if args.warm_ahead { WarmAhead::IntoSpare } else { WarmAhead::Never },
                ..tintype_scheduler::Config::default()
            },
            worker_token,
            reader_token,
            output_ttl: args.output_ttl,
            decision_log: args.decision_log.clone().map(JournalConfig::at),
            telemetry: telemetry.clone(),
        };
        let (dispatch, dispatcher) =
            Dispatch::start(config, Arc::new(writer), store.clone(), &registry).context("starting the dispatcher")?;
        if let Some(path) = &args.port_file {
            tokio::fs::write(path, address.to_string()).await.context("writing the port file")?;
        }
        tracing::info!(%address, namespace, "listening");
        let dispatcher = AbortOnDropHandle::new(dispatcher);
        Ok(Self { client, namespace, index, term, metrics, registry, telemetry, dispatch, store, dispatcher, listener })
    }
}

/// How to reach the cluster: by this file, or as the surroundings say.
pub(crate) async fn kube_config(file: Option<&Path>) -> anyhow::Result<kube::Config> {
    let mut config = match file {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .context("reading the kubeconfig")?
        }
        None => kube::Config::infer()
            .await
            .context("finding a cluster: give --kubeconfig, or run in a pod with a service account")?,
    };
    // The library would send a write again on 429, 503 and 504, some of which may have been carried out; here each
    // caller decides for itself.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Ok(config)
}
