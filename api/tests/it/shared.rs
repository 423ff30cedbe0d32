//! What replicas share, in a real Valkey: one limit for all, sessions and balances that are never older than what was done.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::StatusCode;
use serde_json::json;
use sqlx::PgPool;
use tintype_api::rate::Rate;
use tintype_api::services::shared::{Kind, Shared};
use tintype_types::Timestamp;
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::browser::Browser;
use crate::clients;
use crate::crash::spawn_with;
use crate::rig::{ADMIN_TOKEN, Options, PRICE, Rig, User, prepare, until};
use crate::support::database;
use crate::worker::client;

/// A server on a socket of its own, in its own folder.
struct Valkey {
    folder: tempfile::TempDir,
    process: Child,
}

impl Valkey {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = launch(folder.path());
        let valkey = Self { folder, process };
        valkey.answers().await;
        valkey
    }

    async fn answers(&self) {
        let client = redis_client(&self.url());
        until("Valkey answers", || async { client.get_multiplexed_async_connection().await.ok() }).await;
    }

    fn url(&self) -> String {
        format!("unix://{}", socket(self.folder.path()).display())
    }

    /// As a crash would.
    async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    async fn start_again(&mut self) {
        self.process = launch(self.folder.path());
        self.answers().await;
    }
}

fn redis_client(url: &str) -> redis::Client {
    redis::Client::open(url).unwrap()
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("valkey.sock")
}

fn launch(folder: &Path) -> Child {
    let mut command = Command::new(clients::tool("valkey", "valkey-server"));
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(socket(folder));
    command.arg("--dir").arg(folder).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap()
}

/// One that has answered already: the first question also makes the connection.
async fn shared(url: &str) -> Shared {
    let shared = Shared::open(Some(url), &prometheus::Registry::new()).unwrap();
    let rate = Rate { per_minute: 60, burst: 10 };
    until("it answers", || shared.take(rate, Uuid::now_v7(), Timestamp(1))).await;
    shared
}

/// What is shared stands for a while, so the rate is slow and time is told, not waited for.
#[tokio::test]
async fn the_limit_of_many_replicas_is_the_limit_of_one() {
    let valkey = Valkey::start().await;
    let rate = Rate { per_minute: 1, burst: 5 };
    let replicas = [shared(&valkey.url()).await, shared(&valkey.url()).await];
    let compared = async || {
        let mut rng = StdRng::seed_from_u64(7);
        let (who, mut now, mut paid_off, mut refused) = (Uuid::now_v7(), crate::support::now().0, 0, 0);
        for n in 0..200 {
            now += rng.random_range(0..100_000);
            let (next, expected) = rate.take(paid_off, now * 1_000);
            paid_off = next;
            // A machine that is busy may not answer in time: nobody knows then whether it was counted.
            let standing = replicas[n % 2].take(rate, who, Timestamp(now)).await?;
            assert_eq!(standing, expected, "request {n}");
            refused += usize::from(expected.retry_seconds.is_some());
        }
        Some(refused)
    };
    let refused = until("all were answered", compared).await;
    assert!((20..180).contains(&refused), "{refused} of 200 were refused");
}

/// A program with a database of its own, as one machine's scheduler wants it.
struct Replica {
    url: String,
    pool: PgPool,
    _folder: tempfile::TempDir,
    _process: Child,
}

impl Replica {
    async fn start(redis: &str) -> Self {
        let (pool, database_url) = database().await;
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let said = [("TINTYPE_REDIS_URL", redis), ("TINTYPE_REQUESTS_PER_MINUTE", "1")];
        let (process, url) = spawn_with(folder.path(), &database_url, 0, &said).await;
        Self { url, pool, _folder: folder, _process: process }
    }

