//! The node: containerd, kubelet and kube-proxy of our own around a control plane, and what they are told.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tintype_kubetest::{ControlPlane, Options};

use crate::apart::run;
use crate::dns;

/// The node's name.
pub(crate) const NODE: &str = "node-1";
/// Its address, and that of API server and DNS as pods see them. On loopback: this network has no other device.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const PODS: &str = "10.88.0.0/24";
const PAUSE: &str = "registry.invalid/tintype/pause:test";
/// Volumes that releases may claim.
const VOLUMES: usize = 5;
/// Lines of each log shown when a test fails.
const LOG_LINES: usize = 25;

/// A cluster of one node. Its programs end with the process.
pub(crate) struct Cluster {
    pub(crate) plane: &'static ControlPlane,
    /// What it holds on disk.
    pub(crate) folder: tempfile::TempDir,
    programs: PathBuf,
    running: Vec<(String, Child)>,
}

impl Cluster {
    /// Starts all of it with these images and waits until the node is ready.
    pub(crate) fn start(images: &[PathBuf]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        run(Command::new("ip").args(["address", "add", &format!("{ADDRESS}/32"), "dev", "lo"]));
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let mut cluster = Self { plane: plane(), folder, programs: programs(), running: Vec::new() };
        cluster.resolve_names();
        cluster.write_settings();
        let config = cluster.path("containerd.toml");
        cluster.start_program("containerd", &["--config", &config]);
        cluster.import(images);
        let node = cluster.plane.user_kubeconfig(&format!("system:node:{NODE}"), &["system:nodes"]).unwrap();
        cluster.start_program(
            "kubelet",
            &[
                &format!("--config={}", cluster.path("kubelet.json")),
                &format!("--kubeconfig={}", node.display()),
                &format!("--hostname-override={NODE}"),
                &format!("--node-ip={ADDRESS}"),
                &format!("--root-dir={}", cluster.path("kubelet")),
            ],
        );
        let proxy = cluster.plane.user_kubeconfig("system:kube-proxy", &[]).unwrap();
        cluster.start_program(
            "kube-proxy",
            &[
                &format!("--kubeconfig={}", proxy.display()),
                "--proxy-mode=nftables",
                &format!("--hostname-override={NODE}"),
                &format!("--cluster-cidr={PODS}"),
                &format!("--bind-address={ADDRESS}"),
                // It is the machine's, and this test changes nothing of the machine.
                "--conntrack-max-per-core=0",
            ],
        );
        cluster
            .until("the node to be there", || cluster.plane.kubectl(&["get", "node", NODE]).unwrap().status.success());
        cluster.kubectl(&["wait", "--for=condition=Ready", &format!("node/{NODE}"), "--timeout=120s"]);
        cluster.offer_volumes();
        cluster
    }

    /// kubectl; must succeed.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.plane.kubectl(arguments).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {errors}{}", self.told());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Creates or changes an object.
    pub(crate) fn apply(&self, object: &serde_json::Value) {
        let output = self.plane.kubectl_with_input(&["apply", "--filename", "-"], &object.to_string()).unwrap();
        assert!(output.status.success(), "{object}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Looks again and again until it is so.
    pub(crate) fn until(&self, what: &str, mut look: impl FnMut() -> bool) {
        const LIMIT: Duration = Duration::from_mins(2);
        const BETWEEN: Duration = Duration::from_millis(100);
        let started = Instant::now();
        while !look() {
            assert!(started.elapsed() < LIMIT, "waited {LIMIT:?} for {what}{}", self.told());
            thread::sleep(BETWEEN);
        }
    }

    /// The folder of a volume.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.folder.path().join("volumes").join(name)
    }

    /// Adds a volume that only a claim which names it gets.
    pub(crate) fn add_volume(&self, name: &str, class: &str) {
        fs::create_dir_all(self.volume(name)).unwrap();
        self.apply(&json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": name },
            "spec": {
                "capacity": { "storage": "50Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "local": { "path": self.volume(name) },
                "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                    { "key": "kubernetes.io/hostname", "operator": "In", "values": [NODE] }]}]}},
            }
        }));
    }

    fn offer_volumes(&self) {
        for number in 0..VOLUMES {
            self.add_volume(&format!("volume-{number}"), "");
        }
    }

