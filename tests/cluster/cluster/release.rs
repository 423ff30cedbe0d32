//! Helm and the objects of a release, as a platform team handles them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::node::{Cluster, script};

/// The namespace everything is installed in; it lets in only pods of the strictest Pod Security Standard.
pub(crate) const NAMESPACE: &str = "tintype";
/// Longest a job may take; a `kubectl wait` that runs out says so.
const WAIT: &str = "--timeout=120s";

impl Cluster {
    /// Makes the namespace.
    pub(crate) fn make_namespace(&self) {
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE, "labels": {
                "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest",
            }}
        }));
    }

    /// helm with this cluster, in the namespace; must succeed.
    pub(crate) fn helm(&self, arguments: &[&str]) -> String {
        let mut command = self.plane.command(script("tests/charts/helm.sh"));
        command.args(arguments).args(["--namespace", NAMESPACE]).env("HOME", self.folder.path());
        said(&mut command)
    }

    /// Asks for a picture.
    pub(crate) fn ask(&self, name: &str, request: &Value) {
        self.apply(&json!({
            "apiVersion": "tintype.dev/v1alpha1", "kind": "GenerationJob",
            "metadata": { "name": name, "namespace": NAMESPACE }, "spec": { "request": request },
        }));
    }

    /// Waits until a job is complete; gives it.
    pub(crate) fn complete(&self, name: &str) -> Value {
        let job = format!("generationjob/{name}");
        self.kubectl(&["wait", "--namespace", NAMESPACE, "--for=condition=Complete", WAIT, &job]);
        self.job(name)
    }

    /// A job as the API server has it.
    pub(crate) fn job(&self, name: &str) -> Value {
        serde_json::from_str(&self.namespaced(&["get", "generationjob", name, "--output=json"])).unwrap()
    }

    /// kubectl in the namespace.
    pub(crate) fn namespaced(&self, arguments: &[&str]) -> String {
        self.kubectl(&[&["--namespace", NAMESPACE], arguments].concat())
    }

    /// The first picture of a job, from the volume it was written to: the one whose bytes the job's status names.
    pub(crate) fn picture(&self, job: &Value) -> Vec<u8> {
        let wanted = job["status"]["outputs"][0]["sha256"].as_str().unwrap();
        let mut files = Vec::new();
        crate::node::files(&self.folder.path().join("volumes"), &mut files);
        let found = files
            .into_iter()
            .map(|file| std::fs::read(file).unwrap())
            .find(|bytes| hex::encode(Sha256::digest(bytes)) == wanted);
        found.unwrap_or_else(|| panic!("no file in any volume is the picture of {job}"))
    }

    /// Waits until a workload has all of its pods ready.
    pub(crate) fn rolled_out(&self, workload: &str) {
        self.namespaced(&["rollout", "status", workload, WAIT]);
    }
}

/// The chart of a name.
pub(crate) fn chart(name: &str) -> String {
    tintype_cluster::root().join("charts").join(name).display().to_string()
}

/// Everything that comes from outside the cluster: programs into the cache, images of what is in the checkout.
pub(crate) fn fetch_and_build() {
    for path in ["tests/cluster/node.sh", "tests/controlplane/build.sh", "tests/charts/helm.sh"] {
        script(path);
    }
    let archive = images();
    tintype_cluster::build_images(&archive.with_extension(""), &["--archive", &archive.display().to_string()]).unwrap();
}

/// The images, as an archive that containerd imports.
pub(crate) fn images() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cluster-images.tar")
}

/// Size and pixels of a PNG.
pub(crate) fn pixels(png: &[u8]) -> (u32, u32, Vec<u8>) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut held = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut held).unwrap();
    held.truncate(info.buffer_size());
    (info.width, info.height, held)
}

/// A figure, as the benchmarks print them.
pub(crate) fn print_figure(name: &str, took: Duration, goal: Duration) {
    let (value, goal) = (took.as_secs_f64(), goal.as_secs_f64());
    let figure = json!({
        "name": name, "value": value, "unit": "s", "anchor": null, "ratio": null, "goal": goal, "ok": value <= goal,
    });
    println!("{figure}");
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}
