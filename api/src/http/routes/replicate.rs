//! Routes of Replicate's dialect.

use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};

use super::{Answer, Route, Sent, of};
use crate::http::replicate::models::{self, Results};
use crate::http::replicate::view::Prediction;
use crate::http::replicate::{self, files, predictions, stream};

pub(super) fn table() -> Vec<Route> {
    [predictions(), the_rest()].into_iter().flatten().collect()
}

fn predictions() -> Vec<Route> {
    let make = "Makes a prediction, as Replicate's API does";
    let of_model = || post(predictions::create_of).layer(DefaultBodyLimit::max(predictions::BODY_BYTES_MAX));
    let create = post(predictions::create).layer(DefaultBodyLimit::max(predictions::BODY_BYTES_MAX));
    let asks = |route: Route| Route {
        headers: &["Idempotency-Key", "Prefer"],
        ..route.gives(201, Answer::Json(of::<Prediction>))
    };
    vec![
        asks(Route::post("/replicate/v1/predictions", create, make, of::<predictions::NewBody>)),
        asks(Route::post(
            "/replicate/v1/models/{owner}/{name}/predictions",
            of_model(),
            make,
            of::<predictions::NewBody>,
        )),
        asks(Route::post(
            "/replicate/v1/deployments/{owner}/{name}/predictions",
            of_model(),
            make,
            of::<predictions::NewBody>,
        )),
        Route {
            query: &[("cursor", "string")],
            ..Route::get(
                "/replicate/v1/predictions",
                get(predictions::list),
                "Lists your predictions, newest first",
                Answer::Json(of::<Results<Prediction>>),
            )
        },
        Route::get(
            "/replicate/v1/predictions/{id}",
            get(predictions::read),
            "Shows a prediction",
            Answer::Json(of::<Prediction>),
        ),
        Route::act("/replicate/v1/predictions/{id}/cancel", post(predictions::cancel), "Cancels a prediction")
            .gives(200, Answer::Json(of::<Prediction>)),
        Route {
            query: &[("token", "string")],
            ..Route::get(
                "/replicate/v1/predictions/{id}/stream",
                get(stream::stream),
                "Streams a prediction's pictures to whoever has its URL: `output` for each, then `done`",
                Answer::Events(of::<String>),
            )
            .open()
        },
    ]
}

fn the_rest() -> Vec<Route> {
    vec![
        Route::get(
            "/replicate/v1/models",
            get(models::list),
            "Lists the models, as Replicate's API does",
            Answer::Json(of::<Results<models::Model>>),
        ),
        Route::get(
            "/replicate/v1/models/{owner}/{name}",
            get(models::read),
            "Shows a model, as Replicate's API does",
            Answer::Json(of::<models::Model>),
        ),
        Route::get(
            "/replicate/v1/models/{owner}/{name}/versions",
            get(models::versions),
            "Lists a model's one version",
            Answer::Json(of::<Results<models::Version>>),
        ),
        Route::get(
            "/replicate/v1/models/{owner}/{name}/versions/{id}",
            get(models::one_version),
            "Shows a model's one version",
            Answer::Json(of::<models::Version>),
        ),
        Route {
            sent: Sent::Form,
            ..Route::post(
                "/replicate/v1/files",
                post(files::create).layer(DefaultBodyLimit::max(files::FORM_BYTES_MAX)),
                "Keeps a picture for inputs to name",
                of::<files::FileForm>,
            )
            .gives(201, Answer::Json(of::<files::File>))
        },
        Route::get(
            "/replicate/v1/files",
            get(files::list),
            "Lists your files, newest first",
            Answer::Json(of::<Results<files::File>>),
        ),
        Route::get("/replicate/v1/files/{id}", get(files::read), "Shows a file", Answer::Json(of::<files::File>)),
        Route::delete("/replicate/v1/files/{id}", delete(files::delete), "Deletes a file"),
        Route::get(
            "/replicate/v1/account",
            get(replicate::account),
            "Says who you are",
            Answer::Json(of::<replicate::Account>),
        ),
        Route::get(
            "/replicate/v1/webhooks/default/secret",
            get(replicate::secret),
            "Shows what webhooks of predictions are signed with",
            Answer::Json(of::<replicate::SigningSecret>),
        ),
    ]
}
