//! Links sent by mail, by the hash of their token. Each works once.

use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;
use crate::identity::email::Email;
use crate::identity::link::Purpose;

/// How long links are kept that have ended, in milliseconds: a day.
const KEPT_MS: i64 = 24 * 3_600_000;
/// Ended links thrown away when one is kept.
const TIDIED: i64 = 100;

/// A link to be sent.
pub(crate) struct NewLink<'a> {
    /// Of the errand that sends it.
    pub(crate) id: Uuid,
    /// What it is for.
    pub(crate) purpose: Purpose,
    /// To whom it goes.
    pub(crate) email: &'a Email,
    /// Who that is, if it is somebody.
    pub(crate) person: Option<Uuid>,
    /// Of its token.
    pub(crate) token_sha256: [u8; 32],
}

/// A link that was redeemed.
#[derive(Clone, sqlx::FromRow)]
pub(crate) struct Redeemed {
    /// To whom it went.
    pub(crate) email: String,
    /// Who that was when it went out.
    pub(crate) person: Option<Uuid>,
}

/// Keeps a link. One of the same errand takes its place.
pub(crate) async fn keep(conn: &mut PgConnection, new: &NewLink<'_>, at: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "insert into link (id, purpose, email, person, token_sha256, created_ms, expires_ms)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (id) do update set token_sha256 = excluded.token_sha256, expires_ms = excluded.expires_ms
        where link.used_ms is null";
    const TIDY: &str = "delete from link where id in (select id from link where expires_ms < $1 limit $2)";
    let NewLink { id, purpose, email, person, token_sha256 } = new;
    let expires = to_ms(at).saturating_add(purpose.lifetime().as_millis() as i64);
    let query = sqlx::query(SQL).bind(id).bind(purpose.as_str()).bind(email.text()).bind(person);
    query.bind(&token_sha256[..]).bind(to_ms(at)).bind(expires).execute(&mut *conn).await?;
    sqlx::query(TIDY).bind(to_ms(at) - KEPT_MS).bind(TIDIED).execute(conn).await?;
    Ok(())
}

/// Redeems a link; none when there is none of this token and purpose, or it has ended, or was redeemed before.
pub(crate) async fn redeem(
    conn: &mut PgConnection,
    purpose: Purpose,
    token_sha256: &[u8; 32],
    at: Timestamp,
) -> sqlx::Result<Option<Redeemed>> {
    const SQL: &str = "update link set used_ms = $3
        where token_sha256 = $1 and purpose = $2 and used_ms is null and expires_ms > $3 returning email, person";
    let query = sqlx::query_as(SQL).bind(&token_sha256[..]).bind(purpose.as_str()).bind(to_ms(at));
    query.fetch_optional(conn).await
}

/// Makes every link of a person's worthless: whoever asked for one before must not come in by it now.
pub(crate) async fn end_all(conn: &mut PgConnection, person: Uuid) -> sqlx::Result<()> {
    sqlx::query("delete from link where person = $1").bind(person).execute(conn).await?;
    Ok(())
}
