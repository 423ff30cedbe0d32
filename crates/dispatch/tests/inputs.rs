//! Uploads for an API without a store: signed URLs under the inputs, deletion, and nothing beside them.

#![expect(clippy::unwrap_used, reason = "a test's helpers stop the test like the test itself does")]

mod rig;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use rig::{READER_TOKEN, Rig, WORKER_TOKEN};
use tower::ServiceExt as _;

async fn call(rig: &Rig, method: Method, path: &str, token: &str) -> Response {
    let request = Request::builder().method(method).uri(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
    rig.dispatch.read_router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn follow(rig: &Rig, method: Method, answer: &Response, body: &'static str) -> Response {
    let url = answer.headers()[header::LOCATION].to_str().unwrap();
    let path = url.strip_prefix("http://store.test").unwrap();
    let request = Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
    rig.store.router().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn an_upload_goes_where_the_signature_says_and_can_be_deleted() {
    let rig = Rig::leading().await;
    let path = "/dispatch/v1/inputs/acc/one.png";
    let put = call(&rig, Method::PUT, path, READER_TOKEN).await;
    assert_eq!(put.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(follow(&rig, Method::PUT, &put, "bytes").await.status(), StatusCode::OK);
    assert_eq!(rig.store.read("inputs/acc/one.png").await.unwrap(), "bytes");

    let get = call(&rig, Method::GET, path, READER_TOKEN).await;
    assert_eq!(get.status(), StatusCode::FOUND);
    assert_eq!(follow(&rig, Method::GET, &get, "").await.status(), StatusCode::OK);
    assert_eq!(follow(&rig, Method::PUT, &get, "other").await.status(), StatusCode::FORBIDDEN, "a GET is no PUT");

    assert_eq!(call(&rig, Method::DELETE, path, READER_TOKEN).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(rig.store.stat("inputs/acc/one.png").await.unwrap(), None);
    assert_eq!(call(&rig, Method::DELETE, path, READER_TOKEN).await.status(), StatusCode::NO_CONTENT, "twice is fine");
}

#[tokio::test]
async fn strangers_and_keys_outside_the_inputs_are_refused() {
    let rig = Rig::leading().await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let answer = call(&rig, method.clone(), "/dispatch/v1/inputs/acc/one.png", WORKER_TOKEN).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        for name in ["../jobs/a/1/0.png", "acc//one.png", ".drafts/x", "acc/%2e%2e/one.png"] {
            let answer = call(&rig, method.clone(), &format!("/dispatch/v1/inputs/{name}"), READER_TOKEN).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{method} {name}");
        }
    }
}

#[tokio::test]
async fn a_picture_that_a_job_made_is_read_and_deleted_by_its_key_and_never_put() {
    let rig = Rig::leading().await;
    rig.store.put("jobs/a/1/0.png", "bytes".into()).await.unwrap();
    let path = "/dispatch/v1/outputs/a/1/0.png";
    let get = call(&rig, Method::GET, path, READER_TOKEN).await;
    assert_eq!(follow(&rig, Method::GET, &get, "").await.status(), StatusCode::OK);
    assert_eq!(call(&rig, Method::PUT, path, READER_TOKEN).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(call(&rig, method.clone(), path, WORKER_TOKEN).await.status(), StatusCode::UNAUTHORIZED);
        let outside = call(&rig, method, "/dispatch/v1/outputs/../inputs/acc/one.png", READER_TOKEN).await;
        assert_eq!(outside.status(), StatusCode::BAD_REQUEST);
    }
    assert_eq!(call(&rig, Method::DELETE, path, READER_TOKEN).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(rig.store.stat("jobs/a/1/0.png").await.unwrap(), None);
}
