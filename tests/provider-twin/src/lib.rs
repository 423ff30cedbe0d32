//! A provider of ours that speaks the three dialects as they are documented, remembers every purchase, and misbehaves
//! when told to. It knows nothing of who buys.

#![expect(clippy::unwrap_used, reason = "a test's helper stops the test")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// The key it is bought from with.
pub const KEY: &str = "the-providers-key";

/// What becomes of a purchase when it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is taken, and the connection breaks before the answer.
    LoseAnswer,
    /// It is taken, and the answer waits until [`Twin::release`].
    HoldAnswer,
    /// It is taken, and a gateway answers for it.
    BadGateway,
    /// It is not taken, and a gateway answers for it.
    Down,
    /// Too many requests; come back in a second.
    Busy,
    /// It is not taken for what it is.
    Invalid,
}

/// What its pictures are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Files {
    /// Red ones of 64 by 64.
    #[default]
    Good,
    /// They are gone.
    Expired,
    /// They never end.
    Endless,
    /// Good ones, by plain http under another address of this machine than its own.
    Elsewhere,
    /// Wherever this says.
    At(&'static str),
}

/// A purchase as it arrived, and how far it is.
#[derive(Clone, Debug)]
pub struct Bought {
    /// Its name.
    pub id: String,
    /// What was sent.
    pub body: Value,
    /// And with which headers.
    pub headers: HeaderMap,
    /// How far it is.
    pub state: Stage,
}

/// How far a purchase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Stage {
    Waiting,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Default)]
struct Inner {
    bought: Vec<Bought>,
    faults: VecDeque<Fault>,
    files: Files,
    /// Whether purchases stay where they are when they are looked at.
    still: bool,
    fails: bool,
    calls: BTreeMap<&'static str, u32>,
}

/// The provider.
#[derive(Clone, Default)]
pub struct Twin {
    inner: Arc<Mutex<Inner>>,
    held: Arc<Notify>,
    url: String,
    elsewhere: String,
}

impl Twin {
    /// Listens on a free port, for as long as the runtime lives.
    pub async fn start() -> Self {
        let bind = async || {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            (listener, url)
        };
        let ((listener, url), (beside, elsewhere)) = (bind().await, bind().await);
        let twin = Self { url, elsewhere, ..Self::default() };
        let files = Router::new().route("/files/{name}", get(file)).with_state(twin.clone());
        let routes = Router::new()
            .route("/v1/predictions", post(replicate_buy).get(replicate_list))
            .route("/v1/models/{owner}/{name}/predictions", post(replicate_buy_official))
            .route("/v1/predictions/{id}", get(replicate_look))
            .route("/v1/predictions/{id}/cancel", post(cancel))
            .route("/v2/sd/run", post(runpod_buy))
            .route("/v2/sd/status/{id}", get(runpod_look))
            .route("/v2/sd/cancel/{id}", post(cancel))
            .route("/modal/draw", post(modal_buy))
            .route("/modal/draw/{id}", get(modal_look))
            .route("/modal/draw/{id}/cancel", post(cancel))
            .with_state(twin.clone())
            .merge(files.clone());
        tokio::spawn(async move { axum::serve(beside, files).await.unwrap() });
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        twin
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// What becomes of the next purchases.
    pub fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.extend(faults);
    }

    /// What its pictures are like from now on.
    pub fn files(&self, files: Files) {
        self.lock().files = files;
    }

    /// Whether purchases stay where they are when they are looked at.
    pub fn hold_still(&self, still: bool) {
        self.lock().still = still;
    }

    /// Makes every purchase fail.
    pub fn fail_all(&self) {
        self.lock().fails = true;
    }

    /// Lets answers go that were held.
    pub fn release(&self) {
        self.held.notify_waiters();
    }

    /// Every purchase, in the order they came.
    pub fn bought(&self) -> Vec<Bought> {
        self.lock().bought.clone()
    }

    /// How often something was asked for.
    pub fn calls(&self, call: &str) -> u32 {
        self.lock().calls.get(call).copied().unwrap_or(0)
    }

