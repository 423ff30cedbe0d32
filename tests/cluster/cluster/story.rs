//! The life of a release on one cluster, in order: installed, used, upgraded, rolled back, its workers drained and given
//! GPUs, uninstalled, installed again under another name, its workers scaled from none to two and back;
//! a LoRA by URL; the pod of a provider's adapter; and from the kinds on, each as a release of its own.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tintype_fake_nvml::{FakeGpu, Machine, place};

use crate::apart::apart;
use crate::node::{Cluster, NODE, serve};
use crate::release::{NAMESPACE, chart, fetch_and_build, images, pixels, print_figure};

/// From `helm install` into an empty cluster to the first finished job, images being present.
const FIRST_JOB_GOAL: Duration = Duration::from_mins(1);
/// From a pool without workers to the first finished job of it.
const FROM_ZERO_GOAL: Duration = Duration::from_mins(1);
/// A node of two cores has room for two workers then.
const SMALL: &str = "worker.resources.requests.cpu=100m";
const GPU_BYTES: u64 = 24 << 30;

#[test]
fn a_release_from_nothing_to_gone() {
    // Named as the harness names it: inside, it is asked for by this name.
    apart("story::a_release_from_nothing_to_gone", fetch_and_build, || {
        let began = Instant::now();
        let cluster = Cluster::start(&[images()]);
        cluster.make_namespace();
        print_figure("cluster-from-nothing", began.elapsed(), FIRST_JOB_GOAL);
        installed_in_one_command(&cluster);
        crate::plugin::people_look_around(&cluster);
        tested(&cluster);
        upgraded_and_rolled_back(&cluster);
        a_drained_worker_hands_its_job_on(&cluster);
        workers_on_gpus(&cluster);
        uninstalled(&cluster);
        installed_again_under_another_name(&cluster);
        workers_come_and_go_with_the_work(&cluster);
        a_lora_is_fetched(&cluster);
        crate::adapter::a_provider_s_adapter_stands_by(&cluster);
        kinds_as_a_release_of_their_own(&cluster);
    });
}

fn request(seed: u32) -> Value {
    json!({ "model": "tintype/shapes", "prompt": "a red circle on a blue background", "seed": seed })
}

/// One that takes some seconds.
pub(crate) fn long_request(seed: u32) -> Value {
    let mut long = request(seed);
    long["steps"] = json!(150);
    long["images"] = json!(4);
    long
}

fn installed_in_one_command(cluster: &Cluster) {
    let began = Instant::now();
    // Reports come sooner than by default, so that a test sees them.
    let settings = format!("{SMALL},api.enabled=true,operator.extraArgs={{--report-every=1s}}");
    cluster.helm(&["install", "tintype", &chart("tintype"), "--set", &settings]);
    cluster.ask("first", &request(1));
    let job = cluster.complete("first");
    print_figure("helm-install-to-first-job", began.elapsed(), FIRST_JOB_GOAL);
    assert_eq!(job["status"]["assignment"]["worker"], "tintype-worker-0", "{job}");
    let (width, height, _) = pixels(&cluster.picture(&job));
    assert_eq!((width, height), (64, 64));
}

/// `helm test` makes a picture and says so, the API on a database of the release's own is ready, and what was made for the test is
/// gone afterwards. The database's pod goes and comes back with what was in it.
fn tested(cluster: &Cluster) {
    let said = cluster.helm(&["test", "tintype", "--logs"]);
    for wanted in [
        "ok      kinds: ",
        "ok      operator: it leads",
        "ok      api: it is ready",
        "ok      picture: tintype-worker-0 drew 64x64",
    ] {
        assert!(said.contains(wanted), "no `{wanted}` in {said}");
    }
    let left = cluster.namespaced(&["get", "pods,roles,rolebindings,serviceaccounts,generationjobs", "--output=name"]);
    assert!(!left.contains("-test") && !left.contains("check-"), "left behind: {left}");

    let secret = ["get", "secret", "tintype-database-access", "--output=jsonpath={.metadata.uid} {.data.url}"];
    let made = cluster.namespaced(&secret);
    cluster.namespaced(&["delete", "pod", "tintype-database-0", "--timeout=60s"]);
    cluster.rolled_out("statefulset/tintype-database");
    cluster.helm(&["test", "tintype"]);
    assert_eq!(cluster.namespaced(&secret), made, "the Secret was made anew");
}

