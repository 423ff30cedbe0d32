//! What taking an order costs: jobs with their holds made over HTTP, many wallets and one hot wallet, beside pgbench's TPC-B
//! on the same durable PostgreSQL in the same run. A JSON line a figure.
//!
//! Everything shares this machine: server, database, and the clients of both. The anchors are run before and after each
//! figure and averaged, so that what else the machine does weighs on both.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures are printed, and how far it is beside them")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::PgPool;
use tintype_api::keys::ApiKey;
use tintype_api::ledger::post::Stamp;
use tintype_api::ledger::{Grant, Source, sql as ledger};
use tintype_api::records::key::KeptKey;
use tintype_api::{Args, LocalArgs, database, records};
use tintype_pg::{ManagedPg, ManagedPgConfig, PgBinaries};
use tintype_types::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What the `api` program has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections that order at the same time.
const CONNECTIONS: usize = 256;
/// Clients of pgbench, as the anchor was measured.
const PGBENCH_CLIENTS: &str = "8";
/// pgbench's scale: a million rows.
const PGBENCH_SCALE: &str = "10";
/// How long each is measured, unless `BENCH_SECONDS` says otherwise.
const SECONDS: u64 = 8;
/// Rounds, of which the middle one counts.
const ROUNDS: usize = 3;
/// Before a measurement begins to count.
const WARM: Duration = Duration::from_millis(500);
/// How many times TPC-B's transactions a second are wanted.
const GOAL_MANY: f64 = 4.0;
/// The same with one wallet.
const GOAL_HOT: f64 = 2.5;

#[tokio::main]
async fn main() {
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let folder = tempfile::Builder::new().prefix("tintype-bench-").tempdir().unwrap();
    let extra = std::env::var_os("TINTYPE_CACHE").map(std::path::PathBuf::from);
    let binaries = PgBinaries::find(&extra.into_iter().collect::<Vec<_>>()).unwrap();
    let pgbench = binaries.bin_dir().join("pgbench");
    let config = ManagedPgConfig { data_dir: folder.path().join("pg"), binaries, durable: true };
    let pg = tokio::task::spawn_blocking(move || ManagedPg::start(config)).await.unwrap().unwrap();
    pg.create_database("bench").unwrap();
    pg.create_database("tpcb").unwrap();
    let tpcb = Tpcb { pgbench, socket: pg.socket_dir().to_path_buf(), seconds };
    tpcb.prepare();

    let (pool, url) = (database::connect(&pg.url("bench")).await.unwrap(), pg.url("bench"));
    database::migrate(&pool).await.unwrap();
    let stop = CancellationToken::new();
    let address = serve(folder.path(), &url, &stop).await;
    let mut keys = Vec::new();
    for _ in 0..CONNECTIONS {
        keys.push(rich_user(&pool).await);
    }
    let hot = vec![rich_user(&pool).await; CONNECTIONS];

    let (mut many, mut one) = (Vec::new(), Vec::new());
    let mut anchor = tpcb.per_second();
    for round in 0..ROUNDS {
        for (name, keys, found) in [("many", &keys, &mut many), ("hot", &hot, &mut one)] {
            let load = load(&address, keys, Duration::from_secs(seconds)).await;
            clear(&pool).await;
            let next = tpcb.per_second();
            eprintln!("round {round}, {name}: {:.0}/s beside {anchor:.0} and {next:.0} of TPC-B", load.per_second);
            found.push((load, f64::midpoint(anchor, next)));
            anchor = next;
        }
    }
    tell("create_job_with_hold_256_connections", &mut many, GOAL_MANY);
    tell("create_job_with_hold_one_wallet", &mut one, GOAL_HOT);
    let unsound = unsound(&pool).await;
    println!(
        "{}",
        json!({ "name": "credits_lost_or_invented", "value": unsound, "unit": "accounts", "anchor": 0, "ratio": null, "goal": 0, "ok": unsound == 0 })
    );
    stop.cancel();
    pool.close().await;
}

