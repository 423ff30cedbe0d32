//! The crash campaign: 64 clients do everything that moves credits while the API and PostgreSQL are killed with SIGKILL, ten
//! times each. After each burst every invariant holds; in the end everything that was answered is so, once.
//!
//! It ends when it is over or nothing moves any more, and says how far it is and what it waits for ([`progress`]).
//!
//! `CAMPAIGN_OPERATIONS` says how much (`make soak` says 100,000), `TINTYPE_TEST_SEED` repeats what chance decided.

pub(crate) mod books;
mod customer;
mod progress;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tintype_pg::{ManagedPg, ManagedPgConfig, PgBinaries};
use tokio::process::Child;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::crash::spawn_with;
use crate::payments::stripe_twin;
use crate::rig::{ADMIN_TOKEN, WORKER_TOKEN, prepare, until};
use crate::worker::{Worker, client};
use customer::Customer;
use progress::Progress;

const CLIENTS: usize = 64;
/// Fewer than clients, so that they wait for each other's books.
const ACCOUNTS: usize = 8;
/// So many that it is the API that is busy, and no client waits for a worker.
const WORKERS: usize = 16;
/// In each burst both are killed once.
const BURSTS: u64 = 10;
/// Operations in all, unless the environment says otherwise: about a minute's worth.
const OPERATIONS: u64 = 800;

/// What clients were told.
#[derive(Default)]
pub(super) struct Heard {
    /// Jobs by the key they were ordered with.
    jobs: BTreeMap<String, BTreeSet<String>>,
    /// Milli-credits given, by account.
    gifts: BTreeMap<Uuid, i64>,
    /// Payments whose button was pressed.
    payments: BTreeSet<String>,
}

impl Heard {
    fn add(&mut self, told: Self) {
        let Self { jobs, gifts, payments } = told;
        self.payments.extend(payments);
        for (key, ids) in jobs {
            self.jobs.entry(key).or_default().extend(ids);
        }
        for (account, amount) in gifts {
            *self.gifts.entry(account).or_default() += amount;
        }
    }
}

/// Everything that is up, or was until just now.
struct Town {
    folder: tempfile::TempDir,
    pg_config: ManagedPgConfig,
    pg: Option<ManagedPg>,
    database_url: String,
    api: Child,
    url: String,
    port: u16,
    stripe: String,
}

impl Town {
    async fn found() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let extra: Vec<PathBuf> = std::env::var_os("TINTYPE_CACHE").into_iter().map(PathBuf::from).collect();
        let binaries = PgBinaries::find(&extra).unwrap();
        // Durable: a commit that was answered must be there after the kill.
        let pg_config = ManagedPgConfig { data_dir: pg_folder(), binaries, durable: true };
        let pg = start_pg(&pg_config).await;
        pg.create_database("campaign").unwrap();
        let database_url = pg.url("campaign");
        prepare(folder.path());
        let stripe = stripe_twin().await;
        let (api, url) = spawn(folder.path(), &database_url, 0, &stripe).await;
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        let hook = json!({ "url": format!("{url}/hooks/stripe"), "secret": "whsec_test", "copies": 2 });
        client().post(format!("{stripe}/twin/webhook")).json(&hook).send().await.unwrap();
        Self { folder, pg_config, pg: Some(pg), database_url, api, url, port, stripe }
    }

    async fn user(&self) -> (Uuid, String) {
        let body = json!({ "name": "x" }).to_string();
        let made = client().post(format!("{}/api/v1/users", self.url)).bearer_auth(ADMIN_TOKEN).body(body);
        let made: Value = made.send().await.unwrap().json().await.unwrap();
        let account = made["account"]["id"].as_str().unwrap().parse().unwrap();
        (account, made["apiKey"].as_str().unwrap().to_owned())
    }

    /// Starts the API again whenever it ends by itself, as whatever runs it in earnest does.
    async fn supervised(&mut self) -> std::convert::Infallible {
        loop {
            self.api.wait().await.unwrap();
            (self.api, _) = spawn(self.folder.path(), &self.database_url, self.port, &self.stripe).await;
        }
    }

    async fn kill_api(&mut self) {
        // It may have ended by itself.
        drop(self.api.kill().await);
        (self.api, _) = spawn(self.folder.path(), &self.database_url, self.port, &self.stripe).await;
    }

    /// An API whose database is gone may end by itself.
    async fn kill_pg(&mut self) {
        let pg = self.pg.take().unwrap();
        let pid = pg.pid().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        // Lets go of the folder.
        drop(pg);
        self.pg = Some(start_pg(&self.pg_config).await);
    }

    async fn end(mut self) {
        drop(self.api.kill().await);
        drop(self.pg.take());
        // Only a folder in the way if it stays.
        drop(std::fs::remove_dir_all(&self.pg_config.data_dir));
    }
}

