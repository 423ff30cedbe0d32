//! Models in Replicate's words. A model of ours has one version, whose id is the SHA-256 of its name: what they call a
//! version is 64 hex digits.

use axum::Json;
use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tintype_types::{ErrorCode, ModelCard, ModelKind};

use crate::clock::rfc3339;
use crate::error::ApiError;
use crate::http::auth::Caller;
use crate::state::App;
use tintype_types::Timestamp;

/// Owner of models whose name has none.
const OWNER: &str = "local";

/// A model's version.
#[expect(clippy::struct_field_names, reason = "the fields are theirs")]
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Version {
    /// SHA-256 of the model's name.
    id: String,
    /// Not known here: 1970.
    created_at: String,
    /// None: models here are not made with Cog.
    cog_version: &'static str,
    /// What an `input` may hold, and what comes out.
    openapi_schema: Value,
}

/// A model.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Model {
    /// Where it is described.
    url: String,
    /// What comes before the slash of its name.
    owner: String,
    /// What comes after it.
    name: String,
    /// Its licence.
    description: String,
    /// Always `public`: everybody with a key may use every model.
    visibility: &'static str,
    /// Not counted here.
    run_count: u64,
    /// Its one version.
    latest_version: Version,
}

/// A list in their words.
#[expect(clippy::struct_field_names, reason = "the fields are theirs")]
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Results<T> {
    /// The page after this one.
    pub(crate) next: Option<String>,
    /// The page before it.
    pub(crate) previous: Option<String>,
    /// What is on it.
    pub(crate) results: Vec<T>,
}

/// The id of a model's one version.
pub(crate) fn version_id(model: &str) -> String {
    hex::encode(Sha256::digest(model.as_bytes()))
}

fn version(model: &str) -> Version {
    Version {
        id: version_id(model),
        created_at: rfc3339(Timestamp(0)),
        cog_version: "0.0.0",
        openapi_schema: json!({
            "openapi": "3.0.2", "info": { "title": model, "version": "1" }, "paths": {},
            "components": { "schemas": { "Input": input_schema(), "Output": output_schema() } }
        }),
    }
}

fn input_schema() -> Value {
    let properties = [
        ("prompt", json!({ "type": "string" })),
        ("negative_prompt", json!({ "type": "string" })),
        ("width", json!({ "type": "integer" })),
        ("height", json!({ "type": "integer" })),
        ("num_outputs", json!({ "type": "integer", "default": 1, "minimum": 1, "maximum": 10 })),
        ("num_inference_steps", json!({ "type": "integer", "minimum": 1, "maximum": 150 })),
        ("guidance_scale", json!({ "type": "number" })),
        ("scheduler", json!({ "type": "string" })),
        ("seed", json!({ "type": "integer" })),
        ("image", json!({ "type": "string", "format": "uri" })),
        ("mask", json!({ "type": "string", "format": "uri" })),
        ("prompt_strength", json!({ "type": "number", "minimum": 0, "maximum": 1 })),
        ("output_format", json!({ "type": "string", "enum": ["png", "webp", "jpg"] })),
    ];
    let ordered = properties.into_iter().enumerate().map(|(n, (name, mut schema))| {
        schema["x-order"] = json!(n);
        (name.to_owned(), schema)
    });
    let properties: serde_json::Map<String, Value> = ordered.collect();
    json!({ "type": "object", "title": "Input", "required": ["prompt"], "properties": properties })
}

fn output_schema() -> Value {
    json!({ "type": "array", "title": "Output", "items": { "type": "string", "format": "uri" } })
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or((OWNER, name))
}

fn view(app: &App, card: &ModelCard) -> Model {
    let (owner, name) = split(&card.name);
    Model {
        url: format!("{}{}/models/{owner}/{name}", app.public_url, super::PREFIX),
        owner: owner.to_owned(),
        name: name.to_owned(),
        description: card.licence.clone(),
        visibility: "public",
        run_count: 0,
        latest_version: version(&card.name),
    }
}

/// The name of the model that a path means.
pub(crate) fn joined(owner: &str, name: &str) -> String {
    if owner == OWNER { name.to_owned() } else { format!("{owner}/{name}") }
}

/// The name of the model that `version` means: a version's id, `owner/name:id` or `owner/name`.
pub(crate) fn named(app: &App, version: &str) -> Result<String, ApiError> {
    let id = version.rsplit(':').next().unwrap_or(version);
    let models = app.cluster.models();
    let by_id = models.values().find(|card| version_id(&card.name) == id).map(|card| card.name.clone());
    match by_id {
        Some(name) => Ok(name),
        None if version.contains(':') || (id.len() == 64 && !id.contains('/')) => {
            let message = "there is no such version here; GET /replicate/v1/models lists those there are";
            Err(ApiError::new(ErrorCode::ModelNotFound, message).with_param("version"))
        }
        None => Ok(version.strip_prefix("local/").unwrap_or(version).to_owned()),
    }
}

/// The models that draw.
pub(crate) async fn list(State(app): State<App>, _caller: Caller) -> Json<Results<Model>> {
    let models = app.cluster.models();
    let checkpoints = models.values().filter(|card| card.kind == ModelKind::Checkpoint);
    Json(Results { next: None, previous: None, results: checkpoints.map(|card| view(&app, card)).collect() })
}

/// One of them.
pub(crate) async fn read(
    State(app): State<App>,
    _caller: Caller,
    Path((owner, name)): Path<(String, String)>,
) -> Result<Json<Model>, ApiError> {
    Ok(Json(view(&app, &app.checkpoint(&joined(&owner, &name))?)))
}

/// Its one version, as a list.
pub(crate) async fn versions(
    State(app): State<App>,
    _caller: Caller,
    Path((owner, name)): Path<(String, String)>,
) -> Result<Json<Results<Version>>, ApiError> {
    let card = app.checkpoint(&joined(&owner, &name))?;
    Ok(Json(Results { next: None, previous: None, results: vec![version(&card.name)] }))
}

/// Its one version.
pub(crate) async fn one_version(
    State(app): State<App>,
    _caller: Caller,
    Path((owner, name, id)): Path<(String, String, String)>,
) -> Result<Json<Version>, ApiError> {
    let card = app.checkpoint(&joined(&owner, &name))?;
    if version_id(&card.name) != id {
        return Err(ApiError::new(ErrorCode::ModelNotFound, "the model has no such version").with_param("version"));
    }
    Ok(Json(version(&card.name)))
}
