//! Organisations: made, acted for, and who is a member. Whoever is no member learns nothing, not even that there is one.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tintype_types::ErrorCode;
use uuid::Uuid;

use super::account;
use super::auth::SignedIn;
use super::body;
use super::keys::Named;
use super::view::Me;
use crate::clock;
use crate::error::ApiError;
use crate::identity::role::Role;
use crate::ledger::sql as ledger;
use crate::records::audit::{self, Actor, Deed};
use crate::records::org::{self, ORGS_MAX};
use crate::records::{person, session};
use crate::state::App;
use crate::tenancy;

/// A place in an organisation.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OrgView {
    /// The organisation's account.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
    /// What you are there.
    pub(super) role: Role,
}

/// A list of them.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OrgList {
    /// By name.
    data: Vec<OrgView>,
}

/// A member.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberView {
    /// The person's id.
    id: String,
    /// Their e-mail address.
    email: Option<String>,
    /// What they are here.
    role: Role,
    /// Since when, in milliseconds since 1970.
    created_ms: i64,
}

/// A list of members.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MemberList {
    /// The first first.
    data: Vec<MemberView>,
}

/// Another role for a member.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleBody {
    /// Which.
    role: Role,
}

/// The account to act for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Switch {
    /// An organisation's id, or that of one's own account.
    account: String,
}

/// Makes an organisation; whoever makes it owns it. It starts without credits.
pub(crate) async fn create(
    State(app): State<App>,
    signed_in: SignedIn,
    body::Json(body): body::Json,
) -> Result<(StatusCode, Json<OrgView>), ApiError> {
    let name = body::parse::<Named>(body)?.checked()?;
    let id = Uuid::now_v7();
    tenancy::also_as(id, open(&app, signed_in, id, &name)).await?;
    Ok((StatusCode::CREATED, Json(OrgView { id: id.to_string(), name, role: Role::Owner })))
}

async fn open(app: &App, signed_in: SignedIn, id: Uuid, name: &str) -> Result<(), ApiError> {
    let at = clock::now();
    let mut tx = app.pool.begin().await?;
    person::lock(&mut tx, signed_in.person).await?;
    if org::seats(&mut *tx, signed_in.person).await?.len() as i64 >= ORGS_MAX {
        let message = format!("you are in {ORGS_MAX} organisations, which is all there may be; leave one first");
        return Err(ApiError::new(ErrorCode::PermissionDenied, message));
    }
    org::create(&mut tx, id, name, signed_in.person, at).await?;
    ledger::open_account(&mut tx, id).await?;
    note(&mut tx, signed_in, id, "org.create", None).await?;
    Ok(tx.commit().await?)
}

/// The organisations of the caller's.
pub(crate) async fn list(State(app): State<App>, signed_in: SignedIn) -> Result<Json<OrgList>, ApiError> {
    let seats = org::seats(&app.pool, signed_in.person).await?;
    let view = |seat: org::Seat| OrgView { role: seat.role(), id: seat.account.to_string(), name: seat.name };
    Ok(Json(OrgList { data: seats.into_iter().map(view).collect() }))
}

/// Makes this browser act for another account of its person's.
pub(crate) async fn switch(
    State(app): State<App>,
    signed_in: SignedIn,
    body::Json(body): body::Json,
) -> Result<Json<Me>, ApiError> {
    let Switch { account } = body::parse(body)?;
    let wanted = org_id(&account)?;
    let session = signed_in.session.ok_or_else(|| {
        let message = "a token of Clerk's acts for the person's own account alone; sign in here to act for another";
        ApiError::new(ErrorCode::PermissionDenied, message)
    })?;
    let person = person::find(&app.pool, signed_in.person).await?;
    let other = (wanted != person.account).then_some(wanted);
    if other.is_some() {
        role_in(&app, wanted, signed_in).await?;
    }
    session::act_for(&app.pool, session, other).await?;
    Ok(Json(account::view(&mut *app.pool.reader().await?, wanted, Some(person)).await?))
}

/// The members.
pub(crate) async fn members(
    State(app): State<App>,
    signed_in: SignedIn,
    Path(id): Path<String>,
) -> Result<Json<MemberList>, ApiError> {
    let id = org_id(&id)?;
    role_in(&app, id, signed_in).await?;
    let view = |member: org::Member| MemberView {
        role: member.role(),
        id: member.person.to_string(),
        email: member.email,
        created_ms: member.created_ms,
    };
    Ok(Json(MemberList { data: org::members(&app.pool, id).await?.into_iter().map(view).collect() }))
}

