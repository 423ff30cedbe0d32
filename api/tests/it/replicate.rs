//! Replicate's dialect over real HTTP. Their own clients are driven in `clients`; here is what those do not show.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rig::{PRICE, Reply, Rig, User, until};
use crate::worker::{client, picture};

const PREDICTIONS: &str = "/replicate/v1/predictions";

async fn predict(user: &User, headers: &[(&'static str, &str)], body: Value) -> Reply {
    user.send(Method::POST, PREDICTIONS, headers, Some(body)).await
}

fn body(input: Value) -> Value {
    json!({ "version": "tintype/shapes", "input": input })
}

/// What a prediction's stream says to one who has its URL and no key.
async fn events(user: &User, id: &str, last: Option<&str>) -> String {
    let shown = user.get(&format!("{PREDICTIONS}/{id}")).await.body;
    let mut request = client().get(shown["urls"]["stream"].as_str().unwrap());
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    request.send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_prediction_is_a_job_in_their_words() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let input = json!({ "prompt": "a red circle", "num_outputs": 2, "seed": 5, "refine": "no" });
    let made = predict(&user, &[], body(input.clone())).await;
    assert_eq!((made.status, &made.body["status"]), (StatusCode::CREATED, &json!("starting")), "{}", made.body);
    assert_eq!((&made.body["input"], &made.body["output"]), (&input, &Value::Null));
    assert!(made.body["logs"].as_str().unwrap().contains("refine"), "what is not honoured is said");
    let id = made.body["id"].as_str().unwrap();
    assert_eq!(made.body["urls"]["get"], format!("{}{PREDICTIONS}/{id}", rig.url));
    rig.worker("w1").work().await;
    user.job_in(id, "Complete").await;
    let done = user.get(&format!("{PREDICTIONS}/{id}")).await.body;
    assert_eq!((&done["status"], done["output"].as_array().map(Vec::len)), (&json!("succeeded"), Some(2)), "{done}");
    assert!(done["completed_at"].as_str().unwrap().ends_with('Z') && done["metrics"]["predict_time"] == 0.005);
    let picture = client().get(done["output"][1].as_str().unwrap()).send().await.unwrap();
    assert_eq!(picture.headers()["content-type"], "image/png");

    let stream = events(&user, id, None).await;
    let names: Vec<_> = stream.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(names, ["output", "output", "done"], "{stream}");
    let first = stream.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let rest = events(&user, id, Some(first)).await;
    assert_eq!(rest.matches("event: output").count(), 1, "who comes back gets the rest: {rest}");

    for token in ["", "?token=", "?token=00000000000000000000000000000000"] {
        let closed = user.get(&format!("{PREDICTIONS}/{id}/stream{token}")).await;
        assert_eq!(closed.error(), (404, "not_found", ""), "{token}");
    }

    let list = user.get(PREDICTIONS).await.body;
    assert_eq!((&list["results"][0]["id"], &list["results"][0]["input"]), (&json!(id), &input));
}

#[tokio::test]
async fn who_prefers_to_wait_gets_the_pictures_and_a_failure_is_told_in_the_prediction() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let (worker, sent) = (rig.worker("w1"), body(json!({ "prompt": "a red circle" })));
    let (done, _) = tokio::join!(predict(&user, &[("prefer", "wait=30")], sent), worker.work());
    assert_eq!((done.status, &done.body["status"]), (StatusCode::CREATED, &json!("succeeded")), "{}", done.body);
    assert_eq!(user.settled().await, (10_000 - PRICE, PRICE));
    let waited = predict(&user, &[("prefer", "wait=1")], body(json!({ "prompt": "a red circle" }))).await;
    assert_eq!((waited.status, &waited.body["status"]), (StatusCode::CREATED, &json!("starting")), "not an error");
    let id = waited.body["id"].as_str().unwrap();
    let cancelled = user.post(&format!("{PREDICTIONS}/{id}/cancel"), Value::Null).await;
    assert_eq!(cancelled.status, StatusCode::OK);
    let ended = until("it is canceled", || async {
        Some(user.get(&format!("{PREDICTIONS}/{id}")).await.body).filter(|body| body["status"] == "canceled")
    })
    .await;
    assert_eq!((&ended["output"], &ended["error"]), (&Value::Null, &Value::Null));
    assert!(events(&user, id, None).await.contains("canceled"));
    assert_eq!(user.settled().await, (10_000 - PRICE, PRICE), "nothing was charged");
}

#[tokio::test]
async fn models_are_named_by_version_path_or_both_and_refusals_are_problems() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let model = user.get("/replicate/v1/models/tintype/shapes").await.body;
    let version = model["latest_version"]["id"].as_str().unwrap();
    assert_eq!((version.len(), &model["owner"]), (64, &json!("tintype")));
    let output = &model["latest_version"]["openapi_schema"]["components"]["schemas"]["Output"];
    assert_eq!(output["type"], "array", "their client reads this");
    let path = format!("/replicate/v1/models/tintype/shapes/versions/{version}");
    assert_eq!(user.get(&path).await.body["id"], version);
    for named in [version.to_owned(), format!("tintype/shapes:{version}"), "tintype/shapes".to_owned()] {
        let made = predict(&user, &[], json!({ "version": named, "input": { "prompt": "p" } })).await;
        assert_eq!((made.status, &made.body["version"]), (StatusCode::CREATED, &json!(version)), "{named}");
    }
    let by_path =
        user.post("/replicate/v1/models/tintype/shapes/predictions", json!({ "input": { "prompt": "p" } })).await;
    assert_eq!(by_path.status, StatusCode::CREATED, "{}", by_path.body);
    for (sent, status, param) in [
        (json!({ "version": "0".repeat(64), "input": { "prompt": "p" } }), 404, "version"),
        (json!({ "version": "nobody/knows", "input": { "prompt": "p" } }), 404, "version"),
        (json!({ "input": { "prompt": "p" } }), 400, "version"),
        (body(json!({ "prompt": "p", "num_inference_steps": 0 })), 400, "input.num_inference_steps"),
        (body(json!({ "prompt": "p", "image": "https://example.org/a.png" })), 400, "input.image"),
        (json!({ "version": version, "input": { "prompt": "p" }, "webhook": "ftp://example.org" }), 400, "webhook"),
    ] {
        let refused = predict(&user, &[], sent).await;
        assert_eq!((refused.status.as_u16(), refused.error().2), (status, param), "{}", refused.body);
        assert_eq!(refused.header("content-type"), "application/problem+json");
        assert_eq!((&refused.body["status"], refused.body["detail"].is_string()), (&json!(status), true));
    }
    let strays: i64 = sqlx::query_scalar(
        "select count(*) from prediction p where not exists
        (select 1 from generation g where g.id = p.generation)",
    )
    .fetch_one(&rig.pool)
    .await
    .unwrap();
    assert_eq!(strays, 0, "a refusal leaves nothing");
}

