//! A paid provider behind REST: a job is bought once, its picture comes back marked, its account pays once; and a job that the
//! provider's budget does not allow waits, which the pool says.

use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::{Value, json};
use tintype_pg::testing;
use tintype_worker::testing::shapes::decode_png;

use crate::front::{credits_settled, start_api};
use crate::plugin;
use crate::support::cluster::Cluster;
use crate::support::programs::{address, program};
use crate::support::provider::{self, MODEL, POOL, PRICE};
use crate::support::rest::Rest;
use crate::support::wait::until;

/// How long programs may take to start, and a job to end, beside other tests.
const LIMIT: Duration = Duration::from_mins(2);
/// What the picture's metadata says of where it comes from.
const MARK: &[u8] = b"digitalsourcetype/trainedAlgorithmicMedia";

#[tokio::test]
async fn a_job_by_rest_is_bought_once_and_what_the_budget_does_not_allow_waits() {
    let cluster = Cluster::start().await;
    let database_url = testing::fresh_database();
    let folder = cluster.folder.path().to_path_buf();
    std::fs::write(folder.join("admin-token"), "admin-0123456789abcdef0123456789abcdef").unwrap();
    let _api = start_api(&cluster, &database_url, &folder);
    // Enough for one picture, and not for two.
    let (twin, _adapter) = provider::start(&cluster, PRICE + PRICE / 2).await;
    let url = format!("http://{}", address(&folder.join("api-port"), LIMIT).await);
    let admin = Rest::new(&url, "admin-0123456789abcdef0123456789abcdef");
    let user = admin.post("/api/v1/users", json!({ "name": "buyer" })).await;
    let rest = Rest::new(&url, user["apiKey"].as_str().unwrap());
    until("the model to be offered", LIMIT, || async {
        let models = rest.get("/v1/models").await.to_string();
        models.contains(MODEL).then_some(())
    })
    .await;

    let (before, _) = rest.credits().await;
    let body = json!({ "model": MODEL, "prompt": "a red square", "seed": 7 });
    let job = rest.post("/api/v1/jobs", body.clone()).await;
    let (id, price) = (job["id"].as_str().unwrap().to_owned(), job["priceMillis"].as_i64().unwrap());
    let done = until("the job to end", LIMIT, || async {
        let job = rest.job(&id).await;
        matches!(job["state"].as_str(), Some("Complete" | "Failed")).then_some(job)
    })
    .await;
    assert_eq!(done["state"], "Complete", "{done}");
    let file = rest.bytes(&format!("/api/v1/jobs/{id}/images/0")).await;
    let image = decode_png(&file).unwrap();
    assert_eq!((image.width, image.height), (64, 64), "the provider's picture");
    let holds = |mark: &[u8]| file.windows(mark.len()).any(|window| window == mark);
    assert!(holds(MARK) && holds(b"c2pa"), "a picture of others is marked as ours are");
    let bought = twin.bought();
    assert_eq!(bought.len(), 1);
    assert_eq!(bought[0].body["input"], json!({ "prompt": "a red square", "num_outputs": 1, "seed": 7 }));
    assert_eq!(credits_settled(&rest).await, (before - price, 0), "paid for once");

    let waits = rest.post("/api/v1/jobs", body).await["id"].as_str().unwrap().to_owned();
    let said = until("the pool to say that its budget is used up", LIMIT, || async {
        let pool: Value = serde_json::from_str(&cluster.kubectl(&["get", "gpupool", POOL, "--output=json"])).unwrap();
        let said = pool["status"]["provider"].clone();
        (said["usedUp"] == "day").then_some(said)
    })
    .await;
    assert_eq!((&said["day"]["spentMicroUsd"], &said["day"]["reservedMicroUsd"]), (&json!(PRICE), &json!(0)), "{said}");
    symlink(program("tintype"), folder.join("kubectl-tintype")).unwrap();
    let cost = plugin::run(&cluster, &["cost"]);
    assert!(cost.contains("replicate") && cost.contains("its jobs wait for the next day"), "{cost}");
    until("the job to say that the budget is what it waits for", LIMIT, || async {
        plugin::run(&cluster, &["explain", &waits]).contains("may cost this day is used up").then_some(())
    })
    .await;
    assert_eq!(rest.job(&waits).await["state"], "Queued");
    assert_eq!((twin.bought().len(), twin.calls("buy")), (1, 1), "nothing more was bought");

    // With more budget it goes on by itself.
    let more = json!({ "spec": { "provider": { "budget": { "dayMicroUsd": 2 * PRICE } } } }).to_string();
    cluster.kubectl(&["patch", "gpupool", POOL, "--type=merge", "--patch", &more]);
    until("the job that waited to end", LIMIT, || async {
        (rest.job(&waits).await["state"] == "Complete").then_some(())
    })
    .await;
    assert_eq!(twin.bought().len(), 2);
    assert_eq!(credits_settled(&rest).await, (before - 2 * price, 0));
}
