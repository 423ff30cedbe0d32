//! Buying credits: Stripe's pages for packs, subscriptions and the portal, rules for topping up, codes.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use tintype_types::{ErrorCode, Timestamp};
use uuid::Uuid;

use super::auth::Caller;
use super::hooks::off;
use super::{body, wallet};
use crate::clock;
use crate::error::ApiError;
use crate::ledger::post::Stamp;
use crate::ledger::sql as ledger;
use crate::ledger::{AMOUNT_MAX, Grant, Source};
use crate::payments::Payments;
use crate::payments::settling::{Charge, Kind, Payment};
use crate::payments::stripe::{Card, Pages, Sale, StripeFault, Subscribing};
use crate::records::audit::{self, Deed};
use crate::records::{payment, promo, top_up};
use crate::state::App;

/// Payments that are listed.
const PAYMENTS_MAX: i64 = 100;
/// Wrong codes an account may send in [`TRIES_WINDOW`].
const TRIES_MAX: i64 = 5;
/// See [`TRIES_MAX`].
const TRIES_WINDOW: Duration = Duration::from_hours(1);
/// The longest text that is looked at as a code.
const CODE_BYTES_MAX: usize = 64;
/// Top-ups a rule may allow in thirty days.
const MONTHLY_MAX: i32 = 100;

/// What is to be bought: one of the two.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Buy {
    /// A pack of `GET /api/v1/plans`.
    pack: Option<String>,
    /// A subscription of it.
    subscription: Option<String>,
    /// Whether the card may be kept for top-ups.
    #[serde(default)]
    keep_card: bool,
}

/// Where to send the browser.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SentTo {
    url: String,
    /// The payment that is made there, for a pack.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_id: Option<String>,
}

/// Opens a page on which credits are bought.
pub(crate) async fn checkout(
    State(app): State<App>,
    caller: Caller,
    body::Json(body): body::Json,
) -> Result<Json<SentTo>, ApiError> {
    let payments = app.payments.as_ref().ok_or_else(off)?;
    let Buy { pack, subscription, keep_card } = body::parse(body)?;
    match (pack, subscription) {
        (Some(pack), None) => {
            sell(&app, payments, caller.account, &pack, if keep_card { Card::Keep } else { Card::Forget }).await
        }
        (None, Some(subscription)) => subscribe(&app, payments, caller.account, &subscription).await,
        (Some(_), Some(_)) | (None, None) => {
            Err(ApiError::invalid("pack", "name either a `pack` or a `subscription` of GET /api/v1/plans"))
        }
    }
}

async fn sell(app: &App, payments: &Payments, account: Uuid, pack: &str, card: Card) -> Result<Json<SentTo>, ApiError> {
    let book = &app.price_book;
    let unknown = || ApiError::invalid("pack", "there is no such pack; GET /api/v1/plans lists them");
    let pack = book.pack(pack).ok_or_else(unknown)?;
    let customer = customer(app, payments, account).await?;
    let payment = Payment {
        id: Uuid::now_v7(),
        account,
        kind: Kind::Pack,
        offer: pack.id.clone(),
        version: book.version,
        credits: pack.credits_millis,
        amount: pack.price_minor,
        currency: book.currency.clone(),
        expires: None,
        paid: false,
        failed: false,
        invoice: None,
        intent: None,
        granted: false,
        taken: 0,
    };
    // Written before Stripe hears of it: an event about it always finds it.
    let mut tx = app.pool.begin().await?;
    payment::put(&mut tx, &payment, clock::now()).await?;
    tx.commit().await?;
    let pages = pages(payments, &format!("payment={}", payment.id));
    let sale = Sale { payment: &payment, name: &pack.name, customer: &customer, pages: &pages, card };
    let page = payments.stripe.sell(&sale).await.map_err(|fault| faulty(&fault))?;
    payment::set_session(&app.pool, payment.id, &page.id).await?;
    let url = page.url.ok_or_else(no_page)?;
    Ok(Json(SentTo { url, payment_id: Some(payment.id.to_string()) }))
}

async fn subscribe(app: &App, payments: &Payments, account: Uuid, offer: &str) -> Result<Json<SentTo>, ApiError> {
    let book = &app.price_book;
    let unknown = || ApiError::invalid("subscription", "there is no such subscription; GET /api/v1/plans lists them");
    let offer = book.subscription(offer).ok_or_else(unknown)?;
    if payment::subscription(&app.pool, account).await?.is_some() {
        let message = "you have a subscription; change or end it in the portal (POST /api/v1/wallet/portal)";
        return Err(ApiError::invalid("subscription", message));
    }
    let customer = customer(app, payments, account).await?;
    let (id, pages) = (Uuid::now_v7(), pages(payments, &format!("subscription={}", offer.id)));
    let (version, currency, customer, pages) = (book.version, book.currency.as_str(), customer.as_str(), &pages);
    let begin = Subscribing { id, account, offer, version, currency, customer, pages };
    let page = payments.stripe.subscribe(&begin).await.map_err(|fault| faulty(&fault))?;
    Ok(Json(SentTo { url: page.url.ok_or_else(no_page)?, payment_id: None }))
}

