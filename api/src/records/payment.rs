//! Payments and the money behind them.

use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::{from_ms, to_ms};
use crate::database::Db;
use crate::payments::facts::{Stage, Standing};
use crate::payments::settling::{Charge, Kind, Payment, State};

/// Makes events be applied one at a time, over all replicas: what one finds, the last has left.
const APPLYING: i64 = 0x7469_6e74_7970_6500;

/// The columns of [`PaymentRow`].
macro_rules! columns {
    () => {
        "id, account, kind, offer, price_version, credits, amount_minor, currency, expires_ms, paid, failed, invoice, \
         intent, granted, taken"
    };
}

#[derive(sqlx::FromRow)]
struct PaymentRow {
    id: Uuid,
    account: Uuid,
    kind: String,
    offer: String,
    price_version: i32,
    credits: i64,
    amount_minor: i64,
    currency: String,
    expires_ms: Option<i64>,
    paid: bool,
    failed: bool,
    invoice: Option<String>,
    intent: Option<String>,
    granted: bool,
    taken: i64,
}

impl From<PaymentRow> for Payment {
    fn from(row: PaymentRow) -> Self {
        Self {
            id: row.id,
            account: row.account,
            // The column's check lets no other name in.
            kind: Kind::parse(&row.kind).unwrap_or(Kind::Pack),
            offer: row.offer,
            version: row.price_version,
            credits: row.credits,
            amount: row.amount_minor,
            currency: row.currency,
            expires: row.expires_ms.map(from_ms),
            paid: row.paid,
            failed: row.failed,
            invoice: row.invoice,
            intent: row.intent,
            granted: row.granted,
            taken: row.taken,
        }
    }
}

/// Waits until no other event is being applied; holds until the transaction ends.
pub(crate) async fn alone(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("select pg_advisory_xact_lock($1)").bind(APPLYING).execute(conn).await?;
    Ok(())
}

/// What is known of the payments and charges that go by these names, and of those they are linked with.
pub(crate) async fn load(
    conn: &mut PgConnection,
    ids: &[Uuid],
    intents: &[String],
    invoices: &[String],
) -> sqlx::Result<State> {
    const CHARGES: &str = "select intent, amount_minor, refunded_minor, dispute, invoice from charge
        where intent = any($1) or invoice = any($2) or intent in (select intent from payment where id = any($3))";
    const PAYMENTS: &str =
        concat!("select ", columns!(), " from payment where id = any($1) or intent = any($2) or invoice = any($3)");
    let charges: Vec<(String, i64, i64, String, Option<String>)> =
        sqlx::query_as(CHARGES).bind(intents).bind(invoices).bind(ids).fetch_all(&mut *conn).await?;
    let charges = charges.into_iter().map(|(intent, amount, refunded, dispute, invoice)| {
        (intent, Charge { amount, refunded, dispute: Stage::parse(&dispute).unwrap_or_default(), invoice })
    });
    let charges: std::collections::BTreeMap<String, Charge> = charges.collect();
    let intents: Vec<&str> = intents.iter().map(String::as_str).chain(charges.keys().map(String::as_str)).collect();
    let linked = charges.values().filter_map(|charge| charge.invoice.as_deref());
    let invoices: Vec<&str> = invoices.iter().map(String::as_str).chain(linked).collect();
    let payments: Vec<PaymentRow> =
        sqlx::query_as(PAYMENTS).bind(ids).bind(intents).bind(invoices).fetch_all(conn).await?;
    let payments = payments.into_iter().map(|row| (row.id, row.into())).collect();
    Ok(State { payments, charges })
}

