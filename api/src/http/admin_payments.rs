//! What the administrator does about payments: looks at one, gives money back, makes codes, lets an account go on.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tintype_types::ErrorCode;
use uuid::Uuid;

use super::admin::Admin;
use super::body;
use super::hooks::off;
use super::payments::{PaymentView, code_hash, faulty};
use super::view::Credits;
use crate::clock;
use crate::error::ApiError;
use crate::ledger::AMOUNT_MAX;
use crate::ledger::sql::{self as ledger, LedgerSqlError, Stopped};
use crate::payments::outgoing::{self, Asked};
use crate::payments::refunding::{Taken, TooMuch, Wish};
use crate::records::audit::{self, Deed};
use crate::records::promo::NewCode;
use crate::records::refund::{Asking, NewRefund, Row};
use crate::records::{payment, promo, refund};
use crate::state::App;

/// Letters of a code, without those that look alike.
const CODE_LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Letters in a code: 60 bits.
const CODE_LEN: usize = 12;
/// How many accounts one code may be for.
const CODE_USES_MAX: i32 = 1_000_000;
/// For how many days a code, or what it brings, may last.
const DAYS_MAX: u32 = 3_650;
/// After how long a refund is asked for by others, should whoever opened it never come to it: longer than all tries of one
/// call take together.
const ASKED_BY_OTHERS_AFTER: Duration = Duration::from_mins(1);

fn draw_code() -> String {
    let mut rng = rand::rng();
    (0..CODE_LEN).map(|_| char::from(CODE_LETTERS[rng.random_range(0..CODE_LETTERS.len())])).collect()
}

/// A code to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewPromo {
    /// What it brings, in milli-credits.
    #[schemars(range(min = 1))]
    credits_millis: i64,
    /// How many accounts may use it.
    #[schemars(range(min = 1, max = 1_000_000))]
    uses_max: i32,
    /// In how many days it is over.
    #[schemars(range(min = 1, max = 3_650))]
    expires_in_days: u32,
    /// In how many days what is left of its credits lapses; left out, never.
    #[schemars(range(min = 1, max = 3_650))]
    credits_expire_in_days: Option<u32>,
}

/// A code, shown this once.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Promo {
    id: String,
    code: String,
}

/// Makes a code that brings credits.
pub(crate) async fn create_promo(
    State(app): State<App>,
    admin: Admin,
    body::Json(body): body::Json,
) -> Result<(StatusCode, Json<Promo>), ApiError> {
    let NewPromo { credits_millis, uses_max, expires_in_days, credits_expire_in_days } = body::parse(body)?;
    if !(1..=AMOUNT_MAX).contains(&credits_millis) {
        return Err(ApiError::invalid("creditsMillis", "this is not an amount of milli-credits"));
    }
    if !(1..=CODE_USES_MAX).contains(&uses_max) {
        return Err(ApiError::invalid("usesMax", format!("1 to {CODE_USES_MAX} accounts")));
    }
    let days = 1..=DAYS_MAX;
    if !days.contains(&expires_in_days) || credits_expire_in_days.is_some_and(|lasts| !days.contains(&lasts)) {
        return Err(ApiError::invalid("expiresInDays", format!("1 to {DAYS_MAX} days")));
    }
    let code = draw_code();
    let (id, now) = (Uuid::now_v7(), clock::now());
    let new = NewCode {
        id,
        sha256: code_hash(&code),
        credits: credits_millis,
        lot_days: credits_expire_in_days.and_then(|days| i32::try_from(days).ok()),
        uses_max,
        expires: now.plus(Duration::from_hours(24 * u64::from(expires_in_days))),
    };
    let mut tx = app.pool.begin().await?;
    promo::create(&mut tx, &new, now).await?;
    note(&mut tx, &admin, None, ("promo.create", id.to_string())).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(Promo { id: id.to_string(), code })))
}