    fn count(&self, call: &'static str, headers: &HeaderMap) -> Result<(), StatusCode> {
        *self.lock().calls.entry(call).or_default() += 1;
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if shown == Some(&format!("Bearer {KEY}")) { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
    }

    /// Takes a purchase in, or does what it was told to.
    async fn buy(&self, headers: HeaderMap, body: Value, id: Option<String>) -> Response {
        if let Err(status) = self.count("buy", &headers) {
            return status.into_response();
        }
        let fault = self.lock().faults.pop_front();
        match fault {
            Some(Fault::Down) => return StatusCode::BAD_GATEWAY.into_response(),
            Some(Fault::Invalid) => return StatusCode::UNPROCESSABLE_ENTITY.into_response(),
            Some(Fault::Busy) => {
                return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")]).into_response();
            }
            Some(Fault::LoseAnswer | Fault::HoldAnswer | Fault::BadGateway) | None => {}
        }
        let id = {
            let mut inner = self.lock();
            let id = id.unwrap_or_else(|| format!("p{}", inner.bought.len()));
            if !inner.bought.iter().any(|bought| bought.id == id) {
                inner.bought.push(Bought { id: id.clone(), body, headers, state: Stage::Waiting });
            }
            id
        };
        match fault {
            Some(Fault::LoseAnswer) => broken(),
            Some(Fault::BadGateway) => StatusCode::BAD_GATEWAY.into_response(),
            Some(Fault::HoldAnswer) => {
                self.held.notified().await;
                broken()
            }
            Some(_) | None => (StatusCode::CREATED, Json(json!({ "id": id, "status": "starting" }))).into_response(),
        }
    }

    /// A purchase as it is now; being looked at moves it on by one.
    fn look(&self, id: &str, headers: &HeaderMap) -> Result<Bought, StatusCode> {
        self.count("look", headers)?;
        let mut inner = self.lock();
        let (still, fails) = (inner.still, inner.fails);
        let bought = inner.bought.iter_mut().find(|bought| bought.id == id).ok_or(StatusCode::NOT_FOUND)?;
        if !still {
            bought.state = match bought.state {
                Stage::Waiting => Stage::Running,
                Stage::Running if fails => Stage::Failed,
                Stage::Running => Stage::Succeeded,
                ended @ (Stage::Succeeded | Stage::Failed | Stage::Cancelled) => ended,
            };
        }
        Ok(bought.clone())
    }

    fn pictures(&self, bought: &Bought) -> Vec<String> {
        let input = &bought.body["input"];
        let images = input["num_outputs"].as_u64().or(input["request"]["images"].as_u64()).unwrap_or(1);
        let base = match self.lock().files {
            Files::Good | Files::Expired | Files::Endless => self.url.clone(),
            Files::Elsewhere => self.elsewhere.clone(),
            Files::At(place) => place.to_owned(),
        };
        (0..images).map(|n| format!("{base}/files/{}-{n}.png", bought.id)).collect()
    }

    fn prediction(&self, bought: &Bought) -> Value {
        let status = match bought.state {
            Stage::Waiting => "starting",
            Stage::Running => "processing",
            Stage::Succeeded => "succeeded",
            Stage::Failed => "failed",
            Stage::Cancelled => "canceled",
        };
        let done = bought.state == Stage::Succeeded;
        // Replicate shows what a model's defaults added, too.
        let mut input = bought.body["input"].clone();
        input["scheduler"] = json!("DDIM");
        json!({
            "id": bought.id, "status": status, "input": input, "created_at": "2999-01-01T00:00:00.000Z",
            "output": if done { json!(self.pictures(bought)) } else { Value::Null },
            "metrics": if done { json!({ "predict_time": 1.2501 }) } else { json!({}) },
        })
    }
}

/// An answer whose body breaks off.
fn broken() -> Response {
    let parts = futures::stream::iter([Ok(Bytes::from("{\"id\":")), Err(std::io::Error::other("the line is cut"))]);
    Response::new(Body::from_stream(parts))
}

async fn replicate_buy(State(twin): State<Twin>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    assert!(body["version"].is_string(), "{body}");
    twin.buy(headers, body, None).await
}

async fn replicate_buy_official(State(twin): State<Twin>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    assert!(body["version"].is_null(), "an official model has no version: {body}");
    twin.buy(headers, body, None).await
}

async fn replicate_look(
    State(twin): State<Twin>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    let bought = twin.look(&id, &headers)?;
    Ok(Json(twin.prediction(&bought)))
}

async fn replicate_list(State(twin): State<Twin>, headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    twin.count("list", &headers)?;
    let results: Vec<_> = twin.bought().iter().rev().map(|bought| twin.prediction(bought)).collect();
    Ok(Json(json!({ "previous": null, "next": null, "results": results })))
}

async fn runpod_buy(State(twin): State<Twin>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    assert!(body["policy"]["executionTimeout"].is_u64(), "{body}");
    twin.buy(headers, body, None).await
}

async fn runpod_look(
    State(twin): State<Twin>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    let bought = twin.look(&id, &headers)?;
    let status = match bought.state {
        Stage::Waiting => "IN_QUEUE",
        Stage::Running => "IN_PROGRESS",
        Stage::Succeeded => "COMPLETED",
        Stage::Failed => "FAILED",
        Stage::Cancelled => "CANCELLED",
    };
    let mut job = json!({ "id": id, "status": status, "executionTime": 1_251, "delayTime": 5 });
    if bought.state == Stage::Succeeded {
        let data = STANDARD.encode(picture());
        let images = vec![json!({ "image": data }); twin.pictures(&bought).len()];
        job["output"] = json!({ "images": images });
    }
    Ok(Json(job))
}

async fn modal_buy(State(twin): State<Twin>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let id = body["id"].as_str().unwrap().to_owned();
    twin.buy(headers, body, Some(id)).await
}

async fn modal_look(
    State(twin): State<Twin>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    let bought = twin.look(&id, &headers)?;
    let status = match bought.state {
        Stage::Waiting => "queued",
        Stage::Running => "running",
        Stage::Succeeded => "succeeded",
        Stage::Failed | Stage::Cancelled => "failed",
    };
    let pictures = twin.pictures(&bought);
    Ok(Json(json!({ "id": id, "status": status, "seconds": 1.2501, "output": { "images": pictures } })))
}

async fn cancel(
    State(twin): State<Twin>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    twin.count("cancel", &headers)?;
    for bought in twin.lock().bought.iter_mut().filter(|bought| bought.id == id) {
        bought.state = Stage::Cancelled;
    }
    Ok(Json(json!({})))
}

async fn file(State(twin): State<Twin>, Path(_): Path<String>) -> Response {
    let files = twin.lock().files;
    *twin.lock().calls.entry("file").or_default() += 1;
    match files {
        Files::Good | Files::Elsewhere | Files::At(_) => picture().into_response(),
        Files::Expired => StatusCode::NOT_FOUND.into_response(),
        Files::Endless => {
            let zeros = || async { Some((Ok::<_, std::io::Error>(Bytes::from(vec![0; 1 << 20])), ())) };
            Response::new(Body::from_stream(futures::stream::unfold((), move |()| zeros())))
        }
    }
}

/// A red picture of 64 by 64.
fn picture() -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 64, 64);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[200, 30, 30].repeat(64 * 64)).unwrap();
    writer.finish().unwrap();
    file
}

/// Waits for a condition for as long as any machine may need.
pub async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = std::time::Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(90), "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
