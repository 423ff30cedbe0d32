//! Services that others run: PostHog, heartbeats, a language model. Each counterpart is a small HTTP program that keeps what it
//! is sent; what PostHog's own client sends to the same counterpart is what ours is compared with.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::clients;
use crate::rig::{Options, PRICE, Rig, User, until};

/// In every prompt, and nowhere but with the language model.
const SECRET: &str = "a very secret gondola";

/// Something that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Heard {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Everything of it, as it came.
    fn text(&self) -> String {
        format!("{} {:?} {}", self.path, self.headers, String::from_utf8_lossy(&self.body))
    }
}

type Answers = Arc<dyn Fn(&Heard) -> (StatusCode, Value) + Send + Sync>;

/// A counterpart: keeps what it hears, and answers as its contract says.
#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    answers: Answers,
}

impl Sink {
    pub(crate) async fn start(answers: impl Fn(&Heard) -> (StatusCode, Value) + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sink = Self { url, heard: Arc::default(), answers: Arc::new(answers) };
        let router = Router::new().fallback(hear).with_state(sink.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        sink
    }

    /// What came to paths that begin so.
    pub(crate) fn heard(&self, path: &str) -> Vec<Heard> {
        self.heard.lock().unwrap().iter().filter(|heard| heard.path.starts_with(path)).cloned().collect()
    }

    pub(crate) async fn hears(&self, path: &str, count: usize) -> Vec<Heard> {
        until(&format!("{count} come to {path}"), || async {
            Some(self.heard(path)).filter(|heard| heard.len() >= count)
        })
        .await
    }
}

async fn hear(State(sink): State<Sink>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let heard = Heard { path: uri.to_string(), headers, body };
    let (status, answer) = (sink.answers)(&heard);
    sink.heard.lock().unwrap().push(heard);
    (status, axum::Json(answer)).into_response()
}

/// PostHog's answers, as its reference has them: <https://posthog.com/docs/api/capture>, <https://posthog.com/docs/api/flags>.
fn posthog(heard: &Heard) -> (StatusCode, Value) {
    let flag = |name: &str, enabled: bool, variant: Option<&str>| {
        let reason = json!({ "code": "condition_match", "condition_index": 0, "description": "" });
        let metadata = json!({ "id": 1, "version": 1, "description": null, "payload": null });
        json!({ "key": name, "enabled": enabled, "variant": variant, "reason": reason, "metadata": metadata })
    };
    let body = heard.json();
    match heard.path.split('?').next() {
        Some("/batch/") if body["api_key"] == "phc_project" => (StatusCode::OK, json!({ "status": "Ok" })),
        Some("/flags/") if body["api_key"] == "phc_project" => {
            let flags = json!({
                "faster-lane": flag("faster-lane", true, None),
                "new-sampler": flag("new-sampler", true, Some("euler")),
                "retired": flag("retired", false, None),
            });
            (StatusCode::OK, json!({ "flags": flags, "errorsWhileComputingFlags": false, "requestId": "r" }))
        }
        _ => (StatusCode::UNAUTHORIZED, json!({ "type": "authentication_error", "code": "invalid_api_key" })),
    }
}

async fn rig_with_posthog(url: &str) -> Rig {
    let mut options = Options::default();
    options.services.posthog_server_key = Some("phc_project".to_owned());
    options.services.posthog_server_url = url.to_owned();
    Rig::with(options).await
}

/// A job with the secret in its prompt, made to its end.
async fn draw(user: &User) {
    let body = json!({ "model": "tintype/shapes", "prompt": SECRET, "negativePrompt": SECRET });
    let made = user.post("/api/v1/jobs", body).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
    user.job_in(made.body["id"].as_str().unwrap(), "Complete").await;
}

fn assert_discreet(heard: &[Heard], user: &User) {
    for heard in heard {
        let text = heard.text();
        for secret in ["gondola", "tester", &user.key, &user.key[12..], "@"] {
            assert!(!text.contains(secret), "`{secret}` was sent: {text}");
        }
    }
}

/// The names in an object, and of what type each is.
fn shape(object: &Value) -> BTreeSet<(String, u8)> {
    let kind = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    };
    object.as_object().unwrap().iter().map(|(name, value)| (name.clone(), kind(value))).collect()
}

