//! `kubectl tintype` where it has to find its own way: the operator's Service and Secret looked up, a port forwarded to a pod,
//! a worker's log read from the kubelet, and a table that is watched while things change.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::node::Cluster;
use crate::release::{NAMESPACE, pixels};

/// Longest until what happens is on a watched screen.
const SHOWN_WITHIN: Duration = Duration::from_mins(2);

/// The plugin as kubectl would run it, in the namespace, with nothing said of where the operator is.
fn plugin(cluster: &Cluster, words: &[&str]) -> Command {
    let mut command = cluster.plane.command(tintype_cluster::programs().unwrap().join("tintype"));
    let kubectl = PathBuf::from(cluster.plane.kubectl_command(&[]).get_program());
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(kubectl.parent().unwrap().to_path_buf()).chain(std::env::split_paths(&usual));
    command.env("PATH", std::env::join_paths(path).unwrap()).env("HOME", cluster.folder.path());
    command.arg0("kubectl-tintype").args(words).args(["-n", NAMESPACE]).stdin(Stdio::null());
    command
}

/// What it prints, and what it says beside; it must succeed.
fn run(cluster: &Cluster, words: &[&str]) -> (String, String) {
    let output = plugin(cluster, words).output().unwrap();
    let [said, beside] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "kubectl tintype {words:?}: {said}{beside}");
    (said, beside)
}

/// Of a release with a job `first` that is complete.
pub(crate) fn people_look_around(cluster: &Cluster) {
    let (table, _) = run(cluster, &["top"]);
    assert!(table.contains("tintype-worker-0") && table.contains("default"), "{table}");
    let (told, _) = run(cluster, &["explain", "first", "-o", "json"]);
    assert!(told.contains("\"job\"") || told.contains("\"state\""), "{told}");
    let file = cluster.folder.path().join("first.png");
    run(cluster, &["get", "first", "--image", file.to_str().unwrap()]);
    assert_eq!(std::fs::read(&file).unwrap(), cluster.picture(&cluster.job("first")), "it fetches another picture");

    let (log, beside) = run(cluster, &["logs", "first", "--tail", "1000"]);
    assert!(beside.contains("worker tintype-worker-0, attempt 1"), "{beside}");
    let id = cluster.job("first")["metadata"]["uid"].as_str().unwrap().to_owned();
    assert!(log.lines().any(|line| line.contains("an attempt begins") && line.contains(&id)), "{log}");
    assert!(!log.contains("red circle"), "a prompt is in a log");

    let drawn = cluster.folder.path().join("drawn.png");
    run(
        cluster,
        &[
            "generate",
            "a blue square on a red background",
            "--seed",
            "4",
            "--name",
            "drawn",
            "--image",
            drawn.to_str().unwrap(),
        ],
    );
    assert_eq!(pixels(&std::fs::read(&drawn).unwrap()).0, 64);
    let (found, _) = run(cluster, &["doctor"]);
    assert!(found.lines().all(|line| line.starts_with("ok ")), "{found}");
    a_job_is_watched(cluster);
}

/// The table is printed again while a job that was not there comes and is done.
fn a_job_is_watched(cluster: &Cluster) {
    let mut watching = plugin(cluster, &["get", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let (out, (tell, lines)) = (watching.stdout.take().unwrap(), mpsc::sync_channel(1_000));
    std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let until = Instant::now() + SHOWN_WITHIN;
    let mut seen = Vec::new();
    let mut wait_for = |what: &dyn Fn(&str) -> bool| {
        while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            let found = what(&line);
            seen.push(line);
            if found {
                return;
            }
        }
        panic!("not shown: {seen:#?}");
    };
    wait_for(&|line| line.contains("first") && line.contains("Complete"));
    cluster.ask("watched", &crate::story::long_request(5));
    wait_for(&|line| line.contains("watched") && !line.contains("Complete"));
    wait_for(&|line| line.contains("watched") && line.contains("Complete"));
    watching.kill().unwrap();
    watching.wait().unwrap();
}
