//! `kubectl tintype` on a real API server, with the real kubectl: a job made, shown, fetched and reckoned, a model kept
//! warm, a worker drained. The way to the operator is given: there is no kubelet to forward a port.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, WAIT};
use crate::support::picture::{Shown, assert_shows};
use crate::support::programs::program;
use crate::support::wait::until;

/// Columns everybody has.
const WIDTH: usize = 100;

#[tokio::test]
async fn what_people_do_in_a_cluster_they_do_with_the_plugin() {
    let cluster = Cluster::start().await;
    let folder = cluster.folder.path();
    symlink(program("tintype"), folder.join("kubectl-tintype")).unwrap();
    cluster.apply(&json!({
        "apiVersion": "tintype.dev/v1alpha1", "kind": "GpuPool", "metadata": { "name": "default" },
        "spec": { "pricePerGpuHour": "3.60" },
    }));

    models_are_kept_warm(&cluster).await;
    let file = folder.join("circle.png");
    let made = ["generate", "a red circle on a blue background", "--seed", "3", "--name", "red-circle"];
    let into = ["--image", file.to_str().unwrap()];
    let said = run(&cluster, &[&made[..], &into[..]].concat());
    assert!(said.contains("circle.png  64x64  seed 3"), "{said}");
    let picture = std::fs::read(&file).unwrap();
    assert_shows(&picture, Shown { colour: "red", shape: "circle", ground: "blue" });

    jobs_are_shown(&cluster, &picture);
    pictures_are_reckoned(&cluster);
    let found = run(&cluster, &["doctor"]);
    assert!(found.lines().all(|line| line.starts_with("ok ")), "{found}");
    let offered = run(&cluster, &["__complete", "--", "explain", "-n", &cluster.namespace, "red"]);
    assert_eq!(offered, "red-circle\n:4\n");
    a_worker_is_drained(&cluster);
}

fn jobs_are_shown(cluster: &Cluster, picture: &[u8]) {
    let table = run(cluster, &["get"]);
    assert!(table.contains("red-circle") && table.contains("Complete") && table.contains("worker-0"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= WIDTH), "{table}");
    let told: Value = serde_json::from_str(&run(cluster, &["get", "red-circle", "-o", "json"])).unwrap();
    assert_eq!(told["status"]["state"], "Complete");
    let folder = cluster.folder.path().join("pictures");
    std::fs::create_dir(&folder).unwrap();
    run(cluster, &["get", "red-circle", "--image", folder.to_str().unwrap()]);
    let again = std::fs::read(folder.join("a-red-circle-on-a-blue-background.png")).unwrap();
    assert!(again == picture, "the picture fetched later is another");
    assert_eq!(run(cluster, &["get", "-q", "nobodys"]).trim(), "there is no job here");
    let refused = output(cluster, &["get", "blue-circle"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("blue-circle"), "{said}");
}

fn pictures_are_reckoned(cluster: &Cluster) {
    let held = cluster.read("red-circle")["status"]["gpuMilliseconds"].as_f64().unwrap();
    let said: Value = serde_json::from_str(&run(cluster, &["cost", "-o", "json"])).unwrap();
    let line = &said["costs"][0];
    assert_eq!(
        (&line["model"], &line["pool"], &line["images"]),
        (&json!("tintype/shapes"), &json!("default"), &json!(1))
    );
    // 3.60 an hour is a millionth a millisecond.
    assert!((line["cost"].as_f64().unwrap() - held / 1e6).abs() < 1e-9, "{said}");
}

/// Before anybody asked for a picture: the worker loads the model because the pool wants it.
async fn models_are_kept_warm(cluster: &Cluster) {
    let resident = || cluster.kubectl(&["get", "gpuworkers", "--output=jsonpath={.items[*].status.residentModels}"]);
    until("the worker to be reported", Duration::from_mins(1), || async {
        (!cluster.kubectl(&["get", "gpuworkers", "--output=name"]).is_empty()).then_some(())
    })
    .await;
    assert_eq!(resident(), "", "nobody has asked for anything");
    let kept = || cluster.kubectl(&["get", "gpupool", "default", "--output=jsonpath={.spec.warmModels}"]);
    let said = run(cluster, &["warm", "tintype/shapes"]);
    assert!(said.contains("worker-0 has it in memory"), "{said}");
    assert_eq!(kept(), r#"["tintype/shapes"]"#);
    assert!(resident().contains("tintype/shapes"), "{}", resident());
    assert_eq!(cluster.kubectl(&["get", "generationjobs", "--output=name"]), "", "no job was run for it");
    cluster.kubectl(&["wait", "--for=condition=ModelsWarm", "gpupool/default", WAIT]);
    run(cluster, &["warm", "tintype/shapes", "--off"]);
    assert_eq!(kept().trim_matches(['[', ']']), "");
    let refused = output(cluster, &["warm", "tintype/nothing"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("there are: tintype/shapes"), "{said}");
}

/// Its pod is evicted, as the API server has it; the process that plays it here knows nothing of pods and goes on.
fn a_worker_is_drained(cluster: &Cluster) {
    let namespace = &cluster.namespace;
    cluster.apply(&json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default", "namespace": namespace },
    }));
    cluster.apply(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "worker-0", "namespace": namespace },
        "spec": { "automountServiceAccountToken": false, "containers": [{ "name": "worker", "image": "registry.invalid/w" }] },
    }));
    cluster.apply(&json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "tt-dispatch", "namespace": namespace,
            "labels": { "app.kubernetes.io/part-of": "tintype", "app.kubernetes.io/component": "operator" },
        },
        "spec": { "ports": [{ "port": 8080 }] },
    }));
    let long = json!({
        "model": "tintype/shapes", "prompt": "a red circle on a blue background", "steps": 150, "images": 4,
    });
    cluster.apply(&cluster.job("long", long));
    cluster.kubectl(&["wait", "--for=jsonpath={.status.assignment.worker}=worker-0", WAIT, "gjob/long"]);
    let said = run(cluster, &["drain", "worker-0", "--timeout", "60s"]);
    assert!(said.starts_with("worker-0 has gone"), "{said}");
    assert!(said.contains(&format!("job {namespace}/long is ")), "{said}");
    let refused = output(cluster, &["drain", "worker-0"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("there is no worker worker-0"), "{said}");
}

/// Runs the plugin as kubectl would; it must succeed. Gives what it printed.
pub(crate) fn run(cluster: &Cluster, words: &[&str]) -> String {
    let output = output(cluster, words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "kubectl tintype {words:?}: {said}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

fn output(cluster: &Cluster, words: &[&str]) -> Output {
    let folder = cluster.folder.path();
    let mut command = cluster.plane.command(folder.join("kubectl-tintype"));
    let kubectl = cluster.plane.kubectl_command(&[]);
    let bin = Path::new(kubectl.get_program()).parent().unwrap().to_path_buf();
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(bin).chain(std::env::split_paths(&usual));
    command.env("PATH", std::env::join_paths(path).unwrap()).env("HOME", folder).args(words);
    if words[0] != "__complete" {
        command.args(["-n", &cluster.namespace]);
    }
    command
        .env("TINTYPE_DISPATCH_URL", format!("http://{}", cluster.address))
        .env("TINTYPE_DISPATCH_TOKEN_FILE", folder.join("reader-token"))
        .output()
        .unwrap()
}
