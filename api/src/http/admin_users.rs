//! People, for the administrator: who there is, shutting somebody out, and a way in for the person at this machine.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::admin::Admin;
use super::body;
use super::sign_in::read_email;
use crate::clock::{self, to_ms};
use crate::error::ApiError;
use crate::identity::link::Purpose;
use crate::identity::token::Token;
use crate::records::audit::{self, Deed};
use crate::records::link::{self, NewLink};
use crate::records::person::{self, NewPerson, Person};
use crate::records::{account, session};
use crate::state::App;

/// People on a page.
const PAGE: i64 = 100;
/// The address of the person at this machine, who gets no mail.
const NOBODYS_HOST: &str = "localhost";

/// Somebody, as the administrator sees them.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PersonView {
    /// Their id.
    id: String,
    /// The account of their own.
    account: String,
    /// Their e-mail address.
    email: Option<String>,
    /// Whether it was seen that mail to it reaches them.
    email_verified: bool,
    /// Whether they are an administrator.
    admin: bool,
    /// When they were shut out, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended_ms: Option<i64>,
}

impl From<Person> for PersonView {
    fn from(person: Person) -> Self {
        Self {
            id: person.id.to_string(),
            account: person.account.to_string(),
            email: person.email,
            email_verified: person.email_verified_ms.is_some(),
            admin: person.admin,
            suspended_ms: person.suspended_ms,
        }
    }
}

/// A page of people.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PersonPage {
    /// The newest first.
    data: Vec<PersonView>,
    /// Pass as `before` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which people.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The address they have.
    email: Option<String>,
    before: Option<Uuid>,
}

/// What is to change about somebody.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonChange {
    /// Whether they are shut out.
    suspended: Option<bool>,
    /// Whether they are an administrator.
    admin: Option<bool>,
}

/// For whom a way in is made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WayIn {
    /// Whether an account without a person gets one who is an administrator.
    #[serde(default)]
    admin: bool,
}

/// A way in.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WayInView {
    /// Opens this server signed in, once.
    url: String,
    /// Until when, in milliseconds since 1970.
    expires_ms: i64,
}

/// Lists people.
pub(crate) async fn list(
    State(app): State<App>,
    _admin: Admin,
    query: Result<Query<Which>, QueryRejection>,
) -> Result<Json<PersonPage>, ApiError> {
    let wrong = |_| ApiError::invalid("query", "this takes `email`, and `before`, the `next` of the page before");
    let Query(Which { email, before }) = query.map_err(wrong)?;
    let found = match email {
        Some(email) => person::find_by_email(&app.pool, &read_email(&email)?).await?.into_iter().collect(),
        None => person::list(&app.pool, before, PAGE).await?,
    };
    let next = if found.len() as i64 == PAGE { found.last().map(|person| person.id.to_string()) } else { None };
    Ok(Json(PersonPage { data: found.into_iter().map(PersonView::from).collect(), next }))
}

/// Shuts somebody out or lets them in again; makes them an administrator or not. Whoever is shut out is out at once: their
/// sessions end, and their account's keys open nothing while it lasts.
pub(crate) async fn change(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<String>,
    body::Json(body): body::Json,
) -> Result<Json<PersonView>, ApiError> {
    let PersonChange { suspended, admin: make_admin } = body::parse(body)?;
    let id = person_id(&id)?;
    let at = clock::now();
    let mut tx = app.pool.begin().await?;
    let found = person::find_optional(&mut *tx, id).await?.ok_or_else(unknown)?;
    if let Some(suspended) = suspended {
        let since = suspended.then_some(at);
        person::suspend(&mut tx, found.id, since).await?;
        account::suspend(&mut tx, found.account, since).await?;
        if suspended {
            session::end_all(&mut tx, found.id).await?;
            link::end_all(&mut tx, found.id).await?;
        }
        note(&mut tx, &admin, &found, if suspended { "person.suspend" } else { "person.readmit" }).await?;
    }
    if let Some(make_admin) = make_admin {
        person::set_admin(&mut tx, found.id, make_admin).await?;
        note(&mut tx, &admin, &found, if make_admin { "person.promote" } else { "person.demote" }).await?;
    }
    let found = person::find(&mut *tx, id).await?;
    tx.commit().await?;
    Ok(Json(PersonView::from(found)))
}

/// Ends every session of somebody's.
pub(crate) async fn end_sessions(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = person_id(&id)?;
    let mut tx = app.pool.begin().await?;
    let found = person::find_optional(&mut *tx, id).await?.ok_or_else(unknown)?;
    session::end_all(&mut tx, found.id).await?;
    note(&mut tx, &admin, &found, "person.sign_out").await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a link that signs in to an account: for the person at the machine this server runs on, who needs no password.
pub(crate) async fn way_in(
    State(app): State<App>,
    admin: Admin,
    Path(account): Path<String>,
    body::Json(body): body::Json,
) -> Result<(StatusCode, Json<WayInView>), ApiError> {
    let WayIn { admin: make_admin } = body::parse(body)?;
    let account: Uuid = account.parse().map_err(|_| ApiError::not_found("account"))?;
    let at = clock::now();
    let mut tx = app.pool.begin().await?;
    let person = match person::find_by_account(&mut *tx, account).await? {
        Some(person) => person,
        None => person_at_this_machine(&mut tx, account, make_admin).await?,
    };
    let text = person.email.clone().unwrap_or_else(|| format!("{}@{NOBODYS_HOST}", person.id));
    let email = read_email(&text)?;
    let token = Token::draw(&mut rand::rng());
    let purpose = Purpose::SignIn;
    let new =
        NewLink { id: Uuid::now_v7(), purpose, email: &email, person: Some(person.id), token_sha256: token.sha256() };
    link::keep(&mut tx, &new, at).await?;
    note(&mut tx, &admin, &person, "person.way_in").await?;
    tx.commit().await?;
    let url = purpose.url(&app.identity.site, &token);
    Ok((StatusCode::CREATED, Json(WayInView { url, expires_ms: to_ms(at.plus(purpose.lifetime())) })))
}

async fn person_at_this_machine(conn: &mut PgConnection, account: Uuid, admin: bool) -> Result<Person, ApiError> {
    let missing = || ApiError::not_found("account");
    if account::find_optional(conn, account).await?.is_none_or(|account| account.kind != "user") {
        return Err(missing());
    }
    let email = read_email(&format!("{account}@{NOBODYS_HOST}"))?;
    let at = clock::now();
    let new = NewPerson { id: Uuid::now_v7(), account, email: Some(&email), password: None };
    person::create(conn, &new, at).await?;
    // Whoever has the administrator's token vouches for them.
    person::verify(conn, new.id, at).await?;
    person::set_admin(conn, new.id, admin).await?;
    person::find_by_account(conn, account).await?.ok_or_else(missing)
}

async fn note(conn: &mut PgConnection, admin: &Admin, person: &Person, action: &'static str) -> sqlx::Result<()> {
    let target = Some(person.id.to_string());
    audit::write(conn, &Deed { account: Some(person.account), actor: admin.actor(), action, target }).await
}

fn person_id(text: &str) -> Result<Uuid, ApiError> {
    text.parse().map_err(|_| unknown())
}

fn unknown() -> ApiError {
    ApiError::not_found("person")
}
