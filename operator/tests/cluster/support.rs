//! A namespace of one's own, operators as processes in it, and a worker that only pretends to draw.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use reqwest::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tintype_crds::{GenerationJob, GenerationJobSpec};
use tintype_kubetest::{AuditEvent, ControlPlane};
use tintype_operator::rights::{RIGHTS, Right, Scope};
use tintype_types::worker::{Assignment, Claim, ClaimAnswer, Finish, Gpu, Outcome, Renew, Unwell, WarmUpStanding};
use tintype_types::{Attempt, BootId, ErrorBody, ErrorCode, FailureReason, GenerationRequest, Output, WorkerId};

/// Longest anything here is waited for; a busy machine is slow, a broken program is for ever.
pub(crate) const WITHIN: Duration = Duration::from_mins(1);
/// Between two looks at something waited for.
const LOOK: Duration = Duration::from_millis(25);
/// The token of workers.
const TOKEN: &str = "a-token-for-workers-in-tests-only";
/// The model every test may use.
pub(crate) const MODEL: &str = "tintype/shapes";

/// One test's part of the cluster.
pub(crate) struct Bench {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) namespace: String,
    pub(crate) client: Client,
    pub(crate) jobs: Api<GenerationJob>,
    pub(crate) user: String,
    kubeconfig: PathBuf,
    pub(crate) dir: TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::on(ControlPlane::shared().await.expect("the control plane starts")).await
    }

    pub(crate) async fn on(plane: &'static ControlPlane) -> Self {
        install(plane);
        let namespace = plane.unique_namespace().await.expect("a namespace is made");
        let client = plane.client().await.expect("the administrator has a client");
        let user = format!("operator-of-{namespace}");
        grant(&client, &namespace, &user).await;
        let kubeconfig = plane.user_kubeconfig(&user, &[]).expect("a kubeconfig is written");
        let dir = TempDir::new().expect("a folder is made");
        std::fs::write(dir.path().join("token"), TOKEN).expect("the token is written");
        let jobs = Api::namespaced(client.clone(), &namespace);
        Self { plane, namespace, client, jobs, user, kubeconfig, dir }
    }

    /// An operator with short terms. Several of them share the store and the lease.
    pub(crate) fn operator(&self, name: &str, more: &[&str]) -> Operator {
        let port_file = self.dir.path().join(format!("{name}.port"));
        drop(std::fs::remove_file(&port_file));
        let log = std::fs::File::create(self.dir.path().join(format!("{name}.log"))).expect("the log is made");
        let child = Command::new(env!("CARGO_BIN_EXE_operator"))
            .args(["--listen", "127.0.0.1:0", "--namespace", &self.namespace, "--watch-namespace", &self.namespace])
            // As variables, so that a test may say otherwise by flags.
            .envs([("TINTYPE_LEADER_LEASE", "3s"), ("TINTYPE_LEADER_DEADLINE", "2s")])
            .envs([("TINTYPE_LEADER_RETRY", "250ms"), ("TINTYPE_ATTEMPT_LEASE", "4s")])
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--worker-token-file")
            .arg(self.dir.path().join("token"))
            .arg("--store-dir")
            .arg(self.dir.path().join("store"))
            .arg("--store-secret-file")
            .arg(self.dir.path().join("secret"))
            .arg("--port-file")
            .arg(&port_file)
            .args(more)
            .env_remove("POD_NAME")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the operator starts");
        Operator { child, port_file, log: self.dir.path().join(format!("{name}.log")) }
    }

    pub(crate) async fn make(&self, name: &str, change: impl FnOnce(&mut GenerationJob)) -> GenerationJob {
        let spec = GenerationJobSpec::new(GenerationRequest::new(MODEL, "a red circle on a blue background"));
        let mut job = GenerationJob::new(name, spec);
        change(&mut job);
        self.jobs.create(&PostParams::default(), &job).await.expect("the job is accepted")
    }

    pub(crate) async fn wait_for(&self, name: &str, what: impl Fn(&GenerationJob) -> bool) -> GenerationJob {
        let found = until(async || self.jobs.get(name).await.ok().filter(&what)).await;
        let now = self.jobs.get_opt(name).await.map(|job| job.map(|job| job.status));
        assert!(found.is_some(), "{name} did not come to what was waited for: {now:?}");
        found.expect("it is some")
    }

    /// Every change of a job that was asked for, in order.
    pub(crate) async fn writes(&self, name: &str) -> Vec<AuditEvent> {
        // Whatever is written after this is not of interest; whatever came before it is in the log once this is.
        static MARKS: AtomicU32 = AtomicU32::new(0);
        let mark = format!("mark-{name}-{}", MARKS.fetch_add(1, Ordering::Relaxed));
        drop(self.jobs.get_opt(&mark).await);
        self.plane.audited(|event| event.name == mark).await.expect("the log is written");
        let log = self.plane.audit_log().expect("the log is read");
        log.into_iter()
            .filter(|event| {
                event.namespace == self.namespace && event.resource == "generationjobs" && event.name == name
            })
            .filter(|event| ["create", "update", "patch", "delete"].contains(&event.verb.as_str()))
            .collect()
    }
}

