//! The decision log as it is written beside real calls, and what a replay says of it; and the answers people ask for.
#![expect(clippy::unwrap_used, reason = "what fails in a test fails the test")]

mod rig;

use std::fs;
use std::io::BufReader;
use std::path::Path;

use rig::{Rig, Runner, failed};
use serde_json::Value;
use tintype_dispatch::{JournalConfig, ReplayError, Replayed, replay};
use tintype_telemetry::Telemetry;
use tintype_types::FailureReason;

#[tokio::test]
async fn a_replay_of_the_log_decides_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("decisions.log");
    work(&log, 64 << 20, 6).await;
    let done = read(&log).unwrap();
    assert_eq!(done.difference, None);
    assert!(!done.torn);
    // Six jobs, one of which was tried twice.
    assert_eq!(
        (done.decisions["assign"], done.decisions["complete"], done.decisions["requeue"]),
        (7, 6, 1),
        "{done:?}"
    );
    assert!(done.steps > 20 && done.bytes > 1_000, "{done:?}");
}

#[tokio::test]
async fn a_full_log_is_put_aside_and_every_file_replays_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("decisions.log");
    work(&log, 1, 12).await;
    let names: Vec<String> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    for name in names {
        let done = read(&folder.path().join(&name)).unwrap();
        assert_eq!((done.difference, done.torn), (None, false), "{name}");
        assert!(done.steps > 0, "{name} is empty");
    }
}

#[tokio::test]
async fn a_decision_that_was_changed_shows_and_damage_is_named_by_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("decisions.log");
    work(&log, 64 << 20, 2).await;
    let text = fs::read_to_string(&log).unwrap();
    let changed = folder.path().join("changed");
    fs::write(&changed, text.replacen("\"attempt\":1,\"worker\":\"w1\"", "\"attempt\":1,\"worker\":\"w2\"", 1))
        .unwrap();
    let difference = read(&changed).unwrap().difference.unwrap();
    assert!(difference.logged.starts_with("w2") || difference.logged.starts_with('2'), "{difference:?}");
    assert!(difference.line > 1);

    fs::write(&changed, &text[..text.len() - 5]).unwrap();
    assert!(read(&changed).unwrap().torn);
    let lines: Vec<&str> = text.lines().collect();
    fs::write(&changed, format!("{}\nstep\tx\t1\t[]\n", lines[0])).unwrap();
    assert!(matches!(read(&changed), Err(ReplayError::Damaged { line: 2, .. })));
    for foreign in ["", "hello\n", "tintype-decisions\t2\t{}\t{}\n"] {
        fs::write(&changed, foreign).unwrap();
        assert!(matches!(read(&changed), Err(ReplayError::Foreign)), "{foreign:?}");
    }
}

#[tokio::test]
async fn people_are_told_why_when_and_of_everything() {
    let rig = Rig::leading().await;
    let job = rig.record.add("j1", 1);
    rig.knows(&job).await;
    let told = json(&rig, "/dispatch/v1/explain?job=j1").await;
    assert_eq!((told["verdict"]["kind"].as_str(), &told["job"]), (Some("noMatchingWorker"), &"j1".into()));
    assert_eq!(told["remedies"][0]["kind"], "addWorkers");
    assert_eq!(rig.read("/dispatch/v1/eta?job=j1").await.status(), 404);
    let worker = Runner::new("w1", "b1");
    let first = rig.assigned(&worker).await;
    let eta = json(&rig, "/dispatch/v1/eta?job=j1").await;
    assert!(eta["endsP90"].as_u64() >= eta["endsP50"].as_u64() && eta["endsP50"].as_u64() > Some(0), "{eta}");
    let top = json(&rig, "/dispatch/v1/top").await;
    assert_eq!((&top["workers"][0]["worker"], &top["workers"][0]["jobs"][0][0]), (&"w1".into(), &"j1".into()));
    assert_eq!(top["queues"][0]["running"], 1);
    let outcome = rig.draw(&first).await;
    assert_eq!(rig.finish(&worker, &first, outcome).await, 200);
    for (path, status) in
        [("/dispatch/v1/explain?job=unheard-of", 404), ("/dispatch/v1/eta?job=j1", 404), ("/dispatch/v1/explain", 400)]
    {
        assert_eq!(rig.read(path).await.status(), status, "{path}");
    }
}

/// So many jobs through real calls with a log; the first job fails once.
async fn work(log: &Path, bytes_max: u64, jobs: u32) {
    let to = JournalConfig { path: log.to_owned(), bytes_max, old_files: 2 };
    let rig = Rig::start_with(Some(to), &Telemetry::off());
    rig.lead().await;
    let worker = Runner::new("w1", "b1");
    for number in 0..jobs {
        rig.record.add(&format!("j{number}"), 1);
        let mut assignment = rig.assigned(&worker).await;
        rig.renew(&worker, &assignment, 5).await.unwrap();
        if number == 0 {
            assert_eq!(rig.finish(&worker, &assignment, failed(FailureReason::OutOfMemory, true)).await, 200);
            assignment = rig.assigned(&worker).await;
        }
        let outcome = rig.draw(&assignment).await;
        assert_eq!(rig.finish(&worker, &assignment, outcome).await, 200);
    }
    // The log is whole once the dispatcher has ended.
    rig.dispatch.shutdown().await;
    rig.ended().await;
}

fn read(log: &Path) -> Result<Replayed, ReplayError> {
    replay(open(log))
}

fn open(log: &Path) -> BufReader<fs::File> {
    BufReader::new(fs::File::open(log).unwrap())
}

async fn json(rig: &Rig, path: &str) -> Value {
    let response = rig.read(path).await;
    assert_eq!(response.status(), 200, "{path}");
    serde_json::from_slice(&axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap()
}
