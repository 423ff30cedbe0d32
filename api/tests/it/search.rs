//! Searching in a real Typesense: what it finds, what it is told and forgets, and that nobody needs it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tintype_store::testing::own_address;
use tokio::process::{Child, Command};

use crate::browser::{Browser, PASSWORD};
use crate::clients;
use crate::rig::{Options, Rig, User, until};
use crate::worker::client;

const KEY: &str = "typesense-key";
const COLLECTION: &str = "pictures_of_a_test";
const BY_INDEX: &str = "tintype_api_searches_total{backend=\"typesense\"}";
const BY_DATABASE: &str = "tintype_api_searches_total{backend=\"postgres\"}";

/// A server on a port of its own, in its own folder.
struct Typesense {
    folder: tempfile::TempDir,
    url: String,
    /// Where it answers; its other port is the next.
    address: SocketAddr,
    process: Child,
}

impl Typesense {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = own_address();
        let process = launch(folder.path(), address);
        let typesense = Self { folder, url: format!("http://{address}"), address, process };
        typesense.answers().await;
        typesense
    }

    async fn answers(&self) {
        until("Typesense answers", || async {
            let answer = client().get(format!("{}/health", self.url)).send().await.ok()?;
            answer.text().await.ok().filter(|said| said.contains("true"))
        })
        .await;
    }

    /// As a crash would.
    async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    async fn start_again(&mut self) {
        self.process = launch(self.folder.path(), self.address);
        self.answers().await;
    }

    async fn ask(&self, method: Method, path: &str) -> (StatusCode, Value) {
        let request = client().request(method, format!("{}{path}", self.url)).header("x-typesense-api-key", KEY);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// Everything in the index, as text.
    async fn knows(&self) -> String {
        let path = format!("{}/collections/{COLLECTION}_1/documents/export", self.url);
        client().get(path).header("x-typesense-api-key", KEY).send().await.unwrap().text().await.unwrap()
    }
}