/// Opens the page with invoices, cards and subscriptions.
pub(crate) async fn portal(State(app): State<App>, caller: Caller) -> Result<Json<SentTo>, ApiError> {
    let payments = app.payments.as_ref().ok_or_else(off)?;
    let customer = customer(&app, payments, caller.account).await?;
    let back = studio_page(payments);
    let page = payments.stripe.portal(Uuid::now_v7(), &customer, &back).await.map_err(|fault| faulty(&fault))?;
    Ok(Json(SentTo { url: page.url.ok_or_else(no_page)?, payment_id: None }))
}

/// Who the account is at Stripe. Asking twice at once makes one customer: the key is the account's.
async fn customer(app: &App, payments: &Payments, account: Uuid) -> Result<String, ApiError> {
    if let Some((customer, _)) = payment::customer(&app.pool, account).await? {
        return Ok(customer);
    }
    let made = payments.stripe.create_customer(account).await.map_err(|fault| faulty(&fault))?;
    let mut tx = app.pool.begin().await?;
    payment::set_customer(&mut tx, account, &made.id, None).await?;
    tx.commit().await?;
    let known = payment::customer(&app.pool, account).await?;
    Ok(known.map_or(made.id, |(customer, _)| customer))
}

fn pages(payments: &Payments, paid: &str) -> Pages {
    let page = studio_page(payments);
    Pages { success: format!("{page}?paid&{paid}"), cancel: format!("{page}?cancelled") }
}

/// The studio's page about credits: who comes back from the payment provider lands there.
fn studio_page(payments: &Payments) -> String {
    format!("{}/credits/", payments.public_url)
}

pub(super) fn faulty(fault: &StripeFault) -> ApiError {
    match fault {
        StripeFault::Refused { .. } => {
            tracing::error!(error = %fault, "Stripe refuses what we ask of it; is the key right?");
            ApiError::new(ErrorCode::Unavailable, "the payment provider refused; nothing was charged. Try again later")
        }
        StripeFault::Unknown { .. } => {
            let message = "the payment provider cannot be reached now; nothing was charged. Repeat in a moment";
            ApiError::new(ErrorCode::Unavailable, message).retry_after(5)
        }
    }
}

fn no_page() -> ApiError {
    ApiError::new(ErrorCode::Unavailable, "the payment provider made no page to pay on; nothing was charged")
}

/// A payment that was made.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PaymentView {
    id: String,
    /// `pack`, `month` or `top_up`.
    kind: &'static str,
    /// What was bought.
    offer: String,
    /// What it brought, in milli-credits.
    credits_millis: i64,
    /// How many of them were taken back, because the money was.
    taken_back_millis: i64,
    /// What it cost, in the currency's smallest unit, before discounts.
    amount_minor: i64,
    /// What was really charged, after discounts; absent while nobody has said.
    #[serde(skip_serializing_if = "Option::is_none")]
    charged_minor: Option<i64>,
    /// What of it was given back.
    refunded_minor: i64,
    /// ISO 4217.
    currency: String,
    /// When, in milliseconds since 1970.
    created_ms: u64,
}

impl PaymentView {
    pub(super) fn of(payment: Payment, charge: &Charge, at: Timestamp) -> Self {
        Self {
            id: payment.id.to_string(),
            kind: payment.kind.as_str(),
            charged_minor: payment.charged(Some(charge)),
            refunded_minor: charge.refunded,
            offer: payment.offer,
            credits_millis: payment.credits,
            taken_back_millis: payment.taken,
            amount_minor: payment.amount,
            currency: payment.currency,
            created_ms: at.0,
        }
    }
}

/// Payments, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PaymentList {
    data: Vec<PaymentView>,
}

/// The caller's payments.
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<PaymentList>, ApiError> {
    let found = payment::list(&app.pool, caller.account, PAYMENTS_MAX).await?;
    let view = |(payment, charge, at)| PaymentView::of(payment, &charge, at);
    Ok(Json(PaymentList { data: found.into_iter().map(view).collect() }))
}