/// Writes what is known now.
pub(crate) async fn store(conn: &mut PgConnection, state: &State, now: Timestamp) -> sqlx::Result<()> {
    for payment in state.payments.values() {
        put(conn, payment, now).await?;
    }
    for (intent, charge) in &state.charges {
        let Charge { amount, refunded, dispute, invoice } = charge;
        sqlx::query(
            "insert into charge (intent, amount_minor, refunded_minor, dispute, invoice) values ($1, $2, $3, $4, $5)
             on conflict (intent) do update set amount_minor = $2, refunded_minor = $3, dispute = $4, invoice = $5",
        )
        .bind(intent)
        .bind(amount)
        .bind(refunded)
        .bind(dispute.as_str())
        .bind(invoice)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Writes a payment, new or known.
pub(crate) async fn put(conn: &mut PgConnection, payment: &Payment, now: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "insert into payment (id, account, kind, offer, price_version, credits, amount_minor, currency,
            expires_ms, paid, failed, invoice, intent, granted, taken, created_ms, next_ms)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16)
        on conflict (id) do update set paid = $10, failed = $11, invoice = $12, intent = $13, granted = $14, taken = $15";
    sqlx::query(SQL)
        .bind(payment.id)
        .bind(payment.account)
        .bind(payment.kind.as_str())
        .bind(&payment.offer)
        .bind(payment.version)
        .bind(payment.credits)
        .bind(payment.amount)
        .bind(&payment.currency)
        .bind(payment.expires.map(to_ms))
        .bind(payment.paid)
        .bind(payment.failed)
        .bind(&payment.invoice)
        .bind(&payment.intent)
        .bind(payment.granted)
        .bind(payment.taken)
        .bind(to_ms(now))
        .execute(conn)
        .await?;
    Ok(())
}

/// The payment.
pub(crate) async fn find(pool: &Db, id: Uuid) -> sqlx::Result<Option<Payment>> {
    const SQL: &str = concat!("select ", columns!(), " from payment where id = $1");
    let row: Option<PaymentRow> = sqlx::query_as(SQL).bind(id).fetch_optional(pool).await?;
    Ok(row.map(Payment::from))
}

/// Keeps a payment from being settled or given back by others until the transaction ends.
pub(crate) async fn lock(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query("select 1 from payment where id = $1 for update").bind(id).execute(conn).await?;
    Ok(())
}

/// A payment, the money behind it, and since when it is there.
#[derive(sqlx::FromRow)]
struct Charged {
    #[sqlx(flatten)]
    row: PaymentRow,
    created_ms: i64,
    taken_minor: Option<i64>,
    refunded: Option<i64>,
    dispute: Option<String>,
}

/// The columns of [`Charged`], and where they are.
macro_rules! charged {
    () => {
        concat!(
            "select ",
            columns!(),
            ", created_ms, taken_minor, refunded, dispute from payment left join lateral (select amount_minor as taken_minor,
                refunded_minor as refunded, dispute from charge c where c.intent = payment.intent) money on true "
        )
    };
}

impl From<Charged> for (Payment, Charge, Timestamp) {
    fn from(found: Charged) -> Self {
        let Charged { row, created_ms, taken_minor, refunded, dispute } = found;
        let charge = Charge {
            amount: taken_minor.unwrap_or(0),
            refunded: refunded.unwrap_or(0),
            dispute: dispute.and_then(|name| Stage::parse(&name)).unwrap_or_default(),
            ..Charge::default()
        };
        (row.into(), charge, from_ms(created_ms))
    }
}

/// The payment with the money behind it.
pub(crate) async fn with_charge(pool: &Db, id: Uuid) -> sqlx::Result<Option<(Payment, Charge, Timestamp)>> {
    const SQL: &str = concat!(charged!(), "where payment.id = $1");
    let row: Option<Charged> = sqlx::query_as(SQL).bind(id).fetch_optional(pool).await?;
    Ok(row.map(Into::into))
}

/// Notes what Stripe says it has charged through an intent.
pub(crate) async fn set_charged(pool: &Db, intent: &str, amount: i64) -> sqlx::Result<()> {
    const SQL: &str = "update charge set amount_minor = greatest(amount_minor, $2) where intent = $1";
    sqlx::query(SQL).bind(intent).bind(amount).execute(pool).await?;
    Ok(())
}

