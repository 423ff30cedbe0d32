//! The one table of routes: the router is built from it, and the OpenAPI document is printed from it.

mod gallery;
mod identity;
mod orgs;
mod payments;
mod replicate;
mod service;
mod studio;
mod webhooks;

use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, delete, get, patch, post};
use tintype_types::JobEvent;

use super::openapi::{self, SchemaOf, of};
use super::view::{JobPage, JobView, KeyList, Me, NewKey, NewUser};
use super::{account, assets, batches, edits, events, health, images, jobs, keys, ledger, models, openai, users};
use crate::state::App;

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody.
    Anybody,
    /// Who has an API key, or is signed in.
    Key,
    /// Who is signed in.
    Session,
    /// Who has the administrator's token.
    Admin,
}

/// What a good answer holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// One object.
    Json(SchemaOf),
    /// A stream of objects.
    Events(SchemaOf),
    /// The way to a picture.
    Redirect,
    /// A picture's file.
    File,
    /// Nothing.
    Empty,
    /// Text.
    Text,
    /// A page for people.
    Page,
    /// A tar archive.
    Archive,
}

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// One object.
    Json,
    /// A form with files in it.
    Form,
    /// The bytes of a picture.
    Picture,
}

/// A route.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) handler: MethodRouter<App>,
    pub(crate) summary: &'static str,
    pub(crate) access: Access,
    pub(crate) body: Option<SchemaOf>,
    pub(crate) sent: Sent,
    pub(crate) status: u16,
    /// Another good status with the same answer.
    pub(crate) also: Option<u16>,
    pub(crate) answer: Answer,
    /// Name and JSON type of each.
    pub(crate) query: &'static [(&'static str, &'static str)],
    pub(crate) headers: &'static [&'static str],
}