/// What a measurement found.
struct Load {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

fn tell(name: &str, rounds: &mut [(Load, f64)], goal: f64) {
    let ratio = |(load, anchor): &(Load, f64)| load.per_second / anchor;
    rounds.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    let middle = &rounds[rounds.len() / 2];
    let (load, anchor) = middle;
    let times = ratio(middle);
    println!(
        "{}",
        json!({ "name": name, "value": load.per_second.round(), "unit": "jobs/s", "anchor": anchor.round(), "ratio": (times * 100.0).round() / 100.0, "goal": goal, "ok": times >= goal })
    );
    for (what, value) in [("p50", load.p50_ms), ("p99", load.p99_ms)] {
        println!(
            "{}",
            json!({ "name": format!("{name}_{what}"), "value": (value * 10.0).round() / 10.0, "unit": "ms", "anchor": null, "ratio": null, "goal": null, "ok": true })
        );
    }
}

/// pgbench's own benchmark.
struct Tpcb {
    pgbench: std::path::PathBuf,
    socket: std::path::PathBuf,
    seconds: u64,
}

impl Tpcb {
    fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new(&self.pgbench);
        command.args(args).arg("--host").arg(&self.socket).args(["--port", "5432", "--username", "tintype", "tpcb"]);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    fn prepare(&self) {
        self.run(&["--initialize", "--quiet", "--scale", PGBENCH_SCALE]);
    }

