//! The book of credits: an account's own, and what the administrator may do: give credits, read any book, verify them.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tintype_types::ErrorCode;
use uuid::Uuid;

use super::admin::Admin;
use super::auth::Caller;
use super::body;
use super::view::Credits;
use crate::clock;
use crate::error::ApiError;
use crate::ledger::post::Stamp;
use crate::ledger::sql::LedgerSqlError;
use crate::ledger::{Grant as NewLot, Source, Txn, sql as ledger};
use crate::records::audit::{self, Deed};
use crate::state::App;

/// Transactions on a page.
const PAGE: i64 = 100;
/// Books verified by one request.
const BOOKS: i64 = 100;
/// Longest reference of a grant, in characters.
const REFERENCE_CHARS_MAX: usize = 100;
/// Latest day a gift may lapse on.
const EXPIRY_DAYS_MAX: u32 = 3_650;

/// A transaction of a book.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TxnView {
    /// Its number in the book, from 1.
    seq: i64,
    /// `grant`, `hold`, `capture`, `void`, `expire`, `lapse` or `take_back`.
    kind: &'static str,
    /// What makes doing it twice doing it once; of a hold it holds the job's id.
    key: String,
    /// When, in milliseconds since 1970.
    at_ms: u64,
    /// SHA-256 over it and the hash of the one before it.
    hash: String,
    /// What it changes, in milli-credits; sums to zero.
    lines: Vec<LineView>,
}

/// A line of a transaction.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LineView {
    /// `granted`, `available`, `held`, `spent`, `owed` or `lost`.
    column: &'static str,
    /// By how much.
    amount_millis: i64,
    /// What is in it afterwards.
    balance_millis: i64,
    /// Of which lot, if of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    lot: Option<String>,
}

impl From<Txn> for TxnView {
    fn from(txn: Txn) -> Self {
        let lines = txn.entries.iter().map(|line| LineView {
            column: line.bucket.as_str(),
            amount_millis: line.amount,
            balance_millis: line.balance_after,
            lot: line.lot.map(|lot| lot.to_string()),
        });
        let lines = lines.collect();
        Self {
            seq: txn.seq,
            kind: txn.kind.as_str(),
            key: txn.key,
            at_ms: txn.at.0,
            hash: hex::encode(txn.hash),
            lines,
        }
    }
}

/// A page of a book, oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LedgerPage {
    /// The transactions.
    data: Vec<TxnView>,
    /// Pass as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

/// From where on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AfterQuery<T> {
    after: Option<T>,
}

fn after<T>(query: Result<Query<AfterQuery<T>>, QueryRejection>) -> Result<Option<T>, ApiError> {
    let Query(AfterQuery { after }) =
        query.map_err(|_| ApiError::invalid("query", "this takes `after`, the `next` of the page before"))?;
    Ok(after)
}

/// The caller's book.
pub(crate) async fn own(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<AfterQuery<i64>>, QueryRejection>,
) -> Result<Json<LedgerPage>, ApiError> {
    page(&app, caller.account, after(query)?).await
}

/// Anybody's book, for the administrator.
pub(crate) async fn of_account(
    State(app): State<App>,
    _admin: Admin,
    Path(account): Path<String>,
    query: Result<Query<AfterQuery<i64>>, QueryRejection>,
) -> Result<Json<LedgerPage>, ApiError> {
    page(&app, account_id(&account)?, after(query)?).await
}

async fn page(app: &App, account: Uuid, after: Option<i64>) -> Result<Json<LedgerPage>, ApiError> {
    let mut conn = app.pool.reader().await?;
    ledger::balance(&mut conn, account).await.map_err(no_account)?;
    let found = ledger::transactions(&mut conn, account, after.unwrap_or(0), PAGE).await?;
    let next = if found.len() as i64 == PAGE { found.last().map(|txn| txn.seq) } else { None };
    Ok(Json(LedgerPage { data: found.into_iter().map(TxnView::from).collect(), next }))
}

/// Credits to be given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Grant {
    /// How many, in milli-credits.
    #[schemars(range(min = 1))]
    amount_millis: i64,
    /// What for; the same reference gives once.
    #[schemars(length(min = 1, max = 100))]
    reference: String,
    /// What kind of gift it is.
    #[serde(default)]
    source: Gift,
    /// In how many days what is left of it lapses; left out, never.
    #[schemars(range(min = 1, max = 3_650))]
    expires_in_days: Option<u32>,
}

