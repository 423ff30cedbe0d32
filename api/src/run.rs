//! Puts the parts together, and takes them apart in the right order.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus::{IntCounterVec, Opts, Registry};
use tintype_dispatch::{DispatchConfig, JournalConfig, TokenSource};
use tintype_scheduler::WarmAhead;
use tintype_store::Store;
use tintype_telemetry::Telemetry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::args::{Args, ClusterKind};
use crate::assets::UPLOADS_MAX;
use crate::board::Board;
use crate::clock;
use crate::cluster::Cluster;
use crate::cluster::kubernetes::{Kubernetes, KubernetesConfig};
use crate::cluster::local::{Local, LocalConfig};
use crate::creation::lane::Lane;
use crate::database;
use crate::database::Db;
use crate::gallery::index::{Indexing, Passes};
use crate::http::prompts::PER_MINUTE;
use crate::http::studio::Pages;
use crate::http::studio_settings::StudioSettings;
use crate::http::{self, admin::AdminToken, status::Cached};
use crate::identity::Identity;
use crate::identity::args::Signup;
use crate::keyring::{self, Keyring};
use crate::lanes::{self, Lane as BackgroundLane, LaneMetrics, LanesConfig};
use crate::lock::SchedulerLock;
use crate::mail::Sender;
use crate::mail::lane::MailLane;
use crate::metrics::Metrics;
use crate::payments::Payments;
use crate::payments::plans::PriceBook;
use crate::privacy::erase::Erasing;
use crate::privacy::export::EXPORTS_MAX;
use crate::rate::{Limiter, Rate};
use crate::reconcile::{self, Bells, World};
use crate::records::{key, tariff};
use crate::services::Services;
use crate::services::metrics::ServiceMetrics;
use crate::services::shared::Shared;
use crate::state::{App, Inner};
use crate::storage::{self, public_url};
use crate::tenancy;
use crate::webhooks::lane::{Deliveries, Sweep};
use crate::webhooks::target::{self, Reach};

/// How long a worker's upload URLs are good: longer than any attempt.
const OUTPUT_TTL: Duration = Duration::from_hours(1);
/// Longest open requests may take to end when the program is told to.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs until `shutdown`.
///
/// # Errors
/// Why it could not start, or had to end.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    // An error means that one is there already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    // Our own end, so that everything we started ends with us whatever happens to `shutdown`.
    let stop = shutdown.child_token();
    let ended = run_until(args, &stop).await;
    stop.cancel();
    ended
}

async fn run_until(args: Args, stop: &CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr().context("cannot tell the address listened on")?;
    let (pool, requests) = open_database(&args).await?;
    let price_book = read_price_book(args.payments.price_book.as_deref())?;
    let mailer = open_mail(&args)?;
    let store = storage::open(&args, address)?;
    let registry = Registry::new();
    let metrics = Metrics::new(registry.clone()).context("cannot register the metrics")?;
    let telemetry = Telemetry::open(&args.telemetry, "tintype-api", &registry).context("cannot set up traces")?;
    let back_to = public_url(&args, address).trim_end_matches('/').to_owned();
    let payments = Payments::open(&args.payments, back_to, &metrics)?;
    let (board, bells) = (Board::default(), Bells::default());
    let services = open_services(&args, &registry, stop)?;
    let shared = Shared::open(args.services.redis_url.as_deref(), &registry)?;
    let parts = Parts {
        pool: pool.clone(),
        store,
        board: board.clone(),
        bells: bells.clone(),
        registry,
        telemetry: telemetry.clone(),
    };
    let (cluster, lock) = start_cluster(&args, parts, stop).await?;
    let world = World {
        pool: pool.clone(),
        cluster,
        board,
        lane_bell: bells.lanes.clone(),
        bells,
        metrics,
        keyring: Keyring::default(),
        shared,
        services,
        mail: mailer.is_some(),
        payments,
        price_book,
        telemetry,
    };
    let mut reconcilers = reconcile::start(&world, stop);
    let listening = keyring::listen(pool.clone(), world.keyring.clone(), world.shared.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(listening));
    let mut lanes = start_lanes(&args, &world, mailer, address, stop)?;
    let adopted = tariff::adopt(&pool, &world.price_book.jobs, clock::now()).await;
    adopted.context("cannot write down what jobs cost")?;
    let app = open_app(&args, &world, requests.clone(), address, stop)?;
    serve_metrics(args.metrics_listen, &world, stop).await?;
    if let Some(file) = &args.port_file {
        write_port_file(file, address)?;
    }
    tracing::info!(%address, "listening");
    let outcome = tokio::select! {
        served = serve(listener, http::router(&app), stop) => served,
        lost = lock.lost() => Err(lost),
    };
    stop.cancel();
    while reconcilers.join_next().await.is_some() {}
    while lanes.join_next().await.is_some() {}
    if let Err(error) = key::touch(&pool, &world.keyring.take_used()).await {
        tracing::warn!(%error, "when keys were last used could not be written down");
    }
    world.telemetry.close().await;
    lock.release().await;
    requests.close().await;
    pool.close().await;
    outcome
}

