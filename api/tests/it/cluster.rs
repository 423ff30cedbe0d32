//! Jobs in a cluster: a real API server, and in the operator's place a few lines that write statuses and serve the read
//! routes, so that each moment can be held still.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use reqwest::StatusCode;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tintype_crds::{DiffusionModel, GenerationJob};
use tintype_kubetest::{ControlPlane, Done, granted};
use tokio::net::TcpListener;

use crate::rig::{KubernetesOptions, Options, PRICE, Rig, User, until};
use crate::worker::sha256_hex;

const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n a picture";

/// What the chart calls the API's account.
const ACCOUNT: &str = "tintype-api";

/// A cluster with a stand-in for the operator, and the API in front of it, with the rights that the chart gives it.
struct Stage {
    plane: &'static ControlPlane,
    namespace: String,
    /// What the chart makes of its account.
    rights: String,
    rig: Rig,
    user: User,
    jobs: Api<GenerationJob>,
}

impl Stage {
    async fn set() -> Self {
        let plane = ControlPlane::shared().await.unwrap();
        let yaml = tintype_crds::YAML.map(|(_, yaml)| yaml).join("---\n");
        let applied = plane.kubectl_with_input(&["apply", "--server-side", "-f", "-"], &yaml).unwrap();
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        plane.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]).unwrap();
        let namespace = plane.unique_namespace().await.unwrap();
        let client = plane.client().await.unwrap();
        let model: DiffusionModel = serde_json::from_value(json!({
            "apiVersion": "tintype.dev/v1alpha1", "kind": "DiffusionModel", "metadata": { "name": "shapes" },
            "spec": { "modelName": "tintype/shapes", "family": "sd15", "defaults":
                { "width": 64, "height": 64, "steps": 20, "guidanceScale": 3.0, "sampler": "dpmpp-2m-karras" } }
        }))
        .unwrap();
        let models: Api<DiffusionModel> = Api::all(client.clone());
        models.patch("shapes", &PatchParams::apply("test"), &Patch::Apply(&model)).await.unwrap();
        let jobs: Api<GenerationJob> = Api::namespaced(client, &namespace);
        let rights = rights(&namespace);
        let applied = plane.kubectl_with_input(&["apply", "--server-side", "-f", "-"], &rights).unwrap();
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        let kubeconfig = plane.service_account_kubeconfig(&namespace, ACCOUNT).await.unwrap();
        let cluster = KubernetesOptions { kubeconfig, namespace: namespace.clone(), dispatch_url: serve_reads().await };
        let rig = Rig::with(Options { cluster: Some(cluster), ..Options::default() }).await;
        until("models are known", || async {
            let ready = crate::worker::client().get(format!("{}/readyz", rig.url)).send().await.unwrap();
            ready.status().is_success().then_some(())
        })
        .await;
        let user = rig.user().await;
        Self { plane, namespace, rights, rig, user, jobs }
    }

    /// What the API asked of the API server, and what it was refused.
    fn done(&self) -> Done {
        self.plane.done_by(&format!("system:serviceaccount:{}:{ACCOUNT}", self.namespace)).unwrap()
    }

    /// The job's object, once it is there.
    async fn object(&self, id: &str) -> GenerationJob {
        until("the object is there", || async { self.jobs.get_opt(id).await.unwrap() }).await
    }

    async fn gone(&self, id: &str) {
        until("the object is gone", || async { self.jobs.get_opt(id).await.unwrap().is_none().then_some(()) }).await;
    }

    /// Writes a status as the operator would.
    async fn status(&self, id: &str, status: Value) {
        let patch = json!({ "apiVersion": "tintype.dev/v1alpha1", "kind": "GenerationJob", "status": status });
        self.jobs.patch_status(id, &PatchParams::apply("scheduler"), &Patch::Apply(&patch)).await.unwrap();
    }

    async fn complete(&self, id: &str) {
        let uid = self.object(id).await.uid().unwrap();
        let output = json!({ "key": format!("jobs/{uid}/1/0.png"), "sha256": sha256_hex(PICTURE),
            "bytes": PICTURE.len(), "width": 64, "height": 64, "seed": 7 });
        self.status(
            id,
            json!({ "state": "Complete", "attempt": 1, "leaderEpoch": 1, "outputs": [output],
            "assignment": assignment(), "gpuMilliseconds": 5 }),
        )
        .await;
    }

    /// Holds are settled and the cluster may forget the job.
    async fn released(&self, id: &str) {
        until("the finalizer is off", || async {
            self.jobs.get_opt(id).await.unwrap().is_none_or(|job| job.finalizers().is_empty()).then_some(())
        })
        .await;
    }
}

