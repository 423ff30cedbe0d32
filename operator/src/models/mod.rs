//! Whether models are ready. Those whose files are elsewhere (`spec.fetch`): dereference, validate, build, apply, update status;
//! of the others, which pools' workers have them.
//!
//! The operator reads the header of each file, holds what it is against what the model says, and writes one ConfigMap of
//! cards, which worker pods have as one of their models directories: a worker fetches what it needs, checks its SHA-256 and
//! keeps it. Weights never pass through here, and no job is decided.
//!
//! A model is of the whole cluster and may be looked at by several operators. What they say of it depends on the model and
//! its file alone; where they see the file differently all the same, each says so once and not in turn for ever.

mod homes;
mod hub;
mod judge;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tintype_crds::labels::MANAGER_MODELS;
use tintype_crds::reasons::TOO_MANY_MODELS;
use tintype_crds::{DiffusionModel, GROUP, ModelFetch, VERSION};
use tintype_dispatch::Dispatch;
use tintype_types::{ModelKind, Timestamp};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use self::homes::{Heard, gone, homes};
use self::judge::{Looked, Word};
use self::source::Looker;
use crate::convert::{now, to_time};
use crate::index::Index;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::refusal::Refusal;

/// Between two rounds. A round without news reads nothing and writes nothing.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(2);
/// Longest one round may take.
const ROUND_TIMEOUT: Duration = Duration::from_mins(2);
/// Files looked into in one round; what is left is for the next.
const LOOKS_MAX: usize = 4;
/// A file that was refused is looked into again after this.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// What was said already is said again after this, where somebody has written something else since.
const SAY_AGAIN: Duration = Duration::from_mins(5);
/// Most bytes of cards: an object has room for a megabyte. A card has half a kilobyte.
const CARDS_BYTES_MAX: usize = 900_000;

/// Keeps the cards while this replica leads.
pub struct Librarian {
    models: Api<DiffusionModel>,
    maps: Api<ConfigMap>,
    namespace: String,
    /// Of the ConfigMap.
    name: String,
    looker: Looker,
    dispatch: Dispatch,
    index: Arc<Index>,
    metrics: Metrics,
    /// By object name: what was looked into, when, and what it was.
    looked: BTreeMap<String, (ModelFetch, Timestamp, Looked)>,
    /// By object name: what was said last, of which generation, and when.
    told: BTreeMap<String, (Word, Option<i64>, Timestamp)>,
    /// Pools whose workers were heard of here.
    ever_heard: BTreeSet<String>,
    /// The cards as they were written last.
    written: Option<BTreeMap<String, String>>,
}

