//! Making a job and waiting for it: what every way of asking for pictures has in common.
//!
//! Idempotency key, job and hold are written in one transaction ([`crate::creation`]), so either all of it happened or
//! nothing did.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use sha2::{Digest, Sha256};
use tintype_crds::WhenLate;
use tintype_scheduler::{Estimate, Explanation, Verdict};
use tintype_telemetry::{Attribute, Stage};
use tintype_types::limits::SEED_MAX;
use tintype_types::{ErrorCode, FailureReason, GenerationRequest, JobState, ResolvedRequest, Timestamp};
use tokio::time::Instant;
use uuid::Uuid;

use crate::adapters;
use crate::clock;
use crate::creation::{Deadline, KeyUse, NewJob, Outcome, sql};
use crate::error::ApiError;
use crate::http::trace;
use crate::ledger::MILLI_PER_CREDIT;
use crate::ledger::post::Stamp;
use crate::price::Tariff;
use crate::records::generation::{self, Generation, Mark};
use crate::records::idempotency::{self, Scope};
use crate::state::App;

/// How long after a request a declared retry of it may still join its job.
const RETRY_WINDOW: Duration = Duration::from_mins(10);
/// How often one who waits looks at the database without being woken: another replica may have settled the job.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long an ended job is waited for to be settled before it is answered anyway.
const SETTLE_GRACE: Duration = Duration::from_secs(5);

/// A request for a job, read and not yet judged.
#[derive(Debug)]
pub(crate) struct Order {
    /// Who asks.
    pub(crate) account: Uuid,
    /// With which key; none: in a browser.
    pub(crate) api_key: Option<KeyUse>,
    /// What for.
    pub(crate) request: GenerationRequest,
    /// By when.
    pub(crate) deadline: Option<Deadline>,
    /// What it is priced by.
    pub(crate) tariff: Arc<Tariff>,
    /// How it may be repeated.
    pub(crate) repeat: Repeat,
}

/// What a request says about being one of several.
#[derive(Debug)]
pub(crate) struct Repeat {
    /// For which operation.
    pub(crate) route: &'static str,
    /// Hash of route and body.
    pub(crate) body_sha256: [u8; 32],
    /// The client's idempotency key.
    pub(crate) key: Option<String>,
    /// The client says that it has sent this before (`x-stainless-retry-count`).
    pub(crate) declared: bool,
}

impl Repeat {
    /// Hash of the operation and what is asked for: the body without white space, the keys of its objects in the order of
    /// their bytes, whatever order they came in. Rows keep it, so its form stays.
    pub(crate) fn hash(route: &str, body: &serde_json::Value) -> [u8; 32] {
        let mut text = format!("{route}\n");
        write_sorted(body, &mut text);
        Sha256::digest(text.as_bytes()).into()
    }
}

/// Writes it without white space, objects in the order of their keys.
fn write_sorted(value: &serde_json::Value, text: &mut String) {
    use serde_json::Value::{Array, Bool, Null, Number, Object, String};
    // Writing to a string cannot fail.
    match value {
        Array(items) => {
            text.push('[');
            for (n, item) in items.iter().enumerate() {
                text.push_str(if n > 0 { "," } else { "" });
                write_sorted(item, text);
            }
            text.push(']');
        }
        Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (n, (key, value)) in fields.into_iter().enumerate() {
                let _ = write!(text, "{}{}:", if n > 0 { "," } else { "" }, serde_json::json!(key));
                write_sorted(value, text);
            }
            text.push('}');
        }
        Null | Bool(_) | Number(_) | String(_) => {
            let _ = write!(text, "{value}");
        }
    }
}

/// The job of an order.
#[derive(Debug)]
pub(crate) struct Placed {
    /// The job.
    pub(crate) job: Generation,
    /// Whether an earlier request made it.
    pub(crate) replayed: bool,
}

/// The seed of a request that names none.
pub(crate) fn draw_seed() -> u64 {
    rand::rng().random_range(0..=SEED_MAX)
}