/// An upgrade that replaces every pod while jobs are drawn: they are handed on, are done, and are nobody's failure.
fn upgraded_and_rolled_back(cluster: &Cluster) {
    // As many as keep the workers busy until the last of them is replaced.
    let names: Vec<String> = (0..8).map(|n| format!("through-an-upgrade-{n}")).collect();
    for (seed, name) in (30..).zip(&names) {
        cluster.ask(name, &long_request(seed));
    }
    under_way(cluster, &names[0]);
    let settings = "worker.replicas=2,worker.podAnnotations.round=second,operator.podAnnotations.round=second";
    let upgrade = ["upgrade", "tintype", &chart("tintype"), "--reuse-values", "--set", settings];
    cluster.helm(&upgrade);
    cluster.rolled_out("statefulset/tintype-worker");
    cluster.rolled_out("deployment/tintype-operator");
    let mut handed_on = None;
    for (seed, name) in (30..).zip(&names) {
        let job = cluster.complete(name);
        assert!(job["status"].get("failedAttempts").is_none(), "an upgrade is nobody's failure: {job}");
        if job["status"]["attempt"].as_u64().unwrap() >= 2 {
            handed_on = Some((seed, job));
        }
    }
    let (seed, job) = handed_on.expect("a worker was replaced while it drew");
    cluster.ask("undisturbed-by-an-upgrade", &long_request(seed));
    let undisturbed = cluster.complete("undisturbed-by-an-upgrade");
    assert!(
        pixels(&cluster.picture(&undisturbed)) == pixels(&cluster.picture(&job)),
        "the picture is another after an upgrade"
    );
    cluster.ask("upgraded", &request(1));
    let (first, upgraded) = (cluster.job("first"), cluster.complete("upgraded"));
    assert!(
        pixels(&cluster.picture(&first)) == pixels(&cluster.picture(&upgraded)),
        "the same request gave another picture after the upgrade"
    );
    cluster.helm(&["rollback", "tintype", "1"]);
    cluster.until("the second worker to go", || {
        cluster.namespaced(&["get", "pods", "--output=name"]).matches("tintype-worker-").count() == 1
    });
    cluster.ask("rolled-back", &request(2));
    cluster.complete("rolled-back");
    cluster.helm(&upgrade);
    cluster.rolled_out("statefulset/tintype-worker");
}

/// The node is drained of the worker that draws: it writes a checkpoint and gives its job back, and the other one, which was
/// there before, draws the same picture.
fn a_drained_worker_hands_its_job_on(cluster: &Cluster) {
    // Long enough to be under way still when the drain has begun.
    let mut long = long_request(7);
    long["images"] = json!(10);
    cluster.ask("undisturbed", &long);
    let undisturbed = cluster.complete("undisturbed");
    cluster.ask("handed-on", &long);
    let worker = under_way(cluster, "handed-on");
    let this_one = format!("--pod-selector=statefulset.kubernetes.io/pod-name={worker}");
    cluster.kubectl(&["drain", NODE, &this_one, "--delete-emptydir-data", "--timeout=120s"]);
    let job = cluster.complete("handed-on");
    // No new pod can start on a node that is drained.
    assert_ne!(job["status"]["assignment"]["worker"], worker.as_str(), "{job}");
    cluster.kubectl(&["uncordon", NODE]);
    cluster.rolled_out("statefulset/tintype-worker");
    assert!(job["status"]["attempt"].as_u64().unwrap() >= 2, "{job}");
    assert!(job["status"].get("failedAttempts").is_none(), "a drain is nobody's failure: {job}");
    // It was not drawn anew.
    let (uid, next) =
        (job["metadata"]["uid"].as_str().unwrap(), job["status"]["assignment"]["worker"].as_str().unwrap());
    let log = cluster.namespaced(&["logs", next]);
    let goes_on = |line: &str| line.contains("goes on from the checkpoint") && line.contains(uid);
    assert!(log.lines().any(goes_on), "{next} began anew: {log}");
    assert!(
        pixels(&cluster.picture(&undisturbed)) == pixels(&cluster.picture(&job)),
        "the picture is another after its worker went"
    );
}

/// Waits until a job is drawn; by whom.
fn under_way(cluster: &Cluster, name: &str) -> String {
    let mut worker = String::new();
    cluster.until("the job to be under way", || {
        let job = cluster.job(name);
        job["status"]["assignment"]["worker"].as_str().unwrap_or_default().clone_into(&mut worker);
        job["status"]["progress"]["step"].as_u64().is_some_and(|step| step > 0) && !worker.is_empty()
    });
    worker
}

