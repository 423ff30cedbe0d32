//! `/api/v1/images`: the gallery. Pages of pictures, one picture, what is done to one or to many.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tintype_types::{GenerationRequest, ImageFormat, Timestamp};
use uuid::Uuid;

use super::auth::Caller;
use super::body::{self, Json};
use super::picture::{self, PictureQuery};
use crate::clock;
use crate::cluster::PICTURE_URL_TTL;
use crate::error::ApiError;
use crate::gallery::image::{self, Filter, Image, RATIOS};
use crate::gallery::keeping::{self, Audience, Change};
use crate::gallery::{BULK_MAX, COLLECTIONS_MAX, collection, search};
use crate::records::generation;
use crate::state::App;

/// Pictures on a page, unless the caller says.
const PAGE: i64 = 50;
/// Pictures on a page at most.
const PAGE_MAX: i64 = 200;
/// Longest search, in characters.
const SEARCH_CHARS_MAX: usize = 200;
/// Most words of a search.
const SEARCH_WORDS_MAX: usize = 16;

/// A link that shows one picture.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LinkView {
    /// Its secret: the picture is at `/g/{token}/` of the studio and at `/api/v1/shared/{token}`.
    token: String,
    /// Whether model, prompt and settings are shown too.
    settings: bool,
}

/// A picture.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageView {
    /// Its id. Ids sort by age.
    id: String,
    /// The job that made it.
    job_id: String,
    /// Which of the job's pictures it is, from 0.
    n: u32,
    /// Where to fetch it without a key until `urlExpiresMs`; in a cluster whose operator keeps the pictures, the same as
    /// `file`.
    url: String,
    /// When `url` stops working, in milliseconds since 1970.
    url_expires_ms: u64,
    /// Where to get it at any time with the same key: answers with a redirect to a signed URL.
    file: String,
    /// Width in pixels.
    width: u32,
    /// Height in pixels.
    height: u32,
    /// Length of the file.
    bytes: u64,
    /// SHA-256 of the file.
    sha256: String,
    /// How it is written.
    format: ImageFormat,
    /// The model that made it.
    model: String,
    /// What it shows.
    prompt: String,
    /// What it keeps away from; empty when nothing was said.
    negative_prompt: String,
    /// The seed this very picture can be made again with.
    seed: u64,
    /// The request that makes this very picture again, alone: may be sent to `POST /api/v1/jobs` as it is.
    settings: GenerationRequest,
    /// Whether it is starred.
    starred: bool,
    /// The link it is shared by; absent: nobody else sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<LinkView>,
    /// Ids of the collections it is in.
    collections: Vec<String>,
    /// When it was made, in milliseconds since 1970.
    created_ms: u64,
}

impl ImageView {
    fn of(app: &App, image: Image, now: Timestamp) -> Self {
        let file = format!("/api/v1/images/{}/file", image.id);
        let settings = image.settings();
        let request = image.request;
        Self {
            id: image.id.to_string(),
            job_id: image.generation.to_string(),
            n: image.n,
            url: app.cluster.signed_url(&image.key).unwrap_or_else(|| file.clone()),
            url_expires_ms: now.plus(PICTURE_URL_TTL).0,
            file,
            width: image.width,
            height: image.height,
            bytes: image.bytes,
            sha256: image.sha256,
            format: request.format,
            model: request.model,
            prompt: request.prompt,
            negative_prompt: request.negative_prompt,
            seed: image.seed,
            settings,
            starred: image.starred.is_some(),
            shared: image.link.map(|link| LinkView { token: link.token.to_string(), settings: link.settings }),
            collections: image.collections.iter().map(Uuid::to_string).collect(),
            created_ms: image.created.0,
        }
    }
}

/// A page of pictures, newest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImagePage {
    /// The pictures.
    data: Vec<ImageView>,
    /// Pass as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which pictures.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    cursor: Option<Uuid>,
    limit: Option<i64>,
    q: Option<String>,
    collection: Option<Uuid>,
    starred: Option<bool>,
    model: Option<String>,
    seed: Option<u64>,
    ratio: Option<String>,
    from: Option<u64>,
    to: Option<u64>,
}