    fn resolve_names(&self) {
        let plane = self.plane;
        // One thread for as long as the process; it waits for questions.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { dns::serve(plane.client().await.unwrap(), ADDRESS).await });
        });
    }

    fn import(&self, images: &[PathBuf]) {
        let socket = self.path("containerd.sock");
        self.until("containerd to answer", || {
            self.command("ctr").args(["--address", &socket, "version"]).output().unwrap().status.success()
        });
        let pause = self.folder.path().join("pause.tar");
        run(Command::new("python3")
            .arg(tintype_cluster::root().join("tests/cluster/pause.py"))
            .arg(self.programs.join("bin/pause"))
            .arg(&pause));
        for archive in images.iter().chain([&pause]) {
            run(self
                .command("ctr")
                .args(["--address", &socket, "--namespace", "k8s.io", "images", "import", "--snapshotter", "native"])
                .arg(archive));
        }
    }

    fn write_settings(&self) {
        let cni = self.folder.path().join("cni");
        fs::create_dir(&cni).unwrap();
        let network = json!({
            "cniVersion": "0.4.0", "name": "pods", "plugins": [{
                "type": "bridge", "bridge": "pods0", "isDefaultGateway": true, "hairpinMode": true,
                "ipam": { "type": "host-local", "dataDir": self.path("addresses"), "ranges": [[{ "subnet": PODS }]] },
            }]
        });
        fs::write(cni.join("10-pods.conflist"), network.to_string()).unwrap();
        fs::write(self.path("containerd.toml"), self.containerd()).unwrap();
        fs::write(self.path("kubelet.json"), self.kubelet().to_string()).unwrap();
    }

    fn containerd(&self) -> String {
        let (root, state, socket) = (self.path("containerd"), self.path("state"), self.path("containerd.sock"));
        let (plugins, networks) = (self.programs.join("cni"), self.path("cni"));
        format!(
            r#"version = 2
root = "{root}"
state = "{state}"
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
disable_apparmor = true
sandbox_image = "{PAUSE}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{networks}"
"#,
            plugins = plugins.display()
        )
    }

    fn kubelet(&self) -> serde_json::Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": format!("unix://{}", self.path("containerd.sock")),
            // A machine that already has control groups of its own making, old ones perhaps.
            "failCgroupV1": false, "cgroupsPerQOS": false, "enforceNodeAllocatable": [], "cgroupDriver": "cgroupfs",
            "localStorageCapacityIsolation": false, "featureGates": { "KubeletInUserNamespace": true },
            "clusterDNS": [ADDRESS], "clusterDomain": "cluster.local", "resolvConf": "",
            "podLogsDir": self.path("logs"),
            "authentication": {
                "anonymous": { "enabled": false }, "webhook": { "enabled": true },
                // So that the API server may ask for logs.
                "x509": { "clientCAFile": self.plane.authority_path().unwrap() },
            },
            "authorization": { "mode": "Webhook" },
            // The machine's disk is not this test's to judge.
            "evictionHard": { "imagefs.available": "0%", "nodefs.available": "0%", "memory.available": "1Mi" },
        })
    }

    fn start_program(&mut self, name: &str, arguments: &[&str]) {
        let log = File::create(self.path(&format!("{name}.log"))).unwrap();
        let child = self
            .command(name)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        self.running.push((name.to_owned(), child));
    }

    /// A program of the node, else of the control plane, with both in its PATH.
    fn command(&self, name: &str) -> Command {
        let ours = self.programs.join("bin");
        let file = if ours.join(name).exists() { ours.join(name) } else { kubernetes().join(name) };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut all = vec![ours];
        all.extend(std::env::split_paths(&path));
        let mut command = Command::new(file);
        command.env_clear().env("HOME", self.folder.path()).env("PATH", std::env::join_paths(all).unwrap());
        command
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What is to be seen of the cluster, for whoever reads a failure.
    fn told(&self) -> String {
        let mut said = String::new();
        for arguments in [
            ["get", "pods,pvc,generationjobs", "--all-namespaces", "--output=wide"],
            ["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"],
        ] {
            let output = self.plane.kubectl(&arguments).unwrap();
            said = format!("{said}\n{}", tail(&String::from_utf8_lossy(&output.stdout)));
        }
        for (name, _) in &self.running {
            let log = fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
            said = format!("{said}\n--- {name}\n{}", tail(&log));
        }
        let mut logs = Vec::new();
        files(&self.folder.path().join("logs"), &mut logs);
        for log in logs {
            said = format!("{said}\n--- {}\n{}", log.display(), tail(&fs::read_to_string(&log).unwrap_or_default()));
        }
        said
    }
}

/// A control plane that pods can reach.
fn plane() -> &'static ControlPlane {
    let options = Options::new()
        .of_our_own()
        .controller_manager()
        .scheduler()
        .apiserver_flag("--bind-address=0.0.0.0")
        .apiserver_flag(format!("--advertise-address={ADDRESS}"))
        .apiserver_flag("--endpoint-reconciler-type=lease");
    // For as long as the process: the thread that resolves names has it too.
    Box::leak(Box::new(ControlPlane::start_blocking(options).unwrap()))
}

fn programs() -> PathBuf {
    script("tests/cluster/node.sh")
}

fn kubernetes() -> PathBuf {
    script("tests/controlplane/build.sh")
}

/// What a script of ours names as its last line.
pub(crate) fn script(path: &str) -> PathBuf {
    let output = Command::new(tintype_cluster::root().join(path)).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8_lossy(&output.stdout).lines().last().unwrap())
}

/// A web server on the node with one file, for as long as the process; gives its URL.
pub(crate) fn serve(file: Vec<u8>) -> String {
    let listener = TcpListener::bind((ADDRESS, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len());
        for mut caller in listener.incoming().flatten() {
            // Who asked may be gone before it has all; it asks again if it wants it.
            let asked =
                BufReader::new(&caller).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).count();
            if asked > 0 {
                drop(caller.write_all(head.as_bytes()).and_then(|()| caller.write_all(&file)));
            }
        }
    });
    url
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}