impl Librarian {
    /// One whose ConfigMap belongs to a leader lease.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(
        client: &Client,
        (namespace, lease): (&str, &str),
        dispatch: Dispatch,
        index: &Arc<Index>,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            models: Api::all(client.clone()),
            maps: Api::namespaced(client.clone(), namespace),
            namespace: namespace.to_owned(),
            name: format!("{lease}-models"),
            looker: Looker::new().context("making an HTTP client for the sources of models")?,
            dispatch,
            index: Arc::clone(index),
            metrics: metrics.clone(),
            looked: BTreeMap::new(),
            told: BTreeMap::new(),
            ever_heard: BTreeSet::new(),
            written: None,
        })
    }

    /// Runs for ever, round after round; does nothing while another replica leads.
    pub async fn run(mut self, mut leadership: watch::Receiver<Leadership>) {
        while leadership.wait_for(|now| matches!(now, Leadership::Leading { .. })).await.is_ok() {
            let outcome = match timeout(ROUND_TIMEOUT, Box::pin(self.round())).await {
                Ok(Ok(())) => "ok",
                Ok(Err(error)) => {
                    tracing::warn!(error = format!("{error:#}"), "the sources of models could not be looked after");
                    "failed"
                }
                Err(_) => "timeout",
            };
            self.metrics.models.with_label_values(&[outcome]).inc();
            sleep(BETWEEN_ROUNDS).await;
        }
    }

    async fn round(&mut self) -> anyhow::Result<()> {
        let models = self.index.model_objects();
        let sourced: Vec<(String, &DiffusionModel, &ModelFetch)> =
            models.iter().filter_map(|model| Some((model.name_any(), model, model.spec.fetch.as_ref()?))).collect();
        self.looked
            .retain(|name, (looked, ..)| sourced.iter().any(|(there, _, fetch)| there == name && **fetch == *looked));
        let names: BTreeSet<String> = models.iter().map(ResourceExt::name_any).collect();
        self.told.retain(|name, _| names.contains(name));
        self.look(&sourced).await;
        let mut said = Vec::new();
        let (mut cards, mut bytes) = (BTreeMap::new(), 0);
        for (name, model, fetch) in &sourced {
            let known = self.looked.get(name).map(|(_, _, looked)| looked.clone());
            let mut looked = known.map(|looked| looked.and_then(|found| judge::check(model, found)));
            if let Some(Ok(found)) = &looked {
                let (key, card) = (format!("{name}.tintype.json"), judge::card(model, fetch, found));
                bytes += key.len() + card.len();
                if bytes <= CARDS_BYTES_MAX {
                    cards.insert(key, card);
                } else {
                    let message = "workers can be told of no more models with a source: delete some".to_owned();
                    looked = Some(Err(Refusal { reason: TOO_MANY_MODELS, message }));
                }
            }
            said.push((name.clone(), *model, Word::Source(looked)));
        }
        // Workers first: a model that is Ready is one they have been told of.
        self.write(cards).await.context("writing the ConfigMap of models")?;
        said.extend(self.at_home(&models).await);
        for (name, model, word) in said {
            self.tell(name, model, word).await.context("writing the status of a DiffusionModel")?;
        }
        Ok(())
    }

    /// What is to be said of models that are not fetched. Workers tell of checkpoints alone.
    async fn at_home<'a>(&mut self, models: &'a [DiffusionModel]) -> Vec<(String, &'a DiffusionModel, Word)> {
        let seen = self.dispatch.workers().await;
        let heard = Heard::of(&seen, now());
        let there: BTreeSet<String> = self.index.pool_objects().iter().map(ResourceExt::name_any).collect();
        self.ever_heard.extend(heard.pools());
        let gone = gone(&self.ever_heard, &heard, &there);
        let unsourced = models.iter().filter(|model| model.spec.fetch.is_none());
        let told_of = unsourced.filter(|model| model.spec.kind == ModelKind::Checkpoint);
        told_of.map(|model| (model.name_any(), model, Word::Homes(homes(model, &heard, &gone)))).collect()
    }

    /// Looks into files nobody has looked into, and again into those that were refused a while ago.
    async fn look(&mut self, sourced: &[(String, &DiffusionModel, &ModelFetch)]) {
        let at = now();
        let is_due = |known: Option<&(ModelFetch, Timestamp, Looked)>| match known {
            None => true,
            Some((_, _, Ok(_))) => false,
            Some((_, when, Err(_))) => at.since(*when) >= LOOK_AGAIN,
        };
        let due: Vec<_> = sourced.iter().filter(|(name, ..)| is_due(self.looked.get(name))).take(LOOKS_MAX).collect();
        for (name, model, fetch) in due {
            let looked = self.looker.look(model, fetch).await;
            match &looked {
                Ok(found) => {
                    tracing::info!(model = name, bytes = found.contents.bytes, "a model's source was looked into");
                }
                Err(refusal) => {
                    tracing::warn!(model = name, reason = refusal.reason, "a model's source cannot be used");
                }
            }
            self.looked.insert(name.clone(), ((*fetch).clone(), at, looked));
        }
    }

    /// Writes the cards, if they are others than before.
    async fn write(&mut self, cards: BTreeMap<String, String>) -> Result<(), kube::Error> {
        if self.written.as_ref() == Some(&cards) {
            return Ok(());
        }
        let body = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": self.name, "namespace": self.namespace }, "data": cards,
        });
        self.maps.patch(&self.name, &PatchParams::apply(MANAGER_MODELS).force(), &Patch::Apply(body)).await?;
        self.written = Some(cards);
        Ok(())
    }

    /// Writes a model's status, if it is news.
    async fn tell(&mut self, name: String, model: &DiffusionModel, word: Word) -> Result<(), kube::Error> {
        let (at, generation) = (now(), model.metadata.generation);
        let status = judge::status(model, &word, &to_time(at));
        let lately = |(said, of, when): &(Word, Option<i64>, Timestamp)| {
            (said, *of) == (&word, generation) && at.since(*when) < SAY_AGAIN
        };
        if model.status.as_ref() == Some(&status) || self.told.get(&name).is_some_and(lately) {
            return Ok(());
        }
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "DiffusionModel",
            "metadata": { "name": name }, "status": status,
        });
        let params = PatchParams::apply(MANAGER_MODELS).force();
        match self.models.patch_status(&name, &params, &Patch::Apply(body)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
        self.told.insert(name, (word, generation, at));
        Ok(())
    }
}
