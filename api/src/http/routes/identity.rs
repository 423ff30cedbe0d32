//! The routes of signing in.

use axum::routing::{delete, get, post};

use super::{Access, Answer, Route};
use crate::http::openapi::of;
use crate::http::view::Me;
use crate::http::{sessions, sign_in};

pub(super) fn table() -> Vec<Route> {
    let credentials = of::<sign_in::Credentials>;
    vec![
        Route::get(
            "/api/v1/auth/providers",
            get(sign_in::providers),
            "Says how one can sign in here",
            Answer::Json(of::<sign_in::Providers>),
        )
        .open(),
        Route::post("/api/v1/auth/signup", post(sign_in::sign_up), "Makes an account and signs in", credentials)
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