    /// How often Redis did not answer.
    async fn unanswered(&self) -> u64 {
        let text = client().get(format!("{}/metrics", self.url)).send().await.unwrap().text().await.unwrap();
        let lines =
            text.lines().filter(|line| line.starts_with("tintype_api_shared_calls_total{") && !line.contains("\"ok\""));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Somebody the other knows as well, by the same key.
    async fn somebody(&self, other: &Self) -> (User, User) {
        let admin = User::new(&self.url, ADMIN_TOKEN);
        let made = admin.post("/api/v1/users", json!({ "name": "tester" })).await;
        let user = User::new(&self.url, made.body["apiKey"].as_str().unwrap());
        let kept: (String, Uuid, Vec<u8>) =
            sqlx::query_as("select id, account, secret_sha256 from api_key order by created_ms desc, id limit 1")
                .fetch_one(&self.pool)
                .await
                .unwrap();
        sqlx::query(
            "with a as (insert into account (id, kind, name, created_ms) values ($2, 'user', 'tester', 0))
            insert into api_key (id, account, name, secret_sha256, created_ms) values ($1, $2, 'k', $3, 0)",
        )
        .bind(&kept.0)
        .bind(kept.1)
        .bind(&kept.2)
        .execute(&other.pool)
        .await
        .unwrap();
        let there = user.at(&other.url);
        (user, there)
    }
}

/// What two replicas say to one request each, of somebody who has made none.
async fn ask_both(a: &Replica, b: &Replica) -> [StatusCode; 2] {
    let (here, there) = a.somebody(b).await;
    [here.get("/v1/models").await.status, there.get("/v1/models").await.status]
}

#[tokio::test]
async fn two_programs_share_one_limit_and_each_has_its_own_while_valkey_is_away() {
    const SHARED: [StatusCode; 2] = [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS];
    const APART: [StatusCode; 2] = [StatusCode::OK; 2];
    let mut valkey = Valkey::start().await;
    let (a, b) = (Replica::start(&valkey.url()).await, Replica::start(&valkey.url()).await);
    let unanswered = async || a.unanswered().await + b.unanswered().await;
    // One request a minute: the second comes too early, whoever is asked. Where a busy machine let a question go without
    // an answer, nothing is shown.
    let shared = async || {
        let before = unanswered().await;
        let said = ask_both(&a, &b).await;
        (unanswered().await == before).then_some(said)
    };
    assert_eq!(until("Valkey answers all questions", shared).await, SHARED);
    valkey.kill().await;
    for _ in 0..3 {
        assert_eq!(ask_both(&a, &b).await, APART, "nothing fails, and each counts for itself");
    }
    for replica in [&a, &b] {
        let text = client().get(format!("{}/metrics", replica.url)).send().await.unwrap().text().await.unwrap();
        assert!(text.contains("tintype_api_shared_up 0"), "it says so");
    }
    valkey.start_again().await;
    until("the limit is shared again", async || (ask_both(&a, &b).await == SHARED).then_some(())).await;
}

async fn rig_with(valkey: &Valkey) -> Rig {
    let mut options = Options::default();
    options.services.redis_url = Some(valkey.url());
    Rig::with(options).await
}

#[tokio::test]
async fn a_balance_is_never_older_than_what_its_owner_did() {
    let valkey = Valkey::start().await;
    let rig = rig_with(&valkey).await;
    let user = rig.user().await;
    for n in 1..=5 {
        assert_eq!(user.credits().await.1, PRICE * (n - 1));
        user.submit().await;
        assert_eq!(user.credits().await.1, PRICE * n, "what was held just now is seen");
    }
    // It is kept at all: of somebody who does nothing, the book is not read.
    let idle = rig.user().await;
    until("the book is not read", async || {
        idle.credits().await;
        sqlx::query("alter table ledger_account rename to hidden").execute(&rig.pool).await.unwrap();
        let answered = idle.get("/api/v1/me").await.status;
        sqlx::query("alter table hidden rename to ledger_account").execute(&rig.pool).await.unwrap();
        (answered == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_session_that_is_kept_ends_when_it_is_ended() {
    let valkey = Valkey::start().await;
    let rig = rig_with(&valkey).await;
    let kept = async |browser: &Browser| {
        let mut asking = browser.clone();
        assert_eq!(asking.get("/api/v1/me").await.status, StatusCode::OK);
        sqlx::query("alter table session rename to hidden").execute(&rig.pool).await.unwrap();
        let answered = asking.get("/api/v1/me").await.status;
        sqlx::query("alter table hidden rename to session").execute(&rig.pool).await.unwrap();
        answered == StatusCode::OK
    };
    let mut ada = Browser::signed_up(&rig, "ada@example.org").await;
    until("the session is kept", async || kept(&ada).await.then_some(())).await;
    let mut stolen = ada.clone();
    assert_eq!(ada.post("/api/v1/auth/logout", json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(stolen.get("/api/v1/me").await.status, StatusCode::UNAUTHORIZED, "at once");
    // Ended by somebody else: as soon as the database has told it.
    let mut eve = Browser::signed_up(&rig, "eve@example.org").await;
    until("the session is kept", async || kept(&eve).await.then_some(())).await;
    sqlx::query("update person set suspended_ms = 1 where email = 'eve@example.org'").execute(&rig.pool).await.unwrap();
    let asking = eve.clone();
    let refused = async || (asking.clone().get("/api/v1/me").await.status == StatusCode::UNAUTHORIZED).then_some(());
    until("it is refused", refused).await;
    assert_eq!(eve.get("/api/v1/me").await.status, StatusCode::UNAUTHORIZED, "and stays so");
    let told: Option<serde_json::Value> =
        shared(&valkey.url()).await.find(Kind::Session, "not the hash of a token").await;
    assert_eq!(told, None);
}
