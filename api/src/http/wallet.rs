//! The wallet: what an account has, where it comes from and where it went, and what can be bought.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::auth::Caller;
use super::body;
use crate::clock;
use crate::error::ApiError;
use crate::ledger::AMOUNT_MAX;
use crate::ledger::sql as ledger;
use crate::payments::plans::PriceBook;
use crate::records::alarm::Alarm;
use crate::records::top_up::{self, Rule};
use crate::records::wallet::{self, Line, LotRow};
use crate::records::{alarm, payment, person};
use crate::state::App;

/// Lines on a page, unless the query says fewer.
const PAGE: u32 = 50;
/// The most it may say.
const PAGE_MAX: u32 = 200;

/// What an account has, in milli-credits.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wallet {
    /// What can be spent now.
    available_millis: i64,
    /// What is set aside for jobs that have not ended.
    held_millis: i64,
    /// What was spent so far.
    spent_millis: i64,
    /// What is owed, because a payment was taken back after its credits were spent; the next credits pay it.
    owed_millis: i64,
    /// Whether pictures are made for this account; not while one of its payments is disputed.
    stopped: bool,
    /// Its credits by where they come from, in the order they are spent.
    lots: Vec<LotView>,
    /// The subscription that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<SubscriptionView>,
    /// The rule by which credits are bought when they run low.
    #[serde(skip_serializing_if = "Option::is_none")]
    top_up: Option<TopUpView>,
    /// When its owner is told of its credits.
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm: Option<AlarmView>,
}

/// When an account's owner is told of its credits, and how it stands.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AlarmView {
    /// When so many milli-credits were spent in a month of the calendar, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    spent_millis: Option<i64>,
    /// When fewer milli-credits than this are left, those set aside for jobs included.
    #[serde(skip_serializing_if = "Option::is_none")]
    below_millis: Option<i64>,
    /// What was spent this month so far.
    month_millis: i64,
    /// Whether a letter is sent: this server sends mail, and the owner's address was shown to be theirs.
    letters: bool,
}

/// A subscription.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscriptionView {
    /// Which, of `GET /api/v1/plans`.
    id: String,
    /// The payment provider's word: `active`, `past_due`, ...
    status: String,
    /// Whether it ends with the month that runs.
    ends: bool,
}

/// A rule for topping up.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TopUpView {
    /// The pack that is bought.
    pack: String,
    /// When fewer milli-credits than this can be spent.
    below_millis: i64,
    /// At most so often in thirty days.
    monthly_max: i32,
    /// Why it is off until it is set again.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<String>,
}

/// Credits that came together.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LotView {
    id: String,
    /// `promo`, `admin`, `refund`, `subscription` or `purchase`.
    source: String,
    /// How many came.
    amount_millis: i64,
    /// How many of them can be spent.
    remaining_millis: i64,
    /// How many of them are set aside.
    held_millis: i64,
    /// When they came, in milliseconds since 1970.
    created_ms: i64,
    /// When what remains of them lapses; absent when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_ms: Option<i64>,
}

impl From<LotRow> for LotView {
    fn from(row: LotRow) -> Self {
        let LotRow { id, source, amount, remaining, reserved, created_ms, expires_ms } = row;
        Self {
            id: id.to_string(),
            source,
            amount_millis: amount,
            remaining_millis: remaining,
            held_millis: reserved,
            created_ms,
            expires_ms,
        }
    }
}

/// The caller's wallet.
pub(crate) async fn show(State(app): State<App>, caller: Caller) -> Result<Json<Wallet>, ApiError> {
    of(&app, caller.account).await.map(Json)
}

/// An account's wallet.
pub(crate) async fn of(app: &App, account: Uuid) -> Result<Wallet, ApiError> {
    let now = clock::now();
    let mut conn = app.pool.reader().await?;
    let book = ledger::balance(&mut conn, account).await?;
    let stopped = ledger::is_stopped(&mut conn, account).await?;
    drop(conn);
    let subscription = payment::subscription(&app.pool, account).await?;
    let subscription = subscription.map(|(id, status, ends)| SubscriptionView { id, status, ends });
    let top_up = top_up::find(&app.pool, account).await?.map(|Rule { offer, below, monthly_max, paused }| TopUpView {
        pack: offer,
        below_millis: below,
        monthly_max,
        paused,
    });
    let alarm = alarm_of(app, account).await?;
    let lots = wallet::lots(&app.pool, account, now).await?;
    // A lot's last credits lapse at their moment, whenever the books are brought in line with it.
    let lapsed = |lot: &&LotRow| lot.expires_ms.is_some_and(|at| at <= clock::to_ms(now));
    let available = lots.iter().filter(|lot| !lapsed(lot)).map(|lot| lot.remaining).sum();
    Ok(Wallet {
        available_millis: available,
        held_millis: book.held,
        spent_millis: book.spent,
        owed_millis: -book.owed,
        stopped,
        lots: lots.into_iter().map(LotView::from).collect(),
        subscription,
        top_up,
        alarm,
    })
}

