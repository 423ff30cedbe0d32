//! Routes about the service: quotes, usage, status, and the background lanes for the administrator.

use axum::routing::{delete, get, post};
use tintype_types::GenerationRequest;

use super::{Access, Answer, Route, of};
use crate::http::{cluster, history, lanes, prompts, quotes, status, stripe_events, usage};

pub(super) fn table() -> Vec<Route> {
    let mut routes = everybodys();
    routes.extend(administrators());
    routes
}

fn everybodys() -> Vec<Route> {
    vec![
        Route::post(
            "/api/v1/quotes",
            post(quotes::create),
            "Says what a request would cost and how long it would take",
            of::<GenerationRequest>,
        )
        .gives(200, Answer::Json(of::<quotes::Quote>)),
        Route::post(
            "/api/v1/prompts/enhance",
            post(prompts::enhance),
            "Has a prompt written out by a language model",
            of::<prompts::Draft>,
        )
        .gives(200, Answer::Json(of::<prompts::Enhanced>)),
        Route::get(
            "/api/v1/flags",
            get(prompts::flags),
            "Says which features your account has",
            Answer::Json(of::<prompts::FlagList>),
        ),
        Route {
            query: &[("from", "integer"), ("to", "integer")],
            ..Route::get(
                "/api/v1/usage",
                get(usage::read),
                "Shows what you used, by day, model and key",
                Answer::Json(of::<usage::Usage>),
            )
        },
        Route::get(
            "/api/v1/status",
            get(status::read),
            "Says how the service is",
            Answer::Json(of::<status::ServiceStatus>),
        )
        .open(),
    ]
}

fn administrators() -> Vec<Route> {
    vec![
        admin(Route::get(
            "/api/v1/admin/cluster",
            get(cluster::show),
            "Shows queues, GPUs and why jobs wait",
            Answer::Json(of::<cluster::ClusterView>),
        )),
        Route {
            query: &[("by", "string")],
            ..admin(Route::get(
                "/api/v1/admin/history",
                get(history::show),
                "Shows how jobs ended, by the hour or the day",
                Answer::Json(of::<history::HistoryView>),
            ))
        },
        admin(Route::get(
            "/api/v1/admin/lanes",
            get(lanes::standings),
            "Shows how the background lanes stand",
            Answer::Json(of::<lanes::LaneList>),
        )),
        Route {
            query: lanes::LIST_QUERY,
            ..admin(Route::get(
                "/api/v1/admin/errands",
                get(lanes::list),
                "Lists errands of the background lanes, newest first",
                Answer::Json(of::<lanes::ErrandPage>),
            ))
        },
        admin(Route::act(
            "/api/v1/admin/errands/{id}/retry",
            post(lanes::retry),
            "Has an errand that was given up tried again",
        )),
        admin(Route::delete(
            "/api/v1/admin/errands/{id}",
            delete(lanes::discard),
            "Throws an errand that was given up away",
        )),
        Route {
            query: stripe_events::LIST_QUERY,
            ..admin(Route::get(
                "/api/v1/admin/stripe-events",
                get(stripe_events::list),
                "Lists events of Stripe's that could not be applied, oldest first",
                Answer::Json(of::<stripe_events::StripeEventPage>),
            ))
        },
        admin(Route::act(
            "/api/v1/admin/stripe-events/{id}/replay",
            post(stripe_events::replay),
            "Has an event of Stripe's that was given up applied again",
        )),
    ]
}

fn admin(route: Route) -> Route {
    Route { access: Access::Admin, ..route }
}
