//! The routes a page leans on before anything is asked for and while it is made: models, one stream for everything.

use axum::routing::get;

use super::{Answer, Route};
use crate::http::openapi::of;
use crate::http::{gallery, live, models, studio_settings};

pub(super) fn table() -> Vec<Route> {
    vec![
        Route {
            query: gallery::LIST_QUERY,
            ..Route::get(
                "/api/v1/images/days",
                get(gallery::days),
                "Counts your pictures by day",
                Answer::Json(of::<gallery::Days>),
            )
        },
        Route::get(
            "/api/v1/events",
            get(live::stream),
            "Streams where all your jobs stand, and your credits",
            Answer::Events(of::<live::LiveEvent>),
        ),
        Route::get(
            "/api/v1/studio",
            get(studio_settings::show),
            "Says what the studio must know before anybody signs in",
            Answer::Json(of::<studio_settings::StudioSettings>),
        )
        .open(),
        Route::get("/api/v1/models", get(models::cards), "Lists the models' cards", Answer::Json(of::<models::Cards>)),
    ]
}