/// Waits for something to be there.
pub(crate) async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    while began.elapsed() < WITHIN {
        if let Some(found) = look().await {
            return Some(found);
        }
        tokio::time::sleep(LOOK).await;
    }
    None
}

fn install(plane: &ControlPlane) {
    let yaml = tintype_crds::YAML.map(|(_, yaml)| yaml).join("---\n");
    let model = format!(
        "---\napiVersion: tintype.dev/v1alpha1\nkind: DiffusionModel\nmetadata: {{name: shapes}}\nspec:\n  \
         modelName: {MODEL}\n  family: sd15\n  \
         defaults: {{width: 64, height: 64, steps: 20, guidanceScale: 3, sampler: euler}}\n"
    );
    let apply = |text: &str| {
        let applied = plane.kubectl_with_input(&["apply", "--server-side", "-f", "-"], text).expect("kubectl runs");
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    };
    apply(&yaml);
    let waited = plane.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]);
    assert!(waited.expect("kubectl runs").status.success());
    apply(&model);
}

/// Gives the user exactly the rights the operator says it needs.
async fn grant(client: &Client, namespace: &str, user: &str) {
    let rules = |scope: Scope| -> Vec<PolicyRule> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let of = |right: &Right| PolicyRule {
            api_groups: Some(vec![right.group.to_owned()]),
            resources: Some(owned(right.resources)),
            verbs: owned(right.verbs),
            ..PolicyRule::default()
        };
        RIGHTS.iter().filter(|right| right.scope == scope).map(of).collect()
    };
    let meta = |namespace: Option<&str>| ObjectMeta {
        name: Some(user.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ObjectMeta::default()
    };
    let subjects = Some(vec![Subject { kind: "User".to_owned(), name: user.to_owned(), ..Subject::default() }]);
    let role = |kind: &str| RoleRef {
        api_group: "rbac.authorization.k8s.io".to_owned(),
        kind: kind.to_owned(),
        name: user.to_owned(),
    };
    let params = PostParams::default();
    let everywhere = ClusterRole { metadata: meta(None), rules: Some(rules(Scope::Watched)), aggregation_rule: None };
    Api::all(client.clone()).create(&params, &everywhere).await.expect("a role is made");
    let bound = ClusterRoleBinding { metadata: meta(None), role_ref: role("ClusterRole"), subjects: subjects.clone() };
    Api::all(client.clone()).create(&params, &bound).await.expect("a role is bound");
    let own = Role { metadata: meta(Some(namespace)), rules: Some(rules(Scope::Own)) };
    Api::namespaced(client.clone(), namespace).create(&params, &own).await.expect("a role is made");
    let bound = RoleBinding { metadata: meta(Some(namespace)), role_ref: role("Role"), subjects };
    Api::namespaced(client.clone(), namespace).create(&params, &bound).await.expect("a role is bound");
}

/// A running operator. Dropping it kills it.
pub(crate) struct Operator {
    pub(crate) child: Child,
    port_file: PathBuf,
    log: PathBuf,
}

impl Operator {
    /// Where it listens.
    pub(crate) async fn url(&self) -> String {
        let address =
            until(async || std::fs::read_to_string(&self.port_file).ok().filter(|text| !text.is_empty())).await;
        assert!(address.is_some(), "it does not listen: {}", self.log());
        format!("http://{}", address.unwrap_or_default())
    }

    /// Waits until `/readyz` says this.
    pub(crate) async fn until_ready(&self, word: &str) {
        let url = format!("{}/readyz", self.url().await);
        let http = http();
        let said = until(async || {
            let text = http.get(&url).send().await.ok()?.text().await.ok()?;
            (text.trim() == word).then_some(())
        });
        assert!(said.await.is_some(), "it never was {word}: {}", self.log());
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits until it has ended; `None` if a signal ended it.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let status = until(async || self.child.try_wait().ok().flatten()).await;
        assert!(status.is_some(), "it does not end: {}", self.log());
        status.and_then(|status| status.code())
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn http() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client is made")
}

/// A worker that says what a worker says and draws nothing.
pub(crate) struct Worker {
    http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) id: WorkerId,
    pub(crate) boot: BootId,
    /// The pool it says it is in.
    pub(crate) pool: String,
    /// What it says it can load.
    pub(crate) models: Vec<String>,
    /// What it says it has in memory, where that is not all it can load.
    pub(crate) resident: Option<Vec<String>>,
    /// Where it says it stands with loading models ahead of jobs.
    pub(crate) warm_up: Option<WarmUpStanding>,
    /// Why it takes no work, if it says so.
    pub(crate) unwell: Option<Unwell>,
    /// What it says of its GPU.
    pub(crate) gpu: Gpu,
}

impl Worker {
    pub(crate) fn new(url: &str, id: &str) -> Self {
        Self {
            http: http(),
            url: url.to_owned(),
            id: id.into(),
            boot: BootId::from(format!("boot-of-{id}")),
            pool: "cpu".to_owned(),
            models: vec![MODEL.to_owned()],
            resident: None,
            warm_up: None,
            unwell: None,
            gpu: Gpu { uuid: "cpu-0".to_owned(), name: "CPU".to_owned(), ..Gpu::default() },
        }
    }