/// A socket's path is short, so the folder lies high up.
fn pg_folder() -> PathBuf {
    tempfile::Builder::new().prefix("tt-camp-").tempdir().unwrap().keep()
}

/// Starts PostgreSQL; after a kill its children may hold on to the folder for a moment.
async fn start_pg(config: &ManagedPgConfig) -> ManagedPg {
    until("PostgreSQL is up", || {
        let config = config.clone();
        async move { tokio::task::spawn_blocking(move || ManagedPg::start(config)).await.unwrap().ok() }
    })
    .await
}

pub(crate) async fn spawn(folder: &Path, database_url: &str, port: u16, stripe: &str) -> (Child, String) {
    let stripe = [
        ("STRIPE_SECRET_KEY", "sk_test_key"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_test"),
        ("TINTYPE_STRIPE_URL", stripe),
        ("TINTYPE_REQUESTS_PER_MINUTE", "60000000"),
        ("TINTYPE_WEBHOOK_PRIVATE_TARGETS", "true"),
    ];
    spawn_with(folder, database_url, port, &stripe).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_invented_whoever_is_killed() {
    let seed: u64 = std::env::var("TINTYPE_TEST_SEED").map_or_else(|_| rand::rng().next_u64(), |s| s.parse().unwrap());
    let operations: u64 = std::env::var("CAMPAIGN_OPERATIONS").map_or(OPERATIONS, |n| n.parse().unwrap());
    println!("TINTYPE_TEST_SEED={seed} CAMPAIGN_OPERATIONS={operations}");
    let mut town = Town::found().await;
    // Without the API's limits: reading all books of a long campaign takes a while.
    let pool = sqlx::PgPool::connect(&town.database_url).await.unwrap();
    let mut users = Vec::new();
    for _ in 0..ACCOUNTS {
        users.push(town.user().await);
    }
    let users = Arc::new(users);
    let workers: Vec<_> =
        (0..WORKERS).map(|n| tokio::spawn(Worker::new(&town.url, WORKER_TOKEN, &format!("w{n}")).serve())).collect();

    let progress = Progress::of(operations / BURSTS * BURSTS);
    let watching = tokio::spawn(progress.clone().watch(pool.clone()));
    let mut heard = Heard::default();
    for burst in 0..BURSTS {
        let size = operations / BURSTS;
        let left = Arc::new(AtomicU64::new(size));
        let clients: Vec<JoinHandle<Heard>> = (0..CLIENTS)
            .map(|n| {
                let rng = StdRng::seed_from_u64(seed ^ (burst << 32) ^ n as u64);
                let client = Customer::new((&town.url, &town.stripe), &users, rng, &progress);
                tokio::spawn(client.live(format!("{burst}-{n}"), Arc::clone(&left)))
            })
            .collect();
        let gone = async |part: u64| {
            let until_left = size - size * part / 3;
            let what = format!("clients to be through {part} thirds of burst {burst}");
            progress.until(&what, || async { (left.load(Ordering::Relaxed) <= until_left).then_some(()) }).await;
        };
        // In the midst of it, the one and then the other, in turn.
        gone(1).await;
        if burst % 2 == 0 {
            town.kill_api().await;
        } else {
            town.kill_pg().await;
        }
        tokio::select! {
            never = town.supervised() => match never {},
            () = gone(2) => {}
        }
        if burst % 2 == 0 {
            town.kill_pg().await;
        }
        town.kill_api().await;
        for client in clients {
            heard.add(client.await.unwrap());
        }
        // Reading all books takes a while, and moves nothing.
        println!("burst {burst} is over; the books are read");
        assert_eq!(books::faults(&pool).await, Vec::<String>::new(), "burst {burst}, seed {seed}");
        progress.moved();
    }
    books::settle(&pool, &progress).await;
    watching.abort();
    for worker in workers {
        worker.abort();
    }
    assert_eq!(books::faults(&pool).await, Vec::<String>::new(), "seed {seed}");
    books::account_for(&pool, &heard, seed).await;
    pool.close().await;
    town.end().await;
}
