//! What the schema promises, asked of a real API server.

use std::process::Output;

use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tintype_crds::{GenerationJob, GenerationJobSpec, GpuPool};
use tintype_kubetest::ControlPlane;
use tintype_types::{ControlUse, GenerationRequest, InitImage, JobState, Levels, Sampler};

/// A control plane with our definitions, a namespace of one's own and a client.
async fn cluster() -> (&'static ControlPlane, Api<GenerationJob>, String) {
    let plane = ControlPlane::shared().await.expect("the control plane starts");
    let yaml = tintype_crds::YAML.map(|(_, yaml)| yaml).join("---\n");
    let applied = plane.kubectl_with_input(&["apply", "--server-side", "-f", "-"], &yaml).expect("kubectl runs");
    assert!(applied.status.success(), "{}", said(&applied));
    assert!(!said(&applied).contains("Warning"), "{}", said(&applied));
    let waited = plane.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]);
    assert!(waited.expect("kubectl runs").status.success());
    let namespace = plane.unique_namespace().await.expect("a namespace is made");
    let client: Client = plane.client().await.expect("the administrator has a client");
    (plane, Api::namespaced(client, &namespace), namespace)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn make(jobs: &Api<GenerationJob>, name: &str) -> GenerationJob {
    let spec = GenerationJobSpec::new(GenerationRequest::new("tintype/shapes", "a red circle"));
    jobs.create(&PostParams::default(), &GenerationJob::new(name, spec)).await.expect("the job is accepted")
}

async fn set_status(jobs: &Api<GenerationJob>, name: &str, status: Value) -> Result<GenerationJob, kube::Error> {
    let patch = Patch::Merge(json!({ "status": status }));
    jobs.patch_status(name, &PatchParams::default(), &patch).await
}

/// The status a job has while its second attempt is out, in term 5.
fn assigned() -> Value {
    json!({
        "state": "Assigned", "attempt": 2, "leaderEpoch": 5,
        "assignment": { "worker": "w-1", "attempt": 2, "leaderEpoch": 5 },
    })
}

/// What the server said when it refused; anything else fails the test.
fn refusal(answer: Result<GenerationJob, kube::Error>) -> String {
    let (code, message) = match answer {
        Err(kube::Error::Api(status)) => (status.code, status.message.clone()),
        Err(other) => (0, other.to_string()),
        Ok(job) => (200, format!("it was taken: {:?}", job.status)),
    };
    assert_eq!(code, 422, "{message}");
    message
}

#[tokio::test]
async fn a_new_job_is_seen_as_queued_without_a_write() {
    let (plane, jobs, namespace) = cluster().await;
    make(&jobs, "a").await;
    assert_eq!(jobs.get("a").await.unwrap().state(), JobState::Queued);
    let columns = plane.kubectl(&["get", "gjob", "-n", &namespace]).unwrap();
    let text = said(&columns);
    assert!(text.contains("STATUS   REASON   MODEL"), "{text}");
    assert!(text.contains("Queued"), "{text}");
    let ours = said(&plane.kubectl(&["get", "tintype", "-n", &namespace]).unwrap());
    assert!(ours.contains("generationjob.tintype.dev/a"), "{ours}");
}

#[tokio::test]
async fn a_job_reads_the_pictures_of_its_own_queue_alone() {
    let (_, jobs, _) = cluster().await;
    let init = |image: &str, mask: Option<&str>| {
        let mask = mask.map(str::to_owned);
        Some(InitImage { image: image.to_owned(), strength: 0.5, mask })
    };
    let control =
        |image: &str| ControlUse { name: "c".to_owned(), image: image.to_owned(), weight: 1.0, start: 0.0, end: 1.0 };
    let (own, foreign) = ("inputs/acme/1.png", "inputs/other/1.png");
    let request = GenerationRequest::new("tintype/shapes", "a red circle");
    let good = GenerationRequest { init: init(own, Some(own)), controls: vec![control(own)], ..request.clone() };
    let cases = [
        (GenerationRequest { init: init(foreign, None), ..request.clone() }, false),
        (GenerationRequest { init: init(own, Some(foreign)), ..request.clone() }, false),
        (GenerationRequest { controls: vec![control(own), control(foreign)], ..request.clone() }, false),
        (GenerationRequest { init: init("inputs/acmeother/1.png", None), ..request }, false),
        (good, true),
    ];
    for (number, (request, taken)) in cases.into_iter().enumerate() {
        let mut spec = GenerationJobSpec::new(request);
        spec.queue = "acme".to_owned();
        let made = jobs.create(&PostParams::default(), &GenerationJob::new(&format!("j{number}"), spec)).await;
        if taken {
            made.expect("pictures of its own queue are taken");
        } else {
            assert!(refusal(made).contains("pictures of its own queue alone"), "case {number}");
        }
    }
}