/// Kinds of credits an administrator gives.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Gift {
    /// By the administrator's leave.
    #[default]
    Admin,
    /// To make somebody try it.
    Promo,
    /// For pictures that were charged and are no good.
    Refund,
}

impl From<Gift> for Source {
    fn from(gift: Gift) -> Self {
        match gift {
            Gift::Admin => Self::Admin,
            Gift::Promo => Self::Promo,
            Gift::Refund => Self::Refund,
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Granted {
    /// False when this reference had been given before.
    granted: bool,
    /// The account's credits now.
    credits: Credits,
}

/// Gives credits, once a reference.
pub(crate) async fn grant(
    State(app): State<App>,
    admin: Admin,
    Path(account): Path<String>,
    body::Json(body): body::Json,
) -> Result<Json<Granted>, ApiError> {
    let account = account_id(&account)?;
    let Grant { amount_millis, reference, source, expires_in_days } = body::parse(body)?;
    let chars = reference.chars().count();
    if !(1..=REFERENCE_CHARS_MAX).contains(&chars) || reference.contains(char::is_control) {
        let message = format!("a reference has 1 to {REFERENCE_CHARS_MAX} printable characters");
        return Err(ApiError::invalid("reference", message));
    }
    if expires_in_days.is_some_and(|days| !(1..=EXPIRY_DAYS_MAX).contains(&days)) {
        return Err(ApiError::invalid("expiresInDays", format!("credits lapse in 1 to {EXPIRY_DAYS_MAX} days")));
    }
    let stamp = Stamp { txn: Uuid::now_v7(), at: clock::now() };
    let expires = expires_in_days.map(|days| stamp.at.plus(Duration::from_hours(24 * u64::from(days))));
    let reference = format!("admin:{account}:{reference}");
    let lot = NewLot { source: source.into(), reference, amount: amount_millis, expires };
    app.shared.changes(&[account]).await;
    let mut tx = app.pool.begin().await?;
    let granted = ledger::grant(&mut tx, account, &lot, stamp).await.map_err(|error| {
        if let LedgerSqlError::Refused(refused) = error {
            return ApiError::invalid("amountMillis", refused.to_string());
        }
        no_account(error)
    })?;
    let book = ledger::balance(&mut tx, account).await.map_err(no_account)?;
    if granted {
        let target = Some(account.to_string());
        let deed = Deed { account: Some(account), actor: admin.actor(), action: "credits.grant", target };
        audit::write(&mut tx, &deed).await?;
    }
    tx.commit().await?;
    Ok(Json(Granted { granted, credits: Credits::from(&book) }))
}

/// What verifying found.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Verification {
    /// Books read from their first transaction to their last.
    books: u64,
    /// Transactions in them.
    transactions: i64,
    /// What does not follow; empty is sound.
    faults: Vec<FaultView>,
    /// Pass as `after` to go on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Something that does not follow.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FaultView {
    /// In whose book.
    account: String,
    /// What.
    fault: String,
}

/// Reads books again, some at a time.
pub(crate) async fn verify(
    State(app): State<App>,
    _admin: Admin,
    query: Result<Query<AfterQuery<Uuid>>, QueryRejection>,
) -> Result<Json<Verification>, ApiError> {
    let accounts = ledger::accounts(&app.pool, after(query)?, BOOKS).await?;
    let mut found = Verification { books: 0, transactions: 0, faults: Vec::new(), next: None };
    for account in &accounts {
        let (read, verdict) = ledger::verify(&app.pool, *account).await?;
        found.books += 1;
        found.transactions += read;
        if let Err(fault) = verdict {
            found.faults.push(FaultView { account: account.to_string(), fault: fault.to_string() });
        }
    }
    found.next = if accounts.len() as i64 == BOOKS { accounts.last().map(Uuid::to_string) } else { None };
    Ok(Json(found))
}

fn account_id(text: &str) -> Result<Uuid, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("account"))
}

fn no_account(error: LedgerSqlError) -> ApiError {
    if let LedgerSqlError::NoAccount(_) = error {
        return ApiError::new(ErrorCode::NotFound, "there is no such account");
    }
    error.into()
}
