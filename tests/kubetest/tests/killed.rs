//! A test process that is killed leaves nothing behind: neither processes nor files. The test runs itself a second time
//! as the process to be killed.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tintype_kubetest::{ControlPlane, Options, Program};

const ROLE: &str = "KUBETEST_TO_BE_KILLED";

#[test]
fn nothing_is_left_of_a_killed_test_process() {
    if std::env::var_os(ROLE).is_some() {
        return wait_to_be_killed();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_is_left_of_a_killed_test_process", "--nocapture"])
        .env(ROLE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let left: Vec<String> = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .filter_map(|line| line.strip_prefix("left: ").map(str::to_owned))
        .take(3)
        .collect();
    assert_eq!(left.len(), 3, "the process to be killed did not start a control plane");
    assert!(left.iter().all(|path| is_there(path)), "{left:?}");

    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Some(path) = left.iter().find(|path| is_there(path)) {
        assert!(Instant::now() < deadline, "{path} is still there");
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// A process that ended but was not yet waited for by its new parent still has a directory, and no command line.
fn is_there(path: &str) -> bool {
    Path::new(path).exists() && std::fs::read(Path::new(path).join("cmdline")).map_or(true, |line| !line.is_empty())
}

/// Starts from a thread that ends at once, as test threads do: the programs must not end with it.
#[expect(clippy::unwrap_used, clippy::print_stdout, reason = "half of a test, and how it talks to the other half")]
fn wait_to_be_killed() {
    let plane = thread::spawn(|| ControlPlane::start_blocking(Options::new().of_our_own()).unwrap()).join().unwrap();
    for program in [Program::Etcd, Program::ApiServer] {
        println!("left: /proc/{}", plane.process_id(program).unwrap());
    }
    println!("left: {}", plane.kubeconfig_path().parent().unwrap().display());
    // Ends only when whoever started us is gone without killing us.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
