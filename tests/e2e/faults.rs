//! Programs killed with SIGKILL in the middle of a job, on a cluster: the job completes all the same.

use serde_json::json;

use crate::support::cluster::{Cluster, WAIT};
use crate::support::picture::{Shown, assert_shows};

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