/// What works for all accounts, and what requests run on; the schema is up to date if that is our business.
async fn open_database(args: &Args) -> anyhow::Result<(Db, Db)> {
    let direct = match &args.database_direct_url {
        Some(url) => database::connect_past_pooler(url).await.context("TINTYPE_DATABASE_DIRECT_URL")?,
        None => database::connect(&args.database_url).await?,
    };
    if args.auto_migrate {
        database::migrate(&direct).await?;
    }
    let direct = Db::from(direct);
    if args.database_direct_url.is_none() {
        return Ok((direct, tenancy::connect(&args.database_url).await?));
    }
    let pool = Db::behind_pooler(&args.database_url, &direct, database::nobodys).await?;
    Ok((pool, tenancy::connect_behind_pooler(&args.database_url, &direct).await?))
}

/// Services that are named; errors are told of from now on.
fn open_services(args: &Args, registry: &Registry, stop: &CancellationToken) -> anyhow::Result<Services> {
    let metrics = ServiceMetrics::new(registry).context("cannot register the services' metrics")?;
    let services = Services::open(&args.services, &metrics)?;
    if let Some(reports) = args.reports.clone() {
        let telling = stop.clone().run_until_cancelled_owned(reports.tell(metrics));
        tokio::spawn(async move {
            if let Some(Err(error)) = telling.await {
                tracing::warn!(error = format!("{error:#}"), "errors cannot be told to Sentry");
            }
        });
    }
    Ok(services)
}

/// What requests are answered with.
fn open_app(
    args: &Args,
    world: &World,
    requests: Db,
    address: SocketAddr,
    stop: &CancellationToken,
) -> anyhow::Result<App> {
    let admin = args.admin_token_file.as_deref().map(AdminToken::from_file).transpose()?;
    let public_url = public_url(args, address);
    Ok(App {
        inner: Arc::new(Inner {
            pool: requests,
            cluster: Arc::clone(&world.cluster),
            board: world.board.clone(),
            bells: world.bells.clone(),
            metrics: world.metrics.clone(),
            tariff: Arc::new(world.price_book.jobs.clone()),
            tariff_name: world.price_book.jobs.name(),
            price_book: world.price_book.clone(),
            payments: world.payments.clone(),
            admin,
            wait_max: Duration::from_secs(args.wait_seconds),
            aliases: args.model_aliases.clone(),
            open_jobs_max: args.open_jobs_max,
            lane: Lane::start(world, stop),
            keyring: world.keyring.clone(),
            limiter: Limiter::new(args.rate()),
            rate: args.rate(),
            shared: world.shared.clone(),
            services: world.services.clone(),
            telemetry: world.telemetry.clone(),
            enhancing: Limiter::new(Rate { per_minute: PER_MINUTE, burst: PER_MINUTE }),
            identity: Identity::new(&args.identity, args.public_url.clone(), public_url.clone(), world.mail)?,
            exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
            uploads: Semaphore::new(UPLOADS_MAX),
            metrics_apart: args.metrics_listen.is_some(),
            public_url,
            webhook_reach: reach(args),
            lane_bell: world.lane_bell.clone(),
            status: Cached::default(),
            studio: StudioSettings::new(&args.studio, &args.identity.clerk)?,
            pages: Pages::open(args.studio.studio_bundle.as_deref())?,
            stop: stop.clone(),
        }),
    })
}