#[tokio::test]
async fn posthog_hears_of_pictures_what_its_own_client_would_say_and_nothing_of_their_prompts() {
    let sink = Sink::start(posthog).await;
    let rig = rig_with_posthog(&sink.url).await;
    let user = rig.user().await;
    let _worker = rig.serve("w1");
    draw(&user).await;
    let ours = sink.hears("/batch/", 1).await;
    let event = &ours[0].json()["batch"][0];
    assert_eq!(event["event"], "image_generated");
    assert_eq!(event["distinct_id"], user.account.to_string());
    let properties = &event["properties"];
    assert_eq!(properties["model"], "tintype/shapes");
    assert_eq!(properties["prompt_length"], SECRET.chars().count());
    assert_eq!(properties["credits_spent"], PRICE as f64 / 1_000.0);
    let flags = user.get("/api/v1/flags").await;
    assert_eq!(flags.body, json!({ "flags": { "faster-lane": true, "new-sampler": "euler", "retired": false } }));
    assert_eq!(user.get("/api/v1/flags").await.body, flags.body);
    assert_eq!(sink.heard("/flags/").len(), 1, "the second answer is remembered");
    assert_discreet(&sink.heard("/"), &user);

    let theirs = Sink::start(posthog).await;
    let mut client = Command::new(clients::python());
    client.arg(clients::file("posthog_client.py")).arg(user.account.to_string()).env("POSTHOG_HOST", &theirs.url);
    let said = client.kill_on_drop(true).output().await.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let (ours, theirs) = (ours[0].json(), theirs.heard("/batch/")[0].json());
    for (ours, theirs) in [
        (&ours, &theirs),
        (&ours["batch"][0], &theirs["batch"][0]),
        (&ours["batch"][0]["properties"], &theirs["batch"][0]["properties"]),
    ] {
        let strange: Vec<_> = shape(ours).difference(&shape(theirs)).cloned().collect();
        assert!(strange.is_empty(), "PostHog's client says nothing like {strange:?}: {theirs}");
    }
}

#[tokio::test]
async fn what_posthog_does_not_take_now_is_told_later_and_once_and_without_it_nothing_is() {
    let refusals = Arc::new(Mutex::new(2));
    let left = Arc::clone(&refusals);
    let sink = Sink::start(move |heard| {
        let mut left = left.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return (StatusCode::SERVICE_UNAVAILABLE, Value::Null);
        }
        posthog(heard)
    })
    .await;
    let rig = rig_with_posthog(&sink.url).await;
    let user = rig.user().await;
    // Features are unknown while it is away, and nobody is told that it is.
    assert_eq!(user.get("/api/v1/flags").await.body, json!({ "flags": {} }));
    let _worker = rig.serve("w1");
    draw(&user).await;
    let first = sink.hears("/batch/", 1).await[0].json();
    // The pause before the next try is not waited for.
    let again = sink.clone();
    let heard = until("it is told again", || async {
        sqlx::query("update errand set due_ms = 0 where lane = 'analytics' and claimed_ms is null")
            .execute(&rig.pool)
            .await
            .unwrap();
        Some(again.heard("/batch/")).filter(|heard| heard.len() >= 2)
    })
    .await;
    assert_eq!(heard[1].json()["batch"], first["batch"], "by the same id, so PostHog counts it once");
    until("nothing waits any more", || async {
        let left: i64 = sqlx::query_scalar("select count(*) from errand where lane = 'analytics'")
            .fetch_one(&rig.pool)
            .await
            .unwrap();
        (left == 0).then_some(())
    })
    .await;
    assert_eq!(*refusals.lock().unwrap(), 0);

    let plain = Rig::start().await;
    let user = plain.user().await;
    let _worker = plain.serve("w1");
    draw(&user).await;
    let sent: i64 = sqlx::query_scalar("select count(*) from errand where lane = 'analytics'")
        .fetch_one(&plain.pool)
        .await
        .unwrap();
    assert_eq!((sent, user.get("/api/v1/flags").await.body), (0, json!({ "flags": {} })));
}

#[tokio::test]
async fn hearts_beat_as_long_as_their_lanes_work() {
    let sink = Sink::start(|_| (StatusCode::OK, Value::Null)).await;
    let mut options = Options::default();
    let heart = |name: &str| (name.to_owned(), format!("{}/heartbeat/{name}", sink.url));
    options.services.heartbeats = vec![heart("settle"), heart("webhooks")];
    options.services.heartbeat_seconds = 1;
    let rig = Rig::with(options.clone()).await;
    sink.hears("/heartbeat/settle", 2).await;
    sink.hears("/heartbeat/webhooks", 2).await;
    // The lanes cannot look any more; reconcilers can.
    sqlx::query("alter table errand rename to hidden").execute(&rig.pool).await.unwrap();
    let (lane, reconciler) = (sink.heard("/heartbeat/webhooks").len(), sink.heard("/heartbeat/settle").len());
    sink.hears("/heartbeat/settle", reconciler + 3).await;
    let after = sink.heard("/heartbeat/webhooks").len();
    assert!(after <= lane + 1, "one may have been on its way: {lane}, then {after}");
    sqlx::query("alter table hidden rename to errand").execute(&rig.pool).await.unwrap();
    sink.hears("/heartbeat/webhooks", after + 1).await;
}

