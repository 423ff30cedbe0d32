//! Routes of webhooks.

use axum::routing::{delete, get, patch, post};

use super::{Answer, Route, of};
use crate::http::webhooks;

pub(super) fn table() -> Vec<Route> {
    vec![
        Route::get(
            "/api/v1/webhooks",
            get(webhooks::list),
            "Lists where you are told what happens to your jobs",
            Answer::Json(of::<webhooks::WebhookList>),
        ),
        Route::post(
            "/api/v1/webhooks",
            post(webhooks::create),
            "Makes a webhook; its secret is shown this once",
            of::<webhooks::NewWebhook>,
        )
        .gives(201, Answer::Json(of::<webhooks::WebhookSecret>)),
        Route::get(
            "/api/v1/webhooks/{id}",
            get(webhooks::read),
            "Shows a webhook",
            Answer::Json(of::<webhooks::WebhookView>),
        ),
        Route::patch(
            "/api/v1/webhooks/{id}",
            patch(webhooks::patch),
            "Changes a webhook, or switches it on or off",
            of::<webhooks::WebhookPatch>,
        )
        .gives(200, Answer::Json(of::<webhooks::WebhookView>)),
        Route::delete("/api/v1/webhooks/{id}", delete(webhooks::delete), "Deletes a webhook with its log"),
        Route::act(
            "/api/v1/webhooks/{id}/rotate",
            post(webhooks::rotate),
            "Gives a webhook a new secret; the old one signs too for a day",
        )
        .gives(200, Answer::Json(of::<webhooks::WebhookSecret>)),
        Route::act("/api/v1/webhooks/{id}/test", post(webhooks::test), "Tells a webhook something, to try it")
            .gives(202, Answer::Empty),
        Route {
            query: &[("cursor", "string"), ("limit", "integer")],
            ..Route::get(
                "/api/v1/webhooks/{id}/deliveries",
                get(webhooks::deliveries),
                "Lists what a webhook was told in the last 30 days, newest first",
                Answer::Json(of::<webhooks::DeliveryPage>),
            )
        },
        Route::act(
            "/api/v1/webhooks/{id}/deliveries/{delivery}/replay",
            post(webhooks::replay),
            "Tells a webhook the same thing again",
        )
        .gives(202, Answer::Empty),
    ]
}