#[tokio::test]
async fn levels_a_sampler_does_not_take_are_refused() {
    let (_, jobs, _) = cluster().await;
    let make = |name: &str, sampler, levels| {
        let mut request = GenerationRequest::new("tintype/shapes", "a red circle");
        (request.sampler, request.levels) = (Some(sampler), Some(levels));
        GenerationJob::new(name, GenerationJobSpec::new(request))
    };
    let made = jobs.create(&PostParams::default(), &make("a", Sampler::Ddim, Levels::Karras)).await;
    assert!(refusal(made).contains("own and trailing"));
    jobs.create(&PostParams::default(), &make("b", Sampler::Euler, Levels::Karras)).await.expect("this pair is done");
}

#[tokio::test]
async fn the_fences_hold_against_every_way_of_writing() {
    let (_, jobs, _) = cluster().await;
    make(&jobs, "a").await;
    set_status(&jobs, "a", assigned()).await.unwrap();

    let lower_epoch = json!({ "leaderEpoch": 4, "assignment": { "leaderEpoch": 4 } });
    assert!(refusal(set_status(&jobs, "a", lower_epoch).await).contains("leaderEpoch only grows"));
    let no_epoch = json!({ "leaderEpoch": null, "assignment": null });
    assert!(refusal(set_status(&jobs, "a", no_epoch).await).contains("leaderEpoch only grows"));
    let lower_attempt = json!({ "attempt": 1, "assignment": { "attempt": 1 } });
    assert!(refusal(set_status(&jobs, "a", lower_attempt).await).contains("attempt only grows"));
    let other_attempt = json!({ "assignment": { "attempt": 3 } });
    assert!(refusal(set_status(&jobs, "a", other_attempt).await).contains("of the current attempt"));
    assert!(refusal(set_status(&jobs, "a", Value::Null).await).contains("only grows"));

    for operation in
        [json!({ "op": "remove", "path": "/status" }), json!({ "op": "replace", "path": "/status", "value": null })]
    {
        let patch: Patch<()> = Patch::Json(serde_json::from_value(json!([operation])).unwrap());
        refusal(jobs.patch_status("a", &PatchParams::default(), &patch).await);
    }
    let mut bare = jobs.get("a").await.unwrap();
    bare.status = None;
    refusal(jobs.replace_status("a", &PostParams::default(), &bare).await);

    // A later leader goes on; progress of the same attempt is no fence.
    let later = json!({ "state": "Running", "leaderEpoch": 6, "progress": { "step": 3, "steps": 20 } });
    assert_eq!(set_status(&jobs, "a", later).await.unwrap().state(), JobState::Running);
}

