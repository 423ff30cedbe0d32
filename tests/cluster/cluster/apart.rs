//! A test of its own network, mounts and processes: nothing it starts outlives it, and nothing of the machine is changed.
//! It must not know what is tested.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Set in the process that is set apart already.
const INSIDE: &str = "TINTYPE_CLUSTER_INSIDE";
const SWITCH: &str = "TINTYPE_CLUSTER";

/// What the node will do, tried in a moment: folders of its own, a bridge, a table of packet rules, a control group.
const TRY: &str = "mount -t tmpfs tmpfs /var/lib && ip link set lo up && ip link add name try type bridge \
    && for top in /sys/fs/cgroup/memory /sys/fs/cgroup; do [ -e $top/cgroup.procs ] && break; done \
    && mkdir $top/tintype-try && rmdir $top/tintype-try";

/// Where containerd puts them, in each hierarchy.
const GROUPS: &str = "k8s.io";

const UNSHARE: [&str; 6] = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Runs `body` in a process set apart that runs this test alone; or says by name why it is skipped. What needs the
/// machine's own network is done by `before`.
pub(crate) fn apart(test: &str, before: impl FnOnce(), body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        prepare();
        return body();
    }
    if let Some(reason) = cannot() {
        eprintln!("SKIPPED {test}: {reason}");
        return;
    }
    before();
    let groups = groups();
    let status = Command::new("unshare")
        .args(UNSHARE)
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    sweep(&groups);
    assert!(status.success(), "{test} failed in its own namespaces; it says why above");
}

fn cannot() -> Option<String> {
    if env::var(SWITCH).as_deref() != Ok("on") {
        return Some(format!("it takes a machine for some minutes; `make test-cluster` runs it ({SWITCH}=on)"));
    }
    let tried = Command::new("unshare").args(UNSHARE).args(["sh", "-c", TRY]).output();
    match tried {
        Err(error) => Some(format!("unshare: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!(
            "this machine does not let us make a node (root is needed): {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

/// Folders that programs insist on, as this process and its children alone see them; and a network that is up.
fn prepare() {
    for folder in ["/var/lib", "/var/log", "/run"] {
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", folder]));
    }
    run(Command::new("ip").args(["link", "set", "lo", "up"]));
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The control groups of containers there are. They are the one thing of a node that does not go by itself.
fn groups() -> BTreeSet<PathBuf> {
    let folders = |at: &Path| fs::read_dir(at).into_iter().flatten().flatten().map(|entry| entry.path());
    let tops = folders(Path::new("/sys/fs/cgroup"))
        .map(|top| top.join(GROUPS))
        .chain([Path::new("/sys/fs/cgroup").join(GROUPS)]);
    let tops: Vec<_> = tops.filter(|top| top.is_dir()).collect();
    tops.iter().flat_map(|top| folders(top)).filter(|path| path.is_dir()).chain(tops.iter().cloned()).collect()
}

/// Removes those that were not there before. Only empty ones can be removed.
fn sweep(before: &BTreeSet<PathBuf>) {
    for group in groups().difference(before).collect::<Vec<_>>().into_iter().rev() {
        // One that is in use is somebody else's.
        drop(fs::remove_dir(group));
    }
}
