//! Sessions of browsers, by the hash of their token.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;
use crate::database::Db;
use crate::identity::role::Role;
use crate::identity::session::{SEEN_STEP, SESSIONS_MAX, end_of, idle_since};

/// A session that begins.
pub(crate) struct NewSession<'a> {
    /// Its id; not secret.
    pub(crate) id: Uuid,
    /// Whose.
    pub(crate) person: Uuid,
    /// Of its token.
    pub(crate) token_sha256: [u8; 32],
    /// What the browser says it is.
    pub(crate) user_agent: &'a str,
    /// From where it came.
    pub(crate) address: &'a str,
}

/// Who a token belongs to.
#[derive(Clone, Debug, sqlx::FromRow, Serialize, Deserialize)]
pub(crate) struct Live {
    /// The session.
    pub(crate) id: Uuid,
    /// Who is signed in.
    pub(crate) person: Uuid,
    /// The account they act for.
    pub(crate) account: Uuid,
    role: Option<String>,
    /// When it began.
    pub(crate) created_ms: i64,
    seen_ms: i64,
}

impl Live {
    /// What they are in the account they act for.
    pub(crate) fn role(&self) -> Role {
        self.role.as_deref().map_or(Role::Owner, Role::named)
    }
}

/// A session as its owner may see it.
#[derive(Clone, sqlx::FromRow)]
pub(crate) struct SessionRow {
    /// Its id.
    pub(crate) id: Uuid,
    /// When it began.
    pub(crate) created_ms: i64,
    /// When it was last used, to the minute.
    pub(crate) seen_ms: i64,
    /// When it ends at the latest.
    pub(crate) expires_ms: i64,
    /// What the browser said it is.
    pub(crate) user_agent: String,
    /// From where it came.
    pub(crate) address: String,
}

/// Begins a session. The person's ended ones go, and of too many the ones unused for longest.
pub(crate) async fn create(conn: &mut PgConnection, new: &NewSession<'_>, at: Timestamp) -> sqlx::Result<()> {
    const TIDY: &str = "delete from session where person = $1 and (expires_ms <= $2 or seen_ms <= $3 or id in
        (select id from session where person = $1 order by seen_ms desc, id desc offset $4))";
    const SQL: &str =
        "insert into session (id, person, token_sha256, created_ms, seen_ms, expires_ms, user_agent, address)
        values ($1, $2, $3, $4, $4, $5, $6, $7)";
    let NewSession { id, person, token_sha256, user_agent, address } = new;
    let tidy = sqlx::query(TIDY).bind(person).bind(to_ms(at)).bind(to_ms(idle_since(at))).bind(SESSIONS_MAX - 1);
    tidy.execute(&mut *conn).await?;
    let query = sqlx::query(SQL).bind(id).bind(person).bind(&token_sha256[..]).bind(to_ms(at)).bind(to_ms(end_of(at)));
    query.bind(user_agent).bind(address).execute(conn).await?;
    Ok(())
}

/// The session of a token, if it has not ended and its person is not shut out. Notes that it was used.
pub(crate) async fn authenticate(pool: &Db, token_sha256: &[u8; 32], at: Timestamp) -> sqlx::Result<Option<Live>> {
    const SQL: &str =
        "select s.id, s.person, coalesce(m.account, p.account) as account, m.role, s.created_ms, s.seen_ms
        from session s join person p on p.id = s.person
        left join membership m on m.account = s.account and m.person = s.person
        where s.token_sha256 = $1 and s.expires_ms > $2 and s.seen_ms > $3 and p.suspended_ms is null";
    let query = sqlx::query_as(SQL).bind(&token_sha256[..]).bind(to_ms(at)).bind(to_ms(idle_since(at)));
    let live: Option<Live> = query.fetch_optional(pool).await?;
    if let Some(live) = &live
        && live.seen_ms + SEEN_STEP.as_millis() as i64 <= to_ms(at)
    {
        let touch = sqlx::query("update session set seen_ms = greatest(seen_ms, $2) where id = $1");
        touch.bind(live.id).bind(to_ms(at)).execute(pool).await?;
    }
    Ok(live)
}

/// A person's sessions that have not ended, the one used last first.
pub(crate) async fn list(pool: &Db, person: Uuid, at: Timestamp) -> sqlx::Result<Vec<SessionRow>> {
    const SQL: &str = "select id, created_ms, seen_ms, expires_ms, user_agent, address from session
        where person = $1 and expires_ms > $2 and seen_ms > $3 order by seen_ms desc, id desc limit $4";
    let query = sqlx::query_as(SQL).bind(person).bind(to_ms(at)).bind(to_ms(idle_since(at))).bind(SESSIONS_MAX);
    query.fetch_all(pool).await
}

/// Ends a session of the person's; false when they have none of this id.
pub(crate) async fn end(conn: &mut PgConnection, person: Uuid, id: Uuid) -> sqlx::Result<bool> {
    let query = sqlx::query("delete from session where id = $1 and person = $2").bind(id).bind(person);
    Ok(query.execute(conn).await?.rows_affected() == 1)
}

/// Ends the session of a token, if there is one.
pub(crate) async fn end_by_token(conn: &mut PgConnection, token_sha256: &[u8; 32]) -> sqlx::Result<()> {
    sqlx::query("delete from session where token_sha256 = $1").bind(&token_sha256[..]).execute(conn).await?;
    Ok(())
}

/// Ends every session of the person's.
pub(crate) async fn end_all(conn: &mut PgConnection, person: Uuid) -> sqlx::Result<()> {
    sqlx::query("delete from session where person = $1").bind(person).execute(conn).await?;
    Ok(())
}

/// Makes a session act for an organisation, or for its person's own account.
pub(crate) async fn act_for(pool: &Db, id: Uuid, account: Option<Uuid>) -> sqlx::Result<()> {
    sqlx::query("update session set account = $2 where id = $1").bind(id).bind(account).execute(pool).await?;
    Ok(())
}