/// The API's account and its rights, as the chart renders them.
fn rights(namespace: &str) -> String {
    const VALUES: &str = "operator.enabled=false,worker.enabled=false,api.enabled=true,dispatch.url=http://x.test,\
        secrets.workerToken.existingSecret=token,secrets.dispatchToken.existingSecret=token";
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let said = Command::new(root.join("tests/charts/helm.sh")).output().unwrap();
    let helm = String::from_utf8(said.stdout).unwrap();
    let rendered = Command::new(helm.lines().last().expect("helm.sh says above why there is no helm"))
        .args(["template", "tintype", "--namespace", namespace, "--set", VALUES])
        .args(["--show-only", "templates/api-rbac.yaml", "--show-only", "templates/service-accounts.yaml"])
        .arg(root.join("charts/tintype"))
        .output()
        .unwrap();
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    String::from_utf8(rendered.stdout).unwrap()
}

fn assignment() -> Value {
    json!({ "worker": "w-1", "attempt": 1, "leaderEpoch": 1 })
}

/// What of the operator the API reads: one event of a running job, then silence; a redirect to a picture; the picture.
async fn serve_reads() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Arc<str> = format!("http://{}", listener.local_addr().unwrap()).into();
    let router = Router::new()
        .route("/dispatch/v1/jobs/{uid}/events", get(events))
        .route("/dispatch/v1/jobs/{uid}/image/{n}", get(image))
        .route("/dispatch/v1/inputs/{*name}", get(input).put(input_place).delete(remove_input))
        .route("/kept/{*name}", get(kept).put(keep))
        .route("/picture", get(async || ([(header::CONTENT_TYPE, "image/png")], PICTURE)))
        .with_state(Operator { url: Arc::clone(&url), kept: Arc::default() });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url.to_string()
}

/// The stand-in's address, and the uploads it keeps by name.
#[derive(Clone)]
struct Operator {
    url: Arc<str>,
    kept: Arc<Mutex<BTreeMap<String, Bytes>>>,
}

async fn input(State(operator): State<Operator>, Path(name): Path<String>) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, format!("{}/kept/{name}", operator.url))]).into_response()
}

async fn input_place(State(operator): State<Operator>, Path(name): Path<String>) -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, format!("{}/kept/{name}", operator.url))]).into_response()
}

async fn remove_input(State(operator): State<Operator>, Path(name): Path<String>) -> StatusCode {
    operator.kept.lock().unwrap().remove(&name);
    StatusCode::NO_CONTENT
}

async fn keep(State(operator): State<Operator>, Path(name): Path<String>, content: Bytes) {
    operator.kept.lock().unwrap().insert(name, content);
}

async fn kept(State(operator): State<Operator>, Path(name): Path<String>) -> Result<Bytes, StatusCode> {
    operator.kept.lock().unwrap().get(&name).cloned().ok_or(StatusCode::NOT_FOUND)
}

async fn events(Path(uid): Path<String>) -> Response {
    let event = json!({ "job": uid, "state": "Running", "attempt": 1, "step": 7, "steps": 20 });
    let first = futures::stream::iter([Ok::<_, std::io::Error>(format!("id: 1\ndata: {event}\n\n"))]);
    let body = futures::StreamExt::chain(first, futures::stream::pending());
    ([(header::CONTENT_TYPE, "text/event-stream")], axum::body::Body::from_stream(body)).into_response()
}