/// A pool of its own for a GPU the node advertises. The management library is on the volume with the models, where the
/// NVIDIA runtime would put it beside them.
fn workers_on_gpus(cluster: &Cluster) {
    let gpu = json!({ "status": { "capacity": { "nvidia.com/gpu": "1" }, "allocatable": { "nvidia.com/gpu": "1" } } });
    let patch = ["patch", "node", NODE, "--subresource=status", "--type=merge", "--patch", &gpu.to_string()];
    cluster.kubectl(&patch);
    cluster.add_volume("models", "models");
    let folder = cluster.volume("models");
    place(&folder).unwrap();
    let gpus = vec![FakeGpu {
        uuid: "GPU-aa".to_owned(),
        name: "NVIDIA Fake".to_owned(),
        memory_total: GPU_BYTES,
        xids: Some(Vec::new()),
        ..FakeGpu::default()
    }];
    Machine { gpus, ..Machine::default() }.write(&folder.join("gpus.json")).unwrap();
    cluster.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": "models", "namespace": NAMESPACE },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "models", "resources": { "requests": { "storage": "1Gi" } },
        }
    }));
    let values = cluster.folder.path().join("gpus.json");
    fs::write(&values, gpu_values().to_string()).unwrap();
    cluster.helm(&["install", "gpus", &chart("tintype"), "--values", &values.display().to_string()]);
    cluster.rolled_out("statefulset/gpus-tintype-worker");
    cluster.until("the GPU to be reported", || {
        let reports = cluster.namespaced(&["get", "gpuworkers", "--output=json"]);
        reports.contains("GPU-aa") && reports.contains(&GPU_BYTES.to_string())
    });
    // No second worker fits: the node has one GPU.
    cluster.namespaced(&["scale", "statefulset/gpus-tintype-worker", "--replicas=2"]);
    cluster.until("the second worker to wait for a GPU", || {
        cluster.namespaced(&["get", "events"]).contains("Insufficient nvidia.com/gpu")
    });
    // With the workers on the CPU gone, the one on the GPU draws.
    cluster.namespaced(&["scale", "statefulset/tintype-worker", "--replicas=0"]);
    cluster.until("the others to go", || {
        !cluster.namespaced(&["get", "pods", "--output=name"]).contains("pod/tintype-worker-")
    });
    cluster.ask("on-a-gpu", &request(3));
    let job = cluster.complete("on-a-gpu");
    assert_eq!(job["status"]["assignment"]["worker"], "gpus-tintype-worker-0", "{job}");
    cluster.helm(&["uninstall", "gpus"]);
}

/// Workers for the operator another release runs.
fn gpu_values() -> Value {
    json!({
        "crds": { "enabled": false },
        "rbac": { "create": false, "aggregate": false },
        "dispatch": { "url": "http://tintype-dispatch.tintype.svc:8080" },
        "secrets": { "workerToken": { "existingSecret": "tintype-worker-token" } },
        "operator": { "enabled": false },
        "defaults": { "model": false },
        "worker": {
            "pool": "fake",
            "resources": { "requests": { "cpu": "100m" } },
            "gpu": { "enabled": true },
            "models": { "existingClaim": "models" },
            "extraEnv": [{ "name": "TINTYPE_NVML_LIB", "value": "/models/libnvidia-ml.so.1" }],
        },
    })
}

fn uninstalled(cluster: &Cluster) {
    cluster.helm(&["uninstall", "tintype", "--wait"]);
    let left = cluster.namespaced(&["get", "pods,deployments,statefulsets,services", "--output=name"]);
    cluster.until("the pods to go", || cluster.namespaced(&["get", "pods", "--output=name"]).trim().is_empty());
    assert!(!left.contains("deployment") && !left.contains("service/tintype"), "left behind: {left}");
    let jobs = cluster.namespaced(&["get", "generationjobs", "--output=name"]);
    assert_eq!(jobs.lines().count(), 17, "an uninstall takes no job: {jobs}");
}

/// The kinds belong to the first release, and stay when it goes; the next one takes them over.
fn installed_again_under_another_name(cluster: &Cluster) {
    cluster.helm(&["install", "pictures", &chart("tintype"), "--take-ownership", "--set", SMALL]);
    cluster.ask("again", &request(1));
    let job = cluster.complete("again");
    assert_eq!(job["status"]["assignment"]["worker"], "pictures-tintype-worker-0", "{job}");
    let jobs = cluster.namespaced(&["get", "generationjobs", "--output=name"]);
    assert_eq!(jobs.lines().count(), 18, "{jobs}");
}

