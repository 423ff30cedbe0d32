//! Background lanes on real Postgres: an errand exactly when its transaction committed, one replica at a time, tried again
//! after failures, crashes and slowness, dead in the end and seen by the administrator.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use prometheus::Registry;
use serde_json::{Value, json};
use sqlx::PgPool;
use tintype_api::lanes::{self, Bell, Errand, Failed, Lane, LaneMetrics, LanesConfig, NewErrand, Rules, errand};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::rig::{ADMIN_TOKEN, Rig, until};
use crate::support::{database, now};

const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(1)];

/// Notes every try; what it does is in the payload: `fail` times, `panic` once, `hang` once, `refuse`.
struct Diary {
    tries: Mutex<BTreeMap<String, u32>>,
    at_once: AtomicU32,
    most_at_once: AtomicU32,
    every: Option<Duration>,
}

impl Diary {
    fn new(every: Option<Duration>) -> Arc<Self> {
        Arc::new(Self { tries: Mutex::default(), at_once: AtomicU32::new(0), most_at_once: AtomicU32::new(0), every })
    }

    fn tries(&self) -> BTreeMap<String, u32> {
        self.tries.lock().unwrap().clone()
    }

    fn of(&self, name: &str) -> u32 {
        self.tries().get(name).copied().unwrap_or_default()
    }
}

impl Lane for Diary {
    fn name(&self) -> &'static str {
        "diary"
    }

    fn rules(&self) -> Rules {
        Rules { lease: Duration::from_millis(300), at_a_time: 4, pauses: &PAUSES, every: self.every }
    }

    fn run<'a>(&'a self, errand: &'a Errand) -> BoxFuture<'a, Result<(), Failed>> {
        Box::pin(async move {
            let name = errand.payload["name"].as_str().unwrap_or("clock").to_owned();
            *self.tries.lock().unwrap().entry(name).or_default() += 1;
            let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            tokio::task::yield_now().await;
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            let first = errand.attempt == 1;
            assert!(!first || errand.payload["do"] != "panic", "the errand wants it so");
            if first && errand.payload["do"] == "hang" {
                std::future::pending::<()>().await;
            }
            if errand.payload["do"] == "refuse" {
                return Err(Failed::never("no such address"));
            }
            if errand.attempt <= errand.payload["fail"].as_i64().unwrap_or(0) as i32 {
                return Err(Failed::later("not today"));
            }
            Ok(())
        })
    }
}

fn run(pool: &PgPool, lane: &Arc<Diary>, bell: &Bell, stop: &CancellationToken) -> JoinSet<()> {
    let lanes: Vec<Arc<dyn Lane>> = vec![Arc::clone(lane) as Arc<dyn Lane>];
    let metrics = LaneMetrics::new(&Registry::new()).unwrap();
    lanes::start(
        LanesConfig { pool: pool.clone().into(), bell: bell.clone(), metrics, alive: Arc::new(|_| ()), lanes },
        stop,
    )
}

fn errand(key: Option<&str>, payload: Value) -> NewErrand {
    NewErrand { key: key.map(str::to_owned), payload, due: now() }
}

async fn send(pool: &PgPool, errands: &[NewErrand]) -> u64 {
    errand::send(&mut pool.acquire().await.unwrap(), "diary", errands, now()).await.unwrap()
}

async fn left(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from errand where dead_ms is null").fetch_one(pool).await.unwrap()
}