/// What an earlier request with the same idempotency key, or an unanswered one this is a declared retry of, has made.
pub(crate) async fn earlier(
    app: &App,
    account: Uuid,
    api_key: Option<&str>,
    repeat: &Repeat,
) -> Result<Option<Placed>, ApiError> {
    let job = if let Some(key) = &repeat.key {
        let scope = Scope { account, route: repeat.route, key: key.clone() };
        let Some(seen) = idempotency::find(&mut *app.pool.reader().await?, &scope).await? else { return Ok(None) };
        if seen.body_sha256 != repeat.body_sha256 {
            return Err(ApiError::new(
                ErrorCode::IdempotencyKeyReuse,
                "this idempotency key came with another body before; take a new key for a new request",
            )
            .final_answer());
        }
        generation::find(&app.pool, seen.generation).await?
    } else if let (true, Some(api_key)) = (repeat.declared, api_key) {
        let since = Timestamp(clock::now().0.saturating_sub(RETRY_WINDOW.as_millis() as u64));
        generation::find_unanswered(&app.pool, api_key, &repeat.body_sha256, since).await?
    } else {
        None
    };
    Ok(job.map(|job| Placed { job, replayed: true }))
}

/// Whether what is asked for can be made here; with nothing left to choose.
pub(crate) fn judge(app: &App, request: &GenerationRequest, seed: u64) -> Result<ResolvedRequest, ApiError> {
    request.validate()?;
    let card = app.checkpoint(&request.model)?;
    adapters::check(request, &card, &app.cluster.models())?;
    let mut resolved = request.resolve(&card.defaults, seed);
    resolved.model = card.name;
    Ok(resolved)
}

/// Judges the order, prices it and makes the job; or finds the job an earlier, equal request made.
pub(crate) async fn place(app: &App, order: &Order, seed: u64) -> Result<Placed, ApiError> {
    place_as(app, order, seed, Uuid::now_v7()).await
}

/// The same, under an id that was drawn before: a UUID version 7 of this moment.
pub(crate) async fn place_as(app: &App, order: &Order, seed: u64, id: Uuid) -> Result<Placed, ApiError> {
    let Order { account, api_key, request, deadline, tariff, repeat } = order;
    let resolved = judge(app, request, seed)?;
    let new =
        NewJob { id, deadline: *deadline, ..draft(app, (*account, api_key.clone()), (resolved, tariff), repeat)? };
    let job = Generation::new(&new);
    let mut holding = app.telemetry.stage(new.traceparent, Stage::Hold).with(Attribute::Job(&job.job_id()));
    // Pictures are locked with their job, which is rare enough to go alone.
    let outcome = if job.request.input_keys().next().is_some() {
        app.shared.changes(&[*account]).await;
        let outcome = Box::pin(sql::create_with_inputs(&app.pool, &new)).await?;
        app.bells.submit.notify_one();
        outcome
    } else {
        app.lane.make(new).await?
    };
    if outcome != Outcome::Made {
        holding.set(Attribute::Outcome("refused"));
    }
    holding.end();
    match outcome {
        Outcome::Made => {
            app.board.wake(job.account);
            Ok(Placed { job, replayed: false })
        }
        Outcome::KeyTaken => {
            // Another request with this key was first, just now.
            let api_key = api_key.as_ref().map(|key| key.id.as_str());
            let earlier = Box::pin(earlier(app, *account, api_key, repeat)).await?;
            earlier.ok_or_else(|| refusal(app, Outcome::KeyTaken))
        }
        refused @ (Outcome::TooManyOpen
        | Outcome::OverBudget { .. }
        | Outcome::Insufficient { .. }
        | Outcome::Stopped) => Err(refusal(app, refused)),
    }
}

/// A job to be made now, under an id of this moment.
pub(crate) fn draft(
    app: &App,
    (account, api_key): (Uuid, Option<KeyUse>),
    (request, tariff): (ResolvedRequest, &Tariff),
    repeat: &Repeat,
) -> Result<NewJob, ApiError> {
    Ok(NewJob {
        id: Uuid::now_v7(),
        account,
        api_key,
        body_sha256: repeat.body_sha256,
        repeat: repeat.key.clone().map(|key| (repeat.route, key)),
        price: price(tariff, &request)?,
        request,
        stamp: Stamp { txn: Uuid::now_v7(), at: clock::now() },
        deadline: None,
        open_max: app.open_jobs_max,
        submitted: None,
        traceparent: trace::current(),
    })
}