#[tokio::test]
async fn pictures_to_start_from_come_as_files_or_data_urls_of_ones_own() {
    use base64::Engine;
    let rig = Rig::start().await;
    let (user, other) = (rig.user().await, rig.user().await);
    let bytes = picture(64, 64, 3);
    let head = "--edge\r\nContent-Disposition: form-data; name=\"content\"; filename=\"a.png\"\r\n\r\n".as_bytes();
    let form = [head, &bytes, b"\r\n--edge--\r\n"].concat();
    let sent = client().post(format!("{}/replicate/v1/files", rig.url)).bearer_auth(&user.key);
    let sent = sent.header("content-type", "multipart/form-data; boundary=edge").body(form);
    let file = Reply::of(sent.send().await.unwrap()).await;
    assert_eq!(file.status, StatusCode::CREATED, "{}", file.body);
    let url = file.body["urls"]["get"].as_str().unwrap();
    let data = format!("data:image/png;base64,{}", base64::prelude::BASE64_STANDARD.encode(&bytes));
    for image in [url, &data] {
        let made = predict(&user, &[], body(json!({ "prompt": "p", "image": image, "prompt_strength": 0.5 }))).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        assert_eq!(made.body["input"]["image"], url, "bytes are not kept in the database");
        let job = user.job(made.body["id"].as_str().unwrap()).await;
        assert_eq!(job["request"]["init"]["strength"], 0.5);
    }
    let foreign = predict(&other, &[], body(json!({ "prompt": "p", "image": url }))).await;
    assert_eq!(foreign.error(), (404, "not_found", "input.image"));
    assert_eq!(user.get("/replicate/v1/files").await.body["results"][0]["id"], file.body["id"]);
}