/// Name and JSON type of each field of [`ListQuery`], for the table of routes.
pub(crate) const LIST_QUERY: &[(&str, &str)] = &[
    ("cursor", "string"),
    ("limit", "integer"),
    ("q", "string"),
    ("collection", "string"),
    ("starred", "boolean"),
    ("model", "string"),
    ("seed", "integer"),
    ("ratio", "string"),
    ("from", "integer"),
    ("to", "integer"),
];

impl ListQuery {
    fn checked(query: Result<Query<Self>, QueryRejection>) -> Result<(Filter, i64), ApiError> {
        let Query(Self { cursor, limit, q, collection, starred, model, seed, ratio, from, to }) = query.map_err(|_| {
            let message = "the list takes `cursor` (the `next` of the page before), `limit`, `q` (words of the prompt), \
                 `collection` (an id), `starred` (true or false), `model`, `seed`, `ratio` (as `16:9`), and `from` and `to` \
                 (milliseconds since 1970)";
            ApiError::invalid("query", message)
        })?;
        let limit = limit.unwrap_or(PAGE);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(ApiError::invalid("limit", format!("a page has 1 to {PAGE_MAX} pictures")));
        }
        let words = words(q.as_deref().unwrap_or_default())?;
        let (from, to) = (from.map(Timestamp), to.map(Timestamp));
        let ratio = ratio.map(|name| named_ratio(&name)).transpose()?;
        Ok((Filter { before: cursor, starred, collection, model, seed, ratio, from, to, words, among: None }, limit))
    }
}

/// A shape by its name.
fn named_ratio(name: &str) -> Result<&'static str, ApiError> {
    let found = RATIOS.into_iter().find(|ratio| *ratio == name);
    found.ok_or_else(|| ApiError::invalid("ratio", format!("a ratio is one of {}", RATIOS.join(", "))))
}

/// The words of a search.
fn words(text: &str) -> Result<Vec<String>, ApiError> {
    if text.chars().count() > SEARCH_CHARS_MAX {
        return Err(ApiError::invalid("q", format!("a search has {SEARCH_CHARS_MAX} characters at most")));
    }
    // No prompt holds a NUL, and the database takes none.
    Ok(text
        .split(|c: char| c.is_whitespace() || c == '\0')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .take(SEARCH_WORDS_MAX)
        .collect())
}

/// The caller's pictures, newest first.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<axum::Json<ImagePage>, ApiError> {
    let (filter, limit) = ListQuery::checked(query)?;
    let now = clock::now();
    // One more than asked for tells whether there is another page.
    let mut found = search::list(&app, caller.account, &filter, limit + 1).await?;
    let more = found.len() as i64 > limit;
    found.truncate(limit as usize);
    let next = if more { found.last().map(|image| image.id.to_string()) } else { None };
    let data = found.into_iter().map(|image| ImageView::of(&app, image, now)).collect();
    Ok(axum::Json(ImagePage { data, next }))
}

/// A day and its pictures.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Day {
    /// Its first moment in UTC, in milliseconds since 1970.
    from_ms: u64,
    /// How many pictures were made on it.
    images: u64,
}

/// How many pictures there are, by day: what a scroll bar is drawn from.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Days {
    /// Days that have some, newest first.
    data: Vec<Day>,
}

/// How many pictures each day has. Takes what the list takes; `cursor` and `limit` mean nothing here.
pub(crate) async fn days(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<axum::Json<Days>, ApiError> {
    let (filter, _) = ListQuery::checked(query)?;
    let found = search::days(&app, caller.account, &Filter { before: None, ..filter }).await?;
    Ok(axum::Json(Days { data: found.into_iter().map(|(at, images)| Day { from_ms: at.0, images }).collect() }))
}

/// A picture of the caller's.
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<ImageView>, ApiError> {
    let found = own(&app, &caller, &id).await?;
    Ok(axum::Json(ImageView::of(&app, found, clock::now())))
}

/// Sends the caller on to the file, or the file itself.
pub(crate) async fn file(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    query: Result<Query<PictureQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let image = own(&app, &caller, &id).await?;
    if PictureQuery::inline(query)? {
        let job = generation::find(&app.pool, image.generation).await?.ok_or_else(|| ApiError::not_found("picture"))?;
        return picture::send(&app, &job, image.n as usize).await;
    }
    let url = app.cluster.object_url(&image.key).await?;
    Ok((StatusCode::FOUND, [(header::LOCATION, url), (header::CACHE_CONTROL, "no-store".to_owned())]).into_response())
}

/// What is to be different about a picture. What is left out stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ImagePatch {
    /// Whether it is starred.
    starred: Option<bool>,
    /// Who sees it beside its owner.
    shared: Option<Audience>,
    /// The collections it is in: these, and no others.
    #[schemars(with = "Option<Vec<String>>", length(max = 1000))]
    collections: Option<Vec<Uuid>>,
}