/// Starts every kind of errand there is.
fn start_lanes(
    args: &Args,
    world: &World,
    mailer: Option<Sender>,
    address: SocketAddr,
    stop: &CancellationToken,
) -> anyhow::Result<JoinSet<()>> {
    let (pool, site, signup) = (world.pool.clone(), public_url(args, address), args.identity.signup);
    let webhooks = webhooks(args, world, &site)?;
    let payments = world.payments.clone();
    let mail =
        mailer.map(|sender| Arc::new(MailLane { pool, sender, site, signup, payments }) as Arc<dyn BackgroundLane>);
    let sweep = Sweep { pool: world.pool.clone() };
    let (cluster, bells) = (Arc::clone(&world.cluster), world.bells.clone());
    let indexed = world.services.typesense.is_some();
    let erasing = Erasing { pool: world.pool.clone(), cluster, bells, payments: world.payments.clone(), indexed };
    let others: [Arc<dyn BackgroundLane>; 3] = [Arc::new(webhooks), Arc::new(sweep), Arc::new(erasing)];
    let posthog = world.services.posthog.clone().map(|posthog| Arc::new(posthog) as Arc<dyn BackgroundLane>);
    let lanes: Vec<_> = mail.into_iter().chain(posthog).chain(indexing(world)).chain(others).collect();
    let heartbeats = world.services.heartbeats.clone();
    heartbeats.check(&reconcile::names().chain(lanes.iter().map(|lane| lane.name())).collect::<Vec<_>>())?;
    let config = LanesConfig {
        pool: world.pool.clone(),
        bell: world.lane_bell.clone(),
        metrics: LaneMetrics::new(&world.metrics.registry).context("cannot register the lanes' metrics")?,
        alive: Arc::new(move |lane| heartbeats.beat(lane)),
        lanes,
    };
    Ok(lanes::start(config, stop))
}

/// What keeps the index of pictures true, where there is one.
fn indexing(world: &World) -> Vec<Arc<dyn BackgroundLane>> {
    let Some(typesense) = world.services.typesense.clone() else { return Vec::new() };
    let indexing = Arc::new(Indexing { pool: world.pool.clone(), typesense, bell: world.lane_bell.clone() });
    vec![Arc::new(Passes { indexing: Arc::clone(&indexing) }), indexing]
}

/// Serves the numbers on a listener of their own, if there is to be one, until `stop`.
async fn serve_metrics(listen: Option<SocketAddr>, world: &World, stop: &CancellationToken) -> anyhow::Result<()> {
    let Some(listen) = listen else { return Ok(()) };
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot serve metrics on {listen}"))?;
    let router = http::metrics_router(world.metrics.registry.clone());
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::spawn(server.into_future());
    Ok(())
}

fn reach(args: &Args) -> Reach {
    if args.webhook_private_targets { Reach::Private } else { Reach::Public }
}

/// The lane that tells webhooks.
fn webhooks(args: &Args, world: &World, public_url: &str) -> anyhow::Result<Deliveries> {
    let reach = reach(args);
    let counted = Opts::new("tintype_api_webhooks_total", "Tries to tell a webhook, by how they went");
    let outcomes = IntCounterVec::new(counted, &["outcome"])?;
    world.metrics.registry.register(Box::new(outcomes.clone())).context("cannot register the webhooks' metrics")?;
    Ok(Deliveries {
        pool: world.pool.clone(),
        http: target::client(reach).context("cannot make the client of webhooks")?,
        cluster: Arc::clone(&world.cluster),
        reach,
        public_url: public_url.to_owned(),
        outcomes,
    })
}