/// A payment as the administrator sees it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdminPayment {
    #[serde(flatten)]
    payment: PaymentView,
    /// Whose.
    account: String,
    /// Whether it is paid.
    paid: bool,
    /// What can still be given back, in the currency's smallest unit.
    left_minor: i64,
    /// How a dispute of it stands: `none`, `open`, `won`, `lost` or `forgiven`.
    dispute: &'static str,
    /// What it is at the payment provider, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    intent: Option<String>,
    /// Refunds that were asked for, the oldest first.
    refunds: Vec<RefundView>,
}

/// A refund that is asked for.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefundView {
    id: String,
    /// How much, in the currency's smallest unit.
    amount_minor: i64,
    /// `asked` until the payment provider has answered, then `done` or `refused`.
    state: String,
    /// Why it was refused: the payment provider's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When it was asked for, in milliseconds since 1970.
    created_ms: i64,
}

impl From<Row> for RefundView {
    fn from(row: Row) -> Self {
        let Row { id, amount_minor, state, message, created_ms } = row;
        Self { id: id.to_string(), amount_minor, state, reason: message, created_ms }
    }
}

fn no_payment() -> ApiError {
    ApiError::not_found("payment")
}

/// Shows a payment, what was charged for it and what was given back.
pub(crate) async fn show(
    State(app): State<App>,
    _admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<AdminPayment>, ApiError> {
    let id: Uuid = id.parse().map_err(|_| no_payment())?;
    let (payment, charge, at) = payment::with_charge(&app.pool, id).await?.ok_or_else(no_payment)?;
    let rows = refund::of(&app.pool, id).await?;
    let charged = payment.charged(Some(&charge)).unwrap_or(0);
    let (done, asked) = refund::sums(&rows);
    let left = Taken { charged, heard: charge.refunded, done, asked }.left();
    Ok(Json(AdminPayment {
        account: payment.account.to_string(),
        paid: payment.paid,
        left_minor: if payment.paid { left } else { 0 },
        dispute: charge.dispute.as_str(),
        intent: payment.intent.clone(),
        payment: PaymentView::of(payment, &charge, at),
        refunds: rows.into_iter().map(RefundView::from).collect(),
    }))
}

/// How much of a payment to give back: one of the two, or neither for all that was not given back yet.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct GiveBack {
    /// So much of what was charged, in the currency's smallest unit.
    #[schemars(range(min = 1))]
    amount_minor: Option<i64>,
    /// What so many of its milli-credits cost, rounded down to the currency's smallest unit.
    #[schemars(range(min = 1))]
    credits_millis: Option<i64>,
}

/// Gives money back. Its credits go when Stripe says that it is done.
pub(crate) async fn give_back(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<String>,
    body::Json(body): body::Json,
) -> Result<(StatusCode, Json<RefundView>), ApiError> {
    let payments = app.payments.as_ref().ok_or_else(off)?;
    let GiveBack { amount_minor, credits_millis } = body::parse(body)?;
    let (wish, param) = match (amount_minor, credits_millis) {
        (None, None) => (Wish::Rest, "amountMinor"),
        (Some(amount), None) => (Wish::Money(amount), "amountMinor"),
        (None, Some(credits)) => (Wish::Credits(credits), "creditsMillis"),
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid("creditsMillis", "say either `amountMinor` or `creditsMillis`"));
        }
    };
    let id: Uuid = id.parse().map_err(|_| no_payment())?;
    let asking = open_refund(&app, &admin, (id, wish)).await?.map_err(|much: TooMuch| {
        ApiError::invalid(param, format!("{much}; GET /api/v1/payments/{id} shows what was"))
    })?;
    let asked = match asking.intent {
        // Asked again by whoever looks for refunds, once it is known what to ask about.
        None => Asked::Waits,
        Some(_) => outgoing::refund(&app.pool, payments, &app.metrics, &asking).await?,
    };
    app.bells.payments.notify_one();
    match asked {
        Asked::Done | Asked::Waits => {
            let row = refund::of(&app.pool, id).await?.into_iter().find(|row| row.id == asking.id);
            let row = row.ok_or_else(no_payment)?;
            Ok((StatusCode::ACCEPTED, Json(row.into())))
        }
        Asked::Refused(code) => {
            let message = format!(
                "the payment provider refuses to give this back ({code}); no money was moved. Refund {} of \
                 GET /api/v1/payments/{id} keeps its reason",
                asking.id
            );
            Err(ApiError::new(ErrorCode::PaymentRefused, message))
        }
    }
}

