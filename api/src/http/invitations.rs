//! Invitations to organisations. With mail, the letter alone has the way in; without, whoever invites is shown it once.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tintype_types::ErrorCode;
use uuid::Uuid;

use super::auth::SignedIn;
use super::body;
use super::orgs::{OrgView, not_allowed, note, org_id, sees_to_members};
use super::sign_in::{read_email, slow_down};
use crate::clock;
use crate::error::ApiError;
use crate::identity::link::invitation_url;
use crate::identity::role::Role;
use crate::identity::token::Token;
use crate::mail::{self, Letter};
use crate::records::account;
use crate::records::org::{self, MEMBERS_MAX, NewInvitation};
use crate::state::App;

/// How long an invitation is open.
const LIFETIME: Duration = Duration::from_hours(7 * 24);

/// Who is invited as what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invite {
    /// Their e-mail address.
    #[schemars(length(min = 3, max = 254))]
    email: String,
    /// What they will be; not an owner.
    role: Role,
}

/// An invitation's token.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acceptance {
    /// What stands behind the `=` of the link.
    token: String,
}

/// An open invitation.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InvitationView {
    /// Its id.
    id: String,
    /// To whom it goes.
    email: String,
    /// What they will be.
    role: Role,
    /// When it was made, in milliseconds since 1970.
    created_ms: i64,
    /// When it ends.
    expires_ms: i64,
    /// The way in, shown this once, where this server sends no mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// A list of invitations.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct InvitationList {
    /// The newest first.
    data: Vec<InvitationView>,
}

/// Invites somebody.
pub(crate) async fn create(
    State(app): State<App>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    body::Json(body): body::Json,
) -> Result<(StatusCode, Json<InvitationView>), ApiError> {
    let Invite { email, role } = body::parse(body)?;
    let (account, email) = (org_id(&id)?, read_email(&email)?);
    let mine = sees_to_members(&app, account, signed_in).await?;
    if role == Role::Owner {
        return Err(ApiError::invalid("role", "nobody is invited as an owner; make a member one afterwards"));
    }
    if !mine.may_change(Role::Viewer, role) {
        return Err(not_allowed(mine));
    }
    let (id, at) = (Uuid::now_v7(), clock::now());
    slow_down(app.identity.throttle.mail(&email, at))?;
    let token = (!app.identity.mail).then(|| Token::draw(&mut rand::rng()));
    let token_sha256 = token.as_ref().map(Token::sha256);
    let (inviter, expires) = (signed_in.person, at.plus(LIFETIME));
    let new = NewInvitation { id, account, email: &email, role, token_sha256, inviter, expires };
    let mut tx = app.pool.begin().await?;
    org::lock(&mut tx, account).await?;
    if !org::invite(&mut tx, &new, at).await? {
        let message = format!("{MEMBERS_MAX} invitations are open, which is all there may be; take some back");
        return Err(ApiError::new(ErrorCode::PermissionDenied, message));
    }
    if app.identity.mail {
        mail::send(&mut tx, &Letter::Invitation { invitation: id }, at).await?;
    }
    note(&mut tx, signed_in, account, "invitation.create", Some(id)).await?;
    tx.commit().await?;
    app.lane_bell.ring();
    let view = InvitationView {
        id: id.to_string(),
        email: email.text().to_owned(),
        role,
        created_ms: clock::to_ms(at),
        expires_ms: clock::to_ms(expires),
        url: token.map(|token| invitation_url(&app.identity.site, &token)),
    };
    Ok((StatusCode::CREATED, Json(view)))
}

/// The open ones.
pub(crate) async fn list(
    State(app): State<App>,
    signed_in: SignedIn,
    Path(id): Path<String>,
) -> Result<Json<InvitationList>, ApiError> {
    let account = org_id(&id)?;
    sees_to_members(&app, account, signed_in).await?;
    let view = |found: org::Invitation| InvitationView {
        role: found.role(),
        id: found.id.to_string(),
        email: found.email,
        created_ms: found.created_ms,
        expires_ms: found.expires_ms,
        url: None,
    };
    let found = org::invitations(&app.pool, account, clock::now()).await?;
    Ok(Json(InvitationList { data: found.into_iter().map(view).collect() }))
}

/// Takes one back.
pub(crate) async fn withdraw(
    State(app): State<App>,
    signed_in: SignedIn,
    Path((id, invitation)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let account = org_id(&id)?;
    sees_to_members(&app, account, signed_in).await?;
    let unknown = || ApiError::not_found("invitation");
    let invitation: Uuid = invitation.parse().map_err(|_| unknown())?;
    let mut tx = app.pool.begin().await?;
    if !org::withdraw(&mut tx, account, invitation).await? {
        return Err(unknown());
    }
    note(&mut tx, signed_in, account, "invitation.withdraw", Some(invitation)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes whoever is signed in a member. Whoever is one already keeps their role.
pub(crate) async fn accept(
    State(app): State<App>,
    signed_in: SignedIn,
    body::Json(body): body::Json,
) -> Result<Json<OrgView>, ApiError> {
    let Acceptance { token } = body::parse(body)?;
    let ended =
        || ApiError::invalid("token", "this invitation has run out, was accepted or taken back; ask for another");
    let token = Token::parse(&token).ok_or_else(ended)?;
    let at = clock::now();
    let mut tx = app.pool.begin().await?;
    let invitation = org::accept(&mut tx, &token.sha256(), at).await?.ok_or_else(ended)?;
    org::lock(&mut tx, invitation.account).await?;
    let role = if let Some(role) = org::role(&mut *tx, invitation.account, signed_in.person).await? {
        role
    } else {
        if org::members(&mut *tx, invitation.account).await?.len() as i64 >= MEMBERS_MAX {
            let message = format!("the organisation has {MEMBERS_MAX} members, which is all there may be");
            return Err(ApiError::new(ErrorCode::PermissionDenied, message));
        }
        org::put_member(&mut tx, invitation.account, signed_in.person, invitation.role(), at).await?;
        invitation.role()
    };
    let org = account::find(&mut tx, invitation.account).await?;
    note(&mut tx, signed_in, invitation.account, "invitation.accept", Some(invitation.id)).await?;
    tx.commit().await?;
    Ok(Json(OrgView { id: org.id.to_string(), name: org.name, role }))
}