/// The pool keeps the workers from now on, as many as there is work for: none, two, none.
fn workers_come_and_go_with_the_work(cluster: &Cluster) {
    // Times of a test: a node that is there already, and people who wait.
    let settings =
        "worker.managedBy=pool,operator.extraArgs={--report-every=1s,--scale-horizon=1s,--worker-start-time=1s}";
    cluster.helm(&["upgrade", "pictures", &chart("tintype"), "--reuse-values", "--set", settings]);
    cluster.rolled_out("deployment/pictures-tintype-operator");
    let pool = json!({ "spec": {
        "namespace": NAMESPACE, "template": "pictures-tintype-worker", "replicas": 0,
        "scaling": { "min": 0, "max": 2, "downAfterSeconds": 2 },
    }});
    cluster.kubectl(&["patch", "gpupool", "default", "--type=merge", "--patch", &pool.to_string()]);
    let workers = || {
        let pods =
            cluster.namespaced(&["get", "pods", "--output=name", "--selector=app.kubernetes.io/component=worker"]);
        pods.lines().count()
    };
    cluster.until("the workers of the release to go", || workers() == 0);
    let began = Instant::now();
    let names = ["busy-1", "busy-2", "busy-3", "busy-4"];
    for (seed, name) in (10..).zip(names) {
        cluster.ask(name, &long_request(seed));
    }
    cluster.until("two workers to come", || workers() == 2);
    cluster.until("one of the jobs to be complete", || {
        names.iter().any(|name| cluster.job(name)["status"]["state"] == "Complete")
    });
    print_figure("scale-from-zero-to-first-job", began.elapsed(), FROM_ZERO_GOAL);
    for name in names {
        cluster.complete(name);
    }
    cluster.until("the workers to go with the work", || workers() == 0);
    let pool = cluster.kubectl(&["get", "gpupool", "default", "--output=json"]);
    let pool: Value = serde_json::from_str(&pool).unwrap();
    assert_eq!((&pool["spec"]["replicas"], &pool["status"]["desiredWorkers"]), (&json!(0), &json!(0)), "{pool}");
}

/// A LoRA that is on a web server alone: the operator looks into it, a new worker fetches it, and the picture is another.
fn a_lora_is_fetched(cluster: &Cluster) {
    let file = fs::read(tintype_cluster::root().join("models/shapes-night/pytorch_lora_weights.safetensors")).unwrap();
    let sha256 = hex::encode(Sha256::digest(&file));
    let url = format!("{}/night.safetensors", serve(file));
    cluster.apply(&json!({
        "apiVersion": "tintype.dev/v1alpha1", "kind": "DiffusionModel", "metadata": { "name": "night" },
        "spec": {
            "modelName": "team/night", "kind": "lora", "family": "sd15", "fetch": { "url": url, "sha256": sha256 },
            "defaults": { "width": 64, "height": 64, "steps": 20, "guidanceScale": 3, "sampler": "euler" },
        },
    }));
    cluster.kubectl(&["wait", "--for=condition=Ready", "diffusionmodel/night", "--timeout=60s"]);
    let mut with = request(21);
    with["loras"] = json!([{ "name": "team/night" }]);
    cluster.ask("by-day", &request(21));
    cluster.ask("by-night", &with);
    let (day, night) = (cluster.complete("by-day"), cluster.complete("by-night"));
    assert!(pixels(&cluster.picture(&day)) != pixels(&cluster.picture(&night)), "the LoRA changed nothing");
}

/// As teams do it whose kinds are others' to install: kinds first, then a release without them; they outlive both.
fn kinds_as_a_release_of_their_own(cluster: &Cluster) {
    cluster.helm(&["uninstall", "pictures", "--wait"]);
    let kinds = ["generationjobs", "generationqueues", "gpupools", "gpuworkers", "diffusionmodels"];
    let kinds = kinds.map(|kind| format!("{kind}.tintype.dev"));
    let named = |verb| [&[verb, "customresourcedefinition"][..], &kinds.each_ref().map(String::as_str)].concat();
    cluster.kubectl(&[named("delete"), vec!["--timeout=120s"]].concat());
    cluster.helm(&["install", "kinds", &chart("tintype-crds")]);
    let settings = format!("{SMALL},crds.enabled=false");
    cluster.helm(&["install", "third", &chart("tintype"), "--set", &settings]);
    cluster.ask("third", &request(1));
    cluster.complete("third");
    cluster.helm(&["uninstall", "third"]);
    cluster.helm(&["uninstall", "kinds"]);
    cluster.kubectl(&named("get"));
    assert_eq!(cluster.job("third")["status"]["state"], "Complete");
}
