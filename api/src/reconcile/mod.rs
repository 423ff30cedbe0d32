//! What repairs everything: reconcilers that look at the database and bring the world in line. They take no input, are
//! rung for speed and periodic for safety, and never retry inside.

mod alarms;
mod assets;
mod digests;
mod expire;
mod images;
mod payments;
mod prompts;
mod settle;
mod submit;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tintype_telemetry::Telemetry;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::cluster::Cluster;
use crate::database::Db;
use crate::keyring::Keyring;
use crate::lanes::Bell;
use crate::metrics::Metrics;
use crate::payments::Payments;
use crate::payments::plans::PriceBook;
use crate::services::Services;
use crate::services::shared::Shared;

/// How often each looks without being rung.
const PERIOD: Duration = Duration::from_secs(2);
/// How often holds without a job are looked for.
const EXPIRE_PERIOD: Duration = Duration::from_mins(1);
/// How often uploaded pictures are swept without being rung.
const SWEEP_PERIOD: Duration = Duration::from_mins(1);
/// How often deleted pictures are swept: their time comes by the clock, so nobody rings.
const IMAGES_PERIOD: Duration = Duration::from_secs(15);
/// How often it is looked whose week is over.
const DIGESTS_PERIOD: Duration = Duration::from_secs(5);
/// How often budgets are looked at without being rung.
const ALARMS_PERIOD: Duration = Duration::from_secs(5);
/// Rows taken up in one pass; more are left for the next, which follows at once.
const BATCH: i64 = 100;
/// Longest one pass may take.
const PASS_TIMEOUT: Duration = Duration::from_mins(1);

/// Rung when there is something to do. A bell rung twice is heard once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bells {
    /// A job was made, or its owner wants it gone.
    pub(crate) submit: Arc<Notify>,
    /// A job has ended.
    pub(crate) settle: Arc<Notify>,
    /// An uploaded picture is to be deleted.
    pub(crate) assets: Arc<Notify>,
    /// Stripe has said something, or is to be asked something.
    pub(crate) payments: Arc<Notify>,
    /// Somebody wants to be told of something about their credits.
    pub(crate) alarms: Arc<Notify>,
    /// Pictures were made.
    pub(crate) prompts: Arc<Notify>,
    /// Errands were sent.
    pub(crate) lanes: Bell,
}

/// What the reconcilers work with.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) pool: Db,
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) board: Board,
    pub(crate) bells: Bells,
    pub(crate) metrics: Metrics,
    pub(crate) keyring: Keyring,
    pub(crate) shared: Shared,
    pub(crate) services: Services,
    pub(crate) lane_bell: Bell,
    /// Whether this server sends mail.
    pub(crate) mail: bool,
    /// None where nothing is sold.
    pub(crate) payments: Option<Payments>,
    pub(crate) price_book: PriceBook,
    pub(crate) telemetry: Telemetry,
}

/// What a pass found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// There may be more: go on at once.
    More,
    /// Everything is in line.
    Done,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
enum Reconciler {
    Submit,
    Settle,
    Expire,
    Assets,
    Images,
    Payments,
    Alarms,
    Digests,
    Prompts,
}

/// What they are called, in metrics and in the settings of heartbeats.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    Reconciler::ALL.into_iter().map(Reconciler::name)
}

/// Starts all of them; they end with `stop`.
pub(crate) fn start(world: &World, stop: &CancellationToken) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for reconciler in Reconciler::ALL {
        tasks.spawn(stop.clone().run_until_cancelled_owned(run(reconciler, world.clone())).map(drop));
    }
    tasks
}

impl Reconciler {
    const ALL: [Self; 9] = [
        Self::Submit,
        Self::Settle,
        Self::Expire,
        Self::Assets,
        Self::Images,
        Self::Payments,
        Self::Alarms,
        Self::Digests,
        Self::Prompts,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Settle => "settle",
            Self::Expire => "expire",
            Self::Assets => "assets",
            Self::Images => "images",
            Self::Payments => "payments",
            Self::Alarms => "alarms",
            Self::Digests => "digests",
            Self::Prompts => "prompts",
        }
    }

    async fn pass(self, world: &World) -> anyhow::Result<Pass> {
        match self {
            Self::Submit => submit::pass(world).await,
            Self::Settle => settle::pass(world).await,
            Self::Expire => expire::pass(world).await,
            Self::Assets => assets::pass(world).await,
            Self::Images => images::pass(world).await,
            Self::Payments => payments::pass(world).await,
            Self::Alarms => alarms::pass(world).await,
            Self::Digests => digests::pass(world).await,
            Self::Prompts => prompts::pass(world).await,
        }
    }

    /// Returns when it is time for the next pass.
    async fn wait(self, world: &World) {
        let (bell, period) = match self {
            Self::Submit => (&world.bells.submit, PERIOD),
            Self::Settle => (&world.bells.settle, PERIOD),
            Self::Assets => (&world.bells.assets, SWEEP_PERIOD),
            Self::Payments => (&world.bells.payments, PERIOD),
            Self::Alarms => (&world.bells.alarms, ALARMS_PERIOD),
            Self::Prompts => (&world.bells.prompts, PERIOD),
            Self::Expire => return tokio::time::sleep(EXPIRE_PERIOD).await,
            Self::Images => return tokio::time::sleep(IMAGES_PERIOD).await,
            Self::Digests => return tokio::time::sleep(DIGESTS_PERIOD).await,
        };
        // Rung or not, it is time.
        let _ = timeout(period, bell.notified()).await;
    }
}

async fn run(reconciler: Reconciler, world: World) {
    for outcome in ["ok", "error", "timeout"] {
        world.metrics.passes.with_label_values(&[reconciler.name(), outcome]);
    }
    let mut failing = false;
    loop {
        let pass = match timeout(PASS_TIMEOUT, reconciler.pass(&world)).await {
            Ok(Ok(pass)) => {
                failing = false;
                world.metrics.passes.with_label_values(&[reconciler.name(), "ok"]).inc();
                world.services.heartbeats.beat(reconciler.name());
                pass
            }
            Ok(Err(error)) => {
                world.metrics.passes.with_label_values(&[reconciler.name(), "error"]).inc();
                // Once when it begins: the next passes would say the same every few seconds.
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(error = format!("{error:#}"), "{} cannot do its work now", reconciler.name());
                }
                Pass::Done
            }
            Err(_) => {
                world.metrics.passes.with_label_values(&[reconciler.name(), "timeout"]).inc();
                tracing::error!("a pass of {} took too long and was given up", reconciler.name());
                Pass::Done
            }
        };
        match pass {
            Pass::More => tokio::task::yield_now().await,
            Pass::Done => reconciler.wait(&world).await,
        }
    }
}

/// Whether a pass that took up this many rows may have left some.
fn pass_of(rows: usize, failed: usize) -> Pass {
    // With failures, going on at once would meet the same rows again.
    if rows as i64 == BATCH && failed == 0 { Pass::More } else { Pass::Done }
}
