//! What was done, by whom, to what: rows that are never changed. Written in the transaction of what they tell of.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::clock::{self, to_ms};
use crate::database::Db;
use crate::http::request_id;

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    /// Somebody who is signed in.
    Person(Uuid),
    /// A key, by its id.
    Key(String),
    /// Whoever holds the administrator's token.
    Admin,
    /// A provider that tells us of its users.
    Provider(&'static str),
}

/// Something that was done: `noun.verb`.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    /// In which account; none: on this server.
    pub(crate) account: Option<Uuid>,
    /// By whom.
    pub(crate) actor: Actor,
    /// What, from a closed set.
    pub(crate) action: &'static str,
    /// To what: an id.
    pub(crate) target: Option<String>,
}

/// A row of it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Event {
    /// Its id; ids sort by age.
    pub(crate) id: Uuid,
    /// When.
    pub(crate) at_ms: i64,
    /// See [`Deed::account`].
    pub(crate) account: Option<Uuid>,
    /// `person`, `key`, `admin` or `provider`.
    pub(crate) actor_kind: String,
    /// Which.
    pub(crate) actor: Option<String>,
    /// See [`Deed::action`].
    pub(crate) action: String,
    /// See [`Deed::target`].
    pub(crate) target: Option<String>,
    /// The request it was done by; finds it in the log.
    pub(crate) request: Uuid,
}

/// Writes down what was done.
pub(crate) async fn write(conn: &mut PgConnection, deed: &Deed) -> sqlx::Result<()> {
    const SQL: &str = "insert into audit_event (id, at_ms, account, actor_kind, actor, action, target, request)
        values ($1, $2, $3, $4, $5, $6, $7, $8)";
    let Deed { account, actor, action, target } = deed;
    let (kind, who) = match actor {
        Actor::Person(id) => ("person", Some(id.to_string())),
        Actor::Key(id) => ("key", Some(id.clone())),
        Actor::Admin => ("admin", None),
        Actor::Provider(name) => ("provider", Some((*name).to_owned())),
    };
    let query = sqlx::query(SQL).bind(Uuid::now_v7()).bind(to_ms(clock::now())).bind(account).bind(kind).bind(who);
    query.bind(action).bind(target).bind(request_id::current()).execute(conn).await?;
    Ok(())
}

/// What was done in an account, or anywhere, the newest first, from before a row on.
pub(crate) async fn list(
    pool: &Db,
    account: Option<Uuid>,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Event>> {
    const SQL: &str = "select id, at_ms, account, actor_kind, actor, action, target, request from audit_event
        where ($1::uuid is null or account = $1) and ($2::uuid is null or id < $2) order by id desc limit $3";
    sqlx::query_as(SQL).bind(account).bind(before).bind(limit).fetch_all(pool).await
}
