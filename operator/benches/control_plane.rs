//! The control plane at the API server's floor: one JSON line a figure. Run with `make bench-control-plane`.
//!
//! On a real etcd and kube-apiserver, the same number of jobs goes twice from `create` to `Complete`: by a null scheduler,
//! which knows beforehand what to write and makes the least writes (create, assign, complete), and by the operator with
//! workers that claim and finish. That is a pair; each of its runs has a cluster of its own, since an API server is slower
//! the more it holds, and pairs take turns in who is first. Then a leader is killed, and the time to the next new
//! assignment by its standby is taken.
//!
//! Beside each wall time stands what every program took of the processors for a job, so that it can be seen who takes it.
//!
//! `BENCH_JOBS` (15000), `BENCH_PAIRS` (2), `BENCH_QUEUES` (30), `BENCH_WORKERS` (64) and `BENCH_FAILOVERS` (5) size it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench stops where it breaks, and prints its figures"
)]

#[expect(dead_code, reason = "the cluster tests use what the bench does not")]
#[path = "../tests/cluster/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use support::{Bench, MODEL, Operator, Worker};
use tintype_crds::{GenerationJob, GenerationJobSpec};
use tintype_kubetest::{ControlPlane, Options, Program};
use tintype_types::{GenerationRequest, JobState};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Of requests that were made for fewer jobs than one in so many, nothing is said.
const SELDOM: usize = 1_000;
/// Creations under way at once, in both runs.
const CREATORS: usize = 16;
/// How much longer than the null scheduler the operator may take.
const FLOOR_RATIO: f64 = 1.2;
/// Writes of a job from its creation to its end.
const WRITES_A_JOB: f64 = 3.0;
/// Longest from the kill of a leader to the next new assignment.
const FAILOVER: Duration = Duration::from_secs(2);
/// Between two claims of a worker that waits for somebody to lead.
const CLAIM_PAUSE: Duration = Duration::from_millis(10);
/// The shortest term there is: a lease counts whole seconds.
const SHORT_TERM: [&str; 6] = ["--leader-lease", "1s", "--leader-deadline", "800ms", "--leader-retry", "200ms"];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (jobs, queues, workers) = (size("BENCH_JOBS", 15_000), size("BENCH_QUEUES", 30), size("BENCH_WORKERS", 64));
        let pairs = size("BENCH_PAIRS", 2);
        let (mut null, mut ours) = (Run::default(), Run::default());
        for pair in 0..pairs {
            let (mut least, mut most) = (Run::default(), Run::default());
            for ours in [pair % 2 == 1, pair % 2 == 0] {
                if ours {
                    most = operator(jobs, queues, workers).await;
                } else {
                    least = null_scheduler(jobs, queues, workers).await;
                }
            }
            eprintln!("pair {}: {:.1} s by the null scheduler, {:.1} by the operator", pair + 1, least.wall, most.wall);
            (null, ours) = (null.and(least), ours.and(most));
        }
        report("control_plane_null_wall", null.wall / pairs as f64, "s", None);
        let of_null = Some((null.wall / pairs as f64, FLOOR_RATIO));
        report("control_plane_operator_wall", ours.wall / pairs as f64, "s", of_null);
        for (number, program) in PROGRAMS.iter().enumerate() {
            let each = [&null, &ours].map(|run| run.taken[number] * 1e3 / (jobs * pairs) as f64);
            report(&format!("control_plane_null_cpu_{program}"), each[0], "ms/job", None);
            report(&format!("control_plane_operator_cpu_{program}"), each[1], "ms/job", None);
        }
        report("control_plane_writes_a_job", ours.writes / pairs as f64, "writes", Some((WRITES_A_JOB, 1.0)));
        let mut times = failovers(size("BENCH_FAILOVERS", 5)).await;
        times.sort_by(f64::total_cmp);
        let goal = Some((FAILOVER.as_secs_f64(), 1.0));
        report("leader_failover_median", times[times.len() / 2], "s", goal);
        report("leader_failover_worst", times[times.len() - 1], "s", goal);
    });
}

fn size(name: &str, usual: usize) -> usize {
    let asked = std::env::var(name).ok().map(|text| text.parse().expect("sizes are numbers"));
    asked.unwrap_or(usual).max(1)
}

/// A figure, and what it is held against: an anchor and the largest ratio to it.
fn report(name: &str, value: f64, unit: &str, against: Option<(f64, f64)>) {
    let line = match against {
        Some((anchor, goal)) => json!({ "name": name, "value": value, "unit": unit, "anchor": anchor,
            "ratio": value / anchor, "goal": goal, "ok": value / anchor <= goal }),
        None => json!({ "name": name, "value": value, "unit": unit, "anchor": Value::Null, "ratio": Value::Null,
            "goal": Value::Null, "ok": true }),
    };
    println!("{line}");
}

