//! The routes of signing in.

use axum::routing::{delete, get, patch, post};

use super::{Access, Answer, Route};
use crate::http::openapi::of;
use crate::http::view::Me;
use crate::http::{account, clerk, link_page, links, oauth, privacy, sessions, sign_in};

pub(super) fn table() -> Vec<Route> {
    [sign_in_routes(), link_routes(), other_routes(), leaving()].into_iter().flatten().collect()
}

fn leaving() -> Vec<Route> {
    vec![
        Route::get(
            "/api/v1/me/export",
            get(privacy::export),
            "Gives you an archive of everything that is yours here",
            Answer::Archive,
        ),
        Route {
            access: Access::Session,
            body: Some(of::<privacy::Erasure>),
            ..Route::delete(
                "/api/v1/me",
                delete(privacy::erase),
                "Erases you: your account, pictures and prompts, and the credits that are left",
            )
            .gives(202, Answer::Empty)
        },
    ]
}

fn other_routes() -> Vec<Route> {
    vec![
        Route {
            query: &[("next", "string")],
            ..Route::get(
                "/api/v1/auth/oauth/{provider}/start",
                get(oauth::start),
                "Sends a browser to sign in with Google or GitHub",
                Answer::Redirect,
            )
            .gives(302, Answer::Redirect)
            .open()
        },
        Route {
            query: &[("code", "string"), ("state", "string"), ("error", "string")],
            ..Route::get(
                "/api/v1/auth/oauth/{provider}/callback",
                get(oauth::back),
                "Takes a browser that comes back from there",
                Answer::Redirect,
            )
            .gives(302, Answer::Redirect)
            .open()
        },
        Route::post(
            "/api/v1/auth/clerk/sessions",
            post(clerk::session),
            "Begins a session for who Clerk has signed in",
            of::<clerk::ClerkToken>,
        )
        .gives(200, Answer::Json(of::<Me>))
        .open(),
        Route::post(
            "/api/v1/auth/clerk/webhook",
            post(clerk::webhook),
            "Takes news of Clerk's users, signed by Svix",
            of::<serde_json::Value>,
        )
        .gives(204, Answer::Empty)
        .open(),
    ]
}

fn link_routes() -> Vec<Route> {
    let open = |path, handler, summary, body| Route::post(path, handler, summary, body).open();
    vec![
        open("/api/v1/auth/magic-links", post(links::ask_sign_in), "Sends a link that signs in", of::<links::Address>)
            .gives(202, Answer::Empty),
        open(
            "/api/v1/auth/magic-links/redeem",
            post(links::redeem_sign_in),
            "Signs in with the token of a link",
            of::<links::Redemption>,
        )
        .gives(200, Answer::Json(of::<Me>)),
        open(
            "/api/v1/auth/password-resets",
            post(links::ask_reset),
            "Sends a link to a new password",
            of::<links::Address>,
        )
        .gives(202, Answer::Empty),
        open(
            "/api/v1/auth/password-resets/redeem",
            post(links::redeem_reset),
            "Takes a new password and signs in",
            of::<links::Reset>,
        )
        .gives(200, Answer::Json(of::<Me>)),
        Route {
            access: Access::Session,
            body: None,
            ..open(
                "/api/v1/auth/verification",
                post(links::ask_verification),
                "Sends you a link that shows that your address is yours",
                of::<links::Redemption>,
            )
            .gives(202, Answer::Empty)
        },
        Route {
            access: Access::Session,
            ..open(
                "/api/v1/auth/verification/redeem",
                post(links::redeem_verification),
                "Shows that your address is yours",
                of::<links::Redemption>,
            )
            .gives(204, Answer::Empty)
        },
        Route::get("/auth/link", get(link_page::show), "The page that links of mails lead to", Answer::Page).open(),
        Route {
            access: Access::Session,
            ..Route::patch("/api/v1/me", patch(account::choose), "Keeps what you chose", of::<account::Choices>)
                .gives(200, Answer::Json(of::<Me>))
        },
    ]
}

fn sign_in_routes() -> Vec<Route> {
    let credentials = of::<sign_in::Credentials>;
    vec![
        Route::get(
            "/api/v1/auth/providers",
            get(sign_in::providers),
            "Says how one can sign in here",
            Answer::Json(of::<sign_in::Providers>),
        )
        .open(),
        Route::post(
            "/api/v1/auth/signup",
            post(sign_in::sign_up),
            "Makes an account and signs in",
            of::<sign_in::Newcomer>,
        )
        .gives(201, Answer::Json(of::<Me>))
        .open(),
        Route::post("/api/v1/auth/login", post(sign_in::sign_in), "Signs in with e-mail and password", credentials)
            .gives(200, Answer::Json(of::<Me>))
            .open(),
        Route {
            body: None,
            ..Route::post("/api/v1/auth/logout", post(sign_in::sign_out), "Signs this browser out", credentials)
                .gives(204, Answer::Empty)
                .open()
        },
        Route {
            access: Access::Session,
            ..Route::post(
                "/api/v1/auth/password",
                post(sign_in::change_password),
                "Changes your password and signs all other browsers out",
                of::<sign_in::PasswordChange>,
            )
            .gives(204, Answer::Empty)
        },
        Route {
            access: Access::Session,
            ..Route::get(
                "/api/v1/sessions",
                get(sessions::list),
                "Lists the browsers you are signed in with",
                Answer::Json(of::<sessions::SessionList>),
            )
        },
        Route {
            access: Access::Session,
            ..Route::delete("/api/v1/sessions/{id}", delete(sessions::end), "Signs a browser of yours out")
        },
    ]
}
