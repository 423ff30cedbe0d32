//! `GET /api/v1/status`: how the service is, for anybody. It says nothing of any account.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::health;
use super::quotes::SpreadView;
use crate::clock;
use crate::outlook::Seen;
use crate::state::App;

/// How long a reading is good: everybody may ask, so the database is asked once in this time.
const FRESH: Duration = Duration::from_secs(5);

/// How a part, or the whole, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Condition {
    /// It works.
    Operational,
    /// It works, slowly or in part.
    Degraded,
    /// It does not work.
    Down,
}

/// A part of the service.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Component {
    /// `api`, `database`, `scheduler` or `workers`.
    name: &'static str,
    /// How it is.
    status: Condition,
}

/// The queue, over everybody's jobs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueView {
    /// Jobs that wait.
    waiting: i64,
    /// Jobs being worked on.
    running: i64,
    /// How long a job made now would wait; absent while too little is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_in: Option<SpreadView>,
}

/// How the service is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceStatus {
    /// As its worst part.
    status: Condition,
    /// Its parts.
    components: Vec<Component>,
    /// The queue; absent while the database is out of reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<QueueView>,
    /// The version that answers.
    version: &'static str,
    /// When this was read, in milliseconds since 1970.
    at_ms: u64,
}

/// The last reading.
#[derive(Debug, Default)]
pub(crate) struct Cached(tokio::sync::Mutex<Option<ServiceStatus>>);

/// How the service is now, or was seconds ago.
pub(crate) async fn read(State(app): State<App>) -> Json<ServiceStatus> {
    // Whoever comes while it is read waits for that reading.
    let mut cached = app.status.0.lock().await;
    let now = clock::now();
    if let Some(status) = cached.as_ref().filter(|status| now.0.saturating_sub(status.at_ms) < FRESH.as_millis() as u64)
    {
        return Json(status.clone());
    }
    let status = look(&app).await;
    *cached = Some(status.clone());
    Json(status)
}

async fn look(app: &App) -> ServiceStatus {
    let now = clock::now();
    let seen = tokio::time::timeout(health::PING_TIMEOUT, Seen::read(&app.pool)).await.ok().and_then(Result::ok);
    let up = |works: bool| if works { Condition::Operational } else { Condition::Down };
    // Workers that have nothing to do are not heard of here: they count as there until jobs wait for nobody.
    let workers = match &seen {
        Some(seen) if seen.open > seen.running && seen.running == 0 && seen.workers(now) == 0 => Condition::Degraded,
        Some(_) | None => Condition::Operational,
    };
    let components = vec![
        Component { name: "api", status: up(!app.stop.is_cancelled()) },
        Component { name: "database", status: up(seen.is_some()) },
        Component { name: "scheduler", status: up(app.cluster.is_ready()) },
        Component { name: "workers", status: workers },
    ];
    let queue = seen.map(|seen| QueueView {
        waiting: seen.open - seen.running,
        running: seen.running,
        starts_in: seen.starts_in(now).map(SpreadView::from),
    });
    let status = components.iter().map(|part| part.status).max().unwrap_or(Condition::Operational);
    ServiceStatus { status, components, queue, version: env!("CARGO_PKG_VERSION"), at_ms: now.0 }
}
