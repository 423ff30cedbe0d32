//! The API killed with SIGKILL at random moments, over and over, while jobs run: in the end every hold has ended once.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use reqwest::Method;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::rig::{ADMIN_TOKEN, PRICE, WORKER_TOKEN, prepare, read_port, until};
use crate::support::{database, ledger_faults};
use crate::worker::{Worker, client, steady_client};

const KILLS: usize = 12;
const JOBS: usize = 30;

async fn spawn(folder: &Path, database_url: &str, port: u16) -> (Child, String) {
    spawn_with(folder, database_url, port, &[]).await
}

/// The API as a program of its own, with more said in its environment.
pub(crate) async fn spawn_with(
    folder: &Path,
    database_url: &str,
    port: u16,
    environment: &[(&str, &str)],
) -> (Child, String) {
    let port_file = folder.join("port");
    let _ = std::fs::remove_file(&port_file);
    let mut command = Command::new(env!("CARGO_BIN_EXE_api"));
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--lease-ms", "1000", "--port-file"]).arg(&port_file);
    command.arg("--store-dir").arg(folder.join("images")).arg("--store-secret-file").arg(folder.join("store-secret"));
    command.arg("--worker-token-file").arg(folder.join("worker-token"));
    command.arg("--admin-token-file").arg(folder.join("admin-token")).arg("--models-dir").arg(folder.join("models"));
    command
        .envs(environment.iter().copied())
        .env("DATABASE_URL", database_url)
        .env("TINTYPE_LOG", "warn")
        .kill_on_drop(true)
        .stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    let address = tokio::select! {
        address = read_port(port_file) => address,
        ended = child.wait() => panic!("the API ended: {ended:?}"),
    };
    (child, format!("http://{address}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_every_job_is_settled_once() {
    let seed: u64 = std::env::var("TINTYPE_TEST_SEED").map_or_else(|_| rand::rng().next_u64(), |s| s.parse().unwrap());
    println!("TINTYPE_TEST_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (pool, database_url) = database().await;
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let (mut api, url) = spawn(folder.path(), &database_url, 0).await;
    let port = url.rsplit(':').next().unwrap().parse().unwrap();
    let made =
        client().post(format!("{url}/api/v1/users")).bearer_auth(ADMIN_TOKEN).body(json!({ "name": "x" }).to_string());
    let made: serde_json::Value = made.send().await.unwrap().json().await.unwrap();
    let key = made["apiKey"].as_str().unwrap().to_owned();

    let workers: Vec<_> =
        (0..2).map(|n| tokio::spawn(Worker::new(&url, WORKER_TOKEN, &format!("w{n}")).serve())).collect();
    let client_task = tokio::spawn(order(url.clone(), key.clone()));
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(rng.random_range(5..300))).await;
        api.kill().await.unwrap();
        (api, _) = spawn(folder.path(), &database_url, port).await;
    }
    let ids = client_task.await.unwrap();
    assert_eq!(ids.len(), JOBS, "each order made one job, however often it was repeated; seed {seed}");
    until("every job is settled", || async {
        let open: i64 = sqlx::query_scalar("select count(*) from generation where settled_ms is null")
            .fetch_one(&pool)
            .await
            .unwrap();
        (open == 0).then_some(())
    })
    .await;
    for worker in workers {
        worker.abort();
    }
    assert_eq!(ledger_faults(&pool).await, Vec::<String>::new(), "seed {seed}");
    let counts: Vec<(String, String, i64)> = sqlx::query_as(
        "select g.state, h.state, count(*) from generation g full join hold h on h.id = g.id group by 1, 2 order by 1, 2",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let jobs: i64 = counts.iter().map(|(_, _, n)| n).sum();
    assert_eq!(jobs, JOBS as i64, "{counts:?}; seed {seed}");
    let mut captured = 0;
    for (job, hold, n) in counts {
        match (job.as_str(), hold.as_str()) {
            ("Complete", "captured") => captured += n,
            ("Failed", "voided") => {}
            other => panic!("{n} jobs are {other:?}; seed {seed}"),
        }
    }
    let spent: i64 = sqlx::query_scalar("select spent from ledger_account").fetch_one(&pool).await.unwrap();
    assert_eq!(spent, captured * PRICE, "seed {seed}");
    assert!(captured > 0, "something was made; seed {seed}");
    api.kill().await.unwrap();
}

/// Orders jobs through it all, each with its own idempotency key, repeated until it is heard. Some are cancelled.
async fn order(url: String, key: String) -> Vec<String> {
    let http = steady_client();
    let mut ids = Vec::new();
    for n in 0..JOBS {
        let id = loop {
            let request = http
                .request(Method::POST, format!("{url}/api/v1/jobs"))
                .bearer_auth(&key)
                .header("idempotency-key", format!("order-{n}"))
                .body(json!({ "model": "tintype/shapes", "prompt": "a red circle" }).to_string());
            match request.send().await {
                Ok(answer) if answer.status().is_success() => {
                    let job: Result<serde_json::Value, _> = answer.json().await;
                    if let Some(id) = job.ok().and_then(|job| job["id"].as_str().map(str::to_owned)) {
                        break id;
                    }
                }
                Ok(answer) if !answer.status().is_server_error() => panic!("{}", answer.status()),
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        if n % 5 == 4 {
            // Heard or not: a cancellation that is lost is a job that completes.
            let _ = http.delete(format!("{url}/api/v1/jobs/{id}")).bearer_auth(&key).send().await;
        }
        if !ids.contains(&id) {
            ids.push(id);
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    ids
}