/// Writes down what is to be given back, and by whom, unless it is more than there is.
async fn open_refund(app: &App, admin: &Admin, (id, wish): (Uuid, Wish)) -> Result<Result<Asking, TooMuch>, ApiError> {
    learn_charged(app, id).await?;
    let mut tx = app.pool.begin().await?;
    // Two administrators at once: the second counts what the first has asked for.
    payment::lock(&mut tx, id).await?;
    let mut state = payment::load(&mut tx, &[id], &[], &[]).await?;
    let paid = state.payments.remove(&id).filter(|payment| payment.paid).ok_or_else(no_payment)?;
    let charge = paid.intent.as_ref().and_then(|intent| state.charges.remove(intent)).unwrap_or_default();
    let charged = paid.charged(Some(&charge)).unwrap_or(0);
    let (done, asked) = refund::sums(&refund::of(&mut *tx, id).await?);
    if asked > 0 {
        let message = "another refund of this payment is on its way; wait for it";
        return Err(ApiError::new(ErrorCode::IdempotencyConflict, message).retry_after(5));
    }
    let taken = Taken { charged, heard: charge.refunded, done, asked };
    let amount = match taken.amount(wish, paid.credits) {
        Ok(amount) => amount,
        Err(much) => return Ok(Err(much)),
    };
    let (refund, now) = (Uuid::now_v7(), clock::now());
    let new = NewRefund { id: refund, payment: id, amount, next: now.plus(ASKED_BY_OTHERS_AFTER) };
    refund::open(&mut tx, &new, now).await?;
    note(&mut tx, admin, Some(paid.account), ("payment.refund", id.to_string())).await?;
    tx.commit().await?;
    Ok(Ok(Asking { id: refund, intent: paid.intent, amount_minor: amount, attempts: 0 }))
}

/// What was charged for payments that were made before this was written down: Stripe knows.
async fn learn_charged(app: &App, id: Uuid) -> Result<(), ApiError> {
    let Some((paid, charge, _)) = payment::with_charge(&app.pool, id).await? else { return Ok(()) };
    let (Some(payments), Some(intent), None) = (&app.payments, &paid.intent, paid.charged(Some(&charge))) else {
        return Ok(());
    };
    let charged = payments.stripe.received(intent).await.map_err(|fault| faulty(&fault))?;
    payment::set_charged(&app.pool, intent, charged).await?;
    Ok(())
}

/// Writes down what the administrator did, in which account, and to what.
async fn note(
    conn: &mut PgConnection,
    admin: &Admin,
    account: Option<Uuid>,
    (action, target): (&'static str, String),
) -> sqlx::Result<()> {
    audit::write(conn, &Deed { account, actor: admin.actor(), action, target: Some(target) }).await
}

/// Lets an account go on whose disputes were lost.
pub(crate) async fn resume(
    State(app): State<App>,
    admin: Admin,
    Path(account): Path<String>,
) -> Result<Json<Credits>, ApiError> {
    let account: Uuid = account.parse().map_err(|_| ApiError::not_found("account"))?;
    let mut tx = app.pool.begin().await?;
    payment::alone(&mut tx).await?;
    payment::forgive(&mut tx, account).await?;
    let stopped = if payment::is_disputed(&mut tx, account).await? { Stopped::Yes } else { Stopped::No };
    ledger::set_stopped(&mut tx, account, stopped).await?;
    let book = ledger::balance(&mut tx, account).await.map_err(|error| match error {
        LedgerSqlError::NoAccount(_) => ApiError::not_found("account"),
        other @ (LedgerSqlError::Refused(_)
        | LedgerSqlError::NoHold(_)
        | LedgerSqlError::Damaged(_)
        | LedgerSqlError::Database(_)) => other.into(),
    })?;
    note(&mut tx, &admin, Some(account), ("account.resume", account.to_string())).await?;
    tx.commit().await?;
    Ok(Json(Credits::from(&book)))
}
