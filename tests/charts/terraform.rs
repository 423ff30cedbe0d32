//! The Terraform modules: their form, the tests of `values/`, and that the chart takes what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::helm::{PROMETHEUS, root, template};
use crate::manifest::{of_kind, one, text};

/// What a team may say, and nothing of it more than once.
const SAID: &str = r#"
image   = { registry = "registry.example.com/tintype", tag = "0.1.0" }
workers = { pool = "l40s", gpus = 2, runtime_class = "nvidia", model_claim = "models", scaling = { min = 1, max = 8 } }
api = {
  database_secret = "tintype-database"
  public_url      = "https://pictures.example.com"
  replicas        = 2
  host            = "pictures.example.com"
  ingress_class   = "nginx"
  tls_secret      = "pictures-tls"
}
paid_providers = [
  { name = "burst", key_secret = "replicate", key = "token", public_url = "https://hooks.example.com", webhook_secret = "hooks" },
  { name = "spare", key_secret = "runpod" },
]
monitoring      = { namespace = "monitoring", labels = { release = "prometheus" } }
traces_endpoint = "http://collector.monitoring:4318"
"#;

/// A copy of the modules, in which tofu may leave what it leaves.
struct Modules {
    program: PathBuf,
    folder: TempDir,
}

/// Calls a test with a copy. Where there is no tofu, it says so and does not: building one takes ten minutes, which is for
/// the setup to decide.
fn with_modules(test: impl FnOnce(&Modules)) {
    let script = root().join("tests/terraform/tofu.sh");
    let said = Command::new(script).arg("--if-there").stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    if said.status.code() == Some(3) {
        #[expect(clippy::print_stderr, reason = "a test that did not run says so")]
        {
            eprintln!("SKIPPED: the Terraform modules");
        }
        return;
    }
    assert!(said.status.success(), "tests/terraform/tofu.sh says above why there is no tofu");
    let program = PathBuf::from(String::from_utf8(said.stdout).unwrap().lines().last().unwrap());
    let folder = tempfile::tempdir().unwrap();
    copy(&root().join("terraform"), folder.path());
    test(&Modules { program, folder });
}

impl Modules {
    /// What tofu says in a folder of the copy; it must succeed.
    fn tofu(&self, folder: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        command.current_dir(self.folder.path().join(folder)).args(arguments).stdin(Stdio::null());
        // Nothing of whoever runs the tests: not their settings, not their folder of state.
        for theirs in ["TF_CLI_CONFIG_FILE", "TF_DATA_DIR", "TF_CLI_ARGS", "TF_WORKSPACE"] {
            command.env_remove(theirs);
        }
        command.env("CHECKPOINT_DISABLE", "1").env("TF_IN_AUTOMATION", "1");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tofu {arguments:?} in {folder}: {said}{errors}");
        said
    }

    /// The YAML that comes of what is said.
    fn yaml(&self, said: &str) -> PathBuf {
        let values = self.folder.path().join("values");
        fs::write(values.join("said.tfvars"), said).unwrap();
        self.tofu("values", &["init", "-no-color"]);
        self.tofu("values", &["apply", "-no-color", "-auto-approve", "-var-file=said.tfvars"]);
        let file = self.folder.path().join("values.yaml");
        fs::write(&file, self.tofu("values", &["output", "-raw", "yaml"])).unwrap();
        file
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            fs::copy(&entry, target).unwrap();
        }
    }
}

#[test]
fn the_terraform_modules_have_their_form_and_their_tests_pass() {
    with_modules(|modules| {
        modules.tofu(".", &["fmt", "-check", "-diff", "-recursive"]);
        modules.tofu("values", &["init", "-no-color"]);
        modules.tofu("values", &["validate", "-no-color"]);
        let said = modules.tofu("values", &["test", "-no-color"]);
        let runs = fs::read_to_string(root().join("terraform/values/tests/values.tftest.hcl")).unwrap();
        let runs = runs.lines().filter(|line| line.starts_with("run ")).count();
        assert!(runs >= 9 && said.contains(&format!("Success! {runs} passed, 0 failed")), "{said}");
    });
}

/// The chart's schema lets no key pass that it does not know, so rendering is also the check that both sides agree.
#[test]
fn the_chart_takes_what_the_terraform_module_says() {
    with_modules(|modules| {
        little_becomes_a_release_on_the_cpu(&rendered(
            modules,
            "image = { registry = \"registry.example.com/tintype\" }",
        ));
        all_that_is_said_arrives(&rendered(modules, SAID));
    });
}

/// The chart with what comes of what is said.
fn rendered(modules: &Modules, said: &str) -> String {
    let file = modules.yaml(said).display().to_string();
    let mut arguments = vec!["--values", &file];
    arguments.extend(PROMETHEUS);
    template(&arguments).unwrap_or_else(|refused| panic!("{said}: {refused}"))
}

fn little_becomes_a_release_on_the_cpu(rendered: &str) {
    let worker = one(rendered, "StatefulSet", "-worker");
    let image = text(&worker, "/spec/template/spec/containers/0/image");
    assert!(image.starts_with("registry.example.com/tintype/tintype/gpu-worker:"), "{image}");
    assert!(of_kind(rendered, "ServiceMonitor").is_empty());
}

fn all_that_is_said_arrives(rendered: &str) {
    let begins_with = one(rendered, "ConfigMap", "-defaults");
    let pool = begins_with["data"].as_object().unwrap().iter().find(|(key, _)| key.starts_with("gpupool-")).unwrap();
    let pool: Value = serde_json::from_str(pool.1.as_str().unwrap()).unwrap();
    let scaling = &pool["spec"]["scaling"];
    assert_eq!((&scaling["min"], &scaling["max"]), (&1.into(), &8.into()));
    let worker = one(rendered, "PodTemplate", "-worker");
    let limit = worker.pointer("/template/spec/containers/0/resources/limits/nvidia.com~1gpu");
    assert_eq!(limit, Some(&Value::from(2)));
    for adapter in ["tintype-provider-burst", "tintype-provider-spare"] {
        one(rendered, "PodTemplate", adapter);
    }
    assert_eq!(one(rendered, "Deployment", "-api").pointer("/spec/replicas"), Some(&Value::from(2)));
    assert_eq!(text(&of_kind(rendered, "Ingress")[0], "/spec/rules/0/host"), "pictures.example.com");
    assert_eq!(text(&of_kind(rendered, "ServiceMonitor")[0], "/metadata/labels/release"), "prometheus");
    assert!(rendered.contains("http://collector.monitoring:4318"), "traces go nowhere");
}