/// OpenAI's chat endpoint, as <https://platform.openai.com/docs/api-reference/chat/create> has it.
fn chat(heard: &Heard) -> (StatusCode, Value) {
    let body = heard.json();
    if heard.headers.get("authorization").is_none_or(|sent| sent != "Bearer sk-enhance") {
        return (
            StatusCode::UNAUTHORIZED,
            json!({ "error": { "message": "no key", "type": "invalid_request_error" } }),
        );
    }
    let messages = body["messages"].as_array().unwrap();
    let roles: Vec<_> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!((heard.path.as_str(), roles), ("/v1/chat/completions", vec!["system", "user"]));
    let content = format!("\"{}, at dusk, 35 mm\"\n", messages[1]["content"].as_str().unwrap());
    let message = json!({ "role": "assistant", "content": content, "refusal": null });
    let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" });
    let usage = json!({ "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 });
    let answer = json!({ "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"],
        "choices": [choice], "usage": usage });
    (StatusCode::OK, answer)
}

#[tokio::test]
async fn a_language_model_writes_prompts_out_and_sees_nothing_else() {
    let sink = Sink::start(chat).await;
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("key");
    std::fs::write(&key_file, "sk-enhance\n").unwrap();
    let mut options = Options::default();
    options.services.enhance.enhance_url = Some(format!("{}/v1", sink.url));
    options.services.enhance.enhance_key_file = Some(key_file.clone());
    options.services.enhance.enhance_model = "gpt-4o-mini".to_owned();
    let rig = Rig::with(options).await;
    let user = rig.user().await;
    let enhance = async |prompt: Value| user.post("/api/v1/prompts/enhance", json!({ "prompt": prompt })).await;
    let made = enhance(json!(format!(" {SECRET} "))).await;
    let expected = json!({ "prompt": format!("{SECRET}, at dusk, 35 mm"), "priceMillis": 0 });
    assert_eq!((made.status, made.body), (StatusCode::OK, expected));
    assert_eq!(user.credits().await, (10_000, 0, 0));
    let sent = sink.heard("/")[0].clone();
    assert_eq!(sent.json()["model"], "gpt-4o-mini");
    let text = sent.text();
    assert!(!text.contains(&user.account.to_string()) && !text.contains(&user.key), "{text}");
    for wrong in [json!(""), json!("  "), json!("x".repeat(4_001)), json!(7)] {
        assert_eq!(enhance(wrong).await.error(), (400, "invalid_request", "prompt"));
    }
    assert_eq!(sink.heard("/").len(), 1, "what is refused is not sent on");
    let refused = until("one is too many", || async {
        let reply = enhance(json!("a cat")).await;
        (reply.status != StatusCode::OK).then_some(reply)
    })
    .await;
    assert_eq!(refused.error(), (429, "rate_limited", ""));
    assert!(refused.header("retry-after").parse::<u64>().unwrap() <= 6);
}

#[tokio::test]
async fn without_a_language_model_or_while_it_is_away_the_caller_is_told_so() {
    let plain = Rig::start().await;
    let refused = plain.user().await.post("/api/v1/prompts/enhance", json!({ "prompt": "a cat" })).await;
    assert_eq!(refused.error(), (404, "not_found", ""));
    assert!(refused.body["detail"].as_str().unwrap().contains("TINTYPE_ENHANCE_URL"), "{}", refused.body);
    let sink = Sink::start(|_| (StatusCode::BAD_GATEWAY, Value::Null)).await;
    let mut options = Options::default();
    options.services.enhance.enhance_url = Some(sink.url.clone());
    let rig = Rig::with(options).await;
    let refused = rig.user().await.post("/api/v1/prompts/enhance", json!({ "prompt": "a cat" })).await;
    assert_eq!(refused.error(), (503, "unavailable", ""));
    assert_eq!(sink.heard("/").len(), 2, "tried twice, and no more");
    assert!(rig.metric("tintype_api_service_calls_total{outcome=\"unavailable\",service=\"enhance\"}").await > 1.0);
}