/// Stars a picture, shares it, or says what collections it is in.
pub(crate) async fn patch(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json,
) -> Result<axum::Json<ImageView>, ApiError> {
    let ImagePatch { starred, shared, collections } = body::parse(body)?;
    let found = own(&app, &caller, &id).await?;
    let now = clock::now();
    let mut tx = app.pool.begin().await?;
    if let Some(audience) = shared {
        keeping::share(&mut tx, caller.account, found.id, audience).await?;
    }
    if let Some(starred) = starred {
        let change = if starred { Change::Star } else { Change::Unstar };
        keeping::change(&mut tx, caller.account, &[found.id], change, now).await?;
    }
    if let Some(collections) = collections {
        if collections.len() as i64 > COLLECTIONS_MAX {
            return Err(ApiError::invalid("collections", format!("there are {COLLECTIONS_MAX} collections at most")));
        }
        if !keeping::set_collections(&mut tx, caller.account, found.id, &collections, now).await? {
            return Err(ApiError::not_found("collection").with_param("collections"));
        }
    }
    tx.commit().await?;
    read(State(app), caller, Path(id)).await
}

/// Deletes a picture. For a minute the deletion can be taken back; then the file is taken from the store.
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let mut tx = app.pool.begin().await?;
    let changed = keeping::change(&mut tx, caller.account, &[parse(&id)?], Change::Delete, clock::now()).await?;
    tx.commit().await?;
    match changed {
        0 => Err(ApiError::not_found("picture")),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// What is done to many pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BulkAction {
    /// Star them.
    Star,
    /// Take the star off.
    Unstar,
    /// Delete them.
    Delete,
    /// Take back a deletion of the last minute.
    Restore,
    /// Put them in `collection`.
    Collect,
    /// Take them out of `collection`.
    Uncollect,
}

/// Something to do to many pictures at once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Bulk {
    /// The pictures. Ids that are not there, or not yours, change nothing.
    #[schemars(with = "Vec<String>", length(min = 1, max = 500))]
    ids: Vec<Uuid>,
    /// What to do.
    action: BulkAction,
    /// The collection, for `collect` and `uncollect`.
    #[schemars(with = "Option<String>")]
    collection: Option<Uuid>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BulkDone {
    /// How many pictures it changed: those that were as asked already do not count.
    changed: u64,
}

/// Does one thing to many pictures, all or none.
pub(crate) async fn bulk(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json,
) -> Result<axum::Json<BulkDone>, ApiError> {
    let Bulk { ids, action, collection } = body::parse(body)?;
    if !(1..=BULK_MAX).contains(&ids.len()) {
        return Err(ApiError::invalid("ids", format!("name 1 to {BULK_MAX} pictures at a time")));
    }
    let named = || collection.ok_or_else(|| ApiError::invalid("collection", "say which collection"));
    let change = match action {
        BulkAction::Star => Change::Star,
        BulkAction::Unstar => Change::Unstar,
        BulkAction::Delete => Change::Delete,
        BulkAction::Restore => Change::Restore,
        BulkAction::Collect => Change::Collect(named()?),
        BulkAction::Uncollect => Change::Uncollect(named()?),
    };
    let mut tx = app.pool.begin().await?;
    if let Change::Collect(id) | Change::Uncollect(id) = change
        && !collection::lock(&mut tx, caller.account, id).await?
    {
        return Err(ApiError::not_found("collection").with_param("collection"));
    }
    let changed = keeping::change(&mut tx, caller.account, &ids, change, clock::now()).await?;
    tx.commit().await?;
    Ok(axum::Json(BulkDone { changed }))
}

async fn own(app: &App, caller: &Caller, id: &str) -> Result<Image, ApiError> {
    image::find(&app.pool, caller.account, parse(id)?).await?.ok_or_else(|| ApiError::not_found("picture"))
}

fn parse(id: &str) -> Result<Uuid, ApiError> {
    id.parse().map_err(|_| ApiError::not_found("picture"))
}