fn job(number: usize, queues: usize) -> GenerationJob {
    let spec = GenerationJobSpec::new(GenerationRequest::new(MODEL, "a red circle on a blue background"));
    let spec = GenerationJobSpec { queue: format!("queue-{}", number % queues), ..spec };
    GenerationJob::new(&format!("job-{number}"), spec)
}

/// Makes every job and hands it on.
async fn create(jobs: &Api<GenerationJob>, count: usize, queues: usize, made: impl Fn(GenerationJob)) {
    let params = PostParams::default();
    let creations = futures::stream::iter(0..count).map(|number| {
        let params = &params;
        async move { jobs.create(params, &job(number, queues)).await.unwrap() }
    });
    let mut creations = std::pin::pin!(creations.buffer_unordered(CREATORS));
    while let Some(job) = creations.next().await {
        made(job);
    }
}

/// Whose processor time is told: the bench itself makes the jobs, and is the null scheduler or the workers.
const PROGRAMS: [&str; 4] = ["etcd", "kube_apiserver", "operator", "bench"];

/// Seconds of processor time each of [`PROGRAMS`] has taken so far.
fn taken(bench: &Bench, operator: Option<&Operator>) -> [f64; 4] {
    let of = |program| bench.plane.process_id(program).map_or(0.0, processor_seconds);
    let operator = operator.map_or(0.0, |operator| processor_seconds(operator.child.id()));
    [of(Program::Etcd), of(Program::ApiServer), operator, processor_seconds(std::process::id())]
}

/// What the kernel has counted for a process, in user and in kernel mode.
fn processor_seconds(pid: u32) -> f64 {
    /// The unit the kernel counts in, whatever its own clock.
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Its name may hold anything, brackets and blanks too.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let (user_and_kernel, before) = (2, 11);
    fields.skip(before).take(user_and_kernel).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
        / TICKS_A_SECOND
}

fn since(before: [f64; 4], now: [f64; 4]) -> [f64; 4] {
    std::array::from_fn(|program| now[program] - before[program])
}

/// What was measured of all jobs, from the first creation to the last end.
#[derive(Default)]
struct Run {
    /// Seconds.
    wall: f64,
    /// Seconds of processor time of each of [`PROGRAMS`].
    taken: [f64; 4],
    /// Writes a job took, by the API server's own account.
    writes: f64,
}

impl Run {
    fn and(self, other: Self) -> Self {
        Self {
            wall: self.wall + other.wall,
            taken: std::array::from_fn(|program| self.taken[program] + other.taken[program]),
            writes: self.writes + other.writes,
        }
    }
}

/// A cluster of its own. What starts it never ends in this process: [`gone`] ends its programs.
async fn cluster() -> Bench {
    let plane = ControlPlane::start(Options::new().of_our_own()).await.unwrap();
    Bench::on(Box::leak(Box::new(plane))).await
}

fn gone(bench: &Bench) {
    for program in [Program::ApiServer, Program::Etcd] {
        bench.plane.kill(program).unwrap();
    }
}

/// The workers' pictures are kept in memory where that can be: etcd does not wait for the disk here, nor should their store.
fn in_memory(bench: &Bench) -> Option<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("tintype-bench-").tempdir_in("/dev/shm").ok()?;
    std::os::unix::fs::symlink(folder.path(), bench.dir.path().join("store")).unwrap();
    Some(folder)
}

/// By somebody who decides nothing.
async fn null_scheduler(count: usize, queues: usize, workers: usize) -> Run {
    let bench = cluster().await;
    let before = taken(&bench, None);
    let (out, made) = mpsc::channel(count);
    let made = Arc::new(tokio::sync::Mutex::new(made));
    let began = Instant::now();
    let mut writers = JoinSet::new();
    for number in 0..workers {
        let (made, jobs) = (Arc::clone(&made), bench.jobs.clone());
        writers.spawn(async move {
            loop {
                let Some(job) = made.lock().await.recv().await else { return };
                let job = write(&jobs, &job, assigned(number)).await;
                write(&jobs, &job, complete(number)).await;
            }
        });
    }
    create(&bench.jobs, count, queues, |job| out.try_send(job).unwrap()).await;
    drop(out);
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let (wall, taken) = (began.elapsed().as_secs_f64(), since(before, taken(&bench, None)));
    gone(&bench);
    Run { wall, taken, writes: WRITES_A_JOB }
}