/// Gives a member another role.
pub(crate) async fn change_member(
    State(app): State<App>,
    signed_in: SignedIn,
    Path((id, member)): Path<(String, String)>,
    body::Json(body): body::Json,
) -> Result<StatusCode, ApiError> {
    let RoleBody { role } = body::parse(body)?;
    let (id, member) = (org_id(&id)?, member_id(&member)?);
    role_in(&app, id, signed_in).await?;
    let mut tx = app.pool.begin().await?;
    let (mine, theirs) = roles_locked(&mut tx, id, signed_in, member).await?;
    if !mine.may_change(theirs, role) {
        return Err(not_allowed(mine));
    }
    keep_an_owner(&mut tx, id, member, role).await?;
    org::put_member(&mut tx, id, member, role, clock::now()).await?;
    note(&mut tx, signed_in, id, "member.change", Some(member)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a member; everybody may remove themselves.
pub(crate) async fn remove_member(
    State(app): State<App>,
    signed_in: SignedIn,
    Path((id, member)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let (id, member) = (org_id(&id)?, member_id(&member)?);
    role_in(&app, id, signed_in).await?;
    let mut tx = app.pool.begin().await?;
    let (mine, theirs) = roles_locked(&mut tx, id, signed_in, member).await?;
    if member != signed_in.person && !mine.may_change(theirs, Role::Viewer) {
        return Err(not_allowed(mine));
    }
    keep_an_owner(&mut tx, id, member, Role::Viewer).await?;
    org::remove_member(&mut tx, id, member).await?;
    note(&mut tx, signed_in, id, "member.remove", Some(member)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the caller is and what the member is, while nobody else changes members.
async fn roles_locked(
    conn: &mut PgConnection,
    id: Uuid,
    signed_in: SignedIn,
    member: Uuid,
) -> Result<(Role, Role), ApiError> {
    org::lock(conn, id).await?;
    let mine = org::role(&mut *conn, id, signed_in.person).await?.ok_or_else(unknown)?;
    let theirs = org::role(&mut *conn, id, member).await?;
    Ok((mine, theirs.ok_or_else(|| ApiError::not_found("member"))?))
}

/// An organisation without an owner is nobody's: its credits could not be reached any more.
async fn keep_an_owner(conn: &mut PgConnection, id: Uuid, member: Uuid, to: Role) -> Result<(), ApiError> {
    if to != Role::Owner && org::other_owners(conn, id, member).await? == 0 {
        let message = "an organisation has an owner; make somebody else one first";
        return Err(ApiError::new(ErrorCode::PermissionDenied, message));
    }
    Ok(())
}

/// What the caller is in an organisation; for whoever is nothing there is none.
pub(super) async fn role_in(app: &App, id: Uuid, signed_in: SignedIn) -> Result<Role, ApiError> {
    org::role(&app.pool, id, signed_in.person).await?.ok_or_else(unknown)
}

/// The same for those who see to members.
pub(super) async fn sees_to_members(app: &App, id: Uuid, signed_in: SignedIn) -> Result<Role, ApiError> {
    let role = role_in(app, id, signed_in).await?;
    if role.sees_to_members() { Ok(role) } else { Err(not_allowed(role)) }
}

pub(super) fn not_allowed(role: Role) -> ApiError {
    let message = format!("your role here is {}, which may not do this; ask an owner", role.as_str());
    ApiError::new(ErrorCode::PermissionDenied, message)
}

pub(super) fn org_id(text: &str) -> Result<Uuid, ApiError> {
    text.parse().map_err(|_| unknown())
}

fn member_id(text: &str) -> Result<Uuid, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("member"))
}

fn unknown() -> ApiError {
    ApiError::not_found("organisation")
}

/// Writes down what the caller did in an organisation.
pub(super) async fn note(
    conn: &mut PgConnection,
    signed_in: SignedIn,
    id: Uuid,
    action: &'static str,
    target: Option<Uuid>,
) -> sqlx::Result<()> {
    let target = target.map(|target| target.to_string());
    let deed = Deed { account: Some(id), actor: Actor::Person(signed_in.person), action, target };
    audit::write(conn, &deed).await
}
