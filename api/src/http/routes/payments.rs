//! Routes of the wallet and of payments.

use axum::routing::{delete, get, post, put};

use super::super::openapi::of;
use super::super::view::Credits;
use super::super::{admin_payments, hooks, payments, wallet};
use super::{Access, Answer, Route};

pub(super) fn table() -> Vec<Route> {
    [wallets(), buying(), administering()].into_iter().flatten().collect()
}

fn wallets() -> Vec<Route> {
    vec![
        Route::get(
            "/api/v1/wallet",
            get(wallet::show),
            "Shows your credits, by where they come from",
            Answer::Json(of::<wallet::Wallet>),
        ),
        Route {
            query: &[("cursor", "string"), ("limit", "integer")],
            ..Route::get(
                "/api/v1/wallet/entries",
                get(wallet::entries),
                "Lists your payments and jobs, newest first",
                Answer::Json(of::<wallet::WalletPage>),
            )
        },
        Route::get("/api/v1/plans", get(wallet::plans), "Shows what can be bought", Answer::Json(of::<wallet::Plans>))
            .open(),
    ]
}

fn buying() -> Vec<Route> {
    let checkout = "Opens a page on which a pack or a subscription is bought";
    let alarm = "Has you told when much was spent in a month, or few credits are left";
    let top_up = "Buys credits whenever they run low, with the card that was kept";
    vec![
        Route::post("/api/v1/wallet/checkout", post(payments::checkout), checkout, of::<payments::Buy>)
            .gives(200, Answer::Json(of::<payments::SentTo>)),
        Route {
            body: None,
            ..Route::post(
                "/api/v1/wallet/portal",
                post(payments::portal),
                "Opens the page with your invoices, cards and subscription",
                of::<()>,
            )
            .gives(200, Answer::Json(of::<payments::SentTo>))
        },
        Route::get(
            "/api/v1/wallet/payments",
            get(payments::list),
            "Lists your payments, newest first",
            Answer::Json(of::<payments::PaymentList>),
        ),
        Route {
            method: "PUT",
            ..Route::post("/api/v1/wallet/top-up", put(payments::set_top_up), top_up, of::<payments::TopUpRule>)
                .gives(200, Answer::Json(of::<wallet::Wallet>))
        },
        Route::delete("/api/v1/wallet/top-up", delete(payments::remove_top_up), "Ends topping up"),
        Route {
            method: "PUT",
            ..Route::post("/api/v1/wallet/alarm", put(wallet::set_alarm), alarm, of::<wallet::AlarmBody>)
                .gives(200, Answer::Json(of::<wallet::Wallet>))
        },
        Route::delete("/api/v1/wallet/alarm", delete(wallet::remove_alarm), "Ends telling you of your credits"),
        Route::post(
            "/api/v1/wallet/promo",
            post(payments::redeem),
            "Turns a code into credits",
            of::<payments::Redeem>,
        )
        .gives(200, Answer::Json(of::<wallet::Wallet>)),
        Route::post(
            "/hooks/stripe",
            post(hooks::stripe),
            "Takes Stripe's events, signed with the endpoint's secret",
            of::<serde_json::Value>,
        )
        .gives(200, Answer::Empty)
        .open(),
    ]
}

fn administering() -> Vec<Route> {
    let give_back = "Gives money back; the credits go when that is done";
    let routes = vec![
        Route::post(
            "/api/v1/promo-codes",
            post(admin_payments::create_promo),
            "Makes a code that brings credits",
            of::<admin_payments::NewPromo>,
        )
        .gives(201, Answer::Json(of::<admin_payments::Promo>)),
        Route::get(
            "/api/v1/payments/{id}",
            get(admin_payments::show),
            "Shows a payment, what was charged for it and what was given back",
            Answer::Json(of::<admin_payments::AdminPayment>),
        ),
        Route::post(
            "/api/v1/payments/{id}/refund",
            post(admin_payments::give_back),
            give_back,
            of::<admin_payments::GiveBack>,
        )
        .gives(202, Answer::Json(of::<admin_payments::RefundView>)),
        Route {
            body: None,
            ..Route::post(
                "/api/v1/accounts/{id}/resume",
                post(admin_payments::resume),
                "Lets an account go on whose disputes were lost",
                of::<()>,
            )
            .gives(200, Answer::Json(of::<Credits>))
        },
    ];
    routes.into_iter().map(|route| Route { access: Access::Admin, ..route }).collect()
}