async fn image(
    State(operator): State<Operator>,
    Path((_, n)): Path<(String, u32)>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    assert_eq!((n, query["attempt"].as_str()), (0, "1"));
    (StatusCode::FOUND, [(header::LOCATION, format!("{}/picture", operator.url))]).into_response()
}

#[tokio::test]
async fn a_request_becomes_a_job_and_its_end_the_answer() {
    let stage = Stage::set().await;
    let user = &stage.user;
    let asking = tokio::spawn({
        let user = user.clone();
        async move {
            let body = json!({ "prompt": "a red circle", "seed": 7, "response_format": "b64_json" });
            user.post("/v1/images/generations", body).await
        }
    });
    let id = until("the job is made", || async {
        let list = stage.jobs.list(&kube::api::ListParams::default()).await.unwrap();
        list.items.first().map(ResourceExt::name_any)
    })
    .await;
    let object = stage.object(&id).await;
    assert_eq!(object.labels()["tintype.dev/generation"], id);
    assert_eq!(object.finalizers(), ["tintype.dev/settlement"]);
    assert_eq!(object.spec.queue, user.account.to_string());
    let request = serde_json::to_value(&object.spec.request).unwrap();
    assert_eq!((&request["seed"], &request["width"], &request["steps"]), (&json!(7), &json!(64), &json!(20)));
    let managers: Vec<_> = object.managed_fields().iter().filter_map(|field| field.manager.clone()).collect();
    assert_eq!(managers, ["api"]);

    stage.status(&id, json!({ "state": "Assigned", "attempt": 1, "leaderEpoch": 1, "assignment": assignment() })).await;
    assert_eq!(user.job_in(&id, "Assigned").await["attempt"], 1);
    stage.complete(&id).await;
    let reply = asking.await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    let bytes = BASE64_STANDARD.decode(reply.body["data"][0]["b64_json"].as_str().unwrap()).unwrap();
    assert_eq!(bytes, PICTURE);
    assert_eq!(user.credits().await, (10_000 - PRICE, 0, PRICE));
    let image = user.get(&format!("/api/v1/jobs/{id}/images/0")).await;
    assert!(image.header("location").ends_with("/picture"));
    stage.released(&id).await;
    assert_eq!(stage.object(&id).await.spec, object.spec, "letting go changes nothing else");
    stage.rig.audit().await;
}

/// The operator judges deadlines there; its refusal is the answer to whoever asks again.
#[tokio::test]
async fn a_deadline_is_carried_into_the_cluster_and_its_refusal_out() {
    let stage = Stage::set().await;
    let user = stage.user.clone();
    let deadline = crate::support::now().plus(Duration::from_hours(1));
    let post = || async {
        let body = json!({ "model": "tintype/shapes", "prompt": "p", "deadlineMs": deadline.0, "whenLate": "Refuse" });
        user.send(reqwest::Method::POST, "/api/v1/jobs", &[("idempotency-key", "k")], Some(body)).await
    };
    let placed = post().await;
    assert_eq!(placed.status, StatusCode::ACCEPTED, "{}", placed.body);
    let id = placed.body["id"].as_str().unwrap();
    let spec = stage.object(id).await.spec;
    let told = spec.deadline.map(|at| at.0.as_second());
    assert_eq!(told, i64::try_from(deadline.0 / 1_000).ok(), "in whole seconds, and no later");
    assert_eq!(spec.when_late, tintype_crds::WhenLate::Refuse);
    let why = "the deadline cannot be met; it would be with 12 steps instead of 20";
    let status = json!({ "state": "Failed", "attempt": 0, "leaderEpoch": 1,
        "failure": { "reason": "DeadlineExceeded", "message": why } });
    stage.status(id, status).await;
    user.job_in(id, "Failed").await;
    let refused = post().await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.body);
    assert!(refused.body.to_string().contains(why), "{}", refused.body);
    stage.released(id).await;
    assert_eq!(user.credits().await, (10_000, 0, 0));
}

