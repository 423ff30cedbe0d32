//! The routes of organisations, of what was done, and of the administrator's people.

use axum::routing::{delete, get, patch, post, put};

use super::{Access, Answer, Route};
use crate::http::openapi::of;
use crate::http::view::Me;
use crate::http::{admin_users, audit, invitations, orgs};

pub(super) fn table() -> Vec<Route> {
    [org_routes(), invitation_routes(), admin_routes()].into_iter().flatten().collect()
}

fn signed_in(route: Route) -> Route {
    Route { access: Access::Session, ..route }
}

fn admin(route: Route) -> Route {
    Route { access: Access::Admin, ..route }
}

fn org_routes() -> Vec<Route> {
    vec![
        signed_in(
            Route::post("/api/v1/orgs", post(orgs::create), "Makes an organisation", of::<crate::http::keys::Named>)
                .gives(201, Answer::Json(of::<orgs::OrgView>)),
        ),
        signed_in(Route::get(
            "/api/v1/orgs",
            get(orgs::list),
            "Lists your organisations",
            Answer::Json(of::<orgs::OrgList>),
        )),
        signed_in(
            Route::put(
                "/api/v1/me/account",
                put(orgs::switch),
                "Acts for another account of yours",
                of::<orgs::Switch>,
            )
            .gives(200, Answer::Json(of::<Me>)),
        ),
        signed_in(Route::get(
            "/api/v1/orgs/{id}/members",
            get(orgs::members),
            "Lists an organisation's members",
            Answer::Json(of::<orgs::MemberList>),
        )),
        signed_in(
            Route::patch(
                "/api/v1/orgs/{id}/members/{member}",
                patch(orgs::change_member),
                "Gives a member another role",
                of::<orgs::RoleBody>,
            )
            .gives(204, Answer::Empty),
        ),
        signed_in(Route::delete("/api/v1/orgs/{id}/members/{member}", delete(orgs::remove_member), "Removes a member")),
        Route {
            query: &[("before", "string")],
            ..Route::get(
                "/api/v1/audit",
                get(audit::own),
                "Shows what was done in your account, newest first",
                Answer::Json(of::<audit::EventPage>),
            )
        },
    ]
}

fn invitation_routes() -> Vec<Route> {
    vec![
        signed_in(
            Route::post(
                "/api/v1/orgs/{id}/invitations",
                post(invitations::create),
                "Invites somebody to an organisation",
                of::<invitations::Invite>,
            )
            .gives(201, Answer::Json(of::<invitations::InvitationView>)),
        ),
        signed_in(Route::get(
            "/api/v1/orgs/{id}/invitations",
            get(invitations::list),
            "Lists an organisation's open invitations",
            Answer::Json(of::<invitations::InvitationList>),
        )),
        signed_in(Route::delete(
            "/api/v1/orgs/{id}/invitations/{invitation}",
            delete(invitations::withdraw),
            "Takes an invitation back",
        )),
        signed_in(
            Route::post(
                "/api/v1/invitations/accept",
                post(invitations::accept),
                "Accepts an invitation",
                of::<invitations::Acceptance>,
            )
            .gives(200, Answer::Json(of::<orgs::OrgView>)),
        ),
    ]
}

fn admin_routes() -> Vec<Route> {
    vec![
        admin(Route {
            query: &[("email", "string"), ("before", "string")],
            ..Route::get(
                "/api/v1/admin/people",
                get(admin_users::list),
                "Lists people, newest first",
                Answer::Json(of::<admin_users::PersonPage>),
            )
        }),
        admin(
            Route::patch(
                "/api/v1/admin/people/{id}",
                patch(admin_users::change),
                "Shuts somebody out, or makes them an administrator",
                of::<admin_users::PersonChange>,
            )
            .gives(200, Answer::Json(of::<admin_users::PersonView>)),
        ),
        admin(Route::delete(
            "/api/v1/admin/people/{id}/sessions",
            delete(admin_users::end_sessions),
            "Signs every browser of somebody's out",
        )),
        admin(
            Route::post(
                "/api/v1/accounts/{id}/sign-in-links",
                post(admin_users::way_in),
                "Makes a link that signs in to an account, once",
                of::<admin_users::WayIn>,
            )
            .gives(201, Answer::Json(of::<admin_users::WayInView>)),
        ),
        admin(Route {
            query: &[("before", "string")],
            ..Route::get(
                "/api/v1/admin/audit",
                get(audit::all),
                "Shows what was done on this server, newest first",
                Answer::Json(of::<audit::EventPage>),
            )
        }),
    ]
}
