//! What requests may name: OpenAI's list, and the cards behind it.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tintype_types::{ModelCard, ModelKind};

use super::auth::Caller;
use crate::state::App;

/// OpenAI's list of models.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct ModelList {
    /// Always `list`.
    object: &'static str,
    /// The models, in order of name.
    data: Vec<Model>,
}

/// A model in it.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Model {
    /// What requests call it.
    id: String,
    /// Always `model`.
    object: &'static str,
    /// Not known here: 0.
    created: u64,
    /// What comes before the first `/` of its name.
    owned_by: String,
}

/// The models as OpenAI's clients read them.
pub(crate) async fn list(State(app): State<App>, _caller: Caller) -> Json<ModelList> {
    let model = |card: &ModelCard| {
        let owned_by = card.name.split_once('/').map_or("local", |(owner, _)| owner).to_owned();
        Model { id: card.name.clone(), object: "model", created: 0, owned_by }
    };
    let models = app.cluster.models();
    let checkpoints = models.values().filter(|card| card.kind == ModelKind::Checkpoint);
    Json(ModelList { object: "list", data: checkpoints.map(model).collect() })
}

/// A list of model cards.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Cards {
    /// The cards, in order of name.
    data: Vec<ModelCard>,
    /// Names of those some worker has in memory now; what is not here is loaded first.
    warm: BTreeSet<String>,
}

/// Models some worker has in memory. Who cannot be asked has none, as far as we know.
async fn warm(app: &App) -> BTreeSet<String> {
    let workers = app.cluster.workers().await.unwrap_or_default();
    workers.into_iter().flat_map(|worker| worker.resident_models).collect()
}

/// Everything requests may name, LoRAs and ControlNets too: `kind` tells them apart.
pub(crate) async fn cards(State(app): State<App>, _caller: Caller) -> Json<Cards> {
    Json(Cards { data: app.cluster.models().values().cloned().collect(), warm: warm(&app).await })
}
