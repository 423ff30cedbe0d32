//! Runs helm. It reads no configuration of whoever runs the tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// Rendered as if the Prometheus operator were installed; no cluster is asked.
pub(crate) const PROMETHEUS: [&str; 2] = ["--api-versions", "monitoring.coreos.com/v1"];

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The chart.
pub(crate) fn chart() -> PathBuf {
    root().join("charts/tintype")
}

/// The sub-chart, by the path people install it from.
pub(crate) fn crds_chart() -> PathBuf {
    root().join("charts/tintype-crds")
}

/// Each example of values with its name; the first one is no values at all.
pub(crate) fn examples() -> Vec<(String, Vec<String>)> {
    let mut files: Vec<_> = std::fs::read_dir(chart().join("ci")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "the examples in charts/tintype/ci were not found");
    let named = files.into_iter().map(|file| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        (name, vec!["--values".to_owned(), file.display().to_string()])
    });
    [("defaults".to_owned(), Vec::new())].into_iter().chain(named).collect()
}

/// helm, ready to be given arguments. Without a cluster unless `KUBECONFIG` is set on it.
pub(crate) fn command() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let script = root().join("tests/charts/helm.sh");
        let output = Command::new(&script).stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "tests/charts/helm.sh says above why there is no helm");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().lines().last().unwrap())
    });
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("helm");
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", home).stdin(Stdio::null());
    command
}

/// Runs helm without a cluster.
pub(crate) fn helm<S: AsRef<str>>(arguments: &[S]) -> Output {
    command().args(arguments.iter().map(AsRef::as_ref)).output().unwrap()
}

/// What helm renders, or what it says against it.
pub(crate) fn template<S: AsRef<str>>(arguments: &[S]) -> Result<String, String> {
    let chart = chart().display().to_string();
    let mut all = vec!["template", "tintype", &chart, "--namespace", "pictures"];
    all.extend(arguments.iter().map(AsRef::as_ref));
    let output = helm(&all);
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Renders an example with the Prometheus operator at hand.
pub(crate) fn render(values: &[String]) -> String {
    let mut arguments: Vec<&str> = values.iter().map(String::as_str).collect();
    arguments.extend(PROMETHEUS);
    template(&arguments).unwrap_or_else(|said| panic!("{values:?}: {said}"))
}
