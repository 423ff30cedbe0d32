//! A cluster as a platform team has it: a real API server with our kinds, the operator and one worker as processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tintype_kubetest::{ControlPlane, Options};

use super::programs::{Running, address, command};
use super::wait::until;
use super::{models, root};

/// How long the operator may take to be reachable beside other tests.
const START_LIMIT: Duration = Duration::from_mins(1);
/// How long a `kubectl wait` waits.
pub(crate) const WAIT: &str = "--timeout=120s";

/// A control plane, an operator, a worker. Its folder goes last, after the processes.
pub(crate) struct Cluster {
    /// The API server and kubectl.
    pub(crate) plane: ControlPlane,
    /// The namespace of the test.
    pub(crate) namespace: String,
    /// The leading operator.
    pub(crate) operator: Running,
    /// The worker.
    pub(crate) worker: Running,
    /// Where the operator listens.
    pub(crate) address: String,
    /// Secrets, pictures, logs.
    pub(crate) folder: tempfile::TempDir,
    models: PathBuf,
    around: Around,
}

/// What is around the programs of a cluster.
#[derive(Clone, Default)]
pub(crate) struct Around {
    /// Where they send traces; empty is nowhere.
    pub(crate) collector: String,
    /// More of the operator's environment.
    pub(crate) operator: Vec<(&'static str, String)>,
    /// More of the workers'.
    pub(crate) worker: Vec<(&'static str, String)>,
}

impl Cluster {
    /// Starts all of it with the models that ship.
    pub(crate) async fn start() -> Self {
        Self::start_with(&models()).await
    }

    /// Starts all of it with another models folder.
    pub(crate) async fn start_with(models: &Path) -> Self {
        Self::start_amid(models, Around::default()).await
    }

    /// The same amid something.
    pub(crate) async fn start_amid(models: &Path, around: Around) -> Self {
        let plane = ControlPlane::start(Options::new().of_our_own()).await.unwrap();
        let crds = root().join("crds/yaml");
        kubectl(&plane, &["apply", "--server-side", "--filename", crds.to_str().unwrap()]);
        kubectl(&plane, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
        let namespace = plane.unique_namespace().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        for secret in ["worker-token", "reader-token", "store-secret"] {
            fs::write(folder.path().join(secret), format!("{secret}-0123456789abcdef0123456789abcdef")).unwrap();
        }
        let card: Value =
            serde_json::from_slice(&fs::read(super::models().join("shapes/tintype.json")).unwrap()).unwrap();
        apply(&plane, folder.path(), &model("shapes", &card));
        let operator = start_operator((&plane, &around), &namespace, folder.path(), "127.0.0.1:0");
        let address = address(&folder.path().join("operator-port"), START_LIMIT).await;
        let worker = start_worker((&address, &around), models, folder.path());
        Self { plane, namespace, operator, worker, address, folder, models: models.to_path_buf(), around }
    }

    /// kubectl in the test's namespace; must succeed.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        let mut all = vec!["--namespace", self.namespace.as_str()];
        all.extend(args);
        kubectl(&self.plane, &all)
    }

    /// Where its programs send traces.
    pub(crate) fn collector(&self) -> &str {
        &self.around.collector
    }

    /// Applies an object.
    pub(crate) fn apply(&self, object: &Value) {
        apply(&self.plane, self.folder.path(), object);
    }

    /// `kubectl apply` that must be refused; gives what it said.
    pub(crate) fn refused(&self, object: &Value) -> String {
        let file = write(self.folder.path(), object);
        let output = self.plane.kubectl(&["apply", "--filename", file.to_str().unwrap()]).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "this apply should have been refused: {object}");
        said
    }

    /// A job of this namespace.
    pub(crate) fn job(&self, name: &str, request: Value) -> Value {
        json!({
            "apiVersion": "tintype.dev/v1alpha1", "kind": "GenerationJob",
            "metadata": { "name": name, "namespace": self.namespace },
            "spec": { "request": request }
        })
    }

    /// The job as the API server has it.
    pub(crate) fn read(&self, name: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", "generationjob", name, "--output=json"])).unwrap()
    }

    /// Waits until the job is under way with at least one step reported to the operator.
    pub(crate) async fn under_way(&self, name: &str) {
        until("the job to be given to a worker", Duration::from_mins(1), || async {
            self.read(name)["status"]["assignment"]["worker"].as_str().map(str::to_owned)
        })
        .await;
    }

    /// The picture of a complete job, through the operator's read route.
    pub(crate) async fn picture(&self, name: &str) -> Vec<u8> {
        let uid = self.read(name)["metadata"]["uid"].as_str().unwrap().to_owned();
        let token = fs::read_to_string(self.folder.path().join("reader-token")).unwrap();
        let rest = super::rest::Rest::new(&format!("http://{}", self.address), token.trim());
        rest.bytes(&format!("/dispatch/v1/jobs/{uid}/image/0")).await
    }

    /// Starts the operator again where it was.
    pub(crate) async fn restart_operator(&mut self) {
        fs::remove_file(self.folder.path().join("operator-port")).unwrap();
        let of_it = (&self.plane, &self.around);
        self.operator = start_operator(of_it, &self.namespace, self.folder.path(), &self.address);
        address(&self.folder.path().join("operator-port"), START_LIMIT).await;
    }

    /// Starts the worker again, as its pod would be.
    pub(crate) fn restart_worker(&mut self) {
        self.worker = start_worker((&self.address, &self.around), &self.models, self.folder.path());
    }

    /// Starts another worker, on the GPUs a library tells of.
    pub(crate) fn worker_on_gpus(&self, id: &str, nvml: &Path) -> Running {
        let mut worker = worker_command((&self.address, &self.around), &self.models, self.folder.path());
        worker.env("TINTYPE_WORKER_ID", id).env("TINTYPE_NVML_LIB", nvml);
        Running::start(id, &mut worker, self.folder.path())
    }
}

/// kubectl that must succeed.
pub(crate) fn kubectl(plane: &ControlPlane, args: &[&str]) -> String {
    let output = plane.kubectl(args).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "kubectl {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn apply(plane: &ControlPlane, folder: &Path, object: &Value) {
    let file = write(folder, object);
    kubectl(plane, &["apply", "--filename", file.to_str().unwrap()]);
}

fn write(folder: &Path, object: &Value) -> PathBuf {
    let file = folder.join(format!("{}.json", object["metadata"]["name"].as_str().unwrap()));
    fs::write(&file, serde_json::to_vec(object).unwrap()).unwrap();
    file
}

/// A `DiffusionModel` named `name` from a model card.
pub(crate) fn model(name: &str, card: &Value) -> Value {
    json!({
        "apiVersion": "tintype.dev/v1alpha1", "kind": "DiffusionModel",
        "metadata": { "name": name },
        "spec": {
            "modelName": card["name"], "family": card["family"], "defaults": card["defaults"],
            "licence": card["licence"], "description": card["description"]
        }
    })
}

fn start_operator((plane, around): (&ControlPlane, &Around), namespace: &str, folder: &Path, listen: &str) -> Running {
    let mut operator = command("operator", ["--listen", listen, "--attempt-lease", "5s"]);
    operator
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &around.collector)
        .envs(around.operator.iter().map(|(name, value)| (name, value)))
        .arg("--port-file")
        .arg(folder.join("operator-port"))
        .arg("--kubeconfig")
        .arg(plane.kubeconfig_path())
        .args(["--namespace", namespace])
        .args(["--leader-lease", "3s", "--leader-deadline", "2s", "--leader-retry", "500ms"])
        .arg("--worker-token-file")
        .arg(folder.join("worker-token"))
        .arg("--dispatch-token-file")
        .arg(folder.join("reader-token"))
        .arg("--store-secret-file")
        .arg(folder.join("store-secret"))
        .arg("--store-dir")
        .arg(folder.join("images"));
    Running::start("operator", &mut operator, folder)
}

fn start_worker(reach: (&str, &Around), models: &Path, folder: &Path) -> Running {
    Running::start("worker", &mut worker_command(reach, models, folder), folder)
}

fn worker_command((address, around): (&str, &Around), models: &Path, folder: &Path) -> Command {
    let mut worker = command("gpu-worker", [""; 0]);
    worker
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &around.collector)
        .envs(around.worker.iter().map(|(name, value)| (name, value)))
        .env("TINTYPE_DISPATCH_URL", format!("http://{address}"))
        .env("TINTYPE_WORKER_TOKEN_FILE", folder.join("worker-token"))
        .env("TINTYPE_WORKER_ID", "worker-0")
        .env("TINTYPE_POOL", "default")
        .env("TINTYPE_C2PA_DIR", folder.join("c2pa"))
        .env("TINTYPE_MODELS_DIR", models);
    worker
}
