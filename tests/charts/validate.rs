//! Every rendering, judged without a cluster by Kubernetes' own schemas and by our definitions: kubectl-validate.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::helm::{crds_chart, examples, render, root};
use crate::manifest::{objects, text};

/// The Prometheus operator's, whose definitions are not ours to carry.
const OTHERS: &str = "monitoring.coreos.com/";

/// Where it is. Where it is not, this says so: building it takes minutes, which is for the setup to decide.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let script = root().join("tests/charts/validate.sh");
        let said =
            Command::new(script).arg("--if-there").stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
        if said.status.code() == Some(3) {
            #[expect(clippy::print_stderr, reason = "a test that did not run says so")]
            {
                eprintln!("SKIPPED: manifests judged by kubectl-validate");
            }
            return None;
        }
        assert!(said.status.success(), "tests/charts/validate.sh says above why there is no kubectl-validate");
        Some(PathBuf::from(String::from_utf8(said.stdout).unwrap().lines().last().unwrap()))
    });
    program.as_deref()
}

/// What the program has against these manifests, or nothing.
fn against(program: &Path, manifests: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    for (n, object) in objects(manifests).iter().enumerate() {
        if !text(object, "/apiVersion").starts_with(OTHERS) {
            // JSON: what is a text in one version of YAML is a boolean in another.
            std::fs::write(folder.path().join(format!("{n}.json")), object.to_string()).unwrap();
        }
    }
    let mut command = Command::new(program);
    command.arg(folder.path()).arg("--local-crds").arg(crds_chart().join("templates"));
    let said = command.stdin(Stdio::null()).output().unwrap();
    let text = [said.stdout, said.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (!said.status.success()).then_some(text)
}

#[test]
fn every_rendering_is_what_kubernetes_takes() {
    let Some(program) = program() else { return };
    for (example, values) in examples() {
        assert_eq!(against(program, &render(&values)), None, "{example}");
    }
    let plain = std::fs::read_to_string(root().join("deploy/manifests/tintype.yaml")).unwrap();
    assert_eq!(against(program, &plain), None, "the plain manifests");
}

/// It looks at native kinds and at ours.
#[test]
fn a_misspelt_field_is_told() {
    let Some(program) = program() else { return };
    let rendered = render(&[]);
    let native = rendered.replacen("automountServiceAccountToken:", "automountServiceAcountToken:", 1);
    assert!(native != rendered && against(program, &native).unwrap().contains("automountServiceAcountToken"));
    let pool = "apiVersion: tintype.dev/v1alpha1\nkind: GpuPool\nmetadata: { name: a }\nspec: { replicaz: 2 }\n";
    assert!(against(program, pool).unwrap().contains("replicaz"));
    assert_eq!(against(program, &pool.replace("replicaz", "replicas")), None);
}