async fn alarm_of(app: &App, account: Uuid) -> Result<Option<AlarmView>, ApiError> {
    let Some(Alarm { spent, below }) = alarm::find(&app.pool, account).await? else { return Ok(None) };
    let mut conn = app.pool.reader().await?;
    let month_millis = alarm::spent_this_month(&mut conn, account, clock::now()).await?;
    let owner = person::find_by_account(&mut *conn, account).await?;
    let letters = app.identity.mail && owner.is_some_and(|person| person.email_verified_ms.is_some());
    Ok(Some(AlarmView { spent_millis: spent, below_millis: below, month_millis, letters }))
}

/// When to be told; at least one of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AlarmBody {
    /// When so many milli-credits were spent in a month of the calendar, UTC.
    #[schemars(range(min = 1))]
    #[serde(default)]
    spent_millis: Option<i64>,
    /// When fewer milli-credits than this are left, those set aside for jobs included.
    #[schemars(range(min = 1))]
    #[serde(default)]
    below_millis: Option<i64>,
}

/// Makes or changes the caller's alarm.
pub(crate) async fn set_alarm(
    State(app): State<App>,
    caller: Caller,
    body::Json(body): body::Json,
) -> Result<Json<Wallet>, ApiError> {
    let AlarmBody { spent_millis, below_millis } = body::parse(body)?;
    for (name, millis) in [("spentMillis", spent_millis), ("belowMillis", below_millis)] {
        if millis.is_some_and(|millis| !(1..=AMOUNT_MAX).contains(&millis)) {
            return Err(ApiError::invalid(name, format!("say how many milli-credits, 1 to {AMOUNT_MAX}")));
        }
    }
    if spent_millis.is_none() && below_millis.is_none() {
        return Err(ApiError::invalid(
            "spentMillis",
            "say `spentMillis`, `belowMillis` or both; DELETE ends the alarm",
        ));
    }
    alarm::set(&app.pool, caller.account, Alarm { spent: spent_millis, below: below_millis }, clock::now()).await?;
    app.bells.alarms.notify_one();
    of(&app, caller.account).await.map(Json)
}

/// Takes the caller's alarm away.
pub(crate) async fn remove_alarm(State(app): State<App>, caller: Caller) -> Result<StatusCode, ApiError> {
    alarm::remove(&app.pool, caller.account).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A line of the wallet: a payment, a gift, a job, credits that lapsed or were taken back.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WalletLine {
    /// `grant`, `hold` (a job that has not ended), `capture`, `void`, `expire`, `lapse` or `take_back`.
    kind: String,
    /// What the account has more by it, or less, in milli-credits.
    change_millis: i64,
    /// What a job that has not ended may still cost.
    #[serde(default, skip_serializing_if = "is_zero")]
    held_millis: i64,
    /// Where credits come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// Of which job.
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<String>,
    /// Of which payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_id: Option<String>,
    /// When, in milliseconds since 1970.
    at_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands the field by reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl From<Line> for WalletLine {
    fn from(line: Line) -> Self {
        let Line { seq: _, kind, key, at, change, held, source } = line;
        let named = |prefix: &str| Some(key.strip_prefix(prefix)?.split(':').next()?.to_owned());
        let payment_id = named("grant:payment:").or_else(|| named("payment:"));
        Self { kind, change_millis: change, held_millis: held, source, job_id: named("hold:"), payment_id, at_ms: at.0 }
    }
}

/// A page of the wallet's lines, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WalletPage {
    /// The lines.
    data: Vec<WalletLine>,
    /// Pass as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    cursor: Option<String>,
    limit: Option<u32>,
}

/// Where the caller's credits came from and went.
pub(crate) async fn entries(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<WalletPage>, ApiError> {
    let Query(PageQuery { cursor, limit }) = query
        .map_err(|_| ApiError::invalid("query", "this takes `cursor`, the `next` of the page before, and `limit`"))?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("a page has 1 to {PAGE_MAX} lines")));
    }
    let before = cursor.map(|cursor| cursor.parse::<i64>()).transpose();
    let before = before.map_err(|_| ApiError::invalid("cursor", "this is not the `next` of a page"))?;
    let lines = wallet::lines(&app.pool, caller.account, before, i64::from(limit)).await?;
    let next = if lines.len() == limit as usize { lines.last().map(|line| line.seq.to_string()) } else { None };
    Ok(Json(WalletPage { data: lines.into_iter().map(WalletLine::from).collect(), next }))
}

/// What can be bought, and whether anything can.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Plans {
    #[serde(flatten)]
    book: PriceBook,
    /// Whether this server sells: without a payment provider the book is only shown.
    selling: bool,
}

/// What can be bought.
pub(crate) async fn plans(State(app): State<App>) -> Json<Plans> {
    Json(Plans { book: app.price_book.clone(), selling: app.payments.is_some() })
}
