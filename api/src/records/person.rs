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
    /// As they typed it.
    pub(crate) email: String,
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
}

macro_rules! columns {
    () => {
        "id, account, email, email_verified_ms, password, admin, suspended_ms, notify_ready"
    };
}

/// Somebody new.
pub(crate) struct NewPerson<'a> {
    /// Their id.
    pub(crate) id: Uuid,
    /// The account of their own.
    pub(crate) account: Uuid,
    /// Their address.
    pub(crate) email: &'a Email,
    /// The hash of their password.
    pub(crate) password: Option<&'a str>,
}

/// Writes them down; false when somebody has this address already: then nothing happens.
pub(crate) async fn create(conn: &mut PgConnection, new: &NewPerson<'_>, at: Timestamp) -> sqlx::Result<bool> {
    const SQL: &str = "insert into person (id, account, email, email_folded, password, created_ms)
        values ($1, $2, $3, $4, $5, $6) on conflict (email_folded) do nothing";
    let NewPerson { id, account, email, password } = new;
    let query = sqlx::query(SQL).bind(id).bind(account).bind(email.text()).bind(email.folded());
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
