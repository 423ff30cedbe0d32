//! Several jobs at once: judged and priced together, made all or none.

use std::sync::Arc;

use tintype_types::GenerationRequest;
use uuid::Uuid;

use crate::clock::{self, to_ms};
use crate::creation::{Deadline, KeyUse, NewJob, Outcome, sql};
use crate::error::ApiError;
use crate::jobs::{self, Repeat};
use crate::price::Tariff;
use crate::records::batch::{self, Batch};
use crate::state::App;

/// A request for a batch, read and not yet judged.
#[derive(Debug)]
pub(crate) struct BatchOrder {
    /// Who asks.
    pub(crate) account: Uuid,
    /// With which key; none: in a browser.
    pub(crate) api_key: Option<KeyUse>,
    /// What for, and by when; at least one.
    pub(crate) requests: Vec<(GenerationRequest, Option<Deadline>)>,
    /// What all are priced by.
    pub(crate) tariff: Arc<Tariff>,
    /// How it may be repeated.
    pub(crate) repeat: Repeat,
}

/// What each of them would cost, in milli-credits; a fault names which of them has it.
pub(crate) fn quote(app: &App, requests: &[(GenerationRequest, Option<Deadline>)]) -> Result<Vec<i64>, ApiError> {
    let price = |(n, (request, _)): (usize, &(GenerationRequest, Option<Deadline>))| {
        let resolved = jobs::judge(app, request, 0).map_err(|error| of_job(error, n))?;
        jobs::price(&app.tariff, &resolved).map_err(|error| of_job(error, n))
    };
    requests.iter().enumerate().map(price).collect()
}

/// The batch an earlier request with the same idempotency key has made.
pub(crate) async fn earlier(app: &App, account: Uuid, repeat: &Repeat) -> Result<Option<Uuid>, ApiError> {
    if repeat.key.is_none() {
        return Ok(None);
    }
    match jobs::earlier(app, account, None, repeat).await? {
        Some(placed) => Ok(batch::of_job(&app.pool, placed.job.id).await?),
        None => Ok(None),
    }
}

/// Makes all of them; the batch's id, and whether an earlier request made it.
pub(crate) async fn place(app: &App, order: &BatchOrder) -> Result<(Uuid, bool), ApiError> {
    if let Some(id) = earlier(app, order.account, &order.repeat).await? {
        return Ok((id, true));
    }
    let jobs = draft(app, order)?;
    let price = jobs.iter().map(|job| job.price).sum();
    let new = Batch { id: Uuid::now_v7(), account: order.account, price, created_ms: to_ms(clock::now()) };
    app.shared.changes(&[order.account]).await;
    match sql::create_all(&app.pool, &new, &jobs).await? {
        Outcome::Made => {
            app.bells.submit.notify_one();
            app.board.wake(order.account);
            Ok((new.id, false))
        }
        Outcome::KeyTaken => match earlier(app, order.account, &order.repeat).await? {
            Some(id) => Ok((id, true)),
            None => Err(jobs::refusal(app, Outcome::KeyTaken)),
        },
        refused @ (Outcome::TooManyOpen
        | Outcome::OverBudget { .. }
        | Outcome::Insufficient { .. }
        | Outcome::Stopped) => Err(jobs::refusal(app, refused)),
    }
}

/// Its jobs, in their order: ids of version 7 grow. The first carries the idempotency key of them all.
fn draft(app: &App, order: &BatchOrder) -> Result<Vec<NewJob>, ApiError> {
    let BatchOrder { account, api_key, requests, tariff, repeat } = order;
    let job = |(n, (request, deadline)): (usize, &(GenerationRequest, Option<Deadline>))| {
        let resolved = jobs::judge(app, request, jobs::draw_seed()).map_err(|error| of_job(error, n))?;
        let job = jobs::draft(app, (*account, api_key.clone()), (resolved, tariff), repeat);
        let mut job = job.map_err(|error| of_job(error, n))?;
        job.deadline = *deadline;
        if n > 0 {
            job.repeat = None;
        }
        Ok(job)
    };
    requests.iter().enumerate().map(job).collect()
}

/// Says which of the jobs is at fault.
pub(crate) fn of_job(error: ApiError, n: usize) -> ApiError {
    error.rename_param_to(|param| format!("jobs[{n}].{param}"))
}
