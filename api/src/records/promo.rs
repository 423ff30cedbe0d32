//! Codes that bring credits. A code is kept as its hash; wrong ones are counted, so that none can be guessed.

use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;
use crate::database::Db;

/// A code to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewCode {
    pub(crate) id: Uuid,
    pub(crate) sha256: [u8; 32],
    /// What it brings, in milli-credits.
    pub(crate) credits: i64,
    /// In how many days what is left of them lapses.
    pub(crate) lot_days: Option<i32>,
    /// How many accounts may use it.
    pub(crate) uses_max: i32,
    /// Until when.
    pub(crate) expires: Timestamp,
}

/// Makes a code, in the caller's transaction.
pub(crate) async fn create(conn: &mut PgConnection, code: &NewCode, now: Timestamp) -> sqlx::Result<()> {
    sqlx::query(
        "insert into promo_code (code_sha256, id, credits, lot_days, uses_max, expires_ms, created_ms)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&code.sha256[..])
    .bind(code.id)
    .bind(code.credits)
    .bind(code.lot_days)
    .bind(code.uses_max)
    .bind(to_ms(code.expires))
    .bind(to_ms(now))
    .execute(conn)
    .await?;
    Ok(())
}

/// What a code brings whoever uses it.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(crate) struct Code {
    pub(crate) id: Uuid,
    pub(crate) credits: i64,
    pub(crate) lot_days: Option<i32>,
}

/// Uses a code for an account: none when there is no such code, it is over or used up, or the account has used it. One
/// statement decides, so that the last use goes to one account.
pub(crate) async fn redeem(
    conn: &mut PgConnection,
    sha256: &[u8; 32],
    account: Uuid,
    now: Timestamp,
) -> sqlx::Result<Option<Code>> {
    const SQL: &str = "
        with code as (
            update promo_code set uses = uses + 1
            where code_sha256 = $1 and expires_ms > $3 and uses < uses_max
                and not exists (select 1 from promo_redemption r where r.code = promo_code.id and r.account = $2)
            returning id, credits, lot_days
        ), used as (
            insert into promo_redemption (code, account, at_ms) select id, $2, $3 from code
        )
        select id, credits, lot_days from code";
    sqlx::query_as(SQL).bind(&sha256[..]).bind(account).bind(to_ms(now)).fetch_optional(conn).await
}

/// Wrong codes of an account since a moment.
pub(crate) async fn wrong_since(pool: &Db, account: Uuid, since: Timestamp) -> sqlx::Result<i64> {
    let sql = "select count(*) from promo_try where account = $1 and at_ms > $2";
    sqlx::query_scalar(sql).bind(account).bind(to_ms(since)).fetch_one(pool).await
}

/// Notes a wrong code, and forgets those from before `since`.
pub(crate) async fn wrong(pool: &Db, account: Uuid, since: Timestamp, now: Timestamp) -> sqlx::Result<()> {
    let forget = "delete from promo_try where account = $1 and at_ms <= $2";
    sqlx::query(forget).bind(account).bind(to_ms(since)).execute(pool).await?;
    let note = "insert into promo_try (account, at_ms) values ($1, $2)";
    sqlx::query(note).bind(account).bind(to_ms(now)).execute(pool).await?;
    Ok(())
}