/// An account's payments that were paid with the money behind them, newest first.
pub(crate) async fn list(pool: &Db, account: Uuid, limit: i64) -> sqlx::Result<Vec<(Payment, Charge, Timestamp)>> {
    const SQL: &str = concat!(charged!(), "where account = $1 and paid order by created_ms desc limit $2");
    let rows: Vec<Charged> = sqlx::query_as(SQL).bind(account).bind(limit).fetch_all(pool).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The Checkout page a payment is made on.
pub(crate) async fn set_session(pool: &Db, payment: Uuid, session: &str) -> sqlx::Result<()> {
    let sql = "update payment set session = $2 where id = $1";
    sqlx::query(sql).bind(payment).bind(session).execute(pool).await?;
    Ok(())
}

/// Whether any of an account's payments is disputed, or lost and not forgiven.
pub(crate) async fn is_disputed(conn: &mut PgConnection, account: Uuid) -> sqlx::Result<bool> {
    const SQL: &str = "select exists (select 1 from payment p join charge c on c.intent = p.intent
        where p.account = $1 and p.paid and c.dispute in ('open', 'lost'))";
    sqlx::query_scalar(SQL).bind(account).fetch_one(conn).await
}

/// Forgives an account its lost disputes.
pub(crate) async fn forgive(conn: &mut PgConnection, account: Uuid) -> sqlx::Result<u64> {
    const SQL: &str = "update charge set dispute = 'forgiven' where dispute = 'lost'
        and intent in (select intent from payment where account = $1)";
    Ok(sqlx::query(SQL).bind(account).execute(conn).await?.rows_affected())
}

/// Who an account is at Stripe, and what it pays with.
pub(crate) async fn customer(pool: &Db, account: Uuid) -> sqlx::Result<Option<(String, Option<String>)>> {
    sqlx::query_as("select customer, method from billing where account = $1").bind(account).fetch_optional(pool).await
}

/// Notes who an account is at Stripe. The first name stays; the last way to pay counts.
pub(crate) async fn set_customer(
    conn: &mut PgConnection,
    account: Uuid,
    customer: &str,
    method: Option<&str>,
) -> sqlx::Result<()> {
    const SQL: &str = "insert into billing (account, customer, method)
        select id, $2, $3 from account where id = $1
        on conflict (account) do update set method = coalesce($3, billing.method)";
    sqlx::query(SQL).bind(account).bind(customer).bind(method).execute(conn).await?;
    Ok(())
}

/// Notes where a subscription stands, unless something later is known.
pub(crate) async fn set_subscription(conn: &mut PgConnection, standing: &Standing) -> sqlx::Result<()> {
    const SQL: &str = "insert into subscription (id, account, offer, status, ends, as_of_s)
        select $1, id, $3, $4, $5, $6 from account where id = $2
        on conflict (id) do update set offer = $3, status = $4, ends = $5, as_of_s = $6
        where (subscription.as_of_s, subscription.status, subscription.ends, subscription.offer) < ($6, $4, $5, $3)
            and subscription.status <> 'canceled'";
    let Standing { subscription, account, offer, status, ends, as_of } = standing;
    sqlx::query(SQL)
        .bind(subscription)
        .bind(account)
        .bind(offer)
        .bind(status)
        .bind(ends)
        .bind(as_of)
        .execute(conn)
        .await?;
    Ok(())
}

/// An account's subscription that runs: offer, status, and whether it ends with its month.
pub(crate) async fn subscription(pool: &Db, account: Uuid) -> sqlx::Result<Option<(String, String, bool)>> {
    const SQL: &str = "select offer, status, ends from subscription
        where account = $1 and status not in ('canceled', 'incomplete_expired') order by as_of_s desc limit 1";
    sqlx::query_as(SQL).bind(account).fetch_optional(pool).await
}
