//! What every handler can reach.

use std::sync::Arc;
use std::time::Duration;

use tintype_telemetry::Telemetry;
use tintype_types::{ErrorCode, ModelCard, ModelKind};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::adapters::kind_name;
use crate::board::Board;
use crate::cluster::Cluster;
use crate::creation::lane::Lane;
use crate::database::Db;
use crate::error::ApiError;
use crate::http::admin::AdminToken;
use crate::http::status::Cached;
use crate::http::studio::Pages;
use crate::http::studio_settings::StudioSettings;
use crate::identity::Identity;
use crate::keyring::Keyring;
use crate::lanes::Bell;
use crate::metrics::Metrics;
use crate::payments::Payments;
use crate::payments::plans::PriceBook;
use crate::price::Tariff;
use crate::rate::{Limiter, Rate};
use crate::reconcile::Bells;
use crate::services::Services;
use crate::services::shared::Shared;
use crate::webhooks::target::Reach;

/// The application. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// The pool of requests: see [`crate::tenancy`].
    pub(crate) pool: Db,
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) board: Board,
    pub(crate) bells: Bells,
    pub(crate) metrics: Metrics,
    /// What jobs are priced by, and what quotes call it.
    pub(crate) tariff: Arc<Tariff>,
    pub(crate) tariff_name: String,
    /// What credits are sold for.
    pub(crate) price_book: PriceBook,
    /// None where nothing is sold.
    pub(crate) payments: Option<Payments>,
    pub(crate) admin: Option<AdminToken>,
    /// How long a synchronous request is held open.
    pub(crate) wait_max: Duration,
    /// Names clients use for models of ours: `gpt-image-1` and the like.
    pub(crate) aliases: Vec<(String, String)>,
    /// How many jobs of an account may be unfinished.
    pub(crate) open_jobs_max: u64,
    /// The lane of new jobs.
    pub(crate) lane: Lane,
    /// Keys in memory.
    pub(crate) keyring: Keyring,
    /// How fast accounts may ask.
    pub(crate) limiter: Limiter,
    /// The same, for what replicas share.
    pub(crate) rate: Rate,
    /// What replicas share.
    pub(crate) shared: Shared,
    /// What others run for us.
    pub(crate) services: Services,
    /// Where what requests do is traced.
    pub(crate) telemetry: Telemetry,
    /// How fast accounts may have prompts written out.
    pub(crate) enhancing: Limiter,
    /// How people sign in.
    pub(crate) identity: Identity,
    /// Room for archives of everything that is somebody's.
    pub(crate) exports: Arc<Semaphore>,
    /// Room for uploads.
    pub(crate) uploads: Semaphore,
    /// Whether `/metrics` has a listener of its own.
    pub(crate) metrics_apart: bool,
    /// Where clients reach us, without a slash at its end.
    pub(crate) public_url: String,
    /// Where webhooks may go.
    pub(crate) webhook_reach: Reach,
    /// Rung when errands were sent.
    pub(crate) lane_bell: Bell,
    /// How the service was, seconds ago.
    pub(crate) status: Cached,
    /// What the studio's pages must know.
    pub(crate) studio: StudioSettings,
    /// The studio's pages.
    pub(crate) pages: Pages,
    pub(crate) stop: CancellationToken,
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl App {
    /// The checkpoint a request means: by its own name, else by an alias.
    pub(crate) fn checkpoint(&self, name: &str) -> Result<ModelCard, ApiError> {
        let models = self.cluster.models();
        let alias = || self.aliases.iter().find(|(alias, _)| alias == name).map(|(_, model)| model.as_str());
        let Some(card) = models.get(name).or_else(|| models.get(alias()?)) else {
            let message = "there is no such model here; GET /v1/models lists those there are";
            return Err(ApiError::new(ErrorCode::ModelNotFound, message).with_param("model"));
        };
        match card.kind {
            ModelKind::Checkpoint => Ok(card.clone()),
            ModelKind::Lora | ModelKind::Controlnet => {
                let (kind, field) = kind_name(card.kind);
                let message = format!("{name} is a {kind}: name it in `{field}`, beside a model");
                Err(ApiError::invalid("model", message))
            }
        }
    }
}