/// When credits are to be bought without asking.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TopUpRule {
    /// The pack that is bought.
    pack: String,
    /// When fewer milli-credits than this can be spent.
    #[schemars(range(min = 1))]
    below_millis: i64,
    /// At most so often in thirty days.
    #[schemars(range(min = 1, max = 100))]
    monthly_max: i32,
}

/// Makes or changes the caller's rule for topping up.
pub(crate) async fn set_top_up(
    State(app): State<App>,
    caller: Caller,
    body::Json(body): body::Json,
) -> Result<Json<wallet::Wallet>, ApiError> {
    app.payments.as_ref().ok_or_else(off)?;
    let TopUpRule { pack, below_millis, monthly_max } = body::parse(body)?;
    if app.price_book.pack(&pack).is_none() {
        return Err(ApiError::invalid("pack", "there is no such pack; GET /api/v1/plans lists them"));
    }
    if !(1..=AMOUNT_MAX).contains(&below_millis) {
        return Err(ApiError::invalid("belowMillis", "say below how many milli-credits, at least 1"));
    }
    if !(1..=MONTHLY_MAX).contains(&monthly_max) {
        return Err(ApiError::invalid("monthlyMax", format!("1 to {MONTHLY_MAX} top-ups in thirty days")));
    }
    if payment::customer(&app.pool, caller.account).await?.and_then(|(_, method)| method).is_none() {
        let message = "no card is kept for it; buy a pack with `keepCard` first";
        return Err(ApiError::invalid("pack", message));
    }
    let mut tx = app.pool.begin().await?;
    top_up::set(&mut tx, caller.account, &pack, (below_millis, monthly_max), clock::now()).await?;
    note(&mut tx, &caller, "top_up.set", &pack).await?;
    tx.commit().await?;
    app.bells.payments.notify_one();
    wallet::of(&app, caller.account).await.map(Json)
}

/// Takes the caller's rule away.
pub(crate) async fn remove_top_up(State(app): State<App>, caller: Caller) -> Result<StatusCode, ApiError> {
    let mut tx = app.pool.begin().await?;
    if top_up::remove(&mut tx, caller.account).await? {
        note(&mut tx, &caller, "top_up.remove", "").await?;
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Writes down what the caller did about their money; to what, if it has a name.
async fn note(conn: &mut PgConnection, caller: &Caller, action: &'static str, target: &str) -> sqlx::Result<()> {
    let target = Some(target.to_owned()).filter(|target| !target.is_empty());
    audit::write(conn, &Deed { account: Some(caller.account), actor: caller.actor(), action, target }).await
}

/// A code.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redeem {
    #[schemars(length(min = 1, max = 64))]
    code: String,
}

/// Turns a code into credits.
pub(crate) async fn redeem(
    State(app): State<App>,
    caller: Caller,
    body::Json(body): body::Json,
) -> Result<Json<wallet::Wallet>, ApiError> {
    let Redeem { code } = body::parse(body)?;
    let now = clock::now();
    let since = Timestamp(now.0.saturating_sub(TRIES_WINDOW.as_millis() as u64));
    if promo::wrong_since(&app.pool, caller.account, since).await? >= TRIES_MAX {
        let message = format!("{TRIES_MAX} wrong codes in an hour; try again later");
        return Err(ApiError::new(ErrorCode::RateLimited, message).retry_after(TRIES_WINDOW.as_secs()));
    }
    let mut tx = app.pool.begin().await?;
    let found = promo::redeem(&mut tx, &code_hash(&code), caller.account, now).await?;
    let Some(found) = found else {
        drop(tx);
        promo::wrong(&app.pool, caller.account, since, now).await?;
        let message = "this code is unknown, over, used up, or used by you before";
        return Err(ApiError::invalid("code", message));
    };
    let days = |days: i32| now.plus(Duration::from_hours(24 * u64::from(days.unsigned_abs())));
    let reference = format!("promo:{}:{}", found.id, caller.account);
    let lot = Grant { source: Source::Promo, reference, amount: found.credits, expires: found.lot_days.map(days) };
    app.shared.changes(&[caller.account]).await;
    ledger::grant(&mut tx, caller.account, &lot, Stamp { txn: Uuid::now_v7(), at: now }).await?;
    note(&mut tx, &caller, "promo.redeem", &found.id.to_string()).await?;
    tx.commit().await?;
    wallet::of(&app, caller.account).await.map(Json)
}

/// Spaces, hyphens and small letters are people's.
pub(super) fn code_hash(code: &str) -> [u8; 32] {
    let plain: String = code.chars().filter(char::is_ascii_alphanumeric).take(CODE_BYTES_MAX).collect();
    Sha256::digest(plain.to_ascii_uppercase().as_bytes()).into()
}