/// Every route of ours.
pub(crate) fn table() -> Vec<Route> {
    [
        openai_dialect(),
        jobs_and_models(),
        batch_routes(),
        gallery::table(),
        studio::table(),
        assets_routes(),
        accounts(),
        identity::table(),
        orgs::table(),
        payments::table(),
        service::table(),
        webhooks::table(),
        replicate::table(),
        operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn openai_dialect() -> Vec<Route> {
    let generate = "Makes pictures, as OpenAI's Images API does";
    let list_models = "Lists the models, as OpenAI's API does";
    vec![
        asks(
            Route::post("/v1/images/generations", post(images::generate), generate, of::<openai::ImagesBody>)
                .gives(200, Answer::Json(of::<images::Images>)),
        ),
        asks(
            Route::post("/openai/v1/images/generations", post(images::generate), generate, of::<openai::ImagesBody>)
                .gives(200, Answer::Json(of::<images::Images>)),
        ),
        asks(edits("/v1/images/edits")),
        asks(edits("/openai/v1/images/edits")),
        Route::get("/v1/models", get(models::list), list_models, Answer::Json(of::<models::ModelList>)),
        Route::get("/openai/v1/models", get(models::list), list_models, Answer::Json(of::<models::ModelList>)),
    ]
}

fn batch_routes() -> Vec<Route> {
    let limit = || DefaultBodyLimit::max(batches::BODY_BYTES_MAX);
    let view = || Answer::Json(of::<batches::BatchView>);
    vec![
        Route {
            headers: &["Idempotency-Key"],
            ..Route::post(
                "/api/v1/batches",
                post(batches::create).layer(limit()),
                "Makes several jobs, all or none, and answers at once",
                of::<batches::BatchBody>,
            )
            .gives(202, view())
        },
        Route::post(
            "/api/v1/batches/quotes",
            post(batches::quote).layer(limit()),
            "Says what a batch would cost",
            of::<batches::BatchBody>,
        )
        .gives(200, Answer::Json(of::<batches::BatchQuote>)),
        Route::get("/api/v1/batches/{id}", get(batches::read), "Shows a batch and its jobs", view()),
        Route {
            // All of it has ended already.
            also: Some(200),
            ..Route::delete("/api/v1/batches/{id}", delete(batches::cancel), "Cancels what of a batch has not ended")
                .gives(202, view())
        },
        Route::get(
            "/api/v1/batches/{id}/events",
            get(batches::events),
            "Streams where a batch's jobs stand until all have ended",
            Answer::Events(of::<JobEvent>),
        ),
    ]
}

fn jobs_and_models() -> Vec<Route> {
    vec![
        Route {
            headers: &["Idempotency-Key"],
            ..Route::post("/api/v1/jobs", post(jobs::create), "Makes a job and answers at once", of::<jobs::JobBody>)
                .gives(202, Answer::Json(of::<JobView>))
        },
        Route {
            query: &[("limit", "integer"), ("before", "string")],
            ..Route::get("/api/v1/jobs", get(jobs::list), "Lists your jobs, newest first", Answer::Json(of::<JobPage>))
        },
        Route::get("/api/v1/jobs/{id}", get(jobs::read), "Shows a job", Answer::Json(of::<JobView>)),
        Route {
            // A job that has ended already.
            also: Some(200),
            ..Route::delete("/api/v1/jobs/{id}", delete(jobs::cancel), "Cancels a job")
                .gives(202, Answer::Json(of::<JobView>))
        },
        Route::get(
            "/api/v1/jobs/{id}/events",
            get(events::stream),
            "Streams where a job stands until it ends",
            Answer::Events(of::<JobEvent>),
        ),
        Route::picture("/api/v1/jobs/{id}/images/{n}", get(jobs::image)),
    ]
}

fn assets_routes() -> Vec<Route> {
    vec![
        Route {
            sent: Sent::Picture,
            ..Route::post(
                "/api/v1/assets",
                post(assets::create),
                "Keeps a picture for requests to name: a PNG, JPEG or WebP file as the body",
                of::<assets::PictureFile>,
            )
            .gives(201, Answer::Json(of::<assets::AssetView>))
        },
        Route {
            query: &[("limit", "integer"), ("before", "string")],
            ..Route::get(
                "/api/v1/assets",
                get(assets::list),
                "Lists your uploaded pictures, newest first",
                Answer::Json(of::<assets::AssetPage>),
            )
        },
        Route::get(
            "/api/v1/assets/{id}",
            get(assets::read),
            "Shows an uploaded picture's facts",
            Answer::Json(of::<assets::AssetView>),
        ),
        Route::picture("/api/v1/assets/{id}/file", get(assets::file)),
        Route::delete("/api/v1/assets/{id}", delete(assets::delete), "Deletes an uploaded picture"),
    ]
}

fn accounts() -> Vec<Route> {
    vec![
        Route::get("/api/v1/me", get(account::me), "Shows your account and credits", Answer::Json(of::<Me>)),
        Route {
            query: &[("after", "integer")],
            ..Route::get(
                "/api/v1/ledger",
                get(ledger::own),
                "Shows your book of credits, oldest first",
                Answer::Json(of::<ledger::LedgerPage>),
            )
        },
        Route {
            access: Access::Admin,
            query: &[("after", "integer")],
            ..Route::get(
                "/api/v1/accounts/{id}/ledger",
                get(ledger::of_account),
                "Shows an account's book of credits",
                Answer::Json(of::<ledger::LedgerPage>),
            )
        },
        Route {
            access: Access::Admin,
            ..Route::post(
                "/api/v1/accounts/{id}/grants",
                post(ledger::grant),
                "Gives credits, once a reference",
                of::<ledger::Grant>,
            )
            .gives(200, Answer::Json(of::<ledger::Granted>))
        },
        Route {
            access: Access::Admin,
            query: &[("after", "string")],
            ..Route::get(
                "/api/v1/ledger/verification",
                get(ledger::verify),
                "Reads books again from their first transaction",
                Answer::Json(of::<ledger::Verification>),
            )
        },
        Route::post("/api/v1/keys", post(keys::create), "Makes an API key", of::<keys::KeyBody>)
            .gives(201, Answer::Json(of::<NewKey>)),
        Route::get("/api/v1/keys", get(keys::list), "Lists your API keys", Answer::Json(of::<KeyList>)),
        Route::delete("/api/v1/keys/{id}", delete(keys::revoke), "Revokes an API key"),
        Route::patch(
            "/api/v1/keys/{id}",
            patch(keys::set_budget),
            "Gives an API key another budget",
            of::<keys::Budget>,
        )
        .gives(204, Answer::Empty),
        Route {
            access: Access::Admin,
            ..Route::post("/api/v1/users", post(users::create), "Makes a user with ten free credits", of::<keys::Named>)
                .gives(201, Answer::Json(of::<NewUser>))
        },
    ]
}

fn operations() -> Vec<Route> {
    vec![
        Route::get("/healthz", get(health::healthz), "Says that the process serves", Answer::Text).open(),
        Route::get("/readyz", get(health::readyz), "Says whether jobs can be taken", Answer::Text).open(),
        Route::get("/metrics", get(health::metrics), "Numbers for Prometheus", Answer::Text).open(),
        Route::get("/openapi.json", get(openapi::serve), "This document", Answer::Json(of::<serde_json::Value>)).open(),
    ]
}

fn edits(path: &'static str) -> Route {
    let handler = post(edits::edit).layer(DefaultBodyLimit::max(edits::FORM_BYTES_MAX));
    let summary = "Changes a picture, as OpenAI's Images API does";
    let made = Route::post(path, handler, summary, of::<edits::EditForm>);
    Route { sent: Sent::Form, ..made.gives(200, Answer::Json(of::<images::Images>)) }
}

/// What every way of asking for pictures takes beside its body.
fn asks(route: Route) -> Route {
    Route { headers: &["Idempotency-Key", "Prefer"], ..route }
}

impl Route {
    fn new(method: &'static str, path: &'static str, handler: MethodRouter<App>, summary: &'static str) -> Self {
        Self {
            method,
            path,
            handler,
            summary,
            access: Access::Key,
            body: None,
            sent: Sent::Json,
            status: 200,
            also: None,
            answer: Answer::Empty,
            query: &[],
            headers: &[],
        }
    }

    fn get(path: &'static str, handler: MethodRouter<App>, summary: &'static str, answer: Answer) -> Self {
        Self { answer, ..Self::new("GET", path, handler, summary) }
    }

    fn picture(path: &'static str, handler: MethodRouter<App>) -> Self {
        let summary = "Sends you on to a picture's file, or the file itself with `inline=true`";
        let query = &[("inline", "boolean")];
        Self { query, ..Self::get(path, handler, summary, Answer::Redirect).gives(302, Answer::Redirect) }
    }

    fn post(path: &'static str, handler: MethodRouter<App>, summary: &'static str, body: SchemaOf) -> Self {
        Self { body: Some(body), ..Self::new("POST", path, handler, summary) }
    }

    fn patch(path: &'static str, handler: MethodRouter<App>, summary: &'static str, body: SchemaOf) -> Self {
        Self { body: Some(body), ..Self::new("PATCH", path, handler, summary) }
    }

    /// A POST that needs no body and answers nothing.
    fn act(path: &'static str, handler: MethodRouter<App>, summary: &'static str) -> Self {
        Self { status: 204, ..Self::new("POST", path, handler, summary) }
    }

    fn put(path: &'static str, handler: MethodRouter<App>, summary: &'static str, body: SchemaOf) -> Self {
        Self { body: Some(body), ..Self::new("PUT", path, handler, summary) }
    }

    fn delete(path: &'static str, handler: MethodRouter<App>, summary: &'static str) -> Self {
        Self { status: 204, ..Self::new("DELETE", path, handler, summary) }
    }

    fn gives(self, status: u16, answer: Answer) -> Self {
        Self { status, answer, ..self }
    }

    fn open(self) -> Self {
        Self { access: Access::Anybody, ..self }
    }
}