fn launch(folder: &Path, address: SocketAddr) -> Child {
    let mut command = Command::new(clients::tool("typesense", "typesense-server"));
    let [ip, port, peering] = [address.ip().to_string(), address.port().to_string(), (address.port() + 1).to_string()];
    command.arg("--data-dir").arg(folder).args(["--api-key", KEY, "--api-address", &ip, "--peering-address", &ip]);
    command.args(["--api-port", &port, "--peering-port", &peering]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap()
}

async fn rig(typesense: &Typesense) -> Rig {
    let mut options = Options::default();
    options.services.typesense.typesense_url = Some(typesense.url.clone());
    options.services.typesense.typesense_key = Some(KEY.to_owned());
    COLLECTION.clone_into(&mut options.services.typesense.typesense_collection);
    Rig::with(options).await
}

/// A picture of this; its id.
async fn draw(user: &User, prompt: &str) -> String {
    let made = user.post("/api/v1/jobs", json!({ "model": "tintype/shapes", "prompt": prompt })).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
    user.job_in(made.body["id"].as_str().unwrap(), "Complete").await;
    user.settled().await;
    user.get("/api/v1/images?limit=1").await.body["data"][0]["id"].as_str().unwrap().to_owned()
}

/// Ids that a search finds, and whether another page follows.
async fn find(user: &User, query: &str) -> (Vec<String>, Option<String>) {
    let reply = user.get(&format!("/api/v1/images?{query}")).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    let ids = reply.body["data"].as_array().unwrap().iter().map(|image| image["id"].as_str().unwrap().to_owned());
    (ids.collect(), reply.body["next"].as_str().map(str::to_owned))
}

/// Waits until the index finds these.
async fn finds(rig: &Rig, user: &User, query: &str, ids: &[&str]) {
    until(&format!("{query} finds {ids:?}"), || async {
        let before = rig.metric(BY_INDEX).await;
        let (found, _) = find(user, query).await;
        (found == ids && rig.metric(BY_INDEX).await > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn words_are_found_misspelt_or_begun_among_ones_own_pictures_newest_first() {
    let typesense = Typesense::start().await;
    let rig = rig(&typesense).await;
    let _worker = rig.serve("w");
    let (ada, eve) = (rig.user().await, rig.user().await);
    let first = draw(&ada, "a red gondola on the canal").await;
    let foreign = draw(&eve, "a blue gondola").await;
    let second = draw(&ada, "two gondolas at dusk, \"quoted\"").await;
    draw(&ada, "a lighthouse").await;
    finds(&rig, &ada, "q=gondlas", &[&second, &first]).await;
    finds(&rig, &ada, "q=canal%20gondola", &[&first]).await;
    finds(&rig, &ada, "q=-dusk%20%22gond", &[&second]).await;
    finds(&rig, &eve, "q=gondlas", &[&foreign]).await;
    let (page, next) = find(&ada, "q=gondlas&limit=1").await;
    assert_eq!(page, std::slice::from_ref(&second));
    assert_eq!(find(&ada, &format!("q=gondlas&limit=1&cursor={}", next.unwrap())).await, (vec![first.clone()], None));
    // What the index does not know, the database adds.
    let starred =
        ada.send(Method::PATCH, &format!("/api/v1/images/{first}"), &[], Some(json!({ "starred": true }))).await;
    assert_eq!(starred.status, StatusCode::OK);
    assert_eq!(find(&ada, "q=gondlas&starred=true").await.0, std::slice::from_ref(&first));
    assert_eq!(find(&ada, "q=gondlas&model=tintype/shapes").await.0, [second.clone(), first.clone()]);
    assert_eq!(find(&ada, "q=gondlas&model=other").await.0, Vec::<String>::new());
    assert_eq!(find(&ada, "q=gondlas&ratio=1:1").await.0, [second.clone(), first.clone()]);
    assert_eq!(find(&ada, "q=gondlas&ratio=16:9").await.0, Vec::<String>::new());
    let seed = ada.get(&format!("/api/v1/images/{first}")).await.body["seed"].clone();
    assert_eq!(find(&ada, &format!("q=gondlas&seed={seed}")).await.0, std::slice::from_ref(&first));
    assert_eq!(find(&ada, "q=gondlas&to=1000").await.0, Vec::<String>::new());
    assert_eq!(ada.get("/api/v1/images/days?q=gondlas").await.body["data"][0]["images"], 2);
    assert!(rig.metric(BY_INDEX).await >= 9.0);
    // Gone from one's eyes at once, from the index when it cannot be taken back any more.
    assert_eq!(ada.delete(&format!("/api/v1/images/{second}")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(find(&ada, "q=gondlas").await.0, [first]);
    assert!(typesense.knows().await.contains(&second));
    sqlx::query("update image set deleting_ms = 1 where deleting_ms is not null").execute(&rig.pool).await.unwrap();
    until("the index forgets it", || async { (!typesense.knows().await.contains(&second)).then_some(()) }).await;
}

#[tokio::test]
async fn while_it_is_away_the_database_searches_and_what_came_meanwhile_is_found_later() {
    let mut typesense = Typesense::start().await;
    let rig = rig(&typesense).await;
    let _worker = rig.serve("w");
    let ada = rig.user().await;
    let first = draw(&ada, "a red gondola").await;
    finds(&rig, &ada, "q=gondlas", &[&first]).await;
    typesense.kill().await;
    assert_eq!(
        find(&ada, "q=ondol").await.0,
        std::slice::from_ref(&first),
        "as the database finds it, in the midst of a word"
    );
    let second = draw(&ada, "a gondola at night").await;
    assert_eq!(find(&ada, "q=gondola").await.0, [second.clone(), first.clone()]);
    assert!(rig.metric(BY_DATABASE).await >= 2.0);
    typesense.start_again().await;
    hurry(&rig).await;
    finds(&rig, &ada, "q=gondlas", &[&second, &first]).await;

    // It comes back with nothing: until all pictures are in it again, it is not asked.
    let (status, _) = typesense.ask(Method::DELETE, &format!("/collections/{COLLECTION}_1")).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = typesense.ask(Method::DELETE, &format!("/aliases/{COLLECTION}")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(find(&ada, "q=gondola").await.0, [second.clone(), first.clone()]);
    let third = draw(&ada, "gondolas").await;
    finds(&rig, &ada, "q=gondlas", &[&third, &second, &first]).await;
}

/// What waits for another try need not wait.
async fn hurry(rig: &Rig) {
    const SQL: &str =
        "update errand set due_ms = 0 where lane like 'search%' and claimed_ms is null and dead_ms is null
        and key is distinct from 'clock'";
    sqlx::query(SQL).execute(&rig.pool).await.unwrap();
}

#[tokio::test]
async fn who_is_erased_is_not_in_the_index_and_what_it_should_not_know_goes_with_the_next_pass() {
    let typesense = Typesense::start().await;
    let rig = rig(&typesense).await;
    let _worker = rig.serve("w");
    let mut ada = Browser::signed_up(&rig, "ada@example.org").await;
    let account = ada.get("/api/v1/me").await.body["account"]["id"].clone();
    let made = ada.post("/api/v1/jobs", json!({ "model": "tintype/shapes", "prompt": "a canarybird" })).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
    until("the index knows it", || async { typesense.knows().await.contains("canarybird").then_some(()) }).await;
    let said = json!({ "account": account, "currentPassword": PASSWORD });
    let erased = ada.send(Method::DELETE, "/api/v1/me", Some(said)).await;
    assert!(erased.status.is_success(), "{}", erased.body);
    until("the index forgets them", || async { (!typesense.knows().await.contains("canarybird")).then_some(()) }).await;

    // A picture whose row went unheard of.
    let eve = rig.user().await;
    let (stray, kept) = (draw(&eve, "a stray").await, draw(&eve, "a keepsake").await);
    until("the index knows both", || async {
        let knows = typesense.knows().await;
        (knows.contains(&stray) && knows.contains(&kept)).then_some(())
    })
    .await;
    sqlx::query("delete from image where id = $1::uuid").bind(&stray).execute(&rig.pool).await.unwrap();
    let again = "update errand set due_ms = 0 where lane = 'search-pass' and claimed_ms is null";
    sqlx::query(again).execute(&rig.pool).await.unwrap();
    until("the pass takes it out", || async { (!typesense.knows().await.contains(&stray)).then_some(()) }).await;
    assert!(typesense.knows().await.contains(&kept));
}