/// What a request costs by a tariff, in milli-credits.
pub(crate) fn price(tariff: &Tariff, request: &ResolvedRequest) -> Result<i64, ApiError> {
    tariff.price(request).map_err(|unpriced| ApiError::invalid("model", unpriced.to_string()))
}

/// Why no job was made.
pub(crate) fn refusal(app: &App, outcome: Outcome) -> ApiError {
    match outcome {
        Outcome::Made | Outcome::KeyTaken => {
            ApiError::new(ErrorCode::IdempotencyConflict, "this idempotency key is being used just now; repeat")
                .retry_after(1)
        }
        Outcome::TooManyOpen => {
            let message =
                format!("{} jobs of yours are unfinished, which is all there may be; wait for some", app.open_jobs_max);
            ApiError::new(ErrorCode::QueueFull, message).retry_after(10)
        }
        Outcome::Stopped => {
            let message = "a payment of this account is disputed with the bank, and no pictures are made until that is \
                           decided; write to whoever runs this server";
            ApiError::new(ErrorCode::InsufficientQuota, message).final_answer()
        }
        Outcome::OverBudget { left, needed } => {
            let message = format!(
                "this costs {} credits and {} are left of this key's budget; raise it, or use another key",
                credits(needed),
                credits(left)
            );
            ApiError::new(ErrorCode::InsufficientQuota, message).final_answer()
        }
        Outcome::Insufficient { available, needed } => {
            let message = format!(
                "this costs {} credits and {} are available; add credits, or ask for fewer, smaller or faster pictures",
                credits(needed),
                credits(available)
            );
            ApiError::new(ErrorCode::InsufficientQuota, message).final_answer()
        }
    }
}

/// Milli-credits as people read credits.
fn credits(milli: i64) -> String {
    format!("{}.{:03}", milli / MILLI_PER_CREDIT, (milli % MILLI_PER_CREDIT).abs())
}

/// How waiting for a job ended.
#[derive(Debug)]
pub(crate) enum Waited {
    /// It has ended, and its credits are settled.
    Ended(Box<Generation>),
    /// It goes on.
    StillRunning,
}

/// Waits until the job has ended, for at most `limit`. Dropping this changes nothing about the job.
pub(crate) async fn wait(app: &App, id: Uuid, limit: Duration) -> Result<Waited, ApiError> {
    app.metrics.waiting.inc();
    let waiting = scopeguard(|| app.metrics.waiting.dec());
    let deadline = Instant::now() + limit;
    let mut ended_at = None;
    let mut changes = app.board.subscribe(id);
    let waited = loop {
        let job = generation::find(&app.pool, id).await?.ok_or_else(|| ApiError::not_found("job"))?;
        if job.state.is_terminal() {
            let ended_at = *ended_at.get_or_insert_with(Instant::now);
            if job.settled.is_some() || ended_at.elapsed() > SETTLE_GRACE {
                break Waited::Ended(Box::new(job));
            }
        }
        if Instant::now() >= deadline || app.stop.is_cancelled() {
            break Waited::StillRunning;
        }
        tokio::select! {
            () = changes.changed() => {}
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            () = tokio::time::sleep_until(deadline) => {}
            () = app.stop.cancelled() => {}
        }
    };
    drop(waiting);
    Ok(waited)
}

/// How long a job with a deadline is held back until the scheduler has looked at it.
const JUDGED_WITHIN: Duration = Duration::from_secs(2);
/// How often it is asked meanwhile.
const JUDGED_LOOK: Duration = Duration::from_millis(50);