#[tokio::test]
async fn what_has_ended_stays_as_it_ended() {
    let (_, jobs, _) = cluster().await;
    let output =
        json!({ "key": "jobs/u/2/0.png", "sha256": "0".repeat(64), "bytes": 9, "width": 64, "height": 64, "seed": 1 });
    make(&jobs, "done").await;
    set_status(&jobs, "done", assigned()).await.unwrap();
    set_status(&jobs, "done", json!({ "state": "Complete", "outputs": [output] })).await.unwrap();
    for state in ["Queued", "Running", "Failed"] {
        assert!(refusal(set_status(&jobs, "done", json!({ "state": state })).await).contains("stays so"));
    }
    assert!(refusal(set_status(&jobs, "done", json!({ "outputs": [] })).await).contains("outputs of a Complete job"));
    assert!(refusal(set_status(&jobs, "done", json!({ "outputs": null })).await).contains("outputs of a Complete job"));
    refusal(set_status(&jobs, "done", Value::Null).await);

    make(&jobs, "failed").await;
    set_status(&jobs, "failed", assigned()).await.unwrap();
    let failure = json!({ "reason": "Internal", "message": "broke" });
    set_status(&jobs, "failed", json!({ "state": "Failed", "failure": failure })).await.unwrap();
    assert!(refusal(set_status(&jobs, "failed", json!({ "state": "Complete" })).await).contains("stays so"));
    let other = json!({ "failure": { "reason": "Cancelled" } });
    assert!(refusal(set_status(&jobs, "failed", other).await).contains("failure of a Failed job"));
}

#[tokio::test]
async fn the_spec_cannot_be_edited() {
    let (_, jobs, _) = cluster().await;
    make(&jobs, "a").await;
    for change in [json!({ "priority": 3 }), json!({ "request": { "prompt": "another" } }), json!({ "pool": "p" })] {
        let patch = Patch::Merge(json!({ "spec": change }));
        let message = refusal(jobs.patch("a", &PatchParams::default(), &patch).await);
        assert!(message.contains("make another job"), "{message}");
    }
    let label = Patch::Merge(json!({ "metadata": { "labels": { "team": "a" } } }));
    jobs.patch("a", &PatchParams::default(), &label).await.unwrap();
}

#[tokio::test]
async fn jobs_are_selected_by_state_worker_and_queue() {
    let (plane, jobs, namespace) = cluster().await;
    make(&jobs, "waits").await;
    make(&jobs, "runs").await;
    set_status(&jobs, "runs", assigned()).await.unwrap();
    let names = async |selector: &str| -> Vec<String> {
        let found = jobs.list(&ListParams::default().fields(selector)).await.unwrap();
        found.items.iter().map(ResourceExt::name_any).collect()
    };
    assert_eq!(names("status.state=Queued").await, ["waits"]);
    assert_eq!(names("status.state=Assigned").await, ["runs"]);
    assert_eq!(names("status.assignment.worker=w-1").await, ["runs"]);
    assert_eq!(names("spec.queue=default").await, ["runs", "waits"]);
    let wide = said(&plane.kubectl(&["get", "gjob", "-n", &namespace, "-o", "wide"]).unwrap());
    assert!(wide.contains("WORKER") && wide.contains("w-1"), "{wide}");
}

#[tokio::test]
async fn bad_input_is_refused_at_apply_with_a_word_about_it() {
    let (plane, _, namespace) = cluster().await;
    let long = "x".repeat(10_000);
    let cases = [
        ("model: m, prompt: a, width: 7", "spec.request.width"),
        ("model: m, prompt: a, width: 100", "multiple of 64"),
        ("model: m, prompt: a, steps: -3", "spec.request.steps"),
        ("model: m, prompt: a, steps: 5000000000", "spec.request.steps"),
        ("model: m, prompt: a, seed: 9007199254740992", "spec.request.seed"),
        ("model: m, prompt: a, guidanceScale: 31", "spec.request.guidanceScale"),
        ("model: m, prompt: a, sampler: magic", "supported values: \"ddim\""),
        ("model: m, prompt: a, stepz: 3", "unknown field \"spec.request.stepz\""),
        ("model: m, prompt: ''", "spec.request.prompt"),
        ("model: m, prompt: '  '", "say what the picture should show"),
        ("model: m, prompt: LONG", "may not be more than 4000"),
        ("model: '', prompt: a", "spec.request.model"),
        ("prompt: a", "spec.request.model: Required value"),
    ];
    for (request, expected) in cases {
        let request = request.replace("LONG", &long);
        let yaml = format!(
            "apiVersion: tintype.dev/v1alpha1\nkind: GenerationJob\nmetadata: {{name: bad}}\nspec: {{request: {{{request}}}}}\n"
        );
        let applied = plane.kubectl_with_input(&["apply", "-n", &namespace, "-f", "-"], &yaml).unwrap();
        assert!(!applied.status.success(), "{request} was accepted");
        assert!(said(&applied).contains(expected), "{request}: {}", said(&applied));
    }
    let queue = "apiVersion: tintype.dev/v1alpha1\nkind: GenerationQueue\nmetadata: {name: q}\nspec: {weight: 0}\n";
    let applied = plane.kubectl_with_input(&["apply", "-n", &namespace, "-f", "-"], queue).unwrap();
    assert!(said(&applied).contains("spec.weight"), "{}", said(&applied));
    let model = "apiVersion: tintype.dev/v1alpha1\nkind: DiffusionModel\nmetadata: {name: m}\nspec: {family: sd15, \
        defaults: {width: 100, height: 64, steps: 20, guidanceScale: 3, sampler: euler}}\n";
    let applied = plane.kubectl_with_input(&["apply", "-f", "-"], model).unwrap();
    assert!(said(&applied).contains("multiples of 64"), "{}", said(&applied));
}

