//! `GET /api/v1/events`: where all of an account's open jobs stand, its new ones too, and its credits, in one stream. A
//! browser opens six connections to a server at most, so that a page cannot follow each job by itself.
//!
//! Every event is a whole snapshot: who comes back after a gap has missed nothing that is still true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt};
use schemars::JsonSchema;
use serde::Serialize;
use tintype_types::JobEvent;
use tokio::time::Instant;
use uuid::Uuid;

use super::auth::Caller;
use super::events::follow;
use super::outlook::{self, JobOutlook};
use super::view::Credits;
use crate::board::Waiter;
use crate::error::ApiError;
use crate::ledger::sql as ledger;
use crate::records::generation::{self, Generation};
use crate::state::App;
use crate::tenancy;

/// Jobs one stream follows at a time; when one ends the next in line is taken up.
const FOLLOWED_MAX: usize = 32;
/// How often a silent stream says that it is alive.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// How often the database is looked at without being woken: another replica may have made a job.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What the stream says: an object with one field, which names what it holds.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum LiveEvent {
    /// Where a job stands.
    Job(JobEvent),
    /// What the account has.
    Credits(Credits),
    /// What a job waits for, and for how long.
    Outlook(JobOutlook),
}

/// Streams the account's events.
pub(crate) async fn stream(State(app): State<App>, caller: Caller) -> Response {
    let changes = app.board.subscribe(caller.account);
    let live = Live {
        app,
        account: caller.account,
        changes,
        feeds: SelectAll::new(),
        followed: BTreeSet::new(),
        credits: None,
        outlooks: BTreeMap::new(),
        ready: VecDeque::new(),
        looked: false,
        looks_at: Instant::now(),
    };
    let keep_alive = KeepAlive::new().interval(HEARTBEAT_INTERVAL);
    Sse::new(events(live)).keep_alive(keep_alive).into_response()
}

struct Live {
    app: App,
    account: Uuid,
    changes: Waiter,
    feeds: SelectAll<BoxStream<'static, JobEvent>>,
    followed: BTreeSet<Uuid>,
    credits: Option<Credits>,
    /// What was last said of each open job.
    outlooks: BTreeMap<String, JobOutlook>,
    ready: VecDeque<LiveEvent>,
    looked: bool,
    /// When it looks again without being woken: however much is told meanwhile.
    looks_at: Instant,
}

fn events(live: Live) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    futures::stream::unfold(live, |mut live| async move {
        let event = live.next().await?;
        // It has string keys only, so that turning it into JSON cannot fail; if it did, the stream ends.
        let data = serde_json::to_string(&event).ok()?;
        Some((Ok(Event::default().data(data)), live))
    })
}

impl Live {
    /// The next event; none when the server goes away.
    async fn next(&mut self) -> Option<LiveEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if !self.looked {
                self.looked = true;
                self.look_or_wait().await;
                continue;
            }
            tokio::select! {
                Some(event) = self.feeds.next() => self.told(event),
                () = self.changes.changed() => self.look_or_wait().await,
                () = tokio::time::sleep_until(self.looks_at) => self.look_or_wait().await,
                () = self.app.stop.cancelled() => return None,
            }
        }
    }

    fn told(&mut self, event: JobEvent) {
        if event.state.is_terminal() {
            if let Ok(id) = event.job.as_str().parse::<Uuid>() {
                self.followed.remove(&id);
            }
            // Room for one that waits to be followed.
            self.looked = self.followed.len() + 1 < FOLLOWED_MAX;
        }
        self.ready.push_back(LiveEvent::Job(event));
    }

    /// A database that cannot be read now is read again in a while.
    async fn look_or_wait(&mut self) {
        self.looks_at = Instant::now() + LOOK_INTERVAL;
        if let Err(error) = self.look().await {
            tracing::debug!(?error, "a stream of events goes on without news from the database");
        }
    }

    async fn look(&mut self) -> Result<(), ApiError> {
        let (credits, open) = tenancy::look_as(self.account, read(self.app.clone(), self.account)).await??;
        if self.credits.replace(credits) != Some(credits) {
            self.ready.push_back(LiveEvent::Credits(credits));
        }
        let outlooks = outlook::of(&self.app, &open).await;
        for job in open {
            if self.followed.len() >= FOLLOWED_MAX {
                break;
            }
            if self.followed.insert(job.id) {
                self.feeds.push(follow(self.app.clone(), job).await?.boxed());
            }
        }
        self.say(outlooks);
        Ok(())
    }

    /// Of what jobs wait for, what is new.
    fn say(&mut self, outlooks: Vec<JobOutlook>) {
        let before = std::mem::take(&mut self.outlooks);
        for outlook in outlooks {
            // Measured from what was said: what moves a little each time is told in the end.
            let said = before.get(outlook.job()).filter(|said| outlook.says(said)).cloned();
            if said.is_none() {
                self.ready.push_back(LiveEvent::Outlook(outlook.clone()));
            }
            self.outlooks.insert(outlook.job().to_owned(), said.unwrap_or(outlook));
        }
    }
}

/// What the account has, and its open jobs.
async fn read(app: App, account: Uuid) -> Result<(Credits, Vec<Generation>), ApiError> {
    let credits = Credits::from(&ledger::balance(&mut *app.pool.reader().await?, account).await?);
    Ok((credits, generation::open_of(&app.pool, account, FOLLOWED_MAX as i64).await?))
}