async fn empty(pool: &PgPool) {
    until("every errand is done", || async { (left(pool).await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn each_errand_is_done_once_by_one_of_two_replicas() {
    let (pool, _) = database().await;
    let stop = CancellationToken::new();
    let (one, two) = (Diary::new(None), Diary::new(None));
    let bell = Bell::default();
    // The second replica has a bell of its own: it hears of errands through the database.
    let tasks = [run(&pool, &one, &bell, &stop), run(&pool, &two, &Bell::default(), &stop)];
    let errands: Vec<_> = (0..300).map(|n| errand(None, json!({ "name": n.to_string() }))).collect();
    assert_eq!(send(&pool, &errands).await, 300);
    bell.ring();
    empty(&pool).await;
    let mut all = one.tries();
    for (name, tries) in two.tries() {
        *all.entry(name).or_default() += tries;
    }
    assert_eq!(all.len(), 300);
    assert!(all.values().all(|tries| *tries == 1), "{all:?}");
    assert!(one.most_at_once.load(Ordering::SeqCst) <= 4, "no more at a time than the rules say");
    stop.cancel();
    for tasks in tasks {
        tasks.join_all().await;
    }
}

#[tokio::test]
async fn there_is_an_errand_exactly_when_its_transaction_committed_and_one_a_key() {
    let (pool, _) = database().await;
    let mut tx = pool.begin().await.unwrap();
    errand::send(&mut tx, "diary", &[errand(None, json!({}))], now()).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(left(&pool).await, 0);
    assert_eq!(send(&pool, &[errand(Some("a"), json!(1)), errand(Some("b"), json!(1))]).await, 2);
    assert_eq!(send(&pool, &[errand(Some("a"), json!(2)), errand(Some("c"), json!(1))]).await, 1, "a is waiting");
    let stop = CancellationToken::new();
    let _tasks = run(&pool, &Diary::new(None), &Bell::default(), &stop);
    empty(&pool).await;
    assert_eq!(send(&pool, &[errand(Some("a"), json!(3))]).await, 1, "a was done: it may come again");
    stop.cancel();
}

#[tokio::test]
async fn what_fails_panics_or_hangs_is_tried_again_and_is_dead_after_its_last_try() {
    let (pool, _) = database().await;
    let stop = CancellationToken::new();
    let lane = Diary::new(None);
    let _tasks = run(&pool, &lane, &Bell::default(), &stop);
    send(
        &pool,
        &[
            errand(None, json!({ "name": "twice", "fail": 2 })),
            errand(None, json!({ "name": "always", "fail": 9 })),
            errand(None, json!({ "name": "panics", "do": "panic" })),
            errand(None, json!({ "name": "hangs", "do": "hang" })),
            errand(None, json!({ "name": "refused", "do": "refuse" })),
        ],
    )
    .await;
    empty(&pool).await;
    let tries: Vec<_> = ["twice", "always", "panics", "hangs", "refused"].map(|name| lane.of(name)).to_vec();
    assert_eq!(tries, [3, 3, 2, 2, 1]);
    let dead: Vec<(String, String)> =
        sqlx::query_as("select payload->>'name', error from errand order by 1").fetch_all(&pool).await.unwrap();
    let dead: Vec<_> = dead.iter().map(|(name, error)| (name.as_str(), error.as_str())).collect();
    assert_eq!(dead, [("always", "not today"), ("refused", "no such address")]);
    stop.cancel();
}

#[tokio::test]
async fn an_errand_whose_replica_died_goes_to_another_and_the_dead_ones_word_is_not_taken() {
    let (pool, _) = database().await;
    send(&pool, &[errand(None, json!({ "name": "left" }))]).await;
    // A replica that claimed and vanished, with its last try: the row is all that it leaves.
    sqlx::query("update errand set attempt = 1, claimed_ms = 1, due_ms = 1").execute(&pool).await.unwrap();
    let lane = Diary::new(None);
    let stop = CancellationToken::new();
    let _tasks = run(&pool, &lane, &Bell::default(), &stop);
    empty(&pool).await;
    assert_eq!(lane.of("left"), 1);
    // One that never came back from any of its tries.
    // In one transaction, or the lane that runs does it before it is made so.
    let mut tx = pool.begin().await.unwrap();
    errand::send(&mut tx, "diary", &[errand(None, json!({ "name": "lost" }))], now()).await.unwrap();
    sqlx::query("update errand set attempt = 3, claimed_ms = 1, due_ms = 1").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    until("it is dead", || async {
        let error: Option<String> = sqlx::query_scalar("select error from errand where dead_ms is not null")
            .fetch_optional(&pool)
            .await
            .unwrap();
        error.filter(|error| error == "its last try never ended")
    })
    .await;
    stop.cancel();
}

#[tokio::test]
async fn what_goes_by_the_clock_is_done_by_one_replica_a_time() {
    let (pool, _) = database().await;
    let stop = CancellationToken::new();
    let hour = Some(Duration::from_hours(1));
    let (one, two) = (Diary::new(hour), Diary::new(hour));
    let _tasks = [run(&pool, &one, &Bell::default(), &stop), run(&pool, &two, &Bell::default(), &stop)];
    let done = |times: u32| {
        let (one, two) = (&one, &two);
        move || async move { (one.of("clock") + two.of("clock") == times).then_some(()) }
    };
    until("it was done once", done(1)).await;
    until("the next time is an hour away", || async {
        let due: i64 = sqlx::query_scalar("select due_ms from errand").fetch_one(&pool).await.unwrap();
        (due > now().0 as i64 + 3_500_000).then_some(())
    })
    .await;
    sqlx::query("update errand set due_ms = 0").execute(&pool).await.unwrap();
    until("it was done again", done(2)).await;
    stop.cancel();
}

#[tokio::test]
async fn the_administrator_sees_what_was_given_up_without_its_payload_and_has_it_tried_again() {
    let rig = Rig::start().await;
    let admin = rig.user().await.with_key(ADMIN_TOKEN);
    send(&rig.pool, &[errand(None, json!({ "address": "somebody@example.org" })), errand(None, json!({}))]).await;
    sqlx::query("update errand set dead_ms = 1, attempt = 3, error = 'refused' where payload <> '{}'")
        .execute(&rig.pool)
        .await
        .unwrap();
    let lanes = admin.get("/api/v1/admin/lanes").await.body;
    let counts = ["lane", "waiting", "running", "dead"].map(|name| lanes["data"][0][name].clone());
    assert_eq!(counts, [json!("diary"), json!(1), json!(0), json!(1)]);
    let dead = admin.get("/api/v1/admin/errands?dead=true&lane=diary").await;
    let shown = &dead.body["data"][0];
    assert_eq!(
        (&shown["error"], &shown["attempts"], dead.body["data"][1].is_null()),
        (&json!("refused"), &json!(3), true)
    );
    assert!(!dead.body.to_string().contains("example.org"), "{}", dead.body);
    let path = format!("/api/v1/admin/errands/{}", shown["id"].as_str().unwrap());
    assert_eq!(admin.post(&format!("{path}/retry"), Value::Null).await.status, 204);
    assert_eq!(admin.post(&format!("{path}/retry"), Value::Null).await.error(), (404, "not_found", ""));
    let waiting = admin.get("/api/v1/admin/errands?lane=diary").await.body;
    assert_eq!(waiting["data"].as_array().unwrap().len(), 2);
    assert_eq!(admin.delete(&path).await.status, 404, "it is not dead any more");
    let user = rig.user().await;
    for path in ["/api/v1/admin/lanes", "/api/v1/admin/errands"] {
        assert_eq!(user.get(path).await.status, 401, "{path} is for the administrator");
    }
}