/// A job with a deadline as the scheduler has judged it, and when it should start and end, as far as that can be told by now.
///
/// # Errors
/// It is refused: its deadline cannot be met, and what would meet it is said.
pub(crate) async fn judged(app: &App, id: Uuid) -> Result<(Generation, Option<Estimate>), ApiError> {
    let deadline = Instant::now() + JUDGED_WITHIN;
    let mut changes = app.board.subscribe(id);
    loop {
        let job = generation::find(&app.pool, id).await?.ok_or_else(|| ApiError::not_found("job"))?;
        if job.failure == Some(FailureReason::DeadlineExceeded) {
            let why = job.message.unwrap_or_else(|| "the deadline cannot be met".to_owned());
            let message = format!("{why}. Nothing was charged; the job is {id}");
            return Err(ApiError::invalid("deadlineMs", message).final_answer());
        }
        if job.state.is_terminal() {
            return Ok((job, None));
        }
        // Where the scheduler cannot be asked, the job runs all the same.
        let Ok(seen) = app.cluster.explain(&job).await else { return Ok((job, None)) };
        if let Some(seen) = seen.filter(|seen| !may_end_now(seen, &job) || Instant::now() >= deadline) {
            return Ok((job, seen.estimate));
        }
        if Instant::now() >= deadline || app.stop.is_cancelled() {
            return Ok((job, None));
        }
        tokio::select! {
            () = changes.changed() => {}
            () = tokio::time::sleep(JUDGED_LOOK) => {}
        }
    }
}

/// Whether its refusal may be on its way to the record.
fn may_end_now(seen: &Explanation, job: &Generation) -> bool {
    let refused_late = job.deadline.is_some_and(|due| due.when_late == WhenLate::Refuse);
    (seen.late && refused_late) || matches!(seen.verdict, Verdict::Settling | Verdict::Ended)
}

/// The owner wants the job gone. Answers the job as it is now; how it ends is seen later.
pub(crate) async fn cancel(app: &App, job: Generation) -> Result<Generation, ApiError> {
    if job.state.is_terminal() {
        return Ok(job);
    }
    let mut tx = app.pool.begin().await?;
    generation::mark(&mut tx, job.id, Mark::Cancelled, clock::now()).await?;
    tx.commit().await?;
    app.bells.submit.notify_one();
    app.board.wake(job.id);
    Ok(generation::find(&app.pool, job.id).await?.unwrap_or(job))
}

/// The first answer to the request that made the job is on its way.
pub(crate) async fn answered(app: &App, id: Uuid) -> Result<(), ApiError> {
    let mut tx = app.pool.begin().await?;
    generation::mark(&mut tx, id, Mark::Answered, clock::now()).await?;
    tx.commit().await?;
    Ok(())
}

/// Whether pictures were made.
pub(crate) fn succeeded(job: &Generation) -> bool {
    job.state == JobState::Complete
}

/// Runs something when dropped, however that comes about.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn scopeguard<F: FnMut()>(run: F) -> OnDrop<F> {
    OnDrop(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_are_told_to_the_thousandth() {
        assert_eq!(credits(10_000), "10.000");
        assert_eq!(credits(16), "0.016");
        assert_eq!(credits(1_234), "1.234");
    }

    #[test]
    fn equal_bodies_have_one_hash_whatever_their_spacing_and_routes_do_not_mix() {
        let hash = |route: &str, text: &str| Repeat::hash(route, &serde_json::from_str(text).unwrap());
        assert_eq!(hash("a", r#"{"x":1,"y":2}"#), hash("a", "{ \"y\": 2, \"x\": 1 }"));
        let nested = [r#"{"b":[{"d":1,"c":2}],"a":{"f":3,"e":4}}"#, r#"{"a":{"e":4,"f":3},"b":[{"c":2,"d":1}]}"#];
        assert_eq!(hash("a", nested[0]), hash("a", nested[1]));
        // What is in the rows already: keys sorted, nothing between the tokens.
        let stored: [u8; 32] = Sha256::digest(format!("a\n{}", nested[1])).into();
        assert_eq!(hash("a", nested[0]), stored);
        assert_ne!(hash("a", r#"{"x":1}"#), hash("b", r#"{"x":1}"#));
        assert_ne!(hash("a", r#"{"x":1}"#), hash("a", r#"{"x":2}"#));
    }
}