async fn serve(listener: TcpListener, router: axum::Router, stop: &CancellationToken) -> anyhow::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned()).into_future();
    tokio::pin!(server);
    tokio::select! {
        served = &mut server => return served.context("the HTTP server broke"),
        () = stop.cancelled() => {}
    }
    tracing::info!("going away");
    if tokio::time::timeout(CLOSE_TIMEOUT, server).await.is_err() {
        tracing::warn!("some requests did not end in time and were cut off");
    }
    Ok(())
}

struct Parts {
    pool: Db,
    store: Option<Store>,
    board: Board,
    bells: Bells,
    registry: Registry,
    telemetry: Telemetry,
}

async fn start_cluster(
    args: &Args,
    parts: Parts,
    stop: &CancellationToken,
) -> anyhow::Result<(Arc<dyn Cluster>, SchedulerLock)> {
    let Parts { pool, store, board, bells, registry, telemetry } = parts;
    match args.cluster {
        ClusterKind::Local => {
            let token = args.worker_token_file.as_ref().context("local mode needs --worker-token-file")?;
            let worker_token = TokenSource::file(token).context("cannot read the workers' token")?;
            let store = store.context("local mode needs --store-secret-file, and --store-dir or --s3-bucket")?;
            let lock = SchedulerLock::take(args.direct_url()).await?;
            let lease = Duration::from_millis(args.lease_ms);
            let warm_ahead = if args.warm_ahead { WarmAhead::IntoSpare } else { WarmAhead::Never };
            let scheduler = tintype_scheduler::Config { lease, warm_ahead, ..tintype_scheduler::Config::default() };
            // Whoever may give credits may see what waits and why; nobody else.
            let reader_token = args.admin_token_file.as_ref().map(TokenSource::file).transpose();
            let reader_token = reader_token.context("cannot read the administrator's token")?;
            let decision_log = args.decision_log.clone().map(JournalConfig::at);
            let dispatch = DispatchConfig {
                scheduler,
                worker_token,
                reader_token,
                output_ttl: OUTPUT_TTL,
                decision_log,
                telemetry,
            };
            let models_dirs = args.models_dirs.clone();
            let config = LocalConfig { dispatch, models_dirs, pool, store, board, bells, registry };
            Ok((Arc::new(Local::start(config, stop).await?), lock))
        }
        ClusterKind::Kubernetes => {
            let config = KubernetesConfig {
                kubeconfig: args.kubeconfig.clone(),
                namespace: args.namespace.clone(),
                dispatch_url: args.dispatch_url.clone(),
                dispatch_token_file: args.dispatch_token_file.clone(),
                pool,
                store,
                board,
                bells,
            };
            Ok((Arc::new(Kubernetes::start(config, stop).await?), SchedulerLock::none()))
        }
    }
}

fn open_mail(args: &Args) -> anyhow::Result<Option<Sender>> {
    let mailer = Sender::new(&args.mail)?;
    anyhow::ensure!(
        mailer.is_some() || args.identity.signup != Signup::Verified,
        "--signup verified sends a letter to everybody who signs up; name a sender of mail as well"
    );
    Ok(mailer)
}

fn read_price_book(file: Option<&Path>) -> anyhow::Result<PriceBook> {
    let Some(file) = file else { return PriceBook::shipped() };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    PriceBook::parse(&text).with_context(|| format!("cannot use {}", file.display()))
}

/// Whole or not at all: who waits for the file reads it as soon as it is there.
fn write_port_file(file: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let scratch = file.with_extension("new");
    std::fs::write(&scratch, format!("{address}\n"))
        .and_then(|()| std::fs::rename(&scratch, file))
        .with_context(|| format!("cannot write the address to {}", file.display()))
}