/// The API has no store here: the operator says where a picture is put, read and deleted.
#[tokio::test]
async fn an_uploaded_picture_goes_to_the_operators_store() {
    let stage = Stage::set().await;
    let (user, content) = (&stage.user, crate::worker::picture(64, 64, 3));
    let made = crate::assets::upload(&stage.rig, user, content.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let (id, key) = (made.body["id"].as_str().unwrap(), made.body["key"].as_str().unwrap());
    let file = user.get(&format!("/api/v1/assets/{id}/file")).await;
    let url = file.header("location").to_owned();
    let read = || async { crate::worker::client().get(&url).send().await.unwrap() };
    assert_eq!(read().await.bytes().await.unwrap(), content);
    // Or through the API, for pages that load from nowhere else.
    let inline = stage.rig.url.clone() + &format!("/api/v1/assets/{id}/file?inline=true");
    let inline = crate::worker::client().get(inline).bearer_auth(&user.key).send().await.unwrap();
    assert_eq!(inline.headers()["content-type"], "image/png");
    assert_eq!(inline.bytes().await.unwrap(), content);

    let body = json!({ "model": "tintype/shapes", "prompt": "p", "init": { "image": key } });
    let placed = user.post("/api/v1/jobs", body).await;
    let object = stage.object(placed.body["id"].as_str().unwrap()).await;
    assert_eq!(object.spec.request.init.unwrap().image, key);
    user.delete(&format!("/api/v1/jobs/{}", placed.body["id"].as_str().unwrap())).await;
    stage
        .status(
            placed.body["id"].as_str().unwrap(),
            json!({ "state": "Failed", "attempt": 0, "leaderEpoch": 1,
        "failure": { "reason": "Cancelled", "message": "cancelled by its owner" } }),
        )
        .await;
    user.job_in(placed.body["id"].as_str().unwrap(), "Failed").await;
    assert_eq!(user.delete(&format!("/api/v1/assets/{id}")).await.status, StatusCode::NO_CONTENT);
    until("the file is gone", || async { (read().await.status() == StatusCode::NOT_FOUND).then_some(()) }).await;
}

#[tokio::test]
async fn steps_are_relayed_and_the_end_is_told() {
    let stage = Stage::set().await;
    let id = stage.user.submit().await;
    let uid = stage.object(&id).await.uid().unwrap();
    until("the row knows its object", || async {
        let known: Option<String> =
            sqlx::query_scalar("select cluster_uid from generation").fetch_one(&stage.rig.pool).await.unwrap();
        known.filter(|known| *known == uid)
    })
    .await;
    let mut events = crate::lifecycle::Events::open(&stage.rig, &stage.user, &id).await;
    assert_eq!(events.next().await.unwrap()["state"], "Queued");
    let running = events.until("Running").await;
    assert_eq!((&running["job"], &running["step"]), (&json!(id), &json!(7)), "under our own name");
    stage.complete(&id).await;
    assert_eq!(events.until("Complete").await["outputs"][0]["seed"], 7);
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn cancelling_deletes_the_job_and_gives_the_credits_back() {
    let stage = Stage::set().await;
    let user = &stage.user;
    let id = user.submit().await;
    stage.object(&id).await;
    user.delete(&format!("/api/v1/jobs/{id}")).await;
    until("the deletion is asked for", || async { stage.object(&id).await.metadata.deletion_timestamp.map(drop) })
        .await;
    assert_eq!(user.credits().await.1, PRICE, "the finalizer keeps the job until its money is settled");
    stage
        .status(
            &id,
            json!({ "state": "Failed", "attempt": 0, "leaderEpoch": 1,
        "failure": { "reason": "Cancelled", "message": "cancelled by its owner" } }),
        )
        .await;
    assert_eq!(user.job_in(&id, "Failed").await["failure"], "Cancelled");
    assert_eq!(user.settled().await, (10_000, 0));
    stage.gone(&id).await;
    stage.rig.audit().await;
}

#[tokio::test]
async fn what_ends_while_the_api_is_down_is_settled_when_it_is_back() {
    let mut stage = Stage::set().await;
    let (done, failed) = (stage.user.submit().await, stage.user.submit().await);
    stage.object(&done).await;
    stage.object(&failed).await;
    stage.rig.stop().await;
    stage.complete(&done).await;
    stage
        .status(
            &failed,
            json!({ "state": "Failed", "attempt": 3, "failedAttempts": 3, "leaderEpoch": 1,
        "failure": { "reason": "TooManyAttempts", "message": "three attempts failed" } }),
        )
        .await;
    stage.rig.start_again().await;
    stage.user = stage.user.at(&stage.rig.url);
    stage.user.job_in(&done, "Complete").await;
    assert_eq!(stage.user.job_in(&failed, "Failed").await["failure"], "TooManyAttempts");
    assert_eq!(stage.user.settled().await, (10_000 - PRICE, PRICE));
    stage.released(&done).await;
    stage.released(&failed).await;
    stage.rig.audit().await;
}

/// The API died after the cluster had the job and before the row said so.
#[tokio::test]
async fn submitting_twice_is_submitting_once() {
    let mut stage = Stage::set().await;
    let id = stage.user.submit().await;
    let uid = stage.object(&id).await.uid();
    stage.rig.stop().await;
    sqlx::query("update generation set submitted_ms = null, cluster_uid = null")
        .execute(&stage.rig.pool)
        .await
        .unwrap();
    stage.rig.start_again().await;
    until("it is submitted", || async {
        let known: Option<String> =
            sqlx::query_scalar("select cluster_uid from generation where submitted_ms is not null")
                .fetch_optional(&stage.rig.pool)
                .await
                .unwrap();
        known
    })
    .await;
    let again = stage.object(&id).await;
    assert_eq!((again.uid(), again.finalizers().len()), (uid, 1));
}

/// Somebody took the finalizer off by hand and deleted the job.
#[tokio::test]
async fn a_job_torn_out_of_the_cluster_gives_the_credits_back() {
    let stage = Stage::set().await;
    let id = stage.user.submit().await;
    stage.object(&id).await;
    stage
        .jobs
        .patch(&id, &PatchParams::default(), &Patch::Merge(json!({ "metadata": { "finalizers": null } })))
        .await
        .unwrap();
    stage.jobs.delete(&id, &DeleteParams::default()).await.unwrap();
    let job = stage.user.job_in(&id, "Failed").await;
    assert!(job["message"].as_str().unwrap().contains("deleted in the cluster"), "{job}");
    assert_eq!(stage.user.settled().await, (10_000, 0));
    stage.rig.audit().await;
}

/// By the API server's own account.
#[tokio::test]
async fn every_right_is_used_and_none_is_missing() {
    let mut stage = Stage::set().await;
    let id = stage.user.submit().await;
    stage.object(&id).await;
    // It is long since it was handed over: the API looks whether it is still there, and ends it for its owner.
    stage.rig.stop().await;
    let sql = "update generation set submitted_ms = 0, cancelled_ms = 1";
    sqlx::query(sql).execute(&stage.rig.pool).await.unwrap();
    stage.rig.start_again().await;
    let objects =
        serde_yaml_ng::Deserializer::from_str(&stage.rights).map(|object| Value::deserialize(object).unwrap());
    let mut granted = granted(&objects.collect::<Vec<_>>());
    // Making an object by server-side apply is a patch in the log, and asks for this as well.
    assert!(granted.remove("create generationjobs"));
    for right in &granted {
        until(right, || async { stage.done().asked.contains(right).then_some(()) }).await;
    }
    let Done { asked, refused } = stage.done();
    assert_eq!((asked, refused), (granted, Vec::new()));
}
