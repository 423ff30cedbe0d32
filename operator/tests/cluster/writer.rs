//! The writer against the API server, with an index that is behind: what it must not write it does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::{DeleteParams, Patch, PatchParams};
use prometheus::Registry;
use serde_json::json;
use tintype_crds::{DiffusionModel, GenerationJob};
use tintype_dispatch::{Record, WriteError, Written};
use tintype_operator::index::{Change, Event, Index};
use tintype_operator::metrics::Metrics;
use tintype_operator::term::Term;
use tintype_operator::writer::Writer;
use tintype_scheduler::Decision;
use tintype_types::{Attempt, BootId, FailureReason, JobId, JobState, Timestamp};

use crate::support::Bench;

/// A writer in term 7 that has seen one job, and never sees anything else by itself.
struct Rig {
    bench: Bench,
    index: Arc<Index>,
    term: Arc<Term>,
    writer: Writer,
    job: JobId,
}

impl Rig {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let job = bench.make("job", |_| {}).await;
        let (index, term) = (Arc::new(Index::default()), Arc::new(Term::default()));
        let models: kube::Api<DiffusionModel> = kube::Api::all(bench.client.clone());
        let model = models.get("shapes").await.expect("the model is there");
        index.change(Change::Models(Event::Apply(Box::new(model))));
        // As the watch has it: the answer to a create lacks the defaults that a read adds.
        let seen = bench.jobs.get("job").await.expect("the job is there");
        index.change(Change::Jobs(Event::Apply(Box::new(seen))));
        term.set(Some((7, Duration::MAX)));
        let mut config = bench.plane.config().await.expect("there is a kubeconfig");
        config.default_retry = false;
        let client = kube::Client::try_from(config).expect("a client is made");
        let metrics = Metrics::new(&Registry::new()).expect("the names are free");
        let writer = Writer::new(client, Arc::clone(&index), Arc::clone(&term), metrics);
        Self { bench, index, term, writer, job: JobId(job.metadata.uid.unwrap_or_default()) }
    }

    fn assign(&self, attempt: u32, worker: &str) -> Decision {
        Decision::Assign {
            job: self.job.clone(),
            attempt: Attempt(attempt),
            worker: worker.into(),
            boot_id: BootId::from("b"),
            pool: "p".into(),
            lease_end: Timestamp(0),
            evict: Vec::new(),
            promised: None,
        }
    }

    async fn set_status(&self, status: serde_json::Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        self.bench.jobs.patch_status("job", &PatchParams::default(), &patch).await.expect("the status is taken");
    }

    async fn now(&self) -> GenerationJob {
        self.bench.jobs.get("job").await.expect("the job is there")
    }
}

#[tokio::test]
async fn one_write_builds_on_the_other_without_the_watch() {
    let rig = Rig::new().await;
    assert!(matches!(rig.writer.write(rig.assign(1, "w")).await, Ok(Written::Assigned(_))));
    // The index has heard of it from nobody but the writer.
    assert_eq!(rig.index.job(&rig.job).unwrap().state(), JobState::Assigned);
    let progress = Decision::Progress { job: rig.job.clone(), attempt: Attempt(1), step: 3, steps: 20 };
    assert_eq!(rig.writer.write(progress).await, Ok(Written::Recorded));
    let fail = Decision::Fail {
        job: rig.job.clone(),
        attempt: Attempt(1),
        reason: FailureReason::Internal,
        message: "it broke".to_owned(),
    };
    assert_eq!(rig.writer.write(fail.clone()).await, Ok(Written::Recorded));
    assert_eq!(rig.writer.write(fail).await, Ok(Written::Recorded), "it is shown already");
    let status = rig.now().await.status.unwrap();
    assert_eq!((status.state, status.leader_epoch), (JobState::Failed, Some(7)));
    assert_eq!(rig.bench.writes("job").await.len(), 4, "create and three writes");
}

#[tokio::test]
async fn what_somebody_else_decided_meanwhile_stands() {
    let rig = Rig::new().await;
    // Same attempt, same term, so no rule of the schema is broken by writing over it: only the version says no.
    let other = json!({ "worker": "other", "attempt": 1, "leaderEpoch": 7 });
    rig.set_status(json!({ "state": "Assigned", "attempt": 1, "leaderEpoch": 7, "assignment": other })).await;
    let answer = rig.writer.write(rig.assign(1, "w")).await;
    assert!(matches!(answer, Err(WriteError::Refused(_))), "{answer:?}");
    assert_eq!(rig.now().await.status.unwrap().assignment.unwrap().worker, "other".into());
}

#[tokio::test]
async fn a_later_leader_s_job_is_not_written_even_by_force() {
    let rig = Rig::new().await;
    rig.set_status(json!({ "state": "Queued", "attempt": 0, "leaderEpoch": 8 })).await;
    // The index is brought up to date but for the term: as if only the version had been seen.
    let mut seen = rig.now().await;
    if let Some(status) = &mut seen.status {
        status.leader_epoch = None;
    }
    rig.index.change(Change::Jobs(Event::Apply(Box::new(seen))));
    let answer = rig.writer.write(rig.assign(1, "w")).await;
    let Err(WriteError::Refused(why)) = answer else { panic!("{answer:?}") };
    assert!(why.contains("leaderEpoch only grows"), "{why}");
}

#[tokio::test]
async fn a_label_is_no_reason_to_give_up() {
    let rig = Rig::new().await;
    let label = Patch::Merge(json!({ "metadata": { "labels": { "team": "a" } } }));
    rig.bench.jobs.patch("job", &PatchParams::default(), &label).await.unwrap();
    let answer = rig.writer.write(rig.assign(1, "w")).await;
    assert!(matches!(answer, Err(WriteError::Unavailable(_))), "{answer:?}");
    // It has read what changed, so the next try is taken.
    assert!(rig.writer.write(rig.assign(1, "w")).await.is_ok());
    assert_eq!(rig.now().await.metadata.labels.unwrap()["team"], "a");
}

#[tokio::test]
async fn another_job_of_the_same_name_is_another_job() {
    let rig = Rig::new().await;
    rig.bench.jobs.delete("job", &DeleteParams::default()).await.unwrap();
    let answer = rig.writer.write(rig.assign(1, "w")).await;
    assert!(matches!(answer, Err(WriteError::Refused(_))), "{answer:?}");
    rig.bench.make("job", |_| {}).await;
    let answer = rig.writer.write(rig.assign(1, "w")).await;
    assert!(matches!(answer, Err(WriteError::Refused(_))), "{answer:?}");
    assert_eq!(rig.now().await.state(), JobState::Queued);
}

#[tokio::test]
async fn nothing_is_written_once_the_term_is_over() {
    let rig = Rig::new().await;
    rig.term.set(Some((7, rig.term.elapsed())));
    let answer = rig.writer.write(rig.assign(1, "w")).await;
    assert!(matches!(answer, Err(WriteError::Refused(_))), "{answer:?}");
    assert_eq!(rig.bench.writes("job").await.len(), 1, "nothing but the create was asked for");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_waited_for_five_seconds_and_no_more() {
    let rig = Rig::new().await;
    // Accepts connections and says nothing, as a server cut off from its store does.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = kube::Config::new(format!("http://{}", silent.local_addr().unwrap()).parse().unwrap());
    config.default_retry = false;
    let client = kube::Client::try_from(config).unwrap();
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let writer = Writer::new(client, Arc::clone(&rig.index), Arc::clone(&rig.term), metrics);
    let began = Instant::now();
    let answer = writer.write(rig.assign(1, "w")).await;
    assert!(matches!(answer, Err(WriteError::Unavailable(_))), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}
