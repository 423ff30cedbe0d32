//! `kubectl apply -f job.yaml` makes a picture; what is out of bounds is refused, and says why.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, WAIT, model};
use crate::support::picture::{Shown, assert_shows};
use crate::support::wait::until;
use crate::support::{copy_dir, models, root};

/// How long the API server may take to write its audit log.
const LOG_LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn three_jobs_applied_with_kubectl_become_three_right_pictures() {
    let cluster = Cluster::start().await;
    let jobs = [
        ("red-circle", "a red circle on a blue background", Shown { colour: "red", shape: "circle", ground: "blue" }),
        (
            "green-square",
            "a green square on a white background",
            Shown { colour: "green", shape: "square", ground: "white" },
        ),
        (
            "white-triangle",
            "a white triangle on a black background",
            Shown { colour: "white", shape: "triangle", ground: "black" },
        ),
    ];
    for (name, prompt, _) in &jobs {
        cluster.apply(&cluster.job(name, json!({ "model": "tintype/shapes", "prompt": prompt, "seed": 3 })));
    }
    for (name, _, shown) in &jobs {
        cluster.kubectl(&["wait", "--for=condition=Complete", WAIT, &format!("generationjob/{name}")]);
        let job = cluster.read(name);
        assert_eq!(job["status"]["state"], "Complete");
        assert_eq!(job["status"]["outputs"][0]["seed"], 3);
        assert_shows(&cluster.picture(name).await, *shown);
        // The audit log is written a moment after the answer, so the last write may not be in it yet.
        until("the last write in the audit log", LOG_LIMIT, || async {
            (writes_of(&cluster, name).len() >= 3).then_some(())
        })
        .await;
        assert_eq!(writes_of(&cluster, name), ["create", "status", "status"], "create, assign, finish: no more");
    }
    // What the README tells a newcomer to apply; its seed is left to chance, so only the end is looked at.
    let file = cluster.folder.path().join("readme.yaml");
    std::fs::write(&file, readme_job()).unwrap();
    cluster.kubectl(&["apply", "--filename", file.to_str().unwrap()]);
    cluster.kubectl(&["wait", "--for=condition=Complete", WAIT, "gjob/readme-circle"]);

    let table = cluster.kubectl(&["get", "tintype"]);
    assert!(table.contains("red-circle") && table.contains("Complete"), "{table}");
}

#[tokio::test]
async fn what_is_out_of_bounds_is_refused_at_the_edge_or_fails_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    copy_dir(&models().join("shapes"), &folder.path().join("shapes"));
    copy_dir(&models().join("shapes"), &folder.path().join("broken"));
    std::fs::remove_file(folder.path().join("broken/tintype.json")).unwrap();
    std::fs::write(
        folder.path().join("broken/unet/diffusion_pytorch_model.safetensors"),
        b"\x10\0\0\0\0\0\0\0{not json at all}",
    )
    .unwrap();
    let cluster = Cluster::start_with(folder.path()).await;

    let good = json!({ "model": "tintype/shapes", "prompt": "a red circle on a blue background", "seed": 1 });
    let with = |field: &str, value: Value| {
        let mut request = good.clone();
        request[field] = value;
        cluster.job("bad", request)
    };
    for (job, named) in [
        (with("width", json!(7)), "spec.request.width"),
        (with("steps", json!(-4)), "spec.request.steps"),
        (with("prompt", json!("x".repeat(10_000))), "spec.request.prompt"),
        (with("sampler", json!("magic")), "spec.request.sampler"),
        (with("stepz", json!(4)), "spec.request.stepz"),
    ] {
        let said = cluster.refused(&job);
        assert!(said.contains(named), "{named} is not named in: {said}");
    }

    cluster.apply(&cluster.job("good", good.clone()));
    let mut edited = cluster.job("good", good.clone());
    edited["spec"]["request"]["prompt"] = json!("a green square on a white background");
    let said = cluster.refused(&edited);
    assert!(said.contains("cannot be changed") || said.contains("immutable"), "{said}");

    cluster.apply(&cluster.job("unknown", json!({ "model": "nobody/knows", "prompt": "a red circle" })));
    failed_with(&cluster, "unknown", "UnknownModel");
    let mut request = good.clone();
    request["loras"] = json!([{ "name": "nobody/knows-this-lora" }]);
    cluster.apply(&cluster.job("unknown-lora", request));
    let message = failed_with(&cluster, "unknown-lora", "UnknownModel");
    assert!(message.contains("knows-this-lora"), "{message}");

    let mut card: Value =
        serde_json::from_slice(&std::fs::read(models().join("shapes/tintype.json")).unwrap()).unwrap();
    card["name"] = json!("broken");
    cluster.apply(&model("broken", &card));
    cluster.apply(&cluster.job("malformed", json!({ "model": "broken", "prompt": "a red circle" })));
    let message = failed_with(&cluster, "malformed", "ModelUnreadable");
    assert!(message.contains("diffusion_pytorch_model.safetensors"), "{message}");

    cluster.kubectl(&["wait", "--for=condition=Complete", WAIT, "generationjob/good"]);
    let shown = Shown { colour: "red", shape: "circle", ground: "blue" };
    assert_shows(&cluster.picture("good").await, shown);
}

/// The job in the README, under a name no other job here has.
fn readme_job() -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let block = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    block.expect("the README shows a job").replace("name: red-circle", "name: readme-circle")
}

/// Waits for the condition Failed with this reason; gives its message.
fn failed_with(cluster: &Cluster, name: &str, reason: &str) -> String {
    cluster.kubectl(&["wait", "--for=condition=Failed", WAIT, &format!("generationjob/{name}")]);
    let job = cluster.read(name);
    let conditions = job["status"]["conditions"].as_array().unwrap();
    let failed = conditions.iter().find(|condition| condition["type"] == "Failed").unwrap();
    assert_eq!(failed["reason"], reason, "{failed}");
    failed["message"].as_str().unwrap().to_owned()
}

/// The writes the API server accepted about a job, from its audit log: "create" for the job, "status" for its status.
fn writes_of(cluster: &Cluster, name: &str) -> Vec<&'static str> {
    let events = cluster.plane.audit_log().unwrap();
    let accepted = events.iter().filter(|event| (200..300).contains(&event.code) && event.resource == "generationjobs");
    accepted
        .filter(|event| event.name == name && event.namespace == cluster.namespace)
        .filter_map(|event| match (event.verb.as_str(), event.subresource.as_str()) {
            ("get" | "list" | "watch", _) => None,
            (_, "status") => Some("status"),
            ("create", _) => Some("create"),
            (verb, part) => panic!("a write nobody expected: {verb} {part}"),
        })
        .collect()
}