    async fn call<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, (StatusCode, ErrorBody)> {
        let sent = self.http.post(format!("{}{path}", self.url)).bearer_auth(TOKEN).json(body).send();
        let answer = sent.await.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        if status.is_success() {
            return Ok(serde_json::from_str(if text.is_empty() { "null" } else { &text }).expect("the answer is ours"));
        }
        let body = serde_json::from_str(&text).unwrap_or_else(|_| ErrorCode::Internal.body(text));
        Err((status, body))
    }

    /// What a read route says; null where it says nothing.
    pub(crate) async fn read(&self, path: &str) -> serde_json::Value {
        let Ok(answer) = self.http.get(format!("{}{path}", self.url)).send().await else { return json!(null) };
        answer.json().await.unwrap_or_default()
    }

    /// A series of the operator's metrics.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.http.get(format!("{}/metrics", self.url)).send().await.ok()?.text().await.ok()?;
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    /// One claim.
    pub(crate) async fn ask(&self, wait_ms: u64) -> Result<ClaimAnswer, (StatusCode, ErrorBody)> {
        let claim = Claim {
            worker: self.id.clone(),
            boot_id: self.boot.clone(),
            pool: self.pool.as_str().into(),
            gpus: vec![self.gpu.clone()],
            resident_models: self.resident.clone().unwrap_or_else(|| self.models.clone()),
            residents: Vec::new(),
            loadable_models: self.models.clone(),
            free_slots: u32::from(self.unwell.is_none()),
            wait_ms,
            warm_up: self.warm_up.clone(),
            unwell: self.unwell.clone(),
        };
        self.call("/worker/v1/claim", &claim).await
    }

    /// Claims until there is work.
    pub(crate) async fn claim(&self) -> Assignment {
        let work = until(async || self.ask(5_000).await.ok().and_then(|answer| answer.assignment)).await;
        work.expect("there is work within a minute")
    }

    pub(crate) async fn renew(
        &self,
        assignment: &Assignment,
        step: u32,
    ) -> Result<tintype_types::worker::RenewAnswer, (StatusCode, ErrorBody)> {
        let (gpus, previews) = (Vec::new(), Vec::new());
        let renew = Renew { worker: self.id.clone(), boot_id: self.boot.clone(), step, steps: 20, gpus, previews };
        self.call(&format!("/worker/v1/jobs/{}/attempts/{}/renew", assignment.job, assignment.attempt), &renew).await
    }

    /// Uploads something and says it is done.
    pub(crate) async fn finish(&self, assignment: &Assignment) -> Result<(), (StatusCode, ErrorBody)> {
        let mut outputs = Vec::new();
        for (n, target) in assignment.outputs.iter().enumerate() {
            let bytes = format!("picture {n} of {}", assignment.job).into_bytes();
            let url = target.put_url.replace(&base(&target.put_url), &self.url);
            let put = self.http.put(url).body(bytes.clone()).send().await.map_err(unreachable)?;
            assert!(put.status().is_success(), "{}", put.status());
            outputs.push(Output {
                key: target.key.clone(),
                sha256: Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat(),
                bytes: bytes.len() as u64,
                width: assignment.request.width,
                height: assignment.request.height,
                seed: assignment.request.seed + n as u64,
            });
        }
        self.end(assignment.job.as_str(), assignment.attempt, Outcome::Done { outputs }).await
    }

    pub(crate) async fn fail(
        &self,
        assignment: &Assignment,
        reason: FailureReason,
    ) -> Result<(), (StatusCode, ErrorBody)> {
        let outcome = Outcome::Failed { reason, message: "it broke in a test".to_owned(), retryable: true };
        self.end(assignment.job.as_str(), assignment.attempt, outcome).await
    }

    /// Says how an attempt ended.
    pub(crate) async fn end(
        &self,
        job: &str,
        attempt: Attempt,
        outcome: Outcome,
    ) -> Result<(), (StatusCode, ErrorBody)> {
        let finish = Finish { worker: self.id.clone(), boot_id: self.boot.clone(), outcome, gpu_ms: 1_234 };
        let path = format!("/worker/v1/jobs/{job}/attempts/{attempt}/finish");
        self.call::<serde_json::Value>(&path, &finish).await.map(drop)
    }
}

/// The server went away before it answered.
fn unreachable(error: reqwest::Error) -> (StatusCode, ErrorBody) {
    (StatusCode::BAD_GATEWAY, ErrorCode::Unavailable.body(error.to_string()))
}

/// `http://host:port` of a URL: a store is reached at whichever replica leads.
fn base(url: &str) -> String {
    url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")
}

/// Puts a finalizer on a job, as the API does.
pub(crate) async fn hold(jobs: &Api<GenerationJob>, job: &GenerationJob, on: bool) {
    let finalizers = if on { json!([tintype_crds::labels::SETTLEMENT]) } else { json!([]) };
    let patch = Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
    jobs.patch(&job.name_any(), &PatchParams::default(), &patch).await.expect("the finalizer is written");
}