async fn write(jobs: &Api<GenerationJob>, job: &GenerationJob, status: Value) -> GenerationJob {
    let body = json!({
        "apiVersion": "tintype.dev/v1alpha1", "kind": "GenerationJob", "status": status,
        "metadata": { "name": job.name_any(), "resourceVersion": job.metadata.resource_version },
    });
    let params = PatchParams::apply("scheduler").force();
    jobs.patch_status(&job.name_any(), &params, &Patch::Apply(body)).await.unwrap()
}

fn assigned(worker: usize) -> Value {
    json!({ "state": "Assigned", "attempt": 1, "leaderEpoch": 1, "assignment": assignment(worker) })
}

fn complete(worker: usize) -> Value {
    let output =
        json!({ "key": "jobs/x/1/0.png", "sha256": "0".repeat(64), "bytes": 1, "width": 64, "height": 64, "seed": 1 });
    json!({ "state": "Complete", "attempt": 1, "leaderEpoch": 1, "assignment": assignment(worker), "outputs": [output] })
}

fn assignment(worker: usize) -> Value {
    json!({ "worker": format!("w-{worker}"), "attempt": 1, "leaderEpoch": 1, "pool": "cpu" })
}

/// By the operator. Says on standard error what the API server was asked meanwhile.
async fn operator(count: usize, queues: usize, workers: usize) -> Run {
    let bench = cluster().await;
    let _pictures = in_memory(&bench);
    let operator =
        bench.operator("bench", &["--leader-lease", "15s", "--leader-deadline", "10s", "--attempt-lease", "60s"]);
    operator.until_ready("leading").await;
    let url = operator.url().await;
    let left = Arc::new(AtomicUsize::new(count));
    let mut fleet = JoinSet::new();
    for number in 0..workers {
        let (worker, left) = (Worker::new(&url, &format!("w-{number}")), Arc::clone(&left));
        fleet.spawn(async move {
            while left.load(Ordering::Acquire) > 0 {
                let Some(assignment) = worker.ask(500).await.unwrap().assignment else { continue };
                worker.finish(&assignment).await.unwrap();
                left.fetch_sub(1, Ordering::AcqRel);
            }
        });
    }
    let before = taken(&bench, Some(&operator));
    let began = Instant::now();
    create(&bench.jobs, count, queues, drop).await;
    while left.load(Ordering::Acquire) > 0 {
        fleet.join_next().await.unwrap().unwrap();
    }
    let (wall, taken) = (began.elapsed().as_secs_f64(), since(before, taken(&bench, Some(&operator))));
    // A finish is answered once it is written.
    assert!(bench.jobs.get("job-0").await.unwrap().state() == JobState::Complete, "a job is not complete");
    let writes = writes(&bench).await as f64 / count as f64;
    for (request, times) in requests(&bench) {
        if times * SELDOM >= count {
            eprintln!("{:8.3} a job: {request}", times as f64 / count as f64);
        }
    }
    gone(&bench);
    Run { wall, taken, writes }
}

/// How often the API server was asked for what, since it was started.
fn requests(bench: &Bench) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for event in bench.plane.audit_log().unwrap() {
        let request = format!("{} {}/{} {}", event.verb, event.resource, event.subresource, event.code);
        *times.entry(request).or_default() += 1;
    }
    times
}

/// How many changes of jobs were made in this namespace, by the API server's own account.
async fn writes(bench: &Bench) -> usize {
    let mark = "after-all";
    drop(bench.jobs.get_opt(mark).await.unwrap());
    bench.plane.audited(|event| event.name == mark).await.unwrap();
    let log = bench.plane.audit_log().unwrap();
    let ours = log.iter().filter(|event| event.namespace == bench.namespace && event.resource == "generationjobs");
    let made = ours.filter(|event| ["create", "update", "patch"].contains(&event.verb.as_str()));
    made.filter(|event| event.code < 300).count()
}

/// Seconds from the kill of a leader to the next new assignment by its standby.
async fn failovers(times: usize) -> Vec<f64> {
    let bench = Bench::new().await;
    let mut leader = bench.operator("leader-0", &SHORT_TERM);
    leader.until_ready("leading").await;
    let mut taken = Vec::new();
    for number in 1..=times {
        let standby = bench.operator(&format!("leader-{number}"), &SHORT_TERM);
        standby.until_ready("standby").await;
        bench.make(&format!("after-{number}"), |_| {}).await;
        let worker = Worker::new(&standby.url().await, &format!("w-{number}"));
        let killed = Instant::now();
        leader.signal("-KILL");
        let assignment = loop {
            match worker.ask(1_000).await {
                Ok(answer) if answer.assignment.is_some() => break answer.assignment.unwrap(),
                Ok(_) | Err(_) => tokio::time::sleep(CLAIM_PAUSE).await,
            }
        };
        taken.push(killed.elapsed().as_secs_f64());
        worker.finish(&assignment).await.unwrap();
        leader = standby;
    }
    taken
}
