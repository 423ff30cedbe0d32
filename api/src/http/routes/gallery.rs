//! Routes of the gallery.

use axum::routing::{delete, get, patch, post};

use super::{Answer, Route, of};
use crate::http::{collections, gallery, keys, shared, shared_collections};

pub(super) fn table() -> Vec<Route> {
    let mut routes = vec![
        Route {
            query: gallery::LIST_QUERY,
            ..Route::get(
                "/api/v1/images",
                get(gallery::list),
                "Lists your pictures, newest first",
                Answer::Json(of::<gallery::ImagePage>),
            )
        },
        Route::post(
            "/api/v1/images/bulk",
            post(gallery::bulk),
            "Does one thing to many pictures, all or none",
            of::<gallery::Bulk>,
        )
        .gives(200, Answer::Json(of::<gallery::BulkDone>)),
        Route::get(
            "/api/v1/images/{id}",
            get(gallery::read),
            "Shows a picture's facts and settings",
            Answer::Json(of::<gallery::ImageView>),
        ),
        Route::patch(
            "/api/v1/images/{id}",
            patch(gallery::patch),
            "Stars a picture, shares it, or says what collections it is in",
            of::<gallery::ImagePatch>,
        )
        .gives(200, Answer::Json(of::<gallery::ImageView>)),
        Route::delete(
            "/api/v1/images/{id}",
            delete(gallery::delete),
            "Deletes a picture; it can be restored for a minute",
        ),
        Route::picture("/api/v1/images/{id}/file", get(gallery::file)),
        Route::get(
            "/api/v1/collections",
            get(collections::list),
            "Lists your collections, oldest first",
            Answer::Json(of::<collections::CollectionList>),
        ),
        Route::post("/api/v1/collections", post(collections::create), "Makes a collection", of::<keys::Named>)
            .gives(201, Answer::Json(of::<collections::CollectionView>)),
        Route::get(
            "/api/v1/collections/{id}",
            get(collections::read),
            "Shows a collection",
            Answer::Json(of::<collections::CollectionView>),
        ),
        Route::patch(
            "/api/v1/collections/{id}",
            patch(collections::patch),
            "Gives a collection another name, shares it, or takes its link back",
            of::<collections::CollectionPatch>,
        )
        .gives(200, Answer::Json(of::<collections::CollectionView>)),
        Route::delete(
            "/api/v1/collections/{id}",
            delete(collections::delete),
            "Deletes a collection, and none of its pictures",
        ),
    ];
    routes.extend(shared_routes());
    routes
}

/// What whoever has a link may do.
fn shared_routes() -> Vec<Route> {
    vec![
        Route::get(
            "/api/v1/shared/{token}",
            get(shared::read),
            "Shows a picture its owner shares by its link",
            Answer::Json(of::<shared::SharedView>),
        )
        .open(),
        Route::get(
            "/api/v1/shared/{token}/file",
            get(shared::file),
            "Sends a shared picture's file, without what is written in it",
            Answer::File,
        )
        .open(),
        Route {
            query: shared_collections::PAGE_QUERY,
            ..Route::get(
                "/api/v1/shared-collections/{token}",
                get(shared_collections::read),
                "Shows a collection its owner shares by its link: its pictures, newest first",
                Answer::Json(of::<shared_collections::SharedCollectionView>),
            )
            .open()
        },
        Route::get(
            "/api/v1/shared-collections/{token}/{picture}/file",
            get(shared_collections::file),
            "Sends a file of a shared collection, without what is written in it",
            Answer::File,
        )
        .open(),
    ]
}
