//! What a known API key costs, and how soon a revoked one is dead: one JSON line a figure. Run with `make bench-keys`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench stops where it breaks, and prints its figures")]

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tintype_api::database;
use tintype_api::keyring::{self, Holder, Keyring};
use tintype_api::keys::ApiKey;
use tintype_api::services::shared::Shared;
use uuid::Uuid;

/// Keys in memory while one is checked.
const KEYS: u64 = 10_000;
/// Checks timed.
const CHECKS: u32 = 100_000;
/// Keys revoked, one after another.
const REVOCATIONS: usize = 100;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let check = check_micros();
    report("key_check_cached", check, "us", 5.0);
    let mut times = runtime.block_on(revocation_millis());
    times.sort_by(f64::total_cmp);
    report("key_revocation_p99", times[times.len() * 99 / 100], "ms", 100.0);
    report("key_revocation_median", times[times.len() / 2], "ms", 100.0);
}

fn report(name: &str, value: f64, unit: &str, goal: f64) {
    let line = serde_json::json!({ "name": name, "value": value, "unit": unit, "anchor": goal,
        "ratio": value / goal, "goal": 1.0, "ok": value <= goal });
    println!("{line}");
}

/// From the text of the header to the account.
fn check_micros() -> f64 {
    let ring = Keyring::default();
    let keys: Vec<ApiKey> = (0..KEYS).map(|seed| ApiKey::generate(&mut StdRng::seed_from_u64(seed))).collect();
    ring.beat();
    for key in &keys {
        ring.keep(ring.ticket().unwrap(), key, Holder::unlimited(Uuid::nil()));
    }
    let text = keys[keys.len() / 2].reveal();
    ring.beat();
    let started = Instant::now();
    for n in 0..CHECKS {
        if n % 10_000 == 0 {
            ring.beat();
        }
        assert!(ApiKey::parse(text).and_then(|key| ring.find(&key)).is_some());
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(CHECKS)
}

/// From the commit of another connection's `update` to the memory of this program.
async fn revocation_millis() -> Vec<f64> {
    let url = tokio::task::spawn_blocking(tintype_pg::testing::fresh_database).await.unwrap();
    let pool = database::connect(&url).await.unwrap();
    database::migrate(&pool).await.unwrap();
    let ring = Keyring::default();
    let listening = tokio::spawn(keyring::listen(pool.clone().into(), ring.clone(), Shared::default()));
    let account = Uuid::now_v7();
    sqlx::query("insert into account (id, kind, name, created_ms) values ($1, 'user', 'bench', 0)")
        .bind(account)
        .execute(&pool)
        .await
        .unwrap();
    let mut times = Vec::new();
    for n in 0..REVOCATIONS {
        let key = ApiKey::generate(&mut StdRng::seed_from_u64(n as u64));
        sqlx::query("insert into api_key (id, account, name, secret_sha256, created_ms) values ($1, $2, 'k', $3, 0)")
            .bind(key.id())
            .bind(account)
            .bind(&key.sha256()[..])
            .execute(&pool)
            .await
            .unwrap();
        while ring.find(&key).is_none() {
            if let Some(ticket) = ring.ticket() {
                ring.keep(ticket, &key, Holder::unlimited(account));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        sqlx::query("update api_key set revoked_ms = 1 where id = $1").bind(key.id()).execute(&pool).await.unwrap();
        let started = Instant::now();
        while ring.find(&key).is_some() {
            tokio::task::yield_now().await;
        }
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    listening.abort();
    times
}
