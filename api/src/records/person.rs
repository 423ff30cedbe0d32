//! Persons: who signs in.

use sqlx::{PgConnection, PgExecutor};
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;
use crate::identity::email::Email;

/// A person. Holds the e-mail address and the password's hash: never logged.
#[derive(Clone, sqlx::FromRow)]
pub(crate) struct Person {
    /// Their id.
    pub(crate) id: Uuid,
    /// The account of their own.
    pub(crate) account: Uuid,
    /// As they typed it; none: a provider knows them without one.
    pub(crate) email: Option<String>,
    /// When it was seen that mail to it reaches them.
    pub(crate) email_verified_ms: Option<i64>,
    /// The hash; none: they sign in some other way.
    pub(crate) password: Option<String>,
    /// Whether they may do what the administrator's token may.
    pub(crate) admin: bool,
    /// When they were shut out.
    pub(crate) suspended_ms: Option<i64>,
    /// Whether they want a letter when pictures are ready.
    pub(crate) notify_ready: bool,
    /// Whether they want a letter each week.
    pub(crate) digest: bool,
}

macro_rules! columns {
    () => {
        "id, account, email, email_verified_ms, password, admin, suspended_ms, notify_ready, digest"
    };
}

/// Somebody new.
pub(crate) struct NewPerson<'a> {
    /// Their id.
    pub(crate) id: Uuid,
    /// The account of their own.
    pub(crate) account: Uuid,
    /// Their address.
    pub(crate) email: Option<&'a Email>,
    /// The hash of their password.
    pub(crate) password: Option<&'a str>,
}

/// Writes them down; false when somebody has this address already: then nothing happens.
pub(crate) async fn create(conn: &mut PgConnection, new: &NewPerson<'_>, at: Timestamp) -> sqlx::Result<bool> {
    const SQL: &str = "insert into person (id, account, email, email_folded, password, created_ms)
        values ($1, $2, $3, $4, $5, $6) on conflict (email_folded) do nothing";
    let NewPerson { id, account, email, password } = new;
    let query = sqlx::query(SQL).bind(id).bind(account).bind(email.map(Email::text)).bind(email.map(Email::folded));
    let done = query.bind(password).bind(to_ms(at)).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}

/// Whoever has this address.
pub(crate) async fn find_by_email(db: impl PgExecutor<'_>, email: &Email) -> sqlx::Result<Option<Person>> {
    const SQL: &str = concat!("select ", columns!(), " from person where email_folded = $1");
    sqlx::query_as(SQL).bind(email.folded()).fetch_optional(db).await
}

/// The person.
pub(crate) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Person> {
    find_optional(db, id).await?.ok_or(sqlx::Error::RowNotFound)
}

/// The person, if there is one of this id.
pub(crate) async fn find_optional(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Person>> {
    const SQL: &str = concat!("select ", columns!(), " from person where id = $1");
    sqlx::query_as(SQL).bind(id).fetch_optional(db).await
}

/// All their accounts: their own, and those of organisations they are in.
pub(crate) async fn accounts(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Vec<Uuid>> {
    const SQL: &str = "select account from person where id = $1 union select account from membership where person = $1";
    sqlx::query_scalar(SQL).bind(id).fetch_all(db).await
}

/// Gives them another password.
pub(crate) async fn set_password(conn: &mut PgConnection, id: Uuid, hash: &str) -> sqlx::Result<()> {
    sqlx::query("update person set password = $2 where id = $1").bind(id).bind(hash).execute(conn).await?;
    Ok(())
}

/// Whoever has this account for their own.
pub(crate) async fn find_by_account(db: impl PgExecutor<'_>, account: Uuid) -> sqlx::Result<Option<Person>> {
    const SQL: &str = concat!("select ", columns!(), " from person where account = $1");
    sqlx::query_as(SQL).bind(account).fetch_optional(db).await
}

/// Their address was shown to be theirs.
pub(crate) async fn verify(conn: &mut PgConnection, id: Uuid, at: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "update person set email_verified_ms = coalesce(email_verified_ms, $2) where id = $1";
    sqlx::query(SQL).bind(id).bind(to_ms(at)).execute(conn).await?;
    Ok(())
}

/// Nobody signs in as them with a password any more.
pub(crate) async fn forget_password(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query("update person set password = null where id = $1").bind(id).execute(conn).await?;
    Ok(())
}

/// Whether they want a letter when pictures are ready.
pub(crate) async fn set_notify_ready(db: impl PgExecutor<'_>, id: Uuid, wanted: bool) -> sqlx::Result<()> {
    sqlx::query("update person set notify_ready = $2 where id = $1").bind(id).bind(wanted).execute(db).await?;
    Ok(())
}

/// Their address from now on, which was shown to be theirs.
pub(crate) async fn set_email(conn: &mut PgConnection, id: Uuid, email: &Email, at: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "update person set email = $2, email_folded = $3, email_verified_ms = $4 where id = $1";
    let query = sqlx::query(SQL).bind(id).bind(email.text()).bind(email.folded());
    query.bind(to_ms(at)).execute(conn).await?;
    Ok(())
}

/// Holds everybody else up who changes them.
pub(crate) async fn lock(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query("select 1 from person where id = $1 for update").bind(id).execute(conn).await?;
    Ok(())
}

/// People, the newest first, from before one on.
pub(crate) async fn list(db: impl PgExecutor<'_>, before: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Person>> {
    const SQL: &str =
        concat!("select ", columns!(), " from person where $1::uuid is null or id < $1 order by id desc limit $2");
    sqlx::query_as(SQL).bind(before).bind(limit).fetch_all(db).await
}

/// Shuts them out since a moment, or lets them in again.
pub(crate) async fn suspend(conn: &mut PgConnection, id: Uuid, since: Option<Timestamp>) -> sqlx::Result<()> {
    let query = sqlx::query("update person set suspended_ms = $2 where id = $1").bind(id);
    query.bind(since.map(to_ms)).execute(conn).await?;
    Ok(())
}

/// Whether they may do what the administrator's token may.
pub(crate) async fn set_admin(conn: &mut PgConnection, id: Uuid, admin: bool) -> sqlx::Result<()> {
    sqlx::query("update person set admin = $2 where id = $1").bind(id).bind(admin).execute(conn).await?;
    Ok(())
}