    fn per_second(&self) -> f64 {
        let seconds = self.seconds.to_string();
        let said =
            self.run(&["--client", PGBENCH_CLIENTS, "--jobs", "2", "--protocol", "prepared", "--time", &seconds]);
        let line = said.lines().find_map(|line| line.strip_prefix("tps = ")).unwrap();
        line.split(' ').next().unwrap().parse().unwrap()
    }
}

/// Starts the API; where it listens.
async fn serve(folder: &Path, database_url: &str, stop: &CancellationToken) -> String {
    for (file, text) in [("worker-token", "worker-0123456789abcdef"), ("admin-token", "admin-0123456789abcdef")] {
        std::fs::write(folder.join(file), text).unwrap();
    }
    let model = folder.join("models/shapes");
    std::fs::create_dir_all(&model).unwrap();
    std::fs::write(model.join("model_index.json"), r#"{"_class_name":"StableDiffusionPipeline"}"#).unwrap();
    let card = json!({
        "name": "tintype/shapes", "family": "sd15", "licence": "CC0-1.0",
        "defaults": { "width": 64, "height": 64, "steps": 20, "guidanceScale": 3.0, "sampler": "dpmpp-2m-karras" }
    });
    std::fs::write(model.join("tintype.json"), card.to_string()).unwrap();
    let local = LocalArgs::under(folder, database_url);
    let port_file = local.port_file.clone();
    let mut args = Args::local(local).unwrap();
    args.requests_per_minute = 60_000_000;
    args.open_jobs_max = 10_000_000;
    tokio::spawn(tintype_api::run(args, stop.clone()));
    loop {
        if let Ok(address) = std::fs::read_to_string(&port_file) {
            return address.trim().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A user with a million credits; the key.
async fn rich_user(pool: &PgPool) -> String {
    let (account, key) = (Uuid::now_v7(), ApiKey::generate(&mut rand::rng()));
    let mut tx = pool.begin().await.unwrap();
    records::account::create_user(&mut tx, account, "bench", Timestamp(1)).await.unwrap();
    let stamp = || Stamp { txn: Uuid::now_v7(), at: Timestamp(1) };
    ledger::welcome(&mut tx, account, stamp()).await.unwrap();
    let reference = format!("bench:{account}");
    let lot = Grant { source: Source::Admin, reference, amount: 1_000_000_000, expires: None };
    ledger::grant(&mut tx, account, &lot, stamp()).await.unwrap();
    let kept = KeptKey { key: &key, name: "bench", scopes: None, expires_ms: None, budget: None };
    records::key::create(&mut tx, account, &kept, Timestamp(1)).await.unwrap();
    tx.commit().await.unwrap();
    key.reveal().to_owned()
}

/// Jobs that were made are taken off the scheduler's hands between measurements, so that each begins alike.
async fn clear(pool: &PgPool) {
    // Rows the API is at are left to the next look: waiting for them while holding the others would be a circle.
    let end = "update generation set state = 'Failed', failure = 'Cancelled', finished_ms = created_ms,
        submitted_ms = coalesce(submitted_ms, created_ms), settled_ms = created_ms
        where id in (select id from generation where finished_ms is null for update skip locked)";
    let open = "select count(*) from generation where finished_ms is null";
    // Their holds stay open: this is about making jobs.
    let mut conn = pool.acquire().await.unwrap();
    sqlx::query("set statement_timeout = 0").execute(&mut *conn).await.unwrap();
    while sqlx::query_scalar::<_, i64>(open).fetch_one(&mut *conn).await.unwrap() > 0 {
        sqlx::query(end).execute(&mut *conn).await.unwrap();
    }
    for sql in ["vacuum analyze", "checkpoint", "reset statement_timeout"] {
        sqlx::query(sql).execute(&mut *conn).await.unwrap();
    }
}

/// Orders from as many connections as there are keys, each as soon as its last is answered.
async fn load(address: &str, keys: &[String], time: Duration) -> Load {
    let (counting, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(n, key)| {
            tokio::spawn(orders(address.to_owned(), key.clone(), n, Arc::clone(&counting), Arc::clone(&over)))
        })
        .collect();
    tokio::time::sleep(WARM).await;
    counting.store(true, Ordering::Relaxed);
    let started = Instant::now();
    tokio::time::sleep(time).await;
    counting.store(false, Ordering::Relaxed);
    let elapsed = started.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    Load { per_second: times.len() as f64 / elapsed, p50_ms: at(0.5), p99_ms: at(0.99) }
}

async fn orders(
    address: String,
    key: String,
    connection: usize,
    counting: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
) -> Vec<f64> {
    let mut socket = TcpStream::connect(&address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (mut times, mut answer) = (Vec::new(), vec![0; 16 << 10]);
    let body = r#"{"model":"tintype/shapes","prompt":"a red circle on a blue background","seed":1}"#;
    let run = Uuid::now_v7();
    for n in 0_u64.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let request = format!(
            "POST /api/v1/jobs HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\nidempotency-key: {run}-{connection}-{n}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let started = Instant::now();
        socket.write_all(request.as_bytes()).await.unwrap();
        let status = read_answer(&mut socket, &mut answer).await;
        assert_eq!(status, 202, "the job is made");
        if counting.load(Ordering::Relaxed) {
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    times
}

/// Reads one answer to its end; its status.
async fn read_answer(socket: &mut TcpStream, buffer: &mut [u8]) -> u16 {
    let mut read = 0;
    loop {
        read += socket.read(&mut buffer[read..]).await.unwrap();
        let text = &buffer[..read];
        let Some(head) = text.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&text[..head]).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if read >= head.len() + 4 + length.parse::<usize>().unwrap() {
            return head[9..12].parse().unwrap();
        }
    }
}

/// Accounts whose columns are not what they were given, or whose holds are not what is held.
async fn unsound(pool: &PgPool) -> i64 {
    let sql = "select count(*) from ledger_account a where -granted <> available + held + spent
        or held <> (select coalesce(sum(amount), 0) from hold h where h.account = a.account and state = 'held')
        or held <> (select coalesce(sum(reserved), 0) from lot l where l.account = a.account)
        or available <> (select coalesce(sum(remaining), 0) from lot l where l.account = a.account)
        or (select count(*) from hold h where h.account = a.account) <> (select count(*) from generation g where g.account = a.account)";
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}