#[tokio::test]
async fn the_longest_request_there_can_be_is_within_the_cost_of_the_rules() {
    let (_, jobs, _) = cluster().await;
    let mut request = GenerationRequest::new("m".repeat(253), "é".repeat(4_000));
    request.negative_prompt = Some("ü".repeat(4_000));
    let spec = GenerationJobSpec::new(request);
    jobs.create(&PostParams::default(), &GenerationJob::new("long", spec)).await.unwrap();
    assert_eq!(set_status(&jobs, "long", assigned()).await.unwrap().state(), JobState::Assigned);
}

/// Makes a good object a bad one.
type Change<'a> = &'a dyn Fn(&mut Value);

#[tokio::test]
async fn a_providers_pool_has_a_price_a_budget_that_makes_sense_and_one_adapter() {
    let (plane, _, namespace) = cluster().await;
    let client: Client = plane.client().await.expect("the administrator has a client");
    let kind = ApiResource::erase::<GpuPool>(&());
    let pools: Api<DynamicObject> = Api::all_with(client, &kind);
    let pool = |change: Change<'_>| {
        let mut spec = json!({ "replicas": 1, "template": "t", "provider": {
            "kind": "replicate", "baseUrl": "https://api.replicate.com/v1", "secretRef": { "name": "r" },
            "models": [{ "name": "m", "target": "owner/name", "pricePerImageMicroUsd": 3_000 }],
            "budget": { "dayMicroUsd": 1, "monthMicroUsd": 2 },
        }});
        change(&mut spec);
        DynamicObject::new(&format!("provider-{namespace}"), &kind).data(json!({ "spec": spec }))
    };
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let good = pools.create(&params, &pool(&|_| ())).await.unwrap();
    let filled = &good.data["spec"]["provider"];
    assert_eq!((&filled["concurrencyMax"], &filled["models"][0]["secondsMax"]), (&json!(4), &json!(300)));
    let cases: [(&str, Change<'_>); 7] = [
        ("one adapter", &|spec| spec["replicas"] = json!(2)),
        ("not scaled", &|spec| spec["scaling"] = json!({ "max": 1 })),
        ("more than that of a month", &|spec| spec["provider"]["budget"]["dayMicroUsd"] = json!(3)),
        ("what the model costs", &|spec| spec["provider"]["models"][0]["pricePerSecondMicroUsd"] = json!(1)),
        ("what the model costs", &|spec| {
            spec["provider"]["models"][0].as_object_mut().unwrap().remove("pricePerImageMicroUsd");
        }),
        ("kind", &|spec| spec["provider"]["kind"] = json!("other")),
        ("baseUrl", &|spec| spec["provider"]["baseUrl"] = json!("ftp://x.test/y")),
    ];
    for (said, change) in cases {
        let error = pools.create(&params, &pool(change)).await.unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
}
