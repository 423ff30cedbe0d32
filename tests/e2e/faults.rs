//! Programs killed with SIGKILL in the middle of a job, on a cluster: the job completes all the same.

use std::time::Duration;

use serde_json::json;
use tintype_fake_nvml::{FakeGpu, Machine, place};
use tintype_worker::testing::shapes::decode_png;

use crate::support::cluster::{Cluster, WAIT};
use crate::support::picture::{Shown, assert_shows};
use crate::support::wait::until;

/// Long enough to be killed in its middle.
fn long_request() -> serde_json::Value {
    json!({
        "model": "tintype/shapes", "prompt": "a red circle on a blue background", "seed": 1,
        "steps": 150, "images": 4
    })
}

const SHOWN: Shown = Shown { colour: "red", shape: "circle", ground: "blue" };

#[tokio::test]
async fn a_worker_killed_in_mid_job_is_followed_by_attempt_two() {
    let mut cluster = Cluster::start().await;
    cluster.apply(&cluster.job("long", long_request()));
    cluster.under_way("long").await;

    cluster.worker.kill_9();
    cluster.restart_worker();

    cluster.kubectl(&["wait", "--for=condition=Complete", WAIT, "generationjob/long"]);
    let job = cluster.read("long");
    assert_eq!(job["status"]["attempt"], 2, "{job}");
    assert_eq!(job["status"]["outputs"].as_array().unwrap().len(), 4);
    assert_shows(&cluster.picture("long").await, SHOWN);
}

#[tokio::test]
async fn an_operator_killed_in_mid_job_goes_on_with_the_same_attempt() {
    let mut cluster = Cluster::start().await;
    cluster.apply(&cluster.job("long", long_request()));
    cluster.under_way("long").await;

    cluster.operator.kill_9();
    cluster.restart_operator().await;

    cluster.kubectl(&["wait", "--for=condition=Complete", WAIT, "generationjob/long"]);
    let job = cluster.read("long");
    assert_eq!(job["status"]["attempt"], 1, "the worker never stopped: {job}");
    assert!(job["status"]["leaderEpoch"].as_u64().unwrap() > 0, "{job}");
    assert_shows(&cluster.picture("long").await, SHOWN);
}

#[tokio::test]
async fn a_gpu_lost_in_mid_job_counts_no_failure_and_another_worker_draws_the_same() {
    let mut cluster = Cluster::start().await;
    cluster.apply(&cluster.job("undisturbed", long_request()));
    cluster.kubectl(&["wait", "--for=condition=Complete", WAIT, "generationjob/undisturbed"]);
    let undisturbed = decode_png(&cluster.picture("undisturbed").await).unwrap();

    let gpus = tempfile::tempdir().unwrap();
    let library = place(gpus.path()).unwrap();
    let gpu = FakeGpu {
        uuid: "GPU-aa".to_owned(),
        name: "NVIDIA Fake".to_owned(),
        memory_total: 24 << 30,
        xids: Some(Vec::new()),
        ..FakeGpu::default()
    };
    let mut machine = Machine { gpus: vec![gpu], ..Machine::default() };
    machine.write(&gpus.path().join("gpus.json")).unwrap();
    cluster.worker.signal(libc::SIGTERM);
    cluster.worker.ended(Duration::from_secs(30)).await;
    let on_gpu = cluster.worker_on_gpus("worker-gpu", &library);
    cluster.apply(&cluster.job("lost", long_request()));
    until("a step to be written", Duration::from_mins(1), || async {
        cluster.read("lost")["status"]["progress"]["step"].as_u64().filter(|step| *step > 0)
    })
    .await;
    machine.gpus[0].xids = Some(vec![79]);
    machine.gpus[0].lost = true;
    machine.write(&gpus.path().join("gpus.json")).unwrap();
    until("the job to be given back", Duration::from_secs(30), || async {
        cluster.read("lost")["status"]["assignment"].is_null().then_some(())
    })
    .await;
    assert!(on_gpu.log().contains("XID 79"), "the worker says why");

    cluster.restart_worker();
    cluster.kubectl(&["wait", "--for=condition=Complete", WAIT, "generationjob/lost"]);
    let job = cluster.read("lost");
    assert_eq!((&job["status"]["attempt"], job["status"].get("failedAttempts")), (&json!(2), None), "{job}");
    assert!(decode_png(&cluster.picture("lost").await).unwrap() == undisturbed, "the picture is another");
}
